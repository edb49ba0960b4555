"""A training that diverged: the error, with the epoch, the step and the terms of the loss that were not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from ..core.model import Model
from ..errors import TrainingDiverged
from .compiled import EpochInputs, Metrics

if TYPE_CHECKING:
    from .trainer import TrainConfig

__all__ = ["diverged", "first_not_finite", "smallest_sigma"]

_NO_TERMS = ("loss", "beta", "learning_rate")


def first_not_finite(sums: Metrics, i: int, way: EpochInputs) -> tuple[int | None, str | None]:
    """Return the first step of epoch i, from 1, whose loss was not finite, and the terms that were not finite."""
    n_finite = {name: int(sums.n_finite(name)[i]) for name in sums.names}
    if n_finite["loss"] >= way.n_steps:  # only the sum over all chunks is not finite
        return None, None
    terms = [name for name, n in n_finite.items() if name not in _NO_TERMS and n <= n_finite["loss"]]
    return n_finite["loss"] + 1, ", ".join(terms) or "loss"


def diverged(
    epoch: int, value: float, plan: TrainConfig, step: int | None = None, term: str | None = None
) -> TrainingDiverged:
    """Return the error of a loss that became ``value``."""
    where = "" if step is None else f", step {step}, in the term {term}"
    error = TrainingDiverged(
        f"The loss became {value} in epoch {epoch}{where}. Lower the learning rate (now {plan.learning_rate:g}), "
        "or scale the data to a standard deviation near 1."
    )
    error.epoch, error.step, error.term = epoch, step, term
    return error


def smallest_sigma(model: Model, rows: jax.Array) -> np.ndarray | None:
    """Return the smallest σ of the likelihood over rows, per column or for all columns; None if it has no σ."""
    density = model.given(rows).decode(model.code(model.recipe.split_targets(rows)[0]))
    scales = [
        leaf for at, leaf in jax.tree_util.tree_leaves_with_path(density) if getattr(at[-1], "name", "") == "scale"
    ]
    return np.concatenate([np.atleast_2d(leaf).min(axis=0) for leaf in scales]) if scales else None
