"""Random numbers in compiled programs: JAX's generator, bit for bit, in a form that is faster on a CPU.

On the CPU, JAX implements Threefry-2x32 (Salmon et al. 2011) as a loop of many small kernels. For the few numbers of a
posterior, starting the kernels costs four times the arithmetic, and each kernel is compiled separately. Here the twenty
rounds are one expression, which the compiler fuses with the code that uses the numbers. The implementation is
registered in JAX as a kind of key, so that components use `jax.random` as usual.

A key is two words, (stream, counter). There is no hidden state: the noise of step t does not depend on earlier steps,
in one process or in many.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import define_prng_impl
from jaxtyping import Array, PRNGKeyArray, UInt32

from ..errors import InvalidParameter

__all__ = ["key", "stream", "stream_key"]

_PARITY = np.uint32(0x1BD11BDA)
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))

Words = UInt32[Array, "..."]


def stream(*name: int) -> np.uint32:
    """Return the first word of the keys of a random stream, which whole numbers name; computed on the host.

    >>> bool(stream(0, 1) == stream(0, 1) != stream(1, 0))
    True
    """
    return np.random.SeedSequence(name).generate_state(1)[0]


def stream_key(which: Any, counter: Any) -> PRNGKeyArray:
    """Return key number ``counter`` of a stream."""
    words = jnp.stack([jnp.asarray(which, jnp.uint32), jnp.asarray(counter).astype(jnp.uint32)])
    return jax.random.wrap_key_data(words, impl=_IMPLEMENTATION)


def key(seed: Any) -> PRNGKeyArray:
    """Return the key of a seed.

    >>> bool((jax.random.bits(key(3), (9,)) == jax.random.bits(jax.random.key(3), (9,))).all())
    True
    """
    return jax.random.key(seed, impl=_IMPLEMENTATION)


# -- Threefry-2x32, twenty rounds -------------------------------------------------------------------------------------


@partial(jax.jit, inline=True)  # traced once for each shape, and a part of the program that draws
def _threefry(k: Words, a: Words, b: Words) -> tuple[Words, Words]:
    """Encrypt the counters (a, b) with the key k (Salmon et al. 2011, section 3.3)."""
    # Operators of arrays take four times as long to trace.
    add, xor, shape = lax.add, lax.bitwise_xor, a.shape
    number = cache(lambda n: lax.full(shape, np.uint32(n)))
    schedule = [lax.broadcast(word, shape) for word in (k[0], k[1], k[0] ^ k[1] ^ _PARITY)]
    a, b = add(a, schedule[0]), add(b, schedule[1])
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            a = add(a, b)
            high, low = lax.shift_left(b, number(distance)), lax.shift_right_logical(b, number(32 - distance))
            b = xor(lax.bitwise_or(high, low), a)
        a = add(a, schedule[(group + 1) % 3])
        b = add(add(b, schedule[(group + 2) % 3]), number(group + 1))
    return a, b


def _blocks(k: Words, shape: tuple[int, ...]) -> tuple[Words, Words]:
    """Return two words for each entry of an array, by its index."""
    size = math.prod(shape)
    if size >= 1 << 32:
        raise InvalidParameter(f"A draw of shape {shape} exceeds 2³² random numbers. Draw fewer at once.")
    number = lax.iota(jnp.uint32, size).reshape(shape)
    return _threefry(k, jnp.zeros_like(number), number)


def _bits(k: Words, width: int, shape: tuple[int, ...]) -> Array:
    always = (k[0] * (k[0] + 1)) & 1 == 0  # unknown to the compiler, so that it does not draw again for each use
    a, b = lax.cond(always, lambda: _blocks(k, shape), lambda: (jnp.zeros(shape, jnp.uint32),) * 2)
    if width == 64:
        return (a.astype(jnp.uint64) << 32) | b.astype(jnp.uint64)
    return (a ^ b).astype(jnp.dtype(f"uint{width}"))


def _split(k: Words, shape: tuple[int, ...]) -> Words:
    return jnp.stack(_blocks(k, shape), axis=-1)


def _seeded(seed: Array) -> Words:
    return jnp.stack([jnp.zeros((), jnp.uint32), lax.convert_element_type(seed, jnp.uint32)])


def _folded(k: Words, number: Any) -> Words:
    return jnp.stack(_threefry(k, jnp.zeros((), jnp.uint32), number.astype(jnp.uint32)))


_IMPLEMENTATION: Any = define_prng_impl(
    key_shape=(2,), seed=_seeded, split=_split, random_bits=_bits, fold_in=_folded, name="fused_threefry", tag="ftf"
)
