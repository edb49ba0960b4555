r"""A Gaussian fitted to rows with missing cells, and the expectation of the missing cells given the known ones.

x ~ N(mean, WᵀW + Ψ), with loadings W (k, d) and a diagonal Ψ, the noise. `fit_path` estimates it by expectation
maximisation (Dempster, Laird & Rubin 1977; Little & Rubin 2019, section 11.2), with the covariance S of each step
shrunk towards independent columns, (1 − λ)·S + λ·diag(S), for decreasing λ. λ = 1 predicts the column's mean. A small λ
predicts as the regression on all known cells does, also for columns that are sums of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import linalg

from .batches import in_whole_groups

__all__ = [
    "SHRINKAGES",
    "FactorGaussian",
    "MissingCells",
    "conditional_mean",
    "conditional_variance",
    "expected",
    "fit_path",
    "independent",
    "missing_cells",
    "refined",
    "row_blocks",
]

Array: TypeAlias = Any
"""An array of ``xp``: NumPy, or a namespace with the same functions."""

SHRINKAGES = (1.0, 0.7, 0.5, 0.3, 0.15, 0.07, 0.03, 0.01, 1e-3, 1e-4, 1e-6)
"""λ, the weight of independent columns, in the order of fitting."""
_MOST_FACTORS = 64
_N_STEPS, _CONVERGED = 8, 1e-3
"""Maximum number of steps for each λ, and the change of a correlation at which they end, at most λ."""
_COST, _MOST_COST = 1e8, 1e9
"""Maximum number of operations of a step on the path, and at its end; for more rows, a sample is used."""
_FEWEST = 500
"""Minimum number of rows of a sample."""
_AT_ONCE = 1 << 21
"""Number of cells of the rows' covariances that are in memory at once."""
_RANK = 1e-12


class FactorGaussian(NamedTuple):
    """The distribution N(mean, WᵀW + Ψ) of a row."""

    mean: np.ndarray
    """(d,)"""
    loadings: np.ndarray
    """W, (k, d)"""
    noise: np.ndarray
    """The diagonal of Ψ, (d,); positive."""

    def in_units(self, offset: np.ndarray, scale: np.ndarray) -> FactorGaussian:
        """Return the distribution of scale · x + offset."""
        return FactorGaussian(self.mean * scale + offset, self.loadings * scale, self.noise * scale**2)


class MissingCells(NamedTuple):
    """What is expected of the missing cells of r rows, m cells each."""

    row: np.ndarray
    """(r, 1)"""
    feature: np.ndarray
    """(r, m)"""
    mean: np.ndarray
    """(r, m)"""
    covariance: np.ndarray
    """(r, m, m)"""


def conditional_mean(xp: Any, rows: Array, model: FactorGaussian) -> Array:
    """Return E[x | known cells of x] for each row, (n, d); NaN is a missing cell.

    The result of a known cell is not its value, but the value that the factors of its row give. For ``xp`` see
    `estimators.scores`.
    """
    if xp is np and len(padded := in_whole_groups(rows)) > len(rows):
        return conditional_mean(xp, padded, model)[: len(rows)]
    precision, weighted = _factors(xp, rows, model)
    factors = xp.reshape(xp.linalg.solve(precision, weighted), (-1, len(model.loadings)))
    return factors @ model.loadings + model.mean[None]


def _factors(xp: Any, rows: Array, model: FactorGaussian) -> tuple[Array, Array]:
    """Return the factors' precision given the known cells, (n, k, k), and its product with their mean, (n, k, 1)."""
    k, d = model.loadings.shape
    relative = model.loadings / model.noise
    products = np.einsum("kd,ld->dkl", relative, model.loadings).reshape(d, k * k)
    is_missing = xp.isnan(rows)
    known = xp.where(is_missing, np.float64(0), np.float64(1))
    deviation = xp.where(is_missing, np.float64(0), rows - model.mean[None])
    precision = xp.reshape(known @ products + np.eye(k).reshape(1, k * k), (-1, k, k))
    return precision, xp.reshape(deviation @ np.ascontiguousarray(relative.T), (-1, k, 1))


