"""What every line is given, and how sides take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .record import Line

__all__ = ["Absent", "Context", "Unmeasurable", "by_turns", "gather"]

T = TypeVar("T")


class Unmeasurable(Exception):
    """A line that cannot be measured here, and why."""


class Absent(Exception):
    """A side that cannot take part, and why."""


@dataclass(frozen=True)
class Context:
    """The run's settings."""

    data: Path | None
    repeats: int
    quick: bool
    results: Path
    """Where pictures go."""

    def pick(self, full: T, quick: T) -> T:
        """One of two sizes of a job."""
        return quick if self.quick else full


def gather(line: Line, builders: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Build the sides that can take part; the line keeps the others' reasons."""
    sides = {}
    for name, build in builders.items():
        try:
            sides[name] = build()
        except Absent as reason:
            line.absent[name] = str(reason)
    return sides


def by_turns(sides: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """A B C A B C …: what disturbs the machine disturbs all sides alike."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(side())
    return found
