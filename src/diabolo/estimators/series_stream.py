"""Scores of a series whose rows arrive one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..data.frames import to_arrow
from ..data.series import SeriesRows
from ..data.types import RowsLike
from ..errors import InvalidData
from .series_model import SeriesModel

__all__ = ["SeriesStream", "StreamScores"]


class StreamScores(NamedTuple):
    """The scores of rows that are complete: later rows do not change them."""

    rows: np.ndarray
    """(m,), the numbers of the rows, counted from 0 through all updates."""
    scores: np.ndarray
    """(m,), the anomaly scores: −`SeriesDetector.score_samples` of the whole series, up to rounding."""
    p_values: np.ndarray
    """(m,), the p-values."""
    flagged: np.ndarray
    """(m,), whether the p-value is at most the false-alarm rate."""


@dataclass(eq=False)
class SeriesStream:
    """The state of one series that goes on; see `SeriesDetector.stream`."""

    model: SeriesModel
    read: Callable[[RowsLike], SeriesRows]
    judge: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    """From scores to p-values and flags."""
    _steps: np.ndarray = field(init=False)
    """The last steps, (steps, channels): those whose scores are open, and a window's length before them."""
    _open: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """The place among `_steps` of each row whose score is open."""
    _n_rows: int = 0
    """Number of rows so far."""
    _last: pa.Table | None = None
    """The last row of a table."""

    def __post_init__(self) -> None:
        self._steps = np.empty((0, len(self.model.usual)))

    def update(self, X: RowsLike) -> StreamScores:
        """Take the next rows, and return the scores that are complete now.

        A score is complete when ``window_`` − 1 further steps are known: this is the delay.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, channels), or table
            The next rows, in the order of time. A column of times must go on after the last row.

        Returns
        -------
        StreamScores
            The rows whose scores are complete; perhaps none.

        Raises
        ------
        InvalidData
            As `SeriesDetector.score_samples`, or if a time is before that of another row before it.
        """
        table = to_arrow(X)
        goes_on = self._last is not None and table is not None and len(table) > 0
        rows = self.read(_after(self._last, table) if goes_on else X if table is None else table)
        places, segments = rows.place, list(rows.segments)
        if (np.diff(places) < 0).any() or (goes_on and (places[1:] == 0).any()):
            raise InvalidData("The times of the rows do not go on after the last row. Give rows in time order.")
        if goes_on:
            places, segments[0] = places[1:] - 1, segments[0][1:]
        if table is not None and rows.times is not None:
            self._last = table.slice(len(table) - 1)
        found, first = [], 0
        for i, segment in enumerate(segments):
            if i:  # a long gap
                found.append(self._complete(len(self._steps), is_last=True))
            inside = places[(places >= first) & (places < first + len(segment))] - first
            found.append(self._taken(segment, inside))
            first += len(segment)
        return _joined(found)

    def finish(self) -> StreamScores:
        """Return the scores of all rows that are still open, and begin anew: the next row is a new series' first."""
        self._last = None
        return self._complete(len(self._steps), is_last=True)

    def _taken(self, segment: np.ndarray, places: np.ndarray) -> StreamScores:
        self._open = np.concatenate([self._open, len(self._steps) + places])
        self._n_rows += len(places)
        self._steps = np.concatenate([self._steps, segment])
        length = self.model.scorer.length
        end = len(self._steps) - length + 1
        found = self._complete(end)
        if (dropped := end - length + 1) > 0:
            self._steps, self._open = self._steps[dropped:], self._open - dropped
        return found

    def _complete(self, end: int, *, is_last: bool = False) -> StreamScores:
        """Return the scores of open rows at steps before ``end``, and perhaps forget all steps."""
        n_now = int((self._open < end).sum())
        energies = np.empty((0, self._steps.shape[1]))
        if n_now:
            energies = self.model.energies_of(self._steps)[self._open[:n_now]]
        scores = self.model.scores(energies)
        first = self._n_rows - len(self._open)
        self._open = self._open[n_now:]
        if is_last:
            self._steps = self._steps[:0]
        return StreamScores(np.arange(first, first + n_now), scores, *self.judge(scores))


def _after(last: pa.Table, table: pa.Table) -> pa.Table:
    """Return rows with the last row before them."""
    try:
        return pa.concat_tables([last, table], promote_options="permissive")
    except pa.ArrowException as error:
        raise InvalidData(f"The columns of the rows have other types than those of the row before: {error}.") from error


def _joined(found: list[StreamScores]) -> StreamScores:
    return StreamScores(*(np.concatenate(some) for some in zip(*found, strict=True)))
