"""Rules for rows: extreme cells, distribution shift, and too few rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..collect import DIVERGED, LEAST_ROWS, ReportData
from .finding import Finding, enough, listed
from .training import has_diverged

__all__ = ["extreme_cells", "few_rows", "shifted", "worse_than_mean"]

_BELOW_MEAN = -0.02
"""An explained variance below this is no accident of few rows."""


def extreme_cells(e: ReportData) -> Iterator[Finding]:
    """Find single cells that are far from all other cells of their column."""
    results = enough(e)
    if results is None or not results.extremes:
        return
    cells = []
    for i, j in results.extremes:
        name, middle = e.column_of_feature[j], float(np.nanmedian(results.rows[:, j]))
        cell, usual = f"{results.rows[i, j]:.6g}", f"{middle:.6g}"
        if e.schema is not None and (column := e.schema.column(name)).kind == "date":
            assert results.given is not None
            cell, usual = str(results.given[name][i].as_py()), str(column.decode(np.array([[middle]]))[0].as_py())
        cells.append(f"row {results.numbers[i] + 1:,}, column {name}: {cell} (median {usual})")
    yield Finding(
        "Extreme cells",
        f"{listed(cells)}.",
        "Correct wrong values. If the values are right, use the logarithm of the column. One such cell determines the "
        "scaling of its column and most of the loss.",
        serious=True,
    )


def shifted(e: ReportData) -> Iterator[Finding]:
    """Find rows that the model reconstructs far worse than held-out rows."""
    results, known = enough(e), e.evaluation or {}
    if results is None or known.get("rows") != "held-out":
        return
    kept, found = known["explained_variance"], results.explained_usual
    if found < DIVERGED and kept - found > 0.5 and not has_diverged(e):
        yield Finding(
            "Distribution shift",
            f"The explained variance is {found:.0%} on the report's rows, {kept:.0%} on held-out rows.",
            "Check that the report's rows have the units and the column order of the training rows: they differ "
            "strongly from them.",
            serious=True,
        )


def worse_than_mean(e: ReportData) -> Iterator[Finding]:
    """Find reconstructions of the report's rows that are worse than their mean, without a divergence."""
    results = enough(e)
    if results is None or results.explained_usual >= _BELOW_MEAN or has_diverged(e) or any(shifted(e)):
        return
    yield Finding(
        "Worse than the mean",
        f"The explained variance of the report's rows is {results.explained_usual:.0%}; that of their mean is 0%.",
        "Train longer, or with a lower learning rate." if e.n_epochs else "Train the model: max_epochs is 0.",
        serious=True,
    )


def few_rows(e: ReportData) -> Iterator[Finding]:
    """Find a report that has too few rows for most of the rules."""
    if e.results is not None and enough(e) is None:
        n = len(e.results.rows)
        yield Finding(
            "Few rows",
            f"The report has {n} row{'s' * (n != 1)}: too few to check latent units, likelihood and columns.",
            f"Give at least {LEAST_ROWS} rows.",
        )
