"""Views of a detector on a row, besides its networks: distances to training rows, their covariance, their columns.

A denoising network has a small residual wherever the slope of the density is small, also in the middle of a gap between
two groups of rows. The views see such rows. Each view gives one number per row, the logarithm of a deviance; a `Tail`
converts it to a surprise, −log p, and `scores.combined` combines the surprises.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ..data.scaler import Scaler
from ..data.schema import Schema
from . import scores

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

__all__ = ["N_VIEWS", "VIEWS", "Tail", "Views", "units_of", "usual_rows"]

VIEWS = ("network", "nearest", "among 8", "among 32", "covariance", "cell", "column")
"""The names of the views: the networks first, then those of `Views.strangeness`, in order."""
N_VIEWS = len(VIEWS)
_MEMORY_ROWS, _MEMORY_CELLS = 8192, 2**22
_SAMPLES, _SIZES = 64, (8, 32)
"""Number of subsamples of the memory, and their sizes."""
_COMPONENTS, _CELL_COMPONENTS = 30, 256
"""Largest number of principal components in the views of the covariance and of the cells."""
_RIDGE, _CELL_RIDGE, _LEAST_CELL, _LEAST_VARIANCE, _SMALL = 1e-6, 1e-2, 1e-3, 1e-2, 1e-9
_QUANTILES, _LEAST_DISTINCT = 64, 8
_USUAL, _STEPS = 0.6, 3
"""Fraction of the rows that counts as usual, and the number of concentration steps."""
_SCALED = 4096
"""Number of rows used where a sample suffices."""
_DIGITS = 2
"""Logarithms of deviances are told apart to 1 %, so that rounding to 32 bits hardly changes a surprise."""
_KNOTS, _TAIL, _TAIL_ROWS = 64, 0.1, 8
"""Number of quantiles of a tail; the fraction of the values beyond the last, and their smallest number."""
_CELLS_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Tail:
    """How often rows that a view has not learned from have at least a value, as −log of the frequency.

    Linear interpolation between quantiles. Beyond the last, the 90 % quantile if there are enough values, linear in the
    logarithm of the deviance, as for a Pareto tail.
    """

    knots: np.ndarray
    """(knots,), ascending."""
    surprises: np.ndarray
    """(knots,), −log of the fraction of the values that are at least the knot, in nats."""
    rate: np.ndarray
    """(1,), the increase of the surprise per unit beyond the last knot: 1 / the mean excess over it."""

    @classmethod
    def fit(cls, values: np.ndarray, *, contaminated: bool = False) -> Self:
        """Estimate the frequencies from values of a view, (n,).

        The excesses over the last knot are exponential: their median is log 2 times their mean. If some of the values
        may be those of anomalies, which can only lengthen the tail, the smaller of both estimates of the mean is used.
        The largest values have no influence on the median; the mean is smaller if most excesses are of anomalies that
        are alike.
        """
        known = np.sort(np.round(values, _DIGITS))
        beyond = min(max(_TAIL, _TAIL_ROWS / len(known)), 0.5)
        last = np.quantile(known, 1 - beyond)
        distinct, counts = np.unique(known[known <= last], return_counts=True)
        at_least = 1 - (np.cumsum(counts) - counts / 2) / len(known)
        chosen = np.unique(np.linspace(0, len(distinct) - 1, _KNOTS).astype(int))
        knots, surprises = distinct[chosen], -np.log(np.maximum(at_least[chosen], beyond))
        excess = known[known > last] - last
        mean = excess.mean() if len(excess) else 0.0
        if contaminated and len(excess):
            mean = min(mean, np.median(excess) / np.log(2))
        scale = max(float(mean), 0.05 * float(known.std()), 1e-2)
        n_more = _KNOTS - len(knots)
        return cls(np.pad(knots, (0, n_more), "edge"), np.pad(surprises, (0, n_more), "edge"), np.array([1 / scale]))

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], start: str) -> Self:
        """Return the tail whose arrays have names with this start; see `arrays`."""
        return cls(*(arrays[start + one.name] for one in fields(cls)))

    def arrays(self, start: str) -> dict[str, np.ndarray]:
        """Return the arrays, each under its name after ``start``."""
        return {start + one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def slopes(self) -> np.ndarray:
        """The slope after each knot, (knots,)."""
        widths, rises = np.diff(self.knots), np.diff(self.surprises)
        return np.append(np.divide(rises, widths, out=np.zeros_like(rises), where=widths > 0), self.rate)

    @property
    def widths(self) -> np.ndarray:
        """The length of the segment after each knot, (knots,)."""
        return np.append(np.diff(self.knots), np.inf)


@dataclass(frozen=True, eq=False)
class Views:
    """What a detector has learned from training rows, besides its networks.

    Rows are in units of their columns: (row − center) / unit. A missing cell counts as the mean, except in distances,
    which are of the known cells only.
    """

    center: np.ndarray
    """(d,)."""
    unit: np.ndarray
    """(d,)."""
    memory: np.ndarray
    """(m, d), asinh of training rows in these units, 32 bits; NaN is a missing cell.

    Distances are of these, so that a column with a heavy tail does not outweigh all others.
    """
    among_8: np.ndarray
    """(subsamples, 8), rows of the memory."""
    among_32: np.ndarray
    """(subsamples, 32), rows of the memory."""
    mean: np.ndarray
    """(d,), the mean of the usual training rows."""
    whitening: np.ndarray
    """(d, k), converts to uncorrelated components of variance 1."""
    axes: np.ndarray
    """(d, k), the principal axes of the covariance used for cells."""
    loads: np.ndarray
    """(k,), 1/σ² − 1/variance of each of these axes, where σ² is the variance along all other axes."""
    precision: np.ndarray
    """(1,), 1/σ²."""
    cell_unit: np.ndarray
    """(d,), divides the product of a row with the inverse of the covariance."""
    columns: np.ndarray
    """(c,), the columns with many distinct values."""
    quantiles: np.ndarray
    """(c, quantiles) of these columns."""
    typical: np.ndarray
    """(c,), the typical logarithm of the distance to the quantiles."""

    @classmethod
    def fit(
        cls, rows: np.ndarray, usual: np.ndarray, units: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
    ) -> Self:
        """Learn from training rows, (n, d), of which ``usual``, (n,), are used for the covariance."""
        standard = scores.standardised(np, rows, *units)
        memory, filled = np.arcsinh(_drawn(standard, rng)).astype(np.float32), np.nan_to_num(standard)
        kept = filled[usual]
        columns, quantiles = _sketches(standard)
        axes, loads, precision, cell_unit = _moments(kept)
        among_8, among_32 = (_subsamples(len(memory), size, rng) for size in _SIZES)
        some = standard[np.linspace(0, len(rows) - 1, min(len(rows), _SCALED)).astype(int)][:, columns]
        found = cls(
            center=units[0],
            unit=units[1],
            memory=memory,
            among_8=among_8,
            among_32=among_32,
            mean=kept.mean(axis=0),
            whitening=_whitening(_leading(filled), kept),
            axes=axes,
            loads=loads,
            precision=precision,
            cell_unit=cell_unit,
            columns=columns,
            quantiles=quantiles,
            typical=_typical(some, quantiles),
        )
        cells = np.median(found.cells(kept), axis=0)
        return replace(found, cell_unit=found.cell_unit * (cells + _LEAST_CELL * np.median(cells) + _SMALL))

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], start: str) -> Self:
        """Return the views whose arrays have names with this start; see `arrays`."""
        return cls(*(arrays[start + one.name] for one in fields(cls)))

    def arrays(self, start: str) -> dict[str, np.ndarray]:
        """Return the arrays, each under its name after ``start``."""
        return {start + one.name: getattr(self, one.name) for one in fields(self)}

    def cells(self, filled: np.ndarray) -> np.ndarray:
        """Return the deviance of each cell from its expectation given the others, (n, d), in typical deviances."""
        found: np.ndarray = scores.cell_deviances(np, filled, self)
        return found

    def strangeness(self, rows: np.ndarray) -> np.ndarray:
        """Return the logarithm of the deviance of each row in each view, (n, views)."""
        step = max(1, _CELLS_AT_ONCE // max(len(self.memory), self.quantiles.size, 1))
        pieces = [scores.strangeness(np, rows[start : start + step], self) for start in range(0, len(rows), step)]
        return np.concatenate([np.stack(piece, axis=1) for piece in pieces] or [np.empty((0, N_VIEWS - 1))])

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """Return the share of each cell in each view's deviance, (views, n, d); the sum over a row's cells is 1."""
        step = max(1, _CELLS_AT_ONCE // max(len(self.memory), _SAMPLES * rows.shape[1]))
        pieces = [self._shares(rows[start : start + step]) for start in range(0, len(rows), step)]
        return np.concatenate(pieces or [np.empty((N_VIEWS - 1, *rows.shape))], axis=1)

    def _shares(self, rows: np.ndarray) -> np.ndarray:
        standard = scores.standardised(np, rows, self.center, self.unit)
        known, compressed = ~np.isnan(standard), np.arcsinh(standard)
        found = np.zeros((N_VIEWS - 1, *rows.shape))
        squared = scores.squared_distances(np, np.nan_to_num(compressed), known.astype(np.float64), self.memory)
        equal = squared <= scores.EQUAL * (1 + np.nansum(compressed**2, axis=1))[:, None]
        squared[equal & (equal.sum(axis=1) == 1)[:, None]] = np.inf  # the row itself
        found[0] = np.nan_to_num((compressed - self.memory[squared.argmin(axis=1)]) ** 2)
        for view, places in enumerate((self.among_8, self.among_32), 1):
            nearest = places[np.arange(len(places)), squared[:, places].argmin(axis=2)]
            found[view] = np.nan_to_num((compressed[:, None] - self.memory[nearest]) ** 2).mean(axis=1)
        cells = self.cells(np.nan_to_num(standard)) * known
        found[3], found[4] = cells**2, cells == cells.max(axis=1, keepdims=True)
        if len(self.columns):
            distances = scores.quantile_distances(np, standard[:, self.columns], self.quantiles) - self.typical
            distances = np.where(known[:, self.columns], distances, -np.inf)
            found[5][:, self.columns] = distances == distances.max(axis=1, keepdims=True)
        found = (found + _SMALL**2) * known
        shares: np.ndarray = found / np.maximum(found.sum(axis=2, keepdims=True), _SMALL**3)
        return shares


def units_of(rows: np.ndarray, scaling: str | None, schema: Schema | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the center and the unit of each column, (d,) each.

    With "standard" scaling, the expected squared difference between two rows is 2 for a number and for a category.
    """
    center, unit = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    if schema is None:
        scaler = Scaler.fit("standard" if scaling == "auto" else scaling, rows, "real")
        return center + scaler.offset, unit * scaler.scale
    for column in schema.used:
        place = schema.column_slices[column.name]
        if column.kind == "category":
            shares = np.nan_to_num(rows[:, place]).mean(axis=0)
            unit[place] = np.sqrt(max(1 - (shares**2).sum(), _LEAST_VARIANCE))
        else:
            scaler = Scaler.fit("standard", rows[:, place], "real")
            center[place], unit[place] = scaler.offset, scaler.scale
    return center, unit


