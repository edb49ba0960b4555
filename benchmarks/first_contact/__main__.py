"""What a new user gets from the five systems with default settings, compared with simple peers, on real data.

    python -m benchmarks.first_contact [--data DIR] [--former SRC] [--jobs 2] [--out FILE]
    python -m benchmarks.first_contact report [the same options]
    python -m benchmarks.first_contact page

All fits run in processes of their own; an interrupted run continues when the same command is given again, and `report`
gives the figures that are there so far.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import child, examples, sets
from .page import save
from .runs import FORMER, NOW, Plan, collect, measure, tasks
from .tables import report, summary

SRC = Path(__file__).parents[2] / "src"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; or write the page."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.what == "page":
        from ..published import __main__ as results
        from ..published import page

        page.write(results.RESULTS)
        return 0
    seeds = [int(seed) for seed in given.seeds.split(",")]
    systems = _chosen(parser, "--only", given.only, (*child.SYSTEMS, *examples.PARTS))
    names = _chosen(parser, "--sets", given.sets, (*sets.SETS, child.EXAMPLES))
    if given.data is None or not given.data.is_dir():
        absent = [name for name in names if name in sets.SETS and sets.SETS[name].needs_data]
        names = [name for name in names if name not in absent]
        if absent:
            print(f"No data folder (--data, or $DIABOLO_DATA): left out are {', '.join(absent)}.", file=sys.stderr)
    libraries = {NOW: given.ours} | ({FORMER: given.former} if given.former else {})
    for src in libraries.values():
        if not (src / "diabolo" / "__init__.py").exists():
            parser.error(f"there is no diabolo in {src}: give the src folder of a checkout")
    former_seeds = frozenset(map(int, given.former_seeds.split(","))) if given.former_seeds else None
    plan = Plan.make(given.data, given.work, libraries, former_seeds)
    todo = tasks(names, seeds, systems, given.data)
    try:
        measure(plan, todo if given.what is None else [], given.jobs)
    except KeyboardInterrupt:
        print("interrupted; the same command continues from here", file=sys.stderr)
        return 130
    found = collect(plan, todo)
    print(report(found))
    if given.out:
        save(given.out, {"jobs": given.jobs, "summary": summary(found), **found})
    return 0


def _chosen(parser: argparse.ArgumentParser, option: str, text: str | None, known: Sequence[str]) -> list[str]:
    """Read names separated by commas; all, if none are given."""
    names = list(known) if text is None else text.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{option}: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if name in names]


def _parser() -> argparse.ArgumentParser:
    data = os.environ.get("DIABOLO_DATA")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_contact", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "what", nargs="?", choices=["report", "page"], help="report: of what is measured; page: write docs/results.md"
    )
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: $DIABOLO_DATA")
    parser.add_argument("--ours", type=Path, default=SRC, metavar="SRC", help="a copy of src to measure")
    parser.add_argument("--former", type=Path, metavar="SRC", help="src of a checkout to fit the same with")
    parser.add_argument("--only", metavar="basic,sparse", help="systems and examples; default: all")
    parser.add_argument("--sets", metavar="iris,wine", help='sets, and "examples"; default: all')
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--former-seeds", metavar="0", help="seeds of the former library; default: the same")
    parser.add_argument("--jobs", type=int, default=1, help="children at a time, each on a core of its own if several")
    parser.add_argument("--work", type=Path, default=Path(".published/first_contact"), help="where answers are saved")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
