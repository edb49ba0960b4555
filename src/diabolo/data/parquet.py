"""Reader of Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from .cells import is_numeric
from .schema import Schema
from .tables import check_unique_names, unreadable_as

__all__ = ["read_parquet", "texts_are_texts"]


def texts_are_texts(table: pa.Table) -> pa.Table:
    """Check that texts are UTF-8, which readers of Parquet do not, and return the table.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a text is not UTF-8.
    """
    for column in table.columns:
        if not is_numeric(column.type):
            column.validate(full=True)
    return table


def read_parquet(file: Path, known: Schema | None = None) -> pa.Table:
    """Read a whole Parquet file."""
    with unreadable_as(file, "Parquet"):
        check_unique_names(pa.parquet.read_schema(file).names, str(file))
        return texts_are_texts(pa.parquet.read_table(file))
