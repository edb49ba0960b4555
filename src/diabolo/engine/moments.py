"""Moments and principal components of the rows of a fit, weighted, in one or a few passes over chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import linalg

from .sharding import current
from .splits import Rows

__all__ = [
    "MOST_COLUMNS",
    "clipped",
    "known_mean",
    "leading",
    "moments",
    "pad_axes",
    "pieces",
    "principal",
    "times",
    "weighted",
]

MOST_COLUMNS = 2048
"""Up to this number of columns, a covariance matrix is decomposed; more columns need passes over the rows."""
_FARTHEST = 1e18
"""Largest scaled number whose square is a number of 32 bits; training refuses larger ones, whose products overflow."""
_PASSES, _OVERSAMPLED = 8, 16


def pieces(rows: Rows) -> Iterator[np.ndarray]:
    """Yield all rows in scaled units, 32-bit, chunk by chunk, held-out rows last. Every process reads all rows."""
    for source in (rows.training, rows.held_out):
        for chunk in source.chunks() if source is not None else ():
            whole = current().gathered(chunk.rows) if isinstance(chunk.rows, np.ndarray) else chunk.rows
            yield np.asarray(whole)[: chunk.n_rows]


def clipped(rows: Rows) -> Iterator[np.ndarray]:
    """Yield all rows, 64-bit, without numbers whose square would overflow."""
    return (np.clip(piece.astype(np.float64), -_FARTHEST, _FARTHEST) for piece in pieces(rows))


def weighted(rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield all rows as `clipped` does, with the weight of each row; None if all rows weigh the same."""
    if rows.training.weights is None:
        yield from ((piece, None) for piece in clipped(rows))
        return
    sources = [source for source in (rows.training, rows.held_out) if source is not None]
    for piece, source in zip(clipped(rows), sources, strict=True):  # rows with weights are in memory: one piece each
        yield piece, np.ones(source.n_rows) if source.weights is None else source.weights


def times(piece: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the rows multiplied by their weights."""
    return piece if weight is None else piece * weight[:, None]


def known_mean(rows: np.ndarray) -> np.ndarray:
    """Return the mean of each column's observed cells; 0 if it has none."""
    mean: np.ndarray = np.nansum(rows, axis=0) / np.maximum((~np.isnan(rows)).sum(axis=0), 1)
    return mean


def moments(
    rows: Rows, read: Callable[[np.ndarray], np.ndarray] = lambda piece: piece
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance matrix of all rows, each piece of them as ``read`` returns it."""
    d, n = rows.training.n_features, 0.0
    shift, total, product = known_mean(read(next(clipped(rows)))), np.zeros(d), np.zeros((d, d))
    for piece, weight in weighted(rows):
        centred = np.nan_to_num(read(piece) - shift)
        n += len(centred) if weight is None else weight.sum()
        total += times(centred, weight).sum(axis=0)
        product += times(centred, weight).T @ centred
    mean = total / n
    return shift + mean, product / n - np.outer(mean, mean)


def principal(rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean, the first k principal components (k, d), and the variance along each component.

    The result is exact for up to 2,048 columns or rows. Otherwise it is computed by subspace iteration over the rows
    (Halko, Martinsson & Tropp 2011, algorithm 4.4).
    """
    d = rows.training.n_features
    if d <= MOST_COLUMNS:
        mean, covariance = moments(rows)
        return mean, *leading(covariance, k)
    mean, n, n_rows = np.zeros(d), 0.0, 0
    for piece, weight in weighted(rows):
        mean += times(piece, weight).sum(axis=0)
        n += len(piece) if weight is None else weight.sum()
        n_rows += len(piece)
    mean /= n
    roots = ((piece - mean, None if weight is None else np.sqrt(weight)) for piece, weight in weighted(rows))
    if n_rows <= MOST_COLUMNS:
        _, s, axes = linalg.svd(np.concatenate([times(*one) for one in roots]), full_matrices=False)
        return mean, axes[:k], np.square(s[:k]) / n
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((d, min(k + _OVERSAMPLED, d))))[0]
    for _ in range(_PASSES):
        image = sum(times(piece - mean, w).T @ ((piece - mean) @ basis) for piece, w in weighted(rows))
        basis = np.linalg.qr(image)[0]
    inner = sum(times(part := (piece - mean) @ basis, w).T @ part for piece, w in weighted(rows)) / n
    axes, variances = leading(inner, k)
    return mean, axes @ basis.T, variances


def leading(covariance: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k axes, as rows, and the variance along each axis."""
    d = len(covariance)
    variances, axes = linalg.eigh(covariance, subset_by_index=(d - min(k, d), d - 1))
    return axes.T[::-1], np.maximum(variances[::-1], 0)


def pad_axes(axes: np.ndarray, variances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad axes and variances with zeros to k axes."""
    missing = k - len(axes)
    return np.pad(axes, ((0, missing), (0, 0))), np.pad(variances, (0, missing))
