"""How much of a filter is a Gabor function: oriented, localised, band-pass (Daugman 1985; Olshausen & Field 1996)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

__all__ = ["explained"]

_LOCALISED = 1 / 5
"""Of the patch's width, the most that the envelope's σ may be: of a grating that fills the patch it explains 0.48."""


def explained(patch: np.ndarray) -> float:
    """The share of a square patch's variance that the best Gabor function explains.

    exp(−½(u²/σ_u² + v²/σ_v²))·cos(2πfu + φ), u and v turned by θ about a centre; at least one cycle within ± 2σ_u.
    Phase and amplitude are linear and solved for, the other six by least squares from two widths, at the frequency
    where the patch's spectrum is greatest.
    """
    n = len(patch)
    w = patch - patch.mean()
    w = w / np.linalg.norm(w)
    y, x = np.mgrid[:n, :n].astype(float)
    spectrum = np.abs(np.fft.fft2(w, (32, 32)))[:, :17]
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    frequency = np.array([np.fft.fftfreq(32)[row], column / 32])
    middle = [(w**2 * y).sum(), (w**2 * x).sum()]

    def residual(parameters: np.ndarray) -> np.ndarray:
        y0, x0, turn, along, across, cycles = parameters
        u = (x - x0) * np.cos(turn) + (y - y0) * np.sin(turn)
        v = (y - y0) * np.cos(turn) - (x - x0) * np.sin(turn)
        envelope = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
        phase = 2 * np.pi * cycles / (4 * along) * u
        waves = np.stack([(envelope * np.cos(phase)).ravel(), (envelope * np.sin(phase)).ravel()], axis=1)
        amplitudes = np.linalg.solve(waves.T @ waves + 1e-9 * np.eye(2), waves.T @ w.ravel())
        return w.ravel() - waves @ amplitudes

    low = np.array([-1, -1, -7, 0.4, 0.4, 1.0])
    high = np.array([n, n, 7, n * _LOCALISED, n * _LOCALISED, 8.0])
    best = 0.0
    for width in (n / 10, n / 6):
        cycles = 4 * width * max(np.hypot(*frequency), 0.05)
        start = np.array([*middle, np.arctan2(*frequency), width, width, cycles])
        found = least_squares(residual, np.clip(start, low + 1e-3, high - 1e-3), bounds=(low, high), max_nfev=60)
        best = max(best, 1 - 2 * float(found.cost))
    return best
