"""Rows of numbers with column names, and the conversion of Arrow tables to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..errors import InvalidData
from .cells import as_floats, is_numeric
from .images import Images
from .order import any_misleads
from .schema import Schema, SchemaOverrides
from .types import RowsLike

__all__ = [
    "SchemaSpec",
    "Table",
    "check_unique_names",
    "find_schema",
    "index_columns",
    "numeric",
    "numeric_columns",
    "require_columns",
    "require_the_same",
    "rows_of",
    "select_columns",
    "unreadable_as",
    "wants_schema",
]


SchemaSpec = Schema | SchemaOverrides | str | None
"""How the columns of a table are read: by a known schema; by an inferred schema with these overrides; "auto", by an
inferred schema if not all columns are numbers; None, without a schema: all columns must be numbers."""


@dataclass(frozen=True)
class Table:
    """Rows of numbers, (n, d), float32 or float64, and the names of the columns, if any.

    With a schema the rows are encoded, and each number has the name of its column.
    """

    rows: np.ndarray
    names: tuple[str, ...] | None = None
    schema: Schema | None = None
    images: Images | None = None
    """The images that the rows come from, if any."""
    first: int = 0
    """The index of the first row, if this is a chunk of a larger table."""
    given: pa.Table | None = None
    """The columns before encoding, including unused ones, if there is a schema."""

    def select(self, columns: Sequence[str] = (), exclude: Sequence[str] = ()) -> Table:
        """Select columns (default: all), in the given order, without the excluded ones.

        Columns without names are counted from 0.

        Raises
        ------
        InvalidData
            If there is no column of a name, or no column is left.
        """
        if not columns and not exclude:
            return self
        names = self.names or tuple(map(str, range(self.rows.shape[1])))
        require_columns((*columns, *exclude), names)
        chosen = [name for name in (columns or names) if name not in exclude]
        if not chosen:
            raise InvalidData("No column is left to learn from.")
        rows = self.rows[:, [names.index(name) for name in chosen]]
        return Table(rows, tuple(chosen) if self.names else None)

    def first_chunk(self) -> Table:
        """Return the whole table, as `BlockReader.first_chunk` returns the first rows."""
        return self

    def as_input(self) -> RowsLike:
        """Return the input for an estimator: an array, or an Arrow table if the columns have names."""
        return self.rows if self.names is None else self.as_arrow()

    def as_arrow(self) -> pa.Table:
        """Convert to an Arrow table; columns without names become x0, x1, …"""
        names = self.names or tuple(f"x{i}" for i in range(self.rows.shape[1]))
        return pa.table({name: self.rows[:, i] for i, name in enumerate(names)})


def check_unique_names(names: Sequence[Hashable], where: str) -> None:
    """Check that column names are unique, as columns are selected by name.

    Raises
    ------
    InvalidData
        If two columns have the same name.
    """
    if duplicates := [str(name) or "no name" for name, count in Counter(names).items() if count > 1]:
        raise InvalidData(
            f"{where}: several columns are named {', '.join(duplicates[:8])}. Rename all but one, or drop them."
        )


def require_the_same(names: Sequence[str], first: Sequence[str], file: Path, first_file: Path) -> None:
    """Check that two files have the same columns, in any order.

    Raises
    ------
    InvalidData
        If they have different columns.
    """
    if differing := sorted(set(names) ^ set(first)):
        raise InvalidData(f"{file} and {first_file.name} do not have the same columns: {', '.join(differing)}.")


def require_columns(wanted: Sequence[str], names: Sequence[str]) -> None:
    """Raise an `InvalidData` for a name that no column has."""
    if unknown := [name for name in wanted if name not in names]:
        shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
        raise InvalidData(f"There is no column named {', '.join(unknown)}. The columns are: {shown}.")


def rows_of(
    table: pa.Table, where: str, columns: Sequence[str] = (), exclude: Sequence[str] = (), wanted: SchemaSpec = "auto"
) -> Table:
    """Convert an Arrow table to rows of numbers.

    Raises
    ------
    InvalidData
        If a column is missing, no column is left, or a column has a wrong type.
    """
    if not table.num_rows:
        raise InvalidData(f"{where} has no rows.")
    schema = wanted if isinstance(wanted, Schema) else None
    if schema is None:
        names = select_columns(table.schema, columns, exclude)
        schema = find_schema(lambda: [table.select(list(names))], table.schema, names, wanted)
    if schema is not None:
        return Table(schema.encode(table), schema.column_of_feature, schema, given=table)
    names = numeric_columns(table.schema, where, columns, exclude)
    return Table(numeric(table.select(list(names))), names)


def find_schema(
    pieces: Callable[[], Iterable[pa.Table]], of: pa.Schema, names: Sequence[str], wanted: SchemaSpec
) -> Schema | None:
    """Infer the schema of a table, given in chunks that can be read again; None, if it needs no schema."""
    overrides = wants_schema(of, names, wanted)
    if overrides is None and wanted == "auto" and any_misleads(pieces):
        overrides = {}
    return None if overrides is None else Schema.infer(pieces(), overrides)


def wants_schema(schema: pa.Schema, names: Sequence[str], wanted: SchemaSpec) -> SchemaOverrides | None:
    """Return the overrides with which to infer a schema; None, if these columns need no schema."""
    if wanted == "auto":
        if any(b"diabolo.options" in (schema.field(name).metadata or {}) for name in names):
            return {}  # so that the model stores the file options
        return None if all(_is_plain(schema.field(name).type) for name in names) else {}
    return wanted if isinstance(wanted, Mapping) else None


def select_columns(schema: pa.Schema, columns: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the columns to use."""
    require_columns((*columns, *exclude), schema.names)
    left_out = {*exclude, *(() if columns else index_columns(schema))}
    names = tuple(name for name in (columns or schema.names) if name not in left_out)
    if not names:
        raise InvalidData("No column is left to learn from.")
    if "" in names:
        raise InvalidData(f"Column {schema.names.index('') + 1} has no name. Give it one, or take it out.")
    return names


