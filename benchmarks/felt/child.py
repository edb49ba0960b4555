"""The jobs, each in a process of its own: ``python -m benchmarks.felt.child JOB ARGUMENTS``.

A job prints one line of JSON: seconds of its stages. Nothing is imported before the clock starts but what Python needs.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["JOBS", "TASKS"]

TASKS = ("basic", "stacked", "sparse", "denoising", "variational", "detector", "imputer", "generator", "classifier")
_CLASSES = {
    **{name: f"{name.capitalize()}Autoencoder" for name in TASKS[:5]},
    "detector": "AnomalyDetector",
    **{name: f"Autoencoder{name.capitalize()}" for name in TASKS[6:]},
}
_AGAIN = 3


def _timed(do: Callable[[], Any]) -> tuple[float, float, Any]:
    """Do it; seconds by the clock, seconds of the processor, and the result."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    result = do()
    return time.perf_counter() - started, sum(os.times()[:4]) - before, result


def _told(**stages: tuple[float, ...]) -> dict[str, dict[str, float]]:
    return {name: {"seconds": stage[0], "cpu": stage[1]} for name, stage in stages.items()}


def _rows(n: int, d: int, seed: int = 0) -> Any:
    """Correlated columns, with noise: half as many factors as columns."""
    import numpy as np

    rng = np.random.default_rng(seed)
    X = np.tanh(rng.normal(size=(n, max(1, d // 2))) @ rng.normal(size=(max(1, d // 2), d)))
    return X + 0.2 * rng.normal(size=(n, d))


def _with_holes(X: Any) -> Any:
    import numpy as np

    return np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)


def imports(module: str, *names: str) -> dict[str, Any]:
    """Import modules, or names of one."""

    def do() -> None:
        found = importlib.import_module(module)
        for name in names:
            getattr(found, name) if name[0].isupper() else importlib.import_module(name)

    return _told(imports=_timed(do))


def ours(task: str, n: str = "200", d: str = "10") -> dict[str, Any]:
    """Import, fit and use; fit again with other seeds. ``loss``: on 1,000 rows of the same kind, lower is better."""

    def first() -> tuple[Any, Any, Any]:
        diabolo = importlib.import_module("diabolo")
        X = _rows(int(n), int(d))
        model = getattr(diabolo, _CLASSES[task])(random_state=0)
        if task == "classifier":
            y = X[:, 0] + X[:, 1] > 0
            return model, (X, y), model.fit(X, y).predict(X)
        if task == "imputer":
            return model, (_with_holes(X),), model.fit_transform(_with_holes(X))
        model.fit(X)
        used = {"detector": lambda: model.predict(X), "generator": lambda: model.sample(200)}
        return model, (X,), used.get(task, lambda: model.transform(X))()

    *took, (model, given, _) = _timed(first)
    again = [_timed(lambda seed=seed: model.set_params(random_state=seed).fit(*given)) for seed in range(1, _AGAIN + 1)]
    found = _told(first=tuple(took), again=sorted(again, key=lambda stage: stage[0])[_AGAIN // 2])
    return found | {"loss": _loss(task, model, int(d))}


def _loss(task: str, model: Any, d: int) -> float | None:
    """Of rows that no fit has seen."""
    import numpy as np

    X = _rows(1000 + 200, d)[200:]
    if task == "imputer":
        holes = _with_holes(X)
        return float(np.sqrt(np.square(model.transform(holes) - X)[np.isnan(holes)].mean()))
    if task == "classifier":
        return float(-model.score(X, X[:, 0] + X[:, 1] > 0))
    return float(-np.mean(model.score_samples(X))) if hasattr(model, "score_samples") else None


def sklearn(task: str) -> dict[str, Any]:
    """The nearest of scikit-learn: `MLPClassifier`, `MLPRegressor` onto its own rows, `IterativeImputer`."""

    def first() -> tuple[Any, Any]:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        X = _rows(200, 10)
        if task == "imputer":
            from sklearn.experimental import enable_iterative_imputer  # noqa: F401
            from sklearn.impute import IterativeImputer

            model, given = IterativeImputer(random_state=0), (_with_holes(X),)
            return model, (given, model.fit_transform(*given))[0]
        if task == "classifier":
            model, given = MLPClassifier(random_state=0), (X, X[:, 0] + X[:, 1] > 0)
        else:
            model, given = MLPRegressor(random_state=0), (X, X)
        model.fit(*given).predict(X)
        return model, given

    *took, (model, given) = _timed(first)
    return _told(first=tuple(took), again=_timed(lambda: model.fit(*given)))


def pyod(name: str, n: str = "200", d: str = "10") -> dict[str, Any]:
    """PyOD's ``AutoEncoder`` or ``VAE``: import, fit and use; fit again."""

    def first() -> tuple[Any, Any]:
        module = importlib.import_module(f"pyod.models.{'auto_encoder' if name == 'AutoEncoder' else 'vae'}")
        X, model = _rows(int(n), int(d)), getattr(module, name)(verbose=0)
        model.fit(X).predict(X)
        return model, X

    *took, (model, X) = _timed(first)
    return _told(first=tuple(took), again=_timed(lambda: model.fit(X)))


def search(kind: str, n_jobs: str = "1") -> dict[str, Any]:
    """Search by `GridSearchCV`, or ``batched`` by `BatchedSearchCV`: 20 widths, or 6 settings with default steps."""
    import warnings

    warnings.simplefilter("ignore")
    kind, _, manner = kind.partition("-")

    def do() -> Any:
        import diabolo

        if kind == "widths":
            model = diabolo.StackedAutoencoder(max_epochs=20, n_latent=2, random_state=0)
            X, grid = _rows(200, 10), {"hidden_layer_sizes": [(width,) for width in range(4, 24)]}
        else:
            model = diabolo.VariationalAutoencoder(random_state=0)
            X, grid = _rows(200, 30), {"n_latent": [2, 4, 8], "learning_rate": [1e-3, 3e-3]}
        if manner == "batched":
            return diabolo.BatchedSearchCV(model, grid, cv=3).fit(X)
        from sklearn.model_selection import GridSearchCV

        return GridSearchCV(model, grid, cv=3, n_jobs=int(n_jobs)).fit(X)

    return _told(search=_timed(do))


def search_sklearn() -> dict[str, Any]:
    """`GridSearchCV` of 20 rates of an `MLPRegressor`."""
    import warnings

    warnings.simplefilter("ignore")

    def do() -> Any:
        from sklearn.model_selection import GridSearchCV
        from sklearn.neural_network import MLPRegressor

        X, rates = _rows(200, 10), [10 ** (-4 + i / 10) for i in range(20)]
        return GridSearchCV(MLPRegressor(random_state=0), {"learning_rate_init": rates}, cv=3).fit(X, X)

    return _told(search=_timed(do))


def shapes() -> dict[str, Any]:
    """Resident megabytes for each new shape: 40 widths after 20 others."""
    import re
    from pathlib import Path

    import diabolo

    def resident() -> float:
        return float(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]

    X, marks = _rows(200, 10), []
    for width in range(1, 61):
        diabolo.StackedAutoencoder(hidden_layer_sizes=(width,), max_epochs=2, random_state=0).fit(X).transform(X)
        if width in (20, 60):
            marks.append(resident())
    return {"shapes": {"megabytes": (marks[1] - marks[0]) / 40}}


def score() -> dict[str, Any]:
    """``diabolo score`` of a file of 400 rows."""
    import csv
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with (folder / "rows.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([f"c{i}" for i in range(10)])
            writer.writerows(_rows(400, 10).tolist())
        command = [sys.executable, "-m", "diabolo"]
        rows, run = str(folder / "rows.csv"), str(folder / "run")
        subprocess.run([*command, "fit", rows, "-m", "basic", "-o", run], check=True, capture_output=True)
        words = [*command, "score", run, rows, "-o", str(folder / "scores.csv")]
        subprocess.run(words, check=True, capture_output=True)  # its programs are at hand from here on
        words[-1] = str(folder / "scores_again.csv")
        return _told(score=_timed(lambda: subprocess.run(words, check=True, capture_output=True)))


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "imports": imports,
    "ours": ours,
    "sklearn": sklearn,
    "pyod": pyod,
    "search": search,
    "search-sklearn": search_sklearn,
    "shapes": shapes,
    "score": score,
}


def _main(job: str, *arguments: str) -> None:
    try:
        found = JOBS[job](*arguments)
    except ModuleNotFoundError as reason:
        found = {"absent": f"{reason.name} is not installed"}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
