"""A mixture of normal distributions, each fitted to a few rows that are near each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

__all__ = ["LocalGaussians", "weakest_cut"]

_FEWEST = 12
_POWER_STEPS = 8
_SMOOTHING = 0.1
"""Standard deviation, in scores, with which a given number is compared with a component."""


@dataclass(frozen=True)
class LocalGaussians:
    """A partition of training rows into groups, and the mean and the covariance of each group.

    Rows are divided in two halves at the median of their first principal axis, and the halves again, until a group has
    fewer than 24 rows. Since the groups are disjoint, the mixture has the mean and the covariance of all
    rows. A group's covariance is that of few rows, so its noise is in the directions in which these rows vary.

    Parameters
    ----------
    means : (m, j)
    factors : (m, q, j)
        The covariance of group i is Fᵢᵀ·Fᵢ. Rows of zeros pad a factor to q rows, the size of the largest group.
    starts : (m + 1,)
        The first row of each group in ``labels``.
    labels : (n, c)
        The cells without order (one-hot categories and booleans) of the training rows, sorted by group.
    """

    means: np.ndarray
    factors: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    @classmethod
    def fit(
        cls, rows: np.ndarray, features: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> LocalGaussians:
        """Fit to rows (n, j); the groups are near in the features (n, f)."""
        groups = _groups(features, _FEWEST, rng)
        size = min(max(map(len, groups)), rows.shape[1])
        means, factors = np.zeros((len(groups), rows.shape[1])), np.zeros((len(groups), size, rows.shape[1]))
        for i, group in enumerate(groups):
            means[i] = rows[group].mean(axis=0)
            # The principal axes have the covariance of the rows, but are none of the rows.
            _, lengths, axes = np.linalg.svd((rows[group] - means[i]) / np.sqrt(len(group)), full_matrices=False)
            factors[i, : min(size, len(lengths))] = (lengths[:, None] * axes)[:size]
        starts = np.cumsum([0, *map(len, groups)])
        shuffled = np.concatenate([rng.permutation(group) for group in groups])
        return cls(means.astype(np.float32), factors.astype(np.float32), starts, labels[shuffled].astype(np.float32))

    @property
    def weights(self) -> np.ndarray:
        """The share of the rows in each group, (m,)."""
        shares: np.ndarray = np.diff(self.starts) / len(self.labels)
        return shares

    def group_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the group of rows at positions in ``labels``."""
        return np.searchsorted(self.starts, positions, "right") - 1

    def draw_positions(self, n: int, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw n of the allowed positions in ``labels``, each equally often up to one."""
        times, left = divmod(n, len(allowed))
        drawn: np.ndarray = rng.permutation(
            np.concatenate([np.tile(allowed, times), rng.choice(allowed, left, replace=False)])
        )
        return drawn

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw standard normal noise for n rows, (n, q)."""
        return rng.standard_normal((n, self.factors.shape[1]))

    def rows_at(self, groups: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the rows of groups at standard normal noise, (n, j)."""
        found = self.means[groups].astype(np.float64)
        for i in np.unique(groups):
            found[groups == i] += noise[groups == i] @ self.factors[i]
        return found

    def mixed_labels(self, positions: np.ndarray, parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return labels of rows, of which one part is that of another row of the same group; see `weakest_cut`."""
        groups = self.group_of(positions)
        others = self.starts[groups] + rng.integers(np.diff(self.starts)[groups])
        return np.where(parts, self.labels[others], self.labels[positions])

    def condition(
        self,
        means: np.ndarray,
        factors: np.ndarray,
        scores: np.ndarray,
        allowed: np.ndarray,
        n: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw n positions of allowed rows and noise, given g numbers.

        Parameters
        ----------
        means, factors : (m, g), (m, q, g)
            The distribution of these numbers in each group.
        scores : (g,)
            The given numbers.
        """
        gain = np.swapaxes(factors, 1, 2) @ factors + _SMOOTHING**2 * np.eye(len(scores))
        away = scores - means
        solved = np.linalg.solve(gain, away[:, :, None])[:, :, 0]
        log_density = -0.5 * ((away * solved).sum(axis=1) + np.linalg.slogdet(gain)[1])
        log_weights = log_density[self.group_of(allowed)]
        weights = np.exp(log_weights - log_weights.max())
        positions = rng.choice(allowed, n, p=weights / weights.sum())
        groups, noise = self.group_of(positions), self.noise(n, rng)
        # A sample of the joint distribution, corrected linearly, is a sample of the conditional distribution.
        seen = means[groups] + np.einsum("nq,nqg->ng", noise, factors[groups])
        error = scores - seen + _SMOOTHING * rng.standard_normal(seen.shape)
        noise += np.einsum("nqg,ng->nq", factors[groups], np.linalg.solve(gain[groups], error[:, :, None])[:, :, 0])
        return positions, noise


def weakest_cut(labels: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Divide columns into two parts that depend little on each other; return, (c,), whether a label is in the first.

    Columns are clustered by Cramér's V with its bias removed (Bergsma 2013), so that exchanging a part between rows
    breaks weak dependences rather than strong ones.

    Parameters
    ----------
    labels : (n, c)
        Encoded columns of categories and booleans.
    names : (c,)
        The column of each label.
    """
    columns = list(dict.fromkeys(names))
    if len(columns) < 2:
        return np.zeros(len(names), bool)
    # A boolean is one number; its complement makes it a category of two.
    blocks = [labels[:, names == name].astype(np.float64) for name in columns]
    blocks = [np.hstack([block, 1 - block]) if block.shape[1] == 1 else block for block in blocks]
    blocks = [block[:, block.any(axis=0)] for block in blocks]
    near = [_cramers_v(one, other) for i, one in enumerate(blocks) for other in blocks[i + 1 :]]
    cluster = fcluster(linkage(1 - np.array(near), "average"), 2, "maxclust")
    first = {name for name, number in zip(columns, cluster, strict=True) if number == cluster[0]}
    return np.array([name in first for name in names])


def _cramers_v(one: np.ndarray, other: np.ndarray) -> float:
    """Return Cramér's V of two one-hot columns, (n, k) and (n, l), without its bias."""
    n, k, m = len(one), one.shape[1], other.shape[1]
    expected = np.outer(one.mean(axis=0), other.mean(axis=0))
    phi = float((np.square(one.T @ other / n - expected) / expected).sum())
    smaller = min(k - (k - 1) ** 2 / (n - 1), m - (m - 1) ** 2 / (n - 1)) - 1
    if smaller <= 0:
        return 0.0
    return float(np.sqrt(np.clip((phi - (k - 1) * (m - 1) / (n - 1)) / smaller, 0, 1)))


def _groups(features: np.ndarray, fewest: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide rows into groups of at least ``fewest`` rows, and less than twice as many."""
    found, waiting = [], [np.arange(len(features))]
    while waiting:
        group = waiting.pop()
        if len(group) < 2 * fewest:
            found.append(group)
            continue
        centred = features[group] - features[group].mean(axis=0)
        axis = rng.standard_normal(centred.shape[1])
        for _ in range(_POWER_STEPS):
            axis = centred.T @ (centred @ axis)
            axis /= max(float(np.linalg.norm(axis)), np.finfo(np.float64).tiny)
        order, half = group[np.argsort(centred @ axis, kind="stable")], len(group) // 2
        waiting += [order[half:], order[:half]]
    return found
