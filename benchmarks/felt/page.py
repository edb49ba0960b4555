"""The section of docs/results.md, from the record of `benchmarks.felt`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["RESULTS", "section", "table"]

RESULTS = Path("benchmarks/results/felt.json")
_HEAD = """## Waiting: imports, first fits, searches

<!-- Made by `python -m benchmarks.felt page` from benchmarks/results/felt.json. -->

`python -m benchmarks.felt` measures what a user waits for in the first hour, on 200 rows of 10 columns if no other size
is named, each job in {repeats} new processes: medians of seconds by the clock, and of the processor's in brackets. A
first fit includes the imports. "Asked" is what was wanted before it was measured.

"""

_BOUNDS = """What bounds the lines that are above what was asked, with the trials in
[the notes](../benchmarks/notes/2026-11-29-felt.md):

- **First fits**: a process imports scikit-learn and JAX, traces its programs and, the first time, compiles them; each
  takes about a third. The imputer of few rows has no program, the linear start of the basic autoencoder no training.
- **Fit again**: the arithmetic of the training, up to 300 epochs. Under the cosine schedule the best epoch is among the
  last, so fewer epochs had higher held-out losses.
- **Searches**: one program for each width in `GridSearchCV`, which a single fit needs to keep its bits; three sizes of
  the code, with two programs each, in the search over six settings. A search of some seconds with `n_jobs=2` waits for
  the imports of two processes.
- **`diabolo score`**: the imports.
"""


def table(lines: Mapping[str, Any]) -> list[list[str]]:
    """Tabulate the medians, ours and the others'."""
    rows = [["", "asked", "diabolo", "beside it"]]
    for what, line in lines.items():
        others = ", ".join(f"{name} {_median(some)}" for name, some in line["others"].items())
        must = _first(line["others"]) if line["must"] is None else f"{line['must']:g}"
        rows.append([what, f"≤ {must}", _median(line["ours"]), others])
    return rows


def _first(others: Mapping[str, Any]) -> str:
    return next((f"that of {name}" for name in others), "")


def _median(runs: Sequence[Mapping[str, float]]) -> str:
    if not runs:
        return "–"
    if "megabytes" in runs[0]:
        return f"{median(run['megabytes'] for run in runs):.1f} MB"
    return f"{median(run['seconds'] for run in runs):.2f} ({median(run['cpu'] for run in runs):.2f})"


def section(file: Path = RESULTS) -> str:
    """Write the section in Markdown; empty, if there are no results."""
    if not file.exists():
        return ""
    found = json.loads(file.read_text(encoding="utf-8"))
    about = found["machine"]
    lines = [f"| {' | '.join(row)} |" for row in table(found["lines"])]
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("jax", "scikit-learn"))
    origin = (
        f"{found['date']}, on {about['usable_cores']} cores ({about['cpu']}), {found['load']:.1f} processes at work in "
        f"the last minute; {versions}. All figures are in [the results](../{RESULTS.as_posix()})."
    )
    return "\n".join(
        [_HEAD.format(repeats=found["repeats"]) + lines[0], "|---|---:|---:|---|", *lines[1:], "", origin, "", _BOUNDS]
    )
