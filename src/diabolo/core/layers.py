"""Layers: Equinox modules with weights, which networks are made of.

Weights are drawn with NumPy: drawing them through JAX would cost a second of compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .activations import activate
from .conv_ops import convolve, convolve_transposed, product, strided

__all__ = [
    "Convolution",
    "Convolutions",
    "Dense",
    "Filter",
    "Fixed",
    "IdentityModule",
    "MLPModule",
    "Neighbors",
    "ResidualModule",
    "Skip",
    "TransposedConvolution",
    "TransposedConvolutions",
    "UNetModule",
    "Vmap",
    "feature_map_sizes",
]

# -- of rows ----------------------------------------------------------------------------------------------------------


class Dense(eqx.Module):
    """x ↦ x·W + b, (n, n_in) → (n, n_out), with W of shape (n_in, n_out)."""

    weight: Float[Array, "n_in n_out"]
    bias: Float[Array, " n_out"]

    @classmethod
    def init(cls, rng: np.random.Generator, n_in: int, n_out: int) -> Dense:
        r"""W ~ U(−a, a) with a = √(6 / (n_in + n_out)) (Glorot & Bengio 2010, eq. 16), b = 0."""
        bound = np.sqrt(6.0 / (n_in + n_out))
        weight = rng.uniform(-bound, bound, (n_in, n_out)).astype(np.float32)
        return cls(jax.device_put(weight), jax.device_put(np.zeros(n_out, np.float32)))

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        return product(x, self.weight) + self.bias


class Fixed(eqx.Module):
    """An array that is part of a network and is not trained: what was measured on the training rows."""

    value: Float[Array, "..."]


class Neighbors(eqx.Module):
    """What is known of columns and of those that correlate with them most, d columns with m neighbours each."""

    inputs: Fixed
    """(d, m), the numbers of each column's neighbours, itself the first."""
    weight: Fixed
    """(d, m), of the neighbours in a linear estimate of the column."""
    bias: Fixed
    """(d,), of that estimate."""
    sign: Fixed
    """(d, m), of the correlation."""
    mean: Fixed
    """(d,), of the column."""
    spread: Fixed
    """(d,), its standard deviation."""

    @classmethod
    def identity(cls, d: int, m: int) -> Neighbors:
        """Nothing is known: each column is estimated by itself."""
        inputs = (np.arange(d)[:, None] + np.arange(m)) % d
        weight = np.zeros((d, m))
        weight[:, 0] = 1
        return cls.of(inputs, weight, np.zeros(d), np.ones((d, m)), np.zeros(d), np.ones(d))

    @classmethod
    def of(cls, *arrays: np.ndarray) -> Neighbors:
        """Put arrays on the device, in the order of the fields."""
        return cls(*(Fixed(jax.device_put(np.ascontiguousarray(array, np.float32))) for array in arrays))

    def towards_identity(self, share: float) -> Neighbors:
        """A share of the way to each column's own value."""
        weight = (1 - share) * np.asarray(self.weight.value)
        weight[:, 0] += share
        new = Fixed(jax.device_put(weight)), Fixed(jax.device_put((1 - share) * np.asarray(self.bias.value)))
        return eqx.tree_at(lambda one: (one.weight, one.bias), self, new, is_leaf=lambda leaf: isinstance(leaf, Fixed))

    def gathered(self, columns: Float[Array, "d n"], m: int) -> Float[Array, "m d n"]:
        """The values of each column's first m neighbours."""
        which = self.inputs.value[:, :m].T.reshape(-1).astype(jnp.int32)
        return columns.at[which].get(mode="promise_in_bounds").reshape(m, *columns.shape)

    def estimate(self, columns: Float[Array, "d n"]) -> Float[Array, "d n"]:
        """The linear estimate of each column."""
        weight = self.weight.value
        return (weight.T[..., None] * self.gathered(columns, weight.shape[1])).sum(0) + self.bias.value[:, None]


