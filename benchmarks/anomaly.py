"""Anomaly detection on tables, one fixed configuration for all: AUROC and time beside the usual detectors.

    python -m benchmarks.anomaly --data DIR [--seeds 0,1,2] [--out benchmarks/results/anomaly.json]

``DIR`` holds ADBench's ``NN_name.npz`` (X, y) and ``dean2025_oneclass_split_indices.npz``. ``DIR`` may also be the
folder above, with ``ecg5000/ecg5000.npz`` beside it, whose normal beats are learned from. Labels choose rows and
measure, and never train. There are three protocols:

- "split": the named test rows, all anomalies and as many normal rows; the others, all normal, are learned from.
- "half": half of the normal rows are learned from, the rest and all anomalies are the test rows (Livernoche et
  al. 2024, On Diffusion Modeling for Anomaly Detection).
- "mixed": all rows, at most 10,000, are learned from and scored; sets of more rows are left out.

Every detector runs in a process of its own, and its seconds are those of fitting and scoring all sets once, imports
left out; ours are taken twice, with no compiled program at hand and with those of the first time. ``made`` has rows
between two heaps, in the middle of shells, and with one spoilt cell.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats
from sklearn.covariance import MinCovDet
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from .speed.children import environment
from .told import aligned, keep

SPLIT = "dean2025_oneclass_split_indices.npz"
OURS, FAST, RIVAL, TIMED = "diabolo", "diabolo, one network", "KNN, k = 5", "PyOD AutoEncoder"
_WARM = "seconds, programs compiled before"
MIXED, ROBUST = "diabolo, contaminated", "robust covariance"
PROTOCOLS, MOST_MIXED = ("split", "half", "mixed"), 10_000

Strangeness = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""From training rows, test rows and a seed to a score for each test row."""


# -- the detectors ----------------------------------------------------------------------------------------------------


