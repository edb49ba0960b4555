"""Conversion of data frames and other tables in memory to Arrow tables."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa

from ..errors import InvalidData, InvalidType
from .tables import check_unique_names

__all__ = ["is_readable", "to_arrow"]


def to_arrow(rows: Any) -> pa.Table | None:
    """Convert a data frame or another table to an Arrow table, without its index; return None for anything else.

    Raises
    ------
    InvalidData
        If two columns have the same name, or a column has no type in Arrow.
    InvalidType
        If the names have several types.
    """
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    elif isinstance(rows, pa.RecordBatchReader):
        rows = rows.read_all()
    elif (polars := sys.modules.get("polars")) is not None and isinstance(rows, polars.LazyFrame):
        rows = rows.collect()
    if isinstance(rows, pa.Table):
        check_unique_names(rows.column_names, "the table")
        return rows
    if not (hasattr(rows, "__arrow_c_stream__") and hasattr(rows, "columns")):
        return None
    check_unique_names(list(rows.columns), "the data frame")
    if len({isinstance(name, str) for name in rows.columns}) > 1:
        raise InvalidType("The data frame's columns have names of several types. Make all of them texts.")
    pandas = sys.modules.get("pandas")
    try:
        if pandas is not None and isinstance(rows, pandas.DataFrame):
            return pa.Table.from_pandas(_dense(rows), preserve_index=False)
        return pa.table(rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InvalidData(f"The data frame cannot be read as a table: {error}.") from error


def is_readable(rows: Any) -> bool:
    """Return whether scikit-learn can read a table of numbers directly."""
    if isinstance(rows, pa.RecordBatch | pa.RecordBatchReader):
        return False
    polars, pandas = sys.modules.get("polars"), sys.modules.get("pandas")
    if polars is not None and isinstance(rows, polars.LazyFrame):
        return False
    return pandas is None or not isinstance(rows, pandas.DataFrame) or not _sparse(rows)


def _sparse(frame: Any) -> dict[Any, Any]:
    """Return the sparse columns of a pandas data frame, with the types of their values."""
    return {
        name: kind.subtype
        for name, kind in frame.dtypes.items()
        if hasattr(kind, "subtype") and hasattr(kind, "fill_value")
    }


def _dense(frame: Any) -> Any:
    return frame.astype(kinds) if (kinds := _sparse(frame)) else frame
