"""The rows everybody trains on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .context import Unmeasurable

__all__ = ["AnomalySet", "anomaly_names", "anomaly_set", "images", "table"]


@dataclass(frozen=True)
class AnomalySet:
    """Training rows, all ordinary, and test rows with labels (1: anomaly); standardised on the training rows."""

    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray


def _folder(data: Path | None, name: str) -> Path:
    if data is None or not (data / name).is_dir():
        raise Unmeasurable(f"needs the folder {name!r} in the data directory (--data, or $DIABOLO_DATA)")
    return data / name


def images(data: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's training and test rows, (60000, 784) and (10000, 784), float32 in [0, 1]."""
    with np.load(_folder(data, "mnist") / "mnist.npz", allow_pickle=False) as file:
        train, test = file["X_train"], file["X_test"]
    return _flat(train), _flat(test)


def _flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1).astype(np.float32) / 255


def anomaly_names(data: Path | None) -> list[str]:
    """The sets that have a split, smallest file first."""
    folder = _folder(data, "adbench")
    with np.load(folder / "dean2025_oneclass_split_indices.npz", allow_pickle=False) as splits:
        names = set(splits.files)
    files = [file for file in folder.glob("[0-9]*_*.npz") if file.stem.partition("_")[2] in names]
    return [file.stem.partition("_")[2] for file in sorted(files, key=lambda file: file.stat().st_size)]


def anomaly_set(data: Path | None, name: str) -> AnomalySet:
    """One of ADBench's sets in the one-class split: test rows are listed, training rows are all others."""
    folder = _folder(data, "adbench")
    with np.load(folder / "dean2025_oneclass_split_indices.npz", allow_pickle=False) as splits:
        in_test = splits[name]
    (file,) = (path for path in folder.glob("[0-9]*_*.npz") if path.stem.partition("_")[2] == name)
    with np.load(file, allow_pickle=False) as content:
        X, y = content["X"].astype(np.float64), content["y"].astype(int)
    train = np.delete(X, in_test, axis=0)
    mean, spread = train.mean(axis=0), train.std(axis=0)
    spread[spread == 0] = 1.0
    train, test = ((part - mean) / spread for part in (train, X[in_test]))
    return AnomalySet(train.astype(np.float32), test.astype(np.float32), y[in_test])


def table(data: Path | None) -> np.ndarray:
    """A table of 21 columns: cardio's training rows."""
    return anomaly_set(data, "cardio").train
