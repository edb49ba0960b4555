"""Arrow's cells: of what type they are, and how they become numbers and come back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

__all__ = [
    "arrow_type",
    "as_days",
    "as_floats",
    "as_numbers",
    "as_text",
    "from_days",
    "from_numbers",
    "is_a_number",
    "is_date",
    "is_numeric",
    "is_text",
]


_DAY = 86_400


_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def is_numeric(kind: pa.DataType) -> bool:
    """Whether cells of this type are numbers, booleans included."""
    types = pa.types
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


def as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write cells as texts."""
    return cells.cast(pa.string())


def as_floats(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as 64-bit floats, whole ones beyond 2⁵³ as the nearest."""
    return cells.cast(pa.float64(), safe=not pa.types.is_integer(cells.type))


def as_numbers(cells: pa.ChunkedArray) -> np.ndarray:
    """Read cells as 64-bit floats, missing ones as NaN."""
    found: np.ndarray = as_floats(cells).to_numpy()
    return found


def as_days(cells: pa.ChunkedArray) -> np.ndarray:
    """Days since 1970, in universal time; text is not taken for a date."""
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
