"""Results as a JSON file, and the section of docs/results.md that is made from it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import machine
from .child import WIDE
from .promises import Verdict, verdicts
from .runs import FORMER
from .tables import examples_table, seconds_table, summary, warnings_table, wide_sets

__all__ = ["RESULTS", "save", "section"]

RESULTS = Path("benchmarks/results/first_contact.json")
_UNFOLDED = 4
"""Depth to which the JSON file takes a line for each entry: library, set, seed."""
_PACKAGES = ("jax", "equinox", "optax", "numpy", "scikit-learn")

_HEAD = """## First contact: default settings

<!-- Made by `python -m benchmarks.first_contact page` from benchmarks/results/first_contact.json. -->

`python -m benchmarks.first_contact --data DIR` fits the five systems to {n_sets} sets of real data with default
settings: nothing is given but `random_state` and, for the basic and the stacked system, K (a third of the columns, at
most 8). A quarter of the rows, drawn by one of the seeds {seeds}, is for test, and reaches no fit, ours or a peer's;
the best truncated PCA alone is an oracle, whose number of components is chosen on the test rows. A promise is met on a
set if the mean over its seeds is within the bound; the tables tell how many seeds a set has been measured with.
Settings may be chosen on the sets of the first half, and on no others.
"""


def save(out: Path, found: dict[str, Any]) -> None:
    """Write what was found as JSON, with the date and the machine, a line for each set and seed."""
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine.describe(), "load": machine.load()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(_unfolded(about | found) + "\n", encoding="utf-8")


def _unfolded(value: Any, depth: int = 0) -> str:
    if not isinstance(value, dict) or not value or depth == _UNFOLDED:
        return json.dumps(value, ensure_ascii=False)
    entries = (f"{json.dumps(key, ensure_ascii=False)}: {_unfolded(one, depth + 1)}" for key, one in value.items())
    indent = "\n" + " " * (depth + 1)
    return f"{{{indent}{f',{indent}'.join(entries)}\n{' ' * depth}}}"


def section(file: Path = RESULTS) -> str:
    """Write the section in Markdown; empty, if there are no results."""
    if not file.exists():
        return ""
    found = json.loads(file.read_text(encoding="utf-8"))
    made = verdicts(found)
    lines = [
        _HEAD.format(n_sets=len(found["sets"]), seeds=", ".join(map(str, found["seeds"]))),
        *_table(summary(found)),
        *(["", found["note"]] if "note" in found else []),
    ]
    if wide := wide_sets(found):
        lines += [
            "",
            f"Left out of the variational promises, as they have more than {WIDE} columns: {', '.join(wide)}.",
        ]
    for system in dict.fromkeys(_system(one) for one in made):
        lines += ["", f"### {system.capitalize()}, set by set", ""]
        lines += _table(_by_set(found, [one for one in made if _system(one) == system]))
    for title, table in (
        ("Examples", examples_table(found)),
        ("Fits that gave warnings", warnings_table(found)),
        ("Seconds of fits", seconds_table(found)),
    ):
        if len(table) > 1:
            lines += ["", f"### {title}", "", *_table(table)]
    return "\n".join([*lines, "", _origin(found), ""])


def _system(one: Verdict) -> str:
    return one.promise.name.replace(":", ",").partition(",")[0]


def _by_set(found: dict[str, Any], some: Sequence[Verdict]) -> list[list[str]]:
    """Tabulate the means over seeds, by set and promise, in bold where the promise is not met."""
    heads = (f"{one.promise.name.removeprefix(_system(one)).lstrip(',: ')}, {one.promise.bound_text}" for one in some)
    lines = [["set", "half", "kind", "seeds", *heads]]
    for name, about in found["sets"].items():
        cells = [_value(one, name) for one in some]
        if any(cells):
            n_seeds = max(len(one.values.get(name, ())) for one in some)
            lines.append([name, about["half"], about["kind"], str(n_seeds), *cells])
    return lines


def _value(one: Verdict, name: str) -> str:
    if name not in one.values:
        return ""
    mean = float(np.mean(one.values[name]))
    text = "failed" if np.isnan(mean) else f"{mean:.{one.promise.digits}f}"
    return text if one.met[name] else f"**{text}**"


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return [row(lines[0]), row(["---", *["---:"] * (len(lines[0]) - 1)]), *map(row, lines[1:])]


def _origin(found: dict[str, Any]) -> str:
    """State when and where the figures were measured."""
    about, jobs = found["machine"], found["jobs"]
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in _PACKAGES)
    together = ", both libraries in turn, set by set" if FORMER in found["runs"] else ""
    at_once = "one process at a time" if jobs == 1 else f"{jobs} processes at a time, each on a core of its own"
    return (
        f"{found['date']}, {at_once}{together}, on {about['usable_cores']} cores ({about['cpu']}); {versions}. All "
        f"figures are in [the results](../{RESULTS.as_posix()})."
    )
