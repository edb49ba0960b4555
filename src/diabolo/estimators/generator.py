"""Generation of synthetic rows similar to the rows of a table."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.sampling import sample_positions
from ..data.schema import Schema, SchemaOverrides
from ..data.types import Frame, Name, RowsLike
from ..engine.factor_analysis import number_of_factors
from ..errors import InvalidParameter
from ..persistence.serialization import Found
from .arguments import Seed, check_arguments, check_page, seed_from
from .autoencoders import VariationalAutoencoder
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, Ensemble, Given, given_to, networks_of
from .input import InputSpec
from .local_gaussians import LocalGaussians, weakest_cut
from .marginals import Marginals, find_keys, set_apart
from .predictor import N_DRAWS, Predictor
from .relations import LinearRelations
from .result import store

if TYPE_CHECKING:
    from ..displays.report import Report

__all__ = ["AutoencoderGenerator"]

_MOST_CODES = 32
_STEPS, _LEAST_EPOCHS, _BATCH = 4_000, 100, 128
"""More steps than a density needs: with fewer, samples are easier to tell from real rows (benchmarks.generation)."""
_ROWS, _ROWS_FOR_CODES = 10_000, 2_000
"""Maximum number of rows that groups are fitted to, and that the number of latent dimensions is chosen with."""
_LEAST_VARIANCE, _FARTHEST = 0.01, 4.0
"""The smallest noise and the largest cell, in standard deviations, when the number of latent dimensions is chosen:
otherwise a few cells of nearly constant columns decide."""
_PREFERENCE = 1e3
"""How much rather a rounded column is computed from others by a relation than a column that is not rounded."""
_ATTEMPTS = 10
"""How often a row is drawn again if it equals a training row, or leaves the range of the training rows."""


@dataclass(eq=False, repr=False)
class AutoencoderGenerator(Ensemble):
    r"""Generator of synthetic rows with the dependences and the column distributions of the training rows.

    As in a copula (Sklar 1959), the distributions of the columns and their dependences are modelled separately.

    1. Each number is replaced by a score, the mean of two transforms: a power transform (Yeo & Johnson 2000), which
       shows gaps, and Φ⁻¹ of the fraction of cells below, which is robust to long tails and frequent values.
    2. A variational autoencoder is trained on the scores s. Each row then has a code z and a residual r = s − E[x | z].
    3. The rows are divided into groups of 12 to 23 rows that are near each other. One normal distribution
       of code and residual together is fitted to each group. The mixture of these distributions has the dependences of
       all rows, whatever the network has learned, and the noise of a new row has the directions of its group.
    4. To sample, (z, r) is drawn from the mixture, and the new scores are E[x | z] + r. Categories and booleans are
       those of one row of the group, and (z, r) is drawn given them: its mean is linear in them (ridge regression
       within all groups together), so that numbers have the means of the training rows in each category. Each score
       is replaced by the number of the training data that has the same rank in its column as the score has among
       generated ones. Exact linear relations between columns then hold again.

    Parameters
    ----------
    estimator : "auto" or BaseAutoencoder, default="auto"
        "auto": a variational autoencoder with one hidden layer of 256 units in encoder and decoder. The number of
        latent dimensions, at most 32, is the number of factors with the highest cross-validated likelihood. Or any
        variational autoencoder; the generator fits a clone of it.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: the kinds of the columns of a table. Counts are treated as integers.
    random_state : int, RandomState or None, default=None
        Seed for the network and the groups. Two fits with the same int give identical results, bit for bit.
    verbose : int, default=0
        1: show a progress bar on a terminal or in a notebook.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The network, in a list of one list.
    weights_, means_, factors_ : arrays of shape (m,), (m, K + p), (m, q, K + p)
        The mixture of m groups, for K latent dimensions and p numbers: the share of the rows, the mean of (z, r), and
        F with the covariance FᵀF given the categories. Up to 10,000 rows are used.
    effects_ : array of shape (c, K + p)
        The coefficients of the regression of (z, r) on the c encoded categories and booleans within groups.
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
    A row that occurs once in the training data is not repeated: such a row is drawn again, up to ten times. This is no
    privacy guarantee. New rows may reveal information about the training rows, and so may a saved generator, which has
    the means and covariances of groups of 12 rows or more, and the categories of each row.

    A column of distinct integers (a key) is distinct in the new rows, too.

    References
    ----------
    Silverman (1986), "Density Estimation for Statistics and Data Analysis", section 6.4.1 (smoothed bootstrap);
    Dasgupta & Freund (2008), "Random Projection Trees and Low Dimensional Manifolds"; Pagès (2004), "Analyse
    factorielle de données mixtes" (the weights of numbers and categories when rows are compared).

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
    _fitted_arrays: ClassVar[tuple[str, ...]] = (
        *("weights_", "means_", "factors_", "effects_", "_starts", "_labels"),
        *("_parts", "_found", "_known", "_relations", "_keys", "_training_rows"),
    )
    # not annotated, so not parameters
    _starts = _labels = _parts = _found = _known = _relations = _keys = _training_rows = np.empty(0)

    def fit(self, X: RowsLike, y: ArrayLike | None = None) -> Self:
        """Train the network, and fit the mixture to the codes and residuals.

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
        rows, is_ordered = given.rows, given.input.is_ordered
        marginals = Marginals.fit(rows, is_ordered)
        scores = marginals.scores(rows)
        trained, interrupted = networks_of(self, [(self._network(given, scores), given.handed(scores))])
        rng = np.random.default_rng([given.seed, 10])
        some = scores[sample_positions(len(rows), _ROWS, rng)]
        learned = {
            "estimators_": [trained],
            **_mixture(trained[0].predictor_, marginals, some, given.seed, rng),
            "_relations": LinearRelations.find(rows, is_ordered).table,
            "_keys": find_keys(rows, is_ordered),
            "_training_rows": _unique_hashes(rows),
        }
        return store(self, given.with_input(allow_missing=True).fitted(learned), interrupted)

    def _network(self, given: Given, scores: np.ndarray) -> BaseAutoencoder:
        own = given.own_without_condition(self.estimator)
        if own is None:
            return VariationalAutoencoder(
                n_latent=_n_codes(scores),
                hidden_layer_sizes=(256,),
                n_samples=1,
                scaling="standard" if given.input.is_ordered.any() else None,
                skip=False,
                learning_rate=1e-3,
                validation_fraction=0.1,
                max_epochs=max(_LEAST_EPOCHS, -(-_STEPS // -(-len(scores) // _BATCH))),
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
            Fixed values of all rows, by column name, or by column number if there are no names, in the units of the
            training data. The other cells are drawn from the conditional distribution of the mixture. If no training
            row has all the given categories, those with most of them are used.
        noise : bool, default=True
            False: use E[x | z] without the residual, as is usual for images.
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
        rng = np.random.default_rng([seed_from(random_state), 11])
        columns = self.input_
        row = columns.row_of(given) if given else np.full((1, columns.width), np.nan)
        rows = self._draw(np.zeros(n_samples, bool), row, noise, rng)
        marginals, is_free = self._marginals, np.isnan(row)
        for _ in range(_ATTEMPTS):
            is_copy = np.isin(_hashes(rows), self._training_rows)
            again = np.flatnonzero(is_copy | marginals.is_outside(np.where(is_free, rows, np.nan)))
            if not len(again):
                break
            rows[again] = self._draw(is_copy[again], row, noise, rng)
        for i in np.flatnonzero(self._keys & is_free[0]):
            rows[:, i] = set_apart(rows[:, i], *self._known[[0, -1], i])
        return _with_ranges_of(columns, rows, self._keys).convert(rows, given=row)

    def _facts(self) -> tuple[tuple[str, str], ...]:
        names = [str(name) for name in dict.fromkeys(np.array(self.input_.column_of_feature, object)[self._keys])]
        return (
            ("groups of rows", f"{len(self.weights_):,}"),
            ("linear relations", f"{len(self._relations):,}"),
            ("keys", ", ".join(names) or "none"),
        )

    def report(
        self, X: RowsLike | None = None, *, path: str | os.PathLike[str] | None = None, title: str = ""
    ) -> Report:
        """Return an HTML report: generated beside real rows, by column, by pair of columns and by nearest row.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`; default=None
            Real rows, of which at most 5,000 are used, and as many are generated. Rows not used in `fit` show whether
            the generated rows hold for new data; those of `fit` show whether they are copies. None: the page shows
            some generated rows only.
        path : path or None, default=None
            File to write the page to.
        title : str, default=""
            Title of the page; empty: the name of the class.

        Returns
        -------
        Report
            The HTML page: a str with the attribute ``findings`` and the method ``save``.
        """
        check_is_fitted(self)
        check_page(path, title)
        from ..displays.report import Report
        from ..report import generators

        return Report.of(generators.collect(self, X), title, path)

    @property
    def _marginals(self) -> Marginals:
        return Marginals(self._known, self._found, self.input_.is_ordered)

    def _draw(self, is_mixed: np.ndarray, row: np.ndarray, noise: bool, rng: np.random.Generator) -> np.ndarray:
        """Draw rows in the user's units, given the known cells of ``row``; mixed rows have labels of two rows."""
        predictor, is_ordered, marginals = self.estimators_[0][0].predictor_, self.input_.is_ordered, self._marginals
        gaussians = LocalGaussians(self.means_, self.factors_, self.effects_, self._starts, self._labels)
        n, is_given, given_labels = len(is_mixed), ~np.isnan(row[0]), row[:, ~is_ordered]
        same = (self._labels == given_labels)[:, is_given[~is_ordered]].sum(axis=1)
        allowed = np.flatnonzero(same == same.max())
        numbers = np.flatnonzero(is_given & is_ordered)

        def with_given(labels: np.ndarray) -> np.ndarray:
            return np.where(np.isnan(given_labels), labels, given_labels)

        if len(numbers):
            to_scores = marginals.scores_of_given(row)[0, numbers]
            centres = gaussians.means_at(allowed, with_given(self._labels[allowed]))
            means = _decoded(predictor, centres, is_ordered)[:, numbers]
            factors = _factors_in_scores(predictor, gaussians, is_ordered)[..., numbers]
            positions, errors = gaussians.condition(means, factors, to_scores, allowed, n, rng)
        else:
            positions, errors = gaussians.draw_positions(n, allowed, rng), gaussians.noise(n, rng)
        labels = self._labels[positions]
        labels[is_mixed] = gaussians.mixed_labels(positions[is_mixed], self._parts, rng)
        joint = gaussians.rows_at(positions, with_given(labels), errors)
        scores = _decoded(predictor, joint, is_ordered, noise)
        if noise:
            scores[:, ~is_ordered] = labels
        rows = np.where(is_given, row, marginals.values(scores))
        # A sum of rounded and other numbers is a rounded number if the rounded number is computed.
        scale = self._known.std(axis=0) * np.where(marginals.steps > 0, _PREFERENCE, 1)
        related = LinearRelations(self._relations).enforce(rows, is_given, scale)
        return np.where(is_given, row, marginals.rounded(related))

    def _restore(self, found: Found) -> None:
        if "covariances_" in found.arrays:  # saved before the mixture had residuals
            found = replace(found, arrays={**found.arrays, **_of_former(found)})
        if "effects_" not in found.arrays:  # saved before numbers depended on labels within groups
            shape = found.array("_labels").shape[1], found.array("means_").shape[1]
            found = replace(found, arrays={**found.arrays, "effects_": np.zeros(shape, np.float32)})
        super()._restore(found)


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


def _n_codes(scores: np.ndarray) -> int:
    """Return the number of factors of the scores, by cross-validation; at most 32, and fewer than rows."""
    some, most = scores[:_ROWS_FOR_CODES], int(np.clip(min(scores.shape[1], len(scores) - 1), 1, _MOST_CODES))
    if scores.shape[1] > _ROWS_FOR_CODES // 4:
        return most
    is_known = ~np.isnan(some)
    count = np.maximum(is_known.sum(axis=0), 1)
    centred = np.where(is_known, some - np.nansum(some, axis=0) / count, 0)
    scale = np.sqrt(np.square(centred).sum(axis=0) / count)
    standard = np.clip(centred / np.where(scale > 0, scale, 1), -_FARTHEST, _FARTHEST)
    return number_of_factors(standard, most, np.full(scores.shape[1], _LEAST_VARIANCE))


def _mixture(
    predictor: Predictor, marginals: Marginals, scores: np.ndarray, seed: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Fit groups to scores, (n, d), and return the fitted arrays by name."""
    is_ordered, is_missing = marginals.is_ordered, np.isnan(scores)
    if is_missing.any():
        scores = np.where(is_missing, predictor.sample_given(scores, 0, N_DRAWS, seed), scores)
    codes = predictor.codes(scores)
    residuals = (scores - predictor.decode(codes))[:, is_ordered]
    names = np.array(predictor.input.column_of_feature, object)
    features = _of_equal_weight(scores, names)
    gaussians = LocalGaussians.fit(np.hstack([codes, residuals]), features, scores[:, ~is_ordered], rng)
    positions = gaussians.draw_positions(_ROWS, np.arange(len(scores)), rng)
    drawn = gaussians.rows_at(positions, gaussians.labels[positions], gaussians.noise(_ROWS, rng))
    return {
        "weights_": gaussians.weights,
        "means_": gaussians.means,
        "factors_": gaussians.factors,
        "effects_": gaussians.effects,
        "_starts": gaussians.starts,
        "_labels": gaussians.labels,
        "_parts": weakest_cut(gaussians.labels, names[~is_ordered]),
        "_known": marginals.known,
        "_found": marginals.with_generated(_decoded(predictor, drawn, is_ordered)).found,
    }


def _of_equal_weight(scores: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Scale columns as factor analysis of mixed data does (Pagès 2004), so that no axis of one column varies by more
    than 1: numbers and booleans by their standard deviation, categories by the root of their share of the rows.
    """
    n_features = Counter(names)
    is_single = np.array([n_features[name] == 1 for name in names])
    scale = np.where(is_single, scores.std(axis=0), np.sqrt(scores.mean(axis=0).clip(0)))
    scaled: np.ndarray = scores / np.where(scale > 0, scale, 1)
    return scaled


def _decoded(predictor: Predictor, joint: np.ndarray, is_ordered: np.ndarray, noise: bool = True) -> np.ndarray:
    """Return scores of codes and residuals: E[x | z], plus the residual with ``noise``."""
    codes, residuals = np.split(joint, [predictor.n_codes], axis=1)
    scores = predictor.decode(codes.astype(np.float32))
    if noise:
        scores[:, is_ordered] += residuals
    return scores


def _factors_in_scores(predictor: Predictor, gaussians: LocalGaussians, is_ordered: np.ndarray) -> np.ndarray:
    """Return the factors of the groups in scores, (m, q, d)."""
    means, factors = gaussians.means, gaussians.factors
    centres = _decoded(predictor, means, is_ordered)
    ends = _decoded(predictor, (means[:, None] + factors).reshape(-1, means.shape[1]), is_ordered)
    found: np.ndarray = ends.reshape(*factors.shape[:2], -1) - centres[:, None]
    return found


def _of_former(found: Found) -> dict[str, np.ndarray]:
    """Return the arrays of a generator saved with a mixture of codes, fitted to scores drawn as it drew them."""
    predictor, rng = found.groups[0][0].predictor_, np.random.default_rng(0)
    weights, means, covariances = (found.array(name) for name in ("weights_", "means_", "covariances_"))
    of = rng.choice(len(weights), _ROWS, p=weights / weights.sum())
    noise = rng.standard_normal((_ROWS, means.shape[1]))
    codes = means[of] + np.einsum("nij,nj->ni", np.linalg.cholesky(covariances)[of], noise)
    drawn = predictor.decode(codes.astype(np.float32), noise=True)
    marginals = Marginals(found.array("_known"), np.empty(0), predictor.input.is_ordered)
    return {
        **_mixture(predictor, marginals, drawn, 0, rng),
        "_relations": np.empty((0, drawn.shape[1] + 1)),
        "_keys": np.zeros(drawn.shape[1], bool),
        "_training_rows": np.empty(0, np.uint64),
    }


def _hashes(rows: np.ndarray) -> np.ndarray:
    """Return a hash of each row, (n,), uint64."""
    same = np.ascontiguousarray(rows + 0.0)  # -0 is 0
    return np.array([int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest()) for row in same], np.uint64)


def _unique_hashes(rows: np.ndarray) -> np.ndarray:
    """Return the hashes of rows that occur once: others describe several individuals."""
    hashes, counts = np.unique(_hashes(rows), return_counts=True)
    unique: np.ndarray = hashes[counts == 1]
    return unique


def _with_ranges_of(columns: InputSpec, rows: np.ndarray, keys: np.ndarray) -> InputSpec:
    """Return columns whose ranges include the keys of the rows."""
    form = columns.cells if columns.schema is None else columns.schema
    if form is None or not keys.any():
        return columns
    places = form.column_slices
    high = {c.name: rows[:, places[c.name]].max() for c in form.used if keys[places[c.name]].all()}
    wider = (replace(c, high=float(high[c.name])) if c.name in high and c.high is not None else c for c in form.columns)
    wide = Schema(tuple(wider))
    return replace(columns, cells=wide) if columns.schema is None else replace(columns, schema=wide)
