"""Progress bars on a terminal and in notebooks, removed when the work is done. Elsewhere nothing is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from html import escape
from types import TracebackType
from typing import Any, Self

__all__ = ["Bar", "EpochBar", "in_words"]

_NO_TERMS = ("loss", "beta", "learning_rate")


class Bar:
    """A progress bar, on stderr or in the output of a notebook's cell.

    Parameters
    ----------
    label : str
    total : float
        The amount of work.
    enabled : bool
        False: never shown. True: shown if stderr is a terminal, or in a notebook.
    text : str
        The text until the first update.
    """

    def __init__(self, label: str, total: float, enabled: bool, text: str = "") -> None:
        self._label, self._total, self._text = label, total, text
        self._bar: Any = None
        if enabled and sys.stderr.isatty():
            self._bar = _bar()
        elif enabled and _in_notebook():
            self._bar = _NotebookBar()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=None, text=self._text)
        return self

    def show(self, done: float, text: str = "") -> None:
        """Show the amount of work done, and a text."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total, text=text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


class EpochBar(Bar):
    """A progress bar of a training, with epoch, loss, terms and β; "compiling" until the first epoch ends."""

    def __init__(self, n_epochs: int, label: str, enabled: bool) -> None:
        super().__init__(label, n_epochs, enabled, "compiling")

    def __call__(self, epoch: int, record: dict[str, float]) -> None:
        """Show that an epoch is done."""
        self.show(epoch, f"epoch {epoch}/{self._total}, {_losses(record)}")

    def within(self, epochs: float) -> None:
        """Show the number of epochs done, as a fraction, within an epoch."""
        self.show(epochs, f"epoch {int(epochs) + 1}/{self._total}")


def _losses(record: Mapping[str, float]) -> str:
    """Return an epoch's record as one line: training and validation loss, β, and the terms if there are several."""
    text = f"loss {record['loss']:.4g}"
    if (held_out := record.get("validation_loss")) is not None:
        text += f", held out {held_out:.4g}"
    if record.get("beta", 1.0) != 1.0:
        text += f", β {record['beta']:.2f}"
    terms = [name for name in record if name not in _NO_TERMS and not name.startswith("validation_")]
    if len(terms) > 1:  # long names last, because a narrow terminal cuts the end
        text += "".join(f", {name} {record[name]:.4g}" for name in sorted(terms, key=len))
    return text


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16, table_column=Column(min_width=16)),
        TimeRemainingColumn(compact=True, table_column=Column(min_width=5, no_wrap=True)),
        TextColumn("[dim]{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )


def _in_notebook() -> bool:
    """Return whether the code runs in a kernel of Jupyter, which only a notebook's program has imported."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _NotebookBar:
    """A bar in the output of a cell, with the methods of rich's ``Progress`` that `Bar` uses."""

    _PERIOD = 0.2
    """Seconds between two updates: each is a message to the browser."""

    def start(self) -> None:
        from IPython.display import display

        self._next = 0.0
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def add_task(self, label: str, *, total: float | None, text: str) -> int:
        self._label = label
        self._show("<progress></progress>", text)
        return 0

    def update(self, task: int, *, completed: float, total: float, text: str) -> None:
        now = time.monotonic()
        if now >= self._next or completed >= total:
            self._next = now + self._PERIOD
            self._show(f'<progress value="{completed:g}" max="{total:g}"></progress>', text)

    def stop(self) -> None:
        self._handle.update({"text/html": "", "text/plain": ""}, raw=True)

    def _show(self, bar: str, text: str) -> None:
        line = f"{self._label} {text}"
        html = f'<div style="font-family: monospace">{bar} {escape(line)}</div>'
        self._handle.update({"text/html": html, "text/plain": line}, raw=True)


def in_words(seconds: float) -> str:
    """Return a duration as text, rounded to a useful precision.

    >>> in_words(40), in_words(1500), in_words(9000), in_words(400_000)
    ('40 s', '25 min', '2.5 h', '4.6 days')
    """
    for limit, unit, digits in ((120, 1, "{:.0f} s"), (7200, 60, "{:.0f} min"), (172_800, 3600, "{:.1f} h")):
        if seconds < limit:
            return digits.format(seconds / unit)
    return f"{seconds / 86_400:.1f} days"
