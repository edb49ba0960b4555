"""Anomaly detection: scores, a threshold with a calibrated false-alarm rate, and explanations.

A denoising autoencoder trained on normal rows reconstructs a normal row and moves an anomalous row towards the normal
rows. With noise of variance σ², the residual of the optimal one is −σ²·∇ log p_σ(x) (Alain & Bengio 2014, theorem 1).
Different σ are sensitive to anomalies at different distances.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, KFold, ShuffleSplit
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..core.corruptions import GaussianNoise
from ..data.schema import SchemaOverrides
from ..data.types import Frame, Name, RowsLike
from ..errors import InvalidData
from ..former_names import warn_of_former
from . import scores
from .arguments import check_arguments
from .autoencoders import DenoisingAutoencoder
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, SCALING, Ensemble, Given, given_to, known_range, networks_of
from .input import Opened
from .predictor import Predictor
from .result import store

__all__ = ["NOISE_LEVELS", "AnomalyDetector", "Explanation", "Judge"]

Folds = list[tuple[np.ndarray, np.ndarray]]
"""The training rows and the held-out rows of each fold."""

NOISE_LEVELS: dict[str, tuple[float, ...]] = {"ensemble": (0.1, 0.4), "single": (0.25,)}
"""σ of the denoising autoencoders, in standard deviations of a column."""
_BATCH, _STEPS = 128, 300
_SHARE, _FOLDS = 0.2, 3
_WIDTHS = (16, 64, 256, 1024)
_JUDGED = 4096
"""Number of training rows used to estimate the column scales of a network."""
_TIE = 1 + 1e-6
"""Factor on the calibration scores: a row equal to a held-out row must not score higher because of rounding."""
_NO_ALARM = -2 * scores.LARGEST_SCORE
"""The threshold if there are too few rows to flag any: below every score."""
_TINY = float(np.finfo(np.float32).tiny)
"""Smallest unit of deviances and scores. Products of two are numbers of 64 bits, but not of 32."""
_FLOOR = 0.01
"""Added to each column's scale: this fraction of the mean over all columns."""


class Explanation(NamedTuple):
    """Anomaly scores of rows, and the columns that cause them."""

    scores: np.ndarray
    """(n,), the anomaly score of each row: −`AnomalyDetector.score_samples`."""
    contributions: np.ndarray
    """(n, columns), the contribution of each column to the score; the contributions of a row sum to its score."""
    columns: tuple[Name, ...]
    """The labels of the columns, or their numbers if rows are an array."""
    observed: Frame
    """The cells of the columns, exactly as given, in a table of the kind of the rows."""
    expected: Frame
    """The expected values of the rows, given all of their columns, in the user's units, as from `reconstruct`."""

    @property
    def seen(self) -> Frame:
        """Return `observed` under its former name."""
        warn_of_former("Explanation", "seen", "observed")
        return self.observed

    def top_features(self, n: int = 3) -> np.ndarray:
        """Return the names of the ``n`` columns that contribute most to each score, largest first: (n_rows, n)."""
        order = np.argsort(-self.contributions, axis=1, kind="stable")[:, :n]
        labels = np.empty(len(self.columns), object)
        labels[:] = self.columns
        return labels[order]


