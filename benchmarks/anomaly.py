"""Anomaly detection on tables, one fixed configuration for all: AUROC and time beside the usual detectors.

    python -m benchmarks.anomaly --data DIR [--seeds 0,1,2] [--out benchmarks/results/anomaly.json]

``DIR`` holds ADBench's ``NN_name.npz`` (X, y) and ``dean2025_oneclass_split_indices.npz``, which names each set's test
rows: all anomalies and as many normal rows. The others, all normal, are learned from, columns standardised by them; no
label is seen in training. ``DIR`` may also be the folder above, with ``ecg5000/ecg5000.npz`` beside it, whose normal
beats are learned from.

Every detector runs in a process of its own, and its seconds are those of fitting and scoring all sets once, imports
left out; ours are taken twice, with no compiled program at hand and with those of the first time.
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
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from .speed.children import environment
from .told import aligned, keep

SPLIT = "dean2025_oneclass_split_indices.npz"
OURS, FAST, RIVAL, TIMED = "diabolo", "diabolo, one network", "KNN, k = 5", "PyOD AutoEncoder"

Strangeness = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""From training rows, test rows and a seed to a score for each test row."""


# -- the detectors ----------------------------------------------------------------------------------------------------


def _diabolo(kind: str) -> Strangeness:
    from diabolo import AnomalyDetector

    def strangeness(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        return -AnomalyDetector(kind, random_state=seed).fit(train).score_samples(test)

    return strangeness


def _neighbours() -> Strangeness:
    return lambda train, test, seed: NearestNeighbors(n_neighbors=5).fit(train).kneighbors(test)[0][:, -1]


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
    RIVAL: _neighbours,
    "isolation forest": _forest,
    "PCA": _components,
    TIMED: lambda: _pyod("AutoEncoder"),
    "PyOD VAE": lambda: _pyod("VAE"),
}


# -- the sets ---------------------------------------------------------------------------------------------------------


