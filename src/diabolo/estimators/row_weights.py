"""Weights of rows: their checks, and the rows that have a weight above 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing

from ..errors import InvalidData, InvalidParameter

__all__ = ["NEEDS_MEMORY", "checked_weights", "with_positive_weights"]

NEEDS_MEMORY = (
    "sample_weight needs rows in memory: X is a file, a source of chunks, or larger than a chunk. Load it as an array "
    "or a data frame, or leave out sample_weight."
)


def with_positive_weights(X: Any, weights: ArrayLike) -> tuple[Any, np.ndarray | None]:
    """Return the rows with a weight above 0, and their weights; None if these are equal.

    A weight that is 0 beside the largest one in 32 bits counts as 0.

    Raises
    ------
    InvalidParameter
        If there are weights, but the rows are not in memory.
    InvalidData
        If the weights are not one finite number of at least 0 per row, or all are 0.
    """
    if isinstance(X, str | bytes) or not any(hasattr(X, name) for name in ("shape", "__len__", "__array__")):
        raise InvalidParameter(NEEDS_MEMORY)
    X = X if hasattr(X, "shape") or hasattr(X, "__len__") else np.asarray(X)
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    found = checked_weights(weights, n_rows)
    kept = np.flatnonzero(found >= np.finfo(np.float32).tiny)
    if len(kept) < n_rows:
        X, found = X[kept] if isinstance(X, np.ndarray) else _safe_indexing(X, kept), found[kept]
    return X, None if (found == found[0]).all() else found


def checked_weights(weights: ArrayLike | None, n_rows: int) -> np.ndarray:
    """Return the weights of rows, (n,), divided by a power of two, so that the largest is below 1."""
    if weights is None:
        return np.ones(n_rows)
    try:
        found = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"sample_weight must be numbers: {error}.") from error
    found = np.full(n_rows, found) if found.ndim == 0 else found
    if found.shape != (n_rows,):
        raise InvalidData(f"sample_weight has shape {found.shape}, but X has {n_rows} rows: give one weight per row.")
    if (wrong := ~(np.isfinite(found) & (found >= 0))).any():
        at = int(np.flatnonzero(wrong)[0])
        raise InvalidData(f"sample_weight of row {at + 1} is {found[at]:g}. Give finite weights of at least 0.")
    if not found.any():
        raise InvalidData("Sample weights must contain at least one non-zero number; all of sample_weight are 0.")
    return np.ldexp(found, -np.frexp(found.max())[1])
