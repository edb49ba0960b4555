"""Convolutional networks for images, and for series, which are images one pixel wide."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import equinox as eqx
import numpy as np

from ..errors import InvalidPart
from .activations import ACTIVATIONS
from .component import choice_field, int_field, int_tuple_field
from .layers import (
    Convolution,
    Convolutions,
    Dense,
    TransposedConvolution,
    TransposedConvolutions,
    UNetModule,
    feature_map_sizes,
    image_shape,
)
from .networks import Network

__all__ = ["Convolutional", "TransposedConvolutional", "UNet"]


@dataclass(frozen=True)
class Convolutional(Network):
    r"""A convolutional network for images or series, with a dense output layer: (n, H·W·C) or (n, T·C) → (n, n_out).

    Each convolution, y[p, o] = Σ K[i, c, o]·x[s·p + i − top, c] + b[o], is followed by the activation and reduces an
    image to ⌈height/stride⌉ × ⌈width/stride⌉, and a series to ⌈length/stride⌉ points in time.

    Parameters
    ----------
    shape : tuple of two or three int
        Height, width and number of channels of the images; or length and number of channels of the series. Each row is
        an image or a series in the order of `numpy.ravel`: line by line, pixel by pixel, the channels of a pixel, or of
        a point in time, next to each other. `fit` takes series as an array of shape (n, length, channels) as well.
    channels : tuple of int, default=(32, 64)
        The number of channels after each convolution; ``()`` for none, a linear map.
    kernel : int, at least 1, default=4
        Height and width of the kernels, in pixels; or their length, in points in time.
    stride : int, at least 1, default=2
        The step between kernel positions, in pixels or points in time.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        The activation after each convolution.

    Raises
    ------
    InvalidPart
        By ``build``, if the rows have a length other than H·W·C.

    References
    ----------
    LeCun et al. 1989, "Backpropagation Applied to Handwritten Zip Code Recognition"; Masci et al. 2011, "Stacked
    Convolutional Auto-Encoders for Hierarchical Feature Extraction" (with pooling instead of strides); Waibel et al.
    1989, "Phoneme Recognition Using Time-Delay Neural Networks", for series.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> network = Convolutional((28, 28, 1)).build(np.random.default_rng(0), 784, 20)
    >>> network(jnp.ones((5, 784))).shape
    (5, 20)
    >>> Convolutional((140, 2)).build(np.random.default_rng(0), 280, 20)(jnp.ones((5, 280))).shape
    (5, 20)
    >>> Convolutional((8, 8, 1), (8, 16)).reversed()
    TransposedConvolutional(shape=(8, 8, 1), channels=(16, 8), kernel=4, stride=2, activation='silu')
    """

    shape: tuple[int, ...] = int_tuple_field(lengths=(2, 3))
    channels: tuple[int, ...] = int_tuple_field((32, 64))
    kernel: int = int_field(4)
    stride: int = int_field(2)
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        if n_in != prod(self.shape):
            raise InvalidPart(_misfit(self, f"reads rows of {n_in} features"))
        shape, kernel = image_shape(self.shape), _sides(self.shape, self.kernel)
        channels = (shape[2], *self.channels)
        layers = tuple(Convolution.init(rng, kernel, a, b, self.stride) for a, b in pairwise(channels))
        height, width = feature_map_sizes(shape, self.stride, len(layers))[-1]
        head = Dense.init(rng, height * width * channels[-1], n_out)
        return Convolutions(shape, layers, head, self.activation)

    def reversed(self) -> Network:
        return TransposedConvolutional(self.shape, self.channels[::-1], self.kernel, self.stride, self.activation)


@dataclass(frozen=True)
class TransposedConvolutional(Network):
    """A dense layer followed by transposed convolutions that generate images or series: (n, n_in) → (n, k·H·W·C).

    The sizes are those of `Convolutional` in reverse order; the activation is applied before each transposed
    convolution. A likelihood that needs k numbers per feature receives k images, one after another; split them with
    ``jnp.split(eta, k, -1)``.

    Parameters
    ----------
    shape : tuple of two or three int
        Height, width and number of channels of the generated images; or length and number of channels of the series.
    channels : tuple of int, default=(64, 32)
        The number of channels before each transposed convolution, from input to output; ``()`` for a linear map.
    kernel : int, at least 1, default=4
        Height and width of the kernels, in pixels, or their length. Multiples of the stride avoid checkerboard
        artefacts (Odena, Dumoulin & Olah 2016).
    stride : int, at least 1, default=2
        The factor by which each transposed convolution enlarges the image or the series.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"

    Raises
    ------
    InvalidPart
        By ``build``, if the number of outputs is not a multiple of H·W·C.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> network = TransposedConvolutional((28, 28, 1)).build(np.random.default_rng(0), 20, 784)
    >>> network(jnp.ones((3, 5, 20))).shape
    (3, 5, 784)
    """

    shape: tuple[int, ...] = int_tuple_field(lengths=(2, 3))
    channels: tuple[int, ...] = int_tuple_field((64, 32))
    kernel: int = int_field(4)
    stride: int = int_field(2)
    activation: str = choice_field("silu", tuple(ACTIVATIONS))

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        if n_out % prod(self.shape):
            raise InvalidPart(_misfit(self, f"makes rows of {n_out} numbers"))
        shape, kernel = image_shape(self.shape), _sides(self.shape, self.kernel)
        channels = (*self.channels, n_out // (shape[0] * shape[1]))
        smallest, *sizes = feature_map_sizes(shape, self.stride, len(self.channels))[::-1]
        start = (*smallest, channels[0])
        stem = Dense.init(rng, n_in, prod(start))
        layers = tuple(
            TransposedConvolution.init(rng, kernel, a, b, self.stride, size)
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
    shape : tuple of two or three int
        Shape of the images or series, as in `Convolutional`.
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
    >>> import jax.numpy as jnp
    >>> UNet((8, 8, 1), (4, 8)).build(np.random.default_rng(0), 64, 64)(jnp.ones((5, 64))).shape
    (5, 64)
    """

    shape: tuple[int, ...] = int_tuple_field(lengths=(2, 3))
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
        shape, kernel, resizing = image_shape(self.shape), _sides(self.shape, self.kernel), _sides(self.shape, 4)
        steps = list(pairwise((shape[2], *self.channels)))
        sizes = feature_map_sizes(shape, 2, len(steps))
        return UNetModule(
            shape=shape,
            down=tuple(Convolution.init(rng, resizing, a, b, 2) for a, b in steps),
            before=tuple(Convolution.init(rng, kernel, c, c, 1) for c in self.channels),
            after=tuple(Convolution.init(rng, kernel, c, c, 1) for c in self.channels),
            up=tuple(TransposedConvolution.init(rng, resizing, b, a, 2, sizes[i]) for i, (a, b) in enumerate(steps)),
            activation=self.activation,
        )


def _sides(shape: tuple[int, ...], kernel: int) -> tuple[int, int]:
    """Return height and width of the kernels for images, or for series of this shape."""
    return kernel, kernel if len(shape) == 3 else 1


def _misfit(part: Convolutional | TransposedConvolutional | UNet, what: str) -> str:
    return (
        f"{type(part).__name__} {what}, but its shape {part.shape} has {prod(part.shape)} numbers. Give it the shape "
        "(height, width, channels) of your images, or (length, channels) of your series; the product must be the "
        "number of features."
    )
