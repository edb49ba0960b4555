"""The lines of the benchmark: each a function from the run's settings to what was found."""

from __future__ import annotations

from collections.abc import Callable

from ..context import Context
from ..record import Line
from .dense import deep, vae
from .growth import growth
from .images import images, quality
from .serve import serve
from .start import start
from .sweep import sweep
from .tables import tables

__all__ = ["LINES"]

LINES: dict[str, Callable[[Context], Line]] = {
    "vae": vae,
    "deep": deep,
    "tables": tables,
    "images": images,
    "quality": quality,
    "sweep": sweep,
    "serve": serve,
    "start": start,
    "growth": growth,
}
