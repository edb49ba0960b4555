"""Anomalies in series of measurements: a score for each point in time, calibrated on contiguous blocks."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin, clone
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.series import SeriesColumns, SeriesRows, read_series
from ..data.types import Frame, RowsLike
from ..engine.windows import WindowModel, dominant_period, fit_windows, interpolated, window_length
from ..errors import InvalidData
from ..persistence import files
from ..persistence.serialization import Found, Stored
from .anomaly_detector import Explanation
from .arguments import check_arguments, check_page, seed_from
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, Ensemble, networks_of
from .input import InputSpec, Opened
from .result import Fitted, store
from .series_alarms import alarm_table, table_of
from .series_model import SeriesModel, calibrated
from .series_scorer import WindowScorer
from .series_stream import SeriesStream

if TYPE_CHECKING:
    from ..displays.report import Report

__all__ = ["SeriesDetector"]

_SHORTEST_WINDOW = 4
_FEWEST_BLOCKS = 6
"""Minimum length of a series, in windows."""


@dataclass(eq=False, repr=False)
class SeriesDetector(OutlierMixin, Ensemble):  # type: ignore[misc]
    r"""Detector of anomalies in series of measurements, with a calibrated rate of false alarms.

    Rows are in the order of time. Each point's score is the root mean energy of the windows that hold it, in units of
    the median score of held-out points. Of several channels, it is the mean over channels, or higher if a single
    channel is rarer than the mean is, by held-out blocks of its own (see `diabolo.estimators.series_channels`). The
    energy of a window is the mean of two squared errors, each relative to its median over held-out windows: that of its
    reconstruction by the main principal components of windows (those with more than 5 % of the variance each), and that
    of the nearest of up to 1,000 windows in memory. The tenth of the training windows with the largest errors is left
    out of both. Windows are standardised as one unit: one location and one unit for each channel, not for each
    position.

    Contiguous fifths of the series are held out in turn, with a gap of one window to the windows that the model learns
    from. The highest scores of held-out blocks, each as long as a window, calibrate the p-values: the p-value of a
    point is the probability that a block of normal data has a score as high. A point is flagged if its p-value is at
    most ``false_alarm_rate``: among 1/α windows' length of normal data, one false alarm is expected. Above the highest
    fifth of the maxima, p-values follow from a power-law tail (see `diabolo.engine.block_calibration`).

    Parameters
    ----------
    estimator : BaseAutoencoder or None, default=None
        An autoencoder to use as well: a clone of it learns the training windows, flattened to (channels · window)
        standardised cells, channel by channel. Its deviance, relative to its median, is a third term of the energy.
        None: no network, which is as good on the public series that were measured, and takes no training.
    time : str or None, default=None
        The column of times of a table: dates, moments, or numbers. None: rows are one step apart, in their order.
    key : str, sequence of str or None, default=None
        The columns that tell several series of a table apart. All series share one model.
    window : int or "auto", default="auto"
        Length of the windows in steps, at least 4. "auto": the fewest whole periods of at least 100 steps, for the
        dominant period by autocorrelation (see `diabolo.engine.windows.dominant_period`), or 100 steps without one; at
        most an eighth of the longest series.
    false_alarm_rate : float in (0, 1), default=0.01
        α: the maximum expected fraction of blocks as long as a window, of normal data, in which a point is flagged. It
        can be changed after `fit`.
    random_state : int, RandomState or None, default=None
        Seed for the network. The linear model has no randomness.
    verbose : int, default=0
        1: show a progress bar on a terminal or in a notebook.

    Attributes
    ----------
    window_ : int
        The length of the windows, in steps.
    step_ : float
        The length of a step: in seconds, in units of a time column of numbers, or 1 without a column of times.
    calibration_maxima_ : array
        The highest score of each held-out block, sorted.
    offset_ : float
        Threshold: points with `score_samples` below it are flagged.
    estimators_ : list of list of BaseAutoencoder
        The network, if ``estimator`` is one: ``[[network]]`` or ``[[]]``.
    input_ : InputSpec
        The channels.
    seed_ : int
        The seed drawn from ``random_state``.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : array of str
        Names of the channels. Defined only if `fit` got a table.
    schema_ : None
        Channels are numbers.
    n_samples_ : int
        Number of rows passed to `fit`.
    data_fingerprint_ : str
        Hash of the values used by `fit`.

    References
    ----------
    Liu & Paparrizos (2024), "The Elephant in the Room: Towards A Reliable Time-Series Anomaly Detection Benchmark":
    principal components of windows are the strongest simple baseline. Vovk, Gammerman & Shafer (2005), "Algorithmic
    Learning in a Random World". Wilson (2019), "The harmonic mean p-value for combining dependent tests". Hill (1975),
    "A simple general approach to inference about the tail of a distribution".

    Examples
    --------
    >>> import numpy as np
    >>> from diabolo import SeriesDetector
    >>> rng = np.random.default_rng(0)
    >>> series = np.sin(np.arange(3000) * 2 * np.pi / 48) + 0.1 * rng.normal(size=3000)
    >>> detector = SeriesDetector().fit(series[:2000])
    >>> new = series[2000:].copy()
    >>> new[500:530] += 1.5
    >>> bool((detector.predict(new)[500:530] == -1).all())
    True
    """

    estimator: BaseAutoencoder | None = None  # type: ignore[assignment]  # an ensemble's networks have names as well
    _: KW_ONLY
    time: str | None = None
    key: str | Sequence[str] | None = None
    window: int | str = "auto"
    false_alarm_rate: float = 0.01
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [BaseAutoencoder, None],
        "time": [str, None],
        "key": [str, "array-like", None],
        "window": [StrOptions({"auto"}), Interval(numbers.Integral, _SHORTEST_WINDOW, None, closed="left")],
        "false_alarm_rate": [Interval(numbers.Real, 0, 1, closed="neither")],
        "random_state": CONSTRAINTS["random_state"],
        "verbose": CONSTRAINTS["verbose"],
    }
    _needs_networks: ClassVar[bool] = False
    _fitted_arrays: ClassVar[tuple[str, ...]] = SeriesModel.ARRAYS
    _fitted_json: ClassVar[tuple[str, ...]] = ("window_", "step_")

    def _stored(self) -> Stored:
        stored = super()._stored()
        return replace(stored, arrays=stored.arrays | self.series_model_.later_arrays())

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        return super()._learned_of(found, columns, learned) | SeriesModel.with_later(found.arrays)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.no_validation = True  # rows are a series: their order and their number matter
        return tags

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(self, X: RowsLike, y: ArrayLike | None = None) -> Self:
        """Learn the windows of normal series, and calibrate the p-values on held-out blocks.

        Parameters
        ----------
        X : array-like of shape (n,), (n, channels) or (series, n, channels), list of arrays, table or path
            Rows in the order of time. A table is a data frame, an Arrow table or a file with ``time`` and ``key``
            columns in any order of rows; all other columns are channels and hold numbers. NaN is a missing cell. Times
            may be uneven: each series is laid on a grid of the median step, on which cells without a row are missing
            and rows of one step are averaged.
        y : array-like of shape (n,) or None, default=None
            Ignored.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        InvalidData
            If a column is missing or not a number, a cell is infinite, all cells are missing, or the series are shorter
            than 6 windows in total.
        InvalidParameter, InvalidPart, TrainingDiverged
            As an autoencoder's `fit`.
        """
        self._validate_params()
        check_arguments(y=y)
        seed = seed_from(self.random_state)
        keys = (self.key,) if isinstance(self.key, str) else tuple(self.key or ())
        rows = read_series(X, SeriesColumns(self.time, keys), type(self).__name__)
        if all(np.isnan(segment).all() for segment in rows.segments):
            raise InvalidData("All cells of X are missing. Give a series with known values.")
        length, trainings = self._length(rows.segments), list[tuple[list[BaseAutoencoder], bool]]()

        def scorers(windows: list[np.ndarray]) -> list[WindowScorer]:
            models = [fit_windows(some) for some in windows]
            trainings.append(self._networks(models, windows, seed))
            if not (networks := trainings[0][0]):
                return [WindowScorer(length, model) for model in models]
            return [WindowScorer(length, *pair) for pair in zip(models, (n.predictor_ for n in networks), strict=True)]

        model = calibrated(rows.segments, length, scorers)
        (networks, interrupted), *_ = trainings
        columns = InputSpec(type(self).__name__, rows.n_channels, rows.names)
        learned: dict[str, object] = {"schema_": None, "image_shape_": None, "estimators_": [networks[:1]]}
        learned |= {"window_": length, "step_": rows.step, **model.arrays()}
        fingerprint = files.fingerprint(np.concatenate(rows.segments))
        store(self, Fitted(columns, seed, len(rows.place), fingerprint, learned), interrupted)
        return self

    def _length(self, segments: list[np.ndarray]) -> int:
        """Return the length of windows, in steps."""
        longest, total = max(segments, key=len), sum(map(len, segments))
        length = self.window
        if isinstance(length, str):
            length = max(_SHORTEST_WINDOW, window_length(len(longest), dominant_period(interpolated(longest))))
        if total < _FEWEST_BLOCKS * length or len(longest) < 2 * length:
            raise InvalidData(
                f"X has {total} steps, the longest stretch {len(longest)}: too few for windows of {length} steps, "
                f"which need {_FEWEST_BLOCKS * length} in total and {2 * length} in one stretch. Give a longer series, "
                "or set window to a smaller number."
            )
        return int(length)

    def _networks(
        self, models: list[WindowModel], windows: list[np.ndarray], seed: int
    ) -> tuple[list[BaseAutoencoder], bool]:
        """Return a network for each set of training windows, if any, and whether Ctrl-C ended their training."""
        if self.estimator is None:
            return [], False
        pairs = []
        for i, (model, some) in enumerate(zip(models, windows, strict=True)):
            one: BaseAutoencoder = clone(self.estimator)
            one = one.set_params(random_state=seed + i) if one.random_state is None else one
            known = model.filled(some.reshape(len(some), -1)).astype(np.float32)
            pairs.append((one, Opened(InputSpec(type(self).__name__, known.shape[1]), known, len(known))))
        return networks_of(self, pairs)

    # -- using --------------------------------------------------------------------------------------------------------

    @property
    def series_model_(self) -> SeriesModel:
        """The scores of series in the user's units."""
        network = self.estimators_[0][0].predictor_ if self.estimators_[0] else None
        return SeriesModel.from_arrays(vars(self), self.window_, network)

    @property
    def offset_(self) -> float:
        """Threshold: points with `score_samples` below it are flagged."""
        return -float(np.nextafter(self.series_model_.tail.threshold(self.false_alarm_rate), 0))

    def score_samples(self, X: RowsLike) -> np.ndarray:
        """Return the negative anomaly score of each row: at most 0, and −1 for the median normal row.

        The score of a row is the same if the series goes on, as soon as the `window_` − 1 steps after it are known;
        rows near the ends of a series have fewer windows. Rows that no window of at least half known cells holds, such
        as single rows between long gaps, are not scored: they get 0 and the p-value 1, and an `UnscoredRowsWarning`.

        Parameters
        ----------
        X : array-like, list of arrays, table or path
            Series as for `fit`, with the same channels and the same step.

        Returns
        -------
        array of shape (n,), float64
            The scores in the order of the rows, never NaN; lower is more unusual. For a list of arrays, all series end
            to end.
        """
        check_is_fitted(self)
        return -self._scored(self._read(X))[1]

    def decision_function(self, X: RowsLike) -> np.ndarray:
        """Return `score_samples` − ``offset_``: negative for flagged rows.

        Parameters
        ----------
        X : array-like, list of arrays, table or path
            Series as for `fit`.

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
        X : array-like, list of arrays, table or path
            Series as for `fit`.

        Returns
        -------
        array of shape (n,), int
            −1 for a flagged row and 1 for any other.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: RowsLike) -> np.ndarray:
        """Return the p-value of each row: the probability that a block of normal data has a score as high.

        Parameters
        ----------
        X : array-like, list of arrays, table or path
            Series as for `fit`.

        Returns
        -------
        array of shape (n,), float64
            The p-values, in (0, 1]. Below 1 / (B + 1), for B = ``len(calibration_maxima_)`` blocks, they follow from a
            power-law tail.
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
        return self.series_model_.tail.p_values(np.asarray(scores, np.float64))

    def alarms(self, X: RowsLike) -> Frame:
        """Return the stretches of flagged rows, most unusual first.

        A row's score comes from the windows that hold it, so rows are flagged up to a window before and after their
        cause. The start and the end of an alarm are therefore those of the part of a flagged stretch where the values
        themselves are unusual: around the row that differs most from its expectation, as far as the sum of squared
        deviations over twice their usual mean grows. That part is then hidden, and the series scored again, so that a
        second cause nearby is another alarm.

        Parameters
        ----------
        X : array-like, list of arrays, table or path
            Series as for `fit`.

        Returns
        -------
        table
            One row for each alarm, in the library of ``X``; an Arrow table for an array or a file. Columns: those of
            ``key`` (for several arrays: ``series``, the number of the array); ``start``, ``end`` and ``peak``, the
            times of its first, last and most unusual row (without a column of times, the numbers of the rows, from 0);
            ``score`` and ``p_value`` of its highest score; ``channel``, which contributes most to it.
        """
        check_is_fitted(self)
        return table_of(self._alarms(self._read(X)), X)

    def _alarms(self, rows: SeriesRows) -> pa.Table:
        self._scored(rows)
        threshold = self.series_model_.tail.threshold(self.false_alarm_rate)
        table = alarm_table(rows, self.series_model_, threshold)
        p_values = self.p_values_from_scores(np.asarray(table["score"]))
        return table.add_column(table.column_names.index("score") + 1, "p_value", [p_values])

    def _facts(self) -> tuple[tuple[str, str], ...]:
        model = self.series_model_.scorer.model
        return (
            ("window, steps", f"{self.window_:,}"),
            ("step", f"{self.step_:g}"),
            ("main components", f"{model.n_main:,}"),
            ("windows in memory", f"{len(model.memory):,}"),
            ("calibration blocks", f"{len(self.calibration_maxima_):,}"),
            ("false-alarm rate", f"{self.false_alarm_rate:g}"),
            ("threshold", f"{-self.offset_:.4g}"),
        )

    def report(
        self, X: RowsLike | None = None, *, path: str | os.PathLike[str] | None = None, title: str = ""
    ) -> Report:
        """Return an HTML report: the series, its alarms and expected values, scores with the threshold, calibration.

        Parameters
        ----------
        X : array-like, list of arrays, table or path; default=None
            Series as for `fit`. None: the page shows the calibration only.
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
        from ..report import series

        rows = None if X is None else self._read(X)
        return Report.of(series.collect(self, rows, None if rows is None else self._alarms(rows)), title, path)

    def stream(self) -> SeriesStream:
        """Return the state of one new series whose rows arrive one after another.

        Its `update` takes rows and returns the scores that are complete: those of rows with ``window_`` − 1 steps after
        them. They are the numbers of `score_samples` on the whole series, up to rounding, if all times are within a
        quarter of a step of whole steps; otherwise rows may fall on other steps of the grid. `finish` returns the rest.

        Returns
        -------
        SeriesStream
            The state. Use one for each series: columns of ``key`` are ignored.

        Examples
        --------
        >>> import numpy as np
        >>> from diabolo import SeriesDetector
        >>> rng = np.random.default_rng(0)
        >>> detector = SeriesDetector(window=20).fit(rng.normal(size=400))
        >>> stream = detector.stream()
        >>> [len(stream.update(rng.normal(size=15)).rows) for _ in range(3)], len(stream.finish().rows)
        ([0, 11, 15], 19)
        """
        check_is_fitted(self)

        def judge(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self.p_values_from_scores(scores), -scores < self.offset_

        return SeriesStream(self.series_model_, lambda rows: self._read(rows, is_one=True), judge)

    def explain(self, X: RowsLike) -> Explanation:
        """Return the contribution of each channel to the score of each row, and the expected values.

        Parameters
        ----------
        X : array-like, list of arrays, table or path
            Series as for `fit`.

        Returns
        -------
        Explanation
            Scores, contributions of channels, which sum to the score, the values, and the expected values: the mean
            over the windows that hold a row of the nearest windows in memory. Rows that are not scored
            have no expectation (NaN).
        """
        check_is_fitted(self)
        rows = self._read(X)
        of_channels, scores = self._scored(rows)
        contributions = scores[:, None] * self.series_model_.rarities.shares(of_channels)
        labels, values = tuple(self.input_.labels), np.concatenate(rows.segments)[rows.place]
        observed, expected = (table_of(some, X, labels) for some in (values, self.series_model_.expected(rows)))
        return Explanation(scores, contributions, labels, observed, expected)

    def _scored(self, rows: SeriesRows) -> tuple[np.ndarray, np.ndarray]:
        """Return the energy of each channel, (n, channels), NaN without one, and the score of each row, (n,)."""
        model = self.series_model_
        energies = model.energies(rows)
        model.warn_of_unscored(energies)
        return energies, model.scores(energies)

    def _read(self, X: RowsLike, *, is_one: bool = False) -> SeriesRows:
        """Return series with the channels and the step of the fit; perhaps one only, without columns of keys."""
        columns, keys = self.input_, (self.key,) if isinstance(self.key, str) else tuple(self.key or ())
        keys = () if is_one else keys
        wanted = SeriesColumns(self.time, keys, columns.names, columns.n_features, self.step_)
        return read_series(X, wanted, type(self).__name__)
