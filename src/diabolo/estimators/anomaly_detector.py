"""Rows that are unlike the rows one has: scores, a threshold that keeps its word, and reasons.

A denoising autoencoder that has seen ordinary rows rebuilds an ordinary row and pulls others towards them: with noise
of variance σ², the best one's residual is −σ²·∇ log p_σ(x) (Alain & Bengio 2014, theorem 1). Several σ look at several
distances.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, KFold, ShuffleSplit
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..core.corruptions import GaussianNoise
from ..data.schema import SchemaOverrides
from ..data.types import Frame, Name, RowsLike
from ..errors import InvalidData
from . import scores
from .autoencoders import DenoisingAutoencoder
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, Ensemble, Given, given_to, known_range, networks_of
from .input import Opened
from .predictor import Predictor
from .trainable import store

__all__ = ["NOISE_LEVELS", "AnomalyDetector", "Explanation", "Judge"]

Folds = list[tuple[np.ndarray, np.ndarray]]
"""For each, which rows are learned from, and which are held out."""

NOISE_LEVELS: dict[str, tuple[float, ...]] = {"ensemble": (0.1, 0.4), "single": (0.25,)}
"""σ of the denoisers, in standard deviations of a column."""
_BATCH, _STEPS = 128, 300
_SHARE, _FOLDS = 0.2, 3
_WIDTHS = (16, 64, 256, 1024)
_JUDGED = 4096
"""How many of its training rows say what is usual for a network."""
_TIE = 1 + 1e-6
"""A row that is equal to one kept apart has its score but for rounding, and must not count as stranger."""
_FLOOR = 0.01
"""Of the mean over columns: the least deviance that is usual for a column."""


class Explanation(NamedTuple):
    """Why rows are strange."""

    scores: np.ndarray
    """(n,): how strange each row is; −`AnomalyDetector.score_samples`."""
    contributions: np.ndarray
    """(n, columns): each column's share in the score; a row's sum is its score."""
    columns: tuple[Name, ...]
    """Their names, or numbers if they have none."""
    seen: Frame
    """The rows,"""
    expected: Frame
    """and what they were expected to be, given all of their columns: in the user's units, as `reconstruct` gives it."""

    def top_features(self, n: int = 3) -> np.ndarray:
        """The names of the ``n`` columns that contribute most to each row's score, the first one most: (n_rows, n)."""
        order = np.argsort(-self.contributions, axis=1, kind="stable")[:, :n]
        return np.array(self.columns, object)[order]


