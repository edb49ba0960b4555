"""Scores of a series from its windows: components and a memory of windows, and a network beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.block_calibration import Fold
from ..engine.windows import (
    WindowModel,
    known_mean,
    mean_of_cells,
    mean_over_windows,
    usable,
    windows_of,
)
from .predictor import Predictor

__all__ = ["LEAST", "Channels", "HeldOut", "WindowScorer", "held_out_stretches", "training_windows"]

LEAST = 1e-6
"""Smallest squared error, in standardised units: changes by a thousandth of the channel's unit are no changes."""

_CONSTANT = 1e-9
"""A channel whose standard deviation is below this fraction of its largest value is constant."""
_FARTHEST = 1e9
"""Cells are clipped to this many units of their channel."""
_MOST_CELLS = 1 << 24
"""Maximum number of cells of the windows of a fit."""


@dataclass(frozen=True, eq=False)
class Channels:
    """The location and the unit of each channel, (channels,) both: its mean and its standard deviation."""

    location: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, segments: Sequence[np.ndarray]) -> Channels:
        """Return the scales of series; the unit of a constant channel is its absolute value, or 1 if it is 0.

        A channel without a known value has no scale (NaN): its cells are missing, whatever comes.
        """
        values = np.concatenate(segments)
        is_known = ~np.isnan(values)
        count = np.maximum(is_known.sum(axis=0), 1)
        location = np.where(is_known.any(axis=0), np.where(is_known, values, 0).sum(axis=0) / count, np.nan)
        unit = np.sqrt(np.where(is_known, np.square(values - location), 0).sum(axis=0) / count)
        largest = np.abs(np.where(is_known, values, 0)).max(axis=0)
        is_constant = unit <= _CONSTANT * largest
        return cls(location, np.where(is_constant, np.where(largest > 0, largest, 1.0), unit))

    def standardised(self, segment: np.ndarray) -> np.ndarray:
        """Return a stretch of a series in standardised units, (steps, channels); NaN stays NaN."""
        return np.clip((segment - self.location) / self.unit, -_FARTHEST, _FARTHEST)

    def in_units(self, segment: np.ndarray) -> np.ndarray:
        """Return a standardised stretch of a series in its own units."""
        return segment * self.unit + self.location


@dataclass(frozen=True, eq=False)
class WindowScorer:
    """Scores of standardised stretches of a series, (steps, channels).

    Parameters
    ----------
    length : int
        The length of windows.
    model : WindowModel
    network : Predictor or None
        A network of windows, flattened to (channels · length).
    units : array of shape (terms, channels) or None
        The median of each term of the energy, over held-out windows; None: 1.
    least : float, default=1e-6
        Smallest term; 0 in saved models of versions before 0.2.
    """

    length: int
    model: WindowModel
    network: Predictor | None = None
    units: np.ndarray | None = None
    least: float = LEAST

    def energies(self, segment: np.ndarray) -> np.ndarray:
        """Return the mean energy of the windows that hold each step, by channel, (steps, channels).

        The energy of a window is the mean of its terms, each in its unit. NaN if no window that holds the step has half
        of its cells known.
        """
        if len(segment) < self.length:
            return np.full(segment.shape, np.nan)
        relative = self.terms(segment) / (1.0 if self.units is None else self.units[:, None])
        return mean_over_windows(relative.mean(axis=0), self.length)

    def terms(self, segment: np.ndarray) -> np.ndarray:
        """Return the terms of the energy of each window, (terms, windows, channels): two, or three with a network."""
        windows = windows_of(segment, self.length)
        found = np.maximum(self.model.terms(windows), self.least)
        if self.network is None:
            return found
        of_network = np.full(found.shape[1:], np.nan)
        for some in usable(windows):
            rows = self.model.filled(windows[some].reshape(len(some), -1)).astype(np.float32)
            deviance = self.network.deviances(rows, rows)[1].astype(np.float64)
            deviance = np.minimum(np.nan_to_num(deviance, nan=_FARTHEST**2), _FARTHEST**2)
            of_network[some] = known_mean(deviance.reshape(windows[some].shape), windows[some])
        return np.concatenate([found, of_network[None]])

    def expected(self, segment: np.ndarray) -> np.ndarray:
        """Return the expected values, (steps, channels): the mean over windows of the nearest normal windows.

        Cells are clipped to the range of the memory, so that an extreme cell does not distort that of others.
        """
        if len(segment) < self.length:
            return np.full(segment.shape, np.nan)

        remembered = self.model.memory.reshape(-1, segment.shape[1], self.length)
        low, high = (bound(remembered, axis=(0, 2))[:, None] for bound in (np.min, np.max))

        def expectation(windows: np.ndarray) -> np.ndarray:
            rows = self.model.filled(np.clip(windows, low, high).reshape(len(windows), -1))
            return self.model.nearest(rows).reshape(windows.shape)

        return mean_of_cells(windows_of(segment, self.length), expectation)

    def deviations(self, segment: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return the squared distance of each cell from its expectation given ``known``, (steps, channels).

        NaN without an expectation. ``known`` is the segment, perhaps with more cells missing.
        """
        return np.square(segment - self.expected(known))


def training_windows(segments: Sequence[np.ndarray], length: int, fold: Fold | None = None) -> np.ndarray:
    """Return the windows of stretches of a series with half of their cells known, (n, channels, length).

    With a fold, only those at least one window's length away from it. If all would not fit in memory, every k-th.
    """
    cells = sum(max(0, len(segment) - length + 1) * segment.shape[1] * length for segment in segments)
    every = max(1, -(-cells // _MOST_CELLS))
    found, first = [np.empty((0, segments[0].shape[1], length))], 0
    for segment in segments:
        windows = windows_of(segment, length)[::every]
        if fold is not None:
            windows = windows[fold.is_training(first + every * np.arange(len(windows)), length)]
        found += [windows[some] for some in usable(windows)]
        first += len(segment)
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A stretch of a segment that was held out, with the steps before and after it that its windows reach."""

    terms: np.ndarray
    """(terms, windows, channels), of the windows of all these steps."""
    deviations: np.ndarray
    """(steps, channels), the squared distances from the expectation in the stretch itself."""
    stretch: slice
    """The stretch among the steps."""


def held_out_stretches(
    scorers: Sequence[WindowScorer], folds: Sequence[Fold], segments: Sequence[np.ndarray]
) -> list[HeldOut]:
    """Return what the scorer of each fold says of each segment that is in the fold."""
    found, length = [], scorers[0].length
    for fold, scorer in zip(folds, scorers, strict=True):
        first = 0
        for segment in segments:
            low, high = fold.inside(first, len(segment))
            begin, end = max(0, low - length + 1), min(len(segment), high + length - 1)
            if low < high and end - begin >= length:
                some, stretch = segment[begin:end], slice(low - begin, high - begin)
                found.append(HeldOut(scorer.terms(some), scorer.deviations(some, some)[stretch], stretch))
            first += len(segment)
    return found
