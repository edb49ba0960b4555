"""Alarms: the stretches of flagged rows of a series, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..data.containers import Container
from ..data.series import SeriesRows
from ..data.types import Frame, Name, RowsLike
from .output import table_like

__all__ = ["alarm_table", "table_of"]

_EXPECTED = 2.0
"""What is subtracted from each row's deviation, whose usual mean is 1: usual rows shorten an alarm."""
_REFINED = 2
"""How often the unusual part of an alarm is hidden, so that it does not shift its own expectation."""
_FARTHEST = 1e6
"""Largest deviation that counts, so that sums keep their digits."""


def alarm_table(
    rows: SeriesRows,
    length: int,
    scores: np.ndarray,
    is_flagged: np.ndarray,
    deviate: Callable[[list[np.ndarray]], np.ndarray],
    of_channels: np.ndarray,
) -> pa.Table:
    """Return the alarms of series, most unusual first, without their p-values.

    Parameters
    ----------
    rows : SeriesRows
    length : int
        Flagged rows fewer steps than this apart are one alarm.
    scores, is_flagged : arrays of shape (n,)
        The score of each row, and whether it is flagged.
    deviate : function
        From segments, with some cells hidden (NaN), the squared distance of each row's true values from what the cells
        that are not hidden let expect, (n,), in units of its mean in the training rows; NaN where nothing is expected.
    of_channels : array of shape (n, channels)
        What each channel contributes to the score of each row.
    """
    found = list(_stretches(rows, length, is_flagged))
    deviations = np.nan_to_num(deviate(rows.segments)) if found else np.zeros(len(rows.place))
    for _ in range(_REFINED if found else 0):
        hidden = [segment.copy() for segment in rows.segments]
        _hide(hidden, rows.place[np.concatenate([_core(one, deviations) for one in found])])
        again = deviate(hidden)
        deviations = np.where(np.isnan(again), deviations, again)
    top = [stretch[np.argmax(scores[stretch])] for stretch in found]
    order = np.argsort([-scores[row] for row in top], kind="stable")
    cores = [_core(found[i], deviations) for i in order]
    ends = {
        "start": [core[0] for core in cores],
        "end": [core[-1] for core in cores],
        "peak": [core[np.argmax(deviations[core])] for core in cores],
    }
    first = np.array(ends["start"], np.int64)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    if rows.keys is not None:
        columns = {name: cells.take(pa.array(first)) for name, cells in rows.keys.items()}
    elif rows.series is not None:
        columns = {"series": pa.array(rows.series[first])}
    for name, places in ends.items():
        at = pa.array(np.array(places, np.int64))
        columns[name] = at if rows.times is None else rows.times.take(at)
    at_top = np.array([top[i] for i in order], np.int64)
    columns["score"] = pa.array(scores[at_top])
    names: Sequence[Name] = rows.names or range(rows.n_channels)
    leading = np.argmax(np.nan_to_num(of_channels[at_top]), axis=1) if len(at_top) else np.empty(0, np.int64)
    kind = pa.string() if rows.names is not None else pa.int64()
    columns["channel"] = pa.array([names[i] for i in leading], kind)
    return pa.table(columns)


def _stretches(rows: SeriesRows, length: int, is_flagged: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of each alarm, from its first flagged row to its last, in the order of time."""
    order = rows.order
    flagged = np.flatnonzero(is_flagged[order])
    if not len(flagged):
        return
    place = rows.place[order][flagged]
    bounds = np.cumsum([len(segment) for segment in rows.segments])
    segment = np.searchsorted(bounds, place, side="right")
    cuts = np.flatnonzero((np.diff(place) >= length) | (np.diff(segment) > 0)) + 1
    for some in np.split(flagged, cuts):
        yield order[some[0] : some[-1] + 1]


def _hide(segments: list[np.ndarray], places: np.ndarray) -> None:
    """Set the cells of some steps, counted through all segments, to NaN."""
    bounds = np.cumsum([0, *map(len, segments)])
    for first, end, segment in zip(bounds[:-1], bounds[1:], segments, strict=True):
        segment[places[(places >= first) & (places < end)] - first] = np.nan


def _core(stretch: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Return the part of a stretch of rows with the largest total excess of deviations over twice their usual mean.

    A row's score comes from the windows that hold it, so that flagged rows begin before their cause. This part (a scan
    statistic; Kadane's maximum sum) is where the values themselves are unusual; at least one row.
    """
    total = np.concatenate([[0.0], np.cumsum(np.minimum(deviations[stretch], _FARTHEST) - _EXPECTED)])
    lowest = np.minimum.accumulate(total[:-1])
    end = int(np.argmax(total[1:] - lowest))
    return stretch[int(np.argmin(total[: end + 1])) : end + 1]


def table_of(rows: np.ndarray | pa.Table, X: RowsLike, labels: Sequence[Name] = ()) -> Frame:
    """Return a result in the library of ``X``: an array of its rows with labels, or an Arrow table of its own rows."""
    if isinstance(rows, np.ndarray):
        return table_like(X, rows, labels)
    form = Container.of(X)
    if form is None:
        return rows
    return Container(form.library, tuple(rows.column_names), (None,) * rows.num_columns).build(rows)
