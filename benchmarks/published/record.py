"""What a row promises and what was found, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from .study import Figures, Study

__all__ = ["Bound", "Found", "Row"]


@dataclass(frozen=True)
class Bound:
    """What a figure must not pass; the mean over seeds is held against it."""

    figure: str
    limit: float
    at_most: bool = True
    wished: float | None = None
    """A further goal, which would be good to reach."""

    def check(self, figures: Figures) -> dict[str, Any]:
        """Whether the figure keeps within it."""
        value = fmean(figures[self.figure])
        holds = value <= self.limit if self.at_most else value >= self.limit
        return {
            "figure": self.figure,
            "bound": f"{'≤' if self.at_most else '≥'} {self.limit:g}",
            "value": value,
            "met": bool(holds),
            "wished": self.wished,
        }


@dataclass
class Found:
    """A row's outcome."""

    figures: Figures
    """Of the test rows, by name; the first is the row's value."""
    control: Figures = field(default_factory=dict)
    """The same figures of what must be worse (or be as stated), under the same protocol."""
    settings: list[str] = field(default_factory=list)
    """What was trained, as one would write it."""
    bounds: Sequence[Bound] = ()
    """Those that depend on what was found, such as a control's figure."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a published result, and how it is reproduced."""

    name: str
    title: str
    protocol: str
    published: str
    """The numbers and where they stand."""
    unit: str
    run: Callable[[Study], Found]
    bounds: tuple[Bound, ...] = ()
    minutes: float = 10.0
    """What it takes on two cores."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Those that are run if no others are asked for: three, or as many as end within a quarter of an hour."""
    needs_data: bool = True
    """False: scikit-learn's bundled data do."""
    needs: tuple[str, ...] = ()
    """Modules of the extra ``bench``."""
    remarks: str = ""
    """What to know of the outcome, for the documentation."""

    def outcome(self, study: Study) -> dict[str, Any]:
        """Run it; the line to print, and to keep."""
        found = self.run(study)
        bounds = (*self.bounds, *found.bounds)
        first = next(iter(found.figures))
        return {
            "name": self.name,
            "protocol": self.protocol,
            "seeds": list(study.seeds),
            "value": fmean(found.figures[first]),
            "unit": self.unit,
            "published": self.published,
            "control": _summary(found.control),
            "seconds": round(study.seconds, 1),
            "figures": _summary(found.figures),
            "bounds": [bound.check(found.figures | found.control) for bound in bounds],
            "settings": found.settings,
        }


def _summary(figures: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Mean and spread (the standard deviation over seeds) of each, and the numbers themselves."""
    return {
        name: {"mean": fmean(values), "spread": stdev(values) if len(values) > 1 else None, "each": list(values)}
        for name, values in figures.items()
    }
