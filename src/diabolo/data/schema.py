"""What the columns of a table are, and the way between its cells and the numbers that the formula works on.

A schema is inferred from a table, or from pieces of one, and may be overridden column by column. `Schema.encode` gives
rows of numbers in which columns of one kind lie side by side: numbers and dates, booleans, counts, then each category
as a block of its own. A missing cell is NaN in all the numbers that stand for it. `Schema.decode` is the way back.
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
from .survey import ScalerStats, SchemaOverrides, check_overrides

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
        """From all of a table, in pieces that have the same columns.

        Raises
        ------
        InvalidData
            If an override names no column or no kind, does not suit its column, or no column is left.
        """
        surveys: dict[str, ScalerStats] = {}
        given = check_overrides(overrides or {})
        for piece in pieces:
            for field, cells in zip(piece.schema, piece.columns, strict=True):
                name = field.name
                if name not in surveys:
                    surveys[name] = ScalerStats(name, given.get(name, {}), field.metadata or {})
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
        """Those that are not ignored, in the user's order."""
        return tuple(column for column in self.columns if column.kind != "ignore")

    @property
    def file_options(self) -> FileOptions:
        """What later files have in common with the one that was learned from, as the user said."""
        given: dict[str, Any] = next((json.loads(column.options) for column in self.columns if column.options), {})
        return FileOptions.of({name: given[name] for name in ("encoding", "missing", "header") if name in given})

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

    @cached_property
    def column_slices(self) -> dict[str, slice]:
        """Where each column lies in an encoded row."""
        ends = np.cumsum([column.width for column in self._order]).tolist()
        return {c.name: slice(end - c.width, end) for c, end in zip(self._order, ends, strict=True)}

    @property
    def column_of_feature(self) -> tuple[str, ...]:
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
            rows[:, self.column_slices[column.name]] = column.encode(table.column(column.name))
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
                    raise InvalidData(f"{column.name} is never {value}. It lies in {column.range_text}.")
        return pa.table(columns)

    def decode(self, rows: np.ndarray) -> pa.Table:
        """Encoded rows, or expectations of such, as a table of the user's columns and types."""
        return pa.table({column.name: column.decode(rows[:, self.column_slices[column.name]]) for column in self.used})

    def fill_missing(self, table: pa.Table, rows: np.ndarray) -> pa.Table:
        """A table whose missing cells are those of encoded rows; others, and columns not used, are as they were."""
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
        """What `from_json` reads."""
        usual = Column("", "number", "")
        return [{k: v for k, v in asdict(c).items() if k == "kind" or v != getattr(usual, k)} for c in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[Mapping[str, Any]]) -> Schema:
        """The inverse of `to_json`."""
        made = (Column(**column) for column in columns)
        return cls(tuple(replace(c, categories=tuple(c.categories), missing=tuple(c.missing)) for c in made))


def _filled(given: pa.ChunkedArray, value: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells with others where they are missing; of a type that holds both."""
    given = unpacked(given)
    is_missing = pc.is_null(given, nan_is_null=True)
    if pa.types.is_null(given.type):
        return value
    try:
        value.filter(is_missing).cast(given.type)  # whether all that is filled in can be told in the type given
        return pc.if_else(is_missing, value.cast(given.type, safe=False), given)
    except pa.ArrowException:
        wider = pa.float64() if is_numeric(given.type) and is_numeric(value.type) else value.type
        return pc.if_else(is_missing, value.cast(wider, safe=False), given.cast(wider, safe=False))
