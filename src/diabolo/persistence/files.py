"""Files of a saved model: a folder of JSON and safetensors. There is no pickle, so loading runs no code from the files.

NAME.diabolo/
  model.json           the manifest: format version, package versions, parameters, features, history, data fingerprint,
                       and the checksum of the other file
  arrays.safetensors   the weights and the scaling, exact to the bit

The files may come from an untrusted source. Reading checks that both are regular files and not links, that the manifest
has the expected form, and that the arrays match their checksum. Format version 1 had no checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .. import __version__, outputs
from ..data.types import Json
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
    """Return a hash of the shape, the type and all bits of an array: 32 hexadecimal digits.

    >>> fingerprint(np.zeros((2, 2))) == fingerprint(np.zeros((2, 2))) != fingerprint(np.zeros((4, 1)))
    True
    """
    whole = Fingerprint(rows.shape, rows.dtype)
    whole.update(rows)
    return whole.hexdigest()


class Fingerprint:
    """The hash of `fingerprint`, for rows that come in pieces."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._digest = hashlib.blake2b(f"{shape} {dtype.str}".encode(), digest_size=16)

    def update(self, rows: np.ndarray) -> None:
        """Add the next rows."""
        self._digest.update(np.ascontiguousarray(rows).data)

    def hexdigest(self) -> str:
        """Return the hash of all rows added so far."""
        return self._digest.hexdigest()


def write(path: str | os.PathLike[str], manifest: Json, arrays: dict[str, np.ndarray]) -> None:
    """Write the folder atomically; replace an older model, but nothing else.

    Raises
    ------
    ArtifactError
        If ``path`` exists and is not a saved model, ``path`` cannot be written, or the manifest is not JSON.
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
    """Return whether a folder is a saved model and contains nothing else."""
    try:
        check_is_model_dir(path)
    except ArtifactError:
        return False
    return True


def check_is_model_dir(path: Path) -> None:
    """Check that a folder is a saved model and contains nothing else, before it is replaced.

    Raises
    ------
    ArtifactError
        If the folder is not a saved model, or contains other files.
    """
    try:
        read_manifest(path)
    except ArtifactError as error:
        raise ArtifactError(
            f"{path} exists and is not a saved model, so it is not overwritten. Choose another name."
        ) from error
    if others := sorted(outputs.names_in(path) - {MANIFEST, ARRAYS}):
        raise ArtifactError(
            f"{path} holds {others[0]!r} besides the model, so it is not overwritten. Move {others[0]!r}, or choose "
            "another name."
        )


def read_manifest(path: str | os.PathLike[str]) -> Json:
    """Read and check the manifest.

    Raises
    ------
    ArtifactError
        If the manifest is missing, damaged, or of a later format.
    """
    file = Path(path) / MANIFEST
    try:
        manifest = json.loads(_content(file, _MOST_JSON).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{path} is not a saved model: there is no {MANIFEST} in it. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{file} is damaged: {error}. Save the model again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != "diabolo":
        raise ArtifactError(f"{file} was not written by diabolo. Check the path.")
    try:
        check_head(manifest)
        if manifest["format_version"] > FORMAT_VERSION:
            raise ArtifactError(
                f"{path} has format version {manifest['format_version']}, this diabolo reads up to {FORMAT_VERSION}. "
                f"Install diabolo {manifest['versions'].get('diabolo')}, which wrote the model, or a later version."
            )
        check(manifest)
    except ManifestError as error:
        raise ArtifactError(f"{file} is damaged: {error}. Save the model again.") from error
    return manifest


def read(path: str | os.PathLike[str]) -> tuple[Json, dict[str, np.ndarray]]:
    """Read and check the manifest and the arrays.

    Raises
    ------
    ArtifactError
        If one of the two files is missing or damaged.
    """
    manifest = read_manifest(path)
    file = Path(path) / ARRAYS
    try:
        packed = _content(file)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is incomplete: there is no {ARRAYS} in it. Save the model again.") from None
    if manifest["format_version"] >= _CHECKED_FROM:
        checksums = manifest.get("checksums")
        if not isinstance(checksums, dict) or checksums.get(ARRAYS) != _checksum(packed):
            raise ArtifactError(
                f"{file} is damaged: checksum mismatch, so the file was changed after it was saved. Save the model "
                "again."
            )
    try:
        return manifest, load(packed)
    except (SafetensorError, KeyError, ValueError) as error:  # safetensors raises a KeyError for unknown types
        raise ArtifactError(f"{file} is damaged: {error}. Save the model again.") from error


def _content(file: Path, most: int | None = None) -> bytes:
    """Return the content of a file, after a check that it is a regular file and not too long."""
    if file.is_symlink():
        raise ArtifactError(f"{file} is a link, which is not allowed. Replace the link by a copy of its target.")
    if file.exists() and not file.is_file():
        raise ArtifactError(f"{file} is not a file. Save the model again.")
    if most is not None and file.stat().st_size > most:
        raise ArtifactError(f"{file} is damaged: it has {file.stat().st_size:,} bytes. Save the model again.")
    try:
        return file.read_bytes()
    except PermissionError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}. Check its permissions.") from error


def _checksum(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def versions() -> dict[str, str]:
    """Return the versions of the packages that the results depend on."""
    return {"diabolo": __version__, **_versions_of_others()}


@cache
def _versions_of_others() -> dict[str, str]:
    return {name: version(name) for name in ("jax", "equinox", "optax", "numpy", "scikit-learn")}
