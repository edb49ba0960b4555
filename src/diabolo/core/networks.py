"""Networks: the encoder F and the decoder G, maps from rows to rows with weights.

A network *component* holds the hyper-parameters. Its `build` method creates the weights, as an Equinox module that maps
a batch (n, n_in) to (n, n_out). Weights are drawn with NumPy, because drawing them with JAX costs a second of
compilation.
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


def key_from(rng: np.random.Generator) -> PRNGKeyArray:
    """Draw a JAX key from a NumPy generator, for modules that initialise their weights with JAX."""
    return jax.random.key(int(rng.integers(2**32)))


# -- of rows ----------------------------------------------------------------------------------------------------------


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
    >>> MLP((16, 8)).build(np.random.default_rng(0), 3, 2)(jax.numpy.ones((5, 3))).shape
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
    >>> SkipMLP((16,)).build(np.random.default_rng(0), 3, 2)(jax.numpy.ones((5, 3))).shape
    (5, 2)
    """

    hidden: tuple[int, ...] = int_tuple_field((128,))
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        module = _zero_output(MLP(self.hidden, self.activation).build(rng, n_in, n_out))
        return Skip(Dense.init(rng, n_in, n_out), module, *_unbounded(n_in))

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])


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
            module=_zero_output(MLP(self.hidden, self.activation).build(rng, n_in, n_out)),
            low=low_high[0],
            high=low_high[1],
        )

    def reversed(self) -> Network:
        return self.replace(hidden=self.hidden[::-1])

    def rows_per_step(self, n_in: int) -> int:
        return min(_ROWS_PER_STEP, max(_LEAST_ROWS_PER_STEP, 1 << (_CELLS_PER_STEP // n_in).bit_length() >> 1))


def _zero_output(module: eqx.Module) -> eqx.Module:
    """Return the dense layers with the last layer's weight matrix set to 0, so that the initial output is 0."""
    last = module.layers[-1].weight  # type: ignore[attr-defined]
    zeroed: eqx.Module = eqx.tree_at(lambda m: m.layers[-1].weight, module, jax.numpy.zeros_like(last))
    return zeroed


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
            f"{type(part).__name__} needs as many outputs as inputs; got {n_in} inputs and {n_out} outputs. "
            f"As an encoder, combine it with a latent of {n_in} coordinates: Deterministic({n_in})."
        )


# -- of images --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolutional(Network):
    """A convolutional network for images, with a dense output layer: (n, H·W·C) → (n, n_out).

    Each convolution is followed by the activation and reduces an image to ⌈height/stride⌉ × ⌈width/stride⌉.

    Parameters
    ----------
    shape : tuple of three int
        Height, width and number of channels of the images. Each row is an image in the order of `numpy.ravel`: line by
        line, pixel by pixel, the channels of a pixel next to each other.
    channels : tuple of int, default=(32, 64)
        The number of channels after each convolution; ``()`` for none, a linear map.
    kernel : int, at least 1, default=4
        Height and width of the kernels, in pixels.
    stride : int, at least 1, default=2
        The step between kernel positions, in pixels.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        The activation after each convolution.

    Raises
    ------
    InvalidPart
        By ``build``, if the rows have a length other than H·W·C.

    References
    ----------
    LeCun et al. 1989, "Backpropagation Applied to Handwritten Zip Code Recognition"; Masci et al. 2011, "Stacked
    Convolutional Auto-Encoders for Hierarchical Feature Extraction" (with pooling instead of strides).

    Examples
    --------
    >>> network = Convolutional((28, 28, 1)).build(np.random.default_rng(0), 784, 20)
    >>> network(jax.numpy.ones((5, 784))).shape
    (5, 20)
    >>> Convolutional((8, 8, 1), (8, 16)).reversed()
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
    """A dense layer followed by transposed convolutions that generate images: (n, n_in) → (n, k·H·W·C).

    The sizes are those of `Convolutional` in reverse order; the activation is applied before each transposed
    convolution. A likelihood that needs k numbers per feature receives k images, one after another; split them with
    ``jnp.split(eta, k, -1)``.

    Parameters
    ----------
    shape : tuple of three int
        Height, width and number of channels of the generated images.
    channels : tuple of int, default=(64, 32)
        The number of channels before each transposed convolution, from input to output; ``()`` for a linear map.
    kernel : int, at least 1, default=4
        Height and width of the kernels, in pixels. Multiples of the stride avoid checkerboard artefacts (Odena,
        Dumoulin & Olah 2016).
    stride : int, at least 1, default=2
        The factor by which each transposed convolution enlarges the image.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"

    Raises
    ------
    InvalidPart
        By ``build``, if the number of outputs is not a multiple of H·W·C.

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
    """A U-Net, which maps images to images of the same shape by way of smaller images: (n, H·W·C) → (n, H·W·C).

    Convolutions of stride 2 halve the image; transposed convolutions double it. At each size, the image of the downward
    path is added to the image of the upward path, so that details are preserved. To denoise images, use the network
    inside `Residual`, with `Identity` as the decoder and a code of H·W·C numbers.

    Parameters
    ----------
    shape : tuple of three int
        Height, width and number of channels of the images, as in `Convolutional`.
    channels : tuple of int, default=(32, 64, 128)
        The number of channels at half the size, a quarter of the size, and so on; at least one entry.
    kernel : int, at least 1, default=3
        Height and width, in pixels, of the kernels that keep the image's size. Kernels that change the size have 4.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"

    Raises
    ------
    InvalidPart
        If ``channels`` is empty; by ``build``, if the number of inputs or outputs is not H·W·C.

    References
    ----------
    Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation" (which
    concatenates the two paths instead of adding them).

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
            raise InvalidPart("UNet.channels is empty. Give at least one number of channels.")

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
        f"{type(part).__name__} {what}, but its shape {part.shape} has {prod(part.shape)} numbers. "
        "Give it the shape (height, width, channels) of your images; the product must be the number of features."
    )
