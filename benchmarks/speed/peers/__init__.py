"""The others, each behind the same face: `Side`. A module here imports its library at the top, so import it late."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Protocol

import numpy as np

from ..context import Absent

__all__ = ["Side", "nats", "peer"]

# Progress bars write to the terminal for every batch. Without them the peers are a little faster than they come.
os.environ.setdefault("TQDM_DISABLE", "1")


class Side(Protocol):
    """Somebody who trains a network on rows given at the start."""

    def fit(self, epochs: int) -> float:
        """Train from scratch; the seconds it took."""

    def loss(self, rows: np.ndarray) -> float:
        """The last fit's loss per row, in nats, by `nats`."""


def peer(module: str) -> ModuleType:
    """A module of this package, or `Absent` if its library is not installed."""
    try:
        return importlib.import_module(f".{module}", __package__)
    except ImportError as reason:
        raise Absent(f"{reason.name or module} cannot be imported: {reason}") from reason


def nats(rows: np.ndarray, reconstruction: np.ndarray, kl: np.ndarray | float = 0.0) -> float:
    """Cross-entropy of the reconstruction from the code's mean, and KL, per row: one formula for all sides."""
    p = np.clip(reconstruction.astype(np.float64), 1e-7, 1 - 1e-7)
    entropy = -(rows * np.log(p) + (1 - rows) * np.log1p(-p)).sum(axis=1)
    return float((entropy + kl).mean())
