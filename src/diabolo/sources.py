"""Rows on their way to the device: chunks, padded to few sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Array, Float

__all__ = ["BLOCK", "Chunk", "Resident", "Source", "grid_size"]

BLOCK = 2048
"""Rows that are judged at once."""


class Chunk(NamedTuple):
    """Rows on the device, of which the first ``n_rows`` count."""

    rows: Float[Array, "padded d"]
    n_rows: int


class Source(Protocol):
    """Anything that can be read in chunks, again and again."""

    @property
    def n_features(self) -> int:
        """The number of columns."""

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """The number of rows of each chunk."""

    def chunks(self) -> Iterator[Chunk]:
        """The chunks, in a fixed order."""


class Resident:
    """An array in memory: one chunk that stays on the device.

    Parameters
    ----------
    rows : array of shape (n, d)
        Copied to the device as float32, padded to the grid of sizes.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._n_rows, self.n_features = rows.shape
        padded = np.zeros((grid_size(self._n_rows), self.n_features), np.float32)
        padded[: self._n_rows] = rows
        self._rows = jax.device_put(padded)

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        return (self._n_rows,)

    def chunks(self) -> Iterator[Chunk]:
        yield Chunk(self._rows, self._n_rows)


def grid_size(n: int) -> int:
    """The next size on the grid: powers of two, each octave in eight steps, and whole blocks of evaluation."""
    octave = 1 << max(n - 1, 15).bit_length()
    if octave <= BLOCK:
        return octave
    step = max(octave // 16, BLOCK)
    return -(-n // step) * step
