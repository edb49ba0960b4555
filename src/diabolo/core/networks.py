"""F and G: maps of rows to rows, with weights.

A network *part* says which network; its `build` makes the weights, as an Equinox module that maps a batch
(n, n_in) to (n, n_out). Weights are drawn with NumPy: drawing them through JAX would cost a second of compilation.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..errors import InvalidPart
from .activations import ACTIVATIONS
from .component import Component, choice_field, component_field, int_field, int_tuple_field
from .layers import (
    Convolution,
    Convolutions,
    Dense,
    Filter,
    Fixed,
    IdentityModule,
    MLPModule,
    Neighbors,
    ResidualModule,
    Skip,
    TransposedConvolution,
    TransposedConvolutions,
    UNetModule,
    feature_map_sizes,
)

__all__ = [
    "MLP",
    "Convolutional",
    "Identity",
    "NeighborFilter",
    "Network",
    "Residual",
    "SkipMLP",
    "TransposedConvolutional",
    "UNet",
    "key_from",
]

_ROWS_PER_STEP, _LEAST_ROWS_PER_STEP = 128, 32
_CELLS_PER_STEP = 1 << 15
"""Of a network that learns the same of every column, where rows have many."""


class Network(Component, role="network"):
    """What stands in the encoder's and the decoder's place."""

    @abstractmethod
    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        """Make the weights: a module that maps (n, n_in) to (n, n_out). `key_from` turns ``rng`` into a JAX key."""

    def reversed(self) -> Network:
        """The same network read backwards: the default decoder to this encoder. Refine it where order matters."""
        return self

    def rows_per_step(self, n_in: int) -> int:
        """How many rows of ``n_in`` columns a step of the optimiser needs, unless it is told otherwise."""
        return _ROWS_PER_STEP


def key_from(rng: np.random.Generator) -> PRNGKeyArray:
    """A JAX key drawn from a NumPy generator, for modules that initialise themselves through JAX."""
    return jax.random.key(int(rng.integers(2**32)))


# -- of rows ----------------------------------------------------------------------------------------------------------


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

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))
    output_activation: str = choice_field("identity", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        sizes = (n_in, *self.hidden, n_out)
        layers = tuple(Dense.init(rng, a, b) for a, b in pairwise(sizes))
        return MLPModule(layers, self.activation, self.output_activation)

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])


@dataclass(frozen=True)
class SkipMLP(Network):
    r"""A linear map beside dense layers: x ↦ A·x + b + f(x), f an `MLP` that starts at 0.

    The linear path is where a closed form can be put before training (`engine.closed_form`), so that nothing has to be
    learned twice. f reads x clipped to the range of the training rows, column by column: far from them the network is
    linear, and cannot explode.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer of f; ``()`` for none: the map is linear.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"

    References
    ----------
    He et al. (2016), "Deep Residual Learning for Image Recognition", eq. 2: a shortcut with a projection.

    Examples
    --------
    >>> SkipMLP((16,)).build(np.random.default_rng(0), 3, 2)(jax.numpy.ones((5, 3))).shape
    (5, 2)
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        module = _silent(MLP(self.hidden, self.activation).build(rng, n_in, n_out))
        return Skip(Dense.init(rng, n_in, n_out), module, *_unbounded(n_in))

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])


