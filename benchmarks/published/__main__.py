"""Reproduce published results: one JSON line for each, on standard output; what it does meanwhile, on standard error.

A run that is stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import machine
from . import page
from .record import Row
from .rows import ROWS
from .study import Study

RESULTS = Path("benchmarks/results/published")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 if every bound was kept, 1 if one was not, 130 if it was interrupted."""
    options = _parser().parse_args(arguments)
    if options.name == "page":
        page.write(RESULTS)
        return 0
    names = list(ROWS) if options.name == "all" else [options.name]
    if any(ROWS[name].needs_data for name in names) and not (options.data and options.data.is_dir()):
        print("Where are the data? Give --data DIR, or set DIABOLO_DATA.", file=sys.stderr)
        return 2
    absent = {module for name in names for module in ROWS[name].needs if find_spec(module) is None}
    if absent:
        print(f"There is no module {', '.join(sorted(absent))}: pip install '.[bench]'.", file=sys.stderr)
        return 2
    until = time.monotonic() + 60 * options.budget if options.budget is not None else float("inf")
    kept = True
    for name in names:
        row = ROWS[name]
        if time.monotonic() + 60 * row.minutes > until:
            print(f"{name}: left out, it takes about {row.minutes:g} minutes", file=sys.stderr)
            continue
        try:
            kept &= _run(row, options)
        except KeyboardInterrupt:
            print(f"{name}: interrupted; the same command goes on from here", file=sys.stderr)
            return 130
    return 0 if kept else 1


def _run(row: Row, options: argparse.Namespace) -> bool:
    study = Study(row.name, options.data, options.work, options.seeds or row.seeds, options.quick)
    line = row.outcome(study)
    print(json.dumps(line, ensure_ascii=False), flush=True)
    _compare(line, options.out / f"{row.name}.json")
    if options.keep:
        options.out.mkdir(parents=True, exist_ok=True)
        about = {"date": datetime.now().astimezone().isoformat(timespec="seconds"), "machine": machine.describe()}
        text = json.dumps(line | about, indent=1, ensure_ascii=False)
        (options.out / f"{row.name}.json").write_text(text + "\n", encoding="utf-8")
        for picture in sorted((options.work / row.name).glob("*.png")):
            shutil.copy(picture, options.out / f"{row.name}-{picture.name}")
    return all(bound["met"] for bound in line["bounds"])


def _compare(line: dict[str, Any], recorded: Path) -> None:
    """Say how far the values are from those recorded, in spreads."""
    if not recorded.exists():
        return
    for name, was in json.loads(recorded.read_text(encoding="utf-8"))["figures"].items():
        spread = "" if was["spread"] is None else f" ± {was['spread']:.2g}"
        now = f"{line['figures'][name]['mean']:.5g}" if name in line["figures"] else "not found this time"
        print(f"{line['name']}: {name}: {now}; recorded {was['mean']:.5g}{spread}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    data = os.environ.get("DIABOLO_DATA")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("name", choices=[*ROWS, "all", "page"], help="a result; page: only make docs/results.md again")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: $DIABOLO_DATA")
    parser.add_argument("--seeds", type=_seeds, metavar="0,1,2", help="default: three, or as many as take 15 minutes")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="of all: those that end within")
    parser.add_argument("--quick", action="store_true", help="few rows, one epoch: to see that it runs")
    parser.add_argument(
        "--work", type=Path, default=Path(".published"), help="where a run is kept while it is under way"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where results are")
    parser.add_argument("--keep", action="store_true", help="write the result there, in place of the one recorded")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
