"""Detection of columns that identify rows instead of describing them: ids and times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from .cells import as_days, as_numbers, is_date, is_numeric, is_text

__all__ = ["LEAST_ROWS", "Order", "any_may_mislead", "any_misleads"]

LEAST_ROWS = 20
"""With fewer rows, a sequence may be chance."""
_ID = re.compile(r"(^|[\W_])(?i:id|ids|uuid|guid|rowid|idx|index|key|no|nr)$|(?<=[a-z])(ID|Id|Index|Key|No|Nr)$")
_CLOCK = re.compile(r"^t$|time|date|epoch|clock|second|stamp|minute|hour|day|week|month|year", re.IGNORECASE)
_EPOCHS = (1e8, 1e19)
"""The range of times since 1970, in seconds to nanoseconds, for the years 1973 to 2280."""
_MOST_VALUES = 1_000_000
_HEAD = 1_000


class Order:
    """Statistics of a column's values in the order of the rows, computed in chunks.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_id, self._is_clock = bool(_ID.search(name)), bool(_CLOCK.search(name))
        self._n, self._n_texts, self._n_missing = 0, 0, 0
        self._low, self._high, self._last = np.inf, -np.inf, np.nan
        self._first, self._sum, self._squares = 0.0, 0.0, 0.0
        self._steps = (np.inf, -np.inf)
        self._n_falls, self._n_rises = 0, 0
        self._repeats = False
        self._whole, self._dates = True, False
        self._values: set[float] | None = set()
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
        if not len(known):
            return
        if not self._n:
            self._first = float(known[0])
        steps = np.diff(known, prepend=self._last if self._n else known[0])
        steps = steps if self._n else steps[1:]
        if len(steps):
            self._steps = (min(self._steps[0], float(steps.min())), max(self._steps[1], float(steps.max())))
            self._n_rises += int((steps > 0).sum())
            self._n_falls += int((steps < 0).sum())
        self._repeats |= len(known) <= _HEAD and len(np.unique(known)) < len(known)
        self._last = float(known[-1])
        self._low, self._high = min(self._low, float(known.min())), max(self._high, float(known.max()))
        self._whole &= bool((known == np.floor(known)).all())
        with np.errstate(over="ignore", invalid="ignore"):
            away = known - self._first
            self._sum += float(away.sum())
            self._squares += float(away @ away)
        self._n += len(known)
        if self._is_id and self._values is not None:
            self._values |= set(known.tolist())
            if len(self._values) < self._n or self._n > _MOST_VALUES:
                self._values = None

    @property
    def may_mislead(self) -> bool:
        """Whether more rows may still show that the column identifies the rows, or has no value."""
        is_ordered = not self._n_falls or not self._n_rises
        if not self._n:
            return True
        is_open = self._dates or ((self._whole or is_ordered) and not self._repeats)
        return is_open and not self._n_missing

    @property
    def misleads(self) -> bool:
        """Whether the column identifies the rows, or has no value."""
        return self._n + self._n_texts == 0 or self.is_id or self.is_clock

    @property
    def is_distinct(self) -> bool:
        """Whether every row has a different text."""
        return self._texts is not None and self._n_texts >= LEAST_ROWS and not self._n_missing

    @property
    def _is_enough(self) -> bool:
        return self._n >= LEAST_ROWS and not self._n_missing and np.isfinite(self._squares)

    @property
    def _is_even(self) -> bool:
        """Whether all steps are equal, up to rounding, and not 0."""
        least, most = self._steps
        return least * most > 0 and most - least <= 1e-6 * max(abs(least), abs(most))

    @property
    def _is_permutation(self) -> bool:
        """Whether the values are a permutation of consecutive integers."""
        n = self._n
        if not self._whole or self._high - self._low != n - 1:
            return False
        low = self._low - self._first
        total, squares = n * low + n * (n - 1) / 2, n * low**2 + low * n * (n - 1) + (n - 1) * n * (2 * n - 1) / 6
        return bool(np.isclose(self._sum, total, rtol=1e-12) and np.isclose(self._squares, squares, rtol=1e-9))

    @property
    def is_id(self) -> bool:
        """Whether the column numbers the rows."""
        if not self._is_enough or self._dates or not self._whole:
            return False
        return self._is_even or self._is_permutation or (self._is_id and self._values is not None)

    @property
    def is_clock(self) -> bool:
        """Whether the column holds the time of each row."""
        if not self._is_enough:
            return False
        n_steps = self._n - 1
        if self._dates:
            return (not self._n_falls or not self._n_rises) and self._n_rises + self._n_falls >= n_steps / 2
        is_rising = self._n_rises == n_steps
        is_epoch = self._whole and self._low >= _EPOCHS[0] and self._high <= _EPOCHS[1]
        return is_rising and (is_epoch or self._is_clock)


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
