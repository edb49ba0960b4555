"""Rules for columns: identifiers, constants and duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..collect import LEAST_ROWS, ReportData
from .finding import Finding, enough, listed

__all__ = ["constant", "duplicates", "identifiers"]


class _Column(NamedTuple):
    """One column of the report's rows."""

    name: str
    kind: str
    cells: np.ndarray
    """(n,), numbers or indices of categories; NaN for missing cells."""


def _columns(e: ReportData) -> list[_Column]:
    """Return the columns, without a condition, which the model does not reconstruct.

    There are none for few rows, and none for images, whose pixels may be constant or equal.
    """
    results, given = enough(e), e.recipe.condition
    if results is None or e.image is not None:
        return []
    if e.schema is None:
        names = enumerate(e.column_of_feature)
        return [_Column(name, "number", results.rows[:, i]) for i, name in names if i not in given]
    found = []
    for column in e.schema.used:
        if e.schema.column_slices[column.name].start in given:
            continue
        block = results.rows[:, e.schema.column_slices[column.name]]
        cells = (
            np.where(np.isnan(block[:, 0]), np.nan, block.argmax(axis=1)) if column.kind == "category" else block[:, 0]
        )
        found.append(_Column(column.name, column.kind, cells))
    return found


def _is_constant(cells: np.ndarray) -> bool:
    known = cells[~np.isnan(cells)]
    return len(known) >= LEAST_ROWS and bool((known == known[0]).all())


def _numbers_rows(cells: np.ndarray, n_rows: int) -> bool:
    """Decide whether cells number the rows: distinct integers from a range about as long as the number of rows.

    A sample of rows leaves gaps in the range. Distinct integers are no coincidence if n² is much larger than the range:
    n random integers of the range are all distinct with probability exp(−n² / 2·range).
    """
    n, span = len(cells), float(cells.max() - cells.min()) + 1
    if span > 1.1 * n_rows or n * n < 16 * span:
        return False
    return bool((cells == np.rint(cells)).all()) and len(np.unique(cells)) == n


def identifiers(e: ReportData) -> Iterator[Finding]:
    """Find columns that identify the rows by a number or a name."""
    categories = {} if e.schema is None else {c.name: len(c.categories) for c in e.schema.used}
    found = []
    for name, kind, cells in _columns(e):
        if kind == "category":
            is_one = e.n_samples >= LEAST_ROWS and categories[name] >= 0.8 * e.n_samples
        else:
            known = kind in ("number", "count") and not np.isnan(cells).any()
            assert e.results is not None
            is_one = known and _numbers_rows(cells, e.results.n_given + e.n_samples)
        if is_one:
            found.append(name)
    if found:
        yield Finding(
            "Identifier columns",
            f"{listed(found)}: a different value in each row, such as 1, 2, 3, …",
            "Leave out the column, unless it is a quantity. An identifier cannot be predicted from the other columns, "
            "and uses part of the code.",
        )


def constant(e: ReportData) -> Iterator[Finding]:
    """Find columns with one value in all rows."""
    found = [column.name for column in _columns(e) if _is_constant(column.cells)]
    if found:
        assert e.results is not None
        yield Finding(
            "Constant columns",
            f"{listed(found)}: one value in all {len(e.results.rows):,} rows.",
            "Leave out these columns if they are constant in the training rows as well: they carry no information.",
        )


def _varies(cells: np.ndarray) -> bool:
    """Decide whether a column varies enough: equality of columns with few other values may be a coincidence."""
    return len(cells) - int(np.unique(cells, return_counts=True)[1].max()) >= LEAST_ROWS // 2


def _equal_numbers(columns: list[_Column]) -> Iterator[list[str]]:
    """Yield groups of columns whose correlation is 1 or −1.

    Such columns have the same projection on a random direction, up to the sign. Therefore only neighbours in the sorted
    projections are compared.
    """
    cells = np.stack([column.cells for column in columns], axis=1).astype(np.float64)
    middle = np.array([float(np.mean(one[~np.isnan(one)])) if not np.isnan(one).all() else 0.0 for one in cells.T])
    cells = np.where(np.isnan(cells), 0, cells - middle)
    length = np.sqrt(np.square(cells).sum(axis=0))
    cells = np.divide(cells, length, out=np.zeros_like(cells), where=length > 1e-12 * np.abs(middle))
    at = np.abs(np.random.default_rng(0).normal(size=len(cells)) @ cells)
    order = np.argsort(at, kind="stable")
    for run in np.split(order, np.flatnonzero(np.diff(at[order]) > 1e-6) + 1):
        left = sorted(int(i) for i in run)
        while len(left) > 1:
            like = np.abs(cells[:, left[0]] @ cells[:, left]) > 1 - 1e-9
            group = [i for i, same in zip(left, like, strict=True) if same]
            if len(group) > 1 and _varies(columns[group[0]].cells):
                yield [columns[i].name for i in group]
            left = [i for i in left[1:] if i not in group]


def _equal_categories(columns: list[_Column]) -> Iterator[list[str]]:
    """Yield groups of category columns that are equal up to the names of the categories."""
    groups: dict[bytes, list[_Column]] = {}
    for column in columns:
        _, first, at = np.unique(column.cells, return_index=True, return_inverse=True)
        groups.setdefault(first[at].tobytes(), []).append(column)
    for group in groups.values():
        if len(group) > 1 and _varies(group[0].cells):
            yield [column.name for column in group]


def duplicates(e: ReportData) -> Iterator[Finding]:
    """Find columns that are equal up to their units."""
    columns = _columns(e)
    numbers = [column for column in columns if column.kind != "category"]
    categories = [column for column in columns if column.kind == "category"]
    groups = [*(_equal_numbers(numbers) if numbers else ()), *_equal_categories(categories)]
    if groups:
        yield Finding(
            "Duplicate columns",
            f"{listed(' = '.join(_shortened(group)) for group in groups)}: equal, or equal in other units.",
            "Keep one column of each group: duplicates count the same error several times.",
        )


def _shortened(names: list[str], most: int = 4) -> list[str]:
    return names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1:,} more"]
