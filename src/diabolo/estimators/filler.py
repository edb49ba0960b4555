"""Imputed values of arrays of rows, and their expected errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import scores
from .base import BaseAutoencoder
from .blend import Blend, HeldOut, with_networks
from .ensemble import known_range
from .predictor import Predictor

__all__ = ["HIDDEN", "Filler", "blended"]

HIDDEN = 0.3
"""Fraction of the known cells masked in each training step; the network predicts them."""
_JUDGED = 4096
"""Number of training rows used to estimate the typical error of each column."""


@dataclass(frozen=True, eq=False)
class Filler:
    """Imputed values and their expected errors, in the user's units."""

    predictors: tuple[Predictor, ...]
    span: np.ndarray
    """(2, d), the minimum and the maximum of each column."""
    blend: Blend
    usual: np.ndarray
    """(d,), the networks' usual squared error in each column; infinite for a column of unknown spread."""

    def expected(self, rows: np.ndarray) -> np.ndarray:
        """Return the imputed value of each cell."""
        return self.blend.expected(rows, [one.expected(rows) for one in self.predictors], self.span)

    def judged(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the imputed value and the expected error of each cell; infinite in columns of unknown spread."""
        each, is_known = [one.expected(rows) for one in self.predictors], np.isfinite(self.usual)
        error = self.blend.error(rows, each, self.span, np.where(is_known, self.usual, 0))
        return self.blend.expected(rows, each, self.span), np.where(is_known, error, np.inf)


def blended(
    trained: Sequence[BaseAutoencoder],
    visible: Sequence[np.ndarray],
    cells: HeldOut,
    blend: Blend,
    columns: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, Blend, HeldOut]:
    """Return the networks' usual squared errors, and the blend and the held-out cells with the networks.

    Network i has seen the rows of ``visible[i % len(visible)]``, without the cells of the fold of this number.
    """
    found, usual = [], []
    for fold, rows in enumerate(visible):
        predictors, span = [one.predictor_ for one in trained[fold :: len(visible)]], known_range(rows)
        judged = rows[np.linspace(0, len(rows) - 1, min(_JUDGED, len(rows))).astype(int)]
        hidden = (rng.random(judged.shape) < HIDDEN)[:, columns] & ~np.isnan(judged)
        errors = np.square(_expected(predictors, np.where(hidden, np.nan, judged), span).mean(axis=0) - judged)
        # The column's variance counts as one more squared error; it is the only one if no cell of the column is masked.
        usual.append((np.where(hidden, errors, 0).sum(axis=0) + blend.variance) / (1 + hidden.sum(axis=0)))
        own = cells.only(cells.fold == fold)
        at, place = np.unique(own.row, return_inverse=True)
        found.append(_expected(predictors, rows[at], span)[:, place, own.feature])
    cells, mean = cells.only(cells.fold < len(visible)), np.mean(usual, axis=0)
    return mean, *with_networks(blend, cells, np.concatenate(found, axis=1), mean, columns)


def _expected(predictors: Sequence[Predictor], rows: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Return what each network expects, clipped to the range of the columns, (n_networks, n, d)."""
    if not len(rows):
        return np.empty((len(predictors), *rows.shape))
    return np.stack([scores.within(np, one.expected(rows), span) for one in predictors])
