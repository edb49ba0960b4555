"""What a detector of series has learned, and its calibration on held-out stretches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..data.series import SeriesRows
from ..engine.block_calibration import MaximaTail, block_maxima, cluster_maxima, folds_of
from ..engine.windows import WindowModel, mean_over_windows
from ..errors import InvalidData, UnscoredRowsWarning
from .predictor import Predictor
from .series_channels import ChannelTails
from .series_scorer import LEAST, Channels, WindowScorer, held_out_stretches, training_windows

__all__ = ["SeriesModel", "calibrated"]

_TINY = float(np.finfo(np.float32).tiny)
_FLOOR = "_least"


@dataclass(frozen=True, eq=False)
class SeriesModel:
    """The scores of series in the user's units.

    Parameters
    ----------
    channels : Channels
    scorer : WindowScorer
    rarities : ChannelTails
        How rare the energies of all channels and of each are.
    scale : float
        The unit of scores: the median score of held-out steps.
    usual : array of shape (channels,)
        The mean squared distance of held-out cells from their expectation.
    maxima : array of shape (B,)
        The highest score of each held-out block, sorted.
    clusters : array of shape (c,)
        The highest score of each cluster of neighbouring blocks in the tail of the maxima.
    """

    channels: Channels
    scorer: WindowScorer
    rarities: ChannelTails
    scale: float
    usual: np.ndarray
    maxima: np.ndarray
    clusters: np.ndarray

    ARRAYS: ClassVar[tuple[str, ...]] = (
        "calibration_maxima_",
        "_clusters",
        "_location",
        "_unit",
        "_mean",
        "_axes",
        "_variances",
        "_rest",
        "_memory",
        "_units",
        "_scale",
        "_usual",
    )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers of this model as named arrays, for `from_arrays`."""
        windows, units = self.scorer.model, self.scorer.units
        assert units is not None
        found = (
            self.maxima,
            self.clusters,
            self.channels.location,
            self.channels.unit,
            windows.mean,
            windows.axes,
            windows.variances,
            np.array([windows.rest]),
            windows.memory,
            units,
            np.array([self.scale]),
            self.usual,
        )
        return dict(zip(self.ARRAYS, found, strict=True)) | self.later_arrays()

    def later_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that saved models of versions before 0.2 do not have."""
        return {_FLOOR: np.array([self.scorer.least]), **self.rarities.arrays()}

    @staticmethod
    def with_later(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays of `later_arrays` from those of a saved model of any version."""
        return {_FLOOR: found.get(_FLOOR, np.zeros(1)), **ChannelTails.from_arrays(found).arrays()}

    @property
    def tail(self) -> MaximaTail:
        """The distribution of blocks' maxima."""
        return MaximaTail(self.maxima, self.clusters)

    @classmethod
    def from_arrays(cls, found: Mapping[str, np.ndarray], length: int, network: Predictor | None) -> SeriesModel:
        """Return the model with these arrays, windows of this length, and a network."""
        maxima, clusters, location, unit, mean, axes, variances, rest, memory, units, scale, usual = (
            found[name] for name in cls.ARRAYS
        )
        model = WindowModel(mean, axes, variances, float(rest[0]), memory)
        scorer = WindowScorer(length, model, network, units, float(found[_FLOOR][0]))
        rarities = ChannelTails.from_arrays(found)
        return cls(Channels(location, unit), scorer, rarities, float(scale[0]), usual, maxima, clusters)

    def energies(self, rows: SeriesRows) -> np.ndarray:
        """Return the energy of each row by channel, (n, channels); NaN if it cannot be scored."""
        return self._by_row(rows, rows.segments, self.scorer.energies)

    def energies_of(self, segment: np.ndarray) -> np.ndarray:
        """Return the energy of each step of a segment by channel, (steps, channels)."""
        return self.scorer.energies(self.channels.standardised(segment))

    def scores(self, energies: np.ndarray) -> np.ndarray:
        """Return the score of each row, (n,); 0 if it cannot be scored."""
        found: np.ndarray = np.nan_to_num(self.rarities.scores(energies) / self.scale)
        return found

    def warn_of_unscored(self, energies: np.ndarray) -> None:
        """Warn if rows cannot be scored."""
        if n_unscored := int(np.isnan(energies).all(axis=1).sum()):
            warnings.warn(
                UnscoredRowsWarning(
                    f"{n_unscored} of {len(energies)} rows are not scored (score 0, p-value 1): no window of "
                    f"{self.scorer.length} steps with half of its cells known holds them. Give more rows around them.",
                    n_unscored,
                ),
                stacklevel=4,
            )

    def expected(self, rows: SeriesRows) -> np.ndarray:
        """Return the expected values of each row in the user's units, (n, channels)."""
        return self.channels.in_units(self._by_row(rows, rows.segments, self.scorer.expected))

    def deviations(self, rows: SeriesRows, hidden: Sequence[np.ndarray]) -> np.ndarray:
        """Return the squared distance of each row from its expectation, (n,), in units of its usual mean.

        The expectation is that of the segments in ``hidden``, of which some cells are NaN.
        """
        expected = self._by_row(rows, hidden, self.scorer.expected)
        values = self._by_row(rows, rows.segments, lambda segment: segment)
        relative = np.square(values - expected) / self.usual
        found: np.ndarray = np.where(np.isnan(values), 0, relative).mean(axis=1)
        return found

    def _by_row(
        self, rows: SeriesRows, segments: Sequence[np.ndarray], op: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return a function of standardised segments, (steps, channels), in the order of the input's rows."""
        return np.concatenate([op(self.channels.standardised(segment)) for segment in segments])[rows.place]


def calibrated(
    segments: Sequence[np.ndarray], length: int, fit: Callable[[list[np.ndarray]], list[WindowScorer]]
) -> SeriesModel:
    """Return a model of series whose units and maxima come from held-out folds.

    Parameters
    ----------
    segments : sequence of (steps, channels)
        Stretches of the series in the user's units.
    length : int
        The length of windows.
    fit : function
        From several sets of training windows to a scorer for each.

    Raises
    ------
    InvalidData
        If too few cells are known.
    """
    channels = Channels.of(segments)
    given = [channels.standardised(segment) for segment in segments]
    folds = folds_of(sum(map(len, given)), length)
    windows = [training_windows(given, length), *(training_windows(given, length, fold) for fold in folds)]
    if min(map(len, windows)) < 2:
        raise InvalidData(_TOO_FEW.format(length=length))
    whole, *of_folds = fit(windows)
    stretches = held_out_stretches(of_folds, folds, given)
    units = _by_channel(np.nanmedian, np.concatenate([one.terms for one in stretches], axis=1), 1)
    energies = [mean_over_windows((one.terms / units[:, None]).mean(axis=0), length)[one.stretch] for one in stretches]
    rarities, held_out = ChannelTails.of(energies, length)
    of_blocks = [np.array(list(block_maxima(piece, length))) for piece in held_out]
    maxima = np.concatenate(of_blocks)
    maxima = np.sort(maxima[~np.isnan(maxima)])
    if len(maxima) < 2:
        raise InvalidData(_TOO_FEW.format(length=length))
    scale = max(float(np.nanmedian(np.concatenate(held_out))), _TINY)
    usual = _by_channel(np.nanmean, np.concatenate([one.deviations for one in stretches]), 0)
    scorer = WindowScorer(length, whole.model, whole.network, units)
    maxima, clusters = (np.maximum(some / scale, _TINY) for some in (maxima, cluster_maxima(of_blocks)))
    return SeriesModel(channels, scorer, rarities, scale, usual, maxima, clusters)


_TOO_FEW = "X has too few known values for windows of {length} steps. Give a longer series, or a smaller window."


def _by_channel(statistic: Callable[..., np.ndarray], values: np.ndarray, axis: int) -> np.ndarray:
    """Return a statistic along an axis, at least the smallest unit, also for channels without values."""
    known = np.where(np.isnan(values).all(axis=axis, keepdims=True), LEAST, values)
    return np.maximum(statistic(known, axis=axis), LEAST)
