"""Arrow's cells: of what type they are, and how they become numbers and come back."""

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
    """Whether cells of this type are numbers, booleans included."""
    types = pa.types
    kind = kind.value_type if types.is_run_end_encoded(kind) else kind
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def is_a_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_text(kind: pa.DataType) -> bool:
    """Whether they are texts."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_date(kind: pa.DataType) -> bool:
    """Whether they are days or moments."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def unpacked(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells of the types that all of Arrow's functions know: those of dictionaries and views as what they stand for."""
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
    """Write cells as texts."""
    return unpacked(cells).cast(pa.string())


def places_among(cells: pa.ChunkedArray, categories: Sequence[str]) -> np.ndarray:
    """The index of each cell's category, -1 for another one, whatever type the cells are of.

    A cell of another type than text is the category that says the same: True is "True", "true" or "TRUE", and 1 is "1",
    "01" or "1.0", if there is only one such.
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
    """The categories that are numbers, or truths; not those that mean the same as another one."""
    words = {"true": 1.0, "false": 0.0}
    suggest = [words.get(c.lower()) if is_boolean else float(c) if is_a_number(c) else None for c in categories]
    return {value: i for i, value in enumerate(suggest) if value is not None and suggest.count(value) == 1}


def as_floats(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as 64-bit floats, whole ones beyond 2⁵³ as the nearest."""
    cells = unpacked(cells)
    return cells.cast(pa.float64(), safe=not pa.types.is_integer(cells.type))


def as_numbers(cells: pa.ChunkedArray) -> np.ndarray:
    """Read cells as 64-bit floats, missing ones as NaN."""
    found: np.ndarray = as_floats(cells).to_numpy()
    return found


def as_days(cells: pa.ChunkedArray, like: pa.DataType | None = None) -> np.ndarray:
    """Days since 1970, in universal time; text is not taken for a date.

    Moments without a zone are those of the zone that ``like`` has; if it has none, a zone's moments are read off its
    clocks.
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
    """Turn days since 1970 into cells of this type."""
    if pa.types.is_date(kind):
        return pa.array(np.rint(days).astype(np.int32), mask=missing).cast(pa.date32()).cast(kind)
    unit = kind.unit if kind.unit in _PER_SECOND else "us"  # 64 bits hold a day's nanoseconds no better
    moments = pa.array(np.rint(days * (_DAY * _PER_SECOND[unit])).astype(np.int64), mask=missing)
    return moments.cast(pa.timestamp(unit, kind.tz)).cast(kind)


def from_numbers(values: np.ndarray, missing: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Turn numbers into cells of this type."""
    return pa.array(values, mask=missing).cast(kind, safe=False)


def arrow_type(name: str) -> pa.DataType:
    """The type of this name; of decimals, a double."""
    if name.startswith("timestamp[") and "tz=" in name:
        unit, zone = name.removeprefix("timestamp[").removesuffix("]").split(", tz=")
        return pa.timestamp(unit, zone)
    return pa.float64() if name.startswith("decimal") else pa.type_for_alias(name)


def is_nested(kind: pa.DataType) -> bool:
    """Whether cells hold several values, or one of a type that few formats know."""
    types = pa.types
    return bool(types.is_nested(kind) or types.is_interval(kind) or isinstance(kind, pa.BaseExtensionType))


def as_json(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write each cell as JSON."""
    return pa.chunked_array(
        [[None if cell is None else json.dumps(cell, default=str, ensure_ascii=False) for cell in cells.to_pylist()]],
        pa.string(),
    )


def storable(table: pa.Table) -> pa.Table:
    """The table with cells as texts that a Parquet file cannot hold; the fields say what they were."""
    for i, field in enumerate(table.schema):
        if pa.types.is_interval(field.type) or pa.types.is_union(field.type):
            texts = pa.field(field.name, pa.string(), metadata={"diabolo.type": str(field.type).partition("<")[0]})
            table = table.set_column(i, texts, as_json(table.column(i)))
    return table
