"""The lines of the benchmark: each a function from the run's settings to what was found."""

from __future__ import annotations

from collections.abc import Callable

from ..context import Context
from ..record import Line
from .dense import deep, vae
from .serve import serve
from .start import start
from .tables import tables

__all__ = ["LINES"]

LINES: dict[str, Callable[[Context], Line]] = {
    "vae": vae,
    "deep": deep,
    "tables": tables,
    "serve": serve,
    "start": start,
}
