"""Write files and folders atomically, and never overwrite the files of other programs.

All outputs of diabolo follow the same rule. A new output is written under a hidden name in the same folder, synced, and
renamed. An existing output is replaced only if ``is_ours`` recognises it, for example as a saved model, an ONNX export
or a report. Anything else stays unchanged, and the write raises `NotOurs`. Links are followed.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["SCRATCH", "NotOurs", "check_replaceable", "names_in", "write_file", "write_folder"]

SCRATCH = ".diabolo-"
"""Prefix of the names of incomplete files and folders."""

IsOurs = Callable[[Path], bool]
"""A function that returns whether diabolo wrote everything at a path, so that it may be replaced."""


class NotOurs(FileExistsError):
    """The path exists, and diabolo did not write it or does not recognise it."""


def _nothing(path: Path) -> bool:
    return False


def names_in(folder: Path) -> set[str]:
    """Return the names of all entries of a folder."""
    return {entry.name for entry in folder.iterdir()}


def check_replaceable(path: str | os.PathLike[str], is_ours: IsOurs = _nothing) -> None:
    """Check that a path does not exist, is an empty folder, or may be replaced.

    Raises
    ------
    NotOurs
        If the path exists, is not an empty folder, and ``is_ours`` does not recognise it.
    """
    place = Path(path).resolve()
    is_empty = place.is_dir() and not names_in(place)
    if place.exists() and not is_empty and not is_ours(place):
        raise NotOurs(None, "the path exists and was not written by diabolo", str(path))


@contextmanager
def write_file(
    path: str | os.PathLike[str], is_ours: IsOurs = _nothing, *, is_durable: bool = True
) -> Iterator[BinaryIO]:
    """Open a file for an atomic write: it appears at ``path`` only when complete.

    If the ``with`` block raises an error, nothing is left on disk. With ``is_durable=False`` the file may be lost or
    damaged if the machine loses its power, which takes less time.

    Raises
    ------
    NotOurs
        As `check_replaceable`, before the write and again at the end.
    OSError
        If the file cannot be written.
    """
    check_replaceable(path, is_ours)
    place = Path(path).resolve()
    scratch = _beside(place)
    try:
        with scratch.open("xb") as stream:
            yield stream
            if is_durable:
                stream.flush()
                os.fsync(stream.fileno())
        check_replaceable(path, is_ours)
        scratch.replace(place)
    except BaseException:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise
    if is_durable:
        _sync(place.parent)


@contextmanager
def write_folder(path: str | os.PathLike[str], is_ours: IsOurs = _nothing) -> Iterator[Path]:
    """Create a folder atomically: it appears at ``path`` only when all its files are complete.

    If the ``with`` block raises an error, nothing is left on disk. An existing folder is moved away before it is
    replaced, and moved back if the new folder cannot take its place.

    Raises
    ------
    NotOurs
        As `check_replaceable`, before the write and again at the end.
    OSError
        If the folder cannot be written.
    """
    check_replaceable(path, is_ours)
    place = Path(path).resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = _beside(place)
    new, old = scratch / "new", scratch / "old"
    try:
        new.mkdir(parents=True)
        yield new
        for file in new.rglob("*"):
            if file.is_file():
                _sync(file)
        check_replaceable(path, is_ours)
        if place.exists():
            place.rename(old)
        try:
            new.rename(place)
        except BaseException:
            if old.exists():
                old.rename(place)
            raise
        _sync(place.parent)
    finally:
        if place.exists() or not old.exists():  # otherwise the older folder is in scratch: do not delete it
            shutil.rmtree(scratch, ignore_errors=True)


def _beside(place: Path) -> Path:
    return place.with_name(f"{SCRATCH}{secrets.token_hex(6)}.part")


def _sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to the disk, if the file system supports it."""
    with suppress(OSError):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
