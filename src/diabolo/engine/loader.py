"""Loading of rows from a block reader: shuffled, scaled, and prefetched by a thread while the device computes.

In each epoch the reader's blocks are shuffled and grouped into chunks of nearly equal size; the training loop then
shuffles the rows of a chunk. The blocks of a chunk depend on (seed, epoch) only, so that a resumed run gives the same
bits.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

from ..data.blocks import CHUNK_BYTES, BlockReader
from .batches import Chunk, aligned_zeros, bucket_size
from .sharding import current

__all__ = ["ShuffledLoader", "ValidationSplit", "n_held_out_of", "prefetch"]

T = TypeVar("T")
Mapping = Callable[[np.ndarray], np.ndarray]


def n_held_out_of(n_rows: int, fraction: float) -> int:
    """Return the number of validation rows for a fraction: at least one unless the fraction is 0, and never all."""
    return min(max(1, round(n_rows * fraction)), n_rows - 1) if fraction else 0


class ValidationSplit:
    """The rows of a reader that are held out for validation: a fixed fraction, limited by memory.

    Parameters
    ----------
    store : BlockReader
    fraction : float
    seed : int
    """

    def __init__(self, store: BlockReader, fraction: float, seed: int) -> None:
        n_rows = store.n_rows
        room = max(1024, CHUNK_BYTES // (16 * store.n_features))
        n_held_out = min(n_held_out_of(n_rows, fraction), room)
        chosen = np.sort(np.random.default_rng([seed, 2]).choice(n_rows, n_held_out, replace=False, shuffle=False))
        ends = np.cumsum(store.sizes)
        starts = ends - store.sizes
        bounds = np.searchsorted(chosen, [0, *ends])
        self._within = [chosen[a:b] - start for a, b, start in zip(bounds, bounds[1:], starts, strict=False)]
        self.n_rows = n_held_out

    def count(self, i: int) -> int:
        """Return the number of held-out rows of block i."""
        return len(self._within[i])

    def split(self, i: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split the rows of block i into training rows and held-out rows."""
        here = self._within[i]
        # Indexing copies, also for no rows: a view would keep the block in memory as long as the held-out rows.
        return (np.delete(rows, here, axis=0) if len(here) else rows), rows[here]


class ShuffledLoader:
    """A source of many chunks, read from a block reader.

    Parameters
    ----------
    store : BlockReader
    held_out : ValidationSplit
        The held-out rows, which are excluded.
    seed : int
    through : function or None
        A map applied to rows, (n, d) → (n, k): the scaling, or the layers below a layer that is pre-trained.
    """

    weights: np.ndarray | None = None

    def __init__(
        self, store: BlockReader, held_out: ValidationSplit, seed: int, through: Mapping | None = None
    ) -> None:
        self._store, self._held_out, self._seed, self._through = store, held_out, seed, through
        self.n_features = store.n_features
        if through is not None:
            self.n_features = through(np.zeros((1, store.n_features), np.float32)).shape[1]
        self._sizes = np.array([size - held_out.count(i) for i, size in enumerate(store.sizes)])
        self.n_rows = int(self._sizes.sum())
        self.n_chunks = -(-self.n_rows * store.n_features * 4 // CHUNK_BYTES)
        self._part, n_parts = current().share
        self._share = -(-bucket_size(-(-self.n_rows // self.n_chunks) + int(self._sizes.max())) // n_parts)
        self._room = self._share * n_parts

    @property
    def n_given(self) -> int:
        """Number of rows, including held-out rows."""
        return self._store.n_rows

    @property
    def chunk_bytes(self) -> int:
        """Size of a chunk on the device, in bytes."""
        return 4 * self._room * self.n_features

    def mapped(self, through: Mapping) -> ShuffledLoader:
        """Return a loader of the same rows, mapped by one more function."""
        before = self._through
        both = through if before is None else lambda rows: through(before(rows))
        return ShuffledLoader(self._store, self._held_out, self._seed, both)

    def iter_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield every block in the reader's order: all rows, training rows, held-out rows."""
        for i in range(len(self._store.sizes)):
            rows = self._store.read_checked(i)
            yield rows, *self._held_out.split(i, rows)
            self._store.free()

    def _dealt(self, epoch: int) -> list[np.ndarray]:
        """Return the blocks of each chunk; a chunk ends where the rows so far exceed an equal share."""
        order = np.random.default_rng([self._seed, 5, epoch]).permutation(len(self._sizes))
        before = np.cumsum(self._sizes[order]) - self._sizes[order]
        chunk = before * self.n_chunks // self.n_rows
        return [blocks for k in range(self.n_chunks) if len(blocks := order[chunk == k])]

    def chunk_sizes(self, epoch: int = 1) -> tuple[int, ...]:
        """Return the number of rows of each chunk in an epoch."""
        return tuple(int(self._sizes[blocks].sum()) for blocks in self._dealt(epoch))

    def chunks(self, epoch: int = 1, start: int = 0) -> Iterator[Chunk]:
        """Yield the chunks of an epoch from number ``start`` on, and prefetch the next chunk."""
        return prefetch(self._filled(blocks) for blocks in self._dealt(epoch)[start:])

    def _filled(self, blocks: np.ndarray) -> Chunk:
        """Return a chunk, or the part of it that this process reads."""
        low, high = self._part * self._share, (self._part + 1) * self._share
        rows, ends = aligned_zeros((self._share, self.n_features)), np.cumsum(self._sizes[blocks])
        for i, end in zip(blocks, ends, strict=True):
            start = end - self._sizes[i]
            first, last = max(start, low), min(end, high)
            if first < last:
                new = self._held_out.split(i, self._store.read_checked(i))[0][first - start : last - start]
                rows[first - low : last - low] = new if self._through is None else self._through(new)
        self._store.free()
        return Chunk(rows if self._share < self._room else jax.device_put(rows), int(ends[-1]))


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, computed by a thread one ahead; an error is raised in place of its item."""
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=1)
    is_wanted, end = threading.Event(), object()
    is_wanted.set()

    def offer(item: Any, error: BaseException | None = None) -> None:
        while is_wanted.is_set():
            try:
                ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                offer(item)
                if not is_wanted.is_set():
                    return
            offer(end)
        except BaseException as error:
            offer(None, error)

    threading.Thread(target=work, daemon=True, name="diabolo-reader").start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        is_wanted.clear()
