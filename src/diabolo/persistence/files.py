"""A fitted model on disk: a folder of JSON and safetensors. No pickle, so loading runs no code from the file.

NAME.diabolo/
  model.json           what it is: format version, package versions, parameters, features, history, fingerprint, and the
                       other file's checksum
  arrays.safetensors   the weights and the scaling, to the bit

What is read may come from anyone: both are files of this folder and not links out of it, JSON is of the form that is
written, and arrays have their checksum. Version 1 had no checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .. import outputs
from ..errors import ArtifactError
from .manifest import ManifestError, check, check_head

__all__ = [
    "FORMAT_VERSION",
    "Fingerprint",
    "check_is_model_dir",
    "fingerprint",
    "is_ours",
    "read",
    "read_manifest",
    "versions",
    "write",
]

FORMAT_VERSION = 3
_CHECKED_FROM = 2
_MOST_JSON = 64 << 20
MANIFEST, ARRAYS = "model.json", "arrays.safetensors"


def fingerprint(rows: np.ndarray) -> str:
    """A hash of shape, type and every bit of an array: 32 hexadecimal digits.

    >>> fingerprint(np.zeros((2, 2))) == fingerprint(np.zeros((2, 2))) != fingerprint(np.zeros((4, 1)))
    True
    """
    whole = Fingerprint(rows.shape, rows.dtype)
    whole.update(rows)
    return whole.hexdigest()


class Fingerprint:
    """The same hash, of rows that come in pieces."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._digest = hashlib.blake2b(f"{shape} {dtype.str}".encode(), digest_size=16)

    def update(self, rows: np.ndarray) -> None:
        """The next rows."""
        self._digest.update(np.ascontiguousarray(rows).data)

    def hexdigest(self) -> str:
        """The hash of all."""
        return self._digest.hexdigest()


def write(path: str | os.PathLike[str], manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the folder whole or not at all. An older model in its place is replaced, anything else is refused.

    Raises
    ------
    ArtifactError
        If ``path`` is something other than a saved model or cannot be written, or the manifest is not JSON.
    """
    path = Path(path)
    packed = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    head = {"format": "diabolo", "format_version": FORMAT_VERSION, "versions": versions()}
    whole = head | manifest | {"checksums": {ARRAYS: _checksum(packed)}}
    try:
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"A parameter cannot be written as JSON: {error}.") from error
    try:
        with outputs.write_folder(path, is_ours) as new:
            (new / MANIFEST).write_text(text + "\n", encoding="utf-8")
            (new / ARRAYS).write_bytes(packed)
    except outputs.NotOurs:
        check_is_model_dir(path)
        raise
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}. Choose another place.") from error


def is_ours(path: Path) -> bool:
    """Whether a folder is a saved model and holds nothing else."""
    try:
        check_is_model_dir(path)
    except ArtifactError:
        return False
    return True


def check_is_model_dir(path: Path) -> None:
    """Check that a folder is a saved model and holds nothing else, before it is replaced.

    Raises
    ------
    ArtifactError
        If it is not a saved model, or holds other files.
    """
    try:
        read_manifest(path)
    except ArtifactError as error:
        raise ArtifactError(
            f"{path} exists and is not a saved model, so it is not overwritten. Choose another name."
        ) from error
    if others := sorted(outputs.names_in(path) - {MANIFEST, ARRAYS}):
        raise ArtifactError(
            f"{path} holds {others[0]!r} besides the model, so it is not overwritten. Move it, or choose another name."
        )


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON half.

    Raises
    ------
    ArtifactError
        If it is missing, damaged, or of a later format.
    """
    file = Path(path) / MANIFEST
    try:
        manifest = json.loads(_content(file, _MOST_JSON).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{path} is not a saved model: there is no {MANIFEST} in it.") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{file} is damaged: {error}. Save the model again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != "diabolo":
        raise ArtifactError(f"{file} was not written by diabolo.")
    try:
        check_head(manifest)
        if manifest["format_version"] > FORMAT_VERSION:
            raise ArtifactError(
                f"{path} has format version {manifest['format_version']}, this diabolo reads up to {FORMAT_VERSION}. "
                f"It was written by diabolo {manifest['versions'].get('diabolo')}: install that or a later one."
            )
        check(manifest)
    except ManifestError as error:
        raise ArtifactError(f"{file} is damaged: {error}. Save the model again.") from error
    return manifest


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Both halves: the manifest and the arrays.

    Raises
    ------
    ArtifactError
        If either is missing or damaged.
    """
    manifest = read_manifest(path)
    file = Path(path) / ARRAYS
    try:
        packed = _content(file)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is incomplete: there is no {ARRAYS} in it.") from None
    if manifest["format_version"] >= _CHECKED_FROM:
        told = manifest.get("checksums")
        if not isinstance(told, dict) or told.get(ARRAYS) != _checksum(packed):
            raise ArtifactError(
                f"{file} is damaged: it has not the checksum that {MANIFEST} says. Save the model again."
            )
    try:
        return manifest, load(packed)
    except (SafetensorError, KeyError, ValueError) as error:  # a type of number that NumPy does not know is a KeyError
        raise ArtifactError(f"{file} is damaged: {error}. Save the model again.") from error


def _content(file: Path, most: int | None = None) -> bytes:
    """All of a file, which is no link and no longer than may be."""
    if file.is_symlink():
        raise ArtifactError(f"{file} is a link, and could lead anywhere. Copy what it leads to in its place.")
    if file.exists() and not file.is_file():
        raise ArtifactError(f"{file} is not a file.")
    if most is not None and file.stat().st_size > most:
        raise ArtifactError(f"{file} is damaged: it has {file.stat().st_size:,} bytes.")
    try:
        return file.read_bytes()
    except PermissionError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}.") from error


def _checksum(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def versions() -> dict[str, str]:
    """Those of the packages that an outcome depends on."""
    return {name: version(name) for name in ("diabolo", "jax", "equinox", "optax", "numpy", "scikit-learn")}
