"""Scores of many channels: an event in one of them counts as much as its rarity there, not as its share of the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..engine.block_calibration import MaximaTail, block_maxima, cluster_maxima
from .scores import LARGEST_SCORE

__all__ = ["ChannelTails", "scores_of"]

_TINY = float(np.finfo(np.float32).tiny)
_MOST_LOG = 600.0
"""Largest u, so that exp(u) is finite."""
_PRIOR = 5
"""Weight of all channels' common mean excess in that of one channel, as a number of clusters."""
_ARRAYS = ("_channel_unit", "_channel_maxima", "_channel_clusters")


def scores_of(energies: np.ndarray) -> np.ndarray:
    """Return the root of the mean energy over channels, (steps, channels) → (steps,); NaN without any."""
    is_known = ~np.isnan(energies)
    count = is_known.sum(axis=1)
    total = np.where(is_known, energies, 0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(energies), np.nan), where=count > 0)
    return np.minimum(np.sqrt(mean), LARGEST_SCORE)


@dataclass(frozen=True, eq=False)
class ChannelTails:
    r"""How rare the root mean energy of all channels is, and the root energy of single channels.

    The mean over channels sees what happens in all of them at once, but an event in one of twenty is a twentieth of it.
    The logarithm of each channel's root energy s is therefore expressed in units of the channel's own tail, with the
    start a and the mean excess b of the highest scores of held-out blocks: a normal block exceeds u = (log s − a) / b
    about in proportion to exp(−u). The mean over channels of exp(u) is a second score, as large as the rarest channel
    makes it (1 / it is a harmonic mean of rarities; Wilson 2019). Blocks calibrate both scores, and the harmonic mean
    of both p-values, 1/p = ½/p₁ + ½/p₂, is that of the row.

    The score of a row is its root mean energy, or the one that is as rare as p, if that is higher. The scores of one
    channel are therefore its root energies.

    Parameters
    ----------
    unit : array of shape (2, channels)
        The start and the mean excess of each channel's tail. Empty for one channel, and for saved models of versions
        before 0.2: the score is the root mean energy.
    tails : tuple of MaximaTail
        Of the root mean energy, and of the mean over channels of exp(u).
    """

    unit: np.ndarray
    tails: tuple[MaximaTail, ...]

    @classmethod
    def none(cls) -> Self:
        """Return the tails of one channel."""
        return cls(np.empty((2, 0)), ())

    @classmethod
    def of(cls, stretches: Sequence[np.ndarray], length: int) -> Self:
        """Return the tails of held-out stretches of energies, (steps, channels) each."""
        if stretches[0].shape[1] == 1:
            return cls.none()
        each = [_tail([np.sqrt(some[:, i]) for some in stretches], length) for i in range(stretches[0].shape[1])]
        start, total, count = np.array([tail.parameters for tail in each]).T
        pooled = total.sum() / count.sum()
        unit = np.stack([start, (total + _PRIOR * pooled) / (count + _PRIOR)])
        views = zip(*(_views(some, unit) for some in stretches), strict=True)
        return cls(unit, tuple(_tail(view, length) for view in views))

    @classmethod
    def from_arrays(cls, found: Mapping[str, np.ndarray]) -> Self:
        """Return the tails of the arrays of a saved model."""
        unit, maxima, clusters = (found.get(name, np.empty((2, 0))) for name in _ARRAYS)
        if not unit.size:
            return cls.none()
        pairs = zip(maxima, clusters, strict=True)
        return cls(unit, tuple(MaximaTail(*(some[~np.isnan(some)] for some in pair)) for pair in pairs))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all numbers as named arrays; NaN fills the shorter of two rows."""
        maxima, clusters = ([getattr(tail, name) for tail in self.tails] for name in ("maxima", "clusters"))
        return dict(zip(_ARRAYS, (self.unit, _padded(maxima), _padded(clusters)), strict=True))

    def scores(self, energies: np.ndarray) -> np.ndarray:
        """Return the score of each row, (n, channels) → (n,); NaN if it has no energy."""
        if not self.tails:
            return scores_of(energies)
        mean = scores_of(energies)
        p = 1 / self._rarities(energies).sum(axis=0)
        raised = np.where(p < self.tails[0].start, self.tails[0].scores(p), 0)
        return np.minimum(np.maximum(mean, raised), LARGEST_SCORE)

    def shares(self, energies: np.ndarray) -> np.ndarray:
        """Return the share of each channel in the score, (n, channels); 0 in rows without energies."""
        known = np.nan_to_num(energies)
        of_mean = known / np.maximum(known.sum(axis=1, keepdims=True), _TINY)
        if not self.tails:
            return of_mean
        excess = _excess(energies, self.unit)
        of_tails = np.exp(excess - excess.max(axis=1, keepdims=True))
        of_tails /= of_tails.sum(axis=1, keepdims=True)
        mean, single = self._rarities(energies)[:, :, None]
        found: np.ndarray = (mean * of_mean + single * of_tails) / (mean + single)
        return np.where(np.isnan(energies), 0, found)

    def _rarities(self, energies: np.ndarray) -> np.ndarray:
        """Return ½/p of the mean and of single channels, (2, n)."""
        pairs = zip(self.tails, _views(energies, self.unit), strict=True)
        return np.stack([0.5 / tail.p_values(np.nan_to_num(view)) for tail, view in pairs])


def _excess(energies: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return u of each channel, (n, channels); very low without an energy."""
    found: np.ndarray = (np.log(np.maximum(np.nan_to_num(energies), _TINY)) / 2 - unit[0]) / unit[1]
    return np.clip(np.where(np.isnan(energies), -_MOST_LOG, found), -_MOST_LOG, _MOST_LOG)


def _views(energies: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the root mean energy, and the mean over channels of exp(u), (n,) both; NaN without energies."""
    is_known = ~np.isnan(energies)
    count = is_known.sum(axis=1)
    total = np.where(is_known, np.exp(_excess(energies, unit)), 0).sum(axis=1)
    single = np.divide(total, count, out=np.full(len(energies), np.nan), where=count > 0)
    return scores_of(energies), single


def _tail(stretches: Sequence[np.ndarray], length: int) -> MaximaTail:
    """Return the tail of the blocks' maxima of held-out scores."""
    of_blocks = [np.array(list(block_maxima(some, length))) for some in stretches]
    maxima = np.concatenate(of_blocks)
    maxima = np.sort(maxima[~np.isnan(maxima)])
    if len(maxima) < 2:  # a channel without values
        return MaximaTail(np.full(2, LARGEST_SCORE), np.empty(0))
    return MaximaTail(np.maximum(maxima, _TINY), np.maximum(cluster_maxima(of_blocks), _TINY))


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return rows of different lengths as an array, NaN at their ends."""
    found = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for row, values in zip(found, rows, strict=True):
        row[: len(values)] = values
    return found
