"""What the benchmarks of jobs print, and what they keep."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from . import machine

__all__ = ["aligned", "keep", "with_spread"]


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells below each other: the first of each line to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def with_spread(values: Sequence[float], digits: int = 2) -> str:
    """The mean, ± the standard deviation if there are several."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def keep(out: Path, found: Mapping[str, Any]) -> None:
    """Write what was found as JSON, with the date and the machine."""
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine.describe(), "load": machine.load()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(about | dict(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
