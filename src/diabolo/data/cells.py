"""Cells of Arrow tables: tests of their types, and conversions to and from numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "arrow_type",
    "as_days",
    "as_floats",
    "as_json",
    "as_numbers",
    "as_text",
    "from_days",
    "from_numbers",
    "in_zone",
    "is_a_number",
    "is_date",
    "is_nested",
    "is_numeric",
    "is_text",
    "places_among",
    "storable",
    "unpacked",
]


_DAY = 86_400


_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def is_numeric(kind: pa.DataType) -> bool:
    """Return whether a type is numeric; booleans count as numbers."""
    types = pa.types
    kind = kind.value_type if types.is_run_end_encoded(kind) else kind
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def is_a_number(text: str) -> bool:
    """Return whether a text can be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is text."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_date(kind: pa.DataType) -> bool:
    """Return whether a type is a date or a timestamp."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def unpacked(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert cells to types that all functions of Arrow support: expand dictionaries, run lengths and views."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = cells.cast(kind.value_type) if not pa.types.is_string_view(kind.value_type) else _of_views(cells)
    elif pa.types.is_run_end_encoded(kind):
        cells = pa.chunked_array([pc.run_end_decode(chunk) for chunk in cells.chunks], kind.value_type)
    elif isinstance(kind, pa.BaseExtensionType):
        cells = pa.chunked_array([chunk.storage for chunk in cells.chunks], kind.storage_type)
    is_long = pa.types.is_large_string(cells.type) or pa.types.is_string_view(cells.type)
    return cells.cast(pa.string()) if is_long else cells


def _of_views(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    chunks = [chunk.dictionary.cast(pa.string()).take(chunk.indices) for chunk in cells.chunks]
    return pa.chunked_array(chunks, pa.string())


def as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert cells to texts."""
    return unpacked(cells).cast(pa.string())


def places_among(cells: pa.ChunkedArray, categories: Sequence[str]) -> np.ndarray:
    """Return the index of each cell's category, -1 for an unknown one, for cells of any type.

    A cell that is not text matches the category with the same meaning, if there is exactly one: True matches "True",
    "true" or "TRUE", and 1 matches "1", "01" or "1.0".
    """
    cells = unpacked(cells)
    found = pc.index_in(cells.cast(pa.string()), value_set=pa.array(categories, pa.string()))
    at: np.ndarray = found.fill_null(-1).to_numpy()
    if is_text(cells.type) or not len(cells) or (at >= 0).all():
        return at
    same = _by_meaning(categories, is_boolean=pa.types.is_boolean(cells.type))
    if same and is_numeric(cells.type):
        values = as_numbers(cells)
        for value in np.unique(values[(at < 0) & ~np.isnan(values)]):
            at = np.where((values == value) & (at < 0), same.get(float(value), -1), at)
    return at


def _by_meaning(categories: Sequence[str], *, is_boolean: bool) -> dict[float, int]:
    """Return the index of each category that is a number or a boolean, without categories of equal meaning."""
    words = {"true": 1.0, "false": 0.0}
    suggest = [words.get(c.lower()) if is_boolean else float(c) if is_a_number(c) else None for c in categories]
    return {value: i for i, value in enumerate(suggest) if value is not None and suggest.count(value) == 1}


def as_floats(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert numbers to 64-bit floats; integers beyond 2⁵³ are rounded."""
    cells = unpacked(cells)
    return cells.cast(pa.float64(), safe=not pa.types.is_integer(cells.type))


def as_numbers(cells: pa.ChunkedArray) -> np.ndarray:
    """Convert cells to 64-bit floats, missing cells to NaN."""
    found: np.ndarray = as_floats(cells).to_numpy()
    return found


def as_days(cells: pa.ChunkedArray, like: pa.DataType | None = None) -> np.ndarray:
    """Convert dates and timestamps to days since 1970, in UTC; raise for texts.

    A timestamp without a time zone is taken in the zone of ``like``. If ``like`` has no zone, a timestamp with a zone
    is converted to local time.
    """
    cells = unpacked(cells)
    zone, wanted = getattr(cells.type, "tz", None), getattr(like, "tz", None)
    if (
        like is not None
        and wanted
        and zone is None
        and (pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type))
    ):
        cells = pc.assume_timezone(cells.cast(pa.timestamp("us")), wanted, ambiguous="earliest", nonexistent="earliest")
    elif like is not None and zone and not wanted:
        cells = pc.local_timestamp(cells)
    if pa.types.is_date(cells.type):
        return as_numbers(cells.cast(pa.date32()).cast(pa.int32()))
    if not (pa.types.is_timestamp(cells.type) or pa.types.is_null(cells.type)):
        raise pa.ArrowNotImplementedError(f"{cells.type} is not a date")
    return as_numbers(cells.cast(pa.timestamp("us", getattr(cells.type, "tz", None)), safe=False).cast(pa.int64())) / (
        _DAY * 1e6
    )


def from_days(days: np.ndarray, missing: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Convert days since 1970 to cells of this type."""
    if pa.types.is_date(kind):
        return pa.array(np.rint(days).astype(np.int32), mask=missing).cast(pa.date32()).cast(kind)
    unit = kind.unit if kind.unit in _PER_SECOND else "us"  # 64-bit floats of days do not resolve nanoseconds
    moments = pa.array(np.rint(days * (_DAY * _PER_SECOND[unit])).astype(np.int64), mask=missing)
    return moments.cast(pa.timestamp(unit, kind.tz)).cast(kind)


def from_numbers(values: np.ndarray, missing: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Convert numbers to cells of this type."""
    return pa.array(values, mask=missing).cast(kind, safe=False)


def in_zone(moments: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Convert timestamps to a type with or without a time zone, at the same time on the clock: see `as_days`."""
    zone, wanted = getattr(moments.type, "tz", None), getattr(kind, "tz", None)
    if zone and not wanted:
        moments = pc.local_timestamp(moments)
    elif wanted and not zone and pa.types.is_timestamp(moments.type):
        moments = pc.assume_timezone(moments, wanted, ambiguous="earliest", nonexistent="earliest")
    return moments.cast(kind, safe=False)


def arrow_type(name: str) -> pa.DataType:
    """Return the type with this name; for decimals, a 64-bit float."""
    if name.startswith("timestamp[") and "tz=" in name:
        unit, zone = name.removeprefix("timestamp[").removesuffix("]").split(", tz=")
        return pa.timestamp(unit, zone)
    return pa.float64() if name.startswith("decimal") else pa.type_for_alias(name)


def is_nested(kind: pa.DataType) -> bool:
    """Return whether cells hold several values, or a value of a type that few formats support."""
    types = pa.types
    return bool(types.is_nested(kind) or types.is_interval(kind) or isinstance(kind, pa.BaseExtensionType))


def as_json(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert each cell to JSON."""
    return pa.chunked_array(
        [[None if cell is None else json.dumps(cell, default=str, ensure_ascii=False) for cell in cells.to_pylist()]],
        pa.string(),
    )


def storable(table: pa.Table) -> pa.Table:
    """Convert cells that a Parquet file cannot hold to texts; the metadata of a field names the former type."""
    for i, field in enumerate(table.schema):
        if pa.types.is_interval(field.type) or pa.types.is_union(field.type):
            texts = pa.field(field.name, pa.string(), metadata={"diabolo.type": str(field.type).partition("<")[0]})
            table = table.set_column(i, texts, as_json(table.column(i)))
    return table
