"""Random samples of rows that need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .blocks import BlockReader

__all__ = ["sample_positions", "take_rows"]


def sample_positions(n_rows: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Sample at most ``most`` of ``n_rows`` positions uniformly, in ascending order; all, if there are fewer.

    >>> sample_positions(4, 9, np.random.default_rng(0)).tolist()
    [0, 1, 2, 3]
    """
    chosen: np.ndarray = np.sort(rng.choice(n_rows, min(n_rows, most), replace=False))
    return chosen


def take_rows(
    store: BlockReader, positions: np.ndarray, on_rows: Callable[[np.ndarray, int], None] | None = None
) -> np.ndarray:
    """Read the rows at ascending positions, in one pass.

    ``on_rows`` is called with each chunk of all rows, and the position of its first row.
    """
    pieces, first = [], 0
    for rows in store.iter_chunks():
        if on_rows is not None:
            on_rows(rows, first)
        start, end = np.searchsorted(positions, [first, first + len(rows)])
        pieces.append(rows[positions[start:end] - first])
        first += len(rows)
        store.free()
    return np.concatenate(pieces)
