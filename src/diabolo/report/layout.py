"""The frame of a report: sections, charts, tables, and the one HTML file that needs no network connection."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import plotly
import plotly.io

from ..data.writers import PAGE_MARK
from .diagnostics.finding import Finding

__all__ = ["Page", "cell_text", "document", "findings_lead", "findings_list", "grid", "table", "tile_list"]


class Page:
    """The sections of the page, and the charts that the browser draws."""

    def __init__(self) -> None:
        self._sections: list[tuple[str, str, str]] = []
        self.charts: list[dict[str, Any]] = []
        self.data: dict[str, object] = {}

    def chart(self, title: str, figure: Any) -> str:
        self.charts.append(json.loads(plotly.io.to_json(figure)))
        return (
            f"<figure><figcaption>{escape(title)}</figcaption>"
            f'<div class="chart" data-chart="{len(self.charts) - 1}" role="img" aria-label="{escape(title)}"></div>'
            "</figure>"
        )

    def section(self, key: str, title: str, text: str, *blocks: str) -> None:
        lead = f"<p>{text}</p>" if text else ""
        self._sections.append((key, title, f"<h2>{escape(title)}</h2>{lead}{''.join(blocks)}"))

    def html(self) -> str:
        links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in self._sections)
        body = "".join(f'<section id="{key}" tabindex="-1">{text}</section>' for key, _, text in self._sections)
        return f'<nav aria-label="Sections">{links}</nav>{body}'


def grid(blocks: Sequence[str], kind: str = "charts") -> str:
    """Return blocks beside each other, as far as the window allows."""
    return f'<div class="{kind}">{"".join(blocks)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """Return a table with a line of names."""
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell_text(cell))}</td>' for cell in row)}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def cell_text(cell: object) -> str:
    """Format a cell for the page."""
    if cell is None or (isinstance(cell, float | np.floating) and np.isnan(cell)):
        return "–"
    if isinstance(cell, bool | str):
        return str(cell)
    if isinstance(cell, int | float | np.number):
        return f"{float(cell):.5g}" if abs(float(cell)) < 1e6 else f"{float(cell):,.0f}"
    return str(cell)


def findings_lead(checked: str, found: Sequence[Finding]) -> str:
    """Return the sentence above the findings: what was checked, and whether there are any."""
    return f"Checked: {checked}. " + (
        "Each problem is listed with its evidence and the action to take." if found else "No problems found."
    )


def findings_list(found: Iterable[Finding]) -> str:
    """Return findings as a list; empty if there are none."""
    items = "".join(
        f'<li class="{"serious" if one.serious else "mild"}"><b>{escape(one.title)}.</b> {escape(one.evidence)} '
        f"<i>{escape(one.action)}</i></li>"
        for one in found
    )
    return f'<ul class="findings">{items}</ul>' if items else ""


def tile_list(shown: Iterable[tuple[str, str]]) -> str:
    """Return names and values as the entries of a definition list."""
    return "".join(f"<div><dd>{escape(value)}</dd><dt>{escape(name)}</dt></div>" for name, value in shown)


def document(page: Page, title: str, text: str, tiles: str, version: str) -> str:
    """Return the page as HTML."""
    here = resources.files(__package__)
    code = "\n".join((here / name).read_text(encoding="utf-8") for name in ("runtime.js", "page.js"))
    bundle = {"charts": page.charts, **page.data}
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{PAGE_MARK}<title>{escape(title)}: report</title><style>{(here / "page.css").read_text(encoding="utf-8")}</style></head>
<body><a class="skip" href="#findings">skip to the findings</a><main>
<header><h1>{escape(title)}</h1><button id="theme" type="button" aria-pressed="false">light or dark</button>
<p>{text} <noscript>Charts, map and explorer need JavaScript.</noscript></p>
<dl class="tiles">{tiles}</dl></header>
{page.html()}
<footer>diabolo {escape(version)}</footer></main>
<script type="text/plain" id="library">{_library()}</script>
<script type="text/plain" id="bundle">{_packed(json.dumps(bundle, allow_nan=False).encode())}</script>
<script>{code}</script></body></html>
"""


@cache
def _library() -> str:
    """Return the charts' library, packed: half a second for the first page of a process."""
    return _packed((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes())


def _packed(content: bytes) -> str:
    """Return content as gzip and base64 text, the same bits for the same content."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