@dataclass(frozen=True)
class NeighborFilter(Network):
    r"""Each column from those that correlate with it most, (n, d) → (n, d): the network for removing noise.

    x ↦ A·x + b + s(x) + f(x). A estimates each column by linear regression on its neighbours, the columns that
    correlate with it most; s is one small network for all columns, which reads a column and its nearest neighbours, so
    that what is learned of one column serves all; f is an `MLP` of the whole row. s and f start at 0, A at the
    identity, until `engine.closed_form` puts it at the regression. Neighbours of pixels are the pixels around it,
    without anyone telling the shape of the image; the order of columns does not matter.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        The number of units of each hidden layer of f.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
    n_neighbors : int, default=32
        How many columns the linear regression reads, the column itself among them.
    n_nearest : int, default=9
        How many s reads.
    n_shared : int, default=16
        The number of hidden units of s.

    Raises
    ------
    InvalidPart
        By ``build``, if there are not as many outputs as inputs.

    References
    ----------
    Chen et al. (2012), "Marginalized Denoising Autoencoders for Domain Adaptation", for the regression; Zhang et al.
    (2017), "Beyond a Gaussian Denoiser", for shared filters that learn the noise; Bruna et al. (2014), "Spectral
    Networks and Locally Connected Networks on Graphs", section 5, for neighbours by correlation.

    Examples
    --------
    >>> NeighborFilter((16,)).build(np.random.default_rng(0), 3, 3)(jax.numpy.ones((1, 3))).tolist()
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
            last=Dense(jax.numpy.zeros_like(last.weight), last.bias),
            n_read=n_read,
            activation=self.activation,
            module=_silent(MLP(self.hidden, self.activation).build(rng, n_in, n_out)),
            low=low_high[0],
            high=low_high[1],
        )

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])

    def rows_per_step(self, n_in: int) -> int:
        return min(_ROWS_PER_STEP, max(_LEAST_ROWS_PER_STEP, 1 << (_CELLS_PER_STEP // n_in).bit_length() >> 1))


def _silent(module: eqx.Module) -> eqx.Module:
    """Dense layers whose last one gives 0 to begin with."""
    last = module.layers[-1].weight  # type: ignore[attr-defined]
    silent: eqx.Module = eqx.tree_at(lambda m: m.layers[-1].weight, module, jax.numpy.zeros_like(last))
    return silent


def _unbounded(n: int) -> tuple[Fixed, Fixed]:
    """Bounds that hold nothing back."""
    most = np.full(n, np.finfo(np.float32).max, np.float32)
    return Fixed(jax.device_put(-most)), Fixed(jax.device_put(most))


@dataclass(frozen=True)
class Identity(Network):
    """x ↦ x, without weights: the decoder where the code is the reconstruction already.

    Raises
    ------
    InvalidPart
        By ``build``, if it is to make rows of another length than it reads.

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
    """x ↦ x + f(x): f learns the difference, which for a denoiser is the noise (He et al. 2016; Zhang et al. 2017).

    Parameters
    ----------
    network : Network, default=MLP()
        f.

    Raises
    ------
    InvalidPart
        By ``build``, if it is to make rows of another length than it reads.

    Examples
    --------
    >>> Residual(MLP((16,))).build(np.random.default_rng(0), 3, 3)(jax.numpy.ones((5, 3))).shape
    (5, 3)
    """

    network: Network = component_field(Network, MLP())

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        _require_equal(self, n_in, n_out)
        return ResidualModule(self.network.build(rng, n_in, n_out))

    def reversed(self) -> Network:
        return self.replace(network=self.network.reversed())


def _require_equal(part: Network, n_in: int, n_out: int) -> None:
    if n_in != n_out:
        raise InvalidPart(
            f"{type(part).__name__} makes rows as long as those it reads; it is to make {n_out} numbers of {n_in}. "
            "As an encoder it needs a Code of as many coordinates as there are features."
        )


# -- of images --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolutional(Network):
    """Convolutions of images, each followed by the activation, and a dense output layer: (n, H·W·C) → (n, n_out).

    Each convolution makes an image of ⌈height/stride⌉ × ⌈width/stride⌉ of the one before.

    Parameters
    ----------
    shape : tuple of three int
        Height, width and channels of the images that the rows hold, in the order of `numpy.ravel`: pixel by pixel, line
        by line, the channels of a pixel side by side.
    channels : tuple of int, default=(32, 64)
        The number of channels after each convolution; ``()`` for none, a linear map.
    kernel : int, at least 1, default=4
        Height and width of the kernels.
    stride : int, at least 1, default=2
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"

    Raises
    ------
    InvalidPart
        By ``build``, if it is to read rows of another length than H·W·C.

    References
    ----------
    LeCun et al. 1989, "Backpropagation Applied to Handwritten Zip Code Recognition"; Masci et al. 2011, "Stacked
    Convolutional Auto-Encoders for Hierarchical Feature Extraction" (there with pooling in place of strides).

    Examples
    --------
    >>> network = Convolutional((28, 28, 1)).build(np.random.default_rng(0), 784, 20)
    >>> network(jax.numpy.ones((5, 784))).shape
    (5, 20)
    >>> Convolutional((8, 8, 1), (8, 16)).mirrored()
    TransposedConvolutional(shape=(8, 8, 1), channels=(16, 8), kernel=4, stride=2, activation='silu')
    """

    shape: tuple[int, int, int] = int_tuple_field(length=3)
    channels: tuple[int, ...] = int_tuple_field((32, 64))
    kernel: int = int_field(4)
    stride: int = int_field(2)
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        if n_in != prod(self.shape):
            raise InvalidPart(_misfit(self, f"reads rows of {n_in} features"))
        channels = (self.shape[2], *self.channels)
        layers = tuple(Convolution.init(rng, self.kernel, a, b, self.stride) for a, b in pairwise(channels))
        height, width = feature_map_sizes(self.shape, self.stride, len(layers))[-1]
        head = Dense.init(rng, height * width * channels[-1], n_out)
        return Convolutions(self.shape, layers, head, self.activation)

    def reversed(self) -> Network:
        return TransposedConvolutional(self.shape, self.channels[::-1], self.kernel, self.stride, self.activation)


