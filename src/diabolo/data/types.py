"""Names for what users give, and for what files hold."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeAlias

from numpy.typing import ArrayLike

__all__ = ["Frame", "Json", "Name", "RowsLike"]

RowsLike: TypeAlias = ArrayLike | Iterable[object] | os.PathLike[str] | object
"""Rows from anywhere: arrays, data frames, paths, queries, datasets, iterables of chunks; `open_store` tells them."""

Frame: TypeAlias = Any
"""Rows as they are given back: an array; for a schema a table, of the library that the rows given are of."""
Json: TypeAlias = dict[str, Any]
"""A JSON object, whose values the form of its file describes."""
Name: TypeAlias = str | int
"""What a column is called: a text, or its number where columns have no names."""
