"""The compiled program: some epochs over one chunk of rows that lies on the device.

Within an epoch it runs every step (gather, corruption, forward, backward, update); after an epoch it judges the
held-out rows and keeps the best weights. It has no side effects and draws no hidden numbers, so it can be mapped over
many trainings at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .. import jax_config
from ..core.model import Model, Recipe, StaticTree, loss
from ..core.optimizers import Optimizer
from ..core.schedules import Schedule
from .batches import EVAL_BATCH, Chunk
from .prng import stream_key

__all__ = [
    "BestParams",
    "Carry",
    "EpochInputs",
    "Metrics",
    "RngStreams",
    "StepCounters",
    "TrainSpec",
    "run_epochs",
    "run_epochs_vmapped",
]

jax_config.configure()

Number = Any
"""NumPy's on the way in, JAX's inside."""


class BestParams(NamedTuple):
    """The best held-out epoch so far."""

    arrays: Any
    value: Number
    """Infinite: none yet."""
    epoch: Number
    """0: the weights that training began with."""


class Carry(NamedTuple):
    """What training changes on the device."""

    arrays: Any
    optimizer: Any
    step: Number
    best: BestParams | None
    """None if there are no held-out rows."""


class StepCounters(NamedTuple):
    """The numbers that place a step in time, and say when to judge and to stop."""

    steps_per_epoch: Number
    n_epochs: Number
    learning_rate: Number
    warmup_end: Number
    patience: Number
    final_beta: Number
    """β where its schedule ends: held-out rows are judged by it."""


class EpochInputs(NamedTuple):
    """One chunk, and how to go through it."""

    rows: Any
    """(padded, d): the chunk's."""
    orders: Any
    """(epochs, steps, batch): the numbers of the rows in each step."""
    n_steps: Number
    first_epoch: Number
    n_epochs: Number
    closes_epoch: Number
    judges_start: Number
    """Whether the weights it begins with are judged as well, as those of epoch 0."""


