"""A mixture of normal distributions, each fitted to a few rows that are near each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

__all__ = ["LocalGaussians", "weakest_cut"]

_FEWEST = 12
_POWER_STEPS = 8
_RIDGE = 1.0
"""Penalty of the effects of labels, in rows: a category of one row has half of its effect by least squares."""
_SMOOTHING = 0.1
"""Standard deviation, in scores, with which a given number is compared with a component."""


@dataclass(frozen=True)
class LocalGaussians:
    """A partition of training rows into groups, and the mean and the covariance of each group given the labels.

    Rows are divided in two halves at the median of their first principal axis, and the halves again, until a group has
    fewer than 24 rows. Within a group, the mean of a row is linear in its labels, with the same effects in all groups.
    Since the groups are disjoint, the mixture has the mean and the covariance of all rows; and up to the ridge penalty
    of the effects, it has the covariance of numbers with labels, and so the mean of a number in each category.
    A group's covariance is that of few rows, so its noise is in the directions in which these rows vary.

    Parameters
    ----------
    means : (m, j)
    factors : (m, q, j)
        The covariance of group i given the labels is Fᵢᵀ·Fᵢ. Rows of zeros pad a factor to q rows, the size of the
        largest group.
    effects : (c, j)
        The change of the mean for each unit by which a label differs from its mean in the group.
    starts : (m + 1,)
        The first row of each group in ``labels``.
    labels : (n, c)
        The cells without order (one-hot categories and booleans) of the training rows, sorted by group.
    """

    means: np.ndarray
    factors: np.ndarray
    effects: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    @classmethod
    def fit(
        cls, rows: np.ndarray, features: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> LocalGaussians:
        """Fit to rows (n, j); the groups are near in the features (n, f)."""
        groups = _groups(features, _FEWEST, rng)
        starts, order = np.cumsum([0, *map(len, groups)]), np.concatenate(groups)
        means = np.stack([rows[group].mean(axis=0) for group in groups])
        of_labels = _means_of_groups(labels[order], starts)
        sizes = np.diff(starts)
        effects, left = _effects(
            labels[order] - np.repeat(of_labels, sizes, axis=0), rows[order] - np.repeat(means, sizes, axis=0)
        )
        size = min(sizes.max(), rows.shape[1])
        factors = np.zeros((len(groups), size, rows.shape[1]))
        for factor, some in zip(factors, np.split(left, starts[1:-1]), strict=True):
            # The principal axes have the covariance of the rows, but are none of the rows.
            _, lengths, axes = np.linalg.svd(some / np.sqrt(len(some)), full_matrices=False)
            factor[: len(lengths)] = lengths[:, None] * axes
        shuffled = np.concatenate([rng.permutation(group) for group in groups])
        arrays = (means, factors, effects)
        means, factors, effects = (array.astype(np.float32) for array in arrays)
        return cls(means, factors, effects, starts, labels[shuffled].astype(np.float32))

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

    def means_at(self, positions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the means of the groups at positions for rows with these labels, (n, j)."""
        groups = self.group_of(positions)
        away = labels - _means_of_groups(self.labels, self.starts)[groups]
        found: np.ndarray = self.means[groups] + away @ self.effects
        return found

    def rows_at(self, positions: np.ndarray, labels: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the rows of the groups at positions for labels and standard normal noise, (n, j)."""
        found, groups = self.means_at(positions, labels), self.group_of(positions)
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
        means : (a, g)
            The means of these numbers at each of the a allowed positions.
        factors : (m, q, g)
            Their covariance in each group.
        scores : (g,)
            The given numbers.
        """
        gain = np.swapaxes(factors, 1, 2) @ factors + _SMOOTHING**2 * np.eye(len(scores))
        away, of_allowed = scores - means, self.group_of(allowed)
        distance = np.einsum("ag,agh,ah->a", away, np.linalg.inv(gain)[of_allowed], away)
        log_weights = -0.5 * (distance + np.linalg.slogdet(gain)[1][of_allowed])
        weights = np.exp(log_weights - log_weights.max())
        chosen = rng.choice(len(allowed), n, p=weights / weights.sum())
        groups, noise = of_allowed[chosen], self.noise(n, rng)
        # A sample of the joint distribution, corrected linearly, is a sample of the conditional distribution.
        seen = means[chosen] + np.einsum("nq,nqg->ng", noise, factors[groups])
        error = scores - seen + _SMOOTHING * rng.standard_normal(seen.shape)
        noise += np.einsum("nqg,ng->nq", factors[groups], np.linalg.solve(gain[groups], error[:, :, None])[:, :, 0])
        return allowed[chosen], noise


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


def _means_of_groups(labels: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the means of labels, (n, c), between starts, (m, c)."""
    means: np.ndarray = np.add.reduceat(labels.astype(np.float64), starts[:-1]) / np.diff(starts)[:, None]
    return means


def _effects(labels: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regress rows on labels, both less the means of their groups, by ridge regression.

    If H is the matrix of the regression, the rows that are left are (I − H²)^½·rows: their covariance and that of the
    fitted values H·rows add up to the covariance of the rows.

    Returns
    -------
    effects : (c, j)
    left : (n, j)
        The rows without the effects.
    """
    squares, axes = np.linalg.eigh(labels.T @ labels)
    squares = np.maximum(squares, np.finfo(np.float64).eps)
    share = squares / (squares + _RIDGE)
    along = axes.T @ (labels.T @ rows)
    lost = (1 - np.sqrt(1 - share**2)) / squares
    return axes @ (along / (squares + _RIDGE)[:, None]), rows - labels @ (axes @ (along * lost[:, None]))


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
