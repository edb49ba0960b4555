"""A saved model of cells: a folder with the saved autoencoder, and a file that describes the cells."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import outputs
from ..errors import ArtifactError
from ..estimators.autoencoders import VariationalAutoencoder
from ..estimators.loading import load
from .cells import CellSpec

__all__ = ["read", "write"]

_MODEL, _CELLS = "model", "cells.json"


def write(
    path: str | os.PathLike[str],
    autoencoder: VariationalAutoencoder,
    parameters: Mapping[str, object],
    spec: CellSpec,
    axes: np.ndarray,
) -> None:
    """Write the folder atomically; replace an older model of cells, but nothing else.

    Raises
    ------
    ArtifactError
        If ``path`` exists and is something else.
    """
    content = {"parameters": parameters, "cells": asdict(spec), "axes": axes.tolist()}
    try:
        with outputs.write_folder(path, lambda found: outputs.names_in(found) == {_MODEL, _CELLS}) as new:
            autoencoder.save(new / _MODEL)
            (new / _CELLS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except outputs.NotOurs:
        raise ArtifactError(f"{path} is not a saved model of cells. Choose another folder.") from None


def read(path: str | os.PathLike[str]) -> tuple[VariationalAutoencoder, dict[str, Any], CellSpec, np.ndarray]:
    """Read the autoencoder, the parameters, the description of the cells and the axes.

    Raises
    ------
    ArtifactError
        If the folder is missing or damaged.
    """
    folder = Path(path)
    try:
        content = json.loads((folder / _CELLS).read_text(encoding="utf-8"))
        parameters, spec = _tupled(content["parameters"]), CellSpec(**_tupled(content["cells"]))
        axes = np.asarray(content["axes"], np.float64)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a saved model of cells: {error}. Check the path.") from error
    return load(folder / _MODEL), parameters, spec, axes


def _tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
