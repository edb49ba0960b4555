"""Element-wise activation functions for layers and codes, by name."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["ACTIVATIONS", "THROUGH_ZERO", "activate", "softplus"]


@jax.custom_jvp
def softplus(x: Array) -> Array:
    r"""Return log(1 + exp x), computed as max(x, 0) + 2·artanh(e / (2 + e)) with e = exp(−\|x\|) in (0, 1].

    The result is accurate to one or two units in the last place. The argument of artanh is at most ⅓, so that eight
    terms of the series are enough for 32 bits. The series takes half the time of a logarithm; the derivative, the
    sigmoid, does not need it.

    >>> jax.jit(softplus)(jnp.array([-100.0, 0.0, 100.0])).tolist()
    [0.0, 0.6931..., 100.0]
    """
    if x.dtype != jnp.float32:
        return jax.nn.softplus(x)
    e = jnp.exp(-jnp.abs(x))
    twice = e / (1 + e / 2)
    square, series = twice * twice / 4, jnp.full_like(x, 1 / 15)
    for n in range(13, 0, -2):
        series = series * square + 1 / n
    return jnp.maximum(x, 0) + twice * series


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return softplus(*primals), jax.nn.sigmoid(*primals) * tangents[0]


def _identity(x: Array) -> Array:
    return x


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": _identity,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "softplus": softplus,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}


THROUGH_ZERO = frozenset(ACTIVATIONS) - {"softplus", "sigmoid"}
"""The activations that are 0 at 0."""


def activate(name: str, x: Array) -> Array:
    """Apply the activation called ``name`` to ``x``."""
    return ACTIVATIONS[name](x)
