"""The waits of a user's first hour, beside scikit-learn and PyOD.

    python -m benchmarks.felt [--only TEXT] [--repeats 3] [--quick] [--out benchmarks/results/felt.json]
    python -m benchmarks.felt page

Every job runs in a process of its own, with a folder of its own for compiled programs: first with an empty one, then
with the programs of the run before. Told are medians, by the clock and of the processor. PyOD is beside it if it is
installed; `page` writes docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..speed.children import environment
from ..told import aligned, keep
from .lines import EMPTY, LINES, WARM, Figure, Line, jobs
from .page import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; or write the page."""
    given = _parser().parse_args(arguments)
    if given.what == "page":
        from ..published import __main__ as results
        from ..published import page

        page.write(results.RESULTS)
        return 0
    chosen = [line for line in LINES.values() if given.only in line.what]
    if not chosen:
        print(f"no line contains {given.only!r}", file=sys.stderr)
        return 2
    found = measure(chosen, 1 if given.quick else given.repeats, quick=given.quick)
    print(aligned(table(found["lines"])))
    for side, reason in found["absent"].items():
        print(f"{side}: {reason}", file=sys.stderr)
    if given.out:
        keep(given.out, found)
    return 0


def measure(lines: Sequence[Line], repeats: int, *, quick: bool = False) -> dict[str, Any]:
    """Run the jobs by turns; the figures of each line, and why some are absent.

    Parameters
    ----------
    lines : sequence of Line
    repeats : int
        Runs of each job.
    quick : bool
        Whether to have each job done once only, with the programs of no run before: to see that it runs.
    """
    runs: dict[tuple[tuple[str, ...], str], list[dict[str, Any]]] = {}
    absent: dict[str, str] = {}
    for turn in range(repeats):
        for job, wants_empty in jobs(list(lines)):
            print(f"{turn + 1}/{repeats} {' '.join(job)}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as cache:
                states = (EMPTY,) if quick else (EMPTY, WARM)
                for state in states:
                    # The empty cache is also what makes the programs of the warm one, if it is not measured.
                    told = _run(job, Path(cache))
                    if "absent" in told:
                        absent[" ".join(job)] = told["absent"]
                        break
                    if state == WARM or quick or wants_empty:
                        runs.setdefault((job, state), []).append(told)
    return {
        "repeats": repeats,
        "quick": quick,
        "absent": absent,
        "lines": {line.what: _figures(line, runs) for line in lines},
    }


def _run(job: tuple[str, ...], cache: Path) -> dict[str, Any]:
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.felt.child", *job]
    done = subprocess.run(words, env=environment(cache), capture_output=True, text=True, check=False)
    if done.returncode:
        return {"absent": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _figures(line: Line, runs: dict[Any, list[dict[str, Any]]]) -> dict[str, Any]:
    def of(figure: Figure) -> list[dict[str, float]]:
        some = runs.get((figure.job, figure.cache)) or runs.get((figure.job, EMPTY), [])
        loss = {"loss"} if figure.stage == "again" else set()
        return [run[figure.stage] | {name: run[name] for name in loss if run.get(name) is not None} for run in some]

    others = {name: of(figure) for name, figure in line.others}
    return {
        "must": None if line.must != line.must else line.must,
        "unit": line.unit,
        "ours": of(line.ours),
        "others": {name: some for name, some in others.items() if some},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.felt", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["page"], help="page: write docs/results.md")
    parser.add_argument("--only", default="", metavar="TEXT", help="lines that contain this")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each job; default 3")
    parser.add_argument("--quick", action="store_true", help="each job once: to see that it runs, not how fast")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
