"""Data frames and other tables in memory, as Arrow tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ..errors import InvalidData, InvalidType
from .tables import refuse_twins

__all__ = ["to_arrow"]


def to_arrow(rows: Any) -> pa.Table | None:
    """A data frame as an Arrow table; None, if it is none."""
    if isinstance(rows, pa.Table):
        refuse_twins(rows.column_names, "the table")
        return rows
    if not (hasattr(rows, "__arrow_c_stream__") and hasattr(rows, "columns")):
        return None
    refuse_twins(list(rows.columns), "the data frame")
    if len({isinstance(name, str) for name in rows.columns}) > 1:
        raise InvalidType("The data frame's columns have names of several types. Make all of them texts.")
    try:
        table = pa.table(rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidData(f"The data frame cannot be read as a table: {error}.") from error
    return table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])
