"""The data sets: rows in the user's units, split at random into training and test rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

__all__ = ["HALVES", "SETS", "DataSet", "Kind", "half_of", "latent_size", "repeated", "split", "varying"]

Kind = Literal["table", "signal", "image"]
HALVES = ("chosen on", "held back")

_MOST_ROWS = 10_000
_IMAGES = 6_000
_WINDOW = 48
_REPEATED_SHARE = 0.2
"""A column is repeated if its most common value fills more than this share of the rows,"""
_DISTINCT_SHARE = 0.1
"""or if it has fewer distinct values than this share of the rows."""


@dataclass(frozen=True)
class DataSet:
    """A data set by its name.

    Parameters
    ----------
    name : str
    kind : {"table", "signal", "image"}
    read : callable
        From the data folder to rows (n, d), float64.
    needs_data : bool, default=True
        Whether the rows are read from the data folder; scikit-learn ships the others.
    """

    name: str
    kind: Kind
    read: Callable[[Path], np.ndarray]
    needs_data: bool = True

    def load(self, data: Path | None) -> np.ndarray:
        """Read the rows, float64, at most 10,000 of them, drawn by a fixed seed."""
        rows = np.asarray(self.read(data or Path()), np.float64)
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise ValueError(f"{self.name}: rows must be a finite array (n, d); got shape {rows.shape}.")
        return _some(rows, _MOST_ROWS)


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """Draw ``most`` rows by a fixed seed, in their order; all, if there are no more."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]


def _shipped(name: str, _: Path) -> np.ndarray:
    options = {"scaled": False} if name == "diabetes" else {}  # in the units of the clinic
    return getattr(datasets, f"load_{name}")(**options).data


def _array(file: str, key: str, data: Path) -> np.ndarray:
    with np.load(data / file, allow_pickle=False) as held:
        rows = held[key]
    return rows.reshape(len(rows), -1)


def _heartbeats(data: Path) -> np.ndarray:
    return np.vstack([_array("ecg5000/ecg5000.npz", key, data) for key in ("X_train", "X_test")])


def _images(name: str, data: Path) -> np.ndarray:
    return _some(_array(f"{name}/{name}.npz", "X_train", data), _IMAGES)


def _csv(file: str, n_targets: int, data: Path) -> np.ndarray:
    rows = np.loadtxt(data / "imputation_uci" / file, delimiter=",", skiprows=1)
    return rows[:, : rows.shape[1] - n_targets]


def _windows(file: str, data: Path) -> np.ndarray:
    """Cut a series into windows of 48 values that do not overlap."""
    series = np.loadtxt(data / "nab" / file, delimiter=",", skiprows=1, usecols=1)
    n_windows = len(series) // _WINDOW
    return series[: n_windows * _WINDOW].reshape(n_windows, _WINDOW)


def _cells(data: Path) -> np.ndarray:
    """Transform counts of RNA to log1p(counts / library size · 10⁴)."""
    with np.load(data / "sc_mixology" / "sc_mixology_5cl.npz", allow_pickle=False) as held:
        return np.log1p(held["counts"] / held["library_size"][:, None].astype(np.float64) * 1e4)


_ADBENCH = (
    *("14_glass", "18_Ionosphere", "20_letter", "23_mammography", "24_mnist", "25_musk", "26_optdigits"),
    *("28_pendigits", "29_Pima", "30_satellite", "31_satimage-2", "32_shuttle", "38_thyroid", "39_vertebral"),
    *("40_vowels", "42_WBC", "45_wine", "6_cardio"),
)

SETS: dict[str, DataSet] = {
    one.name: one
    for one in sorted(
        (
            *(DataSet(name, "table", partial(_shipped, name), False) for name in ("iris", "wine", "breast_cancer")),
            DataSet("diabetes", "table", partial(_shipped, "diabetes"), False),
            DataSet("digits", "image", partial(_shipped, "digits"), False),
            *(
                DataSet(f"adbench_{file.partition('_')[2]}", "table", partial(_array, f"adbench/{file}.npz", "X"))
                for file in _ADBENCH
            ),
            DataSet("ecg5000", "signal", _heartbeats),
            DataSet("olivetti", "image", partial(_array, "olivetti/olivetti_faces.npz", "X")),
            *(DataSet(name, "image", partial(_images, name)) for name in ("mnist", "fashion_mnist")),
            DataSet("letter", "table", partial(_csv, "gain_letter.csv", 0)),
            DataSet("spam", "table", partial(_csv, "gain_spam.csv", 0)),
            DataSet("banknote", "table", partial(_csv, "banknote.csv", 1)),
            DataSet("nab_cpu", "signal", partial(_windows, "cpu_utilization_asg_misconfiguration.csv")),
            DataSet("nab_latency", "signal", partial(_windows, "ec2_request_latency_system_failure.csv")),
            DataSet("sc_mixology", "table", _cells),
        ),
        key=lambda one: one.name,
    )
}
"""All sets in alphabetical order, whether or not their data are there: a set's half never changes."""


def half_of(name: str) -> str:
    """Give the half of the sets that this one belongs to: settings may be chosen on the first half only."""
    return HALVES[list(SETS).index(name) % 2]


def split(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a quarter of the rows for test, at random by the seed: (training rows, test rows)."""
    train, test = train_test_split(rows, test_size=0.25, random_state=seed)
    return train, test


def latent_size(n_rows: int, n_columns: int) -> int:
    """Choose K for the basic and the stacked system: a third of the columns, at most 8, below the largest rank."""
    return max(1, min(8, max(1, n_columns // 3), min(n_rows, n_columns) - 1))


def varying(train: np.ndarray) -> np.ndarray:
    """Tell which columns are not constant in the training rows."""
    return np.asarray(train.min(axis=0) < train.max(axis=0))


def repeated(train: np.ndarray) -> np.ndarray:
    """Tell which columns hold repeated values, for which a density has no bound."""
    n_rows = len(train)

    def is_repeated(column: np.ndarray) -> bool:
        _, counts = np.unique(column, return_counts=True)
        return bool(len(counts) < _DISTINCT_SHARE * n_rows or counts.max() > _REPEATED_SHARE * n_rows)

    return np.array([is_repeated(column) for column in train.T], bool)
