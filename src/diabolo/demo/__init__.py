"""Run `diabolo demo`: the lecture's five systems on handwritten digits, with pictures and tables.

Data flows one way: `study` trains and measures, `pictures` draws the results, `page` writes tables and pictures.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from .. import outputs
from ..errors import UsageError

__all__ = ["run"]


def run(out: Path, seed: int = 0) -> None:
    """Train, draw, write ``out/index.html``, ``out/results.json`` and ``out/pictures/``, and print the tables.

    Raises
    ------
    UsageError
        If ``out`` is a folder with other content.
    """
    try:
        outputs.check_replaceable(out, _is_demo)
    except outputs.NotOurs as error:
        raise UsageError(f"{out} has content that is not an earlier demo. Choose another folder with --out.") from error
    from rich.console import Console

    from ..data import writers
    from . import page, pictures, study

    started = time.perf_counter()
    console = Console(stderr=True)
    with outputs.write_folder(out, _is_demo) as folder:
        with console.status("preparing") as status:
            findings = study.run(seed, lambda text: status.update(f"training: {text}"))
            status.update("drawing")
            drawn = pictures.draw(findings, folder / "pictures")
        results = findings.results | {"seconds": round(time.perf_counter() - started, 1)}
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        writers.write_page(folder / "index.html", page.render(results, drawn))
    page.print_tables(results, Console(file=sys.stdout))
    print(f"\n{results['seconds']} s; the pictures are in {out / 'index.html'}")


def _is_demo(folder: Path) -> bool:
    """Decide whether a folder holds an earlier demo and nothing else."""
    from ..data.writers import is_page

    if not is_page(folder / "index.html") or outputs.names_in(folder) != {"index.html", "results.json", "pictures"}:
        return False
    return all(picture.suffix == ".png" for picture in (folder / "pictures").iterdir())
