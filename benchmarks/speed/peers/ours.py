"""Our side: an estimator behind the same face."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.base import clone

from . import nats

__all__ = ["Ours"]


class Ours:
    """Any of diabolo's estimators. Its program is compiled by the first fit and kept, as in any session of work."""

    def __init__(self, estimator: Any, rows: np.ndarray) -> None:
        self.estimator, self.rows = estimator, rows

    def fit(self, epochs: int) -> float:
        self.fitted = clone(self.estimator).set_params(max_epochs=epochs)
        started = time.perf_counter()
        self.fitted.fit(self.rows)
        return time.perf_counter() - started

    def loss(self, rows: np.ndarray) -> float:
        stochastic = self.fitted.model_.recipe.latent.stochastic
        return nats(rows, self.fitted.reconstruct(rows), self.fitted.kl(rows).sum(axis=1) if stochastic else 0.0)
