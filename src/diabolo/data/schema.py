"""What the columns of a table are, and the way between its cells and the numbers that the formula works on.

A schema is inferred from a table, or from pieces of one, and may be overridden column by column. `Schema.encode` gives
rows of numbers in which columns of one kind lie side by side: numbers and dates, booleans, counts, then each category
as a block of its own. A missing cell is NaN in all the numbers that stand for it. `Schema.decode` is the way back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData, meant

__all__ = [
    "KINDS",
    "MOST_CATEGORIES",
    "Column",
    "Kind",
    "Overrides",
    "Schema",
    "arrow_type",
    "as_floats",
    "is_a_number",
    "is_numeric",
]

Kind = Literal["number", "date", "boolean", "count", "category", "ignore"]
KINDS: tuple[Kind, ...] = ("number", "date", "boolean", "count", "category", "ignore")
"""What a column may be. The order is that of the encoded columns."""
MOST_CATEGORIES = 100
"""With more different texts than this a column is left out, unless its categories are given."""

Overrides = Mapping[str, str | Mapping[str, Any]]
"""By column: its kind, or a mapping with ``kind`` and, for a category, ``categories``."""

_DAY = 86_400
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""Of the years 1 to 9999, in days since 1970."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


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
    """

    name: str
    kind: Kind
    type: str
    low: float | None = None
    high: float | None = None
    whole: bool = False
    categories: tuple[str, ...] = ()
    why: str = ""

    @property
    def width(self) -> int:
        """How many numbers stand for a cell."""
        return len(self.categories) + 1 if self.kind == "category" else int(self.kind != "ignore")

    @property
    def span(self) -> str:
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
            texts = _as_text(cells)
            known = pc.index_in(texts, value_set=pa.array(self.categories, pa.string()))
            at = known.fill_null(len(self.categories)).to_numpy()
            numbers = np.eye(self.width)[at]
            numbers[texts.is_null().to_numpy()] = np.nan
            return numbers
        read = _days if self.kind == "date" else _numbers
        try:
            return read(cells)[:, None]
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
        into = _from_days if self.kind == "date" else _cast
        return into(values, missing, arrow_type(self.type))


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in the user's order.

    Parameters
    ----------
    columns : tuple of Column

    Examples
    --------
    >>> table = pa.table({"age": [31, 45, None], "plan": ["free", "paid", "free"], "active": [True, False, True]})
    >>> schema = Schema.infer([table])
    >>> print(schema)
    age     number    31 … 45, whole
    plan    category  2: free, paid
    active  boolean
    >>> schema.encode(table).tolist()  # age, active; then free, paid, other
    [[31.0, 1.0, 1.0, 0.0, 0.0], [45.0, 0.0, 0.0, 1.0, 0.0], [nan, 1.0, 1.0, 0.0, 0.0]]
    >>> schema.decode(schema.encode(table)).equals(table)
    True
    """

    columns: tuple[Column, ...]

    @classmethod
    def infer(cls, pieces: Iterable[pa.Table], overrides: Overrides | None = None) -> Schema:
        """From all of a table, in pieces that have the same columns.

        Raises
        ------
        InvalidData
            If an override names no column or no kind, does not suit its column, or no column is left.
        """
        surveys: dict[str, _Survey] = {}
        given = _checked(overrides or {})
        for piece in pieces:
            for name, cells in zip(piece.column_names, piece.columns, strict=True):
                surveys.setdefault(name, _Survey(name, given.get(name, {}))).see(cells)
        if unknown := [str(name) for name in given if name not in surveys]:
            raise InvalidData(
                f"The schema names {', '.join(unknown)}, but there is no such column. {meant(unknown[0], surveys)}"
            )
        schema = cls(tuple(survey.column() for survey in surveys.values()))
        if not schema.used:
            raise InvalidData(f"No column is left to learn from:\n{schema}")
        return schema

    @property
    def used(self) -> tuple[Column, ...]:
        """Those that are not ignored, in the user's order."""
        return tuple(column for column in self.columns if column.kind != "ignore")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns used."""
        return tuple(column.name for column in self.used)

    @cached_property
    def _order(self) -> tuple[Column, ...]:
        """As they lie in encoded rows."""
        place = {kind: int(kind not in ("number", "date")) and KINDS.index(kind) for kind in KINDS}
        return tuple(sorted(self.used, key=lambda column: place[column.kind]))

    @property
    def width(self) -> int:
        """How many numbers an encoded row has."""
        return sum(column.width for column in self._order)

    @property
    def blocks(self) -> tuple[tuple[Kind, int], ...]:
        """An encoded row's blocks: their kind and width. Dates are numbers; each category is a block."""
        found: list[tuple[Kind, int]] = []
        for column in self._order:
            kind: Kind = "number" if column.kind == "date" else column.kind
            if found and found[-1][0] == kind != "category":
                found[-1] = (kind, found[-1][1] + 1)
            else:
                found.append((kind, column.width))
        return tuple(found)

    @property
    def places(self) -> dict[str, slice]:
        """Where each column lies in an encoded row."""
        ends = np.cumsum([column.width for column in self._order]).tolist()
        return {c.name: slice(end - c.width, end) for c, end in zip(self._order, ends, strict=True)}

    @property
    def owners(self) -> tuple[str, ...]:
        """The column that each number of an encoded row belongs to."""
        return tuple(column.name for column in self._order for _ in range(column.width))

    @property
    def labels(self) -> tuple[str, ...]:
        """What each number of an encoded row is called: a column's name, and of a category which one it says."""
        found: list[str] = []
        for column in self._order:
            is_one_of = column.kind == "category"
            found += [f"{column.name}: {c}" for c in (*column.categories, "other")] if is_one_of else [column.name]
        return tuple(found)

    def encode(self, table: pa.Table) -> np.ndarray:
        """The rows of a table that has these columns, (n, width), float64; others it may have are not looked at.

        Raises
        ------
        InvalidData
            If a column is not there, or holds what its kind cannot.
        """
        if absent := [name for name in self.names if name not in table.column_names]:
            raise InvalidData(
                f"There is no column named {', '.join(absent)}. The columns are: {', '.join(table.column_names[:12])}."
            )
        rows = np.empty((table.num_rows, self.width))
        for column in self._order:
            rows[:, self.places[column.name]] = column.encode(table.column(column.name))
        return rows

    def row(self, cells: Mapping[str, Any]) -> pa.Table:
        """A table of one row, of which only these cells are known.

        Raises
        ------
        InvalidData
            If a cell is not of its column's type, out of the range seen, or a category that is not known.
        """
        columns = {}
        for column in self.used:
            value = cells.get(column.name)
            if column.kind == "category" and value is not None and str(value) not in column.categories:
                raise InvalidData(f"{column.name} is never {value!r}. It is one of {', '.join(column.categories)}.")
            try:
                columns[column.name] = pa.array([value]).cast(arrow_type(column.type))
            except pa.ArrowException as error:
                raise InvalidData(f"{value!r} is not a {column.type}, as {column.name} is: {error}.") from error
            if value is not None and column.low is not None and column.high is not None:
                number = column.encode(pa.chunked_array([columns[column.name]]))[0, 0]
                if not column.low <= number <= column.high:
                    raise InvalidData(f"{column.name} is never {value}. It lies in {column.span}.")
        return pa.table(columns)

    def decode(self, rows: np.ndarray) -> pa.Table:
        """Encoded rows, or expectations of such, as a table of the user's columns and types."""
        return pa.table({column.name: column.decode(rows[:, self.places[column.name]]) for column in self.used})

    def filled(self, table: pa.Table, rows: np.ndarray) -> pa.Table:
        """A table whose missing cells are those of encoded rows; others, and columns not used, are as they were."""
        found = self.decode(rows)
        for name in self.names:
            given = table.column(name)
            value = found[name].cast(given.type) if given.type != pa.null() else found[name]
            is_missing = pc.is_null(given, nan_is_null=True)
            whole = pc.if_else(is_missing, value, given.cast(value.type))
            table = table.set_column(table.column_names.index(name), name, whole)
        return table

    def __str__(self) -> str:
        name, kind = (max(len(getattr(c, what)) for c in self.columns) for what in ("name", "kind"))
        return "\n".join(f"{c.name:<{name}}  {c.kind:<{kind}}  {c.span}".rstrip() for c in self.columns)

    def to_json(self) -> list[dict[str, Any]]:
        """What `from_json` reads."""
        usual = Column("", "number", "")
        return [{k: v for k, v in asdict(c).items() if k == "kind" or v != getattr(usual, k)} for c in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[Mapping[str, Any]]) -> Schema:
        """The inverse of `to_json`."""
        made = (Column(**column) for column in columns)
        return cls(tuple(replace(column, categories=tuple(column.categories)) for column in made))