def tables(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(name, training rows, test rows, whether they are anomalies), standardised, for every set that there is."""
    tests = np.load(folder / SPLIT)
    for file in sorted(folder.glob("*_*.npz")):
        name = file.stem.partition("_")[2]
        if name not in tests.files:
            continue
        with np.load(file, allow_pickle=False) as held:
            X, y = held["X"].astype(np.float64), held["y"].ravel()
        is_test = np.zeros(len(X), bool)
        is_test[tests[name]] = True
        scaler = StandardScaler().fit(X[~is_test])
        yield name, scaler.transform(X[~is_test]), scaler.transform(X[is_test]), y[is_test]


def run_one(detector: str, folder: Path, seed: int) -> dict[str, Any]:
    """AUROC of each set, in percent, and the seconds of all."""
    warnings.simplefilter("ignore")
    strangeness = DETECTORS[detector]()
    found, seconds = {}, 0.0
    for name, train, test, is_anomaly in tables(folder):
        started = time.perf_counter()
        scores = strangeness(train, test, seed)
        seconds += time.perf_counter() - started
        found[name] = 100 * float(roc_auc_score(is_anomaly, scores))
    return {"auroc": found, "seconds": seconds}


def heartbeats(file: Path, seeds: list[int]) -> list[float]:
    """AUROC on ECG5000, the samples of a beat in their common unit, which is its standard deviation."""
    from diabolo import AnomalyDetector

    with np.load(file) as held:
        train, test = held["X_train"][held["y_train_anomaly"] == 0], held["X_test"]
        is_anomaly = held["y_test_anomaly"]
    detectors = (AnomalyDetector(scaling=None, random_state=seed).fit(train) for seed in seeds)
    return [float(roc_auc_score(is_anomaly, -detector.score_samples(test))) for detector in detectors]


# -- the table --------------------------------------------------------------------------------------------------------


def _apart(detector: str, folder: Path, seed: int, cache: Path | None = None) -> dict[str, Any] | None:
    """`run_one` in a process of its own; None, if the detector is not installed."""
    words = [sys.executable, "-m", "benchmarks.anomaly", "--data", str(folder), "--one", detector, "--seeds", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(cache), check=False)
    if done.returncode and "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"{detector}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, seeds: list[int]) -> dict[str, Any]:
    """All detectors, seed by seed, side by side."""
    runs: dict[str, list[dict[str, Any]]] = {}
    absent = set()
    warm: list[float] = []
    for seed in seeds:
        for detector in DETECTORS:
            if detector in absent:
                continue
            with tempfile.TemporaryDirectory() as cache:
                found = _apart(detector, folder, seed, Path(cache))
                if found is None:
                    absent.add(detector)
                    print(f"{detector}: not installed (extra `bench`)", file=sys.stderr)
                    continue
                if detector == OURS:
                    again = _apart(detector, folder, seed, Path(cache))
                    assert again is not None
                    warm.append(again["seconds"])
            runs.setdefault(detector, []).append(found)
            mean = fmean(found["auroc"].values())
            print(f"{detector}, seed {seed}: {mean:.2f} in {found['seconds']:.1f} s", file=sys.stderr, flush=True)
    sets = list(runs[OURS][0]["auroc"])
    auroc = {name: {s: [run["auroc"][s] for run in some] for s in sets} for name, some in runs.items()}
    seconds = {name: [run["seconds"] for run in some] for name, some in runs.items()}
    return {"auroc": auroc, "seconds": seconds, "seconds, programs compiled before": warm}


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
    rows.append(["seconds, all sets", *(f"{np.median(found['seconds'][name]):.1f}" for name in names)])
    return aligned([["", *names], *rows])


def report(found: dict[str, Any]) -> str:
    """The table, what may be said of it, and the figure that counts."""
    lines = [table(found), ""]
    gap = against(found, OURS, RIVAL)
    lines.append(
        f"{OURS} − {RIVAL}: {gap['mean']:+.2f} points, 95 % interval {gap['low']:+.2f} to {gap['high']:+.2f} over "
        f"sets, better on {gap['wins']} of {len(found['auroc'][OURS])}; signed-rank test p = {gap['p']:.2g}"
    )
    if TIMED in found["seconds"]:
        theirs = np.median(found["seconds"][TIMED])
        cold, warm = (np.median(found[name][OURS] if name == "seconds" else found[name]) for name in _TIMES)
        lines.append(
            f"seconds of {TIMED}: {theirs:.1f}; of {OURS}: {cold:.1f}, compilation included ({cold / theirs:.2f} of "
            f"it), {warm:.1f} with compiled programs at hand ({warm / theirs:.2f})"
        )
    if "ECG5000" in found:
        each = ", ".join(f"{value:.4f}" for value in found["ECG5000"])
        lines.append(f"ECG5000, AUROC: {fmean(found['ECG5000']):.4f} ({each})")
    mean = fmean(fmean(values) for values in found["auroc"][OURS].values())
    return "\n".join([*lines, f"diabolo mean AUROC {mean:.1f}"])


_TIMES = ("seconds", "seconds, programs compiled before")


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser("benchmarks.anomaly", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--out", type=Path)
    options.add_argument("--one", choices=DETECTORS, help=argparse.SUPPRESS)
    given = options.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    folder = given.data if (given.data / SPLIT).exists() else given.data / "adbench"
    if not (folder / SPLIT).exists():
        sys.exit(f"benchmarks.anomaly: there is no {SPLIT} in {given.data}, nor in a folder adbench in it.")
    if given.one:
        print(json.dumps(run_one(given.one, folder, seeds[0])))
        return
    found = measure(folder, seeds)
    beats = folder.parent / "ecg5000" / "ecg5000.npz"
    if beats.exists():
        found["ECG5000"] = heartbeats(beats, seeds)
    print(report(found))
    if given.out:
        keep(given.out, {"against KNN": against(found, OURS, RIVAL)} | found)


if __name__ == "__main__":
    main()
