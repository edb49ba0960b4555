"""`tables`: whole `fit` calls over many small tables, compilation included."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from .. import rows
from ..children import run
from ..context import Absent, Context
from ..record import Line

__all__ = ["tables"]

_QUICK = ("wine", "vertebral", "WBC", "glass")


def tables(context: Context) -> Line:
    """PyOD's AutoEncoder's defaults over ADBench's sets; each turn in fresh processes, with a seed of its own."""
    names = rows.anomaly_names(context.data)
    names = [name for name in names if name in _QUICK] if context.quick else names
    settings = {"sets": names, "hidden": [64, 32], "batch": 32, "epochs": 10, "rate": 1e-3}
    line = Line("tables", settings)
    found: dict[str, list[dict[str, Any]]] = {"diabolo, cold": [], "diabolo, warm": [], "PyOD": []}
    for seed in range(context.repeats):
        # A fit of another seed has the same programs, so the second process finds those of the first.
        with tempfile.TemporaryDirectory() as cache:
            ours = partial(run, "tables-diabolo", str(context.data), str(seed), *names, cache=Path(cache))
            found["diabolo, cold"].append(ours())
            found["diabolo, warm"].append(ours())
        try:
            found["PyOD"].append(run("tables-PyOD", str(context.data), str(seed), *names))
        except Absent as reason:
            line.absent["PyOD"] = str(reason)
    for side, turns in found.items():
        if turns:
            _enter(line, side, turns)
    line.compare("all fits, warm cache", "diabolo, warm", "PyOD", 8.0, less_is_better=True)
    line.compare("all fits, cold cache", "diabolo, cold", "PyOD", 2.5, less_is_better=True)
    line.compare("mean AUROC", "diabolo, warm, AUROC", "PyOD, AUROC", 1.0, peer="PyOD")
    line.compare("imports, apart", "diabolo, warm, imports", "PyOD, imports", less_is_better=True, peer="PyOD")
    return line


def _enter(line: Line, side: str, turns: list[dict[str, Any]]) -> None:
    line.add(side, "s", [sum(turn["seconds"].values()) + turn.get("numba", 0.0) for turn in turns])
    line.add(f"{side}, imports", "s", [turn["imports"] for turn in turns])
    line.add(f"{side}, AUROC", "", [mean(turn["auroc"].values()) for turn in turns])
    if "numba" in turns[0]:
        line.add(f"{side}, Numba's share", "s", [turn["numba"] for turn in turns])
    for name in turns[0]["seconds"]:
        line.add(f"{side}, {name}", "s", [turn["seconds"][name] for turn in turns])
        line.add(f"{side}, {name}, AUROC", "", [turn["auroc"][name] for turn in turns])
