"""The record as a table to read and as a file to keep."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from .record import Check, Line

__all__ = ["show"]

_NUMBERS = {"ours", "theirs", "ratio"}
_MET = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}


def show(lines: Iterable[Line], console: Console | None = None) -> None:
    """Print every check of every line, then the notes."""
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    table = Table()
    for title in ("line", "what", "unit", "ours", "theirs", "peer", "ratio", "target", ""):
        table.add_column(title, justify="right" if title in _NUMBERS else "left")
    lines = list(lines)
    for line in lines:
        for check in line.checks:
            table.add_row(line.name, *_cells(check))
        table.add_section()
    console.print(table)
    for line in lines:
        for note in [*line.notes, *(f"{side}: {reason}" for side, reason in line.absent.items())]:
            console.print(f"{line.name}: {note}", soft_wrap=True, markup=False, highlight=False)


def _cells(check: Check) -> list[str]:
    target = "" if check.target is None else f"{'≤' if check.at_most else '≥'} {check.target:g}"
    ratio = "" if check.theirs is None or check.value is None else f"{check.value:.2f}"
    met = check.note if check.note else _MET[check.met]
    return [check.what, check.unit, _number(check.ours), _number(check.theirs), check.peer, ratio, target, met]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