def conditional_variance(rows: np.ndarray, model: FactorGaussian) -> np.ndarray:
    """Return Var[x | known cells of x] for each cell, (n, d), as if the cell itself were missing."""
    if len(padded := in_whole_groups(rows)) > len(rows):
        return conditional_variance(padded, model)[: len(rows)]
    found = np.empty(rows.shape)
    for some in row_blocks(rows, model):
        covariance = np.linalg.inv(_factors(np, rows[some], model)[0])
        found[some] = (model.loadings * (covariance @ model.loadings)).sum(axis=1)
    return found + model.noise


def independent(n_features: int) -> FactorGaussian:
    """Return the standard normal distribution of independent columns."""
    return FactorGaussian(np.zeros(n_features), np.zeros((1, n_features)), np.ones(n_features))


def expected(rows: np.ndarray, model: FactorGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Return E and Var of each missing cell given the known cells of its row, (n, d) each; known cells are undefined.

    They equal those of `conditional_mean` and `conditional_variance` up to rounding, and need less time.
    """
    mean, variance = np.empty(rows.shape), np.empty(rows.shape)
    if not _has_few_missing(rows):
        for at in row_blocks(rows, model):
            mean[at] = conditional_mean(np, rows[at], model)
            variance[at] = conditional_variance(rows[at], model)
        return mean, variance
    for some in missing_cells(rows, model):
        mean[some.row, some.feature] = some.mean
        variance[some.row, some.feature] = some.covariance.diagonal(0, 1, 2)
    return mean, variance


def fit_path(rows: np.ndarray, shrinkages: Sequence[float] = SHRINKAGES, seed: int = 0) -> Iterator[FactorGaussian]:
    """Fit a Gaussian for each λ, each from the one before.

    Parameters
    ----------
    rows : (n, d)
        In units of about 1, with a mean of about 0; NaN is a missing cell.
    shrinkages : sequence of float in (0, 1]
        λ, decreasing.
    seed : int
        Seed of the sample, for many rows.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(100, 1)) * [1.0, -1.0]
    >>> rows[:10, 1] = np.nan
    >>> *_, close = fit_path(rows)
    >>> bool(np.abs(conditional_mean(np, rows[:10], close)[:, 1] + rows[:10, 0]).max() < 0.01)
    True
    """
    rows = _sample(rows, _COST, seed)
    is_known = ~np.isnan(rows)
    n_known = np.maximum(is_known.sum(axis=0), 1)
    mean = np.where(is_known, rows, 0).sum(axis=0) / n_known
    variance = np.square(np.where(is_known, rows - mean, 0)).sum(axis=0) / n_known
    covariance = np.diag(variance)
    for shrinkage in shrinkages:
        mean, covariance = _converged(rows, mean, covariance, shrinkage)
        yield _model(mean, covariance, shrinkage)


def refined(rows: np.ndarray, model: FactorGaussian, shrinkage: float, seed: int = 0) -> FactorGaussian:
    """Continue the fit of a Gaussian from `fit_path` with more of the rows, if the path used a sample."""
    some = _sample(rows, _MOST_COST, seed)
    if shrinkage >= 1 or len(some) == len(_sample(rows, _COST, seed)):
        return model
    covariance = model.loadings.T @ model.loadings / (1 - shrinkage)
    np.fill_diagonal(covariance, np.square(model.loadings).sum(axis=0) + model.noise)
    return _model(*_converged(some, model.mean, covariance, shrinkage), shrinkage)


def _sample(rows: np.ndarray, cost: float, seed: int) -> np.ndarray:
    """Return as many rows, in their order, as a step may process."""
    n, d = rows.shape
    m = np.isnan(rows).mean() * d
    of_row = d**2 + m**2 * (16 + m / 3) if _has_few_missing(rows) else d * _MOST_FACTORS**2 / 2
    n_used = max(_FEWEST, int(cost / of_row))
    return rows if n_used >= n else rows[np.sort(np.random.default_rng([seed, 11]).choice(n, n_used, replace=False))]


def _converged(
    rows: np.ndarray, mean: np.ndarray, covariance: np.ndarray, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the covariance after some steps with one λ."""
    for _ in range(_N_STEPS if shrinkage < 1 else 0):
        mean, moved = _step(rows, _model(mean, covariance, shrinkage))
        change = np.abs(moved - covariance).max(initial=0)
        covariance = moved
        if change < min(_CONVERGED, shrinkage) * max(np.diag(covariance).max(initial=0), 1e-300):
            break
    return mean, covariance


