"""Rows that need not fit in memory: block readers, which read blocks of rows in any order.

`open_store` opens a path, a glob, an SQL query, a `pyarrow` dataset, a memory-mapped array, a sparse matrix, or any
iterable of chunks. Sources that can only be read in sequence (CSV, query results, iterables) are copied once to a
temporary file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
from scipy.sparse import csr_array

from ..errors import InvalidData
from .file_options import FileOptions, split_options
from .images import Images
from .parquet import texts_are_texts
from .schema import Schema
from .scratch import as_floats
from .tables import (
    SchemaSpec,
    Table,
    find_schema,
    numeric,
    numeric_columns,
    rows_of,
    select_columns,
    unreadable_as,
)
from .types import RowsLike

__all__ = ["BLOCK_BYTES", "CHUNK_BYTES", "BlockReader", "open_store"]

CHUNK_BYTES = 64 << 20
"""Size of the rows in memory at once, as float32; smaller data is read as a whole."""
BLOCK_BYTES = 1 << 20
"""Size of a block: large enough for efficient reading, small enough for good shuffling."""


class BlockReader(ABC):
    """A source of rows that is read in blocks.

    Attributes
    ----------
    sizes : tuple of int
        The number of rows of each block.
    n_features : int
    names : tuple of str or None
        The names of the columns, if they have names.
    schema : Schema or None
        The schema of the table, if its rows are encoded.
    images : Images or None
        The images that the rows come from, if any.
    where : str
        The name of the source in messages.
    """

    sizes: tuple[int, ...]
    n_features: int
    names: tuple[str, ...] | None = None
    schema: Schema | None = None
    images: Images | None = None
    where: str = "the rows"

    @abstractmethod
    def block(self, i: int) -> np.ndarray:
        """Read block i, (sizes[i], n_features), float32 or float64, without a check of the values."""

    @property
    def n_rows(self) -> int:
        """The total number of rows."""
        return sum(self.sizes)

    @property
    def is_large(self) -> bool:
        """Whether the rows, as float32, are larger than `CHUNK_BYTES`."""
        return 4 * self.n_rows * self.n_features > CHUNK_BYTES

    def read_checked(self, i: int) -> np.ndarray:
        """Read block i, and check that its numbers are finite.

        Raises
        ------
        InvalidData
            If a number is infinite, or too large for a 32-bit float. NaN marks a missing cell.
        """
        rows = self.block(i)
        with np.errstate(over="ignore"):
            single = rows.astype(np.float32, copy=False)
        if not np.isfinite(
            single.sum(dtype=np.float64)
        ):  # one pass in the usual case; a second one only to find the cell
            bad = np.isinf(single)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                name = self.names[column] if self.names else column
                raise InvalidData(
                    f"{self.where}: row {sum(self.sizes[:i]) + row + 1}, column {name} holds {rows[row, column]}, "
                    "which is not a finite 32-bit number. Fill or drop such rows first."
                )
        return rows

    def iter_chunks(self, n_bytes: int = CHUNK_BYTES // 4) -> Iterator[np.ndarray]:
        """Yield all rows in order, checked, several blocks at a time."""
        pieces: list[np.ndarray] = []
        for i in range(len(self.sizes)):
            pieces.append(self.read_checked(i))
            if 4 * self.n_features * sum(map(len, pieces)) >= n_bytes:
                yield np.concatenate(pieces)
                pieces = []
        if pieces:
            yield np.concatenate(pieces)

    def tables(self, n_bytes: int = CHUNK_BYTES // 4, *, whole: bool = False) -> Iterator[Table]:
        """Yield chunks with names and schema; ``whole``: with a schema, also all columns of the source."""
        first = 0
        for rows in self.iter_chunks(n_bytes):
            yield Table(rows, self.names, self.schema, first=first)
            first += len(rows)

    def first_chunk(self) -> Table:
        """Return the first rows, a few megabytes."""
        return next(self.tables(CHUNK_BYTES // 16))

    def table(self) -> Table:
        """Read all rows into memory."""
        return Table(np.concatenate(list(self.iter_chunks())), self.names, self.schema, self.images)

    def free(self) -> None:  # noqa: B027  most readers hold no memory
        """Release the memory that reading a chunk has taken."""


def _block_sizes(n_rows: int, n_features: int) -> tuple[int, ...]:
    length = max(1, BLOCK_BYTES // (4 * n_features))
    full, rest = divmod(n_rows, length)
    return (length,) * full + (rest,) * (rest > 0)


class ArrayReader(BlockReader):
    """Rows of an object that supports slices: a memory-mapped array or a sparse matrix in CSR format."""

    def __init__(self, rows: np.ndarray | csr_array, where: str = "the rows") -> None:
        if rows.ndim < 2 or rows.dtype.kind not in "fiub" or 0 in rows.shape[1:]:
            raise InvalidData(
                f"{where}: the array has shape {rows.shape} and type {rows.dtype}; rows of numbers are needed, (n, d)."
            )
        self._rows, self.where = rows, where
        self.n_features = int(np.prod(rows.shape[1:]))
        self.sizes = _block_sizes(rows.shape[0], self.n_features)

    def block(self, i: int) -> np.ndarray:
        start = i * self.sizes[0]
        rows = self._rows[start : start + self.sizes[i]]
        return as_floats(np.asarray(rows).reshape(len(rows), -1) if isinstance(rows, np.ndarray) else rows.toarray())

    def free(self) -> None:
        # Mapped pages that were read would count as memory of this process.
        mapped = getattr(self._rows, "_mmap", None)
        if mapped is not None and hasattr(mapped, "madvise"):
            import mmap

            mapped.madvise(mmap.MADV_DONTNEED)


class ImageReader(BlockReader):
    """Images, one row each, read from files on demand."""

    def __init__(self, files: Sequence[Path], where: str) -> None:
        self.images, self.where = Images.at(files), where
        self.n_features = int(np.prod(self.images.shape))
        self.sizes = _block_sizes(len(self.images.files), self.n_features)

    def block(self, i: int) -> np.ndarray:
        assert self.images is not None
        start = i * self.sizes[0]
        return self.images.rows(start, start + self.sizes[i])


class ConcatReader(BlockReader):
    """Several readers, one after the other."""

    def __init__(self, stores: Sequence[BlockReader], where: str) -> None:
        for store in stores:
            if store.n_features != stores[0].n_features:
                raise InvalidData(
                    f"{store.where} has {store.n_features} columns, but {stores[0].where} has {stores[0].n_features}."
                )
        self._stores, self.where = stores, where
        self._places = [(store, i) for store in stores for i in range(len(store.sizes))]
        self.sizes = tuple(size for store in stores for size in store.sizes)
        self.n_features = stores[0].n_features

    def block(self, i: int) -> np.ndarray:
        store, place = self._places[i]
        return store.block(place)

    def free(self) -> None:
        for store in self._stores:
            store.free()


class Parquet(BlockReader):
    """Parquet files, whose row groups are the blocks."""

    def __init__(
        self,
        dataset: Any,
        where: str,
        columns: Sequence[str] = (),
        exclude: Sequence[str] = (),
        wanted: SchemaSpec = "auto",
    ) -> None:
        self.where = where
        self._files = dataset.filesystem
        # Files are opened for each block: the metadata of all files can take a hundredth of the size of the data.
        self._groups: list[tuple[str, int]] = []
        sizes: list[int] = []
        orders: set[tuple[str, ...]] = set()
        for path in dataset.files:
            with self._opened(path) as file:
                about = file.metadata
                sizes += [about.row_group(k).num_rows for k in range(about.num_row_groups)]
                self._groups += [(path, k) for k in range(about.num_row_groups)]
                orders.add(tuple(file.schema_arrow.names))
        self.sizes = tuple(sizes)
        names = self._named(dataset.schema, columns, exclude, wanted)
        self._columns = None if orders == {names} else list(names)
        self.names = names if self.schema is None else self.schema.column_of_feature
        self.n_features = len(self.names)

    def _named(
        self, of: pa.Schema, columns: Sequence[str], exclude: Sequence[str], wanted: SchemaSpec
    ) -> tuple[str, ...]:
        """Return the names of the columns to read, and set the schema, which is inferred from all rows."""
        if isinstance(wanted, Schema):
            self.schema = wanted
        else:
            names = select_columns(of, columns, exclude)
            self._columns = list(names)
            self.schema = find_schema(self._all_groups, of, names, wanted)
            if self.schema is None:
                return numeric_columns(of, self.where, columns, exclude)
        return self.schema.names

    def _opened(self, path: str) -> Any:
        return pa.parquet.ParquetFile(self._files.open_input_file(path))

    def _all_groups(self) -> Iterator[pa.Table]:
        return (self._group(i) for i in range(len(self._groups)))

    def _group(self, i: int) -> pa.Table:
        table = self._given(i, self._columns)
        return table if self._columns is None else table.select(self._columns)

    def _given(self, i: int, columns: list[str] | None = None) -> pa.Table:
        path, group = self._groups[i]
        with unreadable_as(path, "Parquet"), self._opened(path) as file:
            return texts_are_texts(file.read_row_group(group, columns=columns, use_threads=False))

    def tables(self, n_bytes: int = CHUNK_BYTES // 4, *, whole: bool = False) -> Iterator[Table]:
        if self.schema is None or not whole:
            yield from super().tables(n_bytes)
            return
        first = 0
        for i, size in enumerate(self.sizes):
            yield replace(rows_of(self._given(i), self.where, wanted=self.schema), first=first)
            first += size

    def table(self) -> Table:
        if self.schema is None:
            return super().table()
        given = pa.concat_tables(self._given(i) for i in range(len(self._groups)))
        return rows_of(given, self.where, wanted=self.schema)

    def block(self, i: int) -> np.ndarray:
        table = self._group(i)
        return numeric(table) if self.schema is None else self.schema.encode(table)

    def free(self) -> None:
        pa.default_memory_pool().release_unused()


class Encoded(BlockReader):
    """A table in memory whose rows are encoded on demand, as encoded rows take more memory."""

    def __init__(self, table: pa.Table, schema: Schema, where: str) -> None:
        self._table, self.schema, self.where = table, schema, where
        self.names, self.n_features = schema.column_of_feature, schema.width
        self.sizes = _block_sizes(table.num_rows, schema.width)

    def _slice(self, i: int) -> pa.Table:
        return self._table.slice(i * self.sizes[0], self.sizes[i])

    def block(self, i: int) -> np.ndarray:
        assert self.schema is not None
        return self.schema.encode(self._slice(i))

    def tables(self, n_bytes: int = CHUNK_BYTES // 4, *, whole: bool = False) -> Iterator[Table]:
        if not whole:
            yield from super().tables(n_bytes)
            return
        first = 0
        for i, size in enumerate(self.sizes):
            yield replace(rows_of(self._slice(i), self.where, wanted=self.schema), first=first)
            first += size

    def table(self) -> Table:
        return rows_of(self._table, self.where, wanted=self.schema)


# -- opening ----------------------------------------------------------------------------------------------------------


def open_store(
    rows: RowsLike,
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    key: str | None = None,
    wanted: SchemaSpec = "auto",
    options: FileOptions | None = None,
    is_fitted: bool = False,
) -> BlockReader | Table | None:
    """Open rows as a block reader, or as a table if they are small; return None if they are an array in memory.

    Parameters
    ----------
    rows : path, glob, query, pyarrow.dataset.Dataset, numpy.memmap, sparse matrix, data frame, or iterable of chunks
        The source of the rows. A data frame of numbers counts as an array. A query is SQL: see
        `diabolo.data.sql.answer`.
    columns, exclude, key, wanted, options
        As in `diabolo.data.readers.read`.
    is_fitted : bool, default=False
        Whether ``columns`` are those of a fitted model; then other columns give a warning, as for a known schema.

    Raises
    ------
    InvalidData
        If there is no such file, or it cannot be read as rows of numbers.
    """
    if isinstance(rows, BlockReader | Table):
        return rows
    from .opening import How, opened  # it imports this module

    wanted, in_schema = split_options(wanted)
    store = opened(rows, How(columns, exclude, key, wanted, in_schema.updated(options or FileOptions()), is_fitted))
    if store is None or isinstance(store, Table):
        return store
    if not store.n_rows:
        raise InvalidData(f"{store.where} has no rows.")
    return store if store.is_large else store.table()
