"""Checkpoints: states of a training in a folder, written atomically, verified when read, by one process at a time.

FOLDER/
  lock                          locked by the process that trains
  training-00000007.checkpoint  the newest two states of each stage; a stage is one call of `train`

A checkpoint is one file: a line with the hash of the rest, a line of JSON, and the arrays as safetensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import jax
import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import PyTree
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from .. import outputs
from ..data.types import Json
from ..errors import CheckpointError, DamagedCheckpointWarning
from .trainer import TrainState

__all__ = ["Checkpoints", "remove"]

_SUFFIX, _LOCK = ".checkpoint", "lock"
_NAMED = re.compile(rf".+-\d{{8,}}{re.escape(_SUFFIX)}")
_KEPT = 2


def remove(folder: str | os.PathLike[str]) -> None:
    """Delete the checkpoints in a folder, and the folder if it is then empty. Other files are left in place."""
    place = Path(folder)
    if place.is_symlink() or not place.is_dir():
        return
    for file in place.iterdir():
        is_lock = file.name == _LOCK and file.is_file() and not file.stat().st_size
        if is_lock or _NAMED.fullmatch(file.name) or file.name.startswith(outputs.SCRATCH):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the folder holds other files
        place.rmdir()


class Checkpoints:
    """A folder of checkpoints.

    Parameters
    ----------
    folder : path
        The folder; created if it does not exist.
    every : float
        Minimum time between two checkpoints, in seconds.
    resume : bool
        Whether to resume from the checkpoints in the folder. False: existing checkpoints are an error.
    writes : bool
        Whether this process writes checkpoints. False for all but one of the processes that train together.

    Raises
    ------
    CheckpointError
        On entering the context: if another process trains into the folder, the folder cannot be written, or it holds
        checkpoints and ``resume`` is False.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, every: float = 30.0, resume: bool = False, writes: bool = True
    ) -> None:
        self.folder, self.every, self.resume, self.writes = Path(folder), every, resume, writes
        self._identity: Json = {}

    def __enter__(self) -> Self:
        if not self.writes:
            return self
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / _LOCK)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise CheckpointError(
                f"Another process is training into {self.folder}. Wait until it ends, or choose another folder."
            ) from None
        except OSError as error:
            raise CheckpointError(f"Checkpoints cannot be written to {self.folder}: {error}.") from error
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.writes:
            self._lock.release()

    def _open(self) -> None:
        for scratch in self.folder.glob(f"{outputs.SCRATCH}*"):  # left by a process that was killed while writing
            scratch.unlink()
        found = self._found("*")
        if found and not self.resume:
            raise CheckpointError(
                f"{self.folder} holds {len(found)} checkpoint{'s' * (len(found) > 1)} of an earlier training. "
                "Resume it with resume=True (--resume), choose another folder, or delete this folder."
            )

    def _found(self, stage: str) -> list[Path]:
        """Return the checkpoints of a stage, newest first."""
        named = (file for file in self.folder.glob(f"{stage}-*{_SUFFIX}") if _NAMED.fullmatch(file.name))
        return sorted(named, key=_number, reverse=True)

    def identity(self) -> Json | None:
        """Return the identity of the saved training; None if there is no readable checkpoint."""
        for file in self._found("*"):
            with contextlib.suppress(_Damaged):
                return _read(file)[0]["identity"]
        return None

    def identify(self, identity: Json) -> None:
        """Set the identity of this training: JSON that must be equal to that of the saved training.

        Raises
        ------
        CheckpointError
            If the saved training has another identity. The message names every difference.
        """
        self._identity = json.loads(json.dumps(identity))
        saved = self.identity()
        if saved is not None and (differences := list(_differences(saved, self._identity))):
            raise CheckpointError(
                f"{self.folder} holds another training, which this one cannot resume. "
                f"Differences: {'; '.join(differences)}. Use the same settings, or choose another folder."
            )

    def stage(self, name: str) -> Stage:
        """Return the sink for one call of `train`."""
        return Stage(self, name)

    def write(self, stage: str, state: TrainState) -> None:
        """Write a state under the next number of the stage, then remove old checkpoints."""
        found = self._found(stage)
        file = self.folder / f"{stage}-{_number(found[0]) + 1 if found else 1:08d}{_SUFFIX}"
        try:
            with outputs.write_file(file) as stream:
                stream.write(_encoded(state, self._identity))
        except OSError as error:
            previous = f"The previous checkpoint {found[0].name} is intact." if found else "No checkpoint precedes it."
            raise CheckpointError(
                f"A checkpoint cannot be written to {self.folder}: {error.strerror or error}. {previous} "
                "Free disk space, then resume with resume=True (--resume)."
            ) from error
        for old in found[_KEPT - 1 :]:
            old.unlink(missing_ok=True)

    def read(self, stage: str, like: PyTree) -> TrainState | None:
        """Return the newest readable state of a stage; None if the stage has no checkpoint."""
        damaged = []
        for file in self._found(stage):
            try:
                head, arrays = _read(file)
            except _Damaged as error:
                damaged.append(f"{file.name} {error}")
                continue
            state = _decoded(head, arrays, like)
            if damaged:
                warnings.warn(
                    f"{self.folder}: {'; '.join(damaged)}. Training resumes from {file.name}, in epoch {state.epoch}.",
                    DamagedCheckpointWarning,
                    stacklevel=2,
                )
            return state
        if damaged:
            raise CheckpointError(
                f"No checkpoint in {self.folder} can be read: {'; '.join(damaged)}. Delete the folder to start again."
            )
        return None


