"""Compiled inference: codes, reconstructions and densities of rows.

Numbers of rows are padded to a few sizes, so that any number of rows needs few programs. The result of a row does not
depend on the other rows: an estimate that needs noise uses the same noise for every row. Samples and corrupted rows
are not estimates; each row has its own noise.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTreeDef

from .. import jax_config
from ..core.distributions import Distribution, Normal, kl_divergence
from ..core.layers import UNROLLED
from ..core.model import Model, loss
from ..core.objectives import PosteriorSamples
from ..core.weights import StaticTree
from ..data.scaler import Scaler, Single, scaled
from . import prng
from .batches import aligned_zeros
from .programs import Programs

__all__ = [
    "BATCH_BUCKETS",
    "Op",
    "code",
    "coded",
    "corrupt",
    "decode",
    "deviances",
    "draw",
    "elbos",
    "impute_draw",
    "impute_mean",
    "kl",
    "log_densities",
    "log_likelihood",
    "log_likelihood_at",
    "log_probabilities",
    "losses",
    "map_rows",
    "reconstruct",
]

BATCH_BUCKETS = (32, 128, 512, 1024, 2048, 4096, 8192, 16384)
_MAX_CELLS = 1 << 22
"""Maximum number of cells of a block, which limits the number of wide rows."""

_WORTH_SPLITTING = 512
"""Up to this number of rows, a second call costs more than padding."""
_ASCENT, _LONGER, _SHORTER = 16, 1.5, 0.3
"""Number of steps towards the mode of a posterior; factors on the step length after a step that gains, and another."""
_GAIN = 0.01
"""Minimum gain of a step, in nats, far above rounding errors: results do not depend on the size of a block."""

Op = Callable[..., Any]


class Noise(NamedTuple):
    """The source of an operation's noise: the seed, and the number of the block's first row."""

    seed: int
    first_row: int

    def shared(self) -> PRNGKeyArray:
        """Return the key of noise that is the same for every row."""
        return prng.key(self.seed)

    def fresh(self) -> PRNGKeyArray:
        """Return the key of noise that differs between rows."""
        return jax.random.fold_in(prng.key(self.seed), self.first_row)


class _Frame(NamedTuple):
    """The structure of a model without its numbers; hashable."""

    tree: PyTreeDef
    skeleton: StaticTree


_apart: dict[int, tuple[list[Array], _Frame]] = {}


def _taken_apart(model: Model) -> tuple[list[Array], _Frame]:
    """Return a model's numbers, on the device, and its frame; cached, because it dominates the time for few rows."""
    known = _apart.get(id(model))
    if known is None:
        arrays, skeleton = model.weights.partition()
        leaves, tree = jax.tree.flatten((arrays, model.recipe))
        known = _apart[id(model)] = jax.device_put(leaves), _Frame(tree, skeleton)
        weakref.finalize(model, _apart.pop, id(model), None)
    return known


def _compute(
    op: Op,
    frame: _Frame,
    static: tuple[Hashable, ...],
    leaves: list[Array],
    rows: Array,
    single: Single | None,
    noise: Noise,
) -> Any:
    arrays, recipe = jax.tree.unflatten(frame.tree, leaves)
    rows = rows if single is None else scaled(rows, single)
    return op(Model(recipe, frame.skeleton.combine(arrays)), rows, noise, *static)


programs = Programs(_compute, static_argnames=("op", "frame", "static"))


@jax_config.standard()
def map_rows(
    op: Op,
    model: Model,
    rows: np.ndarray,
    *static: Hashable,
    scaler: Scaler | None = None,
    seed: int = 0,
    first_row: int = 0,
) -> Any:
    """Apply ``op(model, rows, noise, *static)`` to any number of rows, in blocks of standard sizes.

    Parameters
    ----------
    op : function
        A function of this module, or your own at module level. It returns arrays whose first axis is that of the rows.
    rows : (n, m)
    static
        Hashable arguments. Each new value compiles a new program.
    scaler : Scaler or None
        The scaler to the network's units; None: the rows are in these units. 32-bit rows are scaled by the program,
        others on the host, in 64 bits.
    seed, first_row
        The seed of the noise, if ``op`` uses noise, and the number of the first row, if ``rows`` are part of a larger
        array. New values compile nothing.

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
            padded = aligned_zeros((size, rows.shape[1]))
            padded[:length] = block
            block = padded
        short = size <= _WORTH_SPLITTING
        out = programs(op, frame, static, leaves, block, single, Noise(seed, first_row + start), short=short)
        pieces, tree = jax.tree.flatten(out)
        found.append(pieces)
    # `np.asarray` and not `device_get`, whose bookkeeping takes as long as a row.
    columns = [[np.asarray(piece) for piece in column] for column in zip(*found, strict=True)]
    return jax.tree.unflatten(tree, [np.concatenate([*column[:-1], column[-1][:length]]) for column in columns])


def _pieces(n_rows: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Yield the start, the number of rows and the padded size of each piece.

    Only the last piece is padded, if it is large by at most a third.
    """
    sizes = [size for size in BATCH_BUCKETS if size * width <= _MAX_CELLS] or BATCH_BUCKETS[:1]
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
    """Return the deterministic code: the mean of the posterior."""
    return model.code(x)


