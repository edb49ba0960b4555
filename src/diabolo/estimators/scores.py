"""Scores of the detector and the imputer, defined once over arrays, for NumPy and for exports.

``xp`` is NumPy, or `export.onnx_arrays.Arrays`, whose arrays are values of an ONNX graph. The network outputs are
arguments, because NumPy code and exports compute them in different ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from ..engine.batches import in_whole_groups
from ..engine.gaussian import FactorGaussian, conditional_mean

if TYPE_CHECKING:
    from .views import Tail, Views

__all__ = [
    "EQUAL",
    "LARGEST_SCORE",
    "ROW_SUM",
    "Array",
    "Namespace",
    "Parts",
    "anomaly_scores",
    "asinh",
    "cell_deviances",
    "combined",
    "imputed",
    "log_score",
    "mean_score",
    "network_scores",
    "quantile_distances",
    "relative_deviance",
    "seen_by",
    "squared_distances",
    "standardised",
    "strangeness",
    "surprise",
    "within",
]

Namespace: TypeAlias = Any
"""NumPy, or `export.onnx_arrays.Arrays`."""
Array: TypeAlias = Any
"""An array of a namespace."""

_MOST = np.finfo(np.float32).max
LARGEST_SCORE = 1e9
"""Largest anomaly score, in medians of normal rows. A threshold that no row reaches is then a number of few digits, so
that differences from it keep the digits of the scores."""
ROW_SUM = 1
"""The axis of a row's cells."""
EQUAL = 1e-11
"""Rows whose squared distance is at most this fraction of their squared length are equal but for rounding."""
_FARTHEST = 1e9
"""Largest standardised value."""
_LEAST_SQUARE, _FINEST = 1e-12, 1e-3
"""Smallest squared distance of rows, and smallest distance within a column, before the logarithm."""


def within(xp: Namespace, values: Array, span: np.ndarray) -> Array:
    """Clip values, (n, d), to the minimum and the maximum of each column, (2, d)."""
    return xp.minimum(xp.maximum(values, span[:1]), span[1:])


def seen_by(xp: Namespace, rows: Array, span: np.ndarray) -> Array:
    """Return the input of a detector's network: rows clipped, so that extreme cells do not distort the other cells."""
    return xp.where(xp.isnan(rows), np.nan, within(xp, rows, span))


def relative_deviance(xp: Namespace, deviance: Array, column_scale: np.ndarray) -> Array:
    """Return the deviance of each cell, (n, d), in units of the column's typical deviance, in 64 bits.

    Deviances are clipped to the largest 32-bit number, because the square of an extreme cell can be infinite. A cell
    without a defined deviance counts as the most extreme one, so that no score is NaN.
    """
    defined = xp.where(xp.isnan(deviance), _MOST, deviance)
    return xp.minimum(defined, _MOST).astype(np.float64) / column_scale


def anomaly_scores(xp: Namespace, relative: Array, rows: Array) -> Array:
    """Return the square root of the mean over a row's known cells, (n, d) → (n,)."""
    n_known = xp.maximum(xp.sum(xp.where(xp.isnan(rows), np.float64(0), np.float64(1)), ROW_SUM), np.float64(1))
    return xp.sqrt(xp.sum(relative, ROW_SUM) / n_known)


def network_scores(xp: Namespace, relative: Array, rows: Array, scale: float) -> Array:
    """Return the anomaly scores of one network in units of its scale, (n, d) → (n,), at most `LARGEST_SCORE`."""
    return xp.minimum(anomaly_scores(xp, relative, rows) / np.float64(scale), np.float64(LARGEST_SCORE))


def mean_score(of_networks: Sequence[Array]) -> Array:
    """Return the mean of the networks' outputs, which are already in common units."""
    total = of_networks[0]
    for one in of_networks[1:]:
        total = total + one
    return total / np.float64(len(of_networks))


# -- views of a detector besides its networks --------------------------------------------------------------------------


def standardised(xp: Namespace, rows: Array, center: np.ndarray, unit: np.ndarray) -> Array:
    """Return rows in units of their columns, (n, d), 64 bits; NaN stays NaN."""
    found = (rows.astype(np.float64) - center[None]) / unit[None]
    within_bounds = xp.maximum(xp.minimum(found, np.float64(_FARTHEST)), np.float64(-_FARTHEST))
    return xp.where(xp.isnan(rows), np.float64(np.nan), within_bounds)


