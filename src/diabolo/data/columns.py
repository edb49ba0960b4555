"""A column of a table: its kind, and the conversion between its cells and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData
from .cells import arrow_type, as_days, as_numbers, from_days, from_numbers, places_among

__all__ = ["KINDS", "MOST_CATEGORIES", "Column", "Kind"]


Kind = Literal["number", "date", "boolean", "count", "category", "ignore"]


KINDS: tuple[Kind, ...] = ("number", "date", "boolean", "count", "category", "ignore")
"""The kinds of columns, in the order of encoded rows."""


MOST_CATEGORIES = 100
"""A column with more distinct texts is left out, unless the user names its kind."""


_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The first day of year 1 and the last day of year 9999, in days since 1970."""


@dataclass(frozen=True)
class Column:
    """One column of the user's table.

    Parameters
    ----------
    name : str
    kind : {"number", "date", "boolean", "count", "category", "ignore"}
    type : str
        Arrow's name of the type of decoded cells.
    low, high : float or None
        The smallest and the largest value in the training data; days since 1970 for dates. None: no value.
    whole : bool
        Whether all numbers in the training data are integers.
    categories : tuple of str
        The values of a category, the most frequent first. A cell with any other text is encoded as "other", a category
        without training rows, so a model finds it unlikely. A decoded cell is never "other".
    why : str
        The reason why a column is ignored.
    notation : str
        The notation of cells in a text file: the decimal and thousands signs, or the form of dates. "": the usual one.
    missing : tuple of str
        The texts that marked missing cells in that file.
    options : str
        The user's file options, as JSON.
    """

    name: str
    kind: Kind
    type: str
    low: float | None = None
    high: float | None = None
    whole: bool = False
    categories: tuple[str, ...] = ()
    why: str = ""
    notation: str = ""
    missing: tuple[str, ...] = ()
    options: str = ""

    @property
    def width(self) -> int:
        """The number of numbers that encode a cell."""
        return len(self.categories) + 1 if self.kind == "category" else int(self.kind != "ignore")

    @property
    def range_text(self) -> str:
        """A description of the cells' values."""
        if self.kind == "ignore":
            return f"left out: {self.why}"
        if self.kind == "category":
            shown = ", ".join(self.categories[:6]) + (", …" if len(self.categories) > 6 else "")
            return f"{len(self.categories)}: {shown}"
        if self.kind == "boolean" or self.low is None or self.high is None:
            return ""
        if self.kind == "date" and _FIRST_DAY <= self.low <= self.high <= _LAST_DAY:
            days = pa.array([self.low, self.high], pa.float64()).cast(pa.int32(), safe=False).cast(pa.date32())
            return f"{days[0]} … {days[1]}"
        return f"{self.low:,.6g} … {self.high:,.6g}" + (", whole" if self.whole and self.kind == "number" else "")

    # -- encoding -----------------------------------------------------------------------------------------------------

    def encode(self, cells: pa.ChunkedArray) -> np.ndarray:
        """Encode cells as numbers, (n, width), float64; NaN for missing cells.

        Raises
        ------
        InvalidData
            If the kind of the column cannot hold cells of this type.
        """
        if self.kind == "category":
            numbers = np.zeros((len(cells), self.width))
            numbers[np.arange(len(cells)), places_among(cells, self.categories)] = (
                1.0  # index -1 is the last number, "other"
            )
            numbers[pc.is_null(cells, nan_is_null=True).to_numpy()] = np.nan
            return numbers
        try:
            found = as_days(cells, arrow_type(self.type)) if self.kind == "date" else as_numbers(cells)
            return found[:, None]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InvalidData(
                f"Column {self.name} holds {cells.type}, but it was {self.type} when the schema was made, a "
                f"{self.kind}: {str(error).splitlines()[0]}."
            ) from error

    # -- decoding -----------------------------------------------------------------------------------------------------

    @property
    def has_order(self) -> bool:
        """Whether values have an order: numbers, dates and counts."""
        return self.kind in ("number", "date", "count")

    def decode(self, numbers: np.ndarray) -> pa.Array:
        """Decode numbers into cells of the column's type.

        Integers are rounded, values are clipped to the training range, and a category is the most likely one.
        """
        missing = np.isnan(numbers).any(axis=1)
        if self.kind == "category":
            best = np.where(missing, len(self.categories), np.nan_to_num(numbers[:, :-1]).argmax(axis=1))
            texts = pa.array([*self.categories, None], pa.string()).take(pa.array(best))
            return texts.cast(arrow_type(self.type))
        values = np.nan_to_num(numbers[:, 0])
        if self.kind == "boolean":
            values = (values >= 0.5).astype(np.float64)
        elif self.low is not None and self.high is not None:
            values = np.clip(values, self.low, self.high)
        if self.kind == "count" or self.whole:
            values = np.rint(values)
        into = from_days if self.kind == "date" else from_numbers
        return into(values, missing, arrow_type(self.type))

    def decode_bound(self, numbers: np.ndarray, *, upper: bool) -> pa.Array:
        """Decode bounds of intervals into cells of the column's type.

        Unlike `decode`, bounds may be outside of the training range, and bounds of integers are rounded outwards. An
        infinite bound of a date is a missing cell; an infinite bound of an integer is a 64-bit float.
        """
        if not self.has_order:
            return self.decode(numbers)
        bounds = numbers[:, 0]
        if self.kind == "count":
            bounds = np.maximum(bounds, 0.0)
        if self.kind == "count" or self.whole:
            bounds = np.ceil(bounds) if upper else np.floor(bounds)
        return self.exact(bounds)

    def exact(self, values: np.ndarray) -> pa.Array:
        """Convert values of an ordered column, (n,), into cells without rounding and clipping.

        The cells have the column's type if it can hold them, otherwise they are 64-bit floats. An infinite date is a
        missing cell.
        """
        missing = np.isnan(values) | (np.isinf(values) & (self.kind == "date"))
        values = np.where(missing, 0.0, values)
        if self.kind == "date":
            return from_days(values, missing, arrow_type(self.type))
        cells = pa.array(values, mask=missing)
        try:
            return cells.cast(arrow_type(self.type))
        except pa.ArrowInvalid:
            return cells
