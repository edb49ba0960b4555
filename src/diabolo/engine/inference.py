"""The compiled reading of a model: rows in, codes, reconstructions and densities out.

Row counts are padded to a few sizes, so that any number of rows needs few programs. A row's result does not depend on
the rows beside it: where an estimate needs noise, every row gets the same. (Samples and corrupted rows are no
estimates: each gets its own.)
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .. import jax_config
from ..core.distributions import Distribution, kl_divergence
from ..core.model import Model, Skeleton, loss
from ..core.objectives import Draws
from ..data.scaler import Scaler, Single, scaled
from . import prng
from .batches import blank

__all__ = [
    "SIZES",
    "Op",
    "by_rows",
    "code",
    "coded",
    "corrupt",
    "decode",
    "deviances",
    "draw",
    "drawn_given",
    "expected_given",
    "kl",
    "log_densities",
    "log_likelihood",
    "log_likelihood_at",
    "log_weight_sums",
    "losses",
    "means_given",
    "reconstruct",
]

jax_config.configure()

SIZES = (32, 128, 512, 1024, 2048, 4096, 8192, 16384)
_MOST_CELLS = 1 << 22
"""Of a block; so wide rows go fewer at a time."""

_WORTH_SPLITTING = 512
"""Up to so many rows, a second call costs more than padding."""

Op = Callable[..., Any]


class Noise(NamedTuple):
    """Where an operation's noise comes from: the seed, and the number of the block's first row."""

    seed: int
    first_row: int

    def shared(self) -> PRNGKeyArray:
        """The key of noise that is the same for every row."""
        return prng.key(self.seed)

    def fresh(self) -> PRNGKeyArray:
        """The key of noise that differs from row to row."""
        return jax.random.fold_in(prng.key(self.seed), self.first_row)


class _Frame(NamedTuple):
    """A model without its numbers; hashable."""

    tree: Any
    skeleton: Skeleton


_apart: dict[int, tuple[list[Any], _Frame]] = {}


def _taken_apart(model: Model) -> tuple[list[Any], _Frame]:
    """A model's numbers, on the device, and its frame; worked out once, since for a few rows it takes the most time."""
    known = _apart.get(id(model))
    if known is None:
        arrays, skeleton = model.weights.apart()
        leaves, tree = jax.tree.flatten((arrays, model.recipe))
        known = _apart[id(model)] = jax.device_put(leaves), _Frame(tree, skeleton)
        weakref.finalize(model, _apart.pop, id(model), None)
    return known


@partial(jax.jit, static_argnames=("op", "frame", "static"))
def _program(
    op: Op, frame: _Frame, static: tuple[Any, ...], leaves: list[Any], rows: Array, single: Single | None, noise: Noise
) -> Any:
    arrays, recipe = jax.tree.unflatten(frame.tree, leaves)
    rows = rows if single is None else scaled(rows, single)
    return op(Model(recipe, frame.skeleton.with_arrays(arrays)), rows, noise, *static)


@jax_config.standard()
def by_rows(
    op: Op,
    model: Model,
    rows: np.ndarray,
    *static: Any,
    scaler: Scaler | None = None,
    seed: int = 0,
    first_row: int = 0,
) -> Any:
    """Apply ``op(model, rows, noise, *static)`` to any number of rows, a block of a standard size at a time.

    Parameters
    ----------
    op : function
        One of this module's, or your own at module level: it gives arrays whose first axis is the rows'.
    rows : (n, m)
    static
        Hashable arguments; each new value compiles anew.
    scaler : Scaler or None
        What brings rows into the network's units; None: they are. 32-bit rows are scaled by the program, others on the
        host, in 64 bits.
    seed, first_row
        Of the noise, if ``op`` uses any; the first row's number, if ``rows`` are a part of more. They compile nothing.

    Returns
    -------
    pytree of float32 NumPy arrays, first axis n
    """
    leaves, frame = _taken_apart(model)
    scaler = None if scaler is None or scaler.kind == "none" else scaler
    single = scaler.single if scaler is not None and rows.dtype == np.float32 else None
    found: list[list[Any]] = []
    for start, length, size in _pieces(len(rows), rows.shape[1]):
        block = rows[start : start + length]
        block = block if scaler is None or single is not None else scaler.apply(block)
        if length < size or block.dtype != np.float32:
            padded = blank((size, rows.shape[1]))
            padded[:length] = block
            block = padded
        out = _program(op, frame, static, leaves, block, single, Noise(seed, first_row + start))
        pieces, tree = jax.tree.flatten(out)
        found.append(pieces)
    # `np.asarray` and not `device_get`, whose bookkeeping takes as long as a row.
    columns = [[np.asarray(piece) for piece in column] for column in zip(*found, strict=True)]
    return jax.tree.unflatten(tree, [np.concatenate([*column[:-1], column[-1][:length]]) for column in columns])