class Filter(eqx.Module):
    """x ↦ linear estimate + shared filter + dense network: each column by its neighbours, then by the whole row.

    The shared filter is one small network for all columns: it reads a column, its nearest neighbours, the linear
    estimate, and the column's mean and standard deviation.
    """

    neighbors: Neighbors
    first: Dense
    last: Dense
    n_read: int = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    module: eqx.Module
    low: Fixed
    """(d,), the least value of each input that was read in training,"""
    high: Fixed
    """(d,), and the greatest: f reads nothing beyond."""

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        rows = x.reshape(-1, x.shape[-1])
        within = jnp.clip(rows, self.low.value, self.high.value)
        restored = _in_blocks(self._by_column, rows, _CACHED // x.shape[-1])
        return (restored + self.module(within)).reshape(x.shape)  # type: ignore[operator]

    def _by_column(self, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The linear estimate and what the shared filter adds."""
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
"""Whether a network is traced for a format without loops."""
_CACHED = 1 << 15
"""Cells whose neighbours and hidden units a processor's cache holds."""


def _in_blocks(f: Callable[[Array], Array], rows: Float[Array, "n d"], size: int) -> Float[Array, "n d"]:
    """f by blocks of rows, on a processor: twice as fast where the whole does not fit its cache.

    What is between is worked out anew for the gradient, which is faster than to fetch it from memory.
    """
    n, size = len(rows), max(size, 1)
    if n <= 2 * size or UNROLLED.get() or jax.default_backend() != "cpu":
        return f(rows)
    blocks = jnp.pad(rows, ((0, -n % size), (0, 0))).reshape(-1, size, rows.shape[1])
    by_block = jax.checkpoint(lambda block: f(block))  # noqa: PLW0108 - modules hold arrays and have no hash
    found: Array = jax.lax.map(by_block, blocks).reshape(-1, rows.shape[1])[:n]
    return found


class Skip(eqx.Module):
    """x ↦ linear(x) + f(x), where f reads x within the bounds of the training rows.

    Far from these rows the map is linear, and f adds what it adds at their edge.
    """

    linear: Dense
    module: eqx.Module
    low: Fixed
    """(n_in,)"""
    high: Fixed
    """(n_in,)"""

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        within = jnp.clip(x, self.low.value, self.high.value)
        return self.linear(x) + self.module(within)  # type: ignore[operator]


class MLPModule(eqx.Module):
    """Dense layers, with one activation between them and another after the last."""

    layers: tuple[Dense, ...]
    activation: str = eqx.field(static=True)
    output_activation: str = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        for layer in self.layers[:-1]:
            x = activate(self.activation, layer(x))
        return activate(self.output_activation, self.layers[-1](x))


class IdentityModule(eqx.Module):
    """x ↦ x."""

    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        return x


class ResidualModule(eqx.Module):
    """x ↦ x + f(x)."""

    module: eqx.Module

    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        return x + self.module(x)  # type: ignore[operator]


class Vmap(eqx.Module):
    """An ordinary Equinox module, which maps one row, made to map batches."""

    module: Callable[[Array], Array]

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        rows = x.reshape(-1, x.shape[-1])
        out: Array = jax.vmap(self.module)(rows)
        return out.reshape(*x.shape[:-1], out.shape[-1])


# -- of images --------------------------------------------------------------------------------------------------------


def feature_map_sizes(shape: tuple[int, ...], stride: int, n: int) -> list[tuple[int, int]]:
    """Height and width of an image before and after each of n convolutions.

    >>> strides((28, 20), 2, 3)
    [(28, 20), (14, 10), (7, 5), (4, 3)]
    """
    sizes = [shape[:2]]
    for _ in range(n):
        sizes.append((strided(sizes[-1][0], stride), strided(sizes[-1][1], stride)))
    return [(height, width) for height, width in sizes]


def _draw_kernel(rng: np.random.Generator, size: int, c: int, o: int) -> Float[Array, "kh kw c o"]:
    """Glorot's bound, with all numbers that the kernel's field holds on either side."""
    bound = np.sqrt(6.0 / (size * size * (c + o)))
    return jax.device_put(rng.uniform(-bound, bound, (size, size, c, o)).astype(np.float32))


class Convolution(eqx.Module):
    """x ↦ x ∗ W + b of images, (n, H, W, C) → (n, ⌈H/s⌉, ⌈W/s⌉, O); one bias per channel."""

    weight: Float[Array, "kh kw c o"]
    bias: Float[Array, " o"]
    stride: int = eqx.field(static=True)

    @classmethod
    def init(cls, rng: np.random.Generator, kernel: int, n_in: int, n_out: int, stride: int) -> Convolution:
        r"""W ~ U(−a, a) with a = √(6 / (kernel²·(n_in + n_out))) (Glorot & Bengio 2010, eq. 16), b = 0."""
        return cls(_draw_kernel(rng, kernel, n_in, n_out), jax.device_put(np.zeros(n_out, np.float32)), stride)

    def __call__(self, x: Float[Array, "n height width c"]) -> Float[Array, "n h w o"]:
        return convolve(x, self.weight, self.stride) + self.bias


class TransposedConvolution(eqx.Module):
    """The adjoint of a `Convolution` of images of height and width ``size``, and a bias per channel.

    (n, ⌈H/s⌉, ⌈W/s⌉, O) → (n, H, W, C)
    """

    weight: Float[Array, "kh kw c o"]
    bias: Float[Array, " c"]
    stride: int = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)

    @classmethod
    def init(
        cls, rng: np.random.Generator, kernel: int, n_in: int, n_out: int, stride: int, size: tuple[int, int]
    ) -> TransposedConvolution:
        """As the convolution's: the bound is the same both ways."""
        return cls(_draw_kernel(rng, kernel, n_out, n_in), jax.device_put(np.zeros(n_out, np.float32)), stride, size)

    def __call__(self, y: Float[Array, "n h w o"]) -> Float[Array, "n height width c"]:
        return convolve_transposed(y, self.weight, self.stride, self.size) + self.bias


class Convolutions(eqx.Module):
    """From rows that hold images to rows: convolutions, the activation after each, and a dense layer."""

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
    """From rows to rows that hold images, ``n_images`` each: a dense layer, then the activation before each layer."""

    start: tuple[int, int, int] = eqx.field(static=True)
    stem: Dense
    layers: tuple[TransposedConvolution, ...]
    n_images: int = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __call__(self, z: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        image = self.stem(z).reshape(-1, *self.start)
        for layer in self.layers:
            image = layer(activate(self.activation, image))
        # The images of one row lie side by side among the channels; rows hold them one after another.
        n, height, width, channels = image.shape
        images = jnp.moveaxis(image.reshape(n, height, width, self.n_images, channels // self.n_images), 3, 1)
        return images.reshape(*z.shape[:-1], height * width * channels)


class UNetModule(eqx.Module):
    """From rows that hold images to such rows: down to smaller images of more channels, and up again, by way of both.

    At each size a convolution that keeps it acts on the way down and on the way up, x ↦ x + f(activation(x)); what came
    down is added to what comes up.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    down: tuple[Convolution, ...]
    before: tuple[Convolution, ...]
    after: tuple[Convolution, ...]
    up: tuple[TransposedConvolution, ...]
    activation: str = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        image, seen = x.reshape(-1, *self.shape), []
        for shrink, layer in zip(self.down, self.before, strict=True):
            image = shrink(image)
            image = image + layer(activate(self.activation, image))
            seen.append(image)
        image = jnp.zeros_like(image)
        for grow, layer, there in reversed(list(zip(self.up, self.after, seen, strict=True))):
            image = image + there
            image = image + layer(activate(self.activation, image))
            image = grow(activate(self.activation, image))
        return image.reshape(x.shape)
