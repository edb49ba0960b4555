"""The parts of an imputed value and their shares: the column's mean, a Gaussian, and networks.

The shares are chosen by the errors in held-out cells, so that no part is used where it does not help: independent
columns get their mean, few rows a Gaussian that is shrunk towards it, and networks what they predict better than both.
A second Gaussian, with another shrinkage, serves the columns that held-out cells show to need it: one column that is a
function of a few others, among many independent ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..engine.gaussian import (
    SHRINKAGES,
    FactorGaussian,
    conditional_mean,
    conditional_variance,
    expected,
    fit_path,
    independent,
    refined,
    row_blocks,
)
from ..errors import ArtifactError
from . import scores
from .ensemble import known_range

__all__ = ["Blend", "HeldOut", "fit_linear", "folds", "shares", "with_networks"]

_ENOUGH_CELLS = 500
"""Number of held-out cells that need no further fold."""
_PATIENCE = 2
"""Number of λ in a row without an improvement, of all columns or of some, after which smaller λ are not tried."""
_CERTAIN = 1.5
"""Number of standard errors by which a second λ must be better in a column: one is not enough for the best of ten."""
_PRIOR_CELLS = 100
"""Weight of all columns' common share in the share of one column, as a number of cells."""
_ROUNDING = 2.0**-40
"""Smallest standard deviation of a column, relative to its largest value."""


@dataclass(frozen=True, eq=False)
class Blend:
    """The parts of an imputed value without the networks, in the user's units, and the shares of all parts."""

    mean: np.ndarray
    """(d,), the mean of each column's known cells."""
    variance: np.ndarray
    """(d,), their variance."""
    gaussians: tuple[FactorGaussian, ...]
    """One, or two that differ in their shrinkage."""
    bounds: np.ndarray
    """(2, d), to which the Gaussians' expectations are clipped."""
    linear_shares: np.ndarray
    """(n_gaussians, d), the share of each Gaussian's expectation, one per column; the rest is the mean's."""
    network_share: np.ndarray
    """(d,), the share of the networks; the rest is that of the other two."""

    @classmethod
    def of_networks(cls, span: np.ndarray) -> Blend:
        """Return the blend of networks alone, as in saved models of earlier versions."""
        none, one = np.zeros(span.shape[1]), np.ones(span.shape[1])
        return cls(none, one, (independent(len(none)),), span, none[None], one)

    @classmethod
    def is_in(cls, arrays: Mapping[str, np.ndarray]) -> bool:
        """Return whether the arrays of a saved model hold a blend."""
        return "blend.shares" in arrays

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], width: int) -> Blend:
        """Create a blend from the result of `arrays`.

        Raises
        ------
        ArtifactError
            If an array is missing, has a wrong shape or is not finite.
        """
        shares = arrays.get("blend.shares", np.empty(0))
        n_gaussians = max(1, sum(shares.shape[:1]) - 1)
        own = {name: arrays.get(f"blend.{name}", np.empty(0)) for name in _ARRAYS}
        shapes: dict[str, tuple[int, ...]] = {**_ARRAYS, "shares": (n_gaussians + 1,)}
        for i in range(n_gaussians):
            names = _of_gaussian(i)
            own |= {name: arrays.get(f"blend.{name}", np.empty(0)) for name in names}
            shapes |= dict(zip(names, ((), own[names[1]].shape[:1], ()), strict=True))
        for name, array in own.items():
            if array.shape != (*shapes[name], width) or not np.isfinite(array).all():
                raise ArtifactError(
                    f"The saved blend.{name} has shape {array.shape} or infinite numbers; rows have {width} features."
                )
            own[name] = array.astype(np.float64)  # 32 bits before 0.2.0, if the rows had 32
        gaussians = tuple(FactorGaussian(*(own[name] for name in _of_gaussian(i))) for i in range(n_gaussians))
        return cls(own["mean"], own["variance"], gaussians, own["bounds"], own["shares"][:-1], own["shares"][-1])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all numbers by name, for a saved model."""
        own = {"mean": self.mean, "variance": self.variance, "bounds": self.bounds,
               "shares": np.concatenate([self.linear_shares, self.network_share[None]])}  # fmt: skip
        for i, gaussian in enumerate(self.gaussians):
            own |= zip(_of_gaussian(i), gaussian, strict=True)
        return {f"blend.{name}": array for name, array in own.items()}

    @property
    def linear_share(self) -> np.ndarray:
        """(d,), the share of the Gaussian that the column uses; the rest is the mean's."""
        found: np.ndarray = self.linear_shares.sum(axis=0)
        return found

    @property
    def uses_networks(self) -> bool:
        """Whether any column uses the networks."""
        return bool((self.network_share > 0).any())

    @property
    def has_linear(self) -> bool:
        """Whether means and Gaussian were fitted; not in saved models of versions before 0.2, which are networks."""
        return any(one.loadings.any() for one in self.gaussians) or bool((self.network_share < 1).any())

    def linear(self, rows: np.ndarray) -> np.ndarray:
        """Return the expectation of each cell given the known cells of its row, (n, d), by its column's Gaussian."""
        found, chosen = np.empty(rows.shape), self.linear_shares.argmax(axis=0)
        for i, gaussian in enumerate(self.gaussians):
            for some in row_blocks(rows, gaussian):
                mean = scores.within(np, conditional_mean(np, rows[some], gaussian), self.bounds)
                found[some, chosen == i] = mean[:, chosen == i]
        return found

    def expected(self, rows: np.ndarray, networks: Sequence[np.ndarray], span: np.ndarray) -> np.ndarray:
        """Return the imputed value of each cell, (n, d), from the networks' expected rows; see `scores.imputed`."""
        found = np.empty(rows.shape)
        for some in row_blocks(rows, max(self.gaussians, key=lambda one: len(one.loadings))):
            found[some] = scores.imputed(np, rows[some], [one[some] for one in networks], self, span)
        return found

    def error(
        self, rows: np.ndarray, networks: Sequence[np.ndarray], span: np.ndarray, usual: np.ndarray
    ) -> np.ndarray:
        """Return the expected error of each cell, (n, d): the standard deviation of a mixture of the parts.

        Parameters
        ----------
        rows, networks, span
            As for `expected`.
        usual : (d,)
            The usual squared error of the networks.
        """
        own = np.broadcast_to(self.variance, rows.shape)
        for share, gaussian in zip(self.linear_shares, self.gaussians, strict=True):
            own = own + share * (conditional_variance(rows, gaussian) - self.variance)
        if not len(networks):
            return np.sqrt(own)
        each = np.stack([scores.within(np, one, span) for one in networks])
        step = each.mean(axis=0) - self.expected(rows, (), span)
        return np.sqrt(_mixed(self.network_share, own, usual + each.var(axis=0), step))