def decode(model: Model, z: Float[Array, "n k"], noise: Noise) -> Float[Array, "n d"]:
    """Return E[x | z]; the codes of a model with a condition are followed by rows that have it."""
    model, z = _split_condition(model, z)
    return model.decode(z).mean


def with_condition(model: Model, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return codes as `decode` and `draw` read them: followed by scaled rows, if the model has a condition."""
    return np.hstack([codes, np.broadcast_to(rows, (len(codes), rows.shape[1]))]) if model.recipe.condition else codes


def _split_condition(model: Model, z: Float[Array, "n m"]) -> tuple[Model, Float[Array, "n k"]]:
    if not model.recipe.condition:
        return model, z
    z, rows = jnp.split(z, [model.recipe.latent.n_latent], axis=1)
    return model.given(rows), z


def reconstruct(model: Model, x: Float[Array, "n r"], noise: Noise) -> Float[Array, "n t"]:
    """Return E[x | z] at the deterministic code."""
    return model.reconstruct(x)


def log_probabilities(model: Model, x: Float[Array, "n r"], noise: Noise) -> Float[Array, "n t"]:
    """Return log p(y | x) of each class, in nats, for a model with a categorical likelihood."""
    classes = jnp.eye(model.recipe.n_targets)
    return model.decode(model.code(x)[:, None]).log_prob(classes).sum(-1)


def losses(model: Model, x: Float[Array, "n d"], noise: Noise, beta: float) -> Float[Array, " n"]:
    """Return the loss of each row, with corruption and samples as in validation during training."""

    def one_row(row: Float[Array, " d"], key: PRNGKeyArray) -> Float[Array, ""]:
        for_validation = Model(model.recipe.for_validation, model.weights)
        return loss(for_validation, row[None], key, jnp.asarray(beta), jnp.ones(1))[0]

    return jax.vmap(one_row)(x, jax.random.split(noise.fresh(), len(x)))


def coded(model: Model, x: Float[Array, "n r"], noise: Noise) -> tuple[Float[Array, "n k"], Float[Array, "n t"]]:
    """Return the deterministic code, and E[x | z] at this code."""
    z = model.code(x)
    return z, model.given(x).decode(z).mean


def deviances(model: Model, rows: Float[Array, "n m"], noise: Noise) -> tuple[Float[Array, "n d"], ...]:
    """Return E[x | z] at the code of the input rows, and the deviance of the target rows from it, per cell.

    ``rows`` holds inputs and targets, concatenated along the columns. The deviance of a missing target is 0.
    """
    read, x = jnp.split(rows, 2, axis=1)
    found, known = model.given(read).decode(model.code(read)), ~jnp.isnan(x)
    return found.mean, jnp.where(known, found.deviance(jnp.where(known, x, 0)), 0)


def draw(model: Model, z: Float[Array, "n k"], noise: Noise) -> Float[Array, "n d"]:
    """Draw x ~ p(x | z); the codes of a model with a condition are followed by rows that have it."""
    model, z = _split_condition(model, z)
    return model.decode(z).sample(noise.fresh())


def corrupt(model: Model, x: Float[Array, "n d"], noise: Noise) -> Float[Array, "n d"]:
    """Return corrupted rows x̃ = g(x)."""
    return model.recipe.corrupted(noise.fresh(), x)


def kl(model: Model, x: Float[Array, "n d"], noise: Noise) -> Float[Array, "n k"]:
    """Return KL(q(z | x) ‖ π) per coordinate, in nats; from one sample if there is no closed form."""

    def one_row(row: Float[Array, " d"]) -> Float[Array, " k"]:
        q = model.encode(row[None])
        return kl_divergence(q, model.prior, q.sample(noise.shared()))[0]

    return jax.vmap(one_row)(x)


def log_likelihood(model: Model, x: Float[Array, "n d"], noise: Noise) -> Float[Array, " n"]:
    """Return log p(x | z) at the deterministic code, in nats."""
    return model.given(x).log_likelihood(x, model.code(x))


def log_likelihood_at(model: Model, zx: Float[Array, "n m"], noise: Noise) -> Float[Array, " n"]:
    """Return log p(x_observed | z), in nats, of rows that concatenate z and x; missing cells of x are NaN."""
    z, x = zx[:, : model.recipe.latent.n_latent], zx[:, model.recipe.latent.n_latent :]
    known = ~jnp.isnan(x)
    return jnp.where(known, model.given(x).decode(z).log_prob(jnp.where(known, x, 0)), 0).sum(-1)


def elbos(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, " n"]:
    """Estimate the ELBO of each row at β = 1: the mean of log w over samples z ~ q(z | x). All rows share the noise."""
    keys = jax.random.split(noise.shared(), n_samples)

    def one_row(row: Float[Array, " d"]) -> Float[Array, ""]:
        q, of_row = model.encode(row[None]), model.given(row)

        def one_draw(total: Array, key: PRNGKeyArray) -> tuple[Array, None]:
            z = q.sample(key, (1,))
            return total + PosteriorSamples(of_row.log_likelihood(row, z), z, q, model.prior).log_weights()[0, 0], None

        return jax.lax.scan(one_draw, jnp.zeros(()), keys)[0] / n_samples

    return jax.vmap(one_row)(x)


class _Proposal(NamedTuple):
    """The proposal distribution of a row's codes: q(z | x) and the same normal at the mode of p(z | x), alternately.

    For rows unlike the training rows, q can be far off, and a mean of weights over samples of q can be too low by
    thousands of nats (Cremer, Li & Duvenaud 2018, "Inference Suboptimality in Variational Autoencoders"). All samples
    are weighted by the density of the mixture, so that the estimate of p(x) is unbiased (Veach & Guibas 1995,
    "Optimally Combining Sampling Techniques", the balance heuristic).
    """

    model: Model
    row: Float[Array, " d"]
    q: Distribution
    at_mode: Distribution | None
    n_samples: int

    @classmethod
    def of(cls, model: Model, row: Float[Array, " d"], n_samples: int) -> _Proposal:
        model, q = model.given(row), model.encode(row[None])
        at_mode = _at_mode(model, row, q) if n_samples > 1 and isinstance(q, Normal) else None
        return cls(model, row, q, at_mode, n_samples)

    def draw(self, number: Array, key: PRNGKeyArray) -> tuple[Float[Array, "1 1 k"], Float[Array, ""]]:
        """Draw a code; return it with the log of its weight p(x, z) / mixture(z)."""
        z = self.q.sample(key, (1,))
        if self.at_mode is not None:
            z = jnp.where(number % 2 == 0, z, self.at_mode.sample(key, (1,)))
        density = self.q.log_prob(z).sum(-1)
        if self.at_mode is not None:
            share = (self.n_samples + 1) // 2 / self.n_samples
            at_mode_density = self.at_mode.log_prob(z).sum(-1)
            density = jnp.logaddexp(np.log(share) + density, np.log1p(-share) + at_mode_density)
        return z, (_log_joint(self.model, self.row, z) - density)[0, 0]


def _log_joint(model: Model, row: Float[Array, " d"], z: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """Return log p(x | z) + log π(z)."""
    return model.log_likelihood(row, z) + model.prior.log_prob(z).sum(-1)


def _at_mode(model: Model, row: Float[Array, " d"], q: Normal) -> Normal:
    """Move q to the mode of p(z | x), by gradient ascent in units of q's variances; undo steps without gain."""
    ascent = jax.value_and_grad(lambda z: _log_joint(model, row, z).sum())
    variance = jnp.square(q.scale)

    def one_step(carry: tuple[Array, ...], _: None = None) -> tuple[tuple[Array, ...], None]:
        z, value, slope, length = carry
        new = z + length * variance * slope
        new_value, new_slope = ascent(new)
        is_better = new_value > value + _GAIN
        kept = (jnp.where(is_better, a, b) for a, b in ((new, z), (new_value, value), (new_slope, slope)))
        return (*kept, length * jnp.where(is_better, _LONGER, _SHORTER)), None

    carry: tuple[Array, ...] = (q.mean, *ascent(q.mean), jnp.ones(()))
    if UNROLLED.get():
        for _ in range(_ASCENT):
            carry, _none = one_step(carry)
    else:
        carry, _none = jax.lax.scan(one_step, carry, None, length=_ASCENT)
    return Normal(carry[0], q.scale)


def _over_draws(
    proposal: _Proposal, keys: PRNGKeyArray, ask: Callable[[Array], Array]
) -> tuple[Float[Array, ""], Array]:
    """Return the log of the mean weight, and the weighted mean of ``ask`` over the codes, one sample at a time.

    For an export format without loops, all samples are computed together.
    """
    numbers = jnp.arange(len(keys))
    if UNROLLED.get():
        codes, log_w = jax.vmap(proposal.draw)(numbers, keys)
        share = jax.nn.softmax(log_w)
        return jax.nn.logsumexp(log_w) - jnp.log(len(keys)), jnp.tensordot(share, jax.vmap(ask)(codes), 1)

    def one_draw(carry: tuple[Array, Array], given: tuple[Array, PRNGKeyArray]) -> tuple[tuple[Array, Array], None]:
        log_sum, mean = carry
        z, log_w = proposal.draw(*given)
        total = jnp.logaddexp(log_sum, log_w)
        return (total, mean * jnp.exp(log_sum - total) + ask(z) * jnp.exp(log_w - total)), None

    like = jax.eval_shape(ask, proposal.q.mean[None])
    start = (jnp.full((), -jnp.inf, jnp.float32), jnp.zeros(like.shape, like.dtype))
    (log_sum, mean), _ = jax.lax.scan(one_draw, start, (numbers, keys))
    return log_sum - jnp.log(len(keys)), mean


def log_densities(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, " n"]:
    r"""Estimate log p(x): the log of the mean of w over samples of z (Burda et al. 2016, eq. 8); see `_Proposal`.

    The estimate is a lower bound in expectation, which becomes tighter as ``n_samples`` grows (ibid., theorem 1). Every
    row uses the same noise.
    """
    keys = jax.random.split(noise.shared(), n_samples)

    def one_row(row: Float[Array, " d"]) -> Float[Array, ""]:
        return _over_draws(_Proposal.of(model, row, n_samples), keys, lambda _: jnp.zeros(()))[0]

    return jax.vmap(one_row)(x)


def impute_mean(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, "n d"]:
    """Return E[x | x_observed]: the weighted mean of the decoder's means at samples of z.

    The method is that of Mattei & Frellsen (2019), eq. 12.

    Every row uses the same noise.
    """
    keys = jax.random.split(noise.shared(), n_samples)

    def one_row(row: Float[Array, " d"]) -> Float[Array, " d"]:
        return _over_draws(_Proposal.of(model, row, n_samples), keys, lambda z: model.given(row).decode(z).mean[0, 0])[
            1
        ]

    return jax.vmap(one_row)(x)


def impute_draw(model: Model, x: Float[Array, "n d"], noise: Noise, n_samples: int) -> Float[Array, "n d"]:
    """Draw x ~ p(x | x_observed): select one of ``n_samples`` samples of z by weight, then draw x ~ p(x | z).

    The method is that of Mattei & Frellsen (2019), section 4.2. Each row has its own noise.
    """

    def one_row(row: Float[Array, " d"], key: PRNGKeyArray) -> Float[Array, " d"]:
        proposal = _Proposal.of(model, row, n_samples)
        key, of_row = jax.random.split(key)

        def one_draw(carry: tuple[Array, Array], given: tuple[Array, PRNGKeyArray]) -> tuple[tuple[Array, Array], None]:
            log_sum, kept = carry
            number, key = given
            of_z, of_choice = jax.random.split(key)
            z, log_w = proposal.draw(number, of_z)
            total = jnp.logaddexp(log_sum, log_w)
            is_chosen = jnp.log(jax.random.uniform(of_choice)) < log_w - total
            return (total, jnp.where(is_chosen, z, kept)), None

        start = (jnp.full((), -jnp.inf, jnp.float32), jnp.zeros((1, *proposal.q.mean.shape), jnp.float32))
        numbered = (jnp.arange(n_samples), jax.random.split(key, n_samples))
        (_, kept), _ = jax.lax.scan(one_draw, start, numbered)
        return model.given(row).decode(kept).sample(of_row)[0, 0]

    return jax.vmap(one_row)(x, jax.random.split(noise.fresh(), len(x)))
