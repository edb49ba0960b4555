"""New rows of the kind that a table holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import PowerTransformer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.sampling import sample_positions
from ..data.schema import Schema
from ..errors import InvalidParameter
from .autoencoders import VariationalAutoencoder
from .base import BaseAutoencoder, drawing, require_positive
from .ensemble import Ensemble

__all__ = ["AutoencoderGenerator"]

_MOST_CODES = 32
_STEPS, _LEAST_EPOCHS, _BATCH = 4_000, 100, 128
"""Longer than a density needs: samples of fewer steps are told from rows more easily (benchmarks.generation)."""
_PER_COMPONENT, _MOST_COMPONENTS = 12, 100
"""Rows for each component of the mixture, and how many there are at most."""
_ROWS = 10_000
"""As many codes are learned from at most, and as many new rows are compared with the known ones."""
_LEVELS = 501
_LEAST_VARIANCE = 1e-3
_DECIMALS = 5
_CANDIDATES = 4096, 16
"""Codes that are weighed by what is given: so many, or so many for each row."""


@dataclass(eq=False, repr=False)
class AutoencoderGenerator(Ensemble):
    r"""Makes new rows: with the dependences of those it has learned from, and each column's own distribution.

    As in a copula (Sklar 1959), columns and what ties them are told apart. A variational autoencoder learns where cells
    lie among the known ones of their column: the mean of two scores, a power of the cell (Yeo & Johnson 2000), which
    tells gaps, and Φ⁻¹ of the share of cells below, which long tails and frequent values do not trouble. A mixture of
    normal distributions is fitted to its codes afterwards, as these need not lie as the prior does (Ghosh et al. 2020,
    section 4). What is decoded from a draw of it becomes the cell that has the same rank among known ones as this has
    among draws.

    Parameters
    ----------
    estimator : "auto" or BaseAutoencoder, default="auto"
        "auto": a variational autoencoder with a layer of 256 units on each side, and half as many codes as columns, at
        most 32. Or any autoencoder that is a variational one; it is cloned.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: what the columns of a table are. Counts are learned as whole numbers.
    random_state : int, RandomState or None, default=None
        Fixes the network and the mixture. Two fits with one int give the same bits.
    verbose : int, default=0
        1: a progress bar, if standard error is a terminal.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The one network, in a list in a list.
    weights_, means_, covariances_ : arrays of shape (m,), (m, K), (m, K, K)
        The mixture: a component for each twelve rows, at most 100.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only if `fit` was given names.
    schema_ : Schema or None
        What the columns are; None, if all are plain numbers.
    n_samples_ : int
    data_fingerprint_ : str

    Notes
    -----
    New rows are no one's, but nothing is promised of what can be learned from them about those that were fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import AutoencoderGenerator, VariationalAutoencoder
    >>> X = load_iris().data
    >>> generator = AutoencoderGenerator(VariationalAutoencoder(max_epochs=100), random_state=0).fit(X)
    >>> new = generator.sample(1000, random_state=0)
    >>> bool(abs(new.mean(axis=0) - X.mean(axis=0)).max() < 0.2)
    True
    """

    estimator: str | BaseAutoencoder = "auto"
    schema: str | dict[str, Any] | None = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [StrOptions({"auto"}), BaseAutoencoder],
        **Ensemble._shared_constraints,
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("weights_", "means_", "covariances_", "_found", "_known")
    _missing = True

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what rows are like.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory
            As for an autoencoder's `fit`; NaN is a missing cell. Of rows that take more than 64 MB as 32-bit floats, as
            many are learned from as 64 MB hold, drawn at random.
        y : ignored

        Raises
        ------
        ValueError, InvalidPart, InvalidData, TrainingDiverged
            As an autoencoder's `fit`; or if ``estimator`` has no posterior to draw codes from.
        """
        rows = self._with_counts_as_numbers(self._learned_from(X).astype(np.float64))
        levels = np.linspace(0, 1, _LEVELS)
        self._known = np.stack([_quantiles(column, levels) for column in rows.T], axis=1)
        scores = self._put(rows, lambda column, i: _scores(column, self._known[:, i]))
        self.estimators_ = [self._fitted([(self._network(*rows.shape), self._as_given(scores))])]

        rng = np.random.default_rng([self._seed, 10])
        codes = self._one._coded(scores[sample_positions(len(rows), _ROWS, rng)])
        mixture = GaussianMixture(
            int(np.clip(len(codes) // _PER_COMPONENT, 1, _MOST_COMPONENTS)),
            reg_covar=_LEAST_VARIANCE,
            random_state=self._seed,
        ).fit(codes)
        self.weights_, self.means_, self.covariances_ = mixture.weights_, mixture.means_, mixture.covariances_
        self._found = np.quantile(self._one._decoded(self._codes(_ROWS, rng), self._seed), levels, axis=0)
        return self

    def _with_counts_as_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Rows as a schema without counts has them, which is entered; scores are no counts."""
        if self.schema_ is None:
            return rows
        given = self.schema_
        self.schema_ = Schema(tuple(replace(c, kind="number") if c.kind == "count" else c for c in given.columns))
        places = self.schema_.places
        return np.hstack([rows[:, given.places[name]] for name in sorted(places, key=lambda name: places[name].start)])

    def _network(self, n_rows: int, width: int) -> BaseAutoencoder:
        own = self._own()
        if own is None:
            return VariationalAutoencoder(
                n_latent=int(np.clip(width // 2, 1, _MOST_CODES)),
                hidden_layer_sizes=(256,),
                n_samples=1,
                scaling="standard",
                skip=False,
                learning_rate=1e-3,
                validation_fraction=0.1,
                max_epochs=max(_LEAST_EPOCHS, -(-_STEPS // -(-n_rows // _BATCH))),
                batch_size=_BATCH,
                random_state=self._seed,
            )
        if not hasattr(own, "sample"):
            raise InvalidParameter(
                f"AutoencoderGenerator needs a posterior to draw codes from; {type(own).__name__} has deterministic "
                "ones. Use VariationalAutoencoder()."
            )
        return own

    @property
    def _one(self) -> BaseAutoencoder:
        return self.estimators_[0][0]

    def _codes(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws from the mixture, (n, K)."""
        of = rng.choice(len(self.weights_), n, p=self.weights_)
        z = rng.standard_normal((n, self.means_.shape[1]))
        for i, (mean, root) in enumerate(zip(self.means_, np.linalg.cholesky(self.covariances_), strict=True)):
            z[of == i] = mean + z[of == i] @ root.T
        return z.astype(np.float32)

    # -- using --------------------------------------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Any, Any] | None = None,
        noise: bool = True,
        random_state: int | None = None,
    ) -> Any:
        """New rows.

        Parameters
        ----------
        n_samples : int, default=1
        given : mapping or None, default=None
            Values that all rows have, by the name of the column, or its number if there are no names. Codes are then
            drawn from 4,096 draws of the mixture, or 16 for each row if that is more, by how likely they make them.
        noise : bool, default=True
            False: by E[x | z] in place of a draw from p(x | z), as one shows images.
        random_state : int or None, default=None

        Returns
        -------
        array of shape (n_samples, d), float64, in the units of the training data; for a schema an Arrow table of the
        same columns, types, ranges and categories

        Raises
        ------
        ValueError, InvalidData
            If ``n_samples`` is not positive; if ``given`` names a column that is not there, or a value it never has.
        """
        check_is_fitted(self)
        n_samples = require_positive(n_samples)
        seed = int(drawing(random_state).randint(2**30))
        rng = np.random.default_rng([seed, 11])
        if not given:
            codes, row = self._codes(n_samples, rng), None
        else:
            row = self._row_of(given)
            at_least, for_each = _CANDIDATES
            told = self._put(row, lambda cells, i: _at(self._found[:, i], _levels(cells, self._known[:, i])))
            codes = self._one._likely(self._codes(max(at_least, for_each * n_samples), rng), told, n_samples, seed)

        def known(cells: np.ndarray, i: int) -> np.ndarray:
            found = _at(self._known[:, i], _levels(cells, self._found[:, i]))
            return _rounded_as(self._known[:, i], found)

        rows = self._put(self._one._decoded(codes, seed, noise), known)
        return self._told(rows if row is None else np.where(np.isnan(row), rows, row))

    def _put(self, rows: np.ndarray, where: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        """Rows with the known numbers of each column put elsewhere; yes and no, and categories, stay."""
        moved = rows.astype(np.float64)
        for i in np.flatnonzero(self._are_numbers & ~np.isnan(rows).all(axis=0)):
            known = ~np.isnan(rows[:, i])
            moved[known, i] = where(moved[known, i], int(i))
        return moved


def _quantiles(column: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Values that a column has; zeros, if it has none."""
    known = column[~np.isnan(column)]
    return np.quantile(known, levels, method="inverted_cdf") if len(known) else np.zeros(len(levels))


def _scores(column: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """What is learned in place of a column's known cells."""
    standard = (column - column.mean()) / (column.std() or 1.0)
    power = PowerTransformer().fit_transform(standard[:, None])[:, 0]
    normal = norm.ppf((_levels(column, quantiles) + 0.5) / len(quantiles))
    scores: np.ndarray = (power + normal) / 2
    return scores


def _levels(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Where values stand among quantiles, in steps from the lowest; of a value that fills several, in their middle."""
    first, after = np.searchsorted(quantiles, values, "left"), np.searchsorted(quantiles, values, "right")
    between = np.interp(values, quantiles, np.arange(len(quantiles)))
    return np.where(after > first, (first + after - 1) / 2, between)


def _at(quantiles: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The values that stand there."""
    return np.interp(levels, np.arange(len(quantiles)), quantiles)


def _rounded_as(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values with as many decimals as those that are known; as they are, if that is more than a few."""
    for n_decimals in range(_DECIMALS):
        if np.allclose(known, np.round(known, n_decimals), rtol=0, atol=1e-9):
            return np.round(values, n_decimals)
    return values
