"""Alarms: the stretches of flagged rows of a series, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..data.containers import Container
from ..data.series import SeriesRows
from ..data.types import Frame, Name, RowsLike
from .output import table_like
from .series_model import SeriesModel

__all__ = ["alarm_table", "table_of"]

_EXPECTED = 2.0
"""What is subtracted from each row's deviation, whose usual mean is 1: usual rows shorten an alarm."""
_REFINED = 2
"""How often the unusual part of an alarm is hidden, so that it does not shift its own expectation."""
_FARTHEST = 10.0
"""Largest deviation that counts: one row outweighs at most this many usual ones between two unusual parts."""
_MOST_PASSES = 10


class Alarm(NamedTuple):
    """An alarm: rows of the input."""

    start: int
    end: int
    peak: int
    score: float
    channel: int


def alarm_table(rows: SeriesRows, model: SeriesModel, threshold: float) -> pa.Table:
    """Return the alarms of series, most unusual first, without their p-values.

    The unusual part of each stretch of rows whose scores are at least the threshold is an alarm. It is then hidden, and
    the others are scored again, until no score reaches the threshold: a second cause near the first is an alarm of its
    own.
    """
    length, hidden = model.scorer.length, [segment.copy() for segment in rows.segments]
    alarms: list[Alarm] = []
    for i in range(_MOST_PASSES):
        energies = model.energies(replace(rows, segments=hidden))
        scores = model.scores(energies)
        is_open = ~np.isnan(np.concatenate(hidden)[rows.place]).all(axis=1)  # not missing, nor in an alarm already
        deviations = np.where(is_open, np.nan_to_num(model.deviations(rows, hidden)), 0)
        stretches = list(_stretches(rows, length, scores >= threshold))
        if i:  # nothing unusual is left in the surroundings of most alarms
            stretches = [one for one in stretches if deviations[one].max() > _EXPECTED]
        if not stretches:
            break
        for _ in range(_REFINED):
            without = [segment.copy() for segment in hidden]
            _hide(without, rows.place[np.concatenate([_core(one, deviations, length) for one in stretches])])
            again = model.deviations(rows, without)
            deviations = np.where(np.isnan(again) | (deviations == 0), deviations, again)
        cores = [_core(one, deviations, length) for one in stretches]
        for stretch, core in zip(stretches, cores, strict=True):
            top = stretch[np.argmax(scores[stretch])]
            channel = int(np.argmax(model.rarities.shares(energies[[top]])))
            peak = core[np.argmax(deviations[core])]
            alarms.append(Alarm(int(core[0]), int(core[-1]), int(peak), float(scores[top]), channel))
        _hide(hidden, rows.place[np.concatenate(cores)])
    return _as_table(rows, sorted(alarms, key=lambda alarm: -alarm.score))


def _as_table(rows: SeriesRows, alarms: list[Alarm]) -> pa.Table:
    first = pa.array([alarm.start for alarm in alarms], pa.int64())
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    if rows.keys is not None:
        columns = {name: cells.take(first) for name, cells in rows.keys.items()}
    elif rows.series is not None:
        columns = {"series": pa.array(rows.series).take(first)}
    for name in ("start", "end", "peak"):
        at = pa.array([getattr(alarm, name) for alarm in alarms], pa.int64())
        columns[name] = at if rows.times is None else rows.times.take(at)
    columns["score"] = pa.array([alarm.score for alarm in alarms], pa.float64())
    names: Sequence[Name] = rows.names or range(rows.n_channels)
    kind = pa.string() if rows.names is not None else pa.int64()
    columns["channel"] = pa.array([names[alarm.channel] for alarm in alarms], kind)
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


def _core(stretch: np.ndarray, deviations: np.ndarray, length: int) -> np.ndarray:
    """Return the unusual part of a stretch of rows: around the largest deviation, as far as the excess grows.

    A row's score comes from the windows that hold it, so that flagged rows begin before their cause. The excess is the
    sum of deviations over twice their usual mean; where it has fallen by a quarter of a window's usual rows, the part
    ends (the X-drop rule of sequence alignment, Altschul et al. 1990).
    """
    of_rows = deviations[stretch]
    peak = int(np.argmax(of_rows))
    excess = np.minimum(of_rows, _FARTHEST) - _EXPECTED
    before, after = (_extension(some, length / 4) for some in (excess[:peak][::-1], excess[peak + 1 :]))
    return stretch[peak - before : peak + after + 1]


def _extension(excess: np.ndarray, drop: float) -> int:
    """Return for how many rows the sum of the excess grows, before it has fallen by ``drop`` from its maximum."""
    total = np.cumsum(np.append(0.0, excess))
    fallen = np.flatnonzero(np.maximum.accumulate(total) - total > drop)
    return int(np.argmax(total[: fallen[0]] if len(fallen) else total))


def table_of(rows: np.ndarray | pa.Table, X: RowsLike, labels: Sequence[Name] = ()) -> Frame:
    """Return a result in the library of ``X``: an array of its rows with labels, or an Arrow table of its own rows."""
    if isinstance(rows, np.ndarray):
        return table_like(X, rows, labels)
    form = Container.of(X)
    if form is None:
        return rows
    return Container(form.library, tuple(rows.column_names), (None,) * rows.num_columns).build(rows)