def strangeness(xp: Namespace, rows: Array, views: Views) -> list[Array]:
    """Return the logarithm of each row's deviance in each view, in the order of `views.VIEWS`, each (n,)."""
    if xp is np and len(padded := in_whole_groups(rows)) > len(rows):
        return [view[: len(rows)] for view in strangeness(xp, padded, views)]
    standard = standardised(xp, rows, views.center, views.unit)
    is_missing = xp.isnan(standard)
    filled = xp.where(is_missing, np.float64(0), standard)
    known = xp.where(is_missing, np.float64(0), np.float64(1))
    compressed = asinh(xp, filled)
    squared = squared_distances(xp, compressed, known, views.memory)
    least = (xp.sum(compressed * compressed, ROW_SUM) + np.float64(1)) * np.float64(EQUAL)
    found = [_log_root(xp, _nearest(xp, squared, xp.reshape(least, (-1, 1))))]
    for places in (views.among_8, views.among_32):
        among = xp.take(squared, places, axis=1)
        distances = xp.sqrt(_nearest(xp, among, xp.reshape(least, (-1, 1, 1))))
        found.append(xp.log(xp.sum(distances, 1) / np.float64(len(places)) + np.float64(_LEAST_SQUARE**0.5)))
    components = (filled - views.mean[None]) @ views.whitening
    found.append(_log_root(xp, xp.sum(components * components, ROW_SUM)))
    cells = cell_deviances(xp, filled, views) * known
    found.append(xp.log(xp.max(cells, ROW_SUM) + np.float64(_LEAST_SQUARE**0.5)))
    if not len(views.columns):
        return [*found, found[0] * np.float64(0)]
    chosen = xp.take(standard, views.columns, axis=1)
    distances = quantile_distances(xp, chosen, views.quantiles) - views.typical[None]
    least_log = np.float64(np.log(_FINEST))
    return [*found, xp.max(xp.where(xp.isnan(chosen), least_log, distances), ROW_SUM)]


def asinh(xp: Namespace, values: Array) -> Array:
    """Return the inverse hyperbolic sine: linear near 0, logarithmic beyond 1."""
    size = xp.maximum(values, values * np.float64(-1))
    found = xp.log(size + xp.sqrt(size * size + np.float64(1)))
    return xp.where(xp.less_equal(values, np.float64(0)), found * np.float64(-1), found)


def squared_distances(xp: Namespace, filled: Array, known: Array, memory: np.ndarray) -> Array:
    """Return squared distances to the rows of the memory, (n, m), scaled up for missing cells."""
    is_known = ~np.isnan(memory)
    held = np.where(is_known, memory, 0).astype(np.float64)
    products, lengths = filled @ held.T, known @ (held**2).T
    if is_known.all():
        total = xp.reshape(xp.sum(filled * filled, ROW_SUM), (-1, 1)) - products * np.float64(2) + lengths
        both = xp.reshape(xp.sum(known, ROW_SUM), (-1, 1))
    else:
        has = is_known.astype(np.float64).T
        total, both = (filled * filled) @ has - products * np.float64(2) + lengths, known @ has
    return xp.maximum(total, np.float64(0)) * np.float64(memory.shape[1]) / xp.maximum(both, np.float64(1))


def _nearest(xp: Namespace, squared: Array, least: Array) -> Array:
    """Return the smallest squared distance along the last axis, without one row that is equal: the row itself."""
    equal = xp.less_equal(squared, least)
    n_equal = xp.sum(xp.where(equal, np.float64(1), np.float64(0)), -1)
    others = xp.min(xp.where(equal, np.float64(_FARTHEST**2), squared), -1)
    return xp.where(xp.less_equal(n_equal, np.float64(1)), others, np.float64(0))


def _log_root(xp: Namespace, squared: Array) -> Array:
    return xp.log(squared + np.float64(_LEAST_SQUARE)) * np.float64(0.5)


def cell_deviances(xp: Namespace, filled: Array, views: Views) -> Array:
    """Return |x − E[x | the other cells]| of each cell, (n, d), in units of its typical value.

    The expectation is that of a normal distribution with covariance C: the cell j of C⁻¹(x − mean), divided by
    (C⁻¹)ⱼⱼ, is its difference from the expectation, with the variance 1 / (C⁻¹)ⱼⱼ.
    """
    centered = filled - views.mean[None]
    components = (centered @ views.axes) * views.loads[None]
    found = (centered * views.precision[None] - components @ views.axes.T.copy()) / views.cell_unit[None]
    return xp.maximum(found, found * np.float64(-1))