_ARRAYS: dict[str, tuple[int, ...]] = {"mean": (), "variance": (), "bounds": (2,), "shares": (2,)}
"""The shapes of the arrays of a blend, without the width of a row; more Gaussians have more shares."""


def _of_gaussian(i: int) -> tuple[str, str, str]:
    """Return the names of a Gaussian's mean, loadings and noise in a saved blend."""
    return ("gaussian_mean", "loadings", "noise") if i == 0 else (f"{i}.gaussian_mean", f"{i}.loadings", f"{i}.noise")


def _mixed(share: np.ndarray, first: np.ndarray, second: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the variance of a mixture of two distributions whose means differ by ``step``."""
    found: np.ndarray = (1 - share) * first + share * second + share * (1 - share) * step**2
    return found


class HeldOut(NamedTuple):
    """Held-out cells, and what is predicted for them without them; each array has one number per cell."""

    row: np.ndarray
    feature: np.ndarray
    fold: np.ndarray
    truth: np.ndarray
    expected: np.ndarray
    """The blend of the column's mean and the Gaussian."""
    variance: np.ndarray
    """The expected squared error."""

    def only(self, chosen: np.ndarray) -> HeldOut:
        """Return some of the cells."""
        return HeldOut(*(array[chosen] for array in self))


def folds(rows: np.ndarray, column: np.ndarray, share: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Choose disjoint sets of known cells to hold out, as masks (n, d).

    Each holds ``share`` of the cells; for few cells there are several sets. All features of a cell are held out
    together, and each column keeps a known cell.

    Parameters
    ----------
    rows : (n, d)
    column : (d,)
        The first feature of each feature's column.
    """
    is_known = ~np.isnan(rows)
    expected = share * max(1, int(is_known.sum()))
    n_folds = int(np.clip(np.ceil(_ENOUGH_CELLS / expected), 1, np.floor(1 / share + 1e-9)))
    place = rng.random(rows.shape)[:, column] / share
    found = [(place >= fold) & (place < fold + 1) & is_known for fold in range(n_folds)]
    return [mask & (is_known & ~mask).any(axis=0) for mask in found]


def fit_linear(
    rows: np.ndarray, column: np.ndarray, held_out: Sequence[np.ndarray], seed: int
) -> tuple[Blend, HeldOut]:
    """Fit Gaussians with the shrinkages that are best in the held-out cells, and their share in each column.

    One shrinkage is the best for all columns together. A second one is used in the columns whose held-out cells it
    predicts better by more than one and a half standard errors, if there are any, and its share is 1 there.

    The Gaussian's values are clipped to the range of the column's known cells, unless held-out cells are predicted
    better beyond the range of the others, as in a column that is a sum of others.

    Parameters
    ----------
    rows : (n, d)
    column : (d,)
        The first feature of each feature's column; errors of all features of a category count as one.
    held_out : sequence of (n, d)
        Masks of known cells, from `folds`.
    seed : int
    """
    parts = [_Fold(rows, mask, seed) for mask in held_out]
    row, feature, truth, mean, low, high = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("row", "feature", "truth", "mean", "low", "high")
    )
    d, variance, n_rows = len(column), _variance(rows), len(np.unique(row))
    of_column = column[feature]
    weight = 1 / np.bincount(column, variance, d)[of_column]
    tried, gained = list[_Tried](), list[float]()
    for _ in SHRINKAGES:
        each = [part.predicted() for part in parts]
        value, spread = (np.concatenate([one[at] for one in each]) for at in (0, 1))
        both = np.clip(value, low, high), np.clip(value, *_widened(low, high))
        errors = np.stack([np.bincount(of_column, weight * np.square(one - truth), d) for one in both])
        is_wide = (errors[1] < errors[0])[column]
        linear = np.where(is_wide[feature], both[1], both[0])
        tried.append(_Tried(linear, spread, is_wide, weight * np.square(linear - truth)))
        gained.append(float(_gains(tried[0].errors - tried[-1].errors, of_column, d).sum()))
        best = int(np.argmin([one.errors.sum() for one in tried]))
        if len(tried) > max(best, int(np.argmax(gained))) + _PATIENCE:
            break
    first = next(i for i, one in enumerate(tried) if _is_close(one.errors - tried[best].errors, n_rows))
    gains = np.array([_gains(tried[first].errors - one.errors, of_column, d) for one in tried])
    second = int(gains.sum(axis=1).argmax())
    uses = (gains[second] > 0)[column]
    chosen = [first, second] if uses.any() else [first]
    linear, spread = (
        np.where(uses[feature], getattr(tried[second], name), getattr(tried[first], name))
        for name in ("linear", "variance")
    )
    # A column that is better with its own λ is a function of others; a share estimated from few cells would spoil it.
    own = np.where(uses, 1.0, shares(linear - mean, truth - mean, weight, of_column, d)[column])
    offset, scale = _standard(rows)
    scaled = (rows - offset) / scale
    path = list(islice(fit_path(scaled, SHRINKAGES, seed), max(chosen) + 1))
    gaussians = [refined(scaled, path[i], SHRINKAGES[i], seed).in_units(offset, scale) for i in chosen]
    span = known_range(rows)
    bounds = np.where(np.where(uses, tried[second].is_wide, tried[first].is_wide), _widened(*span), span)
    linear_shares = np.stack([own * (uses == bool(i)) for i in range(len(chosen))])
    blend = Blend(offset, variance, tuple(gaussians), bounds, linear_shares, np.zeros(d))
    share = own[feature]
    cells = HeldOut(
        row,
        feature,
        np.repeat(np.arange(len(parts)), [len(part.row) for part in parts]),
        truth,
        mean + share * (linear - mean),
        variance[feature] + share * (spread - variance[feature]),
    )
    return blend, cells


def with_networks(
    blend: Blend, cells: HeldOut, networks: np.ndarray, usual: np.ndarray, column: np.ndarray
) -> tuple[Blend, HeldOut]:
    """Return the blend and the held-out cells with the networks, where they predict the cells better.

    Parameters
    ----------
    blend : Blend
    cells : HeldOut
        Cells that the networks have not seen.
    networks : (n_networks, n_cells)
        What the networks expect in them.
    usual : (d,)
        The usual squared error of the networks.
    column : (d,)
        The first feature of each feature's column.
    """
    step, of_column = networks.mean(axis=0) - cells.expected, column[cells.feature]
    weight = 1 / np.bincount(column, blend.variance, len(column))[of_column]
    found = shares(step, cells.truth - cells.expected, weight, of_column, len(column))[column]
    share = found[cells.feature]
    variance = _mixed(share, cells.variance, usual[cells.feature] + networks.var(axis=0), step)
    cells = cells._replace(expected=cells.expected + share * step, variance=variance)
    return replace(blend, network_share=found), cells


class _Tried(NamedTuple):
    """What the Gaussian with one λ predicts for the held-out cells."""

    linear: np.ndarray
    variance: np.ndarray
    is_wide: np.ndarray
    errors: np.ndarray


def _is_close(difference: np.ndarray, n_rows: int) -> bool:
    """Return whether errors in the same cells are larger by at most their standard error (Breiman et al. 1984, 3.4).

    The error of a standard error from few rows is that of Student's t: two rows tell nothing.
    """
    if n_rows <= 2:
        return True
    return bool(difference.sum() <= np.sqrt(n_rows / (n_rows - 2) * np.square(difference).sum()))


def _gains(gain: np.ndarray, column: np.ndarray, n: int) -> np.ndarray:
    """Return the sum of the gains in each of n columns, (n,); 0 where it is not certain.

    The standard error is as in `_is_close`: a column of one or two cells has no gain.
    """
    total, square, count = (np.bincount(column, one, n) for one in (gain, gain**2, np.ones(len(gain))))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(square * count / (count - 2))
    found: np.ndarray = np.where((count > 2) & (total > _CERTAIN * error), total, 0)
    return found


def _widened(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds with the same centre and three times the width."""
    return 2 * low - high, 2 * high - low


def shares(step: np.ndarray, residual: np.ndarray, weight: np.ndarray, column: np.ndarray, n: int) -> np.ndarray:
    """Return for each of n columns the share s in [0, 1] for which s · step is closest to the residual.

    Columns with few cells get nearly the common share of all columns.

    Parameters
    ----------
    step, residual, weight, column : (n_cells,)
    n : int

    Examples
    --------
    >>> one, column = np.ones(1000), np.arange(1000) % 2
    >>> shares(one, np.where(column == 1, 0.2, 0.9), one, column, 2).round(2).tolist()  # the common share is 0.55
    [0.84, 0.26]
    """
    product, square = weight * step * residual, weight * step**2
    total = max(float(square.sum()), np.finfo(float).tiny)
    common = float(np.clip(product.sum() / total, 0, 1))
    prior = _PRIOR_CELLS * total / max(1, len(step))
    of_column = np.bincount(column, product, n) + prior * common
    found: np.ndarray = np.clip(of_column / (np.bincount(column, square, n) + prior), 0, 1)
    return found


class _Fold:
    """The held-out cells of one fold, and the Gaussians fitted without them."""

    def __init__(self, rows: np.ndarray, mask: np.ndarray, seed: int) -> None:
        visible = np.where(mask, np.nan, rows)
        self._offset, self._scale = _standard(visible)
        self._path = fit_path((visible - self._offset) / self._scale, SHRINKAGES, seed)
        at = np.flatnonzero(mask.any(axis=1))
        self._seen, self._mask = visible[at], mask[at]
        within, self.feature = np.nonzero(self._mask)
        self.row = at[within]
        self.truth = rows[self.row, self.feature]
        self.mean = self._offset[self.feature]
        self.low, self.high = known_range(visible)[:, self.feature]

    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the expectation and the variance of the held-out cells, by the Gaussian with the next λ."""
        model = next(self._path).in_units(self._offset, self._scale)
        mean, variance = expected(self._seen, model)
        return mean[self._mask], variance[self._mask]


def _standard(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each column's known cells; 1 for a column that does not vary."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        mean = np.nan_to_num(np.asarray(np.nanmean(rows, axis=0, dtype=np.float64)))
        std = np.nan_to_num(np.asarray(np.nanstd(rows, axis=0, dtype=np.float64)))
    return mean, np.where(std > 0, std, 1.0)


def _variance(rows: np.ndarray) -> np.ndarray:
    """Return the variance of each column's known cells, at least that of rounding; 1 if there are none."""
    rounding = np.square(np.abs(known_range(rows)).max(axis=0) * _ROUNDING) + np.finfo(np.float32).tiny
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.nan_to_num(np.nanvar(rows, axis=0), nan=1.0) + rounding