@dataclass(frozen=True)
class TransposedConvolutional(Network):
    """A dense layer and transposed convolutions up to an image, the activation between them: (n, n_in) → (n, k·H·W·C).

    The adjoint of `Convolutional`'s way: sizes go back through the same steps. A likelihood that needs k numbers per
    feature gets k images one after another, to be taken apart by ``jnp.split(eta, k, -1)``.

    Parameters
    ----------
    shape : tuple of three int
        Height, width and channels of the images to make.
    channels : tuple of int, default=(64, 32)
        The number of channels before each transposed convolution, in the order of the data's way; ``()`` for none, a
        linear map.
    kernel : int, at least 1, default=4
        Height and width of the kernels. Multiples of the stride make no checkerboards (Odena, Dumoulin & Olah 2016).
    stride : int, at least 1, default=2
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"

    Raises
    ------
    InvalidPart
        By ``build``, if it is to make rows whose length is no multiple of H·W·C.

    Examples
    --------
    >>> network = TransposedConvolutional((28, 28, 1)).build(np.random.default_rng(0), 20, 784)
    >>> network(jax.numpy.ones((3, 5, 20))).shape
    (3, 5, 784)
    """

    shape: tuple[int, int, int] = int_tuple_field(length=3)
    channels: tuple[int, ...] = int_tuple_field((64, 32))
    kernel: int = int_field(4)
    stride: int = int_field(2)
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        if n_out % prod(self.shape):
            raise InvalidPart(_misfit(self, f"makes rows of {n_out} numbers"))
        channels = (*self.channels, n_out // (self.shape[0] * self.shape[1]))
        smallest, *sizes = feature_map_sizes(self.shape, self.stride, len(self.channels))[::-1]
        start = (*smallest, channels[0])
        stem = Dense.init(rng, n_in, prod(start))
        layers = tuple(
            TransposedConvolution.init(rng, self.kernel, a, b, self.stride, size)
            for (a, b), size in zip(pairwise(channels), sizes, strict=True)
        )
        return TransposedConvolutions(start, stem, layers, n_out // prod(self.shape), self.activation)

    def reversed(self) -> Network:
        return Convolutional(self.shape, self.channels[::-1], self.kernel, self.stride, self.activation)


@dataclass(frozen=True)
class UNet(Network):
    """From images to images of the same shape, by way of smaller ones: (n, H·W·C) → (n, H·W·C).

    Convolutions of stride 2 halve the image, transposed ones double it; at each size, what came down is added to what
    comes up, so nothing is lost on the way. Inside `Residual`, with `Identity` for a decoder and a code of H·W·C
    numbers, it is the network for removing noise from images.

    Parameters
    ----------
    shape : tuple of three int
        Height, width and channels of the images that the rows hold, as for `Convolutional`.
    channels : tuple of int, default=(32, 64, 128)
        The number of channels at a half of the size, a quarter, and so on; at least one.
    kernel : int, at least 1, default=3
        Height and width of the kernels that keep the size; those that change it have 4.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"

    Raises
    ------
    InvalidPart
        If ``channels`` is empty; by ``build``, if it is to read or make rows of another length than H·W·C.

    References
    ----------
    Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation" (there what came
    down is put beside what comes up).

    Examples
    --------
    >>> UNet((8, 8, 1), (4, 8)).build(np.random.default_rng(0), 64, 64)(jax.numpy.ones((5, 64))).shape
    (5, 64)
    """

    shape: tuple[int, int, int] = int_tuple_field(length=3)
    channels: tuple[int, ...] = int_tuple_field((32, 64, 128))
    kernel: int = int_field(3)
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels:
            raise InvalidPart("UNet.channels must hold at least one number; got none.")

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        if {n_in, n_out} != {prod(self.shape)}:
            raise InvalidPart(_misfit(self, f"reads rows of {n_in} and makes rows of {n_out} numbers"))
        steps = list(pairwise((self.shape[2], *self.channels)))
        sizes = feature_map_sizes(self.shape, 2, len(steps))
        return UNetModule(
            shape=self.shape,
            down=tuple(Convolution.init(rng, 4, a, b, 2) for a, b in steps),
            before=tuple(Convolution.init(rng, self.kernel, c, c, 1) for c in self.channels),
            after=tuple(Convolution.init(rng, self.kernel, c, c, 1) for c in self.channels),
            up=tuple(TransposedConvolution.init(rng, 4, b, a, 2, sizes[i]) for i, (a, b) in enumerate(steps)),
            activation=self.activation,
        )


def _misfit(part: Convolutional | TransposedConvolutional | UNet, what: str) -> str:
    return (
        f"{type(part).__name__} {what}, but its shape is {part.shape}, images of {prod(part.shape)} numbers. "
        f"Give it the shape (height, width, channels) of your images, whose product is the number of features."
    )