def index_columns(schema: pa.Schema) -> set[str]:
    """Return the columns that hold an index: those that pandas marks, and a first column without a name."""
    about = schema.pandas_metadata or {}
    found = {name for name in about.get("index_columns", ()) if isinstance(name, str)}
    return found | ({""} if schema.names and not schema.names[0] else set())


def numeric_columns(
    schema: pa.Schema, where: str, columns: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the names of the columns to use; raise if one does not hold numbers."""
    names = select_columns(schema, columns, exclude)
    if words := [name for name in names if not is_numeric(schema.field(name).type)]:
        shown = ", ".join(f"{name} ({schema.field(name).type})" for name in words[:8])
        raise InvalidData(
            f"{where}: {len(words)} of {len(names)} columns are not numbers: {shown}{', …' if len(words) > 8 else ''}. "
            f"Leave them out with --exclude {','.join(words[:8])}, or encode them first."
        )
    return names


def numeric(table: pa.Table) -> np.ndarray:
    """Convert the cells to an array, empty cells to NaN: float32 if all columns are float32, else float64."""
    single = all(pa.types.is_float32(kind) for kind in table.schema.types)
    columns = np.empty((table.num_columns, table.num_rows), np.float32 if single else np.float64)
    for i, column in enumerate(table.columns):
        columns[i] = (column if single else as_floats(column)).to_numpy()
    return np.ascontiguousarray(columns.T)


def _is_plain(kind: pa.DataType) -> bool:
    return is_numeric(kind) and not pa.types.is_boolean(kind)


@contextmanager
def unreadable_as(where: object, kind: str) -> Iterator[None]:
    """Convert errors of reading a file into `InvalidData`."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{where} cannot be read as {kind}: {error}.") from error
