"""Factor analysis: maximum likelihood, and the number of factors.

x ~ N(mean, WᵀW + Ψ), with loadings W (k, d) and a diagonal Ψ, the noise (Rubin & Thayer 1982; Tipping & Bishop 1999).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

__all__ = ["factor_analysis", "informative", "loadings_of", "number_of_factors"]

_KEPT_NOISE = 0.5
_FACTOR_STEPS, _LEAST_SHRINKING = 300, 0.25
_FEW_ROWS, _FEW_COLUMNS = 1000, 32
"""Up to these sizes, the number of factors is chosen by tenfold cross-validation."""


def informative(loadings: np.ndarray, noise: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move part of the noise into the loadings, one per column, with the same covariance.

    If columns do not correlate, factor analysis is a collapsed posterior, from which training would find an informative
    code only by chance.
    """
    covariance = loadings.T @ loadings + np.diag(noise)
    noise = np.minimum(np.maximum(_KEPT_NOISE * noise, floor), noise)
    return _loadings(covariance, noise, len(noise))[0], noise


def loadings_of(covariance: np.ndarray, noise: np.ndarray, k: int) -> np.ndarray:
    """Return the best k loadings (k, d) for a noise, (d,)."""
    return _loadings(covariance, noise, k)[0]


def _loadings(covariance: np.ndarray, noise: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best k loadings (k, d) for a noise, and the k largest eigenvalues in its units, ascending."""
    d, root = len(noise), np.sqrt(noise)
    values, axes = linalg.eigh(covariance / root / root[:, None], subset_by_index=(d - k, d - 1))
    return (axes * np.sqrt(np.maximum(values - 1, 0))).T * root, values


def number_of_factors(some: np.ndarray, most: int, floor: np.ndarray) -> int:
    """Return the number of factors, a power of two or ``most``, with the highest cross-validated likelihood.

    The rows, (n, d), have mean 0 and no missing cell.
    """
    n, d = some.shape
    candidates = sorted({most, *(2**i for i in range(most.bit_length()) if 2**i < most)})
    if n < 2:
        return candidates[0]
    n_steps, n_parts, n_tried = (30, 3, 3) if d <= 160 else (3, 3, 1)
    if n <= _FEW_ROWS and d <= _FEW_COLUMNS:  # threefold validation would choose too few factors
        n_parts = n_tried = 10
    fold = np.random.default_rng(0).permutation(n) % n_parts
    total = np.zeros(len(candidates))
    for out in range(n_tried):
        kept, left = some[fold != out], some[fold == out]
        mean = kept.mean(axis=0)
        covariance = np.cov(kept.T, bias=True).reshape(d, d)
        for i, k in enumerate(candidates):
            loadings, noise = factor_analysis(covariance, k, floor, n_steps)
            total[i] += _log_density(left - mean, loadings, noise).sum()
    return candidates[int(total.argmax())]


def _log_density(centred: np.ndarray, loadings: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return log N(x | 0, WᵀW + Ψ) of each row, up to a constant."""
    precision = 1 + (loadings**2 / noise).sum(axis=1)
    inside = np.square(centred @ (loadings / noise).T) / precision
    return -0.5 * (
        (centred**2 / noise).sum(axis=1) - inside.sum(axis=1) + np.log(precision).sum() + np.log(noise).sum()
    )


def factor_analysis(
    covariance: np.ndarray, k: int, floor: np.ndarray, n_steps: int = _FACTOR_STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """Return maximum-likelihood loadings (k, d), orthogonal in units of the noise, and noise variances (d,).

    The method is the fixed point of Rubin & Thayer (1982), by eigenvalues of the covariance in the noise's units.
    """
    d = len(covariance)
    variance = np.maximum(np.diag(covariance), floor)
    noise, before = variance * 0.5, np.inf
    for _ in range(n_steps if d <= 256 else min(n_steps, 10)):
        loadings, values = _loadings(covariance, noise, k)
        noise = np.maximum(np.diag(covariance) - (loadings**2).sum(axis=0), floor)
        now = float(np.log(np.maximum(values, 1)).sum() - np.maximum(values - 1, 0).sum() + np.log(noise).sum())
        if abs(before - now) < 1e-6 * d:
            break
        before = now
    if k == d:  # d factors fit any covariance, but the steps shrink
        _, values = _loadings(covariance, noise, k)
        noise = np.maximum(noise * np.clip(values[0], _LEAST_SHRINKING, 1), floor)
    return _loadings(covariance, noise, k)[0], noise
