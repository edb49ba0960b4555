"""NAB's own score, the standard profile (Lavin & Ahmad 2015, Evaluating real-time anomaly detection algorithms).

Written from the paper and the definitions in NAB's repository. From the published scores of NAB's detectors on all 58
series, it gives their published figures to nine digits (`benchmarks/notes/2026-11-30-series-peers.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d

__all__ = ["Gains", "gains_of", "nab_score", "peaks_of"]

_STEEPNESS, _FAR = 5, 3
_FALSE_ALARM = 0.11
"""The weight of a false alarm. A found window and a missed one have the weight 1."""
_PROBATION, _MOST_PROBATION = 0.15, 750
"""The share of a series that is not scored, and the largest number of such rows."""


class Gains(NamedTuple):
    """What an alarm at each scored row of a series adds."""

    rows: np.ndarray
    """(r,), the scored rows."""
    gains: np.ndarray
    """(r,), at most 1 in a window, negative elsewhere."""
    windows: np.ndarray
    """(r,), the number of the window that holds the row; −1 elsewhere."""
    n_windows: int
    """All windows, those among the rows that are not scored included."""


def gains_of(is_anomaly: np.ndarray) -> Gains:
    """Return what alarms at the rows of a series add; ``is_anomaly``, (n,), marks its windows.

    Early in a window, an alarm gains almost 1, and 0 at its end. A false alarm loses 0.11, and less if it comes shortly
    after a window: the sigmoid's argument is the distance from the window's end in window lengths.
    """
    n = len(is_anomaly)
    change = np.diff(np.concatenate([[0], np.asarray(is_anomaly, np.int64), [0]]))
    gains, windows = np.full(n, -_FALSE_ALARM), np.full(n, -1)
    for i, (start, stop) in enumerate(zip(np.flatnonzero(change == 1), np.flatnonzero(change == -1), strict=True)):
        width = stop - start
        after = np.arange(stop, n)
        gains[after] = _FALSE_ALARM * _sigmoid((after - stop + 1) / max(width - 1, 1))
        gains[start:stop] = _sigmoid(np.arange(-width, 0) / width) / _sigmoid(np.array(-1.0))
        windows[start:stop] = i
    first = min(int(_PROBATION * n), _MOST_PROBATION)
    return Gains(np.arange(first, n), gains[first:], windows[first:], int((change == 1).sum()))


def _sigmoid(position: np.ndarray) -> np.ndarray:
    return np.where(position > _FAR, -1.0, 2 / (1 + np.exp(_STEEPNESS * np.minimum(position, _FAR))) - 1)


def _totals(of: Sequence[Gains], scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum of all gains for each threshold, the highest first, (t,): alarms are at the rows that reach it.

    A window counts with its highest gain, and as −1 if it has no alarm. No row reaches the first threshold.
    """
    reached = np.concatenate([found[one.rows] for one, found in zip(of, scores, strict=True)])
    starts = np.cumsum([0, *(one.n_windows for one in of[:-1])])
    windows = np.concatenate(
        [np.where(one.windows < 0, -1, one.windows + s) for one, s in zip(of, starts, strict=True)]
    )
    gains = np.concatenate([one.gains for one in of])
    order = np.argsort(-reached, kind="stable")
    ordered, gains, windows = reached[order], gains[order], windows[order]
    added = np.where(windows < 0, gains, 0.0)
    scored = np.unique(windows[windows >= 0])
    for window in scored:
        places = np.flatnonzero(windows == window)
        added[places] = np.diff(np.maximum.accumulate(gains[places]), prepend=-1.0)
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    totals = np.cumsum(added)[last] - len(scored)
    return np.append(-float(len(scored)), totals)


def peaks_of(scores: np.ndarray, reach: int) -> np.ndarray:
    """Return scores, (n,), at the highest row of each event, and 0 at rows with a higher one within ``reach`` rows.

    Of equal ones, the first counts.
    """
    places = np.flatnonzero(scores >= maximum_filter1d(scores, 2 * reach + 1))
    places = places[np.diff(places, prepend=-reach - 1) > reach]
    found = np.zeros_like(scores)
    found[places] = scores[places]
    return found


def nab_score(of: Sequence[Gains], scores: Sequence[np.ndarray]) -> float:
    """Return the score of alarms at rows whose score reaches a threshold: 0 without alarms, 100 for the best ones.

    The threshold is the best for all series together, as NAB chooses the only one of a detector.

    Parameters
    ----------
    of : sequence of Gains
        Those of each series.
    scores : sequence of arrays of shape (n,)
        The anomaly score of each row of each series; higher is more unusual.
    """
    totals = _totals(of, scores)
    return float(100 * (totals.max() - totals[0]) / (sum(one.n_windows for one in of) - totals[0]))