# -- looking at a column ----------------------------------------------------------------------------------------------


def _checked(overrides: Overrides) -> dict[str, dict[str, Any]]:
    """Each as a mapping with a kind."""
    found = {}
    for name, given in overrides.items():
        one = {"kind": given} if not isinstance(given, Mapping) else dict(given)
        if one.get("kind") not in KINDS:
            raise InvalidData(
                f"The schema says {given!r} of column {name}, which is no kind. {meant(one.get('kind'), KINDS)}"
            )
        if unknown := set(one) - {"kind", "categories"}:
            raise InvalidData(
                f"The schema says {', '.join(sorted(map(str, unknown)))} of column {name}. Give a kind, and with "
                "kind = category perhaps its categories."
            )
        if not isinstance(one.get("categories", ()), list | tuple):
            raise InvalidData(f"The categories of column {name} must be a list; got {one['categories']!r}.")
        found[name] = one
    return found


class _Survey:
    """What is seen of a column, in pieces: the kind follows from it, unless it is given."""

    def __init__(self, name: str, given: dict[str, Any]) -> None:
        self._name, self._given = name, given
        self._type: pa.DataType = pa.null()
        self._texts: dict[str, int] = {}
        self._many = False
        self._low, self._high, self._whole = math.inf, -math.inf, True
        self._n, self._origin, self._sum, self._squares = 0, 0.0, 0.0, 0.0

    def see(self, cells: pa.ChunkedArray) -> None:
        """The next cells."""
        kind = cells.type
        if not pa.types.is_null(kind):
            self._type = kind.value_type if pa.types.is_dictionary(kind) else kind
        wanted = self._given.get("kind")
        if wanted == "ignore":
            return
        if wanted == "category" or (wanted is None and is_text(self._type)):
            if not self._many and "categories" not in self._given:
                for found in _as_text(cells).drop_null().value_counts().to_pylist():
                    self._texts[found["values"]] = self._texts.get(found["values"], 0) + found["counts"]
                self._many = wanted is None and len(self._texts) > MOST_CATEGORIES
        elif is_numeric(kind) or pa.types.is_temporal(kind):
            self._look(self._of(cells))

    def _of(self, cells: pa.ChunkedArray) -> np.ndarray:
        try:
            return _days(cells) if pa.types.is_temporal(cells.type) else _numbers(cells)
        except pa.ArrowInvalid as error:
            raise InvalidData(f"Column {self._name} cannot be read as numbers: {error}.") from error
        except pa.ArrowNotImplementedError:
            return np.empty(0)  # a time of day, say, which is left out

    def _look(self, numbers: np.ndarray) -> None:
        known = numbers[np.isfinite(numbers)]
        if not len(known):
            return
        if not self._n:
            self._origin = float(known[0])  # sums are taken from here, lest squares swallow the differences
        self._low, self._high = min(self._low, float(known.min())), max(self._high, float(known.max()))
        self._whole &= bool((known == np.floor(known)).all())
        with np.errstate(over="ignore"):  # of numbers so large that the rows will be refused
            away = known - self._origin
            self._sum += float(away.sum())
            self._squares += float(away @ away)
        self._n += len(known)

    def column(self) -> Column:
        """What it is."""
        kind, why = self._given.get("kind"), "as the schema says"
        if kind is None:
            self._refuse_misread()
            why = self._unusable()
            kind = "ignore" if why else self._found()
        low, high = (self._low, self._high) if self._n else (None, None)
        column = Column(self._name, kind, str(self._type), low, high, self._n > 0 and self._whole)
        if kind == "ignore":
            return Column(self._name, kind, str(self._type), why=why)
        if kind == "category":
            return Column(self._name, kind, str(self._type), categories=self._categories())
        least, most = self._low, self._high
        suits = {
            "date": _is_date(self._type),
            "boolean": is_numeric(self._type) and least >= 0 and most <= 1 and self._whole,
            "count": is_numeric(self._type) and least >= 0 and self._whole,
            "number": is_numeric(self._type),
        }
        if not suits[kind]:
            held = f", {column.span}" if column.span else ""
            raise InvalidData(f"The schema says that {self._name} is a {kind}; it holds {self._type}{held}.")
        return column

    def _categories(self) -> tuple[str, ...]:
        given = self._given.get("categories")
        if given is not None:
            return tuple(map(str, given))
        return tuple(sorted(self._texts, key=lambda text: (-self._texts[text], text)))

    def _refuse_misread(self) -> None:
        """A word among numbers is a cell gone wrong, not a category."""
        words = [text for text in self._texts if not is_a_number(text)]
        if 0 < len(words) < len(self._texts) / 2:
            raise InvalidData(
                f"Column {self._name} holds numbers, but also {', '.join(map(repr, words[:3]))}. Empty such cells, or "
                "say in the schema that it is a category."
            )

    def _unusable(self) -> str:
        """Why nothing can be learned from the cells; nothing, if it can."""
        kind = self._type
        if is_text(kind) and self._many:
            return f"more than {MOST_CATEGORIES} different texts; name its categories to keep it"
        if not (is_text(kind) or is_numeric(kind) or _is_date(kind) or pa.types.is_null(kind)):
            return f"a column of {kind} is neither numbers, texts nor dates"
        return "" if self._texts or self._n else "it has no value"

    def _found(self) -> Kind:
        """The kind that the cells suggest."""
        kind = self._type
        if is_text(kind) or _is_date(kind):
            return "category" if is_text(kind) else "date"
        if pa.types.is_boolean(kind) or (self._whole and (self._low, self._high) == (0, 1)):
            return "boolean"
        # A negative binomial varies at least as much as its mean; what varies less is better told as a number.
        mean = self._sum / self._n
        varies = self._squares / self._n - mean * mean
        return "count" if self._whole and self._low in (0, 1) and varies > mean + self._origin else "number"


