"""Schemas: the kinds of a table's columns, and the conversion between its cells and rows of numbers.

A schema is inferred from a table, or from chunks of it, and may be overridden for each column. `Schema.encode` returns
rows of numbers in which columns of one kind are adjacent: numbers and dates, booleans, counts, then each category as a
block. A missing cell is NaN in all its numbers. `Schema.decode` is the inverse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData, suggest
from .cells import arrow_type, is_numeric, unpacked
from .columns import KINDS, MOST_CATEGORIES, Column, Kind
from .file_options import FileOptions
from .survey import ColumnStats, SchemaOverrides, check_overrides

__all__ = ["KINDS", "MOST_CATEGORIES", "Column", "Kind", "Schema", "SchemaOverrides", "arrow_type", "is_numeric"]


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

    @property
    def used(self) -> tuple[Column, ...]:
        """The columns that are not ignored, in the user's order."""
        return tuple(column for column in self.columns if column.kind != "ignore")

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

    def row(self, cells: Mapping[str, Any]) -> pa.Table:
        """Return a table of one row with these cells; the other cells are missing.

        Raises
        ------
        InvalidData
            If a cell is not of its column's type, is out of the training range, or is an unknown category.
        """
        columns = {}
        for column in self.used:
            value = cells.get(column.name)
            if column.kind == "category" and value is not None and str(value) not in column.categories:
                raise InvalidData(f"{column.name} cannot be {value!r}. It is one of {', '.join(column.categories)}.")
            try:
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

    def fill_missing(self, table: pa.Table, rows: np.ndarray) -> pa.Table:
        """Fill the missing cells of a table from encoded rows; other cells and unused columns are unchanged."""
        found = self.decode(rows)
        for name in self.names:
            given, value = table.column(name), found[name]
            whole = given if given.null_count == 0 and not pa.types.is_floating(given.type) else _filled(given, value)
            table = table.set_column(table.column_names.index(name), name, whole)
        return table

    def __str__(self) -> str:
        name, kind = (max(len(getattr(c, what)) for c in self.columns) for what in ("name", "kind"))
        return "\n".join(f"{c.name:<{name}}  {c.kind:<{kind}}  {c.range_text}".rstrip() for c in self.columns)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the columns as JSON values, for `from_json`."""
        usual = Column("", "number", "")
        return [{k: v for k, v in asdict(c).items() if k == "kind" or v != getattr(usual, k)} for c in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[Mapping[str, Any]]) -> Schema:
        """Create a schema from the result of `to_json`."""
        made = (Column(**column) for column in columns)
        return cls(tuple(replace(c, categories=tuple(c.categories), missing=tuple(c.missing)) for c in made))


def _filled(given: pa.ChunkedArray, value: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace missing cells with values; the result has a type that holds both."""
    given = unpacked(given)
    is_missing = pc.is_null(given, nan_is_null=True)
    if pa.types.is_null(given.type):
        return value
    try:
        value.filter(is_missing).cast(given.type)  # raises if a value does not fit the type
        return pc.if_else(is_missing, value.cast(given.type, safe=False), given)
    except pa.ArrowException:
        wider = pa.float64() if is_numeric(given.type) and is_numeric(value.type) else value.type
        return pc.if_else(is_missing, value.cast(wider, safe=False), given.cast(wider, safe=False))
