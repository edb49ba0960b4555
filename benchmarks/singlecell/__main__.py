"""Single cells: `python -m benchmarks.singlecell [--data DIR] [--scvi PYTHON] [--out FILE]`.

Each method is fitted to four fifths of the cells of sc_mixology (five cell lines, five batches, 1,000 genes), in a
process of its own with one thread. Codes are those of all cells; their scores use the known lines and batches, which no
method sees. NLL is −log p(x | batch, library size) of a held-out cell, in nats, by importance sampling: an upper bound
in expectation. scvi-tools is run by the interpreter of an environment that has it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..told import aligned, keep, with_spread
from . import methods
from .scores import scores

__all__ = ["main", "measure", "report"]

_FILE = "sc_mixology/sc_mixology_5cl.npz"
_SETTINGS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")} | {"DIABOLO_CACHE": "off"}
"""One thread, and no programs that an earlier run has compiled."""


def measure(name: str, cells: Path, seed: int, python: str) -> dict[str, float]:
    """Run one method in its own process, and score its codes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.npz"
        command = [python, methods.__file__, name, str(cells), str(seed), str(out)]
        subprocess.run(command, check=True, env=os.environ | _SETTINGS, stdout=subprocess.DEVNULL)
        with np.load(out) as found, np.load(cells, allow_pickle=False) as known:
            numbers = {key: float(found[key]) for key in found.files if key != "codes"}
            return scores(found["codes"], known["cell_line"], known["batch"]) | numbers


def report(found: dict[str, list[dict[str, float]]]) -> str:
    """Mean over seeds, ± the spread."""
    lines = [["", "ARI", "silhouette", "batch mixing", "NLL", "CPU seconds"]]
    for name, runs in found.items():
        nll = with_spread([run["nll"] for run in runs], 1) if "nll" in runs[0] else ""
        cells = [with_spread([run[key] for run in runs], 3) for key in ("ari", "silhouette", "mixing")]
        lines.append([name, *cells, nll, f"{fmean(run['cpu_seconds'] for run in runs):.1f}"])
    return aligned(lines)


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser("benchmarks.singlecell", description=(__doc__ or "").splitlines()[0])
    data = os.environ.get("DIABOLO_DATA")
    options.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: $DIABOLO_DATA")
    options.add_argument("--scvi", help="the Python interpreter of an environment with scvi-tools")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--methods", help="some of the methods, separated by semicolons")
    options.add_argument("--out", type=Path, help="a JSON file to write")
    given = options.parse_args()
    if given.data is None:
        options.error("give --data, or set DIABOLO_DATA")
    found: dict[str, Any] = {}
    for name in given.methods.split(";") if given.methods else methods.METHODS:
        python = given.scvi if name.startswith("scvi") else sys.executable
        if python is None:
            print(f"{name}: left out without --scvi", file=sys.stderr)
            continue
        found[name] = []
        for seed in given.seeds.split(","):
            found[name].append(measure(name, given.data / _FILE, int(seed), python))
            print(name, seed, found[name][-1], file=sys.stderr, flush=True)
        if given.out:
            keep(given.out, {"found": found})
    print(report(found))


if __name__ == "__main__":
    main()
