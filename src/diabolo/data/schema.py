"""Schemas: the kinds of a table's columns, and the conversion between its cells and rows of numbers.

A schema is inferred from a table, or from chunks of it, and may be overridden for each column. `Schema.encode` returns
rows of numbers in which columns of one kind are adjacent: numbers and dates, booleans, counts, then each category as a
block. A missing cell is NaN in all its numbers. `Schema.decode` is the inverse.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData, suggest
from .cells import arrow_type, in_zone, is_numeric, places_among, unpacked
from .columns import KINDS, MOST_CATEGORIES, Column, Kind
from .file_options import FileOptions
from .survey import ColumnStats, SchemaOverrides, check_overrides

__all__ = ["KINDS", "MOST_CATEGORIES", "Column", "Kind", "Schema", "SchemaOverrides", "arrow_type", "is_numeric"]


_HEAD = 1_000
"""Number of rows that show of most columns that they are not integers."""
_EXACT = 2.0**53
"""The bound up to which a 64-bit float holds every integer."""


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
    def infer(cls, pieces: Iterable[pa.Table], overrides: SchemaOverrides | None = None) -> Schema:
        """Infer a schema from a whole table, given in chunks with the same columns.

        Raises
        ------
        InvalidData
            If an override has an unknown column or kind, does not suit its column, or no column is left.
        """
        surveys: dict[str, ColumnStats] = {}
        given = check_overrides(overrides or {})
        for piece in pieces:
            for field, cells in zip(piece.schema, piece.columns, strict=True):
                name = field.name
                if name not in surveys:
                    surveys[name] = ColumnStats(name, given.get(name, {}), field.metadata or {})
                surveys[name].see(cells)
        if unknown := [str(name) for name in given if name not in surveys]:
            raise InvalidData(
                f"The schema names {', '.join(unknown)}, but there is no such column. {suggest(unknown[0], surveys)}"
            )
        schema = cls(tuple(survey.column() for survey in surveys.values()))
        if not schema.used:
            raise InvalidData(f"No column is left to learn from:\n{schema}")
        for survey in surveys.values():
            survey.warn()
        return schema

    @classmethod
    def of_numbers(cls, names: Sequence[str], pieces: Iterable[np.ndarray]) -> Schema:
        """Describe columns of plain numbers: which of them are integers, and the range of these.

        Parameters
        ----------
        names : sequence of str
        pieces : iterable of arrays of shape (n, d)
            All rows, in chunks. They are read only as long as a column may be one of integers.

        Examples
        --------
        >>> schema = Schema.of_numbers(["age", "height"], [np.array([[42, 1.75], [38, 1.80]])])
        >>> print(schema)
        age     number  38 … 42, whole
        height  number
        >>> schema.decode(np.array([[41.336, 1.777]])).to_pylist()
        [{'age': 41, 'height': 1.777}]
        """
        ranges, kind = np.stack([np.full(len(names), np.inf), np.full(len(names), -np.inf)]), "double"
        whole = np.ones(len(names), bool)
        for rows in pieces:
            kind = "float" if rows.dtype == np.float32 else "double"
            for some in (rows[:_HEAD], rows[_HEAD:]):
                at = np.flatnonzero(whole)
                cells = some[:, at]
                whole[at] = (np.isnan(cells) | (cells == np.floor(cells))).all(axis=0)
                ranges[0, at] = np.fmin(ranges[0, at], np.fmin.reduce(cells, axis=0, initial=np.inf))
                ranges[1, at] = np.fmax(ranges[1, at], np.fmax.reduce(cells, axis=0, initial=-np.inf))
            if not whole.any():
                break
        whole &= (np.abs(ranges) <= _EXACT).all(axis=0)
        return cls(
            tuple(
                Column(name, "number", "int64", float(low), float(high), whole=True)
                if is_whole
                else Column(name, "number", kind)
                for name, is_whole, low, high in zip(names, whole, *ranges, strict=True)
            )
        )

    def renamed(self, names: Sequence[str]) -> Schema:
        """Return a copy whose columns have these names."""
        return Schema(tuple(replace(column, name=name) for column, name in zip(self.columns, names, strict=True)))

    @property
    def used(self) -> tuple[Column, ...]:
        """The columns that are not ignored, in the user's order."""
        return tuple(column for column in self.columns if column.kind != "ignore")

    def column(self, name: str) -> Column:
        """Return the column with this name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def file_options(self) -> FileOptions:
        """The user's file options that also apply to later files."""
        given: dict[str, Any] = next((json.loads(column.options) for column in self.columns if column.options), {})
        return FileOptions.of({name: given[name] for name in ("encoding", "missing", "header") if name in given})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns used."""
        return tuple(column.name for column in self.used)

    @cached_property
    def _order(self) -> tuple[Column, ...]:
        """The columns used, in the order of encoded rows."""
        place = {kind: int(kind not in ("number", "date")) and KINDS.index(kind) for kind in KINDS}
        return tuple(sorted(self.used, key=lambda column: place[column.kind]))

    @property
    def width(self) -> int:
        """The length of an encoded row."""
        return sum(column.width for column in self._order)

    @property
    def blocks(self) -> tuple[tuple[Kind, int], ...]:
        """The kind and the width of each block of an encoded row. Dates count as numbers; each category is a block."""
        found: list[tuple[Kind, int]] = []
        for column in self._order:
            kind: Kind = "number" if column.kind == "date" else column.kind
            if found and found[-1][0] == kind != "category":
                found[-1] = (kind, found[-1][1] + 1)
            else:
                found.append((kind, column.width))
        return tuple(found)

    @cached_property
    def column_slices(self) -> dict[str, slice]:
        """The position of each column in an encoded row."""
        ends = np.cumsum([column.width for column in self._order]).tolist()
        return {c.name: slice(end - c.width, end) for c, end in zip(self._order, ends, strict=True)}

    @property
    def column_of_feature(self) -> tuple[str, ...]:
        """The name of the column of each number of an encoded row."""
        return tuple(column.name for column in self._order for _ in range(column.width))

    @property
    def labels(self) -> tuple[str, ...]:
        """A label for each number of an encoded row: the column's name, for a category with its value."""
        found: list[str] = []
        for column in self._order:
            is_one_of = column.kind == "category"
            found += [f"{column.name}: {c}" for c in (*column.categories, "other")] if is_one_of else [column.name]
        return tuple(found)

    def encode(self, table: pa.Table) -> np.ndarray:
        """Encode the rows of a table, (n, width), float64. Columns that the schema does not use are ignored.

        Raises
        ------
        InvalidData
            If a column is missing, or has cells of a type that its kind cannot hold.
        """
        if absent := [name for name in self.names if name not in table.column_names]:
            raise InvalidData(
                f"There is no column named {', '.join(absent)}. The columns are: {', '.join(table.column_names[:12])}."
            )
        rows = np.empty((table.num_rows, self.width))
        for column in self._order:
            rows[:, self.column_slices[column.name]] = column.encode(table.column(column.name))
        return rows

    def without_rare(self, rows: np.ndarray, least: int, kept: Collection[str] = ()) -> tuple[Schema, np.ndarray]:
        """Return a schema that does not list categories of fewer than ``least`` rows, and the rows as it encodes them.

        Such categories count as "other", like those that no row has. Columns in ``kept``, and columns of which no
        category would be left, do not change.
        """
        fewer, pieces = {}, []
        for column in self._order:
            cells = rows[:, self.column_slices[column.name]]
            stays = np.nansum(cells[:, :-1], axis=0) >= least
            if column.kind == "category" and column.name not in kept and stays.any() and not stays.all():
                other = cells[:, -1] + cells[:, :-1][:, ~stays].sum(axis=1)
                cells = np.column_stack([cells[:, :-1][:, stays], other])
                listed = tuple(name for name, stay in zip(column.categories, stays, strict=True) if stay)
                fewer[column.name] = replace(column, categories=listed)
            pieces.append(cells)
        if not fewer:
            return self, rows
        return replace(self, columns=tuple(fewer.get(one.name, one) for one in self.columns)), np.hstack(pieces)

    def row(self, cells: Mapping[str, object]) -> pa.Table:
        """Return a table of one row with these cells; the other cells are missing.

        Raises
        ------
        InvalidData
            If a cell is not of its column's type, is out of the training range, or is an unknown category.
        """
        columns = {}
        for column in self.used:
            value = cells.get(column.name)
            try:
                if column.kind == "category" and value is not None:
                    value = _category_of(column, value)
                columns[column.name] = pa.array([value]).cast(arrow_type(column.type))
            except pa.ArrowException as error:
                raise InvalidData(f"{value!r} is not a {column.type}, as {column.name} is: {error}.") from error
            if value is not None and column.low is not None and column.high is not None:
                number = column.encode(pa.chunked_array([columns[column.name]]))[0, 0]
                if not column.low <= number <= column.high:
                    raise InvalidData(f"{column.name} cannot be {value}. It lies in {column.range_text}.")
        return pa.table(columns)

    def decode(self, rows: np.ndarray) -> pa.Table:
        """Decode rows, or means of rows, into a table with the user's columns and types."""
        return pa.table({column.name: column.decode(rows[:, self.column_slices[column.name]]) for column in self.used})

    def with_given(self, table: pa.Table, row: np.ndarray) -> pa.Table:
        """Return a decoded table whose ordered columns have the known values of an encoded row, exactly."""
        for i, column in enumerate(self.used):
            value = row[0, self.column_slices[column.name].start]
            if column.has_order and not np.isnan(value):
                table = table.set_column(i, column.name, column.exact(np.full(table.num_rows, value)))
        return table

    def fill_missing(self, table: pa.Table, rows: np.ndarray, *, is_part: bool = False) -> pa.Table:
        """Fill the missing cells of a table from encoded rows.

        Parameters
        ----------
        table : pa.Table
        rows : (n, width)
        is_part : bool, default=False
            Whether the table is a chunk of a larger one: the types then do not depend on the cells of the chunk.

        Returns
        -------
        pa.Table
            The columns of the schema in its order, also those not used, whose cells are unchanged. Columns that the
            schema does not have are left out; a column that is not used and absent has no value in any row.
        """
        return self._filled(table, self.decode(rows), [column.name for column in self.columns], is_part)

    def fill_bounds(self, table: pa.Table, rows: np.ndarray, *, upper: bool) -> pa.Table:
        """Return the cells of the columns used, with encoded bounds of intervals in place of missing cells."""
        bounds = {c.name: c.decode_bound(rows[:, self.column_slices[c.name]], upper=upper) for c in self.used}
        return self._filled(table, pa.table(bounds), self.names)

    def _filled(self, table: pa.Table, values: pa.Table, names: Sequence[str], is_part: bool = False) -> pa.Table:
        columns = {column.name: column for column in self.columns}
        found = {}
        for name in names:
            column = columns[name]
            if name not in table.column_names:
                found[name] = pa.chunked_array([pa.nulls(table.num_rows, _type_of(column))])
            elif column.kind == "ignore":
                found[name] = table.column(name)
            else:
                found[name] = _filled(column, table.column(name), values.column(name), is_part)
        return pa.table(found)

    def __str__(self) -> str:
        name, kind = (max(len(getattr(c, what)) for c in self.columns) for what in ("name", "kind"))
        return "\n".join(f"{c.name:<{name}}  {c.kind:<{kind}}  {c.range_text}".rstrip() for c in self.columns)

    def to_json(self) -> list[dict[str, object]]:
        """Return the columns as JSON values, for `from_json`."""
        usual = Column("", "number", "")
        return [{k: v for k, v in asdict(c).items() if k == "kind" or v != getattr(usual, k)} for c in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[Mapping[str, Any]]) -> Schema:
        """Create a schema from the result of `to_json`."""
        made = (Column(**column) for column in columns)
        return cls(tuple(replace(c, categories=tuple(c.categories), missing=tuple(c.missing)) for c in made))


