"""Anomaly detection: scores, a threshold with a calibrated false-alarm rate, and explanations.

A denoising autoencoder trained on normal rows reconstructs a normal row and moves an anomalous row towards the normal
rows. With noise of variance σ², the residual of the optimal one is −σ²·∇ log p_σ(x) (Alain & Bengio 2014, theorem 1).
Different σ are sensitive to anomalies at different distances. The slope of the density is also small in the middle of a
gap, so distances and a covariance are combined with the networks; see `views`.
"""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.schema import SchemaOverrides
from ..data.types import Frame, Name, RowsLike
from ..former_names import warn_of_former
from ..persistence.serialization import Found, Stored
from . import scores
from .arguments import check_arguments, check_page
from .base import BaseAutoencoder
from .detector_fit import NOISE_LEVELS, SHARE, Judge, Scorer, folds_of, learned_of, members_of
from .ensemble import CONSTRAINTS, SCALING, Ensemble, given_to, networks_of
from .input import InputSpec
from .result import store
from .views import VIEWS, Tail, Views

if TYPE_CHECKING:
    from ..displays.report import Report

__all__ = ["NOISE_LEVELS", "AnomalyDetector", "Explanation", "Judge"]

_NO_ALARM = -2 * scores.LARGEST_SCORE
"""The threshold if there are too few rows to flag any: below every score."""


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


