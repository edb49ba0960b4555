"""The compiled training program: some epochs over one chunk of rows on the device.

In an epoch it runs every step (gather, corruption, forward, backward, update); after an epoch it validates and keeps
the best weights. It has no side effects and no hidden random state, so that it can be mapped over many trainings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core.model import Model, Recipe, loss, training_loss
from ..core.optimizers import AnyOptimizer
from ..core.schedules import Schedule
from ..core.weights import StaticTree, Updates
from .batches import EVAL_BATCH, Chunk
from .prng import stream_key
from .programs import Programs

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

Number = Any
"""A NumPy number outside the program, a JAX number inside."""


class BestParams(NamedTuple):
    """The weights of the best epoch so far, by the validation loss."""

    arrays: Any
    value: Number
    """The validation loss; infinite: no epoch yet."""
    epoch: Number
    """Number of the epoch; 0: the initial weights."""


class Carry(NamedTuple):
    """The state of the training on the device."""

    arrays: Any
    optimizer: Any
    step: Number
    best: BestParams | None
    """None without validation rows."""


class StepCounters(NamedTuple):
    """The numbers that define the time of a step, and when to validate and to stop."""

    steps_per_epoch: Number
    n_epochs: Number
    learning_rate: Number
    warmup_end: Number
    patience: Number
    final_beta: Number
    """The value of β at the end of its schedule, which validation uses."""
    n_rows: Number
    """Number of training rows."""


class EpochInputs(NamedTuple):
    """One chunk with the order of its rows, and the numbers of its epochs and steps."""

    rows: Any
    """(padded, d): the rows of the chunk."""
    orders: Any
    """(epochs, steps, batch): the indices of the rows in each step."""
    n_steps: Number
    first_epoch: Number
    n_epochs: Number
    closes_epoch: Number
    judges_start: Number
    """Whether the initial weights are validated as well, as epoch 0."""
    weights: Array | None = None
    """(padded,): the weights of the rows, if they differ."""


class RngStreams(NamedTuple):
    """The random streams of training and validation."""

    training: Number
    for_validation: Number


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainSpec:
    """Everything that is constant in a training. The numbers of the components are arguments of the program."""

    recipe: Recipe
    optimizer: AnyOptimizer
    schedule: Schedule
    clock: StepCounters
    noise: RngStreams
    fixed: Any
    """The weights that are not trained (`core.layers.Fixed`)."""
    skeleton: StaticTree = field(metadata={"static": True})

    def model(self, arrays: Any) -> Model:
        """Return the model with the given weights."""
        return Model(self.recipe, self.skeleton.combine(arrays, self.fixed))

    def updated(self, arrays: Any, updates: Updates) -> Any:
        """Return the arrays with the updates of weights that are not trained by gradient."""
        if updates.is_empty:
            return arrays
        return self.skeleton.extract(self.skeleton.combine(arrays, self.fixed).updated(updates))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossTerms:
    """The terms of one step, or of one block of validation rows, by name, in one vector."""

    values: Float[Array, " m"]
    names: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def of(cls, terms: dict[str, Array]) -> LossTerms:
        return cls(jnp.stack([jnp.asarray(terms[name], jnp.float32) for name in sorted(terms)]), tuple(sorted(terms)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Metrics:
    """Sums of terms by name, in one vector: one kernel per term would cost more to start than to run."""

    values: Float[Array, "... m"]
    finite: Float[Array, "... m"]
    """Number of terms added while each sum was finite."""
    names: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def zeros(cls, names: tuple[str, ...], *sizes: int) -> Metrics:
        """Return sums of zero, with leading axes of these sizes."""
        shape = (*sizes, len(names))
        return cls(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32), names)

    def plus(self, terms: LossTerms) -> Metrics:
        """Add one more value to each sum."""
        sums = self.values + terms.values
        return Metrics(sums, self.finite + jnp.isfinite(sums), self.names)

    def __getitem__(self, name: str) -> Array:
        return self.values[..., self.names.index(name)]

    def n_finite(self, name: str) -> Array:
        """Return the number of terms added before the sum stopped being finite."""
        return self.finite[..., self.names.index(name)]


def _run_epochs(
    carry: Carry, setup: TrainSpec, way: EpochInputs, held_out: Chunk | None
) -> tuple[Carry, Metrics, Metrics | None, Int[Array, ""]]:
    """Run epochs over one chunk; return the carry, the training sums, the validation means and the epochs run."""
    # Inlined functions of this call only: JAX traces each once, for its names and for the loops.
    step, validate = jax.jit(partial(_step), inline=True), jax.jit(partial(_validate_block), inline=True)
    chosen = jax.eval_shape(lambda orders: orders[0, 0], way.orders)
    step_names = jax.eval_shape(step, carry, chosen, setup, way.rows, way.weights)[1].names
    names = () if held_out is None else jax.eval_shape(validate, 0, carry.arrays, setup, held_out).names
    # The start is validated as an epoch without steps before the others.
    first = jnp.zeros((), jnp.int32) if carry.best is None else -jnp.asarray(way.judges_start, jnp.int32)

    def validation_means(arrays: Any) -> Metrics:
        assert held_out is not None
        n_blocks = -(-held_out.n_rows // min(EVAL_BATCH, held_out.rows.shape[0]))
        return _summed(n_blocks, lambda i, nothing: (nothing, validate(i, arrays, setup, held_out)), None, names)[1]

    def epoch(i: Array, carry: Carry) -> tuple[Carry, Metrics, Metrics | None]:
        n_steps = jnp.where(i < 0, 0, way.n_steps)
        carry, sums = _summed(
            n_steps, lambda j, c: step(c, way.orders[i, j], setup, way.rows, way.weights), carry, step_names
        )
        if carry.best is None:
            return carry, sums, None
        means = jax.lax.cond(way.closes_epoch, validation_means, lambda _: Metrics.zeros(names), carry.arrays)
        number = way.first_epoch + i
        counts = (number >= setup.clock.warmup_end) | (i < 0)
        better = way.closes_epoch & counts & (means["loss"] < carry.best.value)
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
        # The report of the start, at -1, is overwritten by that of the first epoch.
        at = jnp.maximum(i, 0)
        return i + 1, carry, jax.tree.map(lambda curve, value: curve.at[at].set(value), curves, tuple(reports))

    n_epochs = way.orders.shape[0]
    blank = Metrics.zeros(step_names, n_epochs), None if carry.best is None else Metrics.zeros(names, n_epochs)
    n_run, carry, (sums, means) = jax.lax.while_loop(keep_training, body, (first, carry, blank))
    return carry, sums, means, n_run


run_epochs = Programs(_run_epochs)


def _run_epochs_vmapped(
    carry: Carry, setup: TrainSpec, way: EpochInputs, held_out: Chunk | None, axes: tuple[int | None, int | None]
) -> tuple[Carry, Metrics, Metrics | None, Int[Array, ""]]:
    """Apply `_run_epochs` to many trainings, along the first axis of all arguments.

    ``axes`` holds the axis of the training rows and of the validation rows: 0, or None if all trainings share the rows.
    All trainings share the number of steps per epoch: in a loop of different lengths, trainings that are done would
    have to be held back.
    """
    rows_axis, held_out_axis = axes
    ways = EpochInputs(
        rows=rows_axis, orders=0, n_steps=None, first_epoch=None, n_epochs=0, closes_epoch=None, judges_start=None
    )
    mapped: Any = jax.vmap(_run_epochs, in_axes=(0, 0, ways, held_out_axis))
    return mapped(carry, setup, way, held_out)


run_epochs_vmapped = Programs(_run_epochs_vmapped, static_argnames=("axes",))


def _step(carry: Carry, chosen: Array, setup: TrainSpec, rows: Array, weights: Array | None) -> tuple[Carry, LossTerms]:
    """Update the weights once, with the chosen rows."""
    clock = setup.clock
    t = carry.step / clock.steps_per_epoch
    beta = setup.recipe.objective.kl_schedule(t, clock.n_epochs)
    rate = clock.learning_rate * setup.schedule(t, clock.n_epochs)
    key = stream_key(setup.noise.training, carry.step)
    row_weight = jnp.ones(chosen.shape[0]) if weights is None else weights[chosen]

    def value(arrays: Any) -> tuple[Array, tuple[dict[str, Array], Updates]]:
        mean, found = training_loss(setup.model(arrays), rows[chosen], key, beta, row_weight, clock.n_rows)
        # Of the sum over all batches, so that a batch of small weights counts less.
        return mean if weights is None else mean * row_weight.mean(), found

    (_, (terms, updates)), gradient = jax.value_and_grad(value, has_aux=True)(carry.arrays)
    direction, memory = setup.optimizer.build().update(gradient, carry.optimizer, carry.arrays)
    arrays = setup.updated(jax.tree.map(lambda w, u: w - rate * u, carry.arrays, direction), updates)
    moved = carry._replace(arrays=arrays, optimizer=memory, step=carry.step + 1)
    return moved, LossTerms.of(terms | {"beta": beta, "learning_rate": rate})


def _validate_block(i: Array, arrays: Any, setup: TrainSpec, held_out: Chunk) -> LossTerms:
    """Return the contribution of block i to the mean validation terms, at the final β and with the same noise."""
    size = min(EVAL_BATCH, held_out.rows.shape[0])
    counts = (i * size + jnp.arange(size) < held_out.n_rows).astype(jnp.float32)
    total: int | Array = held_out.n_rows
    if held_out.weights is not None:
        counts = jax.lax.dynamic_slice_in_dim(held_out.weights, i * size, size)
        total = held_out.weights.sum()
    x = jax.lax.dynamic_slice_in_dim(held_out.rows, i * size, size)
    model = Model(setup.recipe.for_validation, setup.model(arrays).weights)
    clock, key = setup.clock, stream_key(setup.noise.for_validation, i)
    _, terms = loss(model, x, key, clock.final_beta, counts, clock.n_rows)
    return jax.tree.map(lambda value: value * counts.sum() / total, LossTerms.of(terms))


def _summed(
    n: Any, step: Callable[[Array, Any], tuple[Any, LossTerms]], carry: Any, names: tuple[str, ...]
) -> tuple[Any, Metrics]:
    """Call ``step`` n times and sum the terms that it returns, of these names; n may be a traced number."""

    def body(i: Array, state: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
        carry, sums = state
        carry, terms = step(i, carry)
        return carry, sums.plus(terms)

    return jax.lax.fori_loop(0, n, body, (carry, Metrics.zeros(names)))
