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
"""Weight of all channels' common variance of log-maxima in that of one channel, as a number of blocks."""
_RESOLUTION = 0.01
"""Smallest scale of log-maxima: energies that differ by 2 % are equal."""
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
    The root energy s of each channel is therefore compared with the highest ones of held-out blocks in this channel.
    With the mean m and the standard deviation v of their logarithms, u = (log s − m) / (v √6 / π); if these follow a
    Gumbel distribution, a normal block exceeds a high u in proportion to exp(−u). The mean over channels of exp(u) is a
    second score, as large as the rarest channel makes it (its inverse is a harmonic mean of rarities; Wilson 2019).
    Blocks calibrate both scores, and the harmonic mean of both p-values, 1/p = ½/p₁ + ½/p₂, is that of the row.

    The score of a row is its root mean energy, or the one that is as rare as p, if that is higher. The scores of one
    channel are therefore its root energies.

    Parameters
    ----------
    unit : array of shape (2, channels)
        The location and the scale of each channel's log-maxima. Empty for one channel, and for saved models of versions
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
    def of(cls, stretches: Sequence[np.ndarray], length: int) -> tuple[Self, list[np.ndarray]]:
        """Return the tails of held-out stretches of energies, (steps, channels) each, and the scores of their rows.

        For these scores, the units of channels come from the other stretches, as they do for new rows.
        """
        if stretches[0].shape[1] == 1:
            return cls.none(), [scores_of(some) for some in stretches]
        unit, views = _unit(stretches, length), []
        for i, some in enumerate(stretches):
            others = [*stretches[:i], *stretches[i + 1 :]]
            views.append(_views(some, _unit(others, length) if others else unit))
        found = cls(unit, tuple(_tail(view, length) for view in zip(*views, strict=True)))
        return found, [found._combined(*view) for view in views]

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
        return self._combined(*_views(energies, self.unit)) if self.tails else scores_of(energies)

    def _combined(self, mean: np.ndarray, single: np.ndarray) -> np.ndarray:
        """Return the scores of rows, (n,), from the root mean energies and the means of exp(u)."""
        p = 1 / self._rarities(mean, single).sum(axis=0)
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
        mean, single = self._rarities(*_views(energies, self.unit))[:, :, None]
        found: np.ndarray = (mean * of_mean + single * of_tails) / (mean + single)
        return np.where(np.isnan(energies), 0, found)

    def _rarities(self, *views: np.ndarray) -> np.ndarray:
        """Return ½/p of both scores of rows, (2, n)."""
        return np.stack([0.5 / tail.p_values(np.nan_to_num(one)) for tail, one in zip(self.tails, views, strict=True)])


def _unit(stretches: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return the location and the scale of each channel's log-maxima of blocks, (2, channels)."""
    found = []
    for i in range(stretches[0].shape[1]):
        maxima = np.concatenate([[*block_maxima(np.sqrt(some[:, i]), length)] for some in stretches])
        known = np.log(np.maximum(maxima[~np.isnan(maxima)], _TINY))
        found.append((known.mean(), known.var() * len(known), len(known)) if len(known) else (0.0, 0.0, 0))
    location, total, count = np.array(found).T
    pooled = total.sum() / max(count.sum(), 1)
    variance = (total + _PRIOR * pooled) / (count + _PRIOR)
    return np.stack([location, np.maximum(np.sqrt(6 * variance) / np.pi, _RESOLUTION)])


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
    return MaximaTail(np.maximum(maxima, _TINY), np.maximum(cluster_maxima(of_blocks), _TINY))


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return rows of different lengths as an array, NaN at their ends."""
    found = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for row, values in zip(found, rows, strict=True):
        row[: len(values)] = values
    return found
