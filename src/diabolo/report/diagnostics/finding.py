"""A finding, and what the rules have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..collect import LEAST_ROWS, ReportData, RowResults

__all__ = ["Finding", "Rule", "enough", "listed"]


class Finding(NamedTuple):
    """One problem.

    Attributes
    ----------
    title : str
        Its name, a few words.
    evidence : str
        The figure it rests on.
    action : str
        What to do.
    serious : bool
        Whether results should not be trusted until it is solved.
    """

    title: str
    evidence: str
    action: str
    serious: bool = False


Rule = Callable[[ReportData], Iterator[Finding]]


def listed(names: Iterable[Any], most: int = 4) -> str:
    """Join names with commas: the first ``most``, then how many more there are."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most:,} more" if len(shown) > most else "")


def enough(e: ReportData) -> RowResults | None:
    """Return the report's rows, if there are enough to say how values vary over rows."""
    return e.seen if e.seen is not None and len(e.seen.rows) >= LEAST_ROWS else None
