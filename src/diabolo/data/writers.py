"""Writers of rows: in chunks, so that rows need not fit in memory, and atomically: the whole output or nothing."""

from __future__ import annotations

import csv
import io
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from .. import outputs
from ..errors import InvalidData
from .cells import as_json, is_nested, storable, unpacked
from .readers import Images, Table, numeric, numeric_columns
from .types import Frame

__all__ = ["PAGE_MARK", "Writer", "check_output", "is_page", "open_sink", "write", "write_page"]


class Writer(ABC):
    """An open output; call `close` after the last rows."""

    @abstractmethod
    def add(self, rows: Table | pa.Table) -> None:
        """Write the next rows, which have the same columns."""

    def close(self) -> None:  # noqa: B027  most writers need no action
        """Complete the output."""


class _Csv(Writer):
    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._is_begun = stream, False

    def add(self, rows: Table | pa.Table) -> None:
        table = rows if isinstance(rows, pa.Table) else rows.as_arrow()
        if not self._is_begun:
            head = io.StringIO()
            csv.writer(head, lineterminator="\n").writerow(table.column_names)  # Arrow would quote every name
            self._stream.write(head.getvalue().encode())
            self._is_begun = True
        pa.csv.write_csv(_of_plain_cells(table), self._stream, pa.csv.WriteOptions(include_header=False))


def _of_plain_cells(table: pa.Table) -> pa.Table:
    """Convert cells that a CSV file cannot hold into texts: lists and objects into JSON, bytes into hexadecimals."""
    for i, name in enumerate(table.column_names):
        cells = unpacked(table.column(i))
        if is_nested(cells.type):
            cells = as_json(cells)
        elif pa.types.is_duration(cells.type):
            cells = pa.chunked_array([[None if cell is None else str(cell) for cell in cells.to_pylist()]], pa.string())
        elif pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type):
            cells = pa.chunked_array(
                [[None if cell is None else cell.hex() for cell in cells.to_pylist()]], pa.string()
            )
        table = table.set_column(i, name, cells)
    return table


def _told(cells: pa.ChunkedArray, say: Callable[[object], str]) -> pa.ChunkedArray:
    return pa.chunked_array([[None if cell is None else say(cell) for cell in cells.to_pylist()]], pa.string())


