"""Readers of NumPy files, .npy and .npz, without pickles."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.lib.npyio import NpzFile

from ..errors import InvalidData
from .tables import Table

__all__ = ["choose_array", "load_array", "read_array"]


def load_array(file: Path, mmap_mode: Literal["r", "c"] | None = None) -> Any:
    """Load a file with `numpy.load`, without pickles."""
    with _unreadable_as_numbers(file):
        if file.suffix.lower() == ".npz":
            zipfile.ZipFile(file).close()  # NumPy would not close one that it cannot read
        return np.load(file, mmap_mode=mmap_mode, allow_pickle=False)


_UNREADABLE = (
    *(ValueError, TypeError, OSError, EOFError, OverflowError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error),
    RuntimeError,  # for zip files with a password, or of a later version
    MemoryError,  # for a declared size larger than the memory
)


@contextmanager
def _unreadable_as_numbers(file: Path) -> Iterator[None]:
    """Convert errors of reading into `InvalidData`, also when an array of a .npz file is read later."""
    try:
        yield
    except _UNREADABLE as error:
        raise InvalidData(f"{file} cannot be read as a NumPy file of plain numbers: {error}.") from error


def choose_array(arrays: NpzFile, file: Path, key: str | None) -> np.ndarray:
    """Return one array of a .npz file."""
    keys = arrays.files
    if key is None and len(keys) != 1:
        holds = f"several arrays ({', '.join(keys)}). Choose one with --key" if keys else "no array"
        raise InvalidData(f"{file} holds {holds}.")
    if key is not None and key not in keys:
        raise InvalidData(f"{file} has no array named {key}; it has {', '.join(keys)}.")
    with _unreadable_as_numbers(file):
        found: np.ndarray = arrays[key or keys[0]]
        if not isinstance(found, np.ndarray):  # NumPy returns bytes for a file without a header
            raise ValueError(f"{key or keys[0]} is not an array")
    return found


def read_array(file: Path, key: str | None) -> Table:
    """Read a NumPy file as rows of numbers."""
    loaded = load_array(file)
    if isinstance(loaded, NpzFile):
        with loaded as arrays:
            loaded = choose_array(arrays, file, key)
    if loaded.ndim < 2 or loaded.dtype.kind not in "fiub":
        raise InvalidData(
            f"{file} holds an array of shape {loaded.shape} and type {loaded.dtype}; "
            "rows of numbers are needed, (n, d)."
        )
    if not len(loaded):
        raise InvalidData(f"{file} has no rows.")
    rows = loaded.reshape(len(loaded), int(np.prod(loaded.shape[1:])))
    return Table(rows if rows.dtype == np.float32 else rows.astype(np.float64))