class RngStreams(NamedTuple):
    """Which noise training and judging use."""

    training: Number
    for_validation: Number


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainSpec:
    """All that does not change in a training. The numbers of the parts are arguments of the program."""

    recipe: Recipe
    optimizer: Optimizer
    schedule: Schedule
    clock: StepCounters
    noise: RngStreams
    fixed: Any
    """The weights that are not trained."""
    skeleton: StaticTree = field(metadata={"static": True})

    def model(self, arrays: Any) -> Model:
        """The model with these weights."""
        return Model(self.recipe, self.skeleton.combine(arrays, self.fixed))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossTerms:
    """What one step, or one block of held-out rows, adds to the sums: numbers by name, in one vector."""

    values: Float[Array, " m"]
    names: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def of(cls, terms: dict[str, Array]) -> LossTerms:
        return cls(jnp.stack([jnp.asarray(terms[name], jnp.float32) for name in sorted(terms)]), tuple(sorted(terms)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Metrics:
    """Sums of terms by name, in one vector: a kernel for each of them would cost more to start than to run."""

    values: Float[Array, "... m"]
    finite: Float[Array, "... m"]
    """The number of addends after which each sum was still finite."""
    names: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def zeros(cls, names: tuple[str, ...]) -> Metrics:
        """Sums of nothing."""
        return cls(jnp.zeros(len(names), jnp.float32), jnp.zeros(len(names), jnp.float32), names)

    def plus(self, terms: LossTerms) -> Metrics:
        """Add one more value to each sum."""
        sums = self.values + terms.values
        return Metrics(sums, self.finite + jnp.isfinite(sums), self.names)

    def __getitem__(self, name: str) -> Array:
        return self.values[..., self.names.index(name)]

    def n_finite(self, name: str) -> Array:
        """Return the number of addends before the first that made this sum something other than a finite number."""
        return self.finite[..., self.names.index(name)]


def _run_epochs(
    carry: Carry, setup: TrainSpec, way: EpochInputs, held_out: Chunk | None
) -> tuple[Carry, Metrics, Metrics | None, Int[Array, ""]]:
    """Epochs over one chunk: the new carry, curves of training sums and of held-out means, the epochs run."""
    step = partial(_step, setup=setup, rows=way.rows)

    def judged(arrays: Any) -> Metrics:
        assert held_out is not None
        judge = partial(_judge, arrays=arrays, setup=setup, held_out=held_out)
        n_blocks = -(-held_out.n_rows // min(EVAL_BATCH, held_out.rows.shape[0]))
        return _summed(n_blocks, lambda i, nothing: (nothing, judge(i)), None)[1]

    def epoch(i: Array, carry: Carry) -> tuple[Carry, Metrics, Metrics | None]:
        carry, sums = _summed(way.n_steps, lambda j, c: step(c, way.orders[i, j]), carry)
        if carry.best is None:
            return carry, sums, None
        means = jax.lax.cond(way.closes_epoch, judged, partial(_zeros_like, judged), carry.arrays)
        number = way.first_epoch + i
        better = way.closes_epoch & (number >= setup.clock.warmup_end) & (means["loss"] < carry.best.value)
        now = BestParams(carry.arrays, means["loss"], jnp.asarray(number, jnp.int32))
        best = jax.lax.cond(better, lambda: now, lambda: carry.best)
        return carry._replace(best=best), sums, means

    def keep_training(state: tuple[Array, Carry, Any]) -> Array:
        i, carry, _ = state
        more = i < way.n_epochs
        if carry.best is None:
            return more
        waited = way.first_epoch + i - 1 - carry.best.epoch
        return more & ~(jnp.isfinite(carry.best.value) & (waited >= setup.clock.patience))

    def body(state: tuple[Array, Carry, Any]) -> tuple[Array, Carry, Any]:
        i, carry, curves = state
        carry, *reports = epoch(i, carry)
        return i + 1, carry, jax.tree.map(lambda curve, value: curve.at[i].set(value), curves, tuple(reports))

    if (best := carry.best) is not None:
        value = jax.lax.cond(way.judges_start, lambda a: judged(a)["loss"], lambda a: best.value, carry.arrays)
        carry = carry._replace(best=best._replace(value=value))
    _, *shapes = jax.eval_shape(epoch, 0, carry)
    blank = jax.tree.map(lambda s: jnp.zeros((way.orders.shape[0], *s.shape), s.dtype), tuple(shapes))
    n_run, carry, (sums, means) = jax.lax.while_loop(keep_training, body, (jnp.zeros((), jnp.int32), carry, blank))
    return carry, sums, means, n_run


run_epochs = jax.jit(_run_epochs)


@partial(jax.jit, static_argnames=("axes",))
def run_epochs_vmapped(
    carry: Carry, setup: TrainSpec, way: EpochInputs, held_out: Chunk | None, axes: tuple[int | None, int | None]
) -> tuple[Carry, Metrics, Metrics | None, Int[Array, ""]]:
    """`run_epochs` for many trainings, which are the first axis of everything.

    ``axes`` says whether they are also that of the rows and of the held-out rows (0), or share them (None). How many
    steps an epoch has, they share always: a loop whose length differed would have to hold back those that are done.
    """
    rows_axis, held_out_axis = axes
    ways = EpochInputs(
        rows=rows_axis, orders=0, n_steps=None, first_epoch=None, n_epochs=0, closes_epoch=None, judges_start=None
    )
    mapped: Any = jax.vmap(_run_epochs, in_axes=(0, 0, ways, held_out_axis))
    return mapped(carry, setup, way, held_out)


def _step(carry: Carry, chosen: Array, setup: TrainSpec, rows: Array) -> tuple[Carry, LossTerms]:
    """One update, by the rows chosen."""
    clock = setup.clock
    t = carry.step / clock.steps_per_epoch
    beta = setup.recipe.objective.kl_schedule(t, clock.n_epochs)
    rate = clock.learning_rate * setup.schedule(t, clock.n_epochs)
    key, everyone = stream_key(setup.noise.training, carry.step), jnp.ones(chosen.shape[0])

    def value(arrays: Any) -> tuple[Array, dict[str, Array]]:
        return loss(setup.model(arrays), rows[chosen], key, beta, everyone)

    (_, terms), gradient = jax.value_and_grad(value, has_aux=True)(carry.arrays)
    direction, memory = setup.optimizer.build().update(gradient, carry.optimizer, carry.arrays)
    arrays = jax.tree.map(lambda w, u: w - rate * u, carry.arrays, direction)
    moved = carry._replace(arrays=arrays, optimizer=memory, step=carry.step + 1)
    return moved, LossTerms.of(terms | {"beta": beta, "learning_rate": rate})


def _judge(i: Array, arrays: Any, setup: TrainSpec, held_out: Chunk) -> LossTerms:
    """Block i's share in the held-out rows' mean terms at β's final value; the same noise every time."""
    size = min(EVAL_BATCH, held_out.rows.shape[0])
    counts = (i * size + jnp.arange(size) < held_out.n_rows).astype(jnp.float32)
    x = jax.lax.dynamic_slice_in_dim(held_out.rows, i * size, size)
    model = Model(setup.recipe.for_validation, setup.model(arrays).weights)
    _, terms = loss(model, x, stream_key(setup.noise.for_validation, i), setup.clock.final_beta, counts)
    return jax.tree.map(lambda value: value * counts.sum() / held_out.n_rows, LossTerms.of(terms))


def _summed(n: Any, step: Callable[[Array, Any], tuple[Any, LossTerms]], carry: Any) -> tuple[Any, Metrics]:
    """``step`` n times, and the sums of what it reports; n may be a traced number."""

    def body(i: Array, state: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
        carry, sums = state
        carry, terms = step(i, carry)
        return carry, sums.plus(terms)

    reported = jax.eval_shape(lambda c: step(jnp.zeros((), jnp.int32), c)[1], carry)
    return jax.lax.fori_loop(0, n, body, (carry, Metrics.zeros(reported.names)))


def _zeros_like(report: Callable[..., Metrics], *args: Any) -> Metrics:
    """Zeros in the shape of what ``report`` gives."""
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(report, *args))
