"""Reader of JSON Lines, with one object per row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.json

from ..errors import InvalidData
from .cells import arrow_type
from .schema import Schema
from .sniffing import open_bytes
from .tables import unreadable_as

__all__ = ["read_json_lines"]

_BLOCK = 1 << 24


def read_json_lines(file: Path, known: Schema | None = None) -> pa.Table:
    """Read a file with one JSON object on each line; the texts of a model's categories stay texts.

    Raises
    ------
    InvalidData
        If a line is not an object.
    """
    texts = [] if known is None else [c for c in known.used if c.kind == "category"]
    explicit = pa.schema([(c.name, arrow_type(c.type)) for c in texts if arrow_type(c.type) == pa.string()])
    with unreadable_as(file, "JSON Lines"), open_bytes(file) as stream:
        try:
            found: pa.Table = pa.json.read_json(
                stream,
                pa.json.ReadOptions(block_size=_BLOCK),
                pa.json.ParseOptions(explicit_schema=explicit if len(explicit) else None),
            )
        except pa.ArrowInvalid as error:
            if "changed from" not in str(error):
                raise
            return _by_records(file)
    empty = [name for name in explicit.names if found[name].null_count == found.num_rows]
    return found.drop_columns(list(set(empty) - _keys_of(file))) if empty else found


def _keys_of(file: Path) -> set[str]:
    """Return the keys of all objects: a key that no object has is no column of the file."""
    with open_bytes(file) as stream:
        return {key for line in stream.read().splitlines() if line.strip() for key in json.loads(line)}


def _by_records(file: Path) -> pa.Table:
    """Read objects in Python; a key with values of several types, which Arrow refuses, becomes texts."""
    with open_bytes(file) as stream:
        records = [json.loads(line) for line in stream.read().splitlines() if line.strip()]
    if not all(isinstance(record, dict) for record in records):
        raise InvalidData(f"{file} must hold one JSON object on each line.")
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: to_array([record.get(name) for record in records]) for name in names})


def to_array(values: list[object]) -> pa.Array:
    """Convert Python values to cells; values of several types become texts."""
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError):
        return pa.array([None if value is None else _as_text(value) for value in values], pa.string())


def _as_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
