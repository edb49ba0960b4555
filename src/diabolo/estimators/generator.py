"""Generation of synthetic rows similar to the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import PowerTransformer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.sampling import sample_positions
from ..data.schema import Schema, SchemaOverrides
from ..data.types import Frame, Name, RowsLike
from ..errors import InvalidParameter
from .arguments import Seed, check_arguments, seed_from
from .autoencoders import VariationalAutoencoder
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, Ensemble, Given, given_to, networks_of
from .input import InputSpec
from .result import store

__all__ = ["AutoencoderGenerator"]

_MOST_CODES = 32
_STEPS, _LEAST_EPOCHS, _BATCH = 4_000, 100, 128
"""More steps than a density needs: with fewer, samples are easier to tell from real rows (benchmarks.generation)."""
_PER_COMPONENT, _MOST_COMPONENTS = 12, 100
"""Rows per component of the mixture, and maximum number of components."""
_ROWS = 10_000
"""Maximum number of codes to fit the mixture to, and number of samples whose quantiles are compared with the data."""
_LEVELS = 501
_LEAST_VARIANCE = 1e-3
_DECIMALS = 5
_CANDIDATES = 4096, 16
"""Number of candidate codes for conditional samples: the minimum, and the number per row."""


@dataclass(eq=False, repr=False)
class AutoencoderGenerator(Ensemble):
    r"""Generator of synthetic rows with the dependences and the column distributions of the training rows.

    As in a copula (Sklar 1959), the distributions of the columns and their dependences are modelled separately.

    1. Each number is replaced by a score, the mean of two transforms: a power transform (Yeo & Johnson 2000), which
       shows gaps, and Φ⁻¹ of the fraction of cells below, which is robust to long tails and frequent values.
    2. A variational autoencoder is trained on the scores.
    3. A mixture of normal distributions is fitted to its codes, because the distribution of the codes can differ from
       the prior (Ghosh et al. 2020, section 4).
    4. To sample, codes are drawn from the mixture and decoded. Each decoded number is replaced by the number of the
       training data that has the same rank in its column as the decoded number has among the samples.

    Parameters
    ----------
    estimator : "auto" or BaseAutoencoder, default="auto"
        "auto": a variational autoencoder with one hidden layer of 256 units in encoder and decoder, and half as many
        latent dimensions as columns, at most 32. Or any variational autoencoder; the generator fits a clone of it.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: the kinds of the columns of a table. Counts are treated as integers.
    random_state : int, RandomState or None, default=None
        Seed for the network and the mixture. Two fits with the same int give identical results, bit for bit.
    verbose : int, default=0
        1: show a progress bar if standard error is a terminal.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The network, in a list of one list.
    weights_, means_, covariances_ : arrays of shape (m,), (m, K), (m, K, K)
        The mixture: one component per twelve rows, at most 100 components.
    input_ : InputSpec
        The columns: validates rows and converts results to the type of the input.
    seed_ : int
        The seed drawn from ``random_state``.
    n_features_in_ : int
        Number of columns passed to `fit`.
    feature_names_in_ : array of str
        Names of the columns. Defined only if `fit` got column names.
    schema_ : Schema or None
        Kinds of the columns; None if all columns are plain numbers.
    n_samples_ : int
        Number of rows passed to `fit`.
    data_fingerprint_ : str
        Hash of the rows used by `fit`.

    Notes
    -----
    Synthetic rows belong to no real individual, but the method gives no privacy guarantee: the rows may reveal
    information about the training rows.

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
    _: KW_ONLY
    schema: str | SchemaOverrides | None = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [StrOptions({"auto"}), BaseAutoencoder],
        **CONSTRAINTS,
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("weights_", "means_", "covariances_", "_found", "_known")
    _found = _known = np.empty(0)  # not annotated, so not parameters

    def fit(self, X: RowsLike, y: ArrayLike | None = None) -> Self:
        """Train the network, and fit the mixture to its codes.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows
            As for an autoencoder's `fit`; NaN is a missing cell. If the rows need more than 64 MB as 32-bit floats,
            `fit` uses a random sample of 64 MB.
        y : array-like of shape (n,) or None, default=None
            Ignored.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        ValueError, InvalidPart, InvalidData, TrainingDiverged
            As an autoencoder's `fit`, or if ``estimator`` has a deterministic code.
        """
        given = _with_counts_as_numbers(given_to(self, X, y))
        rows, columns, levels = given.rows, given.input, np.linspace(0, 1, _LEVELS)
        known = np.stack([_quantiles(column, levels) for column in rows.T], axis=1)
        scores = _put(columns, rows, lambda cells, i: _scores(cells, known[:, i]))
        trained, interrupted = networks_of(self, [(self._network(given), given.handed(scores))])

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
        return store(self, given.with_input(allow_missing=True).fitted(learned), interrupted)

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
                f"AutoencoderGenerator needs an estimator with a posterior; {type(own).__name__} has a deterministic "
                "code. Use VariationalAutoencoder()."
            )
        return own

    # -- using --------------------------------------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Name, object] | None = None,
        noise: bool = True,
        random_state: Seed = None,
    ) -> Frame:
        """Sample new rows.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        given : mapping or None, default=None
            Fixed values of all rows, by column name, or by column number if there are no names. Candidate codes from
            the mixture (4,096, or 16 per row if that is more) are then weighted by the likelihood of the values.
        noise : bool, default=True
            False: use E[x | z] instead of a sample of p(x | z), as is usual for images.
        random_state : int, RandomState or None, default=None
            Seed of the samples.

        Returns
        -------
        array of shape (n_samples, d), float64
            In the units of the training data. If `fit` got a data frame, a data frame of the same library, with the
            same columns and types; if it got a file of a table, an Arrow table. Integers are integers.

        Raises
        ------
        ValueError, InvalidData
            If ``n_samples`` is not positive, or ``given`` names an unknown column or a value that the column cannot
            have.
        """
        check_is_fitted(self)
        check_arguments(n_samples=n_samples, given=given, noise=noise)
        seed = seed_from(random_state)
        rng = np.random.default_rng([seed, 11])
        columns, predictor = self.input_, self.estimators_[0][0].predictor_
        mixture = self.weights_, self.means_, self.covariances_
        if not given:
            codes, row = _codes(*mixture, n_samples, rng), None
        else:
            row = columns.row_of(given)
            at_least, for_each = _CANDIDATES
            given_scores = _put(
                columns, row, lambda cells, i: _at(self._found[:, i], _levels(cells, self._known[:, i]))
            )
            drawn = _codes(*mixture, max(at_least, for_each * n_samples), rng)
            codes = predictor.select_codes(drawn, given_scores, n_samples, seed)

        def known(cells: np.ndarray, i: int) -> np.ndarray:
            found = _at(self._known[:, i], _levels(cells, self._found[:, i]))
            return _rounded_as(self._known[:, i], found)

        rows = _put(columns, predictor.decode(codes, seed, noise=noise), known)
        return columns.convert(rows, given=row)


