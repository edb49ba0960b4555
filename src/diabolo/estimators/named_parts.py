"""Components that parameters can name, and parameter constraints shared by several estimators."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from ..core.activations import ACTIVATIONS
from ..core.corruptions import Corruption, GaussianNoise, InDataUnits, MaskCells, Masking, NoCorruption, SaltAndPepper
from ..core.likelihoods import (
    Bernoulli,
    Gaussian,
    HeteroscedasticGaussian,
    LearnedGaussian,
    Likelihood,
    NegativeBinomial,
)
from ..core.objectives import ELBO, Objective, Reconstruction
from ..core.schedules import Cyclical, LinearWarmup, Schedule
from ..errors import InvalidParameter
from .arguments import MAX_INT
from .trainable import resolve

__all__ = [
    "ANNEALINGS",
    "CORRUPTIONS",
    "LAYERS",
    "LIKELIHOOD",
    "LIKELIHOODS",
    "OBJECTIVES",
    "SIZE",
    "corruptions_of",
    "likelihood_of",
    "named_corruption",
    "sizes_of",
]

LIKELIHOODS: dict[str, Likelihood] = {
    "gaussian": Gaussian(),
    "learned_gaussian": LearnedGaussian(),
    "heteroscedastic_gaussian": HeteroscedasticGaussian(),
    "bernoulli": Bernoulli(),
    "count": NegativeBinomial(),
}
CORRUPTIONS: dict[str, Callable[[float], Corruption]] = {
    "gaussian": GaussianNoise,
    "salt_and_pepper": SaltAndPepper,
    "masking": Masking,
    "missing": MaskCells,
}
OBJECTIVES: dict[str, Objective] = {"reconstruction": Reconstruction(), "elbo": ELBO()}
ANNEALINGS: dict[str, Schedule] = {"linear": LinearWarmup(), "cyclical": Cyclical()}

SIZE: Any = Interval(numbers.Integral, 1, MAX_INT, closed="both")
LIKELIHOOD: dict[str, list[object]] = {"likelihood": [StrOptions(set(LIKELIHOODS)), Likelihood]}
LAYERS: dict[str, list[object]] = {
    "hidden_layer_sizes": ["array-like", SIZE],
    "activation": [StrOptions(set(ACTIVATIONS))],
}


def likelihood_of(value: str | Likelihood) -> Likelihood:
    """Return the likelihood that a parameter names or is."""
    part: Likelihood = resolve("likelihood", value, LIKELIHOODS, Likelihood)
    return part


def sizes_of(value: ArrayLike) -> tuple[int, ...]:
    """Return layer sizes as a tuple, from one size or several."""
    return tuple(np.atleast_1d(value).tolist())


def corruptions_of(given: Corruption | Sequence[Corruption] | None, hidden: ArrayLike) -> tuple[Corruption, ...]:
    """Return the pre-training corruption of each layer, the code layer included.

    Raises
    ------
    InvalidParameter
        If the number of corruptions is not the number of layers, or a corruption masks cells.
    """
    given, n_layers = given or NoCorruption(), len(sizes_of(hidden)) + 1
    each = (given,) * n_layers if isinstance(given, Corruption) else tuple(given)
    if len(each) != n_layers or not all(isinstance(one, Corruption) for one in each):
        raise InvalidParameter(
            f"The 'pretrain_corruption' parameter must be one Corruption, or one for each of the {n_layers} layers; "
            f"got {given!r}."
        )
    if any(one.produces_missing for one in each):
        raise InvalidParameter(
            "The 'pretrain_corruption' parameter must not mask cells as missing, since a layer's input has no mask; "
            f"got {given!r}. Use Masking(), which sets cells to 0."
        )
    return each


def named_corruption(name: object, level: float, units: str) -> dict[str, Corruption]:
    """Return the corruption with a name, by this name; empty if there is none."""
    found = {known: part(level) for known, part in CORRUPTIONS.items() if known == name}
    return {known: InDataUnits(part) for known, part in found.items()} if units == "data" else dict(found)
