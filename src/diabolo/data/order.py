"""Detection of columns that identify rows instead of describing them: ids and times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from .cells import as_days, as_numbers, is_date, is_numeric, is_text

__all__ = ["LEAST_ROWS", "Order", "any_may_mislead", "any_misleads"]

LEAST_ROWS = 20
"""With fewer rows, evenly spaced values may be chance."""
_ID = re.compile(r"(^|[\W_])(?i:id|ids|uuid|guid|rowid|idx|index|key|no|nr)$|(?<=[a-z])(ID|Id|Index|Key|No|Nr)$")
_CLOCK = re.compile(r"^t$|time|date|epoch|clock|second|stamp|minute|hour|day|week|month|year", re.IGNORECASE)
_EPOCH, _UNITS = (631_152_000.0, 2_524_608_000.0), (1, 1e3, 1e6, 1e9)
"""Seconds since 1970 for the years 1990 to 2050; and how often a unit of times goes into a second."""
_MOST_MOMENTS = 0.5
"""Least share of different values in a column of moments that are the time of each row."""
_MONTHS = 31 / 28
"""Ratio of the longest to the shortest step in a column of months, quarters or years."""
_MOST_VALUES = 1_000_000
_MOST_EXACT = 2.0**53
_HEAD = 1_000


class _Values:
    """The different values of a column with their numbers of rows; above a million, a sample chosen by a hash.

    All rows of a value are in the sample or none, so a repeated value shows, whatever the order of the rows.
    """

    def __init__(self) -> None:
        self._values, self._counts = np.empty(0), np.empty(0, np.int64)
        self._pending: list[np.ndarray] = []
        self._n_pending, self._level = 0, 0
        self.has_repeats = False
        """Whether a value has several rows, among the values that are sorted in."""

    def add(self, values: np.ndarray) -> None:
        """Add values, which are sorted in later, when there are many."""
        selected = values[self._is_selected(values)] + 0.0  # one zero
        self._pending.append(selected)
        self._n_pending += len(selected)
        if self._n_pending > max(len(self._values), _HEAD):
            self._sort()

    def _sort(self) -> None:
        new, counts = np.unique(np.concatenate([np.empty(0), *self._pending]), return_counts=True)
        self._pending, self._n_pending = [], 0
        merged, place = np.unique(np.concatenate([self._values, new]), return_inverse=True)
        total = np.bincount(place, np.concatenate([self._counts, counts]), len(merged))
        self._values, self._counts = merged, total.astype(np.int64)
        self.has_repeats = bool((self._counts > 1).any())
        while len(self._values) > _MOST_VALUES:
            self._level += 1
            is_kept = self._is_selected(self._values)
            self._values, self._counts = self._values[is_kept], self._counts[is_kept]

    def _is_selected(self, values: np.ndarray) -> np.ndarray:
        if not self._level:
            return np.ones(len(values), bool)
        hashed = (values + 0.0).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        selected: np.ndarray = hashed >> np.uint64(64 - self._level) == 0
        return selected

    @property
    def sorted(self) -> np.ndarray:
        """The different values, ascending."""
        self._sort()
        return self._values

    @property
    def share(self) -> float:
        """The number of different values, as a fraction of the number of rows."""
        return len(self.sorted) / max(1, int(self._counts.sum()))


class Order:
    """Statistics of a column's values, computed in chunks, that show whether it identifies the rows.

    Nothing depends on the order of the rows: a file that happens to be sorted has the same columns as any other.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self._is_id, self._is_clock = bool(_ID.search(name)), bool(_CLOCK.search(name))
        self._n, self._n_texts, self._n_missing, self._n_infinite = 0, 0, 0, 0
        self._low, self._high = np.inf, -np.inf
        self._first, self._sum, self._squares = 0.0, 0.0, 0.0
        self._divisor = 0
        self._whole, self._dates, self._whole_days = True, False, True
        self._values: _Values | None = _Values()
        self._texts: set[str] | None = set()

    def see(self, cells: pa.ChunkedArray) -> None:
        """Add the next cells."""
        if is_text(cells.type):
            self._see_texts(cells)
        elif is_date(cells.type) or (is_numeric(cells.type) and not pa.types.is_boolean(cells.type)):
            self._dates |= is_date(cells.type)
            try:
                found = as_days(cells) if is_date(cells.type) else as_numbers(cells)
            except pa.ArrowException:
                return  # refused elsewhere
            self._see_numbers(found)

    def _see_texts(self, cells: pa.ChunkedArray) -> None:
        if self._texts is None:
            return
        known = cells.drop_null()
        self._n_missing += cells.null_count
        self._n_texts += len(known)
        self._texts |= set(known.unique().to_pylist())
        if len(self._texts) < self._n_texts:
            self._texts = None

    def _see_numbers(self, numbers: np.ndarray) -> None:
        known = numbers[np.isfinite(numbers)]
        self._n_missing += int(np.isnan(numbers).sum())
        self._n_infinite += int(np.isinf(numbers).sum())
        if not len(known):
            return
        if not self._n:
            self._first = float(known[0])  # sums are relative to it, for their precision
        self._n += len(known)
        self._low, self._high = min(self._low, float(known.min())), max(self._high, float(known.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            away = known - self._first
            self._sum += float(away.sum())
            self._squares += float(away @ away)
            self._whole &= bool((known == np.floor(known)).all())
            self._whole_days &= bool((away == np.floor(away)).all())
        if self._whole and max(abs(self._low), abs(self._high)) < _MOST_EXACT:
            self._divisor = int(np.gcd(self._divisor, np.gcd.reduce(np.abs(away).astype(np.int64))))
        if self._values is not None:
            self._values.add(known)
            if not (self._dates or ((self._whole or self._is_clock) and not self._values.has_repeats)):
                self._values = None  # no later row can make it an id or a clock

    @property
    def may_mislead(self) -> bool:
        """Whether more rows may still show that the column identifies the rows, or has no value."""
        if not self._n or self._values is None:
            return not self._n
        return (self._dates or self._values.share == 1) and not self._n_missing

    @property
    def misleads(self) -> bool:
        """Whether the column identifies the rows, or has no value."""
        return self._n + self._n_texts + self._n_infinite == 0 or self.is_id or self.is_clock

    @property
    def is_infinite(self) -> bool:
        """Whether there are infinite numbers and no others."""
        return self._n_infinite > 0 and not self._n

    @property
    def is_distinct(self) -> bool:
        """Whether every row has a different text."""
        return self._texts is not None and self._n_texts >= LEAST_ROWS and not self._n_missing

    @property
    def _distinct(self) -> float:
        """The share of different values; 0 if the rows are too few or some have no value."""
        is_enough = self._n >= LEAST_ROWS and not self._n_missing and np.isfinite(self._squares)
        return self._values.share if is_enough and self._values is not None else 0.0

    @property
    def _is_progression(self) -> bool:
        """Whether the values, all different, are evenly spaced."""
        n, width = self._n, self._high - self._low
        if self._whole:  # n different multiples of the divisor in a range of n multiples
            return self._divisor > 0 and width == self._divisor * (n - 1)
        step, low = width / (n - 1), self._low - self._first
        total = n * low + step * n * (n - 1) / 2
        squares = n * low**2 + low * step * n * (n - 1) + step**2 * (n - 1) * n * (2 * n - 1) / 6
        close = np.isclose([self._sum, self._squares], [total, squares], rtol=1e-9, atol=1e-9 * n * step)
        return bool(close.all())

    @property
    def is_id(self) -> bool:
        """Whether the column numbers the rows: whole numbers, all different, evenly spaced or named as an id."""
        if self._dates or not self._whole or self._distinct < 1:
            return False
        return self._is_progression or self._is_id

    @property
    def is_clock(self) -> bool:
        """Whether the column holds the time of each row."""
        if self._dates:
            return self._is_calendar if self._whole_days else self._distinct >= _MOST_MOMENTS
        if self._distinct < 1:
            return False
        is_epoch = self._whole and any(
            unit * _EPOCH[0] <= self._low <= self._high <= unit * _EPOCH[1] for unit in _UNITS
        )
        return is_epoch or (self._is_clock and self._is_progression)

    @property
    def _is_calendar(self) -> bool:
        """Whether days are all different and follow each other closely, or in steps of equal months or years.

        Half of the days of a range, all different, do not come about by chance: for n independent days the probability
        is below exp(−n/4).
        """
        if self._distinct < 1:
            return False
        assert self._values is not None
        steps = np.diff(self._values.sorted)
        return bool(self._high - self._low < 2 * self._n or steps.max() <= _MONTHS * steps.min())


def any_may_mislead(head: pa.Table) -> bool:
    """Return whether, after the first rows, a column may still be an id, a time of the rows, or empty."""
    orders = {name: Order(name) for name in head.column_names}
    for name, order in orders.items():
        order.see(head.column(name))
    return any(order.may_mislead for order in orders.values())


def any_misleads(pieces: Callable[[], Iterable[pa.Table]]) -> bool:
    """Return whether a column of numbers is an id, a time of the rows, or empty; the chunks can be read again.

    The first rows exclude this for most columns, whose other rows are not read.
    """
    orders: dict[str, Order] = {}
    for piece in pieces():
        if not orders:
            head = piece[:_HEAD]
            orders = {name: Order(name) for name in piece.column_names}
            for name, order in orders.items():
                order.see(head.column(name))
            orders = {name: Order(name) for name, order in orders.items() if order.may_mislead}
        for name, order in orders.items():
            order.see(piece.column(name))
        if not orders:
            return False
    return any(order.misleads for order in orders.values())
