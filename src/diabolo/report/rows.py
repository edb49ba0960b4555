"""Choose the rows of a report: a random sample of the rows given, encoded and as given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..data.blocks import BlockReader
from ..data.sampling import sample_positions, take_rows
from ..data.types import RowsLike
from ..errors import InvalidData
from ..persistence.fitted import Columns

__all__ = ["MOST_ROWS", "SampledRows", "groups_of", "labels_of", "names_of", "sample_rows"]

MOST_ROWS = 5_000
"""A report samples at most this many of the rows given."""


class SampledRows(NamedTuple):
    """A sample of the rows given."""

    rows: np.ndarray
    """(n, d), in the user's units; rows of a table with a schema are encoded."""
    numbers: np.ndarray
    """(n,), the position of each row among the rows given, from 0."""
    n_given: int
    given: pa.Table | None
    """The cells of the rows exactly as given, if there is a schema."""


def sample_rows(columns: Columns, X: RowsLike, seed: int = 0) -> SampledRows:
    """Return checked rows, at most `MOST_ROWS` of those given, in their order."""
    rng = np.random.default_rng([seed, 9])
    if columns.schema is None:
        opened = columns.open(X)
        n_rows = opened.n_rows if isinstance(opened, BlockReader) else len(opened)
        chosen = sample_positions(n_rows, MOST_ROWS, rng)
        rows = take_rows(opened, chosen, columns.refuse_missing) if isinstance(opened, BlockReader) else opened[chosen]
        return SampledRows(rows, chosen, n_rows, None)
    source = columns.source(X)
    n_rows = source.n_rows if isinstance(source, BlockReader) else 0 if source is None else len(source.rows)
    chosen = sample_positions(n_rows, MOST_ROWS, rng)
    pieces, given = [], []
    for piece in columns.tables(X if source is None else source):
        start, end = np.searchsorted(chosen, [piece.first, piece.first + len(piece.rows)])
        at = chosen[start:end] - piece.first
        assert piece.given is not None
        pieces.append(piece.rows[at])
        given.append(piece.given.select(list(columns.schema.names)).take(at))
    table = pa.concat_tables(given, promote_options="permissive")
    return SampledRows(np.concatenate(pieces), chosen, n_rows, table)


def labels_of(y: object, n: int) -> np.ndarray:
    """Return labels as an array, (n,).

    Raises
    ------
    InvalidData
        If there is not one label for each row.
    """
    values = np.asarray(y.to_pylist() if isinstance(y, pa.Array | pa.ChunkedArray) else y)
    if values.shape != (n,):
        raise InvalidData(f"y has shape {values.shape}, but X has {n:,} rows: give one value for each row.")
    return values


def names_of(columns: Columns) -> list[str]:
    """Return the names of the columns that a report shows; columns without names are x0, x1, …"""
    if columns.schema is not None:
        return list(columns.schema.names)
    return [str(name) if columns.names is not None else f"x{name}" for name in columns.labels]


def groups_of(columns: Columns) -> list[slice]:
    """Return the features of each column, in the order of `names_of`."""
    if columns.schema is None:
        return [slice(i, i + 1) for i in range(columns.n_features)]
    return [columns.schema.column_slices[name] for name in columns.schema.names]
