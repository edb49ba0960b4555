"""The command: measure lines, print the table, keep every figure."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import machine
from .context import Context, Unmeasurable
from .lines import LINES
from .record import Line
from .table import show


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; 0 if every line could be measured."""
    options = _parser().parse_args(arguments)
    names = options.only.split(",") if options.only else list(LINES)
    if unknown := [name for name in names if name not in LINES]:
        print(f"no line is called {', '.join(unknown)}; there are {', '.join(LINES)}", file=sys.stderr)
        return 2
    repeats = options.repeats or (1 if options.quick else 5)
    context = Context(options.data, repeats, options.quick, options.out.parent)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    head = {"machine": machine.describe()}
    lines: list[Line] = []
    kept = _earlier(options.out, head) if options.only else {}
    for name in names:
        print(f"{_now()} {name} …", file=sys.stderr, flush=True)
        about: dict[str, Any] = {"date": _now(), "quick": context.quick, "repeats": repeats, "load": [machine.load()]}
        started = time.perf_counter()
        lines.append(_measured(name, context))
        about |= {"seconds": time.perf_counter() - started, "load": [*about["load"], machine.load()]}
        kept[name] = about | lines[-1].as_json()
        # After every line, so that a run that is stopped keeps what it has.
        options.out.write_text(json.dumps(head | {"lines": kept}, indent=1, ensure_ascii=False) + "\n")
    show(lines)
    return 0 if all(line.checks or line.figures for line in lines) else 1


def _earlier(out: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The lines of runs before this one, if they were made on this machine: they stay beside the new ones."""
    if not out.exists():
        return {}
    found: dict[str, Any] = json.loads(out.read_text())
    return found.pop("lines") if {name: found.get(name) for name in head} == head else {}


def _measured(name: str, context: Context) -> Line:
    """A line, or an empty one that says why there is none: an hour's run does not end with one failure."""
    try:
        return LINES[name](context)
    except Unmeasurable as reason:
        return Line(name, {}, notes=[f"not measured: {reason}"])
    except Exception as error:
        traceback.print_exc()
        return Line(name, {}, notes=[f"failed: {type(error).__name__}: {error}"])


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _parser() -> argparse.ArgumentParser:
    data = os.environ.get("DIABOLO_DATA")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--only", metavar="LINES", help=f"some of {','.join(LINES)}")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: $DIABOLO_DATA")
    parser.add_argument("--repeats", type=int, help="of everything that is timed; default 5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="small jobs: to see that it runs, not how fast")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speed.json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
