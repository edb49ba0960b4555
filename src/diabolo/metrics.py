"""Common metrics of autoencoders, computed from arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["active_units", "explained_variance", "psnr", "squared_error"]


def squared_error(x: np.ndarray, x_hat: np.ndarray) -> float:
    r"""Return the squared error (1/N) Σ ‖x − x̂‖²: summed over features, averaged over rows, in squared units of x.

    Parameters
    ----------
    x : array of shape (n, d)
        The rows.
    x_hat : array of shape (n, d)
        Their reconstructions.

    Returns
    -------
    float
        The error, at least 0.

    Examples
    --------
    >>> squared_error(np.zeros((2, 3)), np.ones((2, 3)))
    3.0
    """
    return float(np.square(x - x_hat).sum(axis=1).mean())


def explained_variance(x: np.ndarray, x_hat: np.ndarray) -> float:
    r"""Return the explained variance 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², at most 1.

    Cells of x that are NaN are ignored.

    Parameters
    ----------
    x : array of shape (n, d)
        The rows.
    x_hat : array of shape (n, d)
        Their reconstructions.

    Returns
    -------
    float
        The share of the variance, at most 1; 0 if x̂ is the mean of the rows.

    Examples
    --------
    >>> x = np.array([[0.0], [2.0]])
    >>> explained_variance(x, x), explained_variance(x, np.ones((2, 1)))
    (1.0, 0.0)
    """
    return float(1.0 - np.nansum(np.square(x - x_hat)) / np.nansum(np.square(x - np.nanmean(x, axis=0))))


def psnr(x: np.ndarray, x_hat: np.ndarray, peak: float = 1.0) -> float:
    r"""Return the peak signal-to-noise ratio, 10·log₁₀(peak² / mean squared error), in dB.

    Parameters
    ----------
    x : array of shape (n, d)
        The rows.
    x_hat : array of shape (n, d)
        Their reconstructions.
    peak : float, default=1.0
        The largest possible value of a cell.

    Returns
    -------
    float
        The ratio; higher is better, infinite for equal rows.

    Examples
    --------
    >>> round(psnr(np.zeros((1, 4)), np.full((1, 4), 0.1)), 9)
    20.0
    """
    return float(10 * np.log10(peak**2 / np.square(x - x_hat).mean()))


def active_units(means: np.ndarray, threshold: float = 0.01) -> np.ndarray:
    r"""Return which latent dimensions vary with x: Var_x(E_q[z | x]) > threshold (Burda et al. 2016, section 5).

    Parameters
    ----------
    means : array of shape (n, K)
        Posterior means.
    threshold : float, default=0.01
        Minimum variance of an active dimension.

    Returns
    -------
    array of shape (K,), bool
        Whether each dimension is active.
    """
    active: np.ndarray = means.var(axis=0) > threshold
    return active
