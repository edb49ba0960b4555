"""`start`: how long one waits before anything happens, always in a fresh process."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from ..children import command, run
from ..context import Context, by_turns
from ..record import Line

__all__ = ["start"]

_IMPORT = "import time; t = time.perf_counter(); import diabolo; print(time.perf_counter() - t)"


def start(context: Context) -> Line:
    """Importing, asking for help, the first fit: nobody's speed but ours is compared."""
    line = Line("start", {"rows": 200, "columns": 10, "estimator": "VariationalAutoencoder()"})
    found = by_turns({"import": _import, "help": _help, "fits": _fits}, context.repeats)
    line.add("import diabolo", "s", found["import"])
    line.add("diabolo --help", "s", found["help"])
    for i, kind in enumerate(("cold", "warm")):
        line.add(f"first fit, {kind} cache", "s", [pair[i]["fit"] for pair in found["fits"]])
        line.add(f"imports before it, {kind} cache", "s", [pair[i]["imports"] for pair in found["fits"]])
        line.add(f"whole process, {kind} cache", "s", [pair[i]["wall"] for pair in found["fits"]])
    line.bound("import diabolo", "import diabolo", 0.3)
    line.bound("diabolo --help, whole process", "diabolo --help", 0.5)
    line.bound("first fit, cold cache", "first fit, cold cache", 3.0)
    line.bound("first fit, warm cache", "first fit, warm cache", 1.0)
    imports = line.figures["imports before it, warm cache"].median
    line.notes.append(f"importing the estimators, not in the fits: {imports:.2f} s")
    return line


def _import() -> float:
    return float(command([sys.executable, "-c", _IMPORT]))


def _help() -> float:
    started = time.perf_counter()
    command([sys.executable, "-m", "diabolo", "--help"])
    return time.perf_counter() - started


def _fits() -> tuple[dict, dict]:
    with tempfile.TemporaryDirectory() as cache:
        return run("first-fit", cache=Path(cache)), run("first-fit", cache=Path(cache))
