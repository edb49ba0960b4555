"""docs/robustness.md, from the results of laws and of fuzzing that are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .lines import LINES, Line
from .table import KNOWN, LAWS

__all__ = ["FUZZ", "PAGE", "RESULTS", "text", "write"]

PAGE = Path("docs/robustness.md")
RESULTS, FUZZ = Path("benchmarks/results/laws.json"), Path("benchmarks/results/fuzz.json")
_GROUPS = {
    "rows": "Laws of rows",
    "input": "Laws of input",
    "interfaces": "Laws of interfaces",
    "fits": "Laws of fits",
    "quality": "Laws of quality",
}
_HEAD = """# Robustness

<!-- Made by `python -m benchmarks.laws page` from benchmarks/results; do not edit by hand. -->

A test that no input crashes does not show that the answers are right. A *law* does: it states what must be equal when
the rows, the columns, the units, the container or the interface change, or which simple method an estimator must not be
worse than. The laws are one table, which is tried on every estimator: `tests/laws` tries a few cases of each in
`make test` and `make slow`, and `python -m benchmarks.laws` tries thousands.
[Hypothesis](https://hypothesis.readthedocs.io) chooses the cases, and reports the smallest one that fails. An estimator
is fitted once, to 80 rows, and shared by all laws that do not fit.
"""
_FOUND = """## What the laws found

- **The order of rows decided which columns are used.** A column of birthdays, or of times until an event, was left out
  as a clock if the file was sorted by it, and dates or ids in steps of ten were learned if the file was not. The rule
  now looks at values only (`data.order`).
- **A column of infinite numbers only was left out**, though one infinite cell is an error. It is an error now.
- **A fit to a pandas frame, or to an array of another memory order, differed in the last digit**, since sums of columns
  were taken in another order. Rows are now in one memory order before any sum.
- **A key of texts that no object of a JSON Lines file has** was read as an empty column; it is an absent column now.
- **Messages counted rows within a chunk** of a large file. They count in the whole table now.
- **Large tables with texts could not be imputed** where some chunks had missing texts and others had none; and
  **a record batch of numbers lost its names**, so that columns in another order were mixed up.
- Ten spreads away from the rows of the fit, two programs may differ by up to 10 % in an estimate of log p, since the
  search for the mode of p(z | x) takes another step: one such row in 1,000 differed by more than 0.1 %. One spread
  away, they differ by 1e-5. Of tens of thousands of ordinary rows, one of counts differed by 0.4 %, and one of an
  importance-weighted model by 0.2 % (the law that fails above). The likely cause: a step of the search counts if it
  gains 0.01 nats, and rounding decides where it gains just that.
- **The last bit of an imputed number depended on the other rows**: a product of matrices computes its last rows
  otherwise if they fill no group of eight. Rows are padded to whole groups now.
- **The fuzzer killed the server** by an Arrow text whose view, behind a missing cell, lies outside of the body: Arrow's
  own validation skips it, and the cast of the column reads it. Such views are emptied first.
- **A model of missing cells with a condition could not be served**: the made-up rows that the server begins with had no
  condition. **A variational model could not be fitted to two rows**, and **weights of 10³⁰⁸** overflowed.
"""


def write() -> None:
    """Make the page again."""
    PAGE.write_text(text(RESULTS, FUZZ), encoding="utf-8")


def text(results: Path, fuzz: Path) -> str:
    """Return the page; what has not been tried has no figures."""
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {"laws": {}}
    n_cases = sum(line["cases"] for law in found["laws"].values() for line in law.values())
    about = ""
    if n_cases:
        about = (
            f"Recorded on {found['date']}, seed {found['seed']}: {n_cases:,} cases of {len(found['laws'])} laws, "
            f"{found['machine']['cpu']}, jax {found['machine']['versions']['jax']}.\n"
        )
    parts = [_HEAD, about, *(_group(name, found["laws"]) for name in _GROUPS), _FOUND]
    return "\n".join([part for part in (*parts, _known(), _fuzzed(fuzz), _lines()) if part])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]


def _group(name: str, found: dict[str, Any]) -> str:
    rows = []
    for law in LAWS.values():
        if law.group == name:
            lines = found.get(law.name, {})
            failed = [subject for subject, line in lines.items() if "failure" in line]
            n_cases = sum(line["cases"] for line in lines.values())
            outcome = f"**fails: {', '.join(failed)}**" if failed else "holds" if lines else ""
            rows.append((law.name, law.expects, str(len(lines) or ""), f"{n_cases:,}" if lines else "", outcome))
    return "\n".join(
        [f"## {_GROUPS[name]}", "", *_table(("law", "equal, and why", "estimators", "cases", ""), rows), ""]
    )


def _known() -> str:
    rows = [(one.law, ", ".join(one.subjects), ", ".join(one.choices) or "all", one.reason) for one in KNOWN]
    if not rows:
        return ""
    return "\n".join(
        ["## Failures that are known", "", *_table(("law", "estimators", "cases", "what fails"), rows), ""]
    )


def _fuzzed(file: Path) -> str:
    if not file.exists():
        return ""
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = [
        (kind, f"{one['inputs']:,}", f"{one['outcomes'].get('read', 0):,}", f"{one['slowest_s']:.2f}",
         str(sum(finding["times"] for finding in one["findings"])))
        for kind, one in found["kinds"].items()
    ]  # fmt: skip
    head = ("input", "tried", "read", "slowest, s", "findings")
    return "\n".join(
        [
            "## Damaged input",
            "",
            f"`python -m benchmarks.fuzz` reads {found['inputs']:,} damaged inputs (seed {found['seed']}) as the "
            "estimators, the command and the server do. Those that are not read are refused with a typed error. A "
            "finding would be any other error, 10 seconds, 1 GB, or a file that is written elsewhere. Requests have "
            "lists and structs in cells, dictionaries, views and runs that grow when they are read, columns of "
            "nothing, half surrogate pairs, and rows of nothing. Fits that fail in any sequence are a law above.",
            "",
            *_table(head, rows),
            "",
        ]
    )


def _lines() -> str:
    rows = [(one.name, one.wrong, _tests(one)) for one in LINES]
    return "\n".join(
        [
            "## What was wrong, and the tests that hold what is right",
            "",
            "From reports of use, reviews and trials. The names are those of a list; A: wrong numbers, B: crashes, "
            "hangs and costs, C: found by reading. An empty cell: not yet.",
            "",
            *_table(("", "what was wrong", "tests"), rows),
            "",
        ]
    )


def _tests(line: Line) -> str:
    missing = f"; {line.missing}" if line.missing else ""
    return ", ".join(f"`{test}`" for test in line.tests) + missing
