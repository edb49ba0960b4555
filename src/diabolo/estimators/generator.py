"""New rows of the kind that a table holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import PowerTransformer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.sampling import sample_positions
from ..data.schema import Schema, SchemaOverrides
from ..data.types import Frame, Name, RowsLike
from ..errors import InvalidParameter
from .autoencoders import VariationalAutoencoder
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, Ensemble, Given, given_to, networks_of
from .input import InputSpec
from .reconstructor import drawing, require_positive
from .trainable import store

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
    input_ : InputSpec
        The columns: how rows are validated, and results converted to what was given.
    seed_ : int
        The seed that was drawn from ``random_state``.
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
    schema: str | SchemaOverrides | None = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [StrOptions({"auto"}), BaseAutoencoder],
        **CONSTRAINTS,
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("weights_", "means_", "covariances_", "_found", "_known")
    _found = _known = np.empty(0)  # not annotated, so not parameters

    def fit(self, X: RowsLike, y: object = None) -> Self:
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
        given = _with_counts_as_numbers(given_to(self, X))
        rows, columns, levels = given.rows, given.input, np.linspace(0, 1, _LEVELS)
        known = np.stack([_quantiles(column, levels) for column in rows.T], axis=1)
        scores = _put(columns, rows, lambda cells, i: _scores(cells, known[:, i]))
        trained = networks_of(self, [(self._network(given), given.handed(scores))])

        rng, predictor = np.random.default_rng([given.seed, 10]), trained[0].predictor_
        codes = predictor.codes(scores[sample_positions(len(rows), _ROWS, rng)])
        mixture = GaussianMixture(
            int(np.clip(len(codes) // _PER_COMPONENT, 1, _MOST_COMPONENTS)),
            reg_covar=_LEAST_VARIANCE,
            random_state=given.seed,
        ).fit(codes)
        drawn = _codes(mixture.weights_, mixture.means_, mixture.covariances_, _ROWS, rng)
        learned = {
            "estimators_": [trained],
            "weights_": mixture.weights_,
            "means_": mixture.means_,
            "covariances_": mixture.covariances_,
            "_known": known,
            "_found": np.quantile(predictor.decode(drawn, given.seed, noise=True), levels, axis=0),
        }
        return store(self, given.with_input(allow_missing=True).fitted(learned))

    def _network(self, given: Given) -> BaseAutoencoder:
        own, (n_rows, width) = given.own(self.estimator), given.rows.shape
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
                random_state=given.seed,
            )
        if not hasattr(own, "sample"):
            raise InvalidParameter(
                f"AutoencoderGenerator needs a posterior to draw codes from; {type(own).__name__} has deterministic "
                "ones. Use VariationalAutoencoder()."
            )
        return own

    # -- using --------------------------------------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Name, object] | None = None,
        noise: bool = True,
        random_state: int | None = None,
    ) -> Frame:
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
        columns, predictor = self.input_, self.estimators_[0][0].predictor_
        mixture = self.weights_, self.means_, self.covariances_
        if not given:
            codes, row = _codes(*mixture, n_samples, rng), None
        else:
            row = columns.row_of(given)
            at_least, for_each = _CANDIDATES
            told = _put(columns, row, lambda cells, i: _at(self._found[:, i], _levels(cells, self._known[:, i])))
            drawn = _codes(*mixture, max(at_least, for_each * n_samples), rng)
            codes = predictor.select_codes(drawn, told, n_samples, seed)

        def known(cells: np.ndarray, i: int) -> np.ndarray:
            found = _at(self._known[:, i], _levels(cells, self._found[:, i]))
            return _rounded_as(self._known[:, i], found)

        rows = _put(columns, predictor.decode(codes, seed, noise=noise), known)
        return columns.convert(rows if row is None else np.where(np.isnan(row), rows, row))


def _with_counts_as_numbers(given: Given) -> Given:
    """Rows in 64 bits, and as a schema without counts has them; scores are no counts."""
    schema, rows = given.input.schema, given.rows.astype(np.float64)
    if schema is None:
        return replace(given, rows=rows)
    numbers = Schema(tuple(replace(c, kind="number") if c.kind == "count" else c for c in schema.columns))
    places = numbers.column_slices
    rows = np.hstack(
        [rows[:, schema.column_slices[name]] for name in sorted(places, key=lambda name: places[name].start)]
    )
    return replace(given, rows=rows, input=replace(given.input, schema=numbers))


def _codes(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws from a mixture, (n, K)."""
    of = rng.choice(len(weights), n, p=weights)
    z = rng.standard_normal((n, means.shape[1]))
    for i, (mean, root) in enumerate(zip(means, np.linalg.cholesky(covariances), strict=True)):
        z[of == i] = mean + z[of == i] @ root.T
    return z.astype(np.float32)


def _put(columns: InputSpec, rows: np.ndarray, where: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Rows with the known numbers of each column put elsewhere; yes and no, and categories, stay."""
    moved = rows.astype(np.float64)
    for i in np.flatnonzero(columns.is_ordered & ~np.isnan(rows).all(axis=0)):
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
