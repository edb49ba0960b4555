"""The result of a fit as one value, which sets all fitted attributes of an estimator at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone

from ..engine.jobs import Outcome
from ..errors import TrainingInterrupted
from .input import InputSpec

__all__ = ["Fitted", "store", "with_weights"]

E = TypeVar("E", bound=BaseEstimator)


@dataclass(frozen=True)
class Fitted:
    """The result of a fit, complete before any attribute of the estimator is set: see `store`."""

    input: InputSpec
    seed: int
    n_samples: int
    fingerprint: str
    learned: Mapping[str, object]
    """Additional fitted attributes of the estimator class, by name."""

    @classmethod
    def of(cls, columns: InputSpec, outcome: Outcome, besides: Mapping[str, object]) -> Fitted:
        """Return the result of a training, with additional fitted attributes of the estimator class."""
        job, trained = outcome.job, outcome.trained
        learned = {
            "model_": trained.model,
            "scaler_": job.rows.scaler,
            "history_": trained.history,
            "best_epoch_": trained.best_epoch,
            "n_epochs_": trained.n_epochs,
        }
        return cls(columns, job.plan.seed, job.rows.n_samples, job.rows.fingerprint, {**learned, **besides})

    def attributes(self) -> dict[str, object]:
        """Return the fitted attributes by name."""
        names = self.input.names
        return {
            "input_": self.input,
            "seed_": self.seed,
            "n_features_in_": self.input.n_features,
            **({} if names is None else {"feature_names_in_": np.array(names, dtype=object)}),
            "n_samples_": self.n_samples,
            "data_fingerprint_": self.fingerprint,
            **self.learned,
        }


def store(estimator: E, fitted: Fitted, interrupted: bool = False) -> E:
    """Replace all fitted attributes of an estimator by the result of a fit, at once.

    The result of an interrupted fit is stored in a copy if the estimator was fitted before; then `TrainingInterrupted`
    is raised.
    """
    kept = clone(estimator) if interrupted and hasattr(estimator, "input_") else estimator
    own = {name: value for name, value in vars(kept).items() if not name.endswith("_") or name.startswith("_")}
    kept.__dict__ = own | fitted.attributes()
    if interrupted:
        raise TrainingInterrupted.of(kept, is_copy=kept is not estimator)
    return kept


def with_weights(convert: Callable[[ArrayLike], object], state: dict[str, object]) -> dict[str, object]:
    """Return a state of an estimator with the weights of its model, if it has one, converted."""
    if "model_" not in state:
        return state
    return state | {
        "model_": jax.tree.map(lambda a: convert(a) if isinstance(a, np.ndarray | jax.Array) else a, state["model_"])
    }
