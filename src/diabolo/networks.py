"""F and G: maps of rows to rows, with weights.

A network *part* says which network; its `build` makes the weights, as an Equinox module that maps a batch
(n, n_in) to (n, n_out). Weights are drawn with NumPy: drawing them through JAX would cost a second of compilation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .activations import ACTIVATIONS, activate
from .part import Part, choice, wholes

__all__ = ["MLP", "Dense", "Layers", "Network", "PerRow", "key_from"]


class Network(Part, slot="network"):
    """What stands in the encoder's and the decoder's place."""

    @abstractmethod
    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        """Make the weights: a module that maps (n, n_in) to (n, n_out). `key_from` turns ``rng`` into a JAX key."""

    def mirrored(self) -> Network:
        """The same network read backwards: the default decoder to this encoder. Refine it where order matters."""
        return self


# -- weights ----------------------------------------------------------------------------------------------------------


class Dense(eqx.Module):
    """x ↦ x·W + b, (n, n_in) → (n, n_out), with W of shape (n_in, n_out)."""

    weight: Float[Array, "n_in n_out"]
    bias: Float[Array, " n_out"]

    @classmethod
    def draw(cls, rng: np.random.Generator, n_in: int, n_out: int) -> Dense:
        r"""W ~ U(−a, a) with a = √(6 / (n_in + n_out)) (Glorot & Bengio 2010, eq. 16), b = 0."""
        bound = np.sqrt(6.0 / (n_in + n_out))
        weight = rng.uniform(-bound, bound, (n_in, n_out)).astype(np.float32)
        return cls(jax.device_put(weight), jax.device_put(np.zeros(n_out, np.float32)))

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        return x @ self.weight + self.bias


class Layers(eqx.Module):
    """Dense layers, with one activation between them and another after the last."""

    layers: tuple[Dense, ...]
    activation: str = eqx.field(static=True)
    output_activation: str = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        for layer in self.layers[:-1]:
            x = activate(self.activation, layer(x))
        return activate(self.output_activation, self.layers[-1](x))


class PerRow(eqx.Module):
    """An ordinary Equinox module, which maps one row, made to map batches."""

    module: Callable[[Array], Array]

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        rows = x.reshape(-1, x.shape[-1])
        out: Array = jax.vmap(self.module)(rows)
        return out.reshape(*x.shape[:-1], out.shape[-1])


def key_from(rng: np.random.Generator) -> PRNGKeyArray:
    """A JAX key drawn from a NumPy generator, for modules that initialise themselves through JAX."""
    return jax.random.key(int(rng.integers(2**32)))


# -- parts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MLP(Network):
    """Dense hidden layers, each followed by the activation, and a dense output layer; a linear map if none is hidden.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer, in the order of the data's way; ``()`` for a linear map.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
    output_activation : the same names, default="identity"
        After the last layer; the latent and the likelihood usually bring their own.

    Examples
    --------
    >>> MLP((16, 8)).build(np.random.default_rng(0), 3, 2)(jax.numpy.ones((5, 3))).shape
    (5, 2)
    >>> MLP((16, 8)).mirrored().hidden
    (8, 16)
    """

    hidden: tuple[int, ...] = wholes((128,))
    activation: str = choice("silu", tuple(ACTIVATIONS))
    output_activation: str = choice("identity", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        sizes = (n_in, *self.hidden, n_out)
        layers = tuple(Dense.draw(rng, a, b) for a, b in pairwise(sizes))
        return Layers(layers, self.activation, self.output_activation)

    def mirrored(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])
