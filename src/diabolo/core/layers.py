"""Layers: the Equinox modules with weights that networks consist of.

Weights are drawn with NumPy, because drawing them with JAX costs a second of compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from itertools import pairwise
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .activations import activate
from .conv_ops import convolve, convolve_transposed, product, strided
from .distributions import Normal, normal_from

__all__ = [
    "Convolution",
    "Convolutions",
    "Dense",
    "Filter",
    "Fixed",
    "IdentityModule",
    "MLPModule",
    "Neighbors",
    "NormalModule",
    "ResidualModule",
    "Skip",
    "TransposedConvolution",
    "TransposedConvolutions",
    "UNetModule",
    "Vmap",
    "feature_map_sizes",
    "image_shape",
]

# -- of rows ----------------------------------------------------------------------------------------------------------


class Dense(eqx.Module):
    """A dense layer x ↦ x·W + b, (n, n_in) → (n, n_out), with W of shape (n_in, n_out)."""

    weight: Float[Array, "n_in n_out"]
    bias: Float[Array, " n_out"]

    @classmethod
    def init(cls, rng: np.random.Generator, n_in: int, n_out: int) -> Dense:
        r"""Draw W ~ U(−a, a) with a = √(6 / (n_in + n_out)) (Glorot & Bengio 2010, eq. 16); set b = 0."""
        bound = np.sqrt(6.0 / (n_in + n_out))
        weight = rng.uniform(-bound, bound, (n_in, n_out)).astype(np.float32)
        return cls(jax.device_put(weight), jax.device_put(np.zeros(n_out, np.float32)))

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        return product(x, self.weight) + self.bias


class Fixed(eqx.Module):
    """An array of a network that is not trained, for example a statistic of the training rows."""

    value: Float[Array, "..."]


class Neighbors(eqx.Module):
    """Statistics of d columns and of their m neighbours, the columns with the highest correlation."""

    inputs: Fixed
    """(d, m): the indices of each column's neighbours, starting with the column itself."""
    weight: Fixed
    """(d, m): the weights of the neighbours in a linear estimate of the column."""
    bias: Fixed
    """(d,): the intercept of the linear estimate."""
    sign: Fixed
    """(d, m): the sign of the correlation between column and neighbour."""
    mean: Fixed
    """(d,): the mean of each column."""
    spread: Fixed
    """(d,): the standard deviation of each column."""

    @classmethod
    def identity(cls, d: int, m: int) -> Neighbors:
        """Return initial statistics, with which each column is estimated by its own value."""
        inputs = (np.arange(d)[:, None] + np.arange(m)) % d
        weight = np.zeros((d, m))
        weight[:, 0] = 1
        return cls.of(inputs, weight, np.zeros(d), np.ones((d, m)), np.zeros(d), np.ones(d))

    @classmethod
    def of(cls, *arrays: np.ndarray) -> Neighbors:
        """Create the statistics from arrays in the order of the fields, and put them on the device."""
        return cls(*(Fixed(jax.device_put(np.ascontiguousarray(array, np.float32))) for array in arrays))

    def towards_identity(self, share: float) -> Neighbors:
        """Return a copy whose estimate is moved by the fraction ``share`` towards each column's own value."""
        weight = (1 - share) * np.asarray(self.weight.value)
        weight[:, 0] += share
        new = Fixed(jax.device_put(weight)), Fixed(jax.device_put((1 - share) * np.asarray(self.bias.value)))
        return eqx.tree_at(lambda one: (one.weight, one.bias), self, new, is_leaf=lambda leaf: isinstance(leaf, Fixed))

    def gathered(self, columns: Float[Array, "d n"], m: int) -> Float[Array, "m d n"]:
        """Return the values of each column's first m neighbours."""
        which = self.inputs.value[:, :m].T.reshape(-1).astype(jnp.int32)
        return columns.at[which].get(mode="promise_in_bounds").reshape(m, *columns.shape)

    def estimate(self, columns: Float[Array, "d n"]) -> Float[Array, "d n"]:
        """Return the linear estimate of each column."""
        weight = self.weight.value
        return (weight.T[..., None] * self.gathered(columns, weight.shape[1])).sum(0) + self.bias.value[:, None]


