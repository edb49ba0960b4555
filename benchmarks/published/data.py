"""The data, by the splits of the protocols: rows in the order of the files, 32-bit, pixels in [0, 1].

Of each split all rows, or a few of them if the study is to be quick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .study import Study

__all__ = ["Images", "binarized_mnist", "images"]


@dataclass(frozen=True)
class Images:
    """Rows to train on, to choose by, and to report on; labels where there are any."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    y_train: np.ndarray
    y_valid: np.ndarray
    y_test: np.ndarray


def images(study: Study, name: str, n_valid: int) -> Images:
    """``mnist`` or ``fashion_mnist``: 60,000 rows, the last ``n_valid`` for choices, and 10,000 for the test."""
    with np.load(study.data / name / f"{name}.npz", allow_pickle=False) as file:
        x, x_test = (file[key].reshape(-1, 784).astype(np.float32) / np.float32(255) for key in ("X_train", "X_test"))
        y, y_test = file["y_train"].astype(np.int64), file["y_test"].astype(np.int64)
    cut = len(x) - n_valid
    return Images(*map(study.some, (x[:cut], x[cut:], x_test, y[:cut], y[cut:], y_test)))


def binarized_mnist(study: Study) -> Images:
    """Larochelle's fixed binarisation: 50,000, 10,000 and 10,000 rows of zeros and ones, without labels."""
    with np.load(study.data / "binarized_mnist" / "binarized_mnist.npz", allow_pickle=False) as file:
        rows = [study.some(file[name].astype(np.float32)) for name in ("X_train", "X_valid", "X_test")]
    return Images(*rows, *(np.zeros(0, np.int64) for _ in rows))
