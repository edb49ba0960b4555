"""One forward pass over a batch, as the components see it, and the weights that a component owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

if TYPE_CHECKING:
    from .distributions import Distribution

__all__ = ["ForwardPass", "Own", "Owner", "mean_over_rows", "on_device"]

Own = dict[str, Any]
"""The weights of a component by name: arrays, or modules with arrays. Arrays in `core.layers.Fixed` never change."""

_ABSENT: Any = None
"""What a pass made by hand, without a model, need not have."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ForwardPass:
    """One forward pass over a batch: the input of a penalty, and of an update of weights that have no gradient.

    It is a pytree, so that ``jax.jit(penalty)(seen)`` computes a penalty in one program.
    """

    x: Float[Array, "n d"]
    """The rows that the encoder reads (corrupted during training)."""
    z: Float[Array, "s n k"]
    """The codes that the decoder reads: s samples per row (s = 1 for a deterministic code)."""
    row_weight: Float[Array, " n"]
    """The weight of each row: 1, or 0 for padding."""
    encode: Callable[[Array], Array] = field(metadata={"static": True})
    """Function from rows (n, d) to deterministic codes (n, k)."""
    weights: Any
    """The pytree of all trained arrays."""
    h: Float[Array, "n m"] = _ABSENT
    """The output of the encoder."""
    q: Distribution = _ABSENT
    """The posterior q(z | x) of each row."""
    prior: Distribution = _ABSENT
    """The prior π(z)."""
    key: PRNGKeyArray = _ABSENT
    """A random key for the component's own draws; components that use it share it."""
    n_rows: Float[Array, ""] = _ABSENT
    """The number of training rows."""
    condition: Float[Array, "n c"] | None = None
    """The features of the condition, if the model has one."""


def mean_over_rows(values: Float[Array, "... n"], row_weight: Float[Array, " n"]) -> Float[Array, "..."]:
    """Return the weighted mean over the last axis."""
    return (values * row_weight).sum(-1) / row_weight.sum()


class Owner:
    """A component that may own weights: by gradient, like those of the networks, or by an update of its own."""

    def build(self, rng: np.random.Generator, n_features: int, n_latent: int) -> Own:
        """Return the component's own weights, for rows of ``n_features`` numbers. By default: none.

        Draw them with ``rng``. They are trained, saved and resumed like those of the networks.
        """
        return {}

    def updated(self, own: Own, seen: ForwardPass) -> Own:
        """Return new values of some of the own weights, after a step of the optimizer. By default: none.

        Use it for weights that are not trained by gradient: moving averages, or an opponent with an optimizer of its
        own. The values replace those of the optimizer. ``own`` and ``seen`` are those before the step.
        """
        return {}


def on_device(array: np.ndarray) -> Array:
    """Return a 32-bit array on the device."""
    return jax.device_put(np.asarray(array, np.float32, order="C"))
