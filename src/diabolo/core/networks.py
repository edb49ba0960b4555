"""Networks: the encoder F and the decoder G, maps from rows to rows with weights.

A network *component* holds the hyper-parameters. Its `build` method creates the weights, as an Equinox module that maps
a batch (n, n_in) to (n, n_out). Weights are drawn with NumPy, because drawing them with JAX costs a second of
compilation.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..errors import InvalidPart
from .activations import ACTIVATIONS, THROUGH_ZERO
from .component import Component, choice_field, component_field, int_field, int_tuple_field
from .layers import Dense, Filter, Fixed, IdentityModule, MLPModule, Neighbors, ResidualModule, Skip

__all__ = [
    "MLP",
    "Identity",
    "NeighborFilter",
    "Network",
    "Residual",
    "SkipMLP",
    "key_from",
]

_ROWS_PER_STEP, _LEAST_ROWS_PER_STEP = 128, 32
_LEAST_WIDTH = 32
_CELLS_PER_STEP = 1 << 15
"""Cells per step for a network that shares weights between columns; limits the batch of rows with many columns."""


class Network(Component, role="network"):
    """A network that serves as encoder or decoder."""

    @abstractmethod
    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        """Return a module with weights that maps (n, n_in) to (n, n_out).

        `key_from` converts ``rng`` into a JAX key.
        """

    def reversed(self) -> Network:
        """Return the reversed network: the default decoder of this encoder. Override it if the order matters."""
        return self

    def rows_per_step(self, n_in: int) -> int:
        """Return the default batch size for rows of ``n_in`` columns."""
        return _ROWS_PER_STEP

    def widened(self) -> Network:
        """Return the network with hidden layers of one of few sizes, at least as wide; itself, if it cannot be so.

        If the weights of the units that are added are 0, the network computes the same, and training leaves them at 0.
        """
        return self

    def bound(self, module: eqx.Module, encoder: eqx.Module) -> eqx.Module:
        """Return the module of `build`, as a decoder of this encoder. By default: the module itself.

        Raises
        ------
        InvalidPart
            If it needs another encoder.
        """
        return module

    @property
    def has_training_mode(self) -> bool:
        """Whether the network computes something else in training than afterwards; by default: no."""
        return False

    def in_training(self, module: eqx.Module, key: PRNGKeyArray, row_weight: Float[Array, " n"]) -> eqx.Module:
        """Return the module of `build` as it is in a step of training, with a random key. By default: unchanged.

        It is called only if `has_training_mode`. Rows of weight 0 are padding and must not count.
        """
        return module

    def updated(self, module: eqx.Module, x: Float[Array, "*batch n_in"]) -> eqx.Module | None:
        """Return new values of arrays that are not trained by gradient, after a step; None by default.

        ``module`` is that of `in_training`, and ``x`` is what it has read. The result is a module like that of `build`,
        with None in place of all other arrays.
        """
        return None


def _wider(hidden: tuple[int, ...], activation: str) -> tuple[int, ...]:
    """Return sizes of hidden layers that are powers of 2: a unit whose activation is 0 has no gradient of its own."""
    if activation not in THROUGH_ZERO:
        return hidden
    return tuple(max(_LEAST_WIDTH, 1 << (n - 1).bit_length()) for n in hidden)


def key_from(rng: np.random.Generator) -> PRNGKeyArray:
    """Draw a JAX key from a NumPy generator, for modules that initialise their weights with JAX."""
    return jax.random.key(int(rng.integers(2**32)))


@dataclass(frozen=True)
class MLP(Network):
    """A multilayer perceptron: dense hidden layers, each followed by the activation, and a dense output layer.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer, from input to output; ``()`` for a linear map.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        The activation after each hidden layer.
    output_activation : the same names, default="identity"
        The activation after the output layer. The latent and the likelihood usually apply their own.

    Examples
    --------
    >>> jax.eval_shape(MLP((16, 8)).build(np.random.default_rng(0), 3, 2), np.ones((5, 3))).shape
    (5, 2)
    >>> MLP((16, 8)).reversed().hidden
    (8, 16)
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))
    output_activation: str = choice_field("identity", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        return MLPModule.init(rng, (n_in, *self.hidden, n_out), self.activation, self.output_activation)

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])

    def widened(self) -> Network:
        return self.replace(hidden=_wider(self.hidden, self.activation))


