"""The summary of a detector, an imputer or a generator: what it learned from, its parts, and its networks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape

from .network import NetworkSummary

__all__ = ["EnsembleSummary"]


@dataclass(frozen=True)
class EnsembleSummary:
    """The parts of a fitted detector, imputer or generator, shown as a table; from ``estimator.summary()``."""

    name: str
    """The name of the estimator's class."""
    facts: tuple[tuple[str, str], ...]
    """What it learned from and its parts, as names and values."""
    networks: tuple[NetworkSummary, ...]
    """The summary of each network."""

    def _rows(self) -> list[tuple[str, str]]:
        heads = Counter(str(one).splitlines()[0] for one in self.networks)
        return [*self.facts, *((f"{n} network{'s' * (n > 1)}", head) for head, n in heads.items())]

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join([self.name, "", *(f"{name:<{width}}  {value}" for name, value in rows)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        left = ' style="text-align:left"'
        rows = "".join(
            f"<tr><th{left}>{escape(name)}</th><td{left}>{escape(value)}</td></tr>" for name, value in self._rows()
        )
        return f"<table><caption{left}>{escape(self.name)}</caption><tbody>{rows}</tbody></table>"