@dataclass(frozen=True, eq=False)
class Judge:
    """One network of a detector, and what is usual for it."""

    predictor: Predictor
    span: np.ndarray
    """(2, d), the least and the greatest of each column in the rows that it has learned from."""
    column_scale: np.ndarray
    """(d,), the usual deviance in each column."""
    scale: float = 1.0
    """The unit of its scores."""

    def deviances(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what rows are expected to be, in the user's units, and how far off each cell is; both (n, d).

        The deviance is in units of what is usual for the column.
        """
        mean, deviance = self.predictor.deviances(scores.seen_by(np, rows, self.span), rows)
        return mean, scores.relative_deviance(np, deviance, self.column_scale)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return how strange rows are, (n,)."""
        found: np.ndarray = scores.anomaly_scores(np, self.deviances(rows)[1], rows) / self.scale
        return found


@dataclass(eq=False, repr=False)
class AnomalyDetector(OutlierMixin, Ensemble):  # type: ignore[misc]
    r"""Learns from ordinary rows; flags others, of ordinary ones no more than ``false_alarm_rate``.

    A row's score is the root of its mean deviance from what a network expects it to be, over the network's median; and
    of that the mean over all networks. Each column's deviance is in units of what is usual for it, unless the scaling
    leaves all in a common unit. What the networks read is kept within the range of the rows learned from. The unit is
    the median score of the rows that a network has not seen.

    Rows that a network has not seen say how large a score an ordinary row may have: the p-value of a new row is the
    share of them, and of itself, with at least its score. It is flagged if that is no more than ``false_alarm_rate``.

    Parameters
    ----------
    estimator : {"ensemble", "single"} or BaseAutoencoder, default="ensemble"
        "ensemble": denoising autoencoders d → 128 → 64 → 128 → d for Gaussian noise of 0.1 and 0.4 standard deviations,
        trained side by side by 300 steps of Adam, however many rows there are. "single": one, for 0.25. Or any
        autoencoder; it is cloned.
    false_alarm_rate : float in (0, 1), default=0.01
        α: how many ordinary rows may be flagged. It may be set anew after `fit`.
    calibration : int, float or None, default=None
        Which rows say what an ordinary score is. A share in (0, 1): these are held out, and for new rows drawn as they
        were the false-alarm rate is at most α, exactly (Vovk, Gammerman & Shafer 2005, proposition 4.1). A number of
        folds: each is held out once and the others trained on, so that all rows are of use to both; the rate then holds
        nearly (cross-conformal prediction, Vovk 2015). None: a fifth, if that is enough for any row to be flagged, else
        three folds.
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        As for an autoencoder; "auto" is "standard" for numbers. Columns that are one quantity, such as a signal's
        samples, are better left in their common unit: None, once that is near 1. Not used with an ``estimator`` of your
        own, which brings its own.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: what the columns of a table are.
    random_state : int, RandomState or None, default=None
        Fixes the folds and the networks. Two fits with one int give the same bits.
    verbose : int, default=0
        1: a progress bar, if standard error is a terminal.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The networks, fold by fold. They may read columns of zeros after yours.
    judges_ : tuple of Judge
        The networks, and what is usual for each.
    calibration_scores_ : array
        The scores of the rows held out, sorted.
    offset_ : float
        `score_samples` below it are flagged. −inf, with a warning by `fit`, if there are too few rows for the rate.
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
        **CONSTRAINTS,
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("calibration_scores_", "_ranges", "_usual", "_typical")

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(self, X: RowsLike, y: object = None) -> Self:
        """Learn what is ordinary.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory
            As for an autoencoder's `fit`. Of rows that take more than 64 MB as 32-bit floats, as many are learned from
            as 64 MB hold, drawn at random.
        y : ignored

        Raises
        ------
        ValueError, InvalidPart, InvalidData, TrainingDiverged
            As an autoencoder's `fit`.
        """
        given = given_to(self, X)
        given = given.with_input(allow_missing=bool(np.isnan(given.rows).any()))
        folds = list(self._folds(len(given.rows), given.seed))
        pairs = [pair for i, (training, _) in enumerate(folds) for pair in self._members(given, training, i)]
        trained = networks_of(self, pairs)
        each = len(trained) // len(folds)
        members = [trained[i * each : (i + 1) * each] for i in range(len(folds))]
        store(self, given.fitted({"estimators_": members, **_judged(given, folds, members)}))
        if self.offset_ == -np.inf:
            least = int(np.ceil(1 / self.false_alarm_rate)) - 1
            warnings.warn(
                f"With {len(self.calibration_scores_)} rows to compare with, no p-value is below "
                f"{1 / (len(self.calibration_scores_) + 1):.2g}: nothing will be flagged at a false-alarm rate of "
                f"{self.false_alarm_rate:g}. Give at least {least} such rows, or raise the rate.",
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
        """Of n ordinary rows, as many as one more may be stranger than to be flagged."""
        return int(np.floor(self.false_alarm_rate * (n + 1) + 1e-9))

    def _members(self, given: Given, training: np.ndarray, fold: int) -> list[tuple[BaseAutoencoder, Opened]]:
        """The unfitted networks of a fold, each with its rows."""
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
    def offset_(self) -> float:
        """`score_samples` below it are flagged."""
        k = self._n_flagged(len(self.calibration_scores_))
        return -float(self.calibration_scores_[-k]) if k else -np.inf

    def score_samples(self, X: RowsLike) -> np.ndarray:
        """How ordinary each row is, (n,): at most 0, and −1 for the median of ordinary ones. Deterministic.

        Of a row with missing cells, which there must have been in `fit` as well, the others are judged.
        """
        check_is_fitted(self)
        found: np.ndarray = -self.input_.map(X, lambda rows, _: _mean_score(self.judges_, rows), bool(self.verbose))
        return found

    def decision_function(self, X: RowsLike) -> np.ndarray:
        """`score_samples` − ``offset_``: negative for rows that are flagged."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: RowsLike) -> np.ndarray:
        """−1 for rows that are flagged, 1 for others."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: RowsLike) -> np.ndarray:
        """For each row, (n,), how often an ordinary one would be at least as strange; in (0, 1]."""
        return self.p_values_from_scores(-self.score_samples(X))

    def p_values_from_scores(self, scores: np.ndarray) -> np.ndarray:
        """Those of rows whose scores are known already."""
        known = self.calibration_scores_
        below = np.searchsorted(known, scores, side="left")
        found: np.ndarray = (1 + len(known) - below) / (len(known) + 1)
        return found

    def explain(self, X: RowsLike) -> Explanation:
        """Which columns make each row strange, and what they were expected to be."""
        check_is_fitted(self)
        judges, columns = self.judges_, self.input_

        def why(rows: np.ndarray, _: int) -> tuple[np.ndarray, ...]:
            expected, shares = np.zeros(rows.shape), np.zeros(rows.shape)
            for judge in judges:
                mean, relative = judge.deviances(rows)
                total = np.maximum(relative.sum(axis=1), np.finfo(np.float64).tiny)
                shares += (scores.anomaly_scores(np, relative, rows) / judge.scale / total)[:, None] * relative
                expected += mean
            return shares / len(judges), expected / len(judges), rows

        shares, expected, rows = columns.map(X, why, bool(self.verbose))
        if columns.schema is None:
            return Explanation(shares.sum(axis=1), shares, tuple(columns.labels), rows, expected.astype(rows.dtype))
        places, names = columns.schema.column_slices, columns.schema.names
        by_column = np.stack([shares[:, places[name]].sum(axis=1) for name in names], axis=1)
        return Explanation(shares.sum(axis=1), by_column, names, columns.convert(rows, X), columns.convert(expected, X))

    @property
    def judges_(self) -> tuple[Judge, ...]:
        """Each network, and what is usual for it."""
        members = [member for fold in self.estimators_ for member in fold]
        spans = np.repeat(self._ranges, len(self.estimators_[0]), axis=0)
        return tuple(
            Judge(member.predictor_, *usual)
            for member, *usual in zip(members, spans, self._usual, self._typical, strict=True)
        )


def _judged(given: Given, folds: Folds, members: list[list[BaseAutoencoder]]) -> dict[str, np.ndarray]:
    """Learn what is usual for each network, of rows that it knows; and what is ordinary, of those it does not."""
    rows, judges = given.rows, [list[Judge]() for _ in folds]
    for (training, _), group, mine in zip(folds, members, judges, strict=True):
        span = known_range(rows[training])
        known = rows[training[np.linspace(0, len(training) - 1, min(_JUDGED, len(training))).astype(int)]]
        for member in group:
            deviance = Judge(member.predictor_, span, np.ones(rows.shape[1])).deviances(known)[1]
            mean = deviance.sum(axis=0) / np.maximum(1, (~np.isnan(known)).sum(axis=0))
            if given.input.schema is None and member.scaler_.kind in ("none", "range", "global"):  # columns of one unit
                mean = np.full_like(mean, mean.mean())
            usual = mean + _FLOOR * mean.mean() + np.finfo(np.float32).tiny
            typical = max(np.median(scores.anomaly_scores(np, deviance / usual, known)), np.finfo(np.float32).tiny)
            mine.append(Judge(member.predictor_, span, usual, typical))
    held_out = np.concatenate([_mean_score(mine, rows[some]) for (_, some), mine in zip(folds, judges, strict=True)])
    one = max(float(np.median(held_out)), float(np.finfo(np.float32).tiny))  # what rows not seen have
    every = [judge for mine in judges for judge in mine]
    return {
        "calibration_scores_": np.sort(held_out / one) * _TIE,
        "_ranges": np.stack([mine[0].span for mine in judges]),
        "_usual": np.stack([judge.column_scale for judge in every]),
        "_typical": np.array([judge.scale for judge in every]) * one,
    }


def _mean_score(judges: Iterable[Judge], rows: np.ndarray) -> np.ndarray:
    """How strange rows are to several networks, (n,)."""
    found: np.ndarray = scores.mean_score([judge.scores(rows) for judge in judges])
    return found


def _padded(rows: np.ndarray) -> np.ndarray:
    """Rows with columns of zeros after theirs, so that tables of nearly one width share their programs."""
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
