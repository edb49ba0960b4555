"""Try every law on every estimator, with thousands of cases, and keep what was found; `page` writes docs/robustness.md.

python -m benchmarks.laws [--share 1.0] [--only LAW,…] [--seed 0] [--out benchmarks/results/laws.json]
python -m benchmarks.laws page
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import machine
from . import page
from .law import tried
from .table import LAWS, known_of, pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Try laws; 0 if all hold, 1 if one does not."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.laws", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["try", "page"], default="try")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases of each law")
    parser.add_argument("--only", default="", metavar="LAWS", help="names of laws, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where results are added to those of other laws")
    given = parser.parse_args(arguments)
    if given.what == "page":
        page.write()
        return 0
    chosen = [name.strip() for name in given.only.split(",")] if given.only else list(LAWS)
    if unknown := set(chosen) - set(LAWS):
        print(f"There is no law {', '.join(sorted(unknown))}. The laws are: {', '.join(LAWS)}.", file=sys.stderr)
        return 2
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out and given.out.exists() else {"laws": {}}
    all_hold = True
    for subject, law in pairs():
        if law.name not in chosen:
            continue
        started, known = time.process_time(), known_of(subject, law)
        n_cases = max(1, round(given.share * law.many))
        former = kept["laws"].get(law.name, {}).get(subject.name, {"asked": 0})
        if former["asked"] >= n_cases and "failure" not in former:
            continue
        found = tried(
            law, subject, n_cases, given.seed, lambda case, known=known: not any(k.covers(case) for k in known)
        )
        seconds = round(time.process_time() - started, 1)
        line: dict[str, Any] = {"asked": n_cases, "cases": found.cases, "processor_s": seconds}
        if found.failure:
            all_hold = False
            line["failure"] = found.failure
        print(f"{subject.name}: {law.name}: {found.cases:,} cases {found.failure}", flush=True)
        kept["laws"].setdefault(law.name, {})[subject.name] = line
        if given.out:
            about = {"date": time.strftime("%Y-%m-%d"), "seed": given.seed, "machine": machine.describe()}
            given.out.write_text(
                json.dumps(about | {"laws": kept["laws"]}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
