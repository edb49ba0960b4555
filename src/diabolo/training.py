"""The compiled loop: chunks of rows in, weights and learning curves out. It knows no variant by name.

There is one program, a *stretch*: some epochs over one chunk of rows that lies on the device. Within an epoch it runs
every step (gather, corruption, forward, backward, update); after an epoch it judges the held-out rows and keeps the
best weights. Metrics leave the device once per stretch. Rows in memory are one chunk, and a stretch is as many epochs
as take half a second; a source of many chunks makes stretches of one pass each, the last of which closes the epoch.

All that happens is a function of (seed, epoch, chunk, step), never of a hidden generator or the clock:

- the order of rows: `default_rng([seed, 1, epoch, chunk])` on the host, an argument of the program;
- noise: `fold_in(key(seed), step)` inside the program, step counted over the whole training.

Shapes are few: rows are padded to a coarse grid of sizes and counts are arguments, so data sets of nearby sizes share a
program. Numbers of the recipe, the optimiser and the schedules are arguments as well.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from . import runtime
from .errors import TrainingDiverged
from .model import Model, Recipe, Skeleton, loss
from .optimizers import Adam, Optimizer
from .schedules import Cosine, Schedule
from .sources import BLOCK, Chunk, Resident, Source, grid_size

__all__ = ["Plan", "Trained", "train"]

runtime.configure()

_STRETCH_SECONDS = 0.5
_STRETCH_EPOCHS, _STRETCH_CELLS = 256, 1 << 18


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


# -- the program ------------------------------------------------------------------------------------------------------


class _Best(NamedTuple):
    """The best held-out epoch so far."""

    arrays: Any
    value: Float[Array, ""]
    epoch: Int[Array, ""]
    """0: none yet."""


class _Carry(NamedTuple):
    """What training changes: enough to go on from."""

    arrays: Any
    optimizer: Any
    step: Int[Array, ""]
    best: _Best


class _Clock(NamedTuple):
    """The numbers that place a step in time, and say when to judge and to stop."""

    steps_per_epoch: float
    n_epochs: float
    learning_rate: float
    settled_after: float
    patience: float


class _Pass(NamedTuple):
    """One chunk, and how to go through it."""

    rows: Float[Array, "padded d"]
    orders: Int[Array, "epochs steps batch"]
    n_steps: int
    first_epoch: int
    n_epochs: int
    closes_epoch: bool


class _Formula(NamedTuple):
    """The parts, whose numbers are arguments of the program."""

    recipe: Recipe
    optimizer: Optimizer
    schedule: Schedule


Sums = dict[str, Array]


@partial(jax.jit, static_argnames=("skeleton",))
def _stretch(
    carry: _Carry, skeleton: Skeleton, formula: _Formula, clock: _Clock, seed: int, way: _Pass, held_out: Chunk
) -> tuple[_Carry, Sums, Sums, Int[Array, ""]]:
    """Epochs over one chunk: the new carry, curves of training sums and of held-out means, the epochs run."""
    train_key, judge_key = jax.random.split(jax.random.key(seed))
    step = partial(_step, skeleton=skeleton, formula=formula, clock=clock, key=train_key, rows=way.rows)
    judge = partial(_judge, skeleton=skeleton, recipe=formula.recipe, key=judge_key, held_out=held_out)
    is_judged = jnp.logical_and(way.closes_epoch, held_out.n_rows > 0)
    no_sums, no_means = _zeros(step, carry, way.orders[0, 0]), _zeros(judge, jnp.zeros((), jnp.int32), carry.arrays)

    def judged_by(arrays: Any) -> Sums:
        n_blocks = -(-held_out.n_rows // min(BLOCK, held_out.rows.shape[0]))
        return _summed(n_blocks, judge, arrays, no_means)[1]

    def epoch(i: Array, carry: _Carry) -> tuple[_Carry, Sums, Sums]:
        carry, sums = _summed(way.n_steps, lambda j, c: step(c, way.orders[i, j]), carry, no_sums)
        means = jax.lax.cond(is_judged, judged_by, lambda a: no_means, carry.arrays)
        number = way.first_epoch + i
        better = is_judged & (number >= clock.settled_after) & (means["target"] < carry.best.value)
        now = _Best(carry.arrays, means["target"], jnp.asarray(number, jnp.int32))
        best = jax.lax.cond(better, lambda: now, lambda: carry.best)
        return carry._replace(best=best), sums, means

    def goes_on(state: tuple[Array, _Carry, Sums, Sums]) -> Array:
        i, carry, *_ = state
        waited = way.first_epoch + i - 1 - carry.best.epoch
        return (i < way.n_epochs) & ~((carry.best.epoch > 0) & (waited >= clock.patience))

    def body(state: tuple[Array, _Carry, Sums, Sums]) -> tuple[Array, _Carry, Sums, Sums]:
        i, carry, curves, judged = state
        carry, sums, means = epoch(i, carry)
        write = partial(jax.tree.map, lambda curve, value: curve.at[i].set(value))
        return i + 1, carry, write(curves, sums), write(judged, means)

    repeat = partial(jax.tree.map, lambda value: jnp.zeros((way.orders.shape[0], *value.shape), value.dtype))
    start = (jnp.zeros((), jnp.int32), carry, repeat(no_sums), repeat(no_means))
    n_run, carry, curves, judged = jax.lax.while_loop(goes_on, body, start)
    return carry, curves, judged, n_run


def _step(
    carry: _Carry, chosen: Array, skeleton: Skeleton, formula: _Formula, clock: _Clock, key: Array, rows: Array
) -> tuple[_Carry, Sums]:
    """One update, by the rows chosen."""
    t = carry.step / clock.steps_per_epoch
    beta = formula.recipe.objective.annealing(t, clock.n_epochs)
    rate = clock.learning_rate * formula.schedule(t, clock.n_epochs)
    everyone = jnp.ones(chosen.shape[0])
    noise = jax.random.fold_in(key, carry.step)

    def value(arrays: Any) -> tuple[Array, Sums]:
        return loss(Model(formula.recipe, skeleton.with_arrays(arrays)), rows[chosen], noise, beta, everyone)

    (_, terms), gradient = jax.value_and_grad(value, has_aux=True)(carry.arrays)
    direction, memory = formula.optimizer.build().update(gradient, carry.optimizer, carry.arrays)
    arrays = jax.tree.map(lambda w, u: w - rate * u, carry.arrays, direction)
    moved = carry._replace(arrays=arrays, optimizer=memory, step=carry.step + 1)
    return moved, terms | {"beta": beta, "learning_rate": rate}


def _judge(i: Array, arrays: Any, skeleton: Skeleton, recipe: Recipe, key: Array, held_out: Chunk) -> tuple[Any, Sums]:
    """Block i's share in the held-out rows' mean terms at β = 1; the same noise every time."""
    size = min(BLOCK, held_out.rows.shape[0])
    counts = (i * size + jnp.arange(size) < held_out.n_rows).astype(jnp.float32)
    x = jax.lax.dynamic_slice_in_dim(held_out.rows, i * size, size)
    model = Model(recipe, skeleton.with_arrays(arrays))
    _, terms = loss(model, x, jax.random.fold_in(key, i), jnp.ones(()), counts)
    return arrays, {name: value * counts.sum() / held_out.n_rows for name, value in terms.items()}


def _summed(n: Any, step: Callable[[Array, Any], tuple[Any, Sums]], carry: Any, zeros: Sums) -> tuple[Any, Sums]:
    """``step`` n times, and the sums of what it reports; n may be a traced number."""

    def body(i: Array, state: tuple[Any, Sums]) -> tuple[Any, Sums]:
        carry, sums = state
        carry, terms = step(i, carry)
        return carry, jax.tree.map(jnp.add, sums, terms)

    return jax.lax.fori_loop(0, n, body, (carry, zeros))


def _zeros(step: Callable[..., tuple[Any, Sums]], *args: Any) -> Sums:
    """Zeros in the shape of what ``step`` reports."""
    _, shapes = jax.eval_shape(step, *args)
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


# -- the loop ---------------------------------------------------------------------------------------------------------


def train(
    model: Model, training: Source, plan: Plan, validation: Resident | None = None, on_epoch: OnEpoch | None = None
) -> Trained:
    """Make the formula's loss small on ``training``; keep the weights that are best on ``validation``.

    Held-out rows are judged by the objective at β = 1, corrupted by the same noise in every epoch, and only from the
    epoch on at which β's schedule has settled. Without held-out rows the last epoch is the best.

    Raises
    ------
    TrainingDiverged
        If the loss is no longer finite.
    """
    run = _Run(model, training, plan, validation)
    history: dict[str, list[float]] = {}
    while run.goes_on:
        first = run.epoch
        for epoch, record in enumerate(run.stretch(), start=first):
            _raise_if_diverged(epoch, record["loss"], plan)
            for name, value in record.items():
                history.setdefault(name, []).append(value)
            if on_epoch is not None:
                on_epoch(epoch, record)
    arrays, best_epoch = run.kept()
    return Trained(Model(model.recipe, run.skeleton.with_arrays(arrays)), history, best_epoch)


class _Run:
    """A training under way. ``carry`` and ``epoch`` are all that changes in it, and all that it takes to go on."""

    def __init__(self, model: Model, training: Source, plan: Plan, validation: Resident | None) -> None:
        arrays, self.skeleton = model.weights.apart()
        self.training, self.plan, self.has_held_out = training, plan, validation is not None
        self.held_out = next(validation.chunks()) if validation else Chunk(jnp.zeros((16, training.n_features)), 0)
        self.formula = _Formula(model.recipe, plan.optimizer, plan.learning_rate_schedule)
        self.n_steps = [-(-n // _batch(n, plan)) for n in training.chunk_sizes]
        self.clock = _Clock(
            steps_per_epoch=float(sum(self.n_steps)),
            n_epochs=float(plan.max_epochs),
            learning_rate=float(plan.learning_rate),
            settled_after=float(model.recipe.objective.annealing.settled_after(plan.max_epochs)),
            patience=float(np.inf if plan.patience is None else plan.patience),
        )
        zero = jnp.zeros((), jnp.int32)
        best = _Best(arrays, jnp.full((), jnp.inf, jnp.float32), zero)
        self.carry = _Carry(arrays, plan.optimizer.build().init(arrays), zero, best)
        self.epoch = 1
        self._wanted, self._stopped = 1, False

    @property
    def goes_on(self) -> bool:
        return self.epoch <= self.plan.max_epochs and not self._stopped

    def stretch(self) -> list[dict[str, float]]:
        """The next epochs, as many as take half a second (one, if there are several chunks); a record of each."""
        started, totals = time.perf_counter(), []
        left = self.plan.max_epochs - self.epoch + 1
        wanted = min(self._wanted, left) if len(self.n_steps) == 1 else 1
        for number, chunk in enumerate(self.training.chunks()):
            orders = _orders(self.plan, self.epoch, number, chunk.n_rows, wanted)
            n_epochs = min(wanted, len(orders))
            closes = number == len(self.n_steps) - 1
            way = _Pass(chunk.rows, jnp.asarray(orders), self.n_steps[number], self.epoch, n_epochs, closes)
            self.carry, sums, judged, n_run = _stretch(
                self.carry, self.skeleton, self.formula, self.clock, self.plan.seed, way, self.held_out
            )
            totals.append(sums)
        sums, judged, n_run = jax.device_get((totals, judged if self.has_held_out else {}, n_run))
        self._stopped = int(n_run) < n_epochs
        self._wanted = _epochs_within(time.perf_counter() - started, int(n_run))
        self.epoch += int(n_run)
        return list(_records(sums, judged, int(n_run), self.clock.steps_per_epoch))

    def kept(self) -> tuple[Any, int]:
        """The weights to keep and the epoch they are from: the best held-out one's, else the last one's."""
        best_epoch, last_epoch = int(self.carry.best.epoch), self.epoch - 1
        if best_epoch:
            return self.carry.best.arrays, best_epoch
        if self.has_held_out:
            warnings.warn(
                f"β reaches its final value after epoch {self.clock.settled_after:g}, but training ended at "
                f"{last_epoch}: the last epoch's weights are kept. Raise max_epochs or shorten the annealing.",
                stacklevel=3,
            )
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(self.carry.arrays))):
            _raise_if_diverged(last_epoch, np.nan, self.plan)  # in its last step, which no loss has seen
        return self.carry.arrays, last_epoch


def _batch(n_rows: int, plan: Plan) -> int:
    return min(plan.batch_size, 1 << (n_rows - 1).bit_length())


def _orders(plan: Plan, epoch: int, chunk: int, n_rows: int, n_epochs: int) -> np.ndarray:
    """The orders of the rows in ``n_epochs`` epochs from ``epoch`` on, in an array of a size that never changes."""
    batch = _batch(n_rows, plan)
    n_steps = grid_size(-(-n_rows // batch))
    capacity = int(np.clip(_STRETCH_CELLS // (n_steps * batch), 1, _STRETCH_EPOCHS))
    orders = np.zeros((capacity, n_steps, batch), np.int32)
    for i in range(min(n_epochs, len(orders))):
        orders[i] = _order(plan, epoch + i, chunk, n_rows, orders.shape[1:])
    return orders


def _order(plan: Plan, epoch: int, chunk: int, n_rows: int, shape: tuple[int, ...]) -> np.ndarray:
    """A fresh order of the rows, in batches; the last batch and the padding begin the order again."""
    shuffled = np.random.default_rng([plan.seed, 1, epoch, chunk]).permutation(n_rows).astype(np.int32)
    return np.resize(shuffled, shape)


def _records(
    totals: list[dict[str, np.ndarray]], judged: dict[str, np.ndarray], n_run: int, steps_per_epoch: float
) -> Iterator[dict[str, float]]:
    """Means per epoch: the training sums of all chunks, and the held-out figures, which are means already."""
    for i in range(n_run):
        record = {
            name: float(sum(sums[name][i] for sums in totals)) / steps_per_epoch
            for name in totals[0]
            if name != "target"
        }
        for name, values in judged.items():
            if name != "loss":
                record["validation_" + ("loss" if name == "target" else name)] = float(values[i])
        yield record


def _epochs_within(seconds: float, n_run: int) -> int:
    """How many epochs the next stretch should have, if ``n_run`` took so long. It changes no result."""
    return max(1, int(_STRETCH_SECONDS * n_run / max(seconds, 1e-6)))


def _raise_if_diverged(epoch: int, value: float, plan: Plan) -> None:
    if not np.isfinite(value):
        raise TrainingDiverged(
            f"The loss became {value} in epoch {epoch}. Lower the learning rate (now {plan.learning_rate:g}), "
            "or scale the data to a spread near 1."
        )
