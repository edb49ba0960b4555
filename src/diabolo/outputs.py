"""Write files and folders whole or not at all, and never over what something else wrote.

One rule holds for all that diabolo writes. An output that is not there yet is made under a hidden name beside its
place, synced, and renamed. An output that is there is replaced only if ``is_ours`` recognises it, as it does a saved
model, an ONNX export or a report's page; anything else is left alone and refused. A link is followed.
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
"""How names begin of files and folders that are not whole yet."""

IsOurs = Callable[[Path], bool]
"""Whether diabolo wrote what is at a path, all of it, so that it may be replaced."""


class NotOurs(FileExistsError):
    """Something is there that diabolo did not write, or does not recognise."""


def _nothing(path: Path) -> bool:
    return False


def names_in(folder: Path) -> set[str]:
    """The names of all that a folder holds."""
    return {entry.name for entry in folder.iterdir()}


def check_replaceable(path: str | os.PathLike[str], is_ours: IsOurs = _nothing) -> None:
    """Refuse a place where something is that may not be replaced.

    Raises
    ------
    NotOurs
        If something is there, other than an empty folder, that ``is_ours`` does not recognise.
    """
    place = Path(path).resolve()
    is_empty = place.is_dir() and not names_in(place)
    if place.exists() and not is_empty and not is_ours(place):
        raise NotOurs(None, "something is there that diabolo did not write", str(path))


@contextmanager
def write_file(path: str | os.PathLike[str], is_ours: IsOurs = _nothing) -> Iterator[BinaryIO]:
    """Open a file for writing that is at ``path`` only once it is whole; without a trace, if anything is raised before.

    Raises
    ------
    NotOurs
        As `check_replaceable`, before anything is written and again at the end.
    OSError
        If it cannot be written.
    """
    check_replaceable(path, is_ours)
    place = Path(path).resolve()
    scratch = _beside(place)
    try:
        with scratch.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        check_replaceable(path, is_ours)
        scratch.replace(place)
    except BaseException:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise
    _sync(place.parent)


@contextmanager
def write_folder(path: str | os.PathLike[str], is_ours: IsOurs = _nothing) -> Iterator[Path]:
    """Make a folder that is at ``path`` only once all in it is; without a trace, if anything is raised before.

    What it replaces is put aside first, and back if the new one cannot take its place.

    Raises
    ------
    NotOurs
        As `check_replaceable`, before anything is written and again at the end.
    OSError
        If it cannot be written.
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
        if place.exists() or not old.exists():  # else the older one could not be put back, and stays where it is
            shutil.rmtree(scratch, ignore_errors=True)


def _beside(place: Path) -> Path:
    return place.with_name(f"{SCRATCH}{secrets.token_hex(6)}.part")


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk, where the file system can."""
    with suppress(OSError):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