def _with_counts_as_numbers(given: Given) -> Given:
    """Convert rows to 64 bits and count columns to plain numbers, because scores are not counts."""
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
    """Sample n codes from the mixture, (n, K)."""
    of = rng.choice(len(weights), n, p=weights)
    z = rng.standard_normal((n, means.shape[1]))
    for i, (mean, root) in enumerate(zip(means, np.linalg.cholesky(covariances), strict=True)):
        z[of == i] = mean + z[of == i] @ root.T
    return z.astype(np.float32)


def _put(columns: InputSpec, rows: np.ndarray, where: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Transform the known numbers of each ordered column; booleans and categories stay unchanged."""
    moved = rows.astype(np.float64)
    for i in np.flatnonzero(columns.is_ordered & ~np.isnan(rows).all(axis=0)):
        known = ~np.isnan(rows[:, i])
        moved[known, i] = where(moved[known, i], int(i))
    return moved


def _quantiles(column: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return quantiles of a column's known values; zeros if no value is known."""
    known = column[~np.isnan(column)]
    return np.quantile(known, levels, method="inverted_cdf") if len(known) else np.zeros(len(levels))


def _scores(column: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the score of each known cell of a column: the mean of a power transform and a normal score."""
    standard = (column - column.mean()) / (column.std() or 1.0)
    power = PowerTransformer().fit_transform(standard[:, None])[:, 0]
    normal = norm.ppf((_levels(column, quantiles) + 0.5) / len(quantiles))
    scores: np.ndarray = (power + normal) / 2
    return scores


def _levels(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the ranks of values among quantiles; the middle rank for a value equal to several quantiles."""
    first, after = np.searchsorted(quantiles, values, "left"), np.searchsorted(quantiles, values, "right")
    between = np.interp(values, quantiles, np.arange(len(quantiles)))
    return np.where(after > first, (first + after - 1) / 2, between)


def _at(quantiles: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the values at the given ranks among quantiles."""
    return np.interp(levels, np.arange(len(quantiles)), quantiles)


def _rounded_as(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Round values to the number of decimals of the known values, if that is at most four."""
    rounding = 1e-12 * np.abs(known).max()
    for n_decimals in range(_DECIMALS):
        if np.allclose(known, np.round(known, n_decimals), rtol=0, atol=rounding):
            return np.round(values, n_decimals)
    return values
