"""Text files: tables of delimited cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from ..errors import InvalidData
from .cells import is_a_number
from .tables import unreadable_as

__all__ = ["open_csv", "read_csv"]


def _csv_dialect(file: Path) -> dict[str, Any]:
    """The options that Arrow needs: the delimiter, and whether the first line names the columns."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            first = stream.readline().rstrip("\n")
    except UnicodeDecodeError as error:
        raise InvalidData(f"{file} is not UTF-8 text: {error}. Convert it first.") from error
    except OSError as error:
        raise InvalidData(f"{file} cannot be read: {error.strerror}.") from error
    if not first.strip():
        raise InvalidData(f"{file} has no first line to take columns from.")
    delimiter = max(",;\t", key=first.count)
    headless = all(is_a_number(cell.strip('"')) for cell in first.split(delimiter))
    return {
        "convert_options": pa.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
        "read_options": pa.csv.ReadOptions(autogenerate_column_names=headless),
        "parse_options": pa.csv.ParseOptions(delimiter=delimiter),
    }


def read_csv(file: Path) -> pa.Table:
    """Read a CSV file whole."""
    dialect = _csv_dialect(file)
    with unreadable_as(file, "CSV"):
        return _refuse_bytes(pa.csv.read_csv(file, **dialect), file)


def open_csv(file: Path) -> Any:
    """A CSV file as a stream of record batches."""
    return _refuse_bytes(pa.csv.open_csv(file, **_csv_dialect(file)), file)


def _refuse_bytes(read: Any, file: Path) -> Any:
    """What was read of a CSV file; Arrow takes texts of another encoding for columns of bytes."""
    for field in read.schema:
        if pa.types.is_binary(field.type):
            raise InvalidData(f"{file} is not UTF-8 text in column {field.name}. Convert it first.")
    return read
