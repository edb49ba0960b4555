"""Each job's score, defined once over arrays: NumPy computes it, an export writes it down.

``xp`` is NumPy, or `export.onnx_arrays.Arrays`, whose arrays are values of a graph. What a network says of rows is
handed in, as each has its own way to ask it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = ["ROW_SUM", "Array", "anomaly_scores", "imputed", "mean_score", "relative_deviance", "seen_by", "within"]

Array: TypeAlias = Any
"""An array of ``xp``."""

_MOST = np.finfo(np.float32).max
ROW_SUM = 1
"""The axis of a row's cells."""


def within(xp: Any, values: Array, span: np.ndarray) -> Array:
    """Bring values, (n, d), within the least and the greatest of each column, (2, d)."""
    return xp.minimum(xp.maximum(values, span[:1]), span[1:])


def seen_by(xp: Any, rows: Array, span: np.ndarray) -> Array:
    """Return what a detector's network reads of rows: absurd cells must not spoil what is expected of the others."""
    return xp.where(xp.isnan(rows), np.nan, within(xp, rows, span))


def relative_deviance(xp: Any, deviance: Array, column_scale: np.ndarray) -> Array:
    """Return the deviance of each cell, (n, d), in units of what is usual for its column, in 64 bits.

    A cell may be so far off that its square is infinite: no deviance is more than the greatest 32-bit number.
    """
    return xp.minimum(deviance, _MOST).astype(np.float64) / column_scale


def anomaly_scores(xp: Any, relative: Array, rows: Array) -> Array:
    """Return the root of the mean over a row's known cells, (n, d) → (n,)."""
    n_known = xp.maximum(xp.sum(xp.where(xp.isnan(rows), np.float64(0), np.float64(1)), ROW_SUM), np.float64(1))
    return xp.sqrt(xp.sum(relative, ROW_SUM) / n_known)


def mean_score(of_networks: Sequence[Array]) -> Array:
    """Return the mean of what networks say, each in its own unit already."""
    total = of_networks[0]
    for one in of_networks[1:]:
        total = total + one
    return total / np.float64(len(of_networks))


def imputed(xp: Any, expected: Sequence[Array], span: np.ndarray) -> Array:
    """Return what networks expect rows to be, each (n, d), within what has been seen, in the mean."""
    return mean_score([within(xp, one, span) for one in expected])
