"""The compiled loop: chunks of rows in, weights and learning curves out. It knows no variant by name.

One program runs every step of a chunk (gather, corruption, forward, backward, update) and hands back sums of the
metrics once. All that happens is a function of (seed, epoch, chunk, step), never of a hidden generator:

- the order of rows: NumPy's Philox-free `default_rng([seed, 1, epoch, chunk])` on the host, an argument of the program;
- noise: `fold_in(key(seed), step)` inside the program, step counted over the whole training.

Shapes are few: rows are padded to a coarse grid of sizes and the number of steps is an argument, so data sets of
nearby sizes share a program. Numbers of the recipe, the optimiser and the schedules are arguments as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from . import runtime
from .errors import TrainingDiverged
from .model import Model, Recipe, Skeleton, loss
from .optimizers import Adam, Optimizer
from .schedules import Cosine, Schedule

__all__ = ["Chunk", "Plan", "Resident", "Source", "Trained", "train"]

runtime.configure()

_EVALUATION_BLOCK = 2048


# -- what comes in ----------------------------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """Rows on the device, of which the first ``n_rows`` count."""

    rows: Float[Array, "padded d"]
    n_rows: int


class Source(Protocol):
    """Anything that can be read in chunks, again and again."""

    @property
    def n_features(self) -> int:
        """The number of columns."""

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """The number of rows of each chunk."""

    def chunks(self) -> Iterator[Chunk]:
        """The chunks, in a fixed order."""


class Resident:
    """An array in memory: one chunk that stays on the device.

    Parameters
    ----------
    rows : array of shape (n, d)
        Copied to the device as float32, padded to the grid of sizes.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._n_rows, self.n_features = rows.shape
        padded = np.zeros((_grid_size(self._n_rows), self.n_features), np.float32)
        padded[: self._n_rows] = rows
        self._rows = jax.device_put(padded)

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        return (self._n_rows,)

    def chunks(self) -> Iterator[Chunk]:
        yield Chunk(self._rows, self._n_rows)