@dataclass(frozen=True)
class SkipMLP(Network):
    r"""A linear map plus dense layers: x ↦ A·x + b + f(x), where f is an `MLP` that is 0 at the start of training.

    The linear path can be initialised with a closed-form solution before training (see `engine.closed_form`), so that f
    learns the remainder only. f reads x clipped to the range of the training rows, column by column: far from the
    training rows the network is linear and its output grows linearly.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer of f; ``()`` for none.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        The activation after each hidden layer of f.

    References
    ----------
    He et al. (2016), "Deep Residual Learning for Image Recognition", eq. 2: a shortcut with a projection.

    Examples
    --------
    >>> jax.eval_shape(SkipMLP((16,)).build(np.random.default_rng(0), 3, 2), np.ones((5, 3))).shape
    (5, 2)
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        module = _zero_output(MLP(self.hidden, self.activation).build(rng, n_in, n_out))
        return Skip(Dense.init(rng, n_in, n_out), module, *_unbounded(n_in))

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])

    def widened(self) -> Network:
        return self.replace(hidden=_wider(self.hidden, self.activation))


@dataclass(frozen=True)
class NeighborFilter(Network):
    r"""A denoising network that estimates each column from the columns most correlated with it, (n, d) → (n, d).

    x ↦ A·x + b + s(x) + f(x). A estimates each column by linear regression on its neighbours, the columns with the
    highest correlation. s is one small network that all columns share; it reads a column and its nearest neighbours.
    f is an `MLP` of the whole row. At the start of training s and f are 0 and A is the identity, or the regression once
    `engine.closed_form` has computed it. For images, the neighbours of a pixel are the pixels around it; the shape of
    the image is not needed. The result does not depend on the order of columns.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer of f.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        The activation of the hidden layers of s and f.
    n_neighbors : int, default=32
        The number of columns that the linear regression reads, including the column itself.
    n_nearest : int, default=9
        The number of columns that s reads, including the column itself.
    n_shared : int, default=16
        The number of hidden units of s.

    Raises
    ------
    InvalidPart
        By ``build``, if the numbers of outputs and inputs differ.

    References
    ----------
    Chen et al. (2012), "Marginalized Denoising Autoencoders for Domain Adaptation", for the regression; Zhang et al.
    (2017), "Beyond a Gaussian Denoiser", for shared filters that predict the noise; Bruna et al. (2014), "Spectral
    Networks and Locally Connected Networks on Graphs", section 5, for neighbours by correlation.

    Examples
    --------
    >>> network = NeighborFilter((16,)).build(np.random.default_rng(0), 3, 3)
    >>> eqx.filter_jit(network)(np.ones((1, 3))).tolist()
    [[1.0, 1.0, 1.0]]
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))
    n_neighbors: int = int_field(32)
    n_nearest: int = int_field(9)
    n_shared: int = int_field(16)

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        _require_equal(self, n_in, n_out)
        n_read, low_high = min(self.n_nearest, self.n_neighbors, n_in), _unbounded(n_in)
        first, last = Dense.init(rng, n_read + 3, self.n_shared), Dense.init(rng, self.n_shared, 1)
        return Filter(
            neighbors=Neighbors.identity(n_in, min(self.n_neighbors, n_in)),
            first=first,
            last=Dense(_zeros(last.weight), last.bias),
            n_read=n_read,
            activation=self.activation,
            module=_zero_output(MLP(self.hidden, self.activation).build(rng, n_in, n_out)),
            low=low_high[0],
            high=low_high[1],
        )

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])

    def widened(self) -> Network:
        return self.replace(hidden=_wider(self.hidden, self.activation))

    def rows_per_step(self, n_in: int) -> int:
        return min(_ROWS_PER_STEP, max(_LEAST_ROWS_PER_STEP, 1 << (_CELLS_PER_STEP // n_in).bit_length() >> 1))


def _zero_output(module: eqx.Module) -> eqx.Module:
    """Return the dense layers with the last layer's weight matrix set to 0, so that the initial output is 0."""
    last = module.layers[-1].weight  # type: ignore[attr-defined]
    zeroed: eqx.Module = eqx.tree_at(lambda m: m.layers[-1].weight, module, _zeros(last))
    return zeroed


def _zeros(like: jax.Array) -> jax.Array:
    """Return zeros, from the host: JAX would compile a program for each shape."""
    return jax.device_put(np.zeros(like.shape, like.dtype))


def _unbounded(n: int) -> tuple[Fixed, Fixed]:
    """Return lower and upper bounds that clip no finite value."""
    largest = np.full(n, np.finfo(np.float32).max, np.float32)
    return Fixed(jax.device_put(-largest)), Fixed(jax.device_put(largest))


@dataclass(frozen=True)
class Identity(Network):
    """The identity x ↦ x, without weights: the decoder of a recipe whose code is the reconstruction.

    Raises
    ------
    InvalidPart
        By ``build``, if the numbers of outputs and inputs differ.

    Examples
    --------
    >>> Identity().build(np.random.default_rng(0), 3, 3)(jax.numpy.ones((1, 3))).tolist()
    [[1.0, 1.0, 1.0]]
    """

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        _require_equal(self, n_in, n_out)
        return IdentityModule()


@dataclass(frozen=True)
class Residual(Network):
    """A residual network x ↦ x + f(x): f learns the difference, for a denoiser the negative noise.

    Parameters
    ----------
    network : Network, default=MLP()
        The network f.

    Raises
    ------
    InvalidPart
        By ``build``, if the numbers of outputs and inputs differ.

    References
    ----------
    He et al. (2016), "Deep Residual Learning for Image Recognition"; Zhang et al. (2017), "Beyond a Gaussian Denoiser".

    Examples
    --------
    >>> jax.eval_shape(Residual(MLP((16,))).build(np.random.default_rng(0), 3, 3), np.ones((5, 3))).shape
    (5, 3)
    """

    network: Network = component_field(Network, MLP())

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        _require_equal(self, n_in, n_out)
        return ResidualModule(self.network.build(rng, n_in, n_out))

    def reversed(self) -> Network:
        return self.replace(network=self.network.reversed())

    @property
    def has_training_mode(self) -> bool:
        return self.network.has_training_mode

    def in_training(self, module: eqx.Module, key: PRNGKeyArray, row_weight: Float[Array, " n"]) -> eqx.Module:
        assert isinstance(module, ResidualModule)
        return ResidualModule(self.network.in_training(module.module, key, row_weight))

    def updated(self, module: eqx.Module, x: Float[Array, "*batch n_in"]) -> eqx.Module | None:
        assert isinstance(module, ResidualModule)
        inner = self.network.updated(module.module, x)
        return None if inner is None else ResidualModule(inner)


def _require_equal(part: Network, n_in: int, n_out: int) -> None:
    if n_in != n_out:
        raise InvalidPart(
            f"{type(part).__name__} needs as many outputs as inputs; got {n_in} inputs and {n_out} outputs. "
            f"As an encoder, combine it with a latent of {n_in} coordinates: Deterministic({n_in})."
        )