def _category_of(column: Column, value: object) -> str:
    """Return the category that a value means; True means "true", as in a table."""
    at = int(places_among(pa.chunked_array([pa.array([value])]), column.categories)[0])
    if at < 0:
        raise InvalidData(f"{column.name} cannot be {value!r}. It is one of {', '.join(column.categories)}.")
    return column.categories[at]


def _type_of(column: Column) -> pa.DataType:
    """Return the type of a column; that of no value, if no name stands for it."""
    try:
        return arrow_type(column.type)
    except ValueError:
        return pa.null()


def _filled(column: Column, given: pa.ChunkedArray, value: pa.ChunkedArray, is_part: bool) -> pa.ChunkedArray:
    """Replace missing cells by values; given cells stay, in a type that holds both."""
    is_missing = pc.is_null(given, nan_is_null=True)
    is_whole = column.whole or column.kind in ("count", "boolean")
    is_wider = is_part and pa.types.is_integer(given.type) and column.has_order and not is_whole
    if not is_wider and not pc.any(is_missing).as_py():
        return given
    given = unpacked(given)
    if pa.types.is_null(given.type):
        return value
    if pa.types.is_temporal(given.type) and pa.types.is_temporal(value.type):
        return pc.if_else(is_missing, in_zone(value, given.type), given)
    if not is_wider:
        try:
            value.filter(is_missing).cast(given.type)  # raises if a value does not fit the type
            return pc.if_else(is_missing, value.cast(given.type, safe=False), given)
        except pa.ArrowException:
            pass
    wider = pa.float64() if is_numeric(given.type) and is_numeric(value.type) else value.type
    return pc.if_else(is_missing, value.cast(wider, safe=False), given.cast(wider, safe=False))
