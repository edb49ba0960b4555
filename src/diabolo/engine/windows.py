r"""Windows of a series: their length, a model of them, and how unusual each window is.

A window is ``length`` consecutive steps of all channels, (channels, length), in standardised units: one location and
one unit for each channel, not for each position, so that a channel's pattern keeps its shape. `fit_windows` learns two
things of normal windows, and `WindowModel.terms` measures the distance from both:

- their main principal components, those with more than 5 % of the variance each. The squared error of a window's
  reconstruction finds changes of level and shape that are large in the units of the series (Jackson & Mudholkar 1979;
  "Sub-PCA" of Liu & Paparrizos 2024, "The Elephant in the Room").
- a memory of a thousand windows. The squared distance to the nearest finds windows that a linear model allows, such as
  a Tuesday that looks like a Sunday.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import linalg

from .gaussian import FactorGaussian, conditional_mean, row_blocks

__all__ = [
    "WindowModel",
    "dominant_period",
    "fit_windows",
    "interpolated",
    "known_mean",
    "mean_of_cells",
    "mean_over_windows",
    "usable",
    "window_length",
    "windows_of",
]

LEAST_LENGTH, LONGEST_PERIOD = 100, 512
_SHORTEST_PERIOD = 4
_PERIODIC = 0.1
"""Minimum autocorrelation of a period."""
_NEARLY = 0.8
_FEWEST_WINDOWS = 8
"""A window is at most this fraction of the series."""
_READ = 20_000
"""Number of steps of a series from which its period is estimated."""
_MAIN = 0.05
"""Minimum share of the variance of a main component."""
_TRIMMED = 0.1
"""The share of windows with the highest energies that the second fit leaves out."""
_REMEMBERED = 1000
"""Maximum number of windows in the memory."""
_EXACT_WIDTH, _MOST_COMPONENTS, _PASSES = 1024, 64, 6
_AT_ONCE = 1 << 21
"""Number of cells of windows that are processed at once."""
_IMPUTING = 32
"""Number of components from which missing cells are expected."""
_LEAST = 1e-6
"""Smallest variance of a cell, in standardised units."""
_KNOWN = 0.5
"""Minimum share of known cells of a window."""


def dominant_period(values: np.ndarray, longest: int = LONGEST_PERIOD) -> int | None:
    """Return the shortest lag with a local maximum of the autocorrelation that is at least 80 % of the highest.

    The highest maximum is the rule of the field's benchmarks ("find_length" of TSB-AD and of VUS). A series with days
    and weeks has it at a week, although its pattern is that of days. The autocorrelation is the mean over channels.

    Parameters
    ----------
    values : array of shape (n, channels)
        A series without missing cells.
    longest : int, default=512
        The longest period, in steps.

    Returns
    -------
    int or None
        The period in steps, at least 4; None if no maximum is above 0.1.

    Examples
    --------
    >>> dominant_period(np.sin(np.arange(200) * 2 * np.pi / 25)[:, None])
    25
    """
    values = values[:_READ]
    n, total = len(values), np.zeros(0)
    for channel in values.T:
        centred = channel - channel.mean()
        power = float(centred @ centred)
        if power <= np.finfo(np.float64).eps * n * float(np.square(channel).max(initial=0)):
            continue
        spectrum = np.abs(np.fft.rfft(centred / np.sqrt(power), 2 * n)) ** 2
        found = np.fft.irfft(spectrum)[: min(longest, n // 2) + 2]
        total = found if not len(total) else total + found
    if len(total) < _SHORTEST_PERIOD + 2:
        return None
    total = total / values.shape[1]
    inner = total[1:-1]
    is_peak = (inner > total[:-2]) & (inner > total[2:]) & (inner > _PERIODIC)
    is_peak[: _SHORTEST_PERIOD - 1] = False
    lags = np.flatnonzero(is_peak) + 1
    return int(lags[total[lags] >= _NEARLY * total[lags].max()][0]) if len(lags) else None


def window_length(n: int, period: int | None) -> int:
    """Return the length of windows: the fewest whole periods of at least 100 steps, at most an eighth of the series.

    >>> window_length(5000, 48), window_length(5000, None), window_length(400, 48)
    (144, 100, 50)
    """
    wanted = LEAST_LENGTH if period is None else period * -(-LEAST_LENGTH // period)
    return max(2, min(wanted, n // _FEWEST_WINDOWS))


def windows_of(values: np.ndarray, length: int) -> np.ndarray:
    """Return the windows of a series as a view, (n, channels) → (n − length + 1, channels, length)."""
    if len(values) < length:
        return np.empty((0, values.shape[1], length))
    return sliding_window_view(values, length, axis=0)


def mean_over_windows(of_windows: np.ndarray, length: int) -> np.ndarray:
    """Return for each step the mean over the windows that hold it, (n − length + 1, …) → (n, …).

    NaN is a window without a value; a step without a window that has one is NaN.
    """
    n = len(of_windows) + length - 1
    padding = ((length - 1, length - 1), *((0, 0),) * (of_windows.ndim - 1))
    is_known = ~np.isnan(of_windows)
    total = np.zeros((n, *of_windows.shape[1:]))
    count = np.zeros_like(total)
    padded, known = (np.pad(some, padding) for some in (np.where(is_known, of_windows, 0), is_known.astype(np.float64)))
    for shift in range(length):
        total += padded[shift : shift + n]
        count += known[shift : shift + n]
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def interpolated(values: np.ndarray) -> np.ndarray:
    """Return a series with missing cells replaced by linear interpolation; 0 in a channel without a known cell."""
    filled = values.copy()
    steps = np.arange(len(values))
    for channel in filled.T:
        is_missing = np.isnan(channel)
        if is_missing.all():
            channel[:] = 0.0
        elif is_missing.any():
            channel[is_missing] = np.interp(steps[is_missing], steps[~is_missing], channel[~is_missing])
    return filled


@dataclass(frozen=True, eq=False)
class WindowModel:
    """A model of windows, flattened to ``channels · length`` cells, in standardised units."""

    mean: np.ndarray
    """(d,)"""
    axes: np.ndarray
    """(k, d), principal components, orthonormal."""
    variances: np.ndarray
    """(k,), decreasing."""
    rest: float
    """The variance in each of the other directions."""
    memory: np.ndarray
    """(m, d), normal windows."""

    @property
    def n_main(self) -> int:
        """The number of main components; at least 1."""
        total = float(self.variances.sum()) + self.rest * (self.axes.shape[1] - len(self.axes))
        return max(1, int((self.variances > _MAIN * total).sum()))

    def terms(self, windows: np.ndarray) -> np.ndarray:
        """Return the squared error of windows, (n, channels, length) → (2, n, channels).

        The first is that of the reconstruction by the main components, the second that of the nearest window in memory;
        both are means over a channel's known cells. NaN in ``windows`` is a missing cell. A channel without a known
        cell, and a window with fewer than half of its cells known, has NaN.
        """
        found = np.full((2, *windows.shape[:2]), np.nan)
        for some in usable(windows):
            given = windows[some]
            rows = self.filled(given.reshape(len(given), -1))
            errors = np.stack([rows - self.reconstructed(rows), rows - self.nearest(rows)])
            found[:, some] = known_mean(np.square(errors).reshape(2, *given.shape), given)
        return found

    def reconstructed(self, rows: np.ndarray) -> np.ndarray:
        """Return the reconstruction of complete flattened windows by the main components, (n, d)."""
        axes = self.axes[: self.n_main]
        return (rows - self.mean) @ axes.T @ axes + self.mean

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """Return the nearest window in memory to each complete flattened window, (n, d)."""
        squares = np.square(self.memory).sum(axis=1)
        return self.memory[np.argmin(squares - 2 * (rows @ self.memory.T), axis=1)]

    def filled(self, rows: np.ndarray) -> np.ndarray:
        """Return flattened windows, (n, d), with missing cells replaced by their expectation given the known ones."""
        is_missing = np.isnan(rows)
        holes = np.flatnonzero(is_missing.any(axis=1))
        if not len(holes):
            return rows
        loadings = self.axes[:_IMPUTING] * np.sqrt(np.maximum(self.variances[:_IMPUTING] - self.rest, 0))[:, None]
        total = np.square(self.axes * np.sqrt(self.variances)[:, None]).sum(axis=0) + self.rest
        noise = np.maximum(total - np.square(loadings).sum(axis=0), _LEAST)
        model = FactorGaussian(self.mean, loadings, noise)
        filled = rows.copy()
        for some in row_blocks(rows[holes], model):
            at = holes[some]
            filled[at] = np.where(is_missing[at], conditional_mean(np, rows[at], model), rows[at])
        return filled


def fit_windows(windows: np.ndarray) -> WindowModel:
    """Fit a model to the windows of normal data, (n, channels, length), twice: then without the most unusual tenth.

    A tenth of the windows, those with the largest errors, is left out of the components and of the memory, so that few
    anomalies get into them. Missing cells are expected to be 0, the channel's mean, in the first fit, and as the first
    model expects them in the second.
    """
    rows = windows.reshape(len(windows), -1)
    first = _components(np.where(np.isnan(rows), 0.0, rows))
    rows = first.filled(rows)
    errors = np.square(rows - first.reconstructed(rows)).sum(axis=1)
    return _components(rows[errors <= np.quantile(errors, 1 - _TRIMMED)])


def _components(rows: np.ndarray) -> WindowModel:
    n, d = rows.shape
    mean = rows.mean(axis=0)
    centred = rows - mean
    total = float(np.square(centred).sum()) / n
    if d <= _EXACT_WIDTH:
        values, vectors = linalg.eigh(centred.T @ centred / n, subset_by_index=(max(0, d - _MOST_COMPONENTS), d - 1))
        axes, variances = vectors.T[::-1], np.maximum(values[::-1], 0)
    else:
        basis = np.linalg.qr(np.random.default_rng(0).standard_normal((d, min(2 * _MOST_COMPONENTS, n))))[0]
        for _ in range(_PASSES):  # Halko, Martinsson & Tropp 2011, algorithm 4.4
            basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
        codes = centred @ basis
        values, vectors = linalg.eigh(codes.T @ codes / n)
        axes, variances = (vectors.T[::-1] @ basis.T)[:_MOST_COMPONENTS], np.maximum(values[::-1], 0)[:_MOST_COMPONENTS]
    rest = max(total - float(variances.sum()), 0) / (d - len(axes)) if d > len(axes) else 0.0
    memory = rows[np.linspace(0, n - 1, min(n, _REMEMBERED)).astype(int)]
    return WindowModel(mean, np.ascontiguousarray(axes), variances, rest, memory)


def known_mean(cells: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return the mean of values of cells over the known cells of each channel; NaN if it has none.

    (…, n, channels, length) → (…, n, channels).
    """
    is_known = ~np.isnan(windows)
    count = np.broadcast_to(is_known.sum(axis=-1), cells.shape[:-1])
    total = np.where(is_known, cells, 0).sum(axis=-1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def usable(windows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the places of windows with at least half of their cells known, as many as fit in memory at once."""
    n, channels, length = windows.shape
    step = max(1, _AT_ONCE // (channels * length))
    for start in range(0, n, step):
        share = np.isnan(windows[start : start + step]).mean(axis=(1, 2))
        if len(places := start + np.flatnonzero(share <= 1 - _KNOWN)):
            yield places


def mean_of_cells(windows: np.ndarray, expectation: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return for each step the mean of its expected values over the windows that hold it, (n, channels).

    ``expectation`` maps windows, (m, channels, length), to their expected values. NaN where no window is usable.
    """
    n, channels, length = windows.shape
    total, count = np.zeros((n + length - 1, channels)), np.zeros((n + length - 1, 1))
    for some in usable(windows):
        found = expectation(windows[some])
        for shift in range(length):
            total[some + shift] += found[:, :, shift]
            count[some + shift] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
