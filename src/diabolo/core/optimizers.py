"""How a gradient becomes a step. The learning rate stands outside: the training loop multiplies by it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
import optax

from .component import Component, float_field

__all__ = ["SGD", "Adam", "Muon", "Optimizer"]


class Optimizer(Component, role="optimizer"):
    """From gradients to unit-rate steps, as an Optax transformation."""

    elementwise: ClassVar[bool] = False
    """Whether each weight's step depends on that weight and its own gradients only, not on the array it stands in."""

    @abstractmethod
    def build(self) -> optax.GradientTransformation:
        """The transformation; its updates are *subtracted*, times the learning rate."""

    def start(self, arrays: Any) -> optax.OptState:
        """The memory before the first step. Refine it where it is plain zeros, which need no program to make."""
        return jax.jit(self.build().init)(arrays)


def _zeros(arrays: Any) -> Any:
    return jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), arrays)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with decoupled weight decay (AdamW, Loshchilov & Hutter 2019) where it is above 0.

    >>> Adam(b1=0.5).replace(weight_decay=1e-2)
    Adam(b1=0.5, b2=0.999, eps=1e-08, weight_decay=0.01)
    """

    elementwise: ClassVar[bool] = True
    b1: float = float_field(0.9, "[0, 1)")
    b2: float = float_field(0.999, "[0, 1)")
    eps: float = float_field(1e-8, "(0, inf)")
    weight_decay: float = float_field(0.0, "[0, inf)")

    def build(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.add_decayed_weights(self.weight_decay),
        )

    def start(self, arrays: Any) -> optax.OptState:
        moments = optax.ScaleByAdamState(np.int32(0), _zeros(arrays), _zeros(arrays))
        return moments, optax.EmptyState()


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with heavy-ball momentum (0: none).

    >>> SGD()
    SGD(momentum=0.9)
    """

    elementwise: ClassVar[bool] = True
    momentum: float = float_field(0.9, "[0, 1)")

    def build(self) -> optax.GradientTransformation:
        return optax.trace(decay=self.momentum)

    def start(self, arrays: Any) -> optax.OptState:
        return optax.TraceState(_zeros(arrays))


@dataclass(frozen=True)
class Muon(Optimizer):
    r"""Muon (Jordan et al. 2024): the momentum of a weight matrix, with all its singular values brought to about 1.

    Fewer steps than Adam, each dearer by some products of matrices: it pays where a step is long anyway (large batches,
    many draws of z). Steps of matrices have the size of Adam's (root mean square 0.2; Liu et al. 2025, section 2.2), so
    learning rates carry over; other arrays are Adam's, with Nesterov's momentum.

    Parameters
    ----------
    momentum : float in [0, 1), default=0.95
        Nesterov's.
    weight_decay : float in [0, inf), default=0.0
        Decoupled, as in `Adam`; of matrices only.

    References
    ----------
    Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks"; Liu et al. (2025), "Muon is
    Scalable for LLM Training".

    Examples
    --------
    >>> Muon()
    Muon(momentum=0.95, weight_decay=0.0)
    """

    momentum: float = float_field(0.95, "[0, 1)")
    weight_decay: float = float_field(0.0, "[0, inf)")

    def build(self) -> optax.GradientTransformation:
        muon = optax.contrib.muon(1.0, beta=self.momentum, weight_decay=self.weight_decay, consistent_rms=0.2)
        return optax.chain(muon, optax.scale(-1.0))
