"""Open any accepted form of rows as a block reader, or as a table in memory."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from scipy.sparse import issparse

from ..errors import DiaboloError, InvalidData, UnseenColumnsWarning
from . import blocks, readers, sql
from .arrays import load_array
from .blocks import ArrayReader, BlockReader, ConcatReader, Encoded, ImageReader, Parquet
from .cells import storable
from .file_options import FileOptions
from .frames import is_readable, to_arrow
from .order import any_may_mislead
from .readers import files_in, kind_of, suffix_of
from .schema import Schema
from .scratch import NO_ROOM, copy_chunks, scratch_folder
from .sniffing import COMPRESSED
from .tables import (
    SchemaSpec,
    Table,
    check_unique_names,
    find_schema,
    index_columns,
    numeric,
    numeric_columns,
    select_columns,
    unreadable_as,
    wants_schema,
)
from .text import open_text

__all__ = ["How", "opened"]

_MOST_PACKED = 8
"""Factor by which compressed text files grow, about."""


@dataclass(frozen=True)
class How:
    """The options of reading rows: see `diabolo.data.blocks.open_store`."""

    columns: Sequence[str]
    exclude: Sequence[str]
    key: str | None
    wanted: SchemaSpec
    options: FileOptions
    is_fitted: bool = False

    def warn_unseen(self, names: Sequence[str]) -> None:
        """Warn if a table has columns that the table of the fit, if any, did not have."""
        known = {column.name for column in self.wanted.columns} if isinstance(self.wanted, Schema) else None
        if known is None and self.is_fitted and self.columns:
            known = set(self.columns)
        if known is not None and (unseen := tuple(name for name in names if name and name not in known)):
            shown = ", ".join(unseen[:8]) + (", …" if len(unseen) > 8 else "")
            many = "column is" if len(unseen) == 1 else "columns are"
            message = f"{len(unseen)} {many} not used by this model: {shown}."
            warnings.warn(UnseenColumnsWarning(message, unseen), stacklevel=2)


def opened(rows: Any, how: How) -> BlockReader | Table | None:
    """Open rows of any accepted form; return None if they are an array."""
    if isinstance(rows, str | os.PathLike):
        where = os.fspath(rows)
        return _from_standard_input(how) if where == "-" else _opened_path(where, how)
    if isinstance(rows, pa.dataset.Dataset):
        return _dataset(rows, "the data set", how)
    if how.wanted is not None and (table := to_arrow(rows)) is not None:
        schema = _schema_of(table, "The table", how)
        return None if schema is None and is_readable(rows) else _of_schema(table, schema, "The table", how)
    if isinstance(rows, np.memmap) or issparse(rows):
        is_file = isinstance(rows, np.memmap)
        return (
            ArrayReader(rows, str(rows.filename or "an array"))
            if is_file
            else ArrayReader(rows.tocsr(), "the sparse matrix")
        )
    is_stream = hasattr(rows, "__iter__") and not hasattr(rows, "__array__") and not hasattr(rows, "__len__")
    is_stream |= isinstance(rows, list | tuple) and len(rows) > 0 and all(isinstance(r, np.ndarray) for r in rows)
    if is_stream and (not isinstance(rows, list | tuple) or rows[0].ndim > 1):
        return _spooled((np.asarray(chunk) for chunk in rows), "the iterable")
    return None


def _in_memory(table: pa.Table, where: str, how: How) -> BlockReader | Table:
    """Return a table's rows, encoded in blocks if they have a schema."""
    return _of_schema(table, _schema_of(table, where, how), where, how)


def _schema_of(table: pa.Table, where: str, how: How) -> Schema | None:
    if not table.num_rows:
        raise InvalidData(f"{where} has no rows.")
    if isinstance(how.wanted, Schema):
        return how.wanted
    names = select_columns(table.schema, how.columns, how.exclude)
    return find_schema(lambda: [table.select(list(names))], table.schema, names, how.wanted)


