"""Negative binomial regression of the counts of many genes on few variables, with one offset per gene and group."""

from __future__ import annotations

import numpy as np

__all__ = ["count_means", "regress_counts"]

_STEPS, _LONGEST_STEP = 8, 2.0
_PSEUDO_COUNTS = 0.5
"""Counts added to the observed and to the expected sum of a gene in a group, so that no offset is infinite."""
_LEAST_R, _MOST_R = 0.05, 1e3
_MOST_LOG = 20.0


def regress_counts(
    x: np.ndarray, z: np.ndarray, groups: np.ndarray, size: np.ndarray, n_steps: int = _STEPS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit x ~ NB(s·exp(z·W + o_b), r) for each gene, by turns.

    The offsets match the sums of a gene in each group, W makes a step of Newton's method with a prior N(0, 1), and r
    matches the variance (Cameron & Trivedi 2013, section 3.3).

    Parameters
    ----------
    x : (n, G)
        Counts.
    z : (n, k)
        Variables; k may be 0.
    groups : (n, B)
        The one-hot group b of each row; (n, 0) if there is one group.
    size : (n, 1)
        s.
    n_steps : int
        The number of turns; few are enough for a start.

    Returns
    -------
    W : (k, G)
    o : (B, G)
        One row if there is one group.
    r : (G,)
    """
    (n, k), n_genes = z.shape, x.shape[1]
    groups = groups if groups.shape[1] else np.ones((n, 1))
    weights, offsets, r = np.zeros((k, n_genes)), np.zeros((groups.shape[1], n_genes)), np.full(n_genes, 10.0)
    outer = (z[:, :, None] * z[:, None, :]).reshape(n, -1)
    observed = groups.T @ x + _PSEUDO_COUNTS
    for step in range(n_steps):
        expected = groups.T @ count_means(z, weights, groups, offsets, size) + _PSEUDO_COUNTS
        offsets += np.log(observed / expected)
        mean = count_means(z, weights, groups, offsets, size)
        if step > 1:
            excess = (np.square(x - mean) - mean).sum(axis=0)
            r = np.clip(np.square(mean).sum(axis=0) / np.maximum(excess, 1e-9), _LEAST_R, _MOST_R)
        slope = z.T @ ((x - mean) / (1 + mean / r)) - weights
        curvature = (outer.T @ (mean / (1 + mean / r))).T.reshape(n_genes, k, k) + np.eye(k)
        move = np.linalg.solve(curvature, slope.T[..., None])[..., 0].T
        weights += np.clip(move, -_LONGEST_STEP, _LONGEST_STEP)
    return weights, offsets, r


def count_means(
    z: np.ndarray, weights: np.ndarray, groups: np.ndarray, offsets: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """Return the means s·exp(z·W + o_b), (n, G)."""
    found: np.ndarray = size * np.exp(np.clip(z @ weights + groups @ offsets, -_MOST_LOG, _MOST_LOG))
    return found
