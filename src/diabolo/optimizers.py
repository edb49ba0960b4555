"""How a gradient becomes a step. The learning rate stands outside: the training loop multiplies by it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import optax

from .part import Part, number

__all__ = ["SGD", "Adam", "Optimizer"]


class Optimizer(Part, slot="optimizer"):
    """From gradients to unit-rate steps, as an Optax transformation."""

    @abstractmethod
    def build(self) -> optax.GradientTransformation:
        """The transformation; its updates are *subtracted*, times the learning rate."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with decoupled weight decay (AdamW, Loshchilov & Hutter 2019) where it is above 0.

    >>> Adam(b1=0.5).replace(weight_decay=1e-2)
    Adam(b1=0.5, b2=0.999, eps=1e-08, weight_decay=0.01)
    """

    b1: float = number(0.9, "[0, 1)")
    b2: float = number(0.999, "[0, 1)")
    eps: float = number(1e-8, "(0, inf)")
    weight_decay: float = number(0.0, "[0, inf)")

    def build(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.add_decayed_weights(self.weight_decay),
        )


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with heavy-ball momentum (0: none).

    >>> SGD()
    SGD(momentum=0.9)
    """

    momentum: float = number(0.9, "[0, 1)")

    def build(self) -> optax.GradientTransformation:
        return optax.trace(decay=self.momentum)
