"""Chunks of rows for the device, padded to few sizes and aligned so that the transfer needs no copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from .. import jax_config

__all__ = ["EVAL_BATCH", "ArraySource", "Chunk", "Source", "aligned_zeros", "bucket_size", "in_whole_groups"]

EVAL_BATCH = 2048
"""Number of rows in a validation block."""
_ALIGNMENT = 64  # bytes; XLA needs it to read host memory without a copy


ROWS_AT_ONCE = 8
"""A product of matrices gives a row the same bits wherever it stands among whole groups of this many rows."""


def in_whole_groups(rows: np.ndarray) -> np.ndarray:
    """Return rows padded with zeros to whole groups, so that a product does not depend on the other rows.

    The matrix products of NumPy compute the last rows otherwise, with other rounding, if they fill no group.
    """
    return np.pad(rows, ((0, -len(rows) % ROWS_AT_ONCE), (0, 0)))


class Chunk(NamedTuple):
    """Rows on the device. The first ``n_rows`` rows are data, the others are padding."""

    rows: Any
    """(padded, d). If several processes share the reading, a NumPy array with the part of this process."""
    n_rows: int
    weights: jax.Array | None = None
    """(padded,): the weight of each row, with a mean of about 1; 0 for padding. None: all rows weigh the same."""


class Source(Protocol):
    """A source of rows that can be read in chunks any number of times."""

    n_features: int
    n_rows: int
    weights: np.ndarray | None
    """(n,): the weights of the rows, if they differ."""

    def chunk_sizes(self, epoch: int = 1) -> tuple[int, ...]:
        """Return the number of rows of each chunk in an epoch."""

    def chunks(self, epoch: int = 1, start: int = 0) -> Iterator[Chunk]:
        """Yield the chunks of an epoch from number ``start`` on; every call yields the same chunks."""

    def mapped(self, through: Callable[[np.ndarray], np.ndarray]) -> Source:
        """Return a source of the same rows mapped by a function, (n, d) → (n, k)."""


class ArraySource:
    """A source of one chunk: an array in memory that stays on the device.

    Parameters
    ----------
    rows : array of shape (n, d)
        The rows. They are copied to the device as float32, padded to the grid of sizes.
    weights : array of shape (n,) or None
        The weights of the rows, with a mean of about 1. None: all rows weigh the same.
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray | None = None) -> None:
        self.weights, self._padded_weights = weights, None
        self.n_rows, self.n_features = rows.shape
        padded = aligned_zeros((bucket_size(self.n_rows), self.n_features))
        padded[: self.n_rows] = rows
        self._rows = jax.device_put(padded)
        if weights is not None:
            self._padded_weights = jax.device_put(np.pad(weights, (0, len(padded) - len(rows))).astype(np.float32))

    def chunk_sizes(self, epoch: int = 1) -> tuple[int, ...]:
        """Return the size of the only chunk."""
        return (self.n_rows,)

    def chunks(self, epoch: int = 1, start: int = 0) -> Iterator[Chunk]:
        """Yield the only chunk, the same in every epoch."""
        yield Chunk(self._rows, self.n_rows, self._padded_weights)

    def mapped(self, through: Callable[[np.ndarray], np.ndarray]) -> ArraySource:
        """Return a source of the mapped rows, computed at once."""
        return ArraySource(through(np.asarray(self._rows)[: self.n_rows]), self.weights)


def aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Return aligned float32 zeros, to be filled and put on the device.

    On a CPU the device uses the same memory, so that the array must not change afterwards.

    >>> aligned_zeros((3, 2)).tolist(), aligned_zeros((3, 2)).ctypes.data % 64
    ([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], 0)
    """
    jax_config.check_usable()
    n_bytes = 4 * math.prod(shape)
    room = np.zeros(n_bytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + n_bytes].view(np.float32).reshape(shape)


def bucket_size(n: int) -> int:
    """Return the next size on the grid: powers of two, each octave in eight steps, multiples of `EVAL_BATCH`."""
    octave = 1 << max(n - 1, 15).bit_length()
    if octave <= EVAL_BATCH:
        return octave
    step = max(octave // 16, EVAL_BATCH)
    return -(-n // step) * step
