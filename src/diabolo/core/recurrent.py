"""Recurrent networks for series: an encoder that reads them, and a decoder that generates them, point by point."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import InvalidPart
from .component import int_field, int_tuple_field
from .conv_ops import product
from .layers import UNROLLED, Dense
from .networks import Network

__all__ = ["GRU", "GRUDecoder", "GRUEncoder", "GRUReader", "GRUWriter"]


class GRU(eqx.Module):
    r"""Gated recurrent units (Cho et al. 2014, eq. 5 to 8).

    r = σ(W_r·x + U_r·h)        u = σ(W_u·x + U_u·h)        h̃ = tanh(W·x + U·(r ⊙ h))        h ← u ⊙ h + (1 − u) ⊙ h̃

    The equations have a bias each.
    """

    read: Dense
    """W_r, W_u and W, side by side, with their biases."""
    gates: Float[Array, "m 2m"]
    """U_r and U_u, side by side."""
    candidate: Float[Array, "m m"]
    """U."""

    @classmethod
    def init(cls, rng: np.random.Generator, n_in: int, m: int) -> GRU:
        """Draw each matrix of each equation with the bound of `layers.Dense`; set the biases to 0."""
        reads, recurs = ([Dense.init(rng, n, m) for _ in range(3)] for n in (n_in, m))
        read = Dense(_side_by_side([one.weight for one in reads]), _side_by_side([one.bias for one in reads]))
        return cls(read, _side_by_side([one.weight for one in recurs[:2]]), recurs[2].weight)

    def step(self, h: Float[Array, "n m"], read: Float[Array, "n 3m"]) -> Float[Array, "n m"]:
        """Return the next state, given the state and W_r·x, W_u·x and W·x, side by side, with their biases."""
        m = h.shape[-1]
        r, u = jnp.split(jax.nn.sigmoid(read[:, : 2 * m] + product(h, self.gates)), 2, axis=-1)
        return u * h + (1 - u) * jnp.tanh(read[:, 2 * m :] + product(r * h, self.candidate))

    def states(self, h: Float[Array, "n m"], reads: Float[Array, "t n 3m"]) -> Float[Array, "t n m"]:
        """Return the state at each point in time, after the state ``h``."""
        if not UNROLLED.get():
            return jax.lax.scan(lambda h, read: (self.step(h, read),) * 2, h, reads)[1]
        found = [h]
        for read in reads:
            found.append(self.step(found[-1], read))
        return jnp.concatenate([one[None] for one in found[1:]])


def _side_by_side(arrays: list[Array]) -> Array:
    return jax.device_put(np.concatenate(arrays, axis=-1))


class GRUReader(eqx.Module):
    """A map from series, one per row, to rows: gated recurrent units, and a dense layer that reads their last state."""

    shape: tuple[int, int] = eqx.field(static=True)
    units: GRU
    head: Dense

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        series = x.reshape(-1, *self.shape).swapaxes(0, 1)
        start = jnp.zeros((series.shape[1], self.units.candidate.shape[0]), x.dtype)
        out = self.head(self.units.states(start, self.units.read(series))[-1])
        return out.reshape(*x.shape[:-1], out.shape[-1])


class GRUWriter(eqx.Module):
    """A map from rows to ``n_series`` series per row: gated recurrent units that read the row at each point in time.

    A dense layer makes the first state of the row, and another one each point of the series of a state.
    """

    length: int = eqx.field(static=True)
    n_series: int = eqx.field(static=True)
    stem: Dense
    units: GRU
    head: Dense

    def __call__(self, z: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        rows = z.reshape(-1, z.shape[-1])
        reads = jnp.broadcast_to(self.units.read(rows), (self.length, len(rows), self.units.read.bias.size))
        points = self.head(self.units.states(jnp.tanh(self.stem(rows)), reads))
        series = points.reshape(*points.shape[:2], self.n_series, points.shape[2] // self.n_series)
        return series.transpose(1, 2, 0, 3).reshape(*z.shape[:-1], self.length * points.shape[2])


@dataclass(frozen=True)
class GRUEncoder(Network):
    r"""Gated recurrent units that read a series, and a dense output layer: (n, T·C) → (n, n_out).

    h₀ = 0; for t = 1 … T: r = σ(W_r·xₜ + U_r·hₜ₋₁ + b_r), u = σ(W_u·xₜ + U_u·hₜ₋₁ + b_u),
    h̃ = tanh(W·xₜ + U·(r ⊙ hₜ₋₁) + b), hₜ = u ⊙ hₜ₋₁ + (1 − u) ⊙ h̃. The output is V·h_T + c.

    Parameters
    ----------
    shape : tuple of two int
        Length T and number of channels C of the series. Each row is a series in the order of `numpy.ravel`: the
        channels of a point in time next to each other. `fit` takes an array of shape (n, T, C) as well.
    n_units : int, default=64
        The number of gated units, the size of h.

    Raises
    ------
    InvalidPart
        By ``build``, if the rows have a length other than T·C.

    References
    ----------
    Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
    eq. 5 to 8 and appendix A.1.1; Srivastava, Mansimov & Salakhutdinov 2015, "Unsupervised Learning of Video
    Representations using LSTMs", for the autoencoder.

    Examples
    --------
    >>> network = GRUEncoder((20, 2), 8).build(np.random.default_rng(0), 40, 3)
    >>> jax.eval_shape(network, np.ones((5, 40))).shape
    (5, 3)
    >>> GRUEncoder((20, 2), 8).reversed()
    GRUDecoder(shape=(20, 2), n_units=8)
    """

    shape: tuple[int, int] = int_tuple_field(lengths=(2,))
    n_units: int = int_field(64)

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        if n_in != prod(self.shape):
            raise InvalidPart(_misfit(self, f"reads rows of {n_in} features"))
        units = GRU.init(rng, self.shape[1], self.n_units)
        return GRUReader(self.shape, units, Dense.init(rng, self.n_units, n_out))

    def reversed(self) -> Network:
        return GRUDecoder(self.shape, self.n_units)


@dataclass(frozen=True)
class GRUDecoder(Network):
    r"""Gated recurrent units that generate a series: (n, n_in) → (n, k·T·C).

    h₀ = tanh(V·z + c); for t = 1 … T: hₜ as in `GRUEncoder`, with z in place of xₜ, and xₜ = V'·hₜ + c'. A likelihood
    that needs k numbers per feature receives k series, one after another; split them with ``jnp.split(eta, k, -1)``.

    Parameters
    ----------
    shape : tuple of two int
        Length T and number of channels C of the series.
    n_units : int, default=64
        The number of gated units, the size of h.

    Raises
    ------
    InvalidPart
        By ``build``, if the number of outputs is not a multiple of T·C.

    References
    ----------
    Cho et al. 2014, appendix A.1.2, without reading its own last output: all of the series is in z.

    Examples
    --------
    >>> network = GRUDecoder((20, 2), 8).build(np.random.default_rng(0), 3, 40)
    >>> jax.eval_shape(network, np.ones((4, 5, 3))).shape
    (4, 5, 40)
    """

    shape: tuple[int, int] = int_tuple_field(lengths=(2,))
    n_units: int = int_field(64)

    def build(self, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
        if n_out % prod(self.shape):
            raise InvalidPart(_misfit(self, f"makes rows of {n_out} numbers"))
        n_series, (length, n_channels) = n_out // prod(self.shape), self.shape
        stem, units = Dense.init(rng, n_in, self.n_units), GRU.init(rng, n_in, self.n_units)
        return GRUWriter(length, n_series, stem, units, Dense.init(rng, self.n_units, n_series * n_channels))

    def reversed(self) -> Network:
        return GRUEncoder(self.shape, self.n_units)


def _misfit(part: GRUEncoder | GRUDecoder, what: str) -> str:
    return (
        f"{type(part).__name__} {what}, but its shape {part.shape} has {prod(part.shape)} numbers. Give it the length "
        "and the number of channels of your series; the product must be the number of features."
    )