def quantile_distances(xp: Namespace, standard: Array, quantiles: np.ndarray) -> Array:
    """Return the logarithm of the distance of each cell to the second nearest quantile of its column, (n, c)."""
    if xp is np:
        least = _second_nearest(standard, quantiles)
    else:
        cells = xp.reshape(standard, (-1, len(quantiles), 1))
        below, above = cells - quantiles[None, :, :-1], cells - quantiles[None, :, 1:]
        farther = xp.maximum(xp.maximum(below, below * np.float64(-1)), xp.maximum(above, above * np.float64(-1)))
        least = xp.min(farther, -1)
    return xp.log(xp.maximum(least, np.float64(_FINEST)))


def _second_nearest(standard: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the distance of each cell to the second nearest quantile of its column: one of the four around it."""
    found = np.empty(standard.shape)
    for j, (cells, known) in enumerate(zip(standard.T, quantiles, strict=True)):
        first = np.clip(np.searchsorted(known, cells) - 2, 0, len(known) - 4)
        away = [np.abs(cells - known[first + i]) for i in range(4)]
        farther = [np.maximum(one, other) for one, other in pairwise(away)]
        found[:, j] = np.minimum(np.minimum(farther[0], farther[1]), farther[2])
    return found


def log_score(xp: Namespace, score: Array) -> Array:
    """Return the logarithm of the networks' score, (n,)."""
    return xp.log(score + np.float64(_LEAST_SQUARE**0.5))


def surprise(xp: Namespace, values: Array, tail: Tail) -> Array:
    """Return −log of how often rows have at least these values in a view, (n,) → (n,), in nats."""
    steps = xp.minimum(xp.maximum(xp.reshape(values, (-1, 1)) - tail.knots[None], np.float64(0)), tail.widths[None])
    return xp.sum(steps * tail.slopes[None], 1) + tail.surprises[:1]


def combined(xp: Namespace, surprises: Sequence[Array], weights: Sequence[float]) -> Array:
    """Return −log of the weighted harmonic mean of the views' frequencies (Wilson 2019), (n,) each, in nats.

    A row that is rare in one view is rare, whatever the others are. The views need not be independent.
    """
    top = surprises[0]
    for one in surprises[1:]:
        top = xp.maximum(top, one)
    parts = [xp.exp(one - top) * np.float64(w / sum(weights)) for one, w in zip(surprises, weights, strict=True)]
    return xp.minimum(top + xp.log(mean_score(parts) * np.float64(len(parts))), np.float64(LARGEST_SCORE))


# -- imputers ---------------------------------------------------------------------------------------------------------


class Parts(Protocol):
    """The parts of an imputed value, and their shares; see `estimators.blend.Blend`."""

    @property
    def mean(self) -> np.ndarray:
        """(d,)."""

    @property
    def gaussians(self) -> Sequence[FactorGaussian]:
        """The Gaussians, in the user's units."""

    @property
    def bounds(self) -> np.ndarray:
        """(2, d), to which the Gaussians' expectations are clipped."""

    @property
    def linear_shares(self) -> np.ndarray:
        """(n_gaussians, d)."""

    @property
    def network_share(self) -> np.ndarray:
        """(d,)."""


def imputed(xp: Namespace, rows: Array, networks: Sequence[Array], parts: Parts, span: np.ndarray) -> Array:
    """Return the imputed value of each cell, (n, d): the weighted mean of the parts' values.

    Parameters
    ----------
    rows : (n, d)
        NaN is a missing cell.
    networks : sequence of (n, d)
        The networks' expected rows; empty if no column uses them.
    parts : Parts
    span : (2, d)
        The minimum and the maximum of each column, to which the networks' values are clipped.
    """
    of_network = parts.network_share[None]
    found = parts.mean[None] * (1 - parts.linear_shares.sum(axis=0, keepdims=True))
    for gaussian, share in zip(parts.gaussians, parts.linear_shares, strict=True):
        found = within(xp, conditional_mean(xp, rows, gaussian), parts.bounds) * share[None] + found
    if not networks:
        return found
    return found * (1 - of_network) + mean_score([within(xp, one, span) for one in networks]) * of_network
