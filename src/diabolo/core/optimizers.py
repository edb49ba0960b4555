"""Optimizers: the map from gradients to steps. The training loop multiplies the steps by the learning rate.

Optax is imported when a training begins: who only loads and uses a model need not wait for it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

import jax
import numpy as np
from jaxtyping import PyTree

from .component import Component, float_field

if TYPE_CHECKING:
    import optax

__all__ = ["SGD", "Adam", "AnyOptimizer", "Muon", "Optimizer", "Transformation", "is_transformation"]


class Optimizer(Component, role="optimizer"):
    """A map from gradients to steps at learning rate 1, as an Optax transformation."""

    elementwise: ClassVar[bool] = False
    """Whether the step of a weight depends only on the weight and its gradients, not on the rest of its array."""

    @abstractmethod
    def build(self) -> optax.GradientTransformation:
        """Return the transformation. Its updates are multiplied by the learning rate and *subtracted*."""

    def start(self, arrays: PyTree) -> optax.OptState:
        """Return the optimizer state before the first step.

        Override it if the state consists of zeros, which need no compiled program.
        """
        return jax.jit(self.build().init)(arrays)


def _zeros(arrays: PyTree) -> PyTree:
    return jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), arrays)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with decoupled weight decay (AdamW, Loshchilov & Hutter 2019) if it is above 0.

    Parameters
    ----------
    b1 : float in [0, 1), default=0.9
        Decay of the mean of the gradients, per step.
    b2 : float in [0, 1), default=0.999
        Decay of the mean of the squared gradients, per step.
    eps : float in (0, inf), default=1e-8
        Added to the root of the mean squared gradient.
    weight_decay : float in [0, inf), default=0.0
        Fraction of a weight that is subtracted in each step, times the learning rate.

    Examples
    --------
    >>> Adam(b1=0.5).replace(weight_decay=1e-2)
    Adam(b1=0.5, b2=0.999, eps=1e-08, weight_decay=0.01)
    """

    elementwise: ClassVar[bool] = True
    b1: float = float_field(0.9, "[0, 1)")
    b2: float = float_field(0.999, "[0, 1)")
    eps: float = float_field(1e-8, "(0, inf)")
    weight_decay: float = float_field(0.0, "[0, inf)")

    def build(self) -> optax.GradientTransformation:
        import optax

        return optax.chain(
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.add_decayed_weights(self.weight_decay),
        )

    def start(self, arrays: PyTree) -> optax.OptState:
        import optax

        moments = optax.ScaleByAdamState(np.int32(0), _zeros(arrays), _zeros(arrays))
        return moments, optax.EmptyState()


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with heavy-ball momentum.

    Parameters
    ----------
    momentum : float in [0, 1), default=0.9
        Decay of the sum of the gradients, per step. 0: no momentum.

    Examples
    --------
    >>> SGD()
    SGD(momentum=0.9)
    """

    elementwise: ClassVar[bool] = True
    momentum: float = float_field(0.9, "[0, 1)")

    def build(self) -> optax.GradientTransformation:
        import optax

        return optax.trace(decay=self.momentum)

    def start(self, arrays: PyTree) -> optax.OptState:
        import optax

        return optax.TraceState(_zeros(arrays))


@dataclass(frozen=True)
class Muon(Optimizer):
    r"""Muon (Jordan et al. 2024): momentum steps of a weight matrix with all singular values set to about 1.

    Muon needs fewer steps than Adam, but each step costs some more matrix products. It is worth the cost if a step is
    long (large batches, many samples of z). The steps of matrices have the size of Adam's steps (root mean square 0.2;
    Liu et al. 2025, section 2.2), so that the same learning rates apply. Other arrays are trained by Adam with Nesterov
    momentum.

    Parameters
    ----------
    momentum : float in [0, 1), default=0.95
        The Nesterov momentum.
    weight_decay : float in [0, inf), default=0.0
        The decoupled weight decay, as in `Adam`; applied to matrices only.

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
        import optax

        muon = optax.contrib.muon(1.0, beta=self.momentum, weight_decay=self.weight_decay, consistent_rms=0.2)
        return optax.chain(muon, optax.scale(-1.0))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Transformation:
    """A user's own Optax transformation, whose updates are added: an `Optimizer` that is no component."""

    given: tuple[Any, ...]
    elementwise: ClassVar[bool] = False

    def build(self) -> optax.GradientTransformation:
        import optax

        return optax.chain(self.given, optax.scale(-1.0))

    def start(self, arrays: PyTree) -> optax.OptState:
        """Return the state before the first step."""
        return jax.jit(self.build().init)(arrays)


AnyOptimizer = Optimizer | Transformation


def is_transformation(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Return whether a value is an Optax transformation: a named tuple of two functions, ``init`` and ``update``."""
    return isinstance(value, tuple) and all(callable(getattr(value, name, None)) for name in ("init", "update"))
