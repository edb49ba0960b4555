"""Missing cells filled by us and by others: `python -m benchmarks.imputation --data DIR`.

DIR holds the four tables, or a folder imputation_uci that does. Cells are taken out completely at random; each method
sees the table with holes, and is judged by those. There are two protocols of the literature: a fifth of the cells, and
the root of the mean squared error of columns brought to [0, 1] (Yoon, Jordon & van der Schaar 2018, GAIN); half of the
cells, and the mean squared error of standardised columns (Mattei & Frellsen 2019, MIWAE).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from .told import aligned, keep, with_spread

__all__ = ["OURS", "TABLES", "Protocol", "main", "measure", "report", "task"]

OURS = "diabolo"


class Protocol(NamedTuple):
    """How a table is made incomplete and judged."""

    file: str
    share: float
    """Of the cells, taken out."""
    onto_unit: bool
    """Columns on [0, 1] and the root of the mean squared error; else standardised, and the mean squared error."""
    n_last: int = 0
    """Columns at the end that are labels, left out."""


TABLES = {
    "letter": Protocol("gain_letter.csv", 0.2, True),
    "spam": Protocol("gain_spam.csv", 0.2, True),
    "banknote": Protocol("banknote.csv", 0.5, False, 1),
    "breast_wdbc": Protocol("breast_wdbc.csv", 0.5, False, 1),
}


def task(folder: Path, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A table, in the units that it is judged in, and the same with holes."""
    protocol = TABLES[name]
    rows = np.genfromtxt(folder / protocol.file, delimiter=",", skip_header=1)
    rows = rows[:, : rows.shape[1] - protocol.n_last]
    if protocol.onto_unit:
        rows = (rows - rows.min(axis=0)) / (rows.max(axis=0) - rows.min(axis=0) + 1e-6)
    else:
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    return rows, np.where(np.random.default_rng(seed).random(rows.shape) < protocol.share, np.nan, rows)


def _methods(seed: int) -> dict[str, Callable[[], Any]]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    from diabolo import AutoencoderImputer

    def forests() -> Any:
        """As missForest has it: a forest for each column in turn, until nothing changes or ten rounds are done."""
        forest = RandomForestRegressor(100, max_features="sqrt", n_jobs=-1, random_state=seed)
        return IterativeImputer(forest, max_iter=10, random_state=seed)

    return {
        OURS: lambda: AutoencoderImputer(random_state=seed),
        "mean": SimpleImputer,
        "KNN": lambda: KNNImputer(n_neighbors=5),
        "IterativeImputer": lambda: IterativeImputer(max_iter=10, random_state=seed),
        "forests": forests,
    }


def measure(folder: Path, name: str, seed: int, method: str) -> dict[str, float]:
    """One method on one table: its error, seconds, and for ours the share of cells within their 90 % intervals."""
    whole, holes = task(folder, name, seed)
    missing = np.isnan(holes)
    imputer = _methods(seed)[method]()
    started = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):  # of rounds that do not converge
        filled = imputer.fit_transform(holes)
    found = {"seconds": time.perf_counter() - started}
    error = float(np.square(filled - whole)[missing].mean())
    found["error"] = error**0.5 if TABLES[name].onto_unit else error
    if method == OURS:
        low, high = imputer.prediction_intervals(holes)
        found["coverage"] = float(((low <= whole) & (whole <= high))[missing].mean())
    return found


def report(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Mean errors ± their spread over seeds, a line for each method and a column for each table."""
    names = list(found)
    methods = list(dict.fromkeys(method for some in found.values() for method in some))
    lines = [["", *(f"{name}, {'RMSE' if TABLES[name].onto_unit else 'MSE'}" for name in names)]]
    lines += [[method, *(_error(found[n].get(method, [])) for n in names)] for method in methods]
    lines += [
        [f"seconds, {method}", *(_median([run["seconds"] for run in found[n].get(method, [])]) for n in names)]
        for method in methods
    ]
    lines += [["cells in 90 % intervals", *(f"{fmean(r['coverage'] for r in found[n][OURS]):.1%}" for n in names)]]
    lines += [[f"{OURS} over the best other", *(f"{_over_best(found[n]):.3f}" for n in names)]]
    return aligned(lines)


def _error(runs: list[dict[str, float]]) -> str:
    return with_spread([run["error"] for run in runs], 4) if runs else "-"


def _median(values: list[float]) -> str:
    return f"{np.median(values):.1f}" if values else "-"


def _over_best(some: dict[str, list[dict[str, float]]]) -> float:
    """Our mean error in units of the least of the others', over the seeds that they have had."""
    means = {method: fmean(run["error"] for run in runs) for method, runs in some.items()}
    return means[OURS] / min((mean for method, mean in means.items() if method != OURS), default=np.nan)


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser("benchmarks.imputation", description=(__doc__ or "").splitlines()[0])
    data = os.environ.get("DIABOLO_DATA")
    options.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: $DIABOLO_DATA")
    options.add_argument("--seeds", default="0,1,2,3,4")
    options.add_argument("--tables", default=",".join(TABLES), help=f"default: {','.join(TABLES)}")
    options.add_argument("--methods", default=",".join(_methods(0)), help="default: all")
    options.add_argument("--out", type=Path, help="a JSON file; what it holds of other tables and methods stays")
    given = options.parse_args()
    names, methods = given.tables.split(","), given.methods.split(",")
    if unknown := [name for name in names if name not in TABLES] + [one for one in methods if one not in _methods(0)]:
        sys.exit(f"benchmarks.imputation: there is no {', '.join(unknown)}")
    folder = given.data and (given.data / "imputation_uci" if (given.data / "imputation_uci").is_dir() else given.data)
    if not folder or not all((folder / TABLES[name].file).exists() for name in names):
        sys.exit("benchmarks.imputation: where are the tables? Give --data DIR, or set DIABOLO_DATA.")
    known = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    found = known.get("found", {})
    for name in names:
        for method in methods:
            runs = found.setdefault(name, {})[method] = []
            for seed in map(int, given.seeds.split(",")):
                runs.append({"seed": seed, **measure(folder, name, seed, method)})
                print(f"{name}, {method}: {runs[-1]}", file=sys.stderr, flush=True)
            if given.out:
                keep(given.out, {"found": found})
    print(report({name: found[name] for name in TABLES if OURS in found.get(name, {})}))


if __name__ == "__main__":
    main()