def _grid_size(n: int) -> int:
    """The next size on the grid: powers of two, each octave in eight steps, and whole blocks of evaluation."""
    octave = 1 << max(n - 1, 15).bit_length()
    if octave <= _EVALUATION_BLOCK:
        return octave
    step = max(octave // 16, _EVALUATION_BLOCK)
    return -(-n // step) * step


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Parameters
    ----------
    max_epochs : int
        Passes over the training rows.
    batch_size : int
        Rows per step. Every row is used at least once per epoch; the last batch is filled with rows drawn again.
    learning_rate : float
        The peak rate.
    learning_rate_schedule : Schedule
        The factor on it over time.
    optimizer : Optimizer
    patience : int or None
        Stop when so many epochs have not improved on the best held-out one. None: never.
    seed : int
    """

    max_epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: Schedule = Cosine()
    optimizer: Optimizer = Adam()
    patience: int | None = None
    seed: int = 0


# -- what goes out ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """The outcome: the best epoch's model, and the curves."""

    model: Model
    history: dict[str, list[float]]
    """One number per epoch under each name; held-out figures are named ``validation_…``."""
    best_epoch: int
    """Counted from 1; the last one where there are no held-out rows."""

    @property
    def n_epochs(self) -> int:
        """How many epochs were run."""
        return len(self.history["loss"])


OnEpoch = Callable[[int, dict[str, float]], None]


# -- the programs -----------------------------------------------------------------------------------------------------


class _State(NamedTuple):
    """What a step changes."""

    arrays: Any
    optimizer: Any
    step: Int[Array, ""]


class _Clock(NamedTuple):
    """The numbers that place a step in time."""

    steps_per_epoch: float
    n_epochs: float
    learning_rate: float


@partial(jax.jit, static_argnames=("skeleton",))
def _run_steps(
    state: _State,
    skeleton: Skeleton,
    recipe: Recipe,
    optimizer: Optimizer,
    schedule: Schedule,
    clock: _Clock,
    seed: int,
    rows: Float[Array, "padded d"],
    order: Int[Array, "steps batch"],
    n_steps: int,
) -> tuple[_State, dict[str, Float[Array, ""]]]:
    """Steps 0 … n_steps − 1 of ``order``, and the sums of their metrics."""
    transform = optimizer.build()
    everyone = jnp.ones(order.shape[1])

    def one(i: Array, state: _State) -> tuple[_State, dict[str, Array]]:
        t = state.step / clock.steps_per_epoch
        beta = recipe.objective.annealing(t, clock.n_epochs)
        rate = clock.learning_rate * schedule(t, clock.n_epochs)
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        def formula(arrays: Any) -> tuple[Array, dict[str, Array]]:
            return loss(Model(recipe, skeleton.with_arrays(arrays)), rows[order[i]], key, beta, everyone)

        (_, terms), gradient = jax.value_and_grad(formula, has_aux=True)(state.arrays)
        direction, memory = transform.update(gradient, state.optimizer, state.arrays)
        arrays = jax.tree.map(lambda w, u: w - rate * u, state.arrays, direction)
        return _State(arrays, memory, state.step + 1), terms | {"beta": beta, "learning_rate": rate}

    def body(i: Array, carry: tuple[_State, dict[str, Array]]) -> tuple[_State, dict[str, Array]]:
        state, sums = carry
        state, terms = one(i, state)
        return state, jax.tree.map(jnp.add, sums, terms)

    _, shapes = jax.eval_shape(one, jnp.zeros((), jnp.int32), state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.fori_loop(0, n_steps, body, (state, zeros))


@partial(jax.jit, static_argnames=("skeleton",))
def _evaluate(
    arrays: Any, skeleton: Skeleton, recipe: Recipe, seed: int, rows: Float[Array, "padded d"], n_rows: int
) -> dict[str, Float[Array, ""]]:
    """Sums over the chunk's rows of the formula's terms at β = 1, with the same noise every time."""
    model = Model(recipe, skeleton.with_arrays(arrays))
    size = min(_EVALUATION_BLOCK, rows.shape[0])
    key = jax.random.key(seed)

    def block(i: Array) -> dict[str, Array]:
        counts = (i * size + jnp.arange(size) < n_rows).astype(jnp.float32)
        x = jax.lax.dynamic_slice_in_dim(rows, i * size, size)
        _, terms = loss(model, x, jax.random.fold_in(key, i), jnp.ones(()), counts)
        return {name: value * counts.sum() for name, value in terms.items()}

    def body(i: Array, sums: dict[str, Array]) -> dict[str, Array]:
        return jax.tree.map(jnp.add, sums, block(i))

    shapes = jax.eval_shape(block, jnp.zeros((), jnp.int32))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.fori_loop(0, -(-n_rows // size), body, zeros)


# -- the loop ---------------------------------------------------------------------------------------------------------


@dataclass
class _Best:
    """The best held-out epoch so far, among those with the annealing done."""

    settled_after: float
    value: float = np.inf
    epoch: int = 0
    arrays: Any = None

    def offer(self, epoch: int, value: float, arrays: Any) -> None:
        if epoch >= self.settled_after and value < self.value:
            self.value, self.epoch, self.arrays = value, epoch, arrays

    def stale_for(self, epoch: int) -> int:
        return epoch - self.epoch if self.epoch else 0


@dataclass
class _Curves:
    """The history, an epoch at a time."""

    history: dict[str, list[float]] = field(default_factory=dict)

    def add(self, record: dict[str, float]) -> None:
        for name, value in record.items():
            self.history.setdefault(name, []).append(value)


def train(
    model: Model, training: Source, plan: Plan, validation: Source | None = None, on_epoch: OnEpoch | None = None
) -> Trained:
    """Make the formula's loss small on ``training``; keep the weights that are best on ``validation``.

    Held-out rows are judged by the objective at β = 1, corrupted by the same noise in every epoch, and only from the
    epoch on at which β's schedule has settled. Without held-out rows the last epoch is the best.

    Raises
    ------
    TrainingDiverged
        If the loss is no longer finite.
    """
    arrays, skeleton = model.weights.apart()
    state = _State(arrays, plan.optimizer.build().init(arrays), jnp.zeros((), jnp.int32))
    steps = [-(-n // _batch(n, plan)) for n in training.chunk_sizes]
    clock = _Clock(float(sum(steps)), float(plan.max_epochs), float(plan.learning_rate))
    best = _Best(model.recipe.objective.annealing.settled_after(plan.max_epochs))
    curves = _Curves()

    for epoch in range(1, plan.max_epochs + 1):
        total: dict[str, float] = {}
        for number, chunk in enumerate(training.chunks()):
            order = _order(plan, epoch, number, chunk.n_rows)
            state, sums = _run_steps(
                state, skeleton, model.recipe, plan.optimizer, plan.learning_rate_schedule, clock,
                plan.seed, chunk.rows, order, steps[number],
            )  # fmt: skip
            total = {name: total.get(name, 0.0) + float(value) for name, value in jax.device_get(sums).items()}
        record = {name: value / clock.steps_per_epoch for name, value in total.items() if name != "target"}
        _raise_if_diverged(epoch, record["loss"], plan)
        if validation is not None:
            held_out = _held_out(state.arrays, skeleton, model.recipe, plan.seed, validation)
            best.offer(epoch, held_out["validation_loss"], state.arrays)
            record |= held_out
        curves.add(record)
        if on_epoch is not None:
            on_epoch(epoch, record)
        if plan.patience is not None and best.stale_for(epoch) >= plan.patience:
            break

    if best.arrays is None:
        best.epoch, best.arrays = epoch, state.arrays
        if validation is not None:
            warnings.warn(
                f"β reaches its final value after epoch {best.settled_after:g}, but training ended at {epoch}: "
                "the last epoch's weights are kept. Raise max_epochs or shorten the annealing.",
                stacklevel=2,
            )
    return Trained(Model(model.recipe, skeleton.with_arrays(best.arrays)), curves.history, best.epoch)


def _batch(n_rows: int, plan: Plan) -> int:
    return min(plan.batch_size, 1 << (n_rows - 1).bit_length())


def _order(plan: Plan, epoch: int, chunk: int, n_rows: int) -> np.ndarray:
    """A fresh order of the rows, in batches; the last batch and the padding begin the order again."""
    batch = _batch(n_rows, plan)
    n_steps = _grid_size(-(-n_rows // batch))
    shuffled = np.random.default_rng([plan.seed, 1, epoch, chunk]).permutation(n_rows).astype(np.int32)
    return np.resize(shuffled, (n_steps, batch))


def _held_out(arrays: Any, skeleton: Skeleton, recipe: Recipe, seed: int, source: Source) -> dict[str, float]:
    total: dict[str, float] = {}
    for number, chunk in enumerate(source.chunks()):
        sums = jax.device_get(_evaluate(arrays, skeleton, recipe, seed + number, chunk.rows, chunk.n_rows))
        total = {name: total.get(name, 0.0) + float(value) for name, value in sums.items()}
    means = {name: value / sum(source.chunk_sizes) for name, value in total.items()}
    means["loss"] = means.pop("target")
    return {f"validation_{name}": value for name, value in means.items()}


def _raise_if_diverged(epoch: int, value: float, plan: Plan) -> None:
    if not np.isfinite(value):
        raise TrainingDiverged(
            f"The loss became {value} in epoch {epoch}. Lower the learning rate (now {plan.learning_rate:g}), "
            "or scale the data to a spread near 1."
        )