def _pieces(n_rows: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Where a piece starts, its rows, and the size they are padded to: by no more than a third where it matters.

    Only the last is padded.
    """
    sizes = [size for size in SIZES if size * width <= _MOST_CELLS] or SIZES[:1]
    start = 0
    while start < n_rows:
        left = n_rows - start
        at = next((i for i, size in enumerate(sizes) if left <= size), len(sizes) - 1)
        split = sizes[at] > _WORTH_SPLITTING and 4 * left < 3 * sizes[at]
        size = sizes[at - 1] if split else sizes[at]
        yield start, min(left, size), size
        start += size


# -- the operations ---------------------------------------------------------------------------------------------------


def code(model: Model, x: Float[Array, "n d"], noise: Noise) -> Float[Array, "n k"]:
    """The deterministic code: the posterior's mean."""
    return model.code(x)


def decode(model: Model, z: Float[Array, "n k"], noise: Noise) -> Float[Array, "n d"]:
    """E[x | z]."""
    return model.decode(z).mean


def reconstruct(model: Model, x: Float[Array, "n r"], noise: Noise) -> Float[Array, "n t"]:
    """E[x | z] at the deterministic code."""
    return model.reconstruct(x)


def losses(model: Model, x: Float[Array, "n d"], noise: Noise, beta: float) -> Float[Array, " n"]:
    """Each row's objective and penalties, corrupted and drawn as held-out rows are in training."""

    def one_row(row: Float[Array, " d"], key: PRNGKeyArray) -> Float[Array, ""]:
        judging = Model(model.recipe.judging, model.weights)
        return loss(judging, row[None], key, jnp.asarray(beta), jnp.ones(1))[0]

    return jax.vmap(one_row)(x, jax.random.split(noise.fresh(), len(x)))


def coded(model: Model, x: Float[Array, "n r"], noise: Noise) -> tuple[Float[Array, "n k"], Float[Array, "n t"]]:
    """The deterministic code, and E[x | z] there."""
    z = model.code(x)
    return z, model.decode(z).mean


def deviances(model: Model, rows: Float[Array, "n m"], noise: Noise) -> tuple[Float[Array, "n d"], ...]:
    """E[x | z] at the deterministic code of one row, and another's deviance from it, cell by cell; 0 if not known.

    The rows that are read and those that are told stand side by side.
    """
    read, x = jnp.split(rows, 2, axis=1)
    found, known = model.decode(model.code(read)), ~jnp.isnan(x)
    return found.mean, jnp.where(known, found.deviance(jnp.where(known, x, 0)), 0)


def draw(model: Model, z: Float[Array, "n k"], noise: Noise) -> Float[Array, "n d"]:
    """x ~ p(x | z)."""
    return model.decode(z).sample(noise.fresh())


def corrupt(model: Model, x: Float[Array, "n d"], noise: Noise) -> Float[Array, "n d"]:
    """x̃ = g(x)."""
    return model.recipe.corrupted(noise.fresh(), x)


def kl(model: Model, x: Float[Array, "n d"], noise: Noise) -> Float[Array, "n k"]:
    """KL(q(z | x) ‖ π) per coordinate, in nats (one draw where there is no closed form)."""

    def one_row(row: Float[Array, " d"]) -> Float[Array, " k"]:
        q = model.encode(row[None])
        return kl_divergence(q, model.prior, q.sample(noise.shared()))[0]

    return jax.vmap(one_row)(x)


def log_likelihood(model: Model, x: Float[Array, "n d"], noise: Noise) -> Float[Array, " n"]:
    """log p(x | z) at the deterministic code, in nats."""
    return model.log_likelihood(x, model.code(x))


def log_likelihood_at(model: Model, zx: Float[Array, "n m"], noise: Noise) -> Float[Array, " n"]:
    """log p(x_known | z), in nats, of rows that are z and x side by side; what is not known of x is NaN."""
    z, x = zx[:, : model.recipe.latent.n_latent], zx[:, model.recipe.latent.n_latent :]
    known = ~jnp.isnan(x)
    return jnp.where(known, model.decode(z).log_prob(jnp.where(known, x, 0)), 0).sum(-1)


def log_weight_sums(
    model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    r"""The mean of log w and the log of the mean of w over draws z ~ q(z | x): the ELBO, and an estimate of log p(x).

    The second is a lower bound in expectation that tightens with ``n_samples`` (Burda et al. 2016, theorem 1).
    One draw at a time is held in memory, and every row uses the same noise.
    """
    keys = jax.random.split(noise.shared(), n_samples)

    def one_row(row: Float[Array, " d"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        q = model.encode(row[None])

        def one_draw(carry: tuple[Array, Array], key: PRNGKeyArray) -> tuple[tuple[Array, Array], None]:
            log_sum, total = carry
            z = q.sample(key, (1,))
            log_w = _log_weight(model, row, z, q)
            return (jnp.logaddexp(log_sum, log_w), total + log_w), None

        start = (jnp.full((), -jnp.inf, jnp.float32), jnp.zeros((), jnp.float32))
        (log_sum, total), _ = jax.lax.scan(one_draw, start, keys)
        return total / n_samples, log_sum - jnp.log(n_samples)

    return jax.vmap(one_row)(x)


def log_densities(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, " n"]:
    """The second of `log_weight_sums`, with all draws at once: more memory, and no loop."""
    keys = jax.random.split(noise.shared(), n_samples)

    def one_row(row: Float[Array, " d"]) -> Float[Array, ""]:
        q = model.encode(row[None])
        log_w = jax.vmap(lambda key: _log_weight(model, row, q.sample(key, (1,)), q))(keys)
        return jax.nn.logsumexp(log_w) - jnp.log(n_samples)

    return jax.vmap(one_row)(x)


def means_given(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, "n d"]:
    """`expected_given`, with all draws at once."""
    keys = jax.random.split(noise.shared(), n_samples)

    def one_row(row: Float[Array, " d"]) -> Float[Array, " d"]:
        q = model.encode(row[None])

        def one_draw(key: PRNGKeyArray) -> tuple[Array, Array]:
            z = q.sample(key, (1,))
            return _log_weight(model, row, z, q), model.decode(z).mean[0, 0]

        log_w, means = jax.vmap(one_draw)(keys)
        return (jax.nn.softmax(log_w)[:, None] * means).sum(0)

    return jax.vmap(one_row)(x)


def expected_given(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, "n d"]:
    """E[x | what is known of x]: the decoder's means at draws z ~ q(z | x), weighted (Mattei & Frellsen 2019, eq. 12).

    Every row uses the same noise.
    """
    keys = jax.random.split(noise.shared(), n_samples)

    def one_row(row: Float[Array, " d"]) -> Float[Array, " d"]:
        q = model.encode(row[None])

        def one_draw(carry: tuple[Array, Array], key: PRNGKeyArray) -> tuple[tuple[Array, Array], None]:
            log_sum, mean = carry
            z = q.sample(key, (1,))
            log_w = _log_weight(model, row, z, q)
            total = jnp.logaddexp(log_sum, log_w)
            new = model.decode(z).mean[0, 0]
            return (total, mean * jnp.exp(log_sum - total) + new * jnp.exp(log_w - total)), None

        start = (jnp.full((), -jnp.inf, jnp.float32), jnp.zeros_like(row))
        (_, mean), _ = jax.lax.scan(one_draw, start, keys)
        return mean

    return jax.vmap(one_row)(x)


def drawn_given(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, "n d"]:
    """x ~ p(x | what is known of x): one of ``n_samples`` draws of z by its weight, then x ~ p(x | z) (ibid., 4.2).

    Each row has noise of its own.
    """

    def one_row(row: Float[Array, " d"], key: PRNGKeyArray) -> Float[Array, " d"]:
        q = model.encode(row[None])
        key, of_row = jax.random.split(key)

        def one_draw(carry: tuple[Array, Array], key: PRNGKeyArray) -> tuple[tuple[Array, Array], None]:
            log_sum, kept = carry
            of_z, of_choice = jax.random.split(key)
            z = q.sample(of_z, (1,))
            log_w = _log_weight(model, row, z, q)
            total = jnp.logaddexp(log_sum, log_w)
            is_chosen = jnp.log(jax.random.uniform(of_choice)) < log_w - total
            return (total, jnp.where(is_chosen, z, kept)), None

        start = (jnp.full((), -jnp.inf, jnp.float32), jnp.zeros((1, *jnp.shape(q.mean)), jnp.float32))
        (_, kept), _ = jax.lax.scan(one_draw, start, jax.random.split(key, n_samples))
        return model.decode(kept).sample(of_row)[0, 0]

    return jax.vmap(one_row)(x, jax.random.split(noise.fresh(), len(x)))


def _log_weight(model: Model, row: Float[Array, " d"], z: Float[Array, "1 1 k"], q: Distribution) -> Float[Array, ""]:
    """log w of one draw for one row."""
    return Draws(model.log_likelihood(row, z), z, q, model.prior).log_weights()[0, 0]
