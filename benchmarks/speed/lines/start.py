"""`start`: how long one waits before anything happens, always in a fresh process."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from ..children import command, run
from ..context import Context, by_turns
from ..record import Line

__all__ = ["start"]

_IMPORT = "import time; t = time.perf_counter(); import diabolo; print(time.perf_counter() - t)"


def start(context: Context) -> Line:
    """Importing, asking for help, the first fit: nobody's speed but ours is compared."""
    line = Line("start", {"rows": 200, "columns": 10, "estimator": "VariationalAutoencoder()"})
    fits = {"first fit": partial(_fits, "0"), "first fit, 100 epochs": partial(_fits, "100")}
    found = by_turns({"import": _import, "help": _help, **fits}, context.repeats)
    line.add("import diabolo", "s", found["import"])
    line.add("diabolo --help", "s", found["help"])
    for name in fits:
        for i, kind in enumerate(("cold", "warm")):
            line.add(f"{name}, {kind} cache", "s", [pair[i]["fit"] for pair in found[name]])
        line.add(f"{name}, once more in the process", "s", [pair[1]["again"] for pair in found[name]])
    line.add("imports before it", "s", [pair[1]["imports"] for pair in found["first fit"]])
    line.bound("import diabolo", "import diabolo", 0.3)
    line.bound("diabolo --help, whole process", "diabolo --help", 0.5)
    for name in fits:
        line.bound(f"{name}, cold cache", f"{name}, cold cache", 3.0)
        line.bound(f"{name}, warm cache", f"{name}, warm cache", 1.0)
    medians = {name: figure.median for name, figure in line.figures.items()}
    line.notes.append(f"importing the estimators, not in the fits: {medians['imports before it']:.2f} s")
    again = medians["first fit, once more in the process"]
    line.notes.append(f"the default's steps alone, a fit once more in the process: {again:.2f} s")
    return line


def _import() -> float:
    return float(command([sys.executable, "-c", _IMPORT]))


def _help() -> float:
    started = time.perf_counter()
    command([sys.executable, "-m", "diabolo", "--help"])
    return time.perf_counter() - started


def _fits(epochs: str) -> tuple[dict, dict]:
    with tempfile.TemporaryDirectory() as cache:
        return run("first-fit", epochs, cache=Path(cache)), run("first-fit", epochs, cache=Path(cache))