class Filter(eqx.Module):
    """A neighbour filter: x ↦ linear estimate + shared filter + dense network.

    The linear estimate and the shared filter read the neighbours of a column; the dense network reads the whole row.
    The shared filter is one small network for all columns. It reads a column, its nearest neighbours, the linear
    estimate, and the column's mean and standard deviation.
    """

    neighbors: Neighbors
    first: Dense
    last: Dense
    n_read: int = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    module: eqx.Module
    low: Fixed
    """(d,): the minimum of each input in the training rows. f reads x clipped to the range from low to high."""
    high: Fixed
    """(d,): the maximum of each input in the training rows."""

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        rows = x.reshape(-1, x.shape[-1])
        within = jnp.clip(rows, self.low.value, self.high.value)
        restored = _in_blocks(self._by_column, rows, _CACHED // x.shape[-1])
        return (restored + self.module(within)).reshape(x.shape)  # type: ignore[operator]

    def _by_column(self, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return the linear estimate plus the output of the shared filter."""
        within = jnp.clip(rows, self.low.value, self.high.value)
        linear, known = self.neighbors.estimate(rows.T), self.neighbors
        estimate = jnp.clip(linear, self.low.value[:, None], self.high.value[:, None])
        columns, about = within.T, (known.mean.value[:, None], known.spread.value[:, None])
        near = known.gathered(columns, self.n_read) * known.sign.value[:, : self.n_read].T[..., None]
        read = [near, *(jnp.broadcast_to(one, columns.shape)[None] for one in (estimate, *about))]
        features = jnp.concatenate(read).reshape(self.n_read + 3, -1)
        hidden = activate(self.activation, product(self.first.weight.T, features) + self.first.bias[:, None])
        shared = (product(self.last.weight.T, hidden) + self.last.bias[:, None]).reshape(columns.shape)
        return (linear + shared).T


UNROLLED: ContextVar[bool] = ContextVar("UNROLLED", default=False)
"""Whether a network is traced as a program without loops, for an export format or a page."""
_CACHED = 1 << 15
"""Number of cells whose neighbours and hidden units fit in a CPU cache."""


def _in_blocks(f: Callable[[Array], Array], rows: Float[Array, "n d"], size: int) -> Float[Array, "n d"]:
    """Apply f to blocks of rows on a CPU, which is twice as fast if all rows together do not fit in the cache.

    The gradient recomputes intermediate values, which is faster than to load them from memory.
    """
    n, size = len(rows), max(size, 1)
    if n <= 2 * size or UNROLLED.get() or jax.default_backend() != "cpu":
        return f(rows)
    blocks = jnp.pad(rows, ((0, -n % size), (0, 0))).reshape(-1, size, rows.shape[1])
    by_block = jax.checkpoint(lambda block: f(block))  # noqa: PLW0108 - modules hold arrays and have no hash
    found: Array = jax.lax.map(by_block, blocks).reshape(-1, rows.shape[1])[:n]
    return found


class Skip(eqx.Module):
    """A linear map plus a network: x ↦ linear(x) + f(x), where f reads x clipped to the range of the training rows.

    Outside this range the map is linear, and f keeps its value at the edge of the range.
    """

    linear: Dense
    module: eqx.Module
    low: Fixed
    """(n_in,): the minimum of each input in the training rows."""
    high: Fixed
    """(n_in,): the maximum of each input in the training rows."""

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        within = jnp.clip(x, self.low.value, self.high.value)
        return self.linear(x) + self.module(within)  # type: ignore[operator]


class MLPModule(eqx.Module):
    """Dense layers with one activation between the layers and another after the last layer."""

    layers: tuple[Dense, ...]
    activation: str = eqx.field(static=True)
    output_activation: str = eqx.field(static=True)

    @classmethod
    def init(
        cls, rng: np.random.Generator, sizes: Sequence[int], activation: str = "silu", output: str = "identity"
    ) -> MLPModule:
        """Draw the weights of layers between these sizes, the first of which is that of the input."""
        return cls(tuple(Dense.init(rng, a, b) for a, b in pairwise(sizes)), activation, output)

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        for layer in self.layers[:-1]:
            x = activate(self.activation, layer(x))
        return activate(self.output_activation, self.layers[-1](x))


class NormalModule(eqx.Module):
    """A network from a code to the normal distribution of another."""

    network: MLPModule

    def __call__(self, z: Float[Array, "*batch n_in"]) -> Normal:
        return normal_from(self.network(z))


class IdentityModule(eqx.Module):
    """The identity x ↦ x."""

    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        return x


class ResidualModule(eqx.Module):
    """A residual network x ↦ x + f(x)."""

    module: eqx.Module

    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        return x + self.module(x)  # type: ignore[operator]


class Vmap(eqx.Module):
    """A wrapper that applies an Equinox module for single rows to batches of rows.

    Parameters
    ----------
    module : callable
        Map from a row (n_in,) to a row (n_out,).
    """

    module: Callable[[Array], Array]

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        rows = x.reshape(-1, x.shape[-1])
        out: Array = jax.vmap(self.module)(rows)
        return out.reshape(*x.shape[:-1], out.shape[-1])


# -- of images --------------------------------------------------------------------------------------------------------


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of images; a series (t, f) is an image one pixel wide, whose f channels are the pixel's.

    >>> image_shape((28, 20, 3)), image_shape((100, 2))
    ((28, 20, 3), (100, 1, 2))
    """
    return (shape[0], shape[1] if len(shape) == 3 else 1, shape[-1])


def feature_map_sizes(shape: tuple[int, ...], stride: int, n: int) -> list[tuple[int, int]]:
    """Return height and width of an image before and after each of n convolutions.

    >>> feature_map_sizes((28, 20), 2, 3)
    [(28, 20), (14, 10), (7, 5), (4, 3)]
    """
    sizes = [shape[:2]]
    for _ in range(n):
        sizes.append((strided(sizes[-1][0], stride), strided(sizes[-1][1], stride)))
    return [(height, width) for height, width in sizes]


def _draw_kernel(rng: np.random.Generator, sides: tuple[int, int], c: int, o: int) -> Float[Array, "kh kw c o"]:
    """Draw a kernel with Glorot's bound, which counts all inputs and outputs of the kernel's positions."""
    bound = np.sqrt(6.0 / (prod(sides) * (c + o)))
    return jax.device_put(rng.uniform(-bound, bound, (*sides, c, o)).astype(np.float32))


class Convolution(eqx.Module):
    """A convolution of images x ↦ x ∗ W + b, (n, H, W, C) → (n, ⌈H/s⌉, ⌈W/s⌉, O), with one bias per channel."""

    weight: Float[Array, "kh kw c o"]
    bias: Float[Array, " o"]
    stride: int = eqx.field(static=True)

    @classmethod
    def init(cls, rng: np.random.Generator, kernel: tuple[int, int], n_in: int, n_out: int, stride: int) -> Convolution:
        r"""Draw W ~ U(−a, a) with a = √(6 / (|kernel|·(n_in + n_out))) (Glorot & Bengio 2010, eq. 16); set b = 0."""
        return cls(_draw_kernel(rng, kernel, n_in, n_out), jax.device_put(np.zeros(n_out, np.float32)), stride)

    def __call__(self, x: Float[Array, "n height width c"]) -> Float[Array, "n h w o"]:
        return convolve(x, self.weight, self.stride) + self.bias


class TransposedConvolution(eqx.Module):
    """The adjoint of a `Convolution`, plus one bias per channel: (n, ⌈H/s⌉, ⌈W/s⌉, O) → (n, H, W, C).

    ``size`` is (H, W), the height and width of the output images.
    """

    weight: Float[Array, "kh kw c o"]
    bias: Float[Array, " c"]
    stride: int = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)

    @classmethod
    def init(
        cls,
        rng: np.random.Generator,
        kernel: tuple[int, int],
        n_in: int,
        n_out: int,
        stride: int,
        size: tuple[int, int],
    ) -> TransposedConvolution:
        """Draw the kernel with the same bound as `Convolution`; set the biases to 0."""
        return cls(_draw_kernel(rng, kernel, n_out, n_in), jax.device_put(np.zeros(n_out, np.float32)), stride, size)

    def __call__(self, y: Float[Array, "n h w o"]) -> Float[Array, "n height width c"]:
        return convolve_transposed(y, self.weight, self.stride, self.size) + self.bias


class Convolutions(eqx.Module):
    """A map from images, one per row, to rows: convolutions, each followed by the activation, and a dense layer."""

    shape: tuple[int, int, int] = eqx.field(static=True)
    layers: tuple[Convolution, ...]
    head: Dense
    activation: str = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        image = x.reshape(-1, *self.shape)
        for layer in self.layers:
            image = activate(self.activation, layer(image))
        return self.head(image.reshape(*x.shape[:-1], prod(image.shape[1:])))


class TransposedConvolutions(eqx.Module):
    """A map from rows to ``n_images`` images per row: a dense layer and transposed convolutions.

    The activation is applied before each transposed convolution.
    """

    start: tuple[int, int, int] = eqx.field(static=True)
    stem: Dense
    layers: tuple[TransposedConvolution, ...]
    n_images: int = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __call__(self, z: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        image = self.stem(z).reshape(-1, *self.start)
        for layer in self.layers:
            image = layer(activate(self.activation, image))
        # Here the images of one row are grouped along the channels; the output row holds them one after another.
        n, height, width, channels = image.shape
        images = jnp.moveaxis(image.reshape(n, height, width, self.n_images, channels // self.n_images), 3, 1)
        return images.reshape(*z.shape[:-1], height * width * channels)


class UNetModule(eqx.Module):
    """A U-Net from images to images, one per row: a downward path to smaller images, and an upward path back.

    At each size, both paths apply a convolution that keeps the size, x ↦ x + f(activation(x)). The image of the
    downward path is added to the image of the upward path.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    down: tuple[Convolution, ...]
    before: tuple[Convolution, ...]
    after: tuple[Convolution, ...]
    up: tuple[TransposedConvolution, ...]
    activation: str = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        image, downward = x.reshape(-1, *self.shape), []
        for shrink, layer in zip(self.down, self.before, strict=True):
            image = shrink(image)
            image = image + layer(activate(self.activation, image))
            downward.append(image)
        image = jnp.zeros_like(image)
        for grow, layer, same_size in reversed(list(zip(self.up, self.after, downward, strict=True))):
            image = image + same_size
            image = image + layer(activate(self.activation, image))
            image = grow(activate(self.activation, image))
        return image.reshape(x.shape)
