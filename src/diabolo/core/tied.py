"""A dense encoder whose matrices, transposed, are those of the decoder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..errors import InvalidPart
from .activations import ACTIVATIONS, activate
from .component import choice_field, int_tuple_field
from .conv_ops import product
from .forward import on_device
from .layers import MLPModule
from .networks import Network

__all__ = ["TiedMLP", "TransposedMLP", "TransposedModule"]


class TransposedModule(eqx.Module):
    """Dense layers with biases of their own, and the matrices that `TransposedMLP.bound` gives them."""

    biases: tuple[Float[Array, " n_out"], ...]
    n_in: int = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    matrices: tuple[Float[Array, "n_in n_out"], ...] = ()

    def __call__(self, z: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        layers = list(zip(self.matrices, self.biases, strict=True))
        for matrix, bias in layers[:-1]:
            z = activate(self.activation, product(z, matrix) + bias)
        return product(z, layers[-1][0]) + layers[-1][1]


@dataclass(frozen=True)
class TiedMLP(Network):
    r"""A multilayer perceptron as the encoder, whose matrices are also those of the decoder, transposed: tied weights.

    h = W_L·s(… s(W₁·x + b₁) …) + b_L, and the decoder is x̂ = W₁ᵀ·s(… s(W_Lᵀ·z + c_L) …) + c₁, with other biases. The
    gradient of a matrix is the sum of both. A tied linear autoencoder, ``hidden=()``, is PCA with orthonormal axes.
    Where the encoder has more outputs than the code coordinates, the rows of W_L of the first outputs count: the means
    of a `DiagonalGaussian`. Likewise, the mask of missing cells is not generated.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer, from input to output; ``()`` for a linear map.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        s, the activation after each hidden layer.

    References
    ----------
    Vincent et al. 2010, "Stacked Denoising Autoencoders", section 2.2; Baldi & Hornik 1989, for the linear case.

    Examples
    --------
    >>> TiedMLP((16, 8)).reversed()
    TransposedMLP(hidden=(8, 16), activation='silu')
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        return MLPModule.init(rng, (n_in, *self.hidden, n_out), self.activation)

    def reversed(self) -> Network:
        return TransposedMLP(self.hidden[::-1], self.activation)


@dataclass(frozen=True)
class TransposedMLP(Network):
    """The decoder of a `TiedMLP`, which is its default. Its own weights are biases.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer, those of the encoder in reverse order.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        The activation after each hidden layer.

    Raises
    ------
    InvalidPart
        By ``bound``, if the encoder has other layers, or fewer inputs than the decoder must have outputs.
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        biases = tuple(on_device(np.zeros(size)) for size in (*self.hidden, n_out))
        return TransposedModule(biases, n_in, self.activation)

    def reversed(self) -> Network:
        return TiedMLP(self.hidden[::-1], self.activation)

    def bound(self, module: eqx.Module, encoder: eqx.Module) -> eqx.Module:
        assert isinstance(module, TransposedModule)
        sizes = (module.n_in, *(bias.size for bias in module.biases))
        layers = encoder.layers[::-1] if isinstance(encoder, MLPModule) else ()
        given = [layer.weight.shape[::-1] for layer in layers]
        is_same = len(given) == len(sizes) - 1 and tuple(after for _, after in given[:-1]) == sizes[1:-1]
        if not (is_same and sizes[0] <= given[0][0] and sizes[-1] <= given[-1][1]):
            raise InvalidPart(
                f"{self!r} has layers of {' → '.join(map(str, sizes))} numbers, and the encoder does not have their "
                f"matrices. Use the encoder TiedMLP({self.hidden[::-1]}), a likelihood of one number per feature, and "
                "no condition."
            )
        matrices = (layer.weight.T[:a, :b] for layer, (a, b) in zip(layers, pairwise(sizes), strict=True))
        return dataclasses.replace(module, matrices=tuple(matrices))
