"""The type of a finding, and helpers that the rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..collect import LEAST_ROWS, ReportData, RowResults

__all__ = ["Finding", "Rule", "enough", "listed"]


class Finding(NamedTuple):
    """A problem of a fitted model.

    Attributes
    ----------
    title : str
        The name of the problem: a few words.
    evidence : str
        The figures that show the problem.
    action : str
        What to do.
    serious : bool
        Whether the results are unreliable until the problem is solved.
    """

    title: str
    evidence: str
    action: str
    serious: bool = False


Rule = Callable[[ReportData], Iterator[Finding]]


def listed(names: Iterable[Any], most: int = 4) -> str:
    """Join the first ``most`` names with commas, followed by the number of the others."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most:,} more" if len(shown) > most else "")


def enough(e: ReportData) -> RowResults | None:
    """Return the results of the report's rows; None if there are too few rows to measure variation over rows."""
    return e.results if e.results is not None and len(e.results.rows) >= LEAST_ROWS else None
