"""Scores of the detector and the imputer, defined once over arrays, for NumPy and for exports.

``xp`` is NumPy, or `export.onnx_arrays.Arrays`, whose arrays are values of an ONNX graph. The network outputs are
arguments, because NumPy code and exports compute them in different ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from ..engine.gaussian import FactorGaussian, conditional_mean

__all__ = [
    "LARGEST_SCORE",
    "ROW_SUM",
    "Array",
    "Parts",
    "anomaly_scores",
    "imputed",
    "mean_score",
    "network_scores",
    "relative_deviance",
    "seen_by",
    "within",
]

Array: TypeAlias = Any
"""An array of ``xp``."""

_MOST = np.finfo(np.float32).max
LARGEST_SCORE = 1e9
"""Largest anomaly score, in medians of normal rows. A threshold that no row reaches is then a number of few digits, so
that differences from it keep the digits of the scores."""
ROW_SUM = 1
"""The axis of a row's cells."""


def within(xp: Any, values: Array, span: np.ndarray) -> Array:
    """Clip values, (n, d), to the minimum and the maximum of each column, (2, d)."""
    return xp.minimum(xp.maximum(values, span[:1]), span[1:])


def seen_by(xp: Any, rows: Array, span: np.ndarray) -> Array:
    """Return the input of a detector's network: rows clipped, so that extreme cells do not distort the other cells."""
    return xp.where(xp.isnan(rows), np.nan, within(xp, rows, span))


def relative_deviance(xp: Any, deviance: Array, column_scale: np.ndarray) -> Array:
    """Return the deviance of each cell, (n, d), in units of the column's typical deviance, in 64 bits.

    Deviances are clipped to the largest 32-bit number, because the square of an extreme cell can be infinite. A cell
    without a defined deviance counts as the most extreme one, so that no score is NaN.
    """
    defined = xp.where(xp.isnan(deviance), _MOST, deviance)
    return xp.minimum(defined, _MOST).astype(np.float64) / column_scale


def anomaly_scores(xp: Any, relative: Array, rows: Array) -> Array:
    """Return the square root of the mean over a row's known cells, (n, d) → (n,)."""
    n_known = xp.maximum(xp.sum(xp.where(xp.isnan(rows), np.float64(0), np.float64(1)), ROW_SUM), np.float64(1))
    return xp.sqrt(xp.sum(relative, ROW_SUM) / n_known)


def network_scores(xp: Any, relative: Array, rows: Array, scale: float) -> Array:
    """Return the anomaly scores of one network in units of its scale, (n, d) → (n,), at most `LARGEST_SCORE`."""
    return xp.minimum(anomaly_scores(xp, relative, rows) / np.float64(scale), np.float64(LARGEST_SCORE))


def mean_score(of_networks: Sequence[Array]) -> Array:
    """Return the mean of the networks' outputs, which are already in common units."""
    total = of_networks[0]
    for one in of_networks[1:]:
        total = total + one
    return total / np.float64(len(of_networks))


class Parts(Protocol):
    """The parts of an imputed value, and their shares; see `estimators.blend.Blend`."""

    @property
    def mean(self) -> np.ndarray:
        """(d,)."""

    @property
    def gaussian(self) -> FactorGaussian:
        """The Gaussian, in the user's units."""

    @property
    def bounds(self) -> np.ndarray:
        """(2, d), to which the Gaussian's expectation is clipped."""

    @property
    def linear_share(self) -> np.ndarray:
        """(d,)."""

    @property
    def network_share(self) -> np.ndarray:
        """(d,)."""


def imputed(xp: Any, rows: Array, networks: Sequence[Array], parts: Parts, span: np.ndarray) -> Array:
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
    linear, of_network = parts.linear_share[None], parts.network_share[None]
    gaussian = within(xp, conditional_mean(xp, rows, parts.gaussian), parts.bounds)
    found = gaussian * linear + parts.mean[None] * (1 - linear)
    if not networks:
        return found
    return found * (1 - of_network) + mean_score([within(xp, one, span) for one in networks]) * of_network
