"""What one column of a table is, and the way between its cells and numbers."""

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
"""What a column may be. The order is that of the encoded columns."""


MOST_CATEGORIES = 100
"""With more different texts than this a column is left out, unless its categories are given."""


_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""Of the years 1 to 9999, in days since 1970."""


@dataclass(frozen=True)
class Column:
    """One column of the user's table.

    Parameters
    ----------
    name : str
    kind : {"number", "date", "boolean", "count", "category", "ignore"}
    type : str
        Arrow's name of the type, to which cells are turned back.
    low, high : float or None
        The least and the greatest value seen; days since 1970 for dates. None: there is none.
    whole : bool
        Whether all numbers seen were whole.
    categories : tuple of str
        Those of a category, the most frequent first. A cell that holds any other text is "other": a category that
        training has not seen, so that a model finds it unlikely. It is never given back.
    why : str
        Of a column that is ignored: the reason.
    notation : str
        How a text file wrote its cells: the decimal sign and what groups thousands, or the form of dates. "": as usual.
    missing : tuple of str
        Texts that stood for missing cells in that file.
    options : str
        How the file was said to be read, as JSON.
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
        """How many numbers stand for a cell."""
        return len(self.categories) + 1 if self.kind == "category" else int(self.kind != "ignore")

    @property
    def range_text(self) -> str:
        """What its cells hold, for people."""
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

    # -- from cells to numbers ----------------------------------------------------------------------------------------

    def encode(self, cells: pa.ChunkedArray) -> np.ndarray:
        """The numbers that stand for cells, (n, width), float64; NaN for those that are missing.

        Raises
        ------
        InvalidData
            If the cells are of a type that this kind of column cannot hold.
        """
        if self.kind == "category":
            numbers = np.zeros((len(cells), self.width))
            numbers[np.arange(len(cells)), places_among(cells, self.categories)] = 1.0  # -1 is the last one, "other"
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

    # -- and back -----------------------------------------------------------------------------------------------------

    @property
    def has_order(self) -> bool:
        """Whether one cell may lie between two others: of numbers, dates and counts."""
        return self.kind in ("number", "date", "count")

    def decode(self, numbers: np.ndarray) -> pa.Array:
        """Cells of the column's type: whole numbers rounded, within the range seen; the likeliest category."""
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