def _model(mean: np.ndarray, covariance: np.ndarray, shrinkage: float) -> FactorGaussian:
    """Return the shrunk Gaussian in the form of factors; variance beyond the most factors becomes noise."""
    d = len(mean)
    variance = np.diag(covariance)
    unit = np.sqrt(np.where(variance > 0, variance, 1.0))
    if shrinkage >= 1:
        return FactorGaussian(mean, np.zeros((1, d)), unit**2)
    first = max(0, d - _MOST_FACTORS)
    values, axes = linalg.eigh(covariance / unit / unit[:, None], subset_by_index=(first, d - 1), check_finite=False)
    chosen = values > _RANK * max(values[-1], 1e-300)
    chosen[-1] = True  # at least one factor
    loadings = (axes[:, chosen] * np.sqrt((1 - shrinkage) * np.maximum(values[chosen], 0))).T
    rest = np.maximum((1 - shrinkage) - np.square(loadings).sum(axis=0), 0) if first else 0.0
    return FactorGaussian(mean, loadings * unit, (shrinkage + rest) * unit**2)


def missing_cells(rows: np.ndarray, model: FactorGaussian) -> Iterator[MissingCells]:
    """Return what is expected of the missing cells given the known ones, for rows with equally many at a time.

    With the precision P of all cells, the covariance of the missing cells m given the others is the inverse of P_mm,
    which is smaller than the factors' precision.
    """
    precision = np.linalg.inv(model.loadings.T @ model.loadings + np.diag(model.noise))
    is_missing = np.isnan(rows)
    pull = np.where(is_missing, 0, rows - model.mean) @ precision
    n_missing = is_missing.sum(axis=1)
    for m in np.unique(n_missing[n_missing > 0]):
        every = np.flatnonzero(n_missing == m)
        for start in range(0, len(every), step := max(1, _AT_ONCE // int(m * m))):
            row = every[start : start + step, None]
            feature = np.nonzero(is_missing[row[:, 0]])[1].reshape(-1, m)
            covariance = np.linalg.inv(precision[feature[:, :, None], feature[:, None, :]])
            deviation = (covariance @ pull[row, feature][:, :, None])[:, :, 0]
            yield MissingCells(row, feature, model.mean[feature] - deviation, covariance)


def _has_few_missing(rows: np.ndarray) -> bool:
    """Return whether no row has more missing cells than a model can have factors."""
    return bool(np.isnan(rows).sum(axis=1).max(initial=0) <= _MOST_FACTORS)


def _step(rows: np.ndarray, model: FactorGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the covariance of the rows with their missing cells as the model expects them."""
    n, d = rows.shape
    if not _has_few_missing(rows):
        return _factor_step(rows, model)
    filled, spread = rows.copy(), np.zeros(d * d)
    for some in missing_cells(rows, model):
        filled[some.row, some.feature] = some.mean
        place = some.feature[:, :, None] * d + some.feature[:, None, :]
        spread += np.bincount(place.ravel(), some.covariance.ravel(), d * d)
    mean = filled.mean(axis=0)
    centred = filled - mean
    return mean, (centred.T @ centred + spread.reshape(d, d)) / n


def _factor_step(rows: np.ndarray, model: FactorGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Return the result of `_step` for rows with many missing cells; their factors are known about equally well."""
    n, d = rows.shape
    is_missing = np.isnan(rows)
    filled, average = np.empty((n, d)), np.zeros((len(model.loadings),) * 2)
    for some in row_blocks(rows, model):
        precision, weighted = _factors(np, rows[some], model)
        covariance = np.linalg.inv(precision)
        factors = (covariance @ weighted)[:, :, 0]
        filled[some] = np.where(is_missing[some], factors @ model.loadings + model.mean, rows[some])
        average += covariance.sum(axis=0) / n
    both = is_missing.T.astype(np.float64) @ is_missing
    spread = both * (model.loadings.T @ average @ model.loadings) + np.diag(np.diag(both) * model.noise)
    mean = filled.mean(axis=0)
    centred = filled - mean
    return mean, (centred.T @ centred + spread) / n


def row_blocks(rows: np.ndarray, model: FactorGaussian) -> Iterator[slice]:
    """Return slices of rows for which the covariances of the factors fit in memory."""
    k = len(model.loadings)
    step = max(1, _AT_ONCE // max(1, k * max(k, rows.shape[1])))
    return (slice(start, start + step) for start in range(0, len(rows), step))
