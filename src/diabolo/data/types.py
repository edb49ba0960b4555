"""Names for what users give."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

from numpy.typing import ArrayLike

__all__ = ["RowsLike"]

RowsLike: TypeAlias = ArrayLike | Iterable[object] | os.PathLike[str] | object
"""Rows from anywhere: arrays, data frames, paths, queries, datasets, iterables of chunks; `open_store` tells them."""
