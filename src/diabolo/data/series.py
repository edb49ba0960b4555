"""Series of measurements: rows in the order of time, on a regular grid.

Rows are an array (one series), a list of arrays (several), or a table with a column of times and columns that tell the
series apart. Each series is laid on a grid of the median step: a step without a row is a missing cell, and rows that
fall on one step are averaged.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData, InvalidType, UnseenColumnsWarning
from . import sql
from .arrays import load_array
from .cells import is_date, is_numeric, is_text, unpacked
from .file_options import FileOptions
from .frames import to_arrow
from .readers import files_in, kind_of, read, read_arrow
from .text import open_text
from .types import RowsLike

__all__ = ["SeriesColumns", "SeriesRows", "read_series", "read_table"]

_LONGEST_GAP = 2048
"""A longer gap, in steps, divides a series instead of being filled with missing cells."""
_NEAR_WHOLE = 0.25
"""If all differences of times are this near to whole steps, each is rounded by itself, so that months stay months."""
_MOST = np.finfo(np.float32).max


@dataclass(frozen=True)
class SeriesColumns:
    """The columns of a table of series, as they are named by the user and were found by `fit`.

    Parameters
    ----------
    time : str or None
        The column of times; None: rows are one step apart.
    keys : tuple of str
        The columns that tell series apart.
    names : tuple of str or None
        The columns of measurements, the channels; None: all others of a table.
    n_channels : int or None
        The number of channels; None: not known yet.
    step : float or None
        The step of the grid, in seconds, or in units of a column of numbers; None: the median step of these rows.
    """

    time: str | None = None
    keys: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    n_channels: int | None = None
    step: float | None = None


@dataclass(frozen=True, eq=False)
class SeriesRows:
    """Series on a grid, and where each row of the input is on it."""

    segments: list[np.ndarray]
    """Stretches of the series without long gaps, (steps, channels) each; NaN is a missing cell."""
    place: np.ndarray
    """(n,), the step of each row of the input, counted through all segments."""
    names: tuple[str, ...] | None
    """The names of the channels."""
    step: float
    """The step of the grid, in seconds, or in units of a column of numbers."""
    times: pa.ChunkedArray | None = None
    """The times of the rows, as given."""
    keys: dict[str, pa.ChunkedArray] | None = None
    """The columns that tell series apart, as given."""
    series: np.ndarray | None = None
    """(n,), the number of the series of each row; None: all rows are one series."""

    @property
    def n_channels(self) -> int:
        """The number of channels."""
        return self.segments[0].shape[1]

    @property
    def n_steps(self) -> int:
        """The number of steps of all segments."""
        return sum(map(len, self.segments))

    @property
    def order(self) -> np.ndarray:
        """(n,), the rows in the order of series and time."""
        return np.argsort(self.place, kind="stable")


def read_series(X: RowsLike, columns: SeriesColumns, owner: str) -> SeriesRows:
    """Read series from an array, a list of arrays, a table or a file.

    Raises
    ------
    InvalidData
        If a column is missing or does not hold numbers, a time is missing or not a time, all times are equal, a cell is
        infinite, or the number of channels differs from the fit's.
    InvalidType
        If the rows are of no such kind.
    """
    table = read_table(X)
    if table is not None:
        return _of_table(table, columns, owner)
    if columns.time is not None or columns.keys:
        raise InvalidData(
            f"{owner} was given time={columns.time!r} and key={list(columns.keys)!r}, but X is an array without names "
            "of columns. Give a table, or leave these parameters out."
        )
    return _of_arrays(_as_arrays(X), columns, owner)


# -- sources ----------------------------------------------------------------------------------------------------------


def read_table(X: RowsLike, options: FileOptions | None = None) -> pa.Table | None:
    """Read a table, a file of one, or a query, with its cells as given; None if X is an array or a file of one.

    Raises
    ------
    InvalidData
        If there is no such file, or it cannot be read.
    """
    if not isinstance(X, str | os.PathLike):
        return to_arrow(X)
    where = os.fspath(X)
    if sql.is_query(where):
        return pa.Table.from_batches(list(sql.answer(where)))
    files = files_in(where)
    kinds = {kind_of(file) for file in files}
    if len(kinds) > 1:
        raise InvalidData(f"{where} holds files of several kinds ({', '.join(sorted(kinds))}). Name files of one kind.")
    if kinds == {".csv"}:
        return open_text(files, options=options).table()
    return read_arrow(files, None)


def _as_arrays(X: RowsLike) -> list[np.ndarray]:
    """Return the series of an array, (n,), (n, channels) or (series, n, channels), or of a list of arrays."""
    if isinstance(X, str | os.PathLike):
        files = files_in(os.fspath(X))
        is_array = {kind_of(file) for file in files} == {".npy"}
        return [_as_array(load_array(file)) for file in files] if is_array else [read(X).rows]
    is_list = isinstance(X, list | tuple) and len(X) > 0 and all(np.ndim(one) > 0 for one in X)
    if is_list and isinstance(X, list | tuple) and any(isinstance(one, np.ndarray) for one in X):
        return [_as_array(one) for one in X]
    array = _as_array(X, most=3)
    return list(array) if array.ndim == 3 else [array]


def _as_array(X: RowsLike, most: int = 2) -> np.ndarray:
    if hasattr(X, "toarray"):
        raise InvalidType("A series cannot be a sparse matrix. Give a dense array: X.toarray().")
    try:
        array = np.asarray(X)
        if array.dtype.kind not in "biuf":
            array = array.astype(np.float64) if array.dtype.kind == "O" else array
        if array.dtype.kind not in "biuf":
            raise InvalidType(f"A series is an array of numbers; got {array.dtype}. Give numbers, or a table.")
    except (TypeError, ValueError) as error:
        raise InvalidType(f"A series is an array of numbers, (n,) or (n, channels): {error}.") from error
    if not 1 <= array.ndim <= most:
        raise InvalidData(f"A series has shape (n,) or (n, channels); got {array.shape}. Give rows in time order.")
    array = array[:, None] if array.ndim == 1 else array
    return array.astype(np.float64)


def _of_arrays(arrays: list[np.ndarray], columns: SeriesColumns, owner: str) -> SeriesRows:
    widths = {array.shape[1] for array in arrays}
    if len(widths) > 1:
        raise InvalidData(f"The series have {', '.join(map(str, sorted(widths)))} channels. Give all the same number.")
    names = columns.names if columns.n_channels is None else tuple(map(str, range(columns.n_channels)))
    _check(np.concatenate(arrays), columns.names or names, columns.n_channels, owner)
    n = [len(array) for array in arrays]
    return SeriesRows(
        [array for array in arrays if len(array)],
        np.arange(sum(n)),
        columns.names,
        1.0,
        series=None if len(arrays) == 1 else np.repeat(np.arange(len(arrays)), n),
    )


def _check(values: np.ndarray, names: Sequence[str] | None, n_channels: int | None, owner: str) -> None:
    if n_channels is not None and values.shape[1] != n_channels:
        raise InvalidData(
            f"X has {values.shape[1]} channels, but {owner} was fitted to {n_channels}. Give the same channels."
        )
    if not values.size:
        raise InvalidData(f"X has shape {values.shape}: a series needs rows and at least one channel.")
    with np.errstate(invalid="ignore"):
        is_wrong = np.abs(values) > _MOST
    if is_wrong.any():
        row, at = np.argwhere(is_wrong)[0]
        name = names[at] if names is not None else at
        raise InvalidData(
            f"Channel {name} holds {values[row, at]:g} (row {row + 1}), which is no finite 32-bit number."
        )


# -- tables -----------------------------------------------------------------------------------------------------------


def _of_table(table: pa.Table, columns: SeriesColumns, owner: str) -> SeriesRows:
    special = [*columns.keys, *([] if columns.time is None else [columns.time])]
    if absent := [name for name in (*special, *(columns.names or ())) if name not in table.column_names]:
        raise InvalidData(
            f"There is no column named {', '.join(absent)}. The columns are: {', '.join(table.column_names[:12])}."
        )
    names = columns.names or tuple(name for name in table.column_names if name not in special)
    if unseen := tuple(name for name in table.column_names if name not in (*special, *names)):
        message = f"{len(unseen)} of the columns are not used by this model: {', '.join(unseen[:8])}."
        warnings.warn(UnseenColumnsWarning(message, unseen), stacklevel=2)
    values = np.column_stack([_numbers(table[name], name, special) for name in names] or [np.empty((len(table), 0))])
    _check(values, names, columns.n_channels, owner)
    series = _numbered([table[name] for name in columns.keys], len(table))
    times = None if columns.time is None else _seconds(table[columns.time], columns.time)
    order = np.lexsort((np.arange(len(table)) if times is None else times, series))
    cells, step = _cells(order, series, times, columns.step)
    return _on_grid(values, order, series, cells, step, names, table, columns)


def _numbers(cells: pa.ChunkedArray, name: str, special: Sequence[str]) -> np.ndarray:
    cells = unpacked(cells)
    if pa.types.is_null(cells.type):
        return np.full(len(cells), np.nan)
    if not is_numeric(cells.type):
        hint = f"name the column of times with time={name!r}" if is_date(cells.type) and not special else "leave it out"
        raise InvalidData(f"Column {name} holds no numbers ({cells.type}): {hint}, or name it as key.")
    found: np.ndarray = cells.cast(pa.float64()).to_numpy()
    return found


def _numbered(keys: list[pa.ChunkedArray], n: int) -> np.ndarray:
    """Return the number of the series of each row, (n,), in the order of their first rows."""
    number = np.zeros(n, np.int64)
    for key in keys:
        codes = pc.dictionary_encode(unpacked(key), null_encoding="encode").combine_chunks()
        codes = codes.indices if isinstance(codes, pa.DictionaryArray) else codes.chunk(0).indices
        number = number * (n + 1) + np.asarray(codes)
        _, first, number = np.unique(number, return_index=True, return_inverse=True)
        number = np.argsort(np.argsort(first))[number]
    return number


def _seconds(cells: pa.ChunkedArray, name: str) -> np.ndarray:
    """Return times as numbers, (n,): seconds since the first row's, or the numbers of a column of numbers."""
    cells = unpacked(cells)
    if cells.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(cells)))[0]) + 1
        raise InvalidData(f"Row {row} has no time in column {name}. Give each row a time, or leave the row out.")
    if is_text(cells.type):
        cells = _moments(cells, name)
    if is_date(cells.type):
        unit, per_second = ("ns", 1e9) if getattr(cells.type, "unit", "") == "ns" else ("us", 1e6)
        ticks = cells.cast(pa.timestamp(unit, getattr(cells.type, "tz", None)), safe=False).cast(pa.int64()).to_numpy()
        return (ticks - ticks[0]).astype(np.float64) / per_second if len(ticks) else np.empty(0)
    if not is_numeric(cells.type):
        raise InvalidData(f"Column {name} holds no times ({cells.type}). Name a column of dates, times or numbers.")
    found = cells.cast(pa.float64()).to_numpy()
    if not np.isfinite(found).all():
        raise InvalidData(f"Row {int(np.flatnonzero(~np.isfinite(found))[0]) + 1} has no time in column {name}.")
    return found


