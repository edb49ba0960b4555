"""What a line of the benchmark found: figures with every repeat, and the targets they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

__all__ = ["Check", "Figure", "Line"]


@dataclass(frozen=True)
class Figure:
    """One quantity, measured some times."""

    unit: str
    repeats: list[float]

    @property
    def median(self) -> float:
        """What is compared."""
        return float(median(self.repeats))


@dataclass(frozen=True)
class Check:
    """A figure of ours beside a peer's or a bound, and the target, if there is one."""

    what: str
    unit: str
    ours: float | None
    peer: str
    theirs: float | None
    value: float | None
    """What is held against the target: how many times better than the peer, or our figure itself."""
    target: float | None = None
    at_most: bool = False
    """Whether the target is an upper bound."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None: no target, or nothing to compare with."""
        if self.target is None or self.value is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass
class Line:
    """One line of the benchmark."""

    name: str
    settings: dict[str, Any]
    figures: dict[str, Figure] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Sides that could not take part, and why."""

    def add(self, name: str, unit: str, repeats: Sequence[float]) -> None:
        """Enter a figure."""
        self.figures[name] = Figure(unit, [float(value) for value in repeats])

    def best(self, *names: str) -> str:
        """The figure with the highest median among those that were measured; the first name if none was."""
        there = [name for name in names if name in self.figures]
        return max(there, key=lambda name: self.figures[name].median) if there else names[0]

    def compare(
        self,
        what: str,
        ours: str,
        theirs: str,
        target: float | None = None,
        *,
        less_is_better: bool = False,
        peer: str | None = None,
    ) -> None:
        """How many times better ours is than theirs, held against ``target``."""
        mine, other = self.figures.get(ours), self.figures.get(theirs)
        value = None
        if mine and other:
            over, under = (other, mine) if less_is_better else (mine, other)
            value = over.median / under.median
        self.checks.append(
            Check(
                what,
                (mine or other or Figure("", [])).unit,
                mine.median if mine else None,
                peer or theirs,
                other.median if other else None,
                value,
                target,
                note="" if value is not None else "not measured",
            )
        )

    def bound(self, what: str, ours: str, at_most: float) -> None:
        """Our figure itself, held against an upper bound."""
        mine = self.figures.get(ours)
        value = mine.median if mine else None
        unit = mine.unit if mine else ""
        note = "" if mine else "not measured"
        self.checks.append(Check(what, unit, value, "", None, value, at_most, at_most=True, note=note))

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {
            "settings": self.settings,
            "figures": {name: asdict(figure) | {"median": figure.median} for name, figure in self.figures.items()},
            "checks": [asdict(check) | {"met": check.met} for check in self.checks],
            "absent": self.absent,
            "notes": self.notes,
        }
