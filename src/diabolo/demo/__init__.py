"""`diabolo demo`: the lecture's five systems on real handwritten digits, as pictures and a table.

Data flows one way: `study` trains and measures, `pictures` draws what it found, `page` sets both on one page.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ..errors import UsageError

__all__ = ["run"]


def run(out: Path, seed: int = 0) -> None:
    """Train, draw and write ``out/index.html``, ``out/results.json`` and ``out/pictures/``; print the table.

    Raises
    ------
    UsageError
        If ``out`` is a folder of something else.
    """
    if out.exists() and any(out.iterdir()) and not (out / "results.json").is_file():
        raise UsageError(f"{out} is not empty and holds no earlier demo. Choose another folder with --out.")
    from rich.console import Console

    from . import page, pictures, study

    started = time.perf_counter()
    console = Console(stderr=True)
    with console.status("preparing") as status:
        findings = study.run(seed, lambda text: status.update(f"training: {text}"))
        status.update("drawing")
        drawn = pictures.draw(findings, out / "pictures")
    results = findings.results | {"seconds": round(time.perf_counter() - started, 1)}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "index.html").write_text(page.render(results, drawn), encoding="utf-8")
    page.print_tables(results, Console(file=sys.stdout))
    print(f"\n{results['seconds']} s; the pictures are in {out / 'index.html'}")