def _moments(cells: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return texts as moments: all without a zone, or all with an offset from UTC."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return cells.cast(kind)
        except pa.ArrowInvalid as error:
            reason = error
    raise InvalidData(f"Column {name} holds no times: {reason}. Give dates as 2024-01-31 12:00:00.")


def _cells(
    order: np.ndarray, series: np.ndarray, times: np.ndarray | None, step: float | None
) -> tuple[np.ndarray, float]:
    """Return the step of each row on its series' grid, in the given order, and the length of a step."""
    of = series[order]
    is_first = np.diff(of, prepend=-1) != 0
    if times is None:
        place = np.arange(len(order))
        return place - np.maximum.accumulate(np.where(is_first, place, 0)), 1.0
    ordered = times[order]
    gaps = np.diff(ordered, prepend=ordered[:1])
    gaps[is_first] = 0
    real = gaps[gaps > 0]
    if step is None:
        if not len(real):
            raise InvalidData("All rows of a series have one time. Give the column of times, or the columns of keys.")
        step = float(np.median(real))
    relative = gaps / step
    whole = np.round(relative)
    is_regular = bool((np.abs(relative - whole)[gaps > 0] <= _NEAR_WHOLE).all() and (whole[gaps > 0] >= 1).all())
    passed = np.cumsum(whole if is_regular else relative)
    passed -= np.maximum.accumulate(np.where(is_first, passed, -np.inf))
    return np.round(passed).astype(np.int64), step


def _on_grid(
    values: np.ndarray,
    order: np.ndarray,
    series: np.ndarray,
    cells: np.ndarray,
    step: float,
    names: tuple[str, ...],
    table: pa.Table,
    columns: SeriesColumns,
) -> SeriesRows:
    is_start = (np.diff(series[order], prepend=-1) != 0) | (np.diff(cells, prepend=0) > _LONGEST_GAP)
    starts = np.flatnonzero(is_start)
    ends = np.append(starts[1:], len(order))
    segments, place, first = [], np.empty(len(order), np.int64), 0
    for start, end in zip(starts, ends, strict=True):
        rows, at = order[start:end], cells[start:end] - cells[start]
        segments.append(_averaged(values[rows], at))
        place[rows] = first + at
        first += len(segments[-1])
    return SeriesRows(
        segments,
        place,
        names,
        step,
        None if columns.time is None else table[columns.time],
        {name: table[name] for name in columns.keys} if columns.keys else None,
        series if columns.keys else None,
    )


def _averaged(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the mean of the known values at each step, (steps, channels); NaN where there is none."""
    total, count = (np.zeros((int(at[-1]) + 1, values.shape[1])) for _ in range(2))
    is_known = ~np.isnan(values)
    np.add.at(total, at, np.where(is_known, values, 0))
    np.add.at(count, at, is_known)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
