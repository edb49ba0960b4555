"""Rows that were never there: `python -m benchmarks.generation`.

A generator learns from two thirds of a real table (scikit-learn's tumours and digits, with their classes) and makes as
many new rows. Told are
- the accuracy, on the last third, of a forest that has learned from the new rows, beside one that has learned from the
  real ones (Esteban, Hyland & Rätsch 2017, "train on synthetic, test on real");
- how well a forest tells new rows from those of the last third: AUROC, 50 % if it cannot (Lopez-Paz & Oquab 2017);
- how near the nearest row of the first two thirds is, in units of what it is for rows of the last third: 0 for those
  who repeat what they have seen, 1 for new rows of the same kind.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.neighbors import NearestNeighbors

from diabolo import AutoencoderGenerator, VariationalAutoencoder

from .told import aligned, keep, with_spread

__all__ = ["METHODS", "OURS", "TABLES", "main", "measure", "report"]

OURS = "diabolo"
CLASS = "class"

Generator = Callable[[pd.DataFrame, int], pd.DataFrame]
"""From real rows and a seed to as many new ones."""


def tumours() -> pd.DataFrame:
    """569 rows of 30 measurements, and what the tumour was."""
    bunch = load_breast_cancer(as_frame=True)
    return bunch.data.assign(**{CLASS: np.array(["malignant", "benign"], object)[bunch.target]})


def digits() -> pd.DataFrame:
    """1,797 images of 8 × 8 pixels, and what they show."""
    bunch = load_digits(as_frame=True)
    return bunch.data.assign(**{CLASS: np.array([f"digit {i}" for i in range(10)], object)[bunch.target]})


TABLES = {"tumours": tumours, "digits": digits}


def _ours(real: pd.DataFrame, seed: int) -> pd.DataFrame:
    found: pd.DataFrame = AutoencoderGenerator(random_state=seed).fit(real).sample(len(real), random_state=seed)
    return found


def _prior(real: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A variational autoencoder alone, its codes drawn from the prior."""
    kinds = dict.fromkeys(real.columns[:-1], "number")
    model = VariationalAutoencoder(n_latent=16, hidden_layer_sizes=(256,), schema=kinds, random_state=seed)
    found: pd.DataFrame = model.fit(real).sample(len(real), random_state=seed)
    return found


def _copula(real: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Each class by a normal copula, and the quantiles that its columns have."""
    rng = np.random.default_rng(seed)
    pieces = []
    for name, some in real.groupby(CLASS):
        numbers = some.drop(columns=CLASS).to_numpy(float)
        normal = stats.norm.ppf((stats.rankdata(numbers, axis=0) - 0.5) / len(numbers))
        correlation = np.nan_to_num(np.corrcoef(normal.T)) + 1e-6 * np.eye(numbers.shape[1])
        drawn = stats.norm.cdf(rng.multivariate_normal(np.zeros(len(correlation)), correlation, len(numbers)))
        new = np.stack([np.quantile(column, u) for column, u in zip(numbers.T, drawn.T, strict=True)], axis=1)
        pieces.append(pd.DataFrame(new, columns=real.columns[:-1]).assign(**{CLASS: name}))
    return pd.concat(pieces, ignore_index=True)


def _bootstrap(real: pd.DataFrame, seed: int) -> pd.DataFrame:
    return real.sample(len(real), replace=True, random_state=seed).reset_index(drop=True)


def _of_ctgan(kind: str) -> Generator:
    def generate(real: pd.DataFrame, seed: int) -> pd.DataFrame:
        import ctgan
        import torch

        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what it draws from
        model = getattr(ctgan, kind)()
        model.fit(real, [CLASS])
        found: pd.DataFrame = model.sample(len(real))
        return found

    return generate


METHODS: dict[str, Generator] = {
    OURS: _ours,
    "its VAE alone": _prior,
    "copula": _copula,
    "bootstrap": _bootstrap,
    "TVAE": _of_ctgan("TVAE"),
    "CTGAN": _of_ctgan("CTGAN"),
}


def measure(table: pd.DataFrame, method: str, seed: int) -> dict[str, float]:
    """What the new rows of one method are worth, and its seconds."""
    known, apart = train_test_split(table, test_size=1 / 3, random_state=seed, stratify=table[CLASS])
    known, apart = known.reset_index(drop=True), apart.reset_index(drop=True)
    started = time.perf_counter()
    new = METHODS[method](known, seed)
    seconds = time.perf_counter() - started
    return {
        "accuracy": 100 * _accuracy(new, apart, seed),
        "accuracy, real rows": 100 * _accuracy(known, apart, seed),
        "told apart": 100 * _told_apart(new, apart, seed),
        "distance": _distance(known, new) / _distance(known, apart),
        "seconds": seconds,
    }


def _forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(300, random_state=seed, n_jobs=-1)


def _accuracy(taught: pd.DataFrame, asked: pd.DataFrame, seed: int) -> float:
    forest = _forest(seed).fit(taught.drop(columns=CLASS).to_numpy(float), taught[CLASS])
    return float(forest.score(asked.drop(columns=CLASS).to_numpy(float), asked[CLASS]))


def _numbers(*tables: pd.DataFrame) -> list[np.ndarray]:
    """Rows as numbers, the class as zeros and a one."""
    together = pd.get_dummies(pd.concat(tables, ignore_index=True), columns=[CLASS]).to_numpy(float)
    return np.split(together, np.cumsum([len(table) for table in tables])[:-1])


def _told_apart(new: pd.DataFrame, apart: pd.DataFrame, seed: int) -> float:
    one, other = _numbers(new.sample(len(apart), random_state=seed), apart)
    rows, is_new = np.vstack([one, other]), np.repeat([1, 0], len(apart))
    order = np.random.default_rng(seed).permutation(len(rows))
    p = cross_val_predict(_forest(seed), rows[order], is_new[order], cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(is_new[order], p))


def _distance(known: pd.DataFrame, others: pd.DataFrame) -> float:
    """The median distance to the nearest known row, columns in units of their spread."""
    rows, asked = _numbers(known, others)
    spread = rows.std(axis=0) + (rows.std(axis=0) == 0)
    distance, _ = NearestNeighbors(n_neighbors=1).fit(rows / spread).kneighbors(asked / spread)
    return float(np.median(distance))


def report(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """A line for each table and method, means ± the spread over seeds."""
    columns = ("accuracy", "told apart", "distance", "seconds")
    lines = [["", *columns]]
    for name, some in found.items():
        real = [run["accuracy, real rows"] for run in next(iter(some.values()))]
        lines.append([f"{name}: real rows", with_spread(real), "50.00", "1.00", ""])
        for method, runs in some.items():
            lines.append([f"{name}: {method}", *(with_spread([run[column] for run in runs]) for column in columns)])
    return aligned(lines)


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser("benchmarks.generation", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--out", type=Path, help="a JSON file to write")
    given = options.parse_args()
    found: dict[str, Any] = {}
    for name, table in TABLES.items():
        rows = table()
        found[name] = {}
        for method in METHODS:
            try:
                found[name][method] = [measure(rows, method, int(seed)) for seed in given.seeds.split(",")]
            except ModuleNotFoundError as error:
                print(f"{method}: {error.name} is not installed", file=sys.stderr)
                continue
            print(f"{name}, {method}: {found[name][method]}", file=sys.stderr, flush=True)
    print(report(found))
    if given.out:
        keep(given.out, {"found": found})


if __name__ == "__main__":
    main()