# -- Arrow's cells ----------------------------------------------------------------------------------------------------


def is_numeric(kind: pa.DataType) -> bool:
    """Whether cells of this type are numbers, booleans included."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def is_a_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_text(kind: pa.DataType) -> bool:
    """Whether they are texts."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_date(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    return cells.cast(pa.string())


def as_floats(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as 64-bit floats, whole ones beyond 2⁵³ as the nearest."""
    return cells.cast(pa.float64(), safe=not pa.types.is_integer(cells.type))


def _numbers(cells: pa.ChunkedArray) -> np.ndarray:
    found: np.ndarray = as_floats(cells).to_numpy()
    return found


def _days(cells: pa.ChunkedArray) -> np.ndarray:
    """Days since 1970, in universal time; text is not taken for a date."""
    if pa.types.is_date(cells.type):
        return _numbers(cells.cast(pa.date32()).cast(pa.int32()))
    if not (pa.types.is_timestamp(cells.type) or pa.types.is_null(cells.type)):
        raise pa.ArrowNotImplementedError(f"{cells.type} is not a date")
    return _numbers(cells.cast(pa.timestamp("us", getattr(cells.type, "tz", None)), safe=False).cast(pa.int64())) / (
        _DAY * 1e6
    )


def _from_days(days: np.ndarray, missing: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_date(kind):
        return pa.array(np.rint(days).astype(np.int32), mask=missing).cast(pa.date32()).cast(kind)
    unit = kind.unit if kind.unit in _PER_SECOND else "us"  # 64 bits hold a day's nanoseconds no better
    moments = pa.array(np.rint(days * (_DAY * _PER_SECOND[unit])).astype(np.int64), mask=missing)
    return moments.cast(pa.timestamp(unit, kind.tz)).cast(kind)


def _cast(values: np.ndarray, missing: np.ndarray, kind: pa.DataType) -> pa.Array:
    return pa.array(values, mask=missing).cast(kind, safe=False)


def arrow_type(name: str) -> pa.DataType:
    """The type of this name; of decimals, a double."""
    if name.startswith("timestamp[") and "tz=" in name:
        unit, zone = name.removeprefix("timestamp[").removesuffix("]").split(", tz=")
        return pa.timestamp(unit, zone)
    return pa.float64() if name.startswith("decimal") else pa.type_for_alias(name)
