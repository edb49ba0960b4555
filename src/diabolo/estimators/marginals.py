"""Distributions of the single columns of a generator: numbers ↔ scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm
from sklearn.preprocessing import PowerTransformer

__all__ = ["Marginals", "find_keys", "rounding_step", "set_apart"]

_LEVELS = 501
_DECIMALS = 5
_FEWEST_KEYS = 20
"""With fewer rows, integers may be distinct by chance."""


@dataclass(frozen=True)
class Marginals:
    """The quantiles of each column, of the training rows and of generated scores; see `AutoencoderGenerator`.

    Parameters
    ----------
    known : (levels, d)
        Quantiles of the numbers.
    found : (levels, d)
        Quantiles of generated scores. A generated score becomes the number of the same rank.
    is_ordered : (d,)
        Whether a column has numbers; columns of booleans and categories do not change.
    """

    known: np.ndarray
    found: np.ndarray
    is_ordered: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray, is_ordered: np.ndarray) -> Marginals:
        """Fit to the numbers of training rows, (n, d); NaN is a missing cell. ``found`` is still empty."""
        levels = np.linspace(0, 1, _LEVELS)
        known = np.zeros((_LEVELS, rows.shape[1]))
        for i in np.flatnonzero(~np.isnan(rows).all(axis=0)):
            known[:, i] = np.quantile(rows[~np.isnan(rows[:, i]), i], levels, method="inverted_cdf")
        return cls(known, np.empty(0), is_ordered)

    def with_generated(self, scores: np.ndarray) -> Marginals:
        """Return a copy with the quantiles of generated scores, (m, d)."""
        return replace(self, found=np.quantile(scores, np.linspace(0, 1, _LEVELS), axis=0))

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores of training rows: the mean of a power transform and of a normal score."""
        return self._map(rows, lambda cells, i: _scores(cells, self.known[:, i]))

    def scores_of_given(self, row: np.ndarray) -> np.ndarray:
        """Return the scores that `values` converts to the given numbers."""
        return self._map(row, lambda cells, i: _at(self.found[:, i], _levels(cells, self.known[:, i])))

    def values(self, scores: np.ndarray) -> np.ndarray:
        """Return the numbers of generated scores, rounded as the training numbers are."""
        return self.rounded(self._map(scores, lambda cells, i: _at(self.known[:, i], _levels(cells, self.found[:, i]))))

    def rounded(self, rows: np.ndarray) -> np.ndarray:
        """Round numbers to the number of decimals of the training numbers, if that is at most four."""

        def of_column(cells: np.ndarray, i: int) -> np.ndarray:
            step = rounding_step(self.known[:, i])
            return np.round(cells, round(-np.log10(step))) if step else cells

        return self._map(rows, of_column)

    @property
    def steps(self) -> np.ndarray:
        """The last decimal place of each column's training numbers, (d,); see `rounding_step`."""
        return np.array([rounding_step(column) for column in self.known.T])

    def is_outside(self, rows: np.ndarray) -> np.ndarray:
        """Return, (n,), whether a number of the row is outside the range of the training numbers."""
        outside: np.ndarray = ((rows < self.known[0]) | (rows > self.known[-1]))[:, self.is_ordered].any(axis=1)
        return outside

    def _map(self, rows: np.ndarray, op: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        """Transform the known numbers of each ordered column."""
        mapped = rows.astype(np.float64)
        for i in np.flatnonzero(self.is_ordered & ~np.isnan(rows).all(axis=0)):
            is_known = ~np.isnan(rows[:, i])
            mapped[is_known, i] = op(mapped[is_known, i], int(i))
        return mapped


def _scores(column: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    standard = (column - column.mean()) / (column.std() or 1.0)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # the search for the power may overflow
        power = PowerTransformer().fit_transform(standard[:, None])[:, 0]
    normal = norm.ppf((_levels(column, quantiles) + 0.5) / len(quantiles))
    scores: np.ndarray = (power + normal) / 2 if np.isfinite(power).all() else normal
    return scores


def _levels(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the ranks of values among quantiles; the middle rank for a value equal to several quantiles."""
    first, after = np.searchsorted(quantiles, values, "left"), np.searchsorted(quantiles, values, "right")
    between = np.interp(values, quantiles, np.arange(len(quantiles)))
    return np.where(after > first, (first + after - 1) / 2, between)


def _at(quantiles: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the values at the given ranks among quantiles."""
    return np.interp(levels, np.arange(len(quantiles)), quantiles)


def rounding_step(known: np.ndarray) -> float:
    """Return the last decimal place of numbers, 1, 0.1, …, 0.0001; 0 if they have more decimals.

    >>> rounding_step(np.array([1.5, 2.0])), rounding_step(np.array([1e-12, 3e-12]))
    (0.1, 0.0)
    """
    tolerance = 1e-9 * min(1.0, float(np.ptp(known)))
    for n_decimals in range(_DECIMALS):
        if np.allclose(known, np.round(known, n_decimals), rtol=1e-15, atol=tolerance):
            return 10.0**-n_decimals
    return 0.0


def find_keys(rows: np.ndarray, is_ordered: np.ndarray) -> np.ndarray:
    """Return, (d,), which columns are keys: integers in every row, and no two rows have the same."""
    n = len(rows)
    if n < _FEWEST_KEYS:
        return np.zeros(rows.shape[1], bool)
    return np.array([
        ordered and bool((column == np.rint(column)).all()) and len(np.unique(column)) == n
        for column, ordered in zip(rows.T, is_ordered, strict=True)
    ])  # fmt: skip


def set_apart(keys: np.ndarray, low: float, high: float) -> np.ndarray:
    """Move equal integers to the nearest free ones in [low, high]; beyond ``high`` if there are not enough.

    >>> set_apart(np.array([3.0, 1.0, 3.0, 3.0]), 1, 4).tolist()
    [2.0, 1.0, 3.0, 4.0]
    """
    n, order = len(keys), np.argsort(keys, kind="stable")
    steps = np.arange(n)
    apart = np.maximum.accumulate(keys[order] - steps) + steps
    top = max(high, low + n - 1)
    apart = np.minimum.accumulate((np.minimum(apart, top) - steps)[::-1])[::-1] + steps
    found = np.empty(n)
    found[order] = np.minimum(apart, top - steps[::-1])
    return found