class _Parquet(Writer):
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writer: Any = None

    def add(self, rows: Table | pa.Table) -> None:
        table = storable(rows) if isinstance(rows, pa.Table) else rows.as_arrow()
        if self._writer is None:
            self._writer = pa.parquet.ParquetWriter(self._stream, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Array(Writer):
    """A .npy file, whose header has room for the number of rows, which `close` writes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._n = stream, 0
        self._like = np.empty((0, 0))

    def add(self, rows: Table | pa.Table) -> None:
        if isinstance(rows, pa.Table):
            numeric_columns(rows.schema, "A .npy file")
        array = numeric(rows) if isinstance(rows, pa.Table) else rows.rows
        if not self._n:
            self._like = array[:0]
            self._head()
        self._stream.write(np.ascontiguousarray(array, self._like.dtype).data)
        self._n += len(array)

    def close(self) -> None:
        self._stream.seek(0)
        self._head()

    def _head(self) -> None:
        about = np.lib.format.header_data_from_array_1_0(self._like)
        about["shape"] = (self._n, *self._like.shape[1:])
        np.lib.format.write_array_header_1_0(self._stream, about)


class _Pictures(Writer):
    """A folder with one image for each row, with the names, including folders, of the images that were read."""

    def __init__(self, folder: Path, images: Images) -> None:
        self._folder, self._names, self._shape = folder, iter(images.names), images.shape

    def add(self, rows: Table | pa.Table) -> None:
        from PIL import Image

        assert isinstance(rows, Table)
        for row in rows.rows:
            pixels = np.rint(255 * np.clip(row, 0, 1)).astype(np.uint8).reshape(self._shape)
            where = self._folder / next(self._names)
            where.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(where)


PAGE_MARK = '<meta name="generator" content="diabolo">'
_HEAD_BYTES = 1024
_LONGEST_NAME = 255
"""The longest file name that file systems accept, in bytes."""
_SINKS: dict[str, Callable[[BinaryIO], Writer]] = {".csv": _Csv, ".parquet": _Parquet, ".npy": _Array}


def check_output(where: str | None, *, images: bool = False, force: bool = False, inputs: Sequence[Path] = ()) -> None:
    """Check, before any work, that an output can be written.

    Parameters
    ----------
    where : path, "-" or None
    images : bool, default=False
        Whether the rows are images, so that the output may be a folder.
    force : bool, default=False
        Whether an existing file may be replaced. A folder never is.
    inputs : sequence of Path, default=()
        The files that the rows are read from, which are never replaced.

    Raises
    ------
    InvalidData
        If the output's kind is unknown, its folder does not exist, or it exists and may not be replaced.
    """
    if where is None or where == "-":
        return
    path = Path(where)
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise InvalidData(f"{where[:100]}… is too long for a file name. Choose a shorter one.")
    if images and not path.suffix:
        if path.exists():
            raise InvalidData(f"{where} exists already. Choose another name: --force replaces files, not folders.")
    elif path.is_dir():
        raise InvalidData(f"{where} is a folder. Choose the name of a file.")
    elif path.exists() and not force:
        raise InvalidData(f"{where} exists already. Choose another name, or replace it with --force.")
    elif path.exists() and not _is_replaceable(path, inputs):
        raise InvalidData(f"{where} is a file that DATA is read from, or no regular file. Choose another name.")
    elif path.suffix.lower() not in _SINKS:
        folder = ", or be a folder if both input and output are images" if not path.suffix else ""
        raise InvalidData(f"{where}: the output's name must end in {', '.join(_SINKS)}{folder}.")
    if not path.parent.is_dir():
        raise InvalidData(f"{where}: there is no folder {path.parent}. Make it first.")


def _is_replaceable(path: Path, inputs: Sequence[Path]) -> bool:
    """Return whether ``--force`` may replace a path: a regular file that is none of the inputs, by another name too."""
    return path.is_file() and not any(file.exists() and path.samefile(file) for file in inputs)


@contextmanager
def open_sink(
    where: str | None, images: Images | None = None, *, force: bool = False, inputs: Sequence[Path] = ()
) -> Iterator[Writer]:
    """Open an output for rows: .csv, .parquet, .npy, a folder of images; for None or "-" standard output, as CSV.

    The output has its name only once it holds all rows; until then, a file that is replaced stays as it was.

    Parameters
    ----------
    where : path, "-" or None
    images : Images or None
        The images that the rows come from, whose names the written images get.
    force, inputs
        As in `check_output`.

    Raises
    ------
    InvalidData
        As `check_output`; or if the output cannot be written completely.
    """
    check_output(where, images=images is not None, force=force, inputs=inputs)
    if where is None or where == "-":
        yield from _to_standard_output()
        return
    path = Path(where)
    try:
        if images is not None and not path.suffix:
            with outputs.write_folder(path) as folder:
                yield _Pictures(folder, images)
        else:
            with outputs.write_file(path, lambda old: force and _is_replaceable(old, inputs)) as stream:
                yield from _filled(_SINKS[path.suffix.lower()](stream))
    except OSError as error:
        raise InvalidData(f"{where} cannot be written: {error.strerror or error}.") from error


def _filled(sink: Writer) -> Iterator[Writer]:
    try:
        yield sink
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            sink.close()
        raise
    sink.close()


def _to_standard_output() -> Iterator[Writer]:
    try:
        yield _Csv(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader, for example `head`, has stopped; avoid the flush at exit too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InvalidData(f"Standard output cannot be written: {error.strerror or error}.") from error


def write(where: str | None, rows: Frame, images: Images | None = None, *, force: bool = False) -> None:
    """Write all rows at once: see `open_sink`."""
    with open_sink(where, images, force=force) as sink:
        sink.add(rows)


def write_page(where: str | os.PathLike[str], text: str) -> None:
    """Write an HTML page that has `PAGE_MARK` in its head, atomically; an older page of this kind is replaced.

    Raises
    ------
    InvalidData
        If the folder does not exist, the page cannot be written, or another kind of file exists there.
    """
    try:
        with outputs.write_file(where, is_page) as stream:
            stream.write(text.encode())
    except outputs.NotOurs as error:
        raise InvalidData(
            f"{where} exists already and was not written by diabolo, so it is not overwritten. Choose another name."
        ) from error
    except OSError as error:
        raise InvalidData(f"{where} cannot be written: {error.strerror or error}.") from error


def is_page(path: Path) -> bool:
    """Return whether a file is an HTML page that diabolo wrote, by the mark in its head."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return PAGE_MARK.encode() in stream.read(_HEAD_BYTES)