@dataclass(frozen=True, eq=False)
class Judge:
    """One network of a detector, with its column scales and the scale of its scores."""

    predictor: Predictor
    span: np.ndarray
    """(2, d), the minimum and the maximum of each column in the training rows."""
    column_scale: np.ndarray
    """(d,), the typical deviance of each column."""
    scale: float = 1.0
    """The unit of the scores."""

    def deviances(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected rows in the user's units, and the deviance of each cell from them; both (n, d).

        The deviance is in units of the column's typical deviance.
        """
        mean, deviance = self.predictor.deviances(scores.seen_by(np, rows, self.span), rows)
        return mean, scores.relative_deviance(np, deviance, self.column_scale)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the anomaly score of each row, (n,)."""
        found: np.ndarray = scores.network_scores(np, self.deviances(rows)[1], rows, self.scale)
        return found


@dataclass(eq=False, repr=False)
class AnomalyDetector(OutlierMixin, Ensemble):  # type: ignore[misc]
    r"""Anomaly detector with a calibrated false-alarm rate.

    The detector is trained on normal rows. For each network, the score of a row is the square root of the mean deviance
    of its cells from the values that the network expects, divided by the network's median score on normal rows. The
    score of a row is the mean over all networks. The deviance of each column is in units of the column's typical
    deviance, unless the scaling leaves all columns in one common unit. The input of the networks is clipped to the
    range of the training rows. A score of 1 is the median score of held-out rows.

    Held-out rows calibrate the threshold. The p-value of a new row is the fraction of rows with at least its score,
    among the held-out rows and the row itself. The detector flags the row if its p-value is at most
    ``false_alarm_rate``.

    Parameters
    ----------
    estimator : {"ensemble", "single"} or BaseAutoencoder, default="ensemble"
        "ensemble": two denoising autoencoders d → 128 → 64 → 128 → d, for Gaussian noise of 0.1 and 0.4 standard
        deviations, trained together with 300 steps of Adam for any number of rows. "single": one network, for noise of
        0.25. Or any autoencoder; the detector fits clones of it.
    false_alarm_rate : float in (0, 1), default=0.01
        α, the maximum expected fraction of normal rows that are flagged. It can be changed after `fit`.
    calibration : int, float or None, default=None
        Choice of the calibration rows. A fraction in (0, 1): this fraction of the rows is held out; for new rows from
        the same distribution, the false-alarm rate is at most α, exactly (Vovk, Gammerman & Shafer 2005, proposition
        4.1). An int: the number of folds; each fold is held out once while the networks are trained on the others, so
        that all rows are used for training and for calibration, and the rate holds approximately (cross-conformal
        prediction, Vovk 2015). None: one fifth of the rows if that is enough to flag any row, otherwise three folds.
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        As for an autoencoder; "auto" is "standard" for numbers. If all columns are the same quantity, for example the
        samples of a signal, keep their common unit: divide all columns by one number so that the values are near 1, and
        use None. Not used if ``estimator`` is an autoencoder, which has its own scaling.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: the kinds of the columns of a table.
    random_state : int, RandomState or None, default=None
        Seed for the folds and the networks. Two fits with the same int give identical results, bit for bit.
    verbose : int, default=0
        1: show a progress bar if standard error is a terminal.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The networks of each fold. They may have additional input columns of zeros.
    judges_ : tuple of Judge
        The networks, each with its column scales and the scale of its scores.
    calibration_scores_ : array
        The scores of the held-out rows, sorted.
    offset_ : float
        Threshold: rows with `score_samples` below it are flagged. If there are too few rows for the false-alarm rate,
        it is −2·10⁹, below every score (these are at least −10⁹), so that no row is flagged; `fit` then gives a
        warning.
    can_flag_ : bool
        Whether there are enough calibration rows to flag a row at the false-alarm rate.
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

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import AnomalyDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> detector = AnomalyDetector("single", false_alarm_rate=0.1, random_state=0).fit(X[y == 0])
    >>> bool((detector.predict(X[y == 2]) == -1).all())
    True
    """

    estimator: str | BaseAutoencoder = "ensemble"
    _: KW_ONLY
    false_alarm_rate: float = 0.01
    calibration: int | float | None = None
    scaling: str | None = "auto"
    schema: str | SchemaOverrides | None = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _ranges = _usual = _typical = np.empty(0)  # not annotated, so not parameters
    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [StrOptions(set(NOISE_LEVELS)), BaseAutoencoder],
        "false_alarm_rate": [Interval(numbers.Real, 0, 1, closed="neither")],
        "calibration": [
            Interval(numbers.Integral, 2, None, closed="left"),
            Interval(numbers.Real, 0, 1, closed="neither"),
            None,
        ],
        **SCALING,
        **CONSTRAINTS,
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("calibration_scores_", "_ranges", "_usual", "_typical")

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(self, X: RowsLike, y: ArrayLike | None = None) -> Self:
        """Train the networks on normal rows, and calibrate the threshold.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows
            As for an autoencoder's `fit`. If the rows need more than 64 MB as 32-bit floats, `fit` uses a random sample
            of 64 MB.
        y : array-like of shape (n,) or None, default=None
            Ignored.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        ValueError, InvalidPart, InvalidData, TrainingDiverged
            As an autoencoder's `fit`.
        """
        given = given_to(self, X, y)
        given = given.with_input(allow_missing=bool(np.isnan(given.rows).any()))
        folds = list(self._folds(len(given.rows), given.seed))
        pairs = [pair for i, (training, _) in enumerate(folds) for pair in self._members(given, training, i)]
        trained, interrupted = networks_of(self, pairs)
        each = len(trained) // len(folds)
        members = [trained[i * each : (i + 1) * each] for i in range(len(folds))]
        store(self, given.fitted({"estimators_": members, **_judged(given, folds, members)}), interrupted)
        if not self.can_flag_:
            least = int(np.ceil(1 / self.false_alarm_rate)) - 1
            warnings.warn(
                f"Only {len(self.calibration_scores_)} calibration rows, so no p-value can be below "
                f"{1 / (len(self.calibration_scores_) + 1):.2g}: no row will be flagged at false_alarm_rate="
                f"{self.false_alarm_rate:g}. Give at least {least} calibration rows, or raise false_alarm_rate.",
                stacklevel=2,
            )
        return self

    def _folds(self, n_rows: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        wanted = self.calibration
        if wanted is None:
            wanted = _SHARE if self._n_flagged(int(np.ceil(_SHARE * n_rows))) else _FOLDS
        splitter: BaseShuffleSplit | BaseCrossValidator = ShuffleSplit(1, test_size=wanted, random_state=seed)
        if wanted >= 1:
            splitter = KFold(int(wanted), shuffle=True, random_state=seed)
        try:
            yield from splitter.split(np.empty((n_rows, 0)))
        except ValueError as error:
            raise InvalidData(
                f"{n_rows} rows are too few for calibration={wanted!r}: {error} Give more rows."
            ) from error

    def _n_flagged(self, n: int) -> int:
        """Return k: the threshold is the k-th largest of n calibration scores; 0: no row can be flagged."""
        return int(np.floor(self.false_alarm_rate * (n + 1) + 1e-9))

    def _members(self, given: Given, training: np.ndarray, fold: int) -> list[tuple[BaseAutoencoder, Opened]]:
        """Return the unfitted networks of a fold, each with its training rows."""
        known = given.rows[training]
        if (own := given.own(self.estimator, fold)) is not None:
            return [(own, given.handed(known))]
        rng = np.random.default_rng([given.seed, 7, fold])
        rounds = -(-_BATCH * _STEPS // len(known))
        drawn = np.concatenate([rng.permutation(len(known)) for _ in range(rounds)])[: _BATCH * _STEPS]
        rows = given.handed((known if given.input.schema is not None else _padded(known))[drawn])
        levels, scaling = NOISE_LEVELS[str(self.estimator)], "standard" if self.scaling == "auto" else self.scaling
        seeds = range(given.seed + fold * len(levels), given.seed + (fold + 1) * len(levels))
        return [(_denoiser(sigma, scaling, seed), rows) for sigma, seed in zip(levels, seeds, strict=True)]

    # -- using --------------------------------------------------------------------------------------------------------

    @property
    def can_flag_(self) -> bool:
        """Whether there are enough calibration rows to flag a row at the false-alarm rate."""
        return self._n_flagged(len(self.calibration_scores_)) > 0

    @property
    def offset_(self) -> float:
        """Threshold: rows with `score_samples` below it are flagged."""
        k = self._n_flagged(len(self.calibration_scores_))
        return -float(self.calibration_scores_[-k]) if k else _NO_ALARM

    def score_samples(self, X: RowsLike) -> np.ndarray:
        """Return the negative anomaly score of each row: at most 0, and −1 for the median normal row.

        The result is deterministic. For a row with missing cells, only the known cells are scored; the rows of `fit`
        must have had missing cells as well.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        array of shape (n,), float64
            The scores, never NaN; lower is more unusual.
        """
        check_is_fitted(self)
        found: np.ndarray = -self.input_.map(X, lambda rows, _: _mean_score(self.judges_, rows), bool(self.verbose))
        return found

    def decision_function(self, X: RowsLike) -> np.ndarray:
        """Return `score_samples` − ``offset_``: negative for flagged rows.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        array of shape (n,), float64
            The differences, always finite.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: RowsLike) -> np.ndarray:
        """Return which rows are flagged.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        array of shape (n,), int
            −1 for a flagged row and 1 for any other.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: RowsLike) -> np.ndarray:
        """Return the p-value of each row: how often a normal row has at least its score.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        array of shape (n,), float64
            The p-values, in (0, 1].
        """
        return self.p_values_from_scores(-self.score_samples(X))

    def p_values_from_scores(self, scores: ArrayLike) -> np.ndarray:
        """Return the p-values of rows from their anomaly scores.

        Parameters
        ----------
        scores : array-like of shape (n,)
            The anomaly scores, −`score_samples`.

        Returns
        -------
        array of shape (n,), float64
            The p-values, in (0, 1].
        """
        check_arguments(scores=scores)
        known = self.calibration_scores_
        below = np.searchsorted(known, np.asarray(scores, np.float64), side="left")
        found: np.ndarray = (1 + len(known) - below) / (len(known) + 1)
        return found

    def explain(self, X: RowsLike) -> Explanation:
        """Return the contribution of each column to the anomaly score of each row, and the expected values.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        Explanation
            Scores, contributions, and the expected rows.
        """
        check_is_fitted(self)
        judges, columns = self.judges_, self.input_

        def why(rows: np.ndarray, _: int) -> tuple[np.ndarray, ...]:
            expected, shares = np.zeros(rows.shape), np.zeros(rows.shape)
            for judge in judges:
                mean, relative = judge.deviances(rows)
                total = np.maximum(relative.sum(axis=1), np.finfo(np.float64).tiny)
                shares += (scores.network_scores(np, relative, rows, judge.scale) / total)[:, None] * relative
                expected += mean
            return shares / len(judges), (expected / len(judges)).astype(rows.dtype)

        (shares, expected), observed = columns.map_cells(X, why, bool(self.verbose))
        by_column = shares
        if columns.schema is not None:
            places = columns.schema.column_slices
            by_column = np.stack([shares[:, places[name]].sum(axis=1) for name in columns.schema.names], axis=1)
        total = shares.sum(axis=1)
        return Explanation(total, by_column, columns.labels_in(X), observed, columns.convert(expected, X))

    @property
    def judges_(self) -> tuple[Judge, ...]:
        """The networks, each with its column scales and the scale of its scores."""
        members = [member for fold in self.estimators_ for member in fold]
        spans = np.repeat(self._ranges, len(self.estimators_[0]), axis=0)
        return tuple(
            Judge(member.predictor_, *usual)
            for member, *usual in zip(members, spans, self._usual, self._typical, strict=True)
        )


def _judged(given: Given, folds: Folds, members: list[list[BaseAutoencoder]]) -> dict[str, np.ndarray]:
    """Estimate each network's scales from training rows, and the calibration scores from held-out rows."""
    rows, judges = given.rows, [list[Judge]() for _ in folds]
    for (training, _), group, mine in zip(folds, members, judges, strict=True):
        span = known_range(rows[training])
        known = rows[training[np.linspace(0, len(training) - 1, min(_JUDGED, len(training))).astype(int)]]
        for member in group:
            deviance = Judge(member.predictor_, span, np.ones(rows.shape[1])).deviances(known)[1]
            mean = deviance.sum(axis=0) / np.maximum(1, (~np.isnan(known)).sum(axis=0))
            if given.input.schema is None and member.scaler_.kind in ("none", "range", "global"):  # columns of one unit
                mean = np.full_like(mean, mean.mean())
            usual = mean + _FLOOR * mean.mean() + _TINY
            typical = max(float(np.median(scores.anomaly_scores(np, deviance / usual, known))), _TINY)
            mine.append(Judge(member.predictor_, span, usual, typical))
    held_out = np.concatenate([_mean_score(mine, rows[some]) for (_, some), mine in zip(folds, judges, strict=True)])
    one = max(float(np.median(held_out)), _TINY)  # the median score of held-out rows
    every = [judge for mine in judges for judge in mine]
    return {
        "calibration_scores_": np.sort(held_out / one) * _TIE,
        "_ranges": np.stack([mine[0].span for mine in judges]),
        "_usual": np.stack([judge.column_scale for judge in every]),
        "_typical": np.array([judge.scale for judge in every]) * one,
    }


def _mean_score(judges: Iterable[Judge], rows: np.ndarray) -> np.ndarray:
    """Return the mean anomaly score over several networks, (n,)."""
    found: np.ndarray = scores.mean_score([judge.scores(rows) for judge in judges])
    return found


def _padded(rows: np.ndarray) -> np.ndarray:
    """Append columns of zeros, so that tables of similar width share compiled programs."""
    width = next((width for width in _WIDTHS if width >= rows.shape[1]), rows.shape[1])
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _denoiser(sigma: float, scaling: str | None, seed: int) -> DenoisingAutoencoder:
    return DenoisingAutoencoder(
        n_latent=64,
        hidden_layer_sizes=(128,),
        skip=False,
        corruption=GaussianNoise(sigma, features="varying"),
        max_epochs=1,
        batch_size=_BATCH,
        learning_rate=1e-2,
        validation_fraction=None,
        scaling=scaling,
        random_state=seed,
    )
