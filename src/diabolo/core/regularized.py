"""A dense network with normalisation and dropout: it is trained in one way and used in another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .activations import ACTIVATIONS, activate
from .component import choice_field, float_field, int_tuple_field
from .conv_ops import product
from .forward import on_device
from .layers import Dense
from .networks import Network

__all__ = ["BatchNorm", "LayerNorm", "Linear", "Moving", "NoNorm", "RegularizedMLP", "RegularizedModule", "Training"]

_EPS = 1e-5
"""Added to variances (Ioffe & Szegedy 2015, algorithm 1)."""
_DECAY = 0.99
"""Decay of the moving averages of batch normalisation, per step."""


class Training(NamedTuple):
    """What a network needs in training only."""

    key: PRNGKeyArray
    row_weight: Float[Array, " n"]
    dropout: Float[Array, ""] | float | None


class Linear(eqx.Module):
    """A linear layer x ↦ x·W. The mean of a batch, which normalisation subtracts, would take a bias with it."""

    weight: Float[Array, "n_in n_out"]

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        return product(x, self.weight)


class NoNorm(eqx.Module):
    """The identity."""

    def __call__(self, x: Float[Array, "*batch m"], training: Training | None) -> tuple[Array, NoNorm]:
        return x, self


class LayerNorm(eqx.Module):
    """Normalisation over the units of a row: γ·(x − mean)/√(variance + ε) + β."""

    scale: Float[Array, " m"]
    shift: Float[Array, " m"]

    def __call__(self, x: Float[Array, "*batch m"], training: Training | None) -> tuple[Array, LayerNorm]:
        centred = x - x.mean(-1, keepdims=True)
        spread = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + _EPS)
        return self.scale * centred / spread + self.shift, self


class Moving(eqx.Module):
    """Moving averages, which are not trained by gradient."""

    mean: Float[Array, " m"]
    """The moving average of the means, times ``total``."""
    variance: Float[Array, " m"]
    """The moving average of the variances, times ``total``."""
    total: Float[Array, ""]
    """The sum of the weights of the averages, which is 0 before the first step and approaches 1."""

    @property
    def moments(self) -> tuple[Array, Array]:
        """Mean and variance; 0 and 1 before the first step."""
        total = jnp.maximum(self.total, np.finfo(np.float32).tiny)
        return self.mean / total, jnp.where(self.total > 0, self.variance / total, 1)

    def moved(self, *now: Float[Array, " m"]) -> Moving:
        """Return the averages after a batch of this mean and variance."""
        new = zip((self.mean, self.variance, self.total), (*now, jnp.ones(())), strict=True)
        return Moving(*(_DECAY * old + (1 - _DECAY) * one for old, one in new))


class BatchNorm(eqx.Module):
    """Normalisation over the rows of a batch; outside training, by moving averages over the batches."""

    scale: Float[Array, " m"]
    shift: Float[Array, " m"]
    moving: Moving

    def __call__(self, x: Float[Array, "*batch m"], training: Training | None) -> tuple[Array, BatchNorm]:
        moving, (mean, variance) = self.moving, self.moving.moments
        if training is not None:
            rows = x.reshape(-1, *x.shape[-2:])  # (samples, n, m)
            is_row = (training.row_weight > 0)[:, None]
            mean = jnp.mean(rows, axis=(0, 1), where=is_row)
            variance = jnp.mean(jnp.square(rows - mean), axis=(0, 1), where=is_row)
            moving = moving.moved(mean, variance)
        out = self.scale * (x - mean) / jnp.sqrt(variance + _EPS) + self.shift
        return out, BatchNorm(self.scale, self.shift, moving)


class RegularizedModule(eqx.Module):
    """Dense layers, each but the last followed by normalisation, activation and dropout."""

    layers: tuple[Dense | Linear, ...]
    norms: tuple[NoNorm | LayerNorm | BatchNorm, ...]
    activation: str = eqx.field(static=True)
    training: Training | None = None

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        return self.run(x)[0]

    def run(self, x: Float[Array, "*batch n_in"]) -> tuple[Array, tuple[NoNorm | LayerNorm | BatchNorm, ...]]:
        """Return the output, and the normalisations with moving averages that include these rows."""
        found = []
        for i, (layer, norm) in enumerate(zip(self.layers[:-1], self.norms, strict=True)):
            x, new = norm(layer(x), self.training)
            x = activate(self.activation, x)
            if self.training is not None and self.training.dropout is not None:
                kept = 1 - self.training.dropout
                mask = jax.random.bernoulli(jax.random.fold_in(self.training.key, i), kept, x.shape)
                x = jnp.where(mask, x / kept, 0)
            found.append(new)
        return self.layers[-1](x), tuple(found)


@dataclass(frozen=True)
class RegularizedMLP(Network):
    r"""A multilayer perceptron with normalisation and dropout.

    Each hidden layer is h = mask·activation(norm(W·x + b))/(1 − p), without b before batch normalisation. Layer
    normalisation is over the m units of a row, norm(a) = γ·(a − (1/m)·Σⱼ aⱼ)/σ + β; batch normalisation is over the
    rows of a batch, for each unit. Outside training, also for the loss of validation rows, nothing is masked, and batch
    normalisation uses moving averages of the means and variances in training: a result does not depend on the other
    rows. Padding rows do not count, and rows count alike whatever their weights.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer, from input to output.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        The activation after each hidden layer.
    normalization : {"none", "layer", "batch"}, default="layer"
        What is normalised before the activation.
    dropout : float in [0, 1) or None, default=None
        p, the probability with which a hidden unit is set to 0 in training. None: no dropout.

    References
    ----------
    Ba, Kiros & Hinton 2016, "Layer Normalization", eq. 4; Ioffe & Szegedy 2015, "Batch Normalization", algorithms 1 and
    2; Srivastava et al. 2014, "Dropout", section 4, with the scaling in training instead of afterwards.

    Examples
    --------
    >>> network = RegularizedMLP((16,), dropout=0.1).build(np.random.default_rng(0), 3, 2)
    >>> jax.eval_shape(network, np.ones((5, 3))).shape
    (5, 2)
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))
    normalization: str = choice_field("layer", ("none", "layer", "batch"))
    dropout: float | None = float_field(None, "[0, 1)")

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        *dense, last = (Dense.init(rng, a, b) for a, b in pairwise((n_in, *self.hidden, n_out)))
        has_bias = self.normalization != "batch"
        hidden = (layer if has_bias else Linear(layer.weight) for layer in dense)
        return RegularizedModule((*hidden, last), tuple(map(self._norm, self.hidden)), self.activation)

    def _norm(self, m: int) -> NoNorm | LayerNorm | BatchNorm:
        if self.normalization == "none":
            return NoNorm()
        one, zero = np.ones(m), np.zeros(m)
        if self.normalization == "layer":
            return LayerNorm(on_device(one), on_device(zero))
        moving = Moving(on_device(zero), on_device(zero), on_device(np.zeros(())))
        return BatchNorm(on_device(one), on_device(zero), moving)

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])

    @property
    def has_training_mode(self) -> bool:
        return self.normalization == "batch" or self.dropout is not None

    def in_training(self, module: eqx.Module, key: PRNGKeyArray, row_weight: Float[Array, " n"]) -> eqx.Module:
        assert isinstance(module, RegularizedModule)
        return dataclasses.replace(module, training=Training(key, row_weight, self.dropout))

    def updated(self, module: eqx.Module, x: Float[Array, "*batch n_in"]) -> eqx.Module | None:
        if self.normalization != "batch":
            return None
        assert isinstance(module, RegularizedModule)
        new = dataclasses.replace(module, norms=module.run(x)[1], training=None)
        is_moving = jax.tree.map(
            lambda node: jax.tree.map(lambda _: isinstance(node, Moving), node),
            new,
            is_leaf=lambda n: isinstance(n, Moving),
        )
        found: eqx.Module = eqx.filter(new, is_moving)
        return found
