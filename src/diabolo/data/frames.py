"""Conversion of data frames and other tables in memory to Arrow tables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ..errors import InvalidData, InvalidType
from .cells import as_text, is_text
from .containers import is_lazy, is_pandas, text_of
from .tables import check_unique_names
from .types import Frame, RowsLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["collected", "is_readable", "joined", "to_arrow", "with_columns", "without_columns"]


def collected(rows: RowsLike) -> RowsLike:
    """Return a table of a kind that can be read more than once; anything else is unchanged."""
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    if isinstance(rows, pa.RecordBatchReader):
        return rows.read_all()
    return rows.collect() if is_lazy(rows) else rows


def to_arrow(rows: RowsLike) -> pa.Table | None:
    """Convert a data frame or another table to an Arrow table, without its index; return None for anything else.

    Raises
    ------
    InvalidData
        If two columns have the same name, or a column has no type in Arrow.
    InvalidType
        If the names have several types.
    """
    rows = collected(rows)
    if isinstance(rows, pa.Table):
        check_unique_names(rows.column_names, "the table")
        return rows
    if not (hasattr(rows, "__arrow_c_stream__") and hasattr(rows, "columns")):
        return None
    check_unique_names(list(rows.columns), "the data frame")
    if len({isinstance(name, str) for name in rows.columns}) > 1:
        raise InvalidType("The data frame's columns have names of several types. Make all of them texts.")
    try:
        if is_pandas(rows):
            named = rows.set_axis(list(map(text_of, rows.columns)), axis=1)
            return pa.Table.from_pandas(_dense(named), preserve_index=False)
        return pa.table(rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InvalidData(f"The data frame cannot be read as a table: {error}.") from error


def joined(pieces: Sequence[pa.Table]) -> pa.Table:
    """Join the chunks of a table; a column whose chunks hold texts in several Arrow types becomes one of texts."""
    for name in pieces[0].column_names:
        kinds = {piece.schema.field(name).type for piece in pieces}
        if len(kinds) > 1 and all(is_text(kind.value_type if pa.types.is_dictionary(kind) else kind) for kind in kinds):
            at = pieces[0].column_names.index(name)
            pieces = [piece.set_column(at, name, as_text(piece[name])) for piece in pieces]
    return pa.concat_tables(pieces, promote_options="permissive")


def is_readable(rows: RowsLike) -> bool:
    """Return whether scikit-learn can read a table of numbers directly."""
    if isinstance(rows, pa.RecordBatch | pa.RecordBatchReader) or is_lazy(rows):
        return False
    return not is_pandas(rows) or not _sparse(rows)


def with_columns(frame: Frame, columns: Mapping[str, np.ndarray]) -> Frame:
    """Return an array or a table with more columns at its end; in an array they are numbers of its type.

    Raises
    ------
    InvalidData
        If the table has a column of such a name.
    """
    if isinstance(frame, np.ndarray):
        return np.column_stack([frame, *columns.values()]).astype(frame.dtype)
    table = frame
    check_unique_names(
        [*(table.column_names if isinstance(table, pa.Table) else table.columns), *columns], "the result"
    )
    if hasattr(table, "assign"):  # pandas
        return table.assign(**columns)
    if hasattr(table, "with_columns"):  # polars
        return table.with_columns(type(table)(dict(columns)).get_columns())
    for name, cells in columns.items():
        table = table.append_column(name, pa.array(cells))
    return table


def without_columns(frame: Frame, names: Sequence[str]) -> Frame:
    """Return a table without some of its columns."""
    table = frame
    if isinstance(table, pa.Table):
        return table.drop_columns(list(names))
    if hasattr(table, "assign"):
        return table.loc[:, [text_of(label) not in names for label in table.columns]]
    return table.drop(list(names))


def _sparse(frame: pd.DataFrame) -> dict[Hashable, np.dtype]:
    """Return the sparse columns of a pandas data frame, with the types of their values."""
    return {
        name: kind.subtype
        for name, kind in frame.dtypes.items()
        if hasattr(kind, "subtype") and hasattr(kind, "fill_value")
    }


def _dense(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(kinds) if (kinds := _sparse(frame)) else frame