@dataclass(eq=False, repr=False)
class AnomalyDetector(OutlierMixin, Ensemble):  # type: ignore[misc]
    r"""Anomaly detector with a calibrated false-alarm rate.

    A row is compared with the training rows in several views: the deviance of its cells from the values that denoising
    networks expect, its distance to the nearest training row and to the nearest of 8 and of 32 random ones, its
    Mahalanobis distance, the deviance of one cell from a linear prediction by the others, and the distance of one cell
    to other values of its column. Rows that the views have not learned from show how often each deviance is reached.
    The score of a row is −log of the weighted harmonic mean of these frequencies (Wilson 2019), in nats: about one
    normal row in exp(score) has at least this score. A row that is rare in one view is thus rare, whatever the others
    are. The deviance of each column is in units of the column's typical deviance, unless the scaling leaves all columns
    in one common unit. The input of the networks is clipped to the range of the training rows.

    Held-out rows calibrate the threshold. The p-value of a new row is the fraction of rows with at least its score,
    among the held-out rows and the row itself. The detector flags the row if its p-value is at most
    ``false_alarm_rate``.

    Parameters
    ----------
    estimator : {"ensemble", "single"} or BaseAutoencoder, default="ensemble"
        "ensemble": two denoising autoencoders d → 128 → 64 → 128 → d, for Gaussian noise of 0.1 and 0.4 standard
        deviations, trained together with 300 steps of Adam for any number of rows. "single": one network, for noise of
        0.25. Or any autoencoder; the detector fits clones of it, and only they give
        the score, without the other views.
    contaminated : bool, default=False
        Whether the training rows may hold anomalies like those that are sought, for example if `fit` and `predict` get
        the same table. False: all training rows are normal, also a few that are far from the others. True: a minority
        may be anomalies; the networks and the covariance learn from the most usual 60 % of the rows only, and the
        distances to few random rows count most, so that a small group of similar anomalies is found. The rows cannot
        tell which of the two is right.
    false_alarm_rate : float in (0, 1), default=0.01
        α, the maximum expected fraction of normal rows that are flagged. It can be changed after `fit`. If the training
        rows hold anomalies, it is the fraction of rows like all training rows, so at most that of normal rows.
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
        1: show a progress bar on a terminal or in a notebook.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The networks of each fold. They may have additional input columns of zeros.
    judges_ : tuple of Judge
        The networks, each with its column scales and the scale of its scores.
    views_ : tuple of Views
        The other views of each fold; empty if ``estimator`` is an autoencoder.
    tails_ : tuple of Tail
        How often each view's deviances are reached, in the order of `views.VIEWS`.
    weights_ : tuple of float
        The weight of each view.
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
    contaminated: bool = False
    false_alarm_rate: float = 0.01
    calibration: int | float | None = None
    scaling: str | None = "auto"
    schema: str | SchemaOverrides | None = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _ranges = _usual = _typical = np.empty(0)  # not annotated, so not parameters
    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [StrOptions(set(NOISE_LEVELS)), BaseAutoencoder],
        "contaminated": ["boolean"],
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
        # A calibration row whose category no other row has would look known, and a new row of a new category not: among
        # n rows, as many are expected to have a new category as have one of their own (Good 1953).
        given = given_to(self, X, y, least=2)
        given = given.with_input(allow_missing=bool(np.isnan(given.rows).any()))
        enough = self._n_flagged(int(np.ceil(SHARE * len(given.rows)))) > 0
        folds = folds_of(given, self.calibration, self.scaling, enough=enough, contaminated=self.contaminated)
        groups = [members_of(given, fold, i, self.estimator, self.scaling) for i, fold in enumerate(folds)]
        pairs = [pair for group in groups for pair in group]
        trained, interrupted = networks_of(self, pairs)
        each = len(trained) // len(folds)
        members = [trained[i * each : (i + 1) * each] for i in range(len(folds))]
        with_views = isinstance(self.estimator, str)
        learned = learned_of(given, folds, members, self.scaling, with_views=with_views, contaminated=self.contaminated)
        store(self, given.fitted({"estimators_": members, **learned}), interrupted)
        if not self.can_flag_:
            least = int(np.ceil(1 / self.false_alarm_rate)) - 1
            warnings.warn(
                f"Only {len(self.calibration_scores_)} calibration rows, so no p-value can be below "
                f"{1 / (len(self.calibration_scores_) + 1):.2g}: no row will be flagged at false_alarm_rate="
                f"{self.false_alarm_rate:g}. Give at least {least} calibration rows, or raise false_alarm_rate.",
                stacklevel=2,
            )
        return self

    def _n_flagged(self, n: int) -> int:
        """Return k: the threshold is the k-th largest of n calibration scores; 0: no row can be flagged."""
        return int(np.floor(self.false_alarm_rate * (n + 1) + 1e-9))

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
        """Return the negative anomaly score of each row, at most 0, in nats.

        About one normal row in exp(score) has at least the anomaly score.

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
        scorer = self._scorer()
        found: np.ndarray = -self.input_.map(X, lambda rows, _: scorer.scores(rows), bool(self.verbose))
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
        scorer, columns = self._scorer(), self.input_

        def why(rows: np.ndarray, _: int) -> tuple[np.ndarray, ...]:
            shares, expected = scorer.explained(rows)
            return shares, expected.astype(rows.dtype)

        (shares, expected), observed = columns.map_cells(X, why, bool(self.verbose))
        by_column = shares
        if columns.schema is not None:
            places = columns.schema.column_slices
            by_column = np.stack([shares[:, places[name]].sum(axis=1) for name in columns.schema.names], axis=1)
        total = shares.sum(axis=1)
        return Explanation(total, by_column, columns.labels_in(X), observed, columns.convert(expected, X))

    def report(
        self, X: RowsLike | None = None, *, path: str | os.PathLike[str] | None = None, title: str = ""
    ) -> Report:
        """Return an HTML report: scores, threshold, calibration, columns, and the most unusual rows with reasons.

        In a notebook, the result shows its figures of merit and the scores; ``save`` writes the page.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`; default=None
            Rows to score, preferably rows not used in `fit`. None: the page shows the calibration scores only.
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
        from ..report import detectors

        return Report.of(detectors.collect(self, X), title, path)

    def _facts(self) -> tuple[tuple[str, str], ...]:
        total = sum(self.weights_) or 1.0
        views = ", ".join(f"{name} {w / total:.0%}" for name, w in zip(VIEWS, self.weights_, strict=False))
        return (
            ("training rows may be", "normal or anomalous" if self.contaminated else "normal only"),
            ("views", views),
            ("calibration rows", f"{len(self.calibration_scores_):,}"),
            ("false-alarm rate", f"{self.false_alarm_rate:g}"),
            ("threshold, nats", f"{-self.offset_:.4g}" if self.can_flag_ else "none: too few calibration rows"),
        )

    @property
    def judges_(self) -> tuple[Judge, ...]:
        """The networks, each with its column scales and the scale of its scores."""
        members = [member for fold in self.estimators_ for member in fold]
        spans = np.repeat(self._ranges.astype(np.float64), len(self.estimators_[0]), axis=0)  # 32 bits before 0.2.0
        return tuple(
            Judge(member.predictor_, *usual)
            for member, *usual in zip(members, spans, self._usual, self._typical, strict=True)
        )

    def _scorer(self) -> Scorer:
        return Scorer(self.judges_, self.views_, self.tails_, self.weights_)

    def _stored(self) -> Stored:
        stored = super()._stored()
        arrays = {"weights_": np.array(self.weights_)}
        for i, view in enumerate(self.views_):
            arrays |= view.arrays(f"views.{i}.")
        for i, tail in enumerate(self.tails_):
            arrays |= tail.arrays(f"tails.{i}.")
        return replace(stored, arrays=stored.arrays | arrays)

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        own = super()._learned_of(found, columns, learned)
        weights = found.arrays.get("weights_", np.empty(0))  # absent from models saved before 0.2
        n_folds = len(found.groups) if len(weights) > 1 else 0
        return own | {
            "weights_": tuple(map(float, weights)),
            "views_": tuple(Views.of(found.arrays, f"views.{i}.") for i in range(n_folds)),
            "tails_": tuple(Tail.of(found.arrays, f"tails.{i}.") for i in range(len(weights))),
        }
