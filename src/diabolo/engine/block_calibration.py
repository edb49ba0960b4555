r"""Calibration of the scores of a series on contiguous held-out blocks.

Neighbouring scores of a series depend on each other, and overlapping windows make it worse: the scores of held-out
steps are then not exchangeable, and ranks among them flag many times more than was asked. The highest score of a block
as long as a window is much less dependent on that of other blocks. The p-value of a score y is therefore the
probability that the highest score of a block of normal data is at least y.

- Up to the (k + 1)-th highest of the B blocks' maxima it is y's rank among them (Vovk, Gammerman & Shafer 2005).
- Above, ranks end at 1 / (B + 1). Neighbouring blocks above it are one cluster, since one cause may raise both. The
  highest log-maxima of c clusters exceed the (k + 1)-th by e_1, …, e_c; with an exponential tail, P(e ≥ x) =
  (1 + x / Σ e_i)^−c for a new one, exactly. The tail of log-scores is exponential if that of scores is a power law
  (Hill 1975); any lighter tail has smaller probabilities, so that p-values are too large rather than too small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

__all__ = ["Fold", "MaximaTail", "block_maxima", "cluster_maxima", "folds_of", "tail_length"]

_FOLDS, _FOLD_LENGTH = 5, 3
"""Number of folds, and the minimum length of a fold in windows."""
_TAIL, _FEWEST_TAIL, _MOST_TAIL = 0.2, 3, 20
"""The share of the maxima that makes the tail, and the minimum and maximum number."""
_ROUNDED = 2048
"""How many steps of rounding the threshold may be off."""
_MOST_LOG = 700.0
"""Largest logarithm of a threshold."""
_RESOLUTION = 0.02
"""Smallest mean excess of the tail: scores that differ by less than 2 % are equal."""


@dataclass(frozen=True)
class Fold:
    """A stretch of all series, laid end to end, that is held out."""

    low: int
    high: int
    """The first step, and the step after the last."""

    def is_training(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Return which windows, by their first step, are at least one window's length away from the fold."""
        return (starts + 2 * length <= self.low) | (starts >= self.high + length)

    def inside(self, first: int, n: int) -> tuple[int, int]:
        """Return the part of a segment that is in the fold, as steps of the segment."""
        return max(0, self.low - first), min(n, self.high - first)


def folds_of(n: int, length: int) -> list[Fold]:
    """Divide ``n`` steps into contiguous folds for windows of a length: five, or fewer if the series is short."""
    count = min(_FOLDS, max(2, n // (_FOLD_LENGTH * length)))
    bounds = np.linspace(0, n, count + 1).astype(int)
    return [Fold(int(low), int(high)) for low, high in pairwise(bounds)]


def block_maxima(scores: np.ndarray, length: int) -> Iterator[float]:
    """Yield the highest score of each whole block of ``length`` steps; NaN if fewer than half of them are scored."""
    for start in range(0, len(scores) - length + 1, length):
        block = scores[start : start + length]
        known = block[~np.isnan(block)]
        yield float(known.max()) if 2 * len(known) >= length else np.nan


def tail_length(n: int) -> int:
    """Return k, how many of n maxima make the tail; fewer than n."""
    return max(1, min(n - 1, max(_FEWEST_TAIL, min(_MOST_TAIL, round(_TAIL * n)))))


def cluster_maxima(stretches: Sequence[np.ndarray]) -> np.ndarray:
    """Return the highest maximum of each cluster in the tail: neighbouring blocks above the (k + 1)-th highest maximum.

    Parameters
    ----------
    stretches : sequence of arrays
        The maxima of the blocks of each held-out stretch, in the order of time; NaN is a block without one.
    """
    known = np.sort(np.concatenate([some[~np.isnan(some)] for some in stretches]))
    start = known[-tail_length(len(known)) - 1]
    found = []
    for some in stretches:
        is_above = some > start
        for cluster in np.split(np.arange(len(some)), np.flatnonzero(np.diff(is_above.astype(int))) + 1):
            if len(cluster) and is_above[cluster[0]]:
                found.append(float(some[cluster].max()))
    return np.array(found)


@dataclass(frozen=True, eq=False)
class MaximaTail:
    """The distribution of blocks' maxima: ranks, and a power-law tail above the highest of them.

    Parameters
    ----------
    maxima : array of shape (B,)
        The highest score of each held-out block, positive.
    clusters : array of shape (c,)
        The highest score of each cluster in the tail; see `cluster_maxima`. None in the tail if all maxima are equal.
    """

    maxima: np.ndarray
    clusters: np.ndarray

    @property
    def parameters(self) -> tuple[float, float, int]:
        """The tail: the logarithm of the score where it starts, the sum of the log-excesses, and their number."""
        start = float(np.log(np.sort(self.maxima)[-tail_length(len(self.maxima)) - 1]))
        count = max(1, len(self.clusters))
        return start, max(float((np.log(self.clusters) - start).sum()), _RESOLUTION * count), count

    @property
    def start(self) -> float:
        """The p-value at which the power-law tail starts."""
        return (tail_length(len(self.maxima)) + 1) / (len(self.maxima) + 1)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the probability that a block of normal data has a score of at least each of these, in (0, 1]."""
        n = len(self.maxima)
        start, total, count = self.parameters
        rank = (1 + n - np.searchsorted(np.sort(self.maxima), scores, side="left")) / (n + 1)
        with np.errstate(divide="ignore"):
            excess = np.maximum(np.log(scores) - start, 0)
        tail = self.start * (1 + excess / total) ** -count
        found: np.ndarray = np.where(excess > 0, tail, rank)
        return found

    def scores(self, p_values: np.ndarray) -> np.ndarray:
        """Return the score in the power-law tail that has each p-value; the start of the tail for larger ones."""
        start, total, count = self.parameters
        excess = (p_values / self.start) ** (-1 / count) - 1
        found: np.ndarray = np.exp(np.minimum(start + total * np.maximum(excess, 0), _MOST_LOG))
        return found

    def threshold(self, rate: float) -> float:
        """Return the lowest score whose p-value is at most ``rate``."""
        n, k = len(self.maxima), tail_length(len(self.maxima))
        if rate * (n + 1) >= k + 2:
            found = float(np.sort(self.maxima)[n - int(rate * (n + 1) + 1e-9)])
        else:
            found = float(self.scores(np.array(rate)))
        near = found * (1 + np.arange(-_ROUNDED, _ROUNDED + 1) * np.finfo(np.float64).eps)
        is_low = self.p_values(near) <= rate
        return float(near[np.argmax(is_low)]) if is_low.any() else found