@dataclass
class Stage:
    """The checkpoints of one stage; see `diabolo.engine.trainer.CheckpointSink`."""

    checkpoints: Checkpoints
    name: str
    _kept: TrainState | None = None
    _since: float = field(default_factory=time.monotonic)

    def load(self, like: PyTree) -> TrainState | None:
        """Return the newest readable state."""
        self._kept = self.checkpoints.read(self.name, like)
        return self._kept

    def maybe_save(self, state: TrainState) -> None:
        """Save the state if the last checkpoint is old enough."""
        if time.monotonic() - self._since >= self.checkpoints.every:
            self.save(state)

    def save(self, state: TrainState) -> None:
        """Save the state, unless it is already saved."""
        if self.checkpoints.writes and state is not self._kept:
            self.checkpoints.write(self.name, state)
            self._kept, self._since = state, time.monotonic()


# -- a file -----------------------------------------------------------------------------------------------------------


class _Damaged(Exception):
    """A checkpoint file is damaged."""


def _number(file: Path) -> int:
    digits = file.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _encoded(state: TrainState, identity: Json) -> bytes:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state.carry)
    arrays = {jax.tree_util.keystr(at): np.asarray(leaf, order="C") for at, leaf in leaves}
    head = {name: getattr(state, name) for name in ("epoch", "chunk", "sums", "history", "stopped")}
    content = json.dumps({"identity": identity, "state": head}).encode() + b"\n" + save_arrays(arrays)
    return _digest(content) + b"\n" + content


def _read(file: Path) -> tuple[Json, dict[str, np.ndarray]]:
    try:
        digest, _, content = file.read_bytes().partition(b"\n")
    except OSError as error:
        raise _Damaged(f"cannot be read ({error.strerror})") from error
    if digest != _digest(content):
        raise _Damaged("is damaged (hash mismatch)")
    head, _, arrays = content.partition(b"\n")
    return json.loads(head), load_arrays(arrays)


def _decoded(head: Json, arrays: dict[str, np.ndarray], like: PyTree) -> TrainState:
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    carry = jax.tree.unflatten(tree, [arrays[jax.tree_util.keystr(at)] for at, _ in leaves])
    return TrainState(carry, **head["state"])


def _differences(kept: object, given: object, name: str = "") -> Iterator[str]:
    """Yield one phrase for each difference between two JSON values."""
    if isinstance(kept, dict) and isinstance(given, dict):
        for key in sorted(kept.keys() | given.keys()):
            yield from _differences(kept.get(key), given.get(key), f"{name} {key}".strip())
    elif kept != given:
        yield f"{name} (was {json.dumps(kept, ensure_ascii=False)}, is {json.dumps(given, ensure_ascii=False)})"
