"""Work done in a fresh process, and how to have it done: ``python -m benchmarks.speed.children JOB``.

A job prints one line of JSON. Interpreter start and imports are timed apart from the work.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import rows
from .context import Absent

__all__ = ["command", "environment", "run"]


# -- from outside -----------------------------------------------------------------------------------------------------


def run(job: str, *arguments: str, cache: Path | None = None) -> dict[str, Any]:
    """Do a job in a fresh process; what it printed, as a dict, with the process's ``wall`` seconds."""
    started = time.perf_counter()
    done = command([sys.executable, "-m", "benchmarks.speed.children", job, *arguments], cache)
    found = json.loads(done.splitlines()[-1])
    if "absent" in found:
        raise Absent(found["absent"])
    return found | {"wall": time.perf_counter() - started}


def command(words: Sequence[str], cache: Path | None = None) -> str:
    """Run a command whose programs are kept in ``cache``; its standard output."""
    done = subprocess.run(words, env=environment(cache), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} gave {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def environment(cache: Path | None) -> dict[str, str]:
    """Ours, but for the folder of compiled programs, which must be nobody else's."""
    own = {"JAX_COMPILATION_CACHE_DIR", "DIABOLO_CACHE", "XDG_CACHE_HOME"} if cache else set()
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return kept | ({"XDG_CACHE_HOME": str(cache)} if cache else {})


# -- inside -----------------------------------------------------------------------------------------------------------


def _import(module: str) -> tuple[Any, float]:
    started = time.perf_counter()
    return importlib.import_module(module), time.perf_counter() - started


def tables_ours(data: str, seed: str, *names: str) -> dict[str, Any]:
    """PyOD's default sizes with our estimator, over all sets: seconds of `fit` and AUROC."""
    diabolo, imports = _import("diabolo.estimators")
    seconds, auroc = {}, {}
    for name in names:
        given = rows.anomaly_set(Path(data), name)
        model = diabolo.StackedAutoencoder(
            n_latent=32,
            hidden_layer_sizes=(64,),
            activation="relu",
            batch_size=32,
            max_epochs=10,
            learning_rate=1e-3,
            validation_fraction=None,
            random_state=int(seed),
        )
        started = time.perf_counter()
        model.fit(given.train)
        seconds[name] = time.perf_counter() - started
        error = np.square(given.test - model.reconstruct(given.test)).sum(axis=1)
        auroc[name] = _auroc(given.labels, error)
    return {"imports": imports, "seconds": seconds, "auroc": auroc}


def tables_pyod(data: str, seed: str, *names: str) -> dict[str, Any]:
    """PyOD's AutoEncoder with its defaults, the same way.

    Its scores run through Numba, which compiles in every process anew: timed apart, as ``numba``.
    """
    pyod, imports = _import("pyod.models.auto_encoder")
    distances = importlib.import_module("pyod.utils.stat_models").pairwise_distances_no_broadcast
    started, few = time.perf_counter(), np.zeros((2, 2), np.float32)
    distances(few, few)
    numba = time.perf_counter() - started
    seconds, auroc = {}, {}
    for name in names:
        given = rows.anomaly_set(Path(data), name)
        model = pyod.AutoEncoder(verbose=0, random_state=int(seed))
        started = time.perf_counter()
        model.fit(given.train)
        seconds[name] = time.perf_counter() - started
        auroc[name] = _auroc(given.labels, model.decision_function(given.test))
    return {"imports": imports, "numba": numba, "seconds": seconds, "auroc": auroc}


def first_fit(epochs: str) -> dict[str, Any]:
    """200 rows of 10 columns, a variational autoencoder's defaults but for the epochs; and the same fit again."""
    diabolo, imports = _import("diabolo.estimators")
    X = np.random.default_rng(0).normal(size=(200, 10))
    model = diabolo.VariationalAutoencoder(random_state=0, max_epochs=int(epochs) or None)
    started = time.perf_counter()
    model.fit(X)
    first = time.perf_counter()
    model.fit(X)
    return {"imports": imports, "fit": first - started, "again": time.perf_counter() - first}


def programs() -> dict[str, Any]:
    """How many programs 100 row counts make `transform` compile."""
    import jax

    from diabolo import StackedAutoencoder

    X = np.random.default_rng(0).normal(size=(5000, 10)).astype(np.float32)
    model = StackedAutoencoder(max_epochs=1, random_state=0).fit(X)
    compiled: list[str] = []

    def heard(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    for n in np.unique(np.geomspace(1, 5000, 160).astype(int))[:100]:
        model.transform(X[:n])
    return {"programs": len(compiled)}


def _auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


_JOBS = {
    "tables-diabolo": tables_ours,
    "tables-PyOD": tables_pyod,
    "first-fit": first_fit,
    "programs": programs,
}


def _main(job: str, *arguments: str) -> None:
    warnings.simplefilter("ignore")
    try:
        found = _JOBS[job](*arguments)
    except ModuleNotFoundError as reason:
        found = {"absent": f"{reason.name} is not installed"}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
