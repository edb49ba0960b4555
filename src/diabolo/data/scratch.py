"""Temporary copies of rows that can be read only once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InvalidData

__all__ = ["NO_ROOM", "as_floats", "copy_chunks", "scratch_folder"]

NO_ROOM = "{where}: a temporary copy cannot be written to {folder}: {error}. Set TMPDIR to a folder with more space."


def as_floats(rows: np.ndarray) -> np.ndarray:
    """Convert to float32 if it holds every value of the type, else to float64."""
    small = rows.dtype.kind in "iub" and rows.dtype.itemsize <= 2
    return rows.astype(np.float32 if small or rows.dtype in (np.float16, np.float32) else np.float64)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder, and remove it if an error is raised."""
    folder = Path(tempfile.mkdtemp(prefix="diabolo-rows-"))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def copy_chunks(chunks: Iterable[np.ndarray], file: Path, where: str) -> np.ndarray:
    """Write chunks to a file, one after the other, and return it as a memory-mapped array."""
    width, kind, n_rows = 0, np.dtype(np.float32), 0
    try:
        with file.open("wb") as stream:
            for number, chunk in enumerate(chunks, start=1):
                if (
                    chunk.ndim != 2
                    or chunk.dtype.kind not in "fiub"
                    or not chunk.shape[1]
                    or (n_rows and chunk.shape[1] != width)
                ):
                    wanted = f"(n, {width})" if n_rows else "(n, d)"
                    raise InvalidData(
                        f"{where}: chunk {number} has shape {chunk.shape} and type {chunk.dtype}; "
                        f"rows of numbers are needed, {wanted}."
                    )
                wanted_kind = as_floats(chunk[:1]).dtype
                if n_rows and wanted_kind.itemsize > kind.itemsize:
                    _widen(stream, file, kind, wanted_kind)
                kind = wanted_kind if not n_rows else max(kind, wanted_kind)
                width = chunk.shape[1]
                n_rows += len(chunk)
                np.ascontiguousarray(chunk, kind).tofile(stream)
    except OSError as error:
        raise InvalidData(NO_ROOM.format(where=where, folder=file.parent, error=error)) from error
    if not n_rows:
        raise InvalidData(f"{where} has no rows.")
    return np.memmap(file, kind, "r", shape=(n_rows, width))


def _widen(stream: BinaryIO, file: Path, kind: np.dtype, wider: np.dtype) -> None:
    """Rewrite a file's numbers in a wider type."""
    stream.flush()
    narrow = file.with_suffix(".narrow")
    shutil.copyfile(file, narrow)
    before = np.memmap(narrow, kind, "r")
    stream.seek(0)
    for start in range(0, len(before), 1 << 20):
        before[start : start + (1 << 20)].astype(wider).tofile(stream)
    narrow.unlink()
