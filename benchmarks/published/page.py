"""docs/results.md, from the results that are kept: published results, default settings, and what a user waits for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..felt.page import RESULTS as FELT
from ..felt.page import section as felt
from ..first_contact.page import RESULTS as FIRST_CONTACT
from ..first_contact.page import section as first_contact
from .record import Row
from .rows import ROWS

__all__ = ["PAGE", "text", "write"]

PAGE = Path("docs/results.md")
_BAR = r"\|"  # within a cell
_PACKAGES = ("diabolo", "jax", "equinox", "optax", "numpy", "scikit-learn")

_HEAD = """# Published results, reproduced

<!-- Made by `python -m benchmarks.published page` from benchmarks/results/published; do not edit by hand. -->

`python -m benchmarks.published NAME --data DIR` trains through the public API, by the protocol that stands with each
result below, and prints a line of JSON; a run that is stopped goes on when the same command is given again. Choices
were made on validation rows; test rows were read once, with the settings shown. Values are means over seeds, ± their
standard deviation. What was tried on the way is in [the notes](../benchmarks/notes/2026-11-23-published.md).
"""


def write(results: Path) -> None:
    """Make the page again."""
    PAGE.write_text(text(results), encoding="utf-8")


def text(results: Path, defaults: Path = FIRST_CONTACT, waits: Path = FELT) -> str:
    """The page; ``defaults`` and ``waits`` are the files of `benchmarks.first_contact` and `benchmarks.felt`.

    The section of a file that is absent is left out.
    """
    files = {name: results / f"{name}.json" for name in ROWS}
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    table = ["| | published | bound | ours | reached |", "|---|---|---|---|---|"]
    for name, line in found.items():
        for i, bound in enumerate(line["bounds"]):
            published = "" if i else line["published"]
            wished = "" if bound["wished"] is None else f" (wished {bound['wished']:g})"
            ours = _with_spread((line["figures"] | line["control"])[bound["figure"]])
            reached = "yes" if bound["met"] else "**no**"
            cells = (f"[`{name}`](#{name}) {bound['figure']}", published, bound["bound"] + wished, ours, reached)
            table.append(_row(cells))
    sections = (_section(ROWS[name], line, sorted(results.glob(f"{name}-*.png"))) for name, line in found.items())
    last = [part for part in (first_contact(defaults), felt(waits)) if part]
    return "\n".join([_HEAD, *table, "", *sections, *last])


def _section(row: Row, line: dict[str, Any], pictures: list[Path]) -> str:
    about = line["machine"]
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in _PACKAGES)
    lines = [
        f"## {row.name}",
        "",
        f"{row.title}. {line['protocol']}.",
        "",
        f"Published: {line['published']}.",
        "",
        f"| {line['unit']} | mean | spread | by seed |",
        "|---|---|---|---|",
        *(_figure(name, figure) for name, figure in line["figures"].items()),
        *(_figure(f"control: {name}", figure) for name, figure in line["control"].items()),
        "",
        *([row.remarks, ""] if row.remarks else []),
        *(part for file in pictures for part in (f"![{row.title}](../{file.as_posix()})", "")),
        *(part for setting in line["settings"] for part in ("```text", setting, "```", "")),
        f"{line['date'][:10]}, {_duration(line['seconds'])} for seeds {', '.join(map(str, line['seeds']))} on "
        f"{about['usable_cores']} cores ({about['cpu']}); {versions}.",
        "",
    ]
    return "\n".join(lines)


def _figure(name: str, figure: dict[str, Any]) -> str:
    spread = "" if figure["spread"] is None else f"{figure['spread']:.2g}"
    return _row((name, f"{figure['mean']:.5g}", spread, ", ".join(f"{value:.5g}" for value in figure["each"])))


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


def _with_spread(figure: dict[str, Any]) -> str:
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:.2g}"
    return f"{figure['mean']:.5g}{spread}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