def usual_rows(rows: np.ndarray, units: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return which training rows are the most usual 60 %, (n,), if any of them may be anomalies.

    The order is by the combined surprise of views that a minority of the rows can hardly change: the distances to the
    nearest of few other rows (Sugiyama & Borgwardt 2013), and the Mahalanobis distance by the covariance of the most
    usual rows, found by concentration steps (Rousseeuw & Van Driessen 1999).
    """
    sample = rows[np.sort(rng.permutation(len(rows))[:_SCALED])]
    found = Views.fit(sample, np.ones(len(sample), bool), units, rng).strangeness(rows)
    surprises = [scores.surprise(np, one, Tail.fit(one, contaminated=True)) for one in (found[:, 1], found[:, 2])]
    order = scores.combined(np, surprises, (1.0, 1.0))
    filled = np.nan_to_num(scores.standardised(np, rows, *units))
    axes, n_kept = _leading(filled), max(2, int(_USUAL * len(rows)))
    for _ in range(_STEPS):
        kept = filled[np.argsort(order, kind="stable")[:n_kept]]
        order = np.log((((filled - kept.mean(axis=0)) @ _whitening(axes, kept)) ** 2).sum(axis=1) + _SMALL)
    surprises.append(scores.surprise(np, order, Tail.fit(order, contaminated=True)))
    is_usual = np.zeros(len(rows), bool)
    is_usual[np.argsort(scores.combined(np, surprises, (1.0, 1.0, 1.0)), kind="stable")[:n_kept]] = True
    return is_usual


def _typical(cells: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the median logarithm of the distance of each column's cells, (n, c), to its quantiles; 0 without cells."""
    each = [scores.quantile_distances(np, cells[:, [j]], quantiles[[j]])[:, 0] for j in range(len(quantiles))]
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.nan_to_num([np.nanmedian(one) for one in each])


def _drawn(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return rows for the memory: all, or a random sample of bounded size."""
    n_kept = min(len(rows), _MEMORY_ROWS, max(_SIZES[-1], _MEMORY_CELLS // max(1, rows.shape[1])))
    return rows[np.sort(rng.permutation(len(rows))[:n_kept])]


def _subsamples(n_rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.permutation(n_rows)[:size] for _ in range(_SAMPLES)])


def _pca(rows: np.ndarray, k: int) -> PCA:
    from sklearn.decomposition import PCA  # a fitted detector does without

    return PCA(max(1, k), random_state=0).fit(rows)


def _leading(filled: np.ndarray) -> np.ndarray:
    """Return the leading principal axes, (d, k); the mean counts as 0."""
    found = _pca(filled, min(_COMPONENTS, filled.shape[1], len(filled) - 1))
    kept = found.explained_variance_ > _SMALL * found.explained_variance_[0]
    axes: np.ndarray = found.components_[kept | (np.arange(len(kept)) == 0)].T
    return axes


def _whitening(axes: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return W, (d, k): the squared length of (x − mean)·W is the Mahalanobis distance within the axes."""
    within = np.atleast_2d(np.cov((kept @ axes).T))
    within = within + (_RIDGE * np.trace(within) / len(within) + _SMALL) * np.eye(len(within))
    return axes @ np.linalg.inv(np.linalg.cholesky(within)).T


def _moments(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the axes, the loads, the precision and the cell units of `Views`, by a probabilistic PCA with a ridge."""
    found = _pca(kept, min(_CELL_COMPONENTS, kept.shape[1], len(kept) - 1))
    ridge = _CELL_RIDGE * kept.var(axis=0).mean() + _SMALL
    variances, precision = found.explained_variance_ + ridge, 1 / (found.noise_variance_ + ridge)
    axes, loads = found.components_.T, precision - 1 / variances
    return axes, loads, np.array([precision]), np.sqrt(np.maximum(precision - axes**2 @ loads, _SMALL))


def _sketches(standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns with many distinct values, (c,), and their quantiles, (c, quantiles)."""
    levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    known = [column[~np.isnan(column)] for column in standard.T]
    found = [np.quantile(column, levels) if len(column) else np.zeros(_QUANTILES) for column in known]
    chosen = [i for i, one in enumerate(found) if len(np.unique(one)) >= _LEAST_DISTINCT]
    return np.array(chosen, int), np.stack([found[i] for i in chosen]) if chosen else np.zeros((0, _QUANTILES))