def _of_schema(table: pa.Table, schema: Schema | None, where: str, how: How) -> BlockReader | Table:
    how.warn_unseen(_without_index(table.schema))
    if schema is not None:
        return Encoded(table, schema, where)
    names = numeric_columns(table.schema, where, how.columns, how.exclude)
    return Table(numeric(table.select(list(names))), names)


def _from_standard_input(how: How) -> BlockReader | Table:
    """Open a temporary copy of standard input, whose first bytes show the kind of file."""
    with scratch_folder() as folder:
        copy = folder / "standard input"
        with copy.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        with copy.open("rb") as stream:
            start = stream.read(4096)
        if not start:
            raise InvalidData("Standard input is empty.")
        found = _opened_path(str(copy.rename(copy.with_suffix(suffix_of(start)))), how)
        if isinstance(found, BlockReader):
            weakref.finalize(found, shutil.rmtree, folder, True)
        else:
            shutil.rmtree(folder, True)
        return found


def _opened_path(where: str, how: How) -> BlockReader | Table:
    if sql.is_query(where):
        return _from_batches(sql.answer(where), "the query", how)
    files = files_in(where)
    kinds = {kind_of(file) for file in files}
    size = sum(file.stat().st_size for file in files)
    if len(kinds) == 1 and (open_kind := _OPENERS.get(next(iter(kinds)))) is not None:
        return open_kind(files, where, how, size)
    table = readers.read_arrow(files, how.wanted) if len(kinds) == 1 else None
    if table is None:
        return readers.read(where, how.columns, how.exclude, how.key, how.wanted)
    return _in_memory(table, where, how)


def _arrays(files: Sequence[Path], where: str, how: How, size: int) -> BlockReader | Table:
    if how.columns or how.exclude or size <= blocks.CHUNK_BYTES // 2:
        return readers.read(where, how.columns, how.exclude)
    mapped = [ArrayReader(load_array(file, mmap_mode="r"), str(file)) for file in files]
    return mapped[0] if len(mapped) == 1 else ConcatReader(mapped, where)


def _images(files: Sequence[Path], where: str, how: How, size: int) -> BlockReader | Table:
    if how.columns or how.exclude:
        return readers.read(where, how.columns, how.exclude)
    return ImageReader(files, where)


def _parquet(files: Sequence[Path], where: str, how: How, size: int) -> BlockReader | Table:
    with unreadable_as(where, "Parquet"):
        for file in files:
            check_unique_names(pa.parquet.read_schema(file).names, str(file))
        dataset = pa.dataset.dataset([str(file) for file in files], format="parquet")
        # Not `count_rows`, which keeps the metadata of all files in memory.
        n_rows = sum(pa.parquet.read_metadata(file).num_rows for file in files)
    if 4 * n_rows * len(dataset.schema.names) > blocks.CHUNK_BYTES:
        return _dataset(dataset, where, how)
    table = readers.read_arrow(files, how.wanted)
    assert table is not None
    return _in_memory(table, where, how)


def _text(files: Sequence[Path], where: str, how: How, size: int) -> BlockReader | Table:
    tables = open_text(files, how.columns, how.exclude, how.wanted, how.options)
    packed = _MOST_PACKED if any(file.suffix.lower() in COMPRESSED for file in files) else 1
    if size * packed > blocks.CHUNK_BYTES:
        return _from_batches(tables.batches(), where, how)
    return _in_memory(tables.table(), where, how)


_OPENERS: dict[str, Callable[[Sequence[Path], str, How, int], BlockReader | Table]] = {
    ".csv": _text,
    ".npy": _arrays,
    ".parquet": _parquet,
    "images": _images,
}
"""The openers of the kinds of files that can be read in parts."""


def _without_index(of: pa.Schema) -> list[str]:
    left_out = index_columns(of)
    return [name for name in of.names if name not in left_out]


