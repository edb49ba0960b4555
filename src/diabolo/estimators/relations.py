"""Exact linear relations between the columns of a table, such as net + tax = total."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from .marginals import rounding_step

__all__ = ["LinearRelations"]

_MOST_ROWS = 2_000
_NEARLY = 0.01
"""The largest standard deviation of the remainder of a candidate, as a share of the column's."""
_EXACT = 1e-6
_LARGEST = 10.0
"""The largest coefficient, in standard deviations: larger ones multiply the errors of the other columns."""


@dataclass(frozen=True)
class LinearRelations:
    """Relations A·x = b that hold in all rows.

    Parameters
    ----------
    table : (r, d + 1)
        A and b.
    """

    table: np.ndarray

    @classmethod
    def find(cls, rows: np.ndarray, is_ordered: np.ndarray) -> LinearRelations:
        """Find the relations of training rows, (n, d).

        A relation is fitted to half of the rows. It must hold in all rows, up to the rounding of its column.
        """
        width = rows.shape[1]
        none = cls(np.empty((0, width + 1)))
        some = rows[~np.isnan(rows[:, is_ordered]).any(axis=1)]
        some = some[:: max(1, -(-len(some) // _MOST_ROWS))]
        if not len(some):
            return none
        places = np.flatnonzero(is_ordered & (some.min(axis=0) < some.max(axis=0)))
        if len(places) < 2 or len(some) < 4 * len(places):
            return none
        some = some[:, places]
        mean, scale = some.mean(axis=0), some.std(axis=0)
        standard = (some - mean) / scale
        half = standard[::2]
        remainder, order = linalg.qr(half, mode="r", pivoting=True, check_finite=False)
        is_free = np.abs(np.diag(remainder)) > _NEARLY * np.sqrt(len(half))
        free, others = order[is_free], order[~is_free]
        if not len(others):
            return none
        design = np.hstack([standard[:, free], np.ones((len(standard), 1))])
        coefficients = linalg.lstsq(design[::2], half[:, others])[0]
        error = np.abs(standard[:, others] - design @ coefficients).max(axis=0) * scale[others]
        # A rounded column is off by half a step, which counts as much as its coefficient.
        steps = np.array([rounding_step(column) for column in some.T]) / scale
        largest = np.maximum(steps[others], (np.abs(coefficients[:-1]) * steps[free][:, None]).max(axis=0))
        allowed = (_EXACT + largest / 2) * scale[others]
        holds = (error <= allowed) & (np.abs(coefficients[:-1]) <= _LARGEST).all(axis=0)
        table = np.zeros((int(holds.sum()), width + 1))
        for row, i, column in zip(table, others[holds], coefficients.T[holds], strict=True):
            row[places[free]] = column[:-1] / scale[free]
            row[places[i]] = -1 / scale[i]
            row[-1] = row[:-1][places] @ mean - column[-1]
        return cls(table)

    def enforce(self, rows: np.ndarray, is_fixed: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return rows, (n, d), in which the relations hold: one column per relation is computed from the others.

        Columns that are fixed, (d,), do not change. Of the others, those with the largest ``scale``, (d,), times
        coefficient are computed.
        """
        matrix, constant = self.table[:, :-1], self.table[:, -1]
        usable = np.flatnonzero(~is_fixed & (matrix != 0).any(axis=0))
        if not len(matrix) or len(usable) < len(matrix):
            return rows
        order = linalg.qr(matrix[:, usable] * scale[usable], mode="r", pivoting=True)[1]
        solved = usable[order[: len(matrix)]]
        if np.linalg.matrix_rank(matrix[:, solved] * scale[solved]) < len(matrix):
            return rows
        rest = matrix.copy()
        rest[:, solved] = 0
        rows = rows.copy()
        rows[:, solved] = np.linalg.solve(matrix[:, solved], constant[:, None] - rest @ rows.T).T
        return rows
