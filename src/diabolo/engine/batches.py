"""Rows on their way to the device: chunks, padded to few sizes, laid out so that nothing is copied on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from .. import jax_config

__all__ = ["EVAL_BATCH", "ArraySource", "Chunk", "Source", "aligned_zeros", "bucket_size"]

EVAL_BATCH = 2048
"""Rows that are judged at once."""
_ALIGNMENT = 64  # bytes; what XLA asks of memory that it is to read where it lies


class Chunk(NamedTuple):
    """Rows on the device, of which the first ``n_rows`` count."""

    rows: Any
    """(padded, d); where several processes share the reading, this one's part, of NumPy."""
    n_rows: int


class Source(Protocol):
    """Anything that can be read in chunks, again and again."""

    n_features: int
    n_rows: int

    def chunk_sizes(self, epoch: int = 1) -> tuple[int, ...]:
        """The number of rows of each chunk in an epoch."""

    def chunks(self, epoch: int = 1, start: int = 0) -> Iterator[Chunk]:
        """The chunks of an epoch from number ``start`` on; the same ones whenever they are asked for."""

    def mapped(self, through: Callable[[np.ndarray], np.ndarray]) -> Source:
        """The same rows, sent through a function, (n, d) → (n, k)."""


class ArraySource:
    """An array in memory: one chunk that stays on the device.

    Parameters
    ----------
    rows : array of shape (n, d)
        Copied to the device as float32, padded to the grid of sizes.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.n_rows, self.n_features = rows.shape
        padded = aligned_zeros((bucket_size(self.n_rows), self.n_features))
        padded[: self.n_rows] = rows
        self._rows = jax.device_put(padded)

    def chunk_sizes(self, epoch: int = 1) -> tuple[int, ...]:
        """One chunk."""
        return (self.n_rows,)

    def chunks(self, epoch: int = 1, start: int = 0) -> Iterator[Chunk]:
        """The same chunk in every epoch."""
        yield Chunk(self._rows, self.n_rows)

    def mapped(self, through: Callable[[np.ndarray], np.ndarray]) -> ArraySource:
        """What the function makes of the rows, at once."""
        return ArraySource(through(np.asarray(self._rows)[: self.n_rows]))


def aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float32, to be filled and put on the device: on a CPU they stay where they are, and must not change then.

    >>> aligned_zeros((3, 2)).tolist(), aligned_zeros((3, 2)).ctypes.data % 64
    ([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], 0)
    """
    jax_config.check_usable()
    n_bytes = 4 * math.prod(shape)
    room = np.zeros(n_bytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + n_bytes].view(np.float32).reshape(shape)


def bucket_size(n: int) -> int:
    """The next size on the grid: powers of two, each octave in eight steps, and whole blocks of evaluation."""
    octave = 1 << max(n - 1, 15).bit_length()
    if octave <= EVAL_BATCH:
        return octave
    step = max(octave // 16, EVAL_BATCH)
    return -(-n // step) * step