def _dataset(dataset: Any, where: str, how: How) -> BlockReader:
    how.warn_unseen(_without_index(dataset.schema))
    is_files = isinstance(dataset, pa.dataset.FileSystemDataset) and bool(dataset.files)
    if is_files and isinstance(dataset.format, pa.dataset.ParquetFileFormat) and _holds_all_columns(dataset):
        store = Parquet(dataset, where, how.columns, how.exclude, how.wanted)
        if 4 * store.n_features * max(store.sizes, default=0) <= blocks.CHUNK_BYTES:
            return store
    is_known = isinstance(how.wanted, Schema)
    names = list(dataset.schema.names if is_known else select_columns(dataset.schema, how.columns, how.exclude))
    batches = _batches_of(dataset, names, where)
    return _from_batches(batches, where, replace(how, columns=names, exclude=()), is_counted=True)


def _batches_of(dataset: Any, names: list[str], where: str) -> Iterator[pa.RecordBatch]:
    with unreadable_as(where, "a data set"):
        yield from dataset.to_batches(
            columns=names, batch_size=max(1, blocks.BLOCK_BYTES // max(1, len(names))), fragment_readahead=1
        )


def _from_batches(batches: Iterable[pa.RecordBatch], where: str, how: How, *, is_counted: bool = False) -> BlockReader:
    """Copy Arrow batches, which can be read only once, to a temporary file, and return a reader of it."""
    given = iter(batches)
    first = next(given, None)
    if first is None:
        raise InvalidData(f"{where} has no rows.")
    of = first.schema
    check_unique_names(of.names, where)
    if not is_counted:
        how.warn_unseen(_without_index(of))
    tables = (storable(pa.Table.from_batches([batch])) for batch in chain([first], given) if batch.num_rows)
    if isinstance(how.wanted, Schema):
        return _typed_copy(tables, where, how.wanted)
    names = select_columns(of, how.columns, how.exclude)
    overrides = wants_schema(of, names, how.wanted)
    if overrides is None and (
        how.wanted != "auto" or not any_may_mislead(pa.Table.from_batches([first]).select(list(names)))
    ):
        names = numeric_columns(of, where, how.columns, how.exclude)
        spooled = _spooled((numeric(table.select(list(names))) for table in tables), where)
        spooled.names = names
        return spooled
    return _typed_copy((table.select(list(names)) for table in tables), where, how.wanted)


def _typed_copy(tables: Iterable[pa.Table], where: str, wanted: SchemaSpec) -> BlockReader:
    """Copy tables to a temporary Parquet file, and return a reader that infers its schema."""
    with scratch_folder() as folder:
        copy, writer = folder / "rows.parquet", None
        try:
            for table in tables:
                writer = writer or pa.parquet.ParquetWriter(copy, table.schema)
                writer.write_table(table, max(1, blocks.BLOCK_BYTES // (4 * table.num_columns)))
        except OSError as error:
            raise InvalidData(NO_ROOM.format(where=where, folder=folder, error=error)) from error
        except DiaboloError:
            raise
        except ValueError as error:  # from Arrow, if a table has other types than the first
            raise InvalidData(f"{where} has columns whose types change between batches: {error}.") from error
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise InvalidData(f"{where} has no rows.")
        store = Parquet(pa.dataset.dataset([str(copy)], format="parquet"), where, wanted=wanted)
        weakref.finalize(store, shutil.rmtree, folder, True)
        return store


def _holds_all_columns(dataset: Any) -> bool:
    """Return whether the files hold all columns; Arrow adds columns that only the paths of files hold."""
    with dataset.filesystem.open_input_file(dataset.files[0]) as file:
        return set(dataset.schema.names) <= set(pa.parquet.read_schema(file).names)


def _spooled(chunks: Iterable[np.ndarray], where: str) -> BlockReader:
    """Copy chunks, which can be read only once, to a temporary file, and return a reader of it."""
    with scratch_folder() as folder:
        store = ArrayReader(copy_chunks(chunks, folder / "rows", where), where)
        weakref.finalize(store, shutil.rmtree, folder, True)
        return store
