"""A progress bar on a terminal, for whatever takes longer than a second; silence elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

__all__ = ["EpochBar"]

_PATIENCE_SECONDS = 1.0


class EpochBar:
    """Shows epochs and the loss on stderr while training runs.

    Parameters
    ----------
    n_epochs : int
    label : str
    enabled : bool
        False: never shows. True: shows on a terminal, once a second has passed.
    """

    def __init__(self, n_epochs: int, label: str, enabled: bool) -> None:
        self._n_epochs, self._label = n_epochs, label
        self._enabled = enabled and sys.stderr.isatty()
        self._started = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, epoch: int, record: dict[str, float]) -> None:
        """One epoch is done."""
        if not self._enabled or (self._bar is None and time.monotonic() - self._started < _PATIENCE_SECONDS):
            return
        if self._bar is None:
            self._open()
        held_out = record.get("validation_loss")
        text = f"loss {record['loss']:.4g}" + ("" if held_out is None else f"  held out {held_out:.4g}")
        self._bar.update(self._task, completed=epoch, text=text)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            "[bold]{task.description}",
            BarColumn(),
            "{task.completed}/{task.total} epochs",
            TimeRemainingColumn(),
        )
        bar = Progress(
            *(TextColumn(c) if isinstance(c, str) else c for c in columns),
            TextColumn("[dim]{task.fields[text]}"),
            console=Console(stderr=True),
            transient=True,
        )
        bar.start()
        self._task = bar.add_task(self._label, total=self._n_epochs, text="")
        self._bar = bar