def _diabolo(kind: str, *, contaminated: bool = False) -> Strangeness:
    from diabolo import AnomalyDetector

    def strangeness(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        detector = AnomalyDetector(kind, contaminated=contaminated, random_state=seed)
        return -detector.fit(train).score_samples(test)

    return strangeness


def _neighbours() -> Strangeness:
    def strangeness(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        known = NearestNeighbors(n_neighbors=5).fit(train)
        return known.kneighbors(None if train is test else test)[0][:, -1]  # None: without the row itself

    return strangeness


def _factor() -> Strangeness:
    def strangeness(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        if train is test:
            return -LocalOutlierFactor().fit(train).negative_outlier_factor_
        return -LocalOutlierFactor(novelty=True).fit(train).score_samples(test)

    return strangeness


def _robust() -> Strangeness:
    """The Mahalanobis distance by the minimum covariance determinant of at most 30 principal components."""

    def strangeness(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        found = PCA(min(30, *train.shape), random_state=seed).fit(train)
        kept = found.explained_variance_ > 1e-9 * found.explained_variance_[0]
        robust = MinCovDet(random_state=seed).fit(found.transform(train)[:, kept])
        return robust.mahalanobis(found.transform(test)[:, kept])

    return strangeness


def _forest() -> Strangeness:
    return lambda train, test, seed: -IsolationForest(random_state=seed).fit(train).score_samples(test)


def _components() -> Strangeness:
    """Squared scores over their variances, all components (Shyu et al. 2003)."""

    def strangeness(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        found = PCA(random_state=seed).fit(train)
        kept = found.explained_variance_ > 1e-9 * found.explained_variance_[0]
        return (found.transform(test)[:, kept] ** 2 / found.explained_variance_[kept]).sum(axis=1)

    return strangeness


def _pyod(name: str) -> Strangeness:
    import torch
    from pyod.models import auto_encoder, vae

    cls = {"AutoEncoder": auto_encoder.AutoEncoder, "VAE": vae.VAE}[name]

    def strangeness(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        options = {"verbose": 0, "random_state": seed, "device": "cpu"}
        return np.asarray(cls(**options).fit(train).decision_function(test))

    return strangeness


DETECTORS: dict[str, Callable[[], Strangeness]] = {
    OURS: lambda: _diabolo("ensemble"),
    FAST: lambda: _diabolo("single"),
    MIXED: lambda: _diabolo("ensemble", contaminated=True),
    RIVAL: _neighbours,
    "isolation forest": _forest,
    "PCA": _components,
    ROBUST: _robust,
    "local outlier factor": _factor,
    TIMED: lambda: _pyod("AutoEncoder"),
    "PyOD VAE": lambda: _pyod("VAE"),
}


_ONLY_IN = {FAST: ("split",), MIXED: ("mixed",), ROBUST: ("mixed",), "local outlier factor": ("mixed",)}
"""The protocols of detectors that not all are for: those that take long, or are made for contaminated rows."""


# -- the sets ---------------------------------------------------------------------------------------------------------


def tables(folder: Path, protocol: str, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(name, training rows, test rows, whether they are anomalies), standardised, for every set that there is.

    If the training rows are the test rows, they are one array.
    """
    tests = np.load(folder / SPLIT)
    for file in sorted(folder.glob("*_*.npz")):
        name = file.stem.partition("_")[2]
        if name not in tests.files:
            continue
        with np.load(file, allow_pickle=False) as held:
            X, y = held["X"].astype(np.float64), held["y"].ravel()
        if protocol == "mixed":
            if len(X) <= MOST_MIXED:
                rows = StandardScaler().fit_transform(X)
                yield name, rows, rows, y
            continue
        is_test = y == 1
        if protocol == "split":
            is_test[tests[name]] = True
        else:
            normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
            is_test[normal[len(normal) // 2 :]] = True
        scaler = StandardScaler().fit(X[~is_test])
        yield name, scaler.transform(X[~is_test]), scaler.transform(X[is_test]), y[is_test]


def run_one(detector: str, folder: Path, protocol: str, seed: int) -> dict[str, Any]:
    """AUROC and average precision of each set, in percent, and the seconds of all."""
    warnings.simplefilter("ignore")
    strangeness = DETECTORS[detector]()
    areas, precisions, seconds = {}, {}, 0.0
    for name, train, test, is_anomaly in tables(folder, protocol, seed):
        started = time.perf_counter()
        scores = strangeness(train, test, seed)
        seconds += time.perf_counter() - started
        areas[name] = 100 * float(roc_auc_score(is_anomaly, scores))
        precisions[name] = 100 * float(average_precision_score(is_anomaly, scores))
    return {"auroc": areas, "precision": precisions, "seconds": seconds}


def made(seeds: list[int]) -> dict[str, dict[str, list[float]]]:
    """AUROC of rows made by formula: between two heaps, in the middle of shells, with one spoilt cell."""
    known = (OURS, MIXED, RIVAL, "isolation forest", ROBUST, "local outlier factor")
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        for name, train, test, is_anomaly in _made(np.random.default_rng(seed)):
            scaler = StandardScaler().fit(train)
            rows = scaler.transform(train)
            tested = rows if train is test else scaler.transform(test)
            for detector in known:
                score = roc_auc_score(is_anomaly, DETECTORS[detector]()(rows, tested, seed))
                found.setdefault(name, {}).setdefault(detector, []).append(float(score))
    return found


def _made(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    def heaps(n: int, d: int) -> np.ndarray:
        low = rng.random(n) < 0.5
        first = np.where(low, rng.normal(2, 0.2, n), rng.normal(60, 2, n))
        return np.column_stack([first, rng.normal(size=(n, d - 1))])

    def shell(n: int, d: int) -> np.ndarray:
        found = rng.normal(size=(n, d))
        return found / np.linalg.norm(found, axis=1, keepdims=True) * rng.normal(1, 0.05, (n, 1))

    labels = np.r_[np.zeros(300), np.ones(300)]
    for d in (1, 2, 4, 10):
        between = np.column_stack([rng.uniform(15, 45, 300), rng.normal(size=(300, d - 1))])
        yield f"gap, {d} columns", heaps(2000, d), np.vstack([heaps(300, d), between]), labels
    for d in (2, 5, 10):
        yield f"shell, {d} columns", shell(2000, d), np.vstack([shell(300, d), rng.normal(0, 0.1, (300, d))]), labels
    X = load_breast_cancer().data
    for size in (3, 6):
        spoilt, rows, columns = X.copy(), rng.choice(len(X), 15, replace=False), rng.integers(0, X.shape[1], 15)
        spoilt[rows, columns] += size * X.std(axis=0)[columns]
        yield f"one cell spoilt by {size} sd", spoilt, spoilt, np.isin(np.arange(len(X)), rows)


def heartbeats(file: Path, seeds: list[int]) -> list[float]:
    """AUROC on ECG5000, the samples of a beat in their common unit, which is its standard deviation."""
    from diabolo import AnomalyDetector

    with np.load(file) as held:
        train, test = held["X_train"][held["y_train_anomaly"] == 0], held["X_test"]
        is_anomaly = held["y_test_anomaly"]
    detectors = (AnomalyDetector(scaling=None, random_state=seed).fit(train) for seed in seeds)
    return [float(roc_auc_score(is_anomaly, -detector.score_samples(test))) for detector in detectors]


# -- the table --------------------------------------------------------------------------------------------------------


def _apart(detector: str, folder: Path, protocol: str, seed: int, cache: Path | None = None) -> dict[str, Any] | None:
    """`run_one` in a process of its own; None, if the detector is not installed."""
    words = [sys.executable, "-m", "benchmarks.anomaly", "--data", str(folder), "--one", detector]
    words += ["--protocol", protocol, "--seeds", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(cache), check=False)
    if done.returncode and "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"{detector}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, protocol: str, seeds: list[int]) -> dict[str, Any]:
    """All detectors, seed by seed, side by side."""
    runs: dict[str, list[dict[str, Any]]] = {}
    absent = set()
    warm: list[float] = []
    for seed in seeds:
        for detector in DETECTORS:
            if detector in absent or protocol not in _ONLY_IN.get(detector, PROTOCOLS):
                continue
            with tempfile.TemporaryDirectory() as cache:
                found = _apart(detector, folder, protocol, seed, Path(cache))
                if found is None:
                    absent.add(detector)
                    print(f"{detector}: not installed (extra `bench`)", file=sys.stderr)
                    continue
                if detector == OURS and protocol == "split":
                    again = _apart(detector, folder, protocol, seed, Path(cache))
                    assert again is not None
                    warm.append(again["seconds"])
            runs.setdefault(detector, []).append(found)
            mean = fmean(found["auroc"].values())
            said = f"{protocol}, {detector}, seed {seed}: {mean:.2f} in {found['seconds']:.1f} s"
            print(said, file=sys.stderr, flush=True)
    sets = list(runs[OURS][0]["auroc"])
    auroc = {name: {s: [run["auroc"][s] for run in some] for s in sets} for name, some in runs.items()}
    precision = {name: [fmean(run["precision"].values()) for run in some] for name, some in runs.items()}
    seconds = {name: [run["seconds"] for run in some] for name, some in runs.items()}
    found = {"auroc": auroc, "mean average precision": precision, "seconds": seconds}
    return found | ({_WARM: warm} if warm else {})


def against(found: dict[str, Any], one: str, other: str) -> dict[str, float]:
    """The mean difference over sets, its 95 % interval by the bootstrap over sets, and a signed-rank test's p."""
    sets = found["auroc"][one]
    gaps = np.array([fmean(found["auroc"][one][s]) - fmean(found["auroc"][other][s]) for s in sets])
    draws = gaps[np.random.default_rng(0).integers(len(gaps), size=(10_000, len(gaps)))].mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    p = float(stats.wilcoxon(gaps).pvalue) if np.any(gaps) else 1.0
    return {"mean": float(gaps.mean()), "low": float(low), "high": float(high), "p": p, "wins": int((gaps > 0).sum())}


def table(found: dict[str, Any]) -> str:
    """AUROC in percent, a line for each set, and the seconds of all."""
    auroc = found["auroc"]
    names, sets = list(auroc), list(auroc[OURS])
    rows = [[s, *(f"{fmean(auroc[name][s]):.1f}" for name in names)] for s in sets]
    means = {name: [fmean(auroc[name][s][i] for s in sets) for i in range(len(auroc[name][sets[0]]))] for name in names}
    rows.append(["mean", *(f"{fmean(means[name]):.2f}" for name in names)])
    rows.append(["spread over seeds", *(f"{np.std(means[name]):.2f}" for name in names)])
    rows.append(["mean average precision", *(f"{fmean(found['mean average precision'][name]):.2f}" for name in names)])
    rows.append(["seconds, all sets", *(f"{np.median(found['seconds'][name]):.1f}" for name in names)])
    return aligned([["", *names], *rows])


def report(found: dict[str, Any]) -> str:
    """The table, what may be said of it, and the figure that counts."""
    lines = [table(found), ""]
    for ours in (one for one in (OURS, MIXED) if one in found["auroc"]):
        gap = against(found, ours, RIVAL)
        lines.append(
            f"{ours} − {RIVAL}: {gap['mean']:+.2f} points, 95 % interval {gap['low']:+.2f} to {gap['high']:+.2f} over "
            f"sets, better on {gap['wins']} of {len(found['auroc'][ours])}; signed-rank test p = {gap['p']:.2g}"
        )
    if TIMED in found["seconds"] and _WARM in found:
        theirs, cold, warm = (np.median(one) for one in (*map(found["seconds"].get, (TIMED, OURS)), found[_WARM]))
        lines.append(
            f"seconds of {TIMED}: {theirs:.1f}; of {OURS}: {cold:.1f}, compilation included ({cold / theirs:.2f} of "
            f"it), {warm:.1f} with compiled programs at hand ({warm / theirs:.2f})"
        )
    if "ECG5000" in found:
        each = ", ".join(f"{value:.4f}" for value in found["ECG5000"])
        lines.append(f"ECG5000, AUROC: {fmean(found['ECG5000']):.4f} ({each})")
    mean = fmean(fmean(values) for values in found["auroc"][OURS].values())
    return "\n".join([*lines, f"diabolo mean AUROC {mean:.1f}"])


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser("benchmarks.anomaly", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--out", type=Path)
    options.add_argument("--protocol", choices=PROTOCOLS, help="default: all, and the rows made by formula")
    options.add_argument("--one", choices=DETECTORS, help=argparse.SUPPRESS)
    given = options.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    folder = given.data if (given.data / SPLIT).exists() else given.data / "adbench"
    if not (folder / SPLIT).exists():
        sys.exit(f"benchmarks.anomaly: there is no {SPLIT} in {given.data}, nor in a folder adbench in it.")
    if given.one:
        print(json.dumps(run_one(given.one, folder, given.protocol, seeds[0])))
        return
    kept: dict[str, Any] = {}
    for protocol in [given.protocol] if given.protocol else PROTOCOLS:
        found = measure(folder, protocol, seeds)
        beats = folder.parent / "ecg5000" / "ecg5000.npz"
        if beats.exists() and protocol == "split":
            found["ECG5000"] = heartbeats(beats, seeds)
        print(f"{protocol}:\n{report(found)}\n", flush=True)
        ours = [one for one in (OURS, MIXED) if one in found["auroc"]]
        kept[protocol] = {f"{one} against KNN": against(found, one, RIVAL) for one in ours} | found
    if not given.protocol:
        kept["made"] = made(seeds)
        heads = list(next(iter(kept["made"].values())))
        rows = [[name, *(f"{fmean(some[head]):.3f}" for head in heads)] for name, some in kept["made"].items()]
        print(aligned([["", *heads], *rows]))
    if given.out:
        keep(given.out, kept)


if __name__ == "__main__":
    main()
