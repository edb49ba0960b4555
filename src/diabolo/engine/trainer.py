"""The training loop: it trains a model on chunks of rows, and returns weights and learning curves.

The loop calls one compiled program, `run_epochs` (see `engine.compiled`): some epochs over one chunk of rows. Metrics
leave the device once per call. Rows in memory are one chunk, and a call runs as many epochs as take half a second. For
a source of many chunks, a call is one pass over one chunk; the call for the last chunk closes the epoch.

The results depend on (seed, epoch, chunk, step) only, never on a hidden generator or the clock:

- the order of rows: `default_rng([seed, 1, epoch, chunk])` on the host, an argument of the program;
- noise: the key (stream of the seed, step) inside the program, where step counts over the whole training.

A training in progress is therefore one small value, a `TrainState`, and a run resumed from it gives the same bits.

There are few shapes: rows are padded to a coarse grid of sizes, and counts are arguments, so that data sets of similar
sizes share a program. Numbers of the recipe, the optimizer and the schedules are arguments as well. Small weights are
one vector during training, so that the optimizer is one kernel instead of one per array.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import jax_config
from ..core.model import Model, Recipe
from ..core.optimizers import Adam, AnyOptimizer
from ..core.schedules import Cosine, Schedule
from ..errors import TrainingDiverged
from .batches import ArraySource, Chunk, Source, bucket_size
from .compiled import BestParams, Carry, EpochInputs, Metrics, RngStreams, StepCounters, TrainSpec, run_epochs
from .divergence import diverged, first_not_finite, smallest_sigma
from .prng import stream
from .programs import is_short
from .sharding import current

__all__ = [
    "CheckpointSink",
    "Interrupted",
    "TrainConfig",
    "TrainResult",
    "TrainState",
    "Trainer",
    "epochs_within",
    "final_beta",
    "train",
]

_STRETCH_SECONDS = 0.5
_STRETCH_EPOCHS, _STRETCH_CELLS = 256, 1 << 18
_TRAINING_NOISE, _VALIDATION_NOISE = 3, 4
_N_INSPECTED = 128


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training.

    Parameters
    ----------
    max_epochs : int
        Maximum number of passes over the training rows; 0: no training.
    batch_size : int
        Rows per step. Every row is used at least once per epoch; the last batch is filled with repeated rows.
    learning_rate : float
        The peak learning rate.
    learning_rate_schedule : Schedule
        The factor on the learning rate as a function of time.
    optimizer : Optimizer
    patience : int or None
        Stop after this many epochs without an improvement of the best validation loss. None: never.
    seed : int
    keep_start : bool
        Whether the initial weights are validated as well, and returned if no epoch is better.
    frozen : tuple of str
        The fields of `core.weights.Weights` that are not trained.
    """

    max_epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: Schedule = Cosine()
    optimizer: AnyOptimizer = Adam()
    patience: int | None = None
    seed: int = 0
    keep_start: bool = False
    frozen: tuple[str, ...] = ()


# -- results ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainResult:
    """The result of a training: the model of the best epoch, and the learning curves."""

    model: Model
    history: dict[str, list[float]]
    """One number per epoch for each name. Names of validation metrics start with ``validation_``."""
    best_epoch: int
    """Number of the best epoch, from 1; without validation rows, of the last epoch. 0: the initial weights."""

    @cached_property
    def n_epochs(self) -> int:
        """Number of epochs run."""
        return len(self.history.get("loss", ()))


@dataclass(frozen=True)
class TrainState:
    """The state of a training: everything that changes, and everything needed to resume with the same bits."""

    carry: PyTree
    """A pytree of arrays: weights, optimizer state, number of steps, best weights so far."""
    epoch: int = 1
    """Number of the current epoch, from 1."""
    chunk: int = 0
    """Number of chunks done in the current epoch."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sums of the training terms over the steps of these chunks."""
    history: dict[str, list[float]] = field(default_factory=dict)
    stopped: bool = False
    """Whether training stopped early: the patience was exhausted, or a callback stopped it."""


class CheckpointSink(Protocol):
    """A store of states, from which an interrupted training resumes."""

    def load(self, like: PyTree) -> TrainState | None:
        """Return the last saved state, with a carry of the same tree as ``like``; None if there is none."""

    def maybe_save(self, state: TrainState) -> None:
        """Save the state if the last saved state is old enough."""

    def save(self, state: TrainState) -> None:
        """Save the state."""


OnEpoch = Callable[[int, dict[str, float]], object]
"""A function of the number and the record of an epoch. If it returns True, training stops after this epoch."""
OnModel = Callable[[int, dict[str, float], TrainResult], object]
"""The same, with the model and the learning curves after this epoch."""


class Interrupted(KeyboardInterrupt):
    """A training was interrupted after at least one epoch; ``trained`` is its result so far."""

    def __init__(self, trained: TrainResult) -> None:
        super().__init__()
        self.trained = trained


# -- the loop ---------------------------------------------------------------------------------------------------------


@jax_config.standard()
def train(
    model: Model,
    training: Source,
    plan: TrainConfig,
    validation: ArraySource | None = None,
    on_epoch: OnEpoch | None = None,
    keeper: CheckpointSink | None = None,
    on_chunk: Callable[[float], None] | None = None,
    on_model: OnModel | None = None,
) -> TrainResult:
    """Train a model on ``training``; return the weights with the lowest loss on ``validation``.

    The validation loss is the objective at the final value of β, with the same noise in every epoch. Epochs before the
    end of β's warm-up are not candidates for the best epoch. Without validation rows the last epoch is the best.

    ``on_epoch`` is called with the number and the record of each epoch, ``on_model`` with the model after it as well;
    the program then runs one epoch per call. Either of them stops the training after an epoch by returning True: the
    result is that of this epoch, even if more epochs ran in the same call. ``on_chunk`` is called within an epoch of
    many chunks with the number of epochs done, as a fraction.

    With a ``keeper``, training resumes from its latest state, passes each new state to `CheckpointSink.maybe_save`, and
    saves the last state when training ends or is interrupted.

    Raises
    ------
    TrainingDiverged
        If the loss is not finite.
    Interrupted
        If Ctrl-C, or any `KeyboardInterrupt`, interrupts the training after its first epoch.
    """
    run = Trainer(model, training, plan, validation, one_by_one=on_model is not None)
    if keeper is not None:
        run.resume(keeper.load(run.state.carry))
    last_finite = run.state
    try:
        while run.keep_training:
            before, last = run.state, 0
            for epoch, record in run.run_epochs():
                if (on_epoch is not None and _is_true(on_epoch(epoch, record))) or (
                    on_model is not None and _is_true(on_model(epoch, record, run.so_far()))
                ):
                    last = epoch
                    break
            if last := run.placement.broadcast_scalar(last):
                run.stop(before, last)
            if on_chunk is not None and run.state.chunk:
                on_chunk(run.epochs_done)
            if keeper is not None:
                last_finite = run.state if run.is_sound else last_finite
                keeper.maybe_save(last_finite)
        return run.outcome()
    except KeyboardInterrupt:
        if run.state.epoch == 1 or not run.is_sound:
            raise
        raise Interrupted(run.outcome()) from None
    finally:
        if keeper is not None:
            keeper.save(run.state if run.is_sound else last_finite)


def _is_true(answer: object) -> bool:
    """Return whether a callback returned True, and not any other value, which may be that of its last expression."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


class Trainer:
    """A training in progress: its state, and everything that does not change.

    With ``one_by_one`` a call of the program runs one epoch.
    """

    def __init__(
        self,
        model: Model,
        training: Source,
        plan: TrainConfig,
        validation: ArraySource | None,
        *,
        one_by_one: bool = False,
    ) -> None:
        self.training, self.plan, self._one_by_one = training, plan, one_by_one
        arrays, fixed, skeleton = model.weights.trainable(packed=plan.optimizer.elementwise, frozen=plan.frozen)
        self.batch, self.placement = _batch(training.n_rows, plan), current()
        self.placement.require_batches(self.batch)
        self.held_out = self.placement.replicate(None if validation is None else next(validation.chunks()))
        self._moved: tuple[Any, Any] = (None, None)
        self.n_steps = self._steps_in(1)
        n_weights = sum(np.size(leaf) for leaf in jax.tree.leaves(arrays))
        self.is_short = is_short(n_weights, self.batch, plan.max_epochs * sum(self.n_steps))
        clock = StepCounters(
            steps_per_epoch=np.float32(sum(self.n_steps)),
            n_epochs=np.float32(plan.max_epochs),
            learning_rate=np.float32(plan.learning_rate),
            warmup_end=np.float32(_comparable_after(model.recipe, plan.max_epochs)),
            patience=np.float32(np.inf if plan.patience is None else plan.patience),
            final_beta=final_beta(model.recipe, plan),
            n_rows=np.float32(training.n_rows),
        )
        noise = RngStreams(stream(plan.seed, _TRAINING_NOISE), stream(plan.seed, _VALIDATION_NOISE))
        self.setup = TrainSpec(model.recipe, plan.optimizer, plan.learning_rate_schedule, clock, noise, fixed, skeleton)
        best = None if validation is None else BestParams(arrays, np.float32(np.inf), np.int32(0))
        self.state = TrainState(Carry(arrays, plan.optimizer.start(arrays), np.int32(0), best))
        self.wanted = 1
        self.failure: TrainingDiverged | None = None
        self._chunks: Iterator[Chunk] | None = None

    def _steps_in(self, epoch: int) -> list[int]:
        """Return the number of steps for each chunk of an epoch."""
        return [-(-n // self.batch) for n in self.training.chunk_sizes(epoch)]

    @property
    def epochs_done(self) -> float:
        return self.state.epoch - 1 + self.state.chunk / len(self.n_steps)

    @property
    def keep_training(self) -> bool:
        return self.state.epoch <= self.plan.max_epochs and not self.state.stopped and self.failure is None

    @property
    def is_sound(self) -> bool:
        """Whether all weights are finite. A step with a finite loss may still produce weights that are not."""
        return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(self.state.carry.arrays))

    def likeness(self) -> PyTree:
        """Return a key that is equal for trainings that one program can run together; None if there is none."""
        if len(self.n_steps) != 1 or self.placement.n_devices > 1:
            return None
        arguments = (self.state.carry, self.setup, self.way(), self.held_out)
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
        return tree, shapes, *self.n_steps, self.plan.max_epochs, self.batch, self.plan.keep_start

    def resume(self, state: TrainState | None) -> None:
        """Resume from ``state``, if it is not None."""
        self.state = state or self.state

    def run_epochs(self) -> list[tuple[int, dict[str, float]]]:
        """Call the program once; return number and record of each epoch that the call has closed.

        Raises
        ------
        TrainingDiverged
            If a loss is not finite. The state then remains that before the call.
        """
        started = time.perf_counter()
        way, place = self.way(), self.placement
        rows, orders, weights = self._placed(way.rows), place.shard_batch(way.orders), place.replicate(way.weights)
        on_devices = way._replace(rows=rows, orders=orders, weights=weights)
        carry, *reports = self._run(place.replicate(self.state.carry), on_devices)
        try:
            records = self.advance(carry, way, *jax.device_get(reports))
        except TrainingDiverged as error:
            error.sigma = self._sigma_before(on_devices, error)
            raise
        wanted = 1 if self._one_by_one else epochs_within(time.perf_counter() - started, len(records))
        self.wanted = self.placement.broadcast_scalar(wanted)
        return records

    def stop(self, before: TrainState, epoch: int) -> None:
        """End the training after an epoch; if later epochs are done, run those from ``before`` to this epoch again."""
        if epoch < self.state.epoch - 1:
            self.state, self.wanted = before, epoch - before.epoch + 1
            self.run_epochs()
        self.state = replace(self.state, stopped=True)

    def _sigma_before(self, way: EpochInputs, error: TrainingDiverged) -> np.ndarray | None:
        """Return the likelihood's σ before the step that diverged, by running the same steps again up to it."""
        if error.step is None:
            return None
        n_steps, n_before = int(way.n_steps), (error.epoch or self.state.epoch) - self.state.epoch
        steps_before = n_before * n_steps + error.step - 1
        sigma = None
        for done in range(steps_before, max(-1, steps_before - 2), -1):
            # The step before produced weights that are not finite if its loss was finite and its gradient was not.
            sigma = smallest_sigma(
                self.setup.model(self._arrays_after(way, *divmod(done, n_steps))), way.rows[:_N_INSPECTED]
            )
            if sigma is None or np.isfinite(sigma).all():
                break
        return sigma

    def _arrays_after(self, way: EpochInputs, n_epochs: int, n_steps: int) -> PyTree:
        """Return the weights after ``n_epochs`` epochs of a call and ``n_steps`` steps of the next epoch."""
        carry = self.placement.replicate(self.state.carry)
        if n_epochs:
            carry, *_ = self._run(carry, way._replace(n_epochs=np.int32(n_epochs)))
        rest = way._replace(
            orders=jnp.roll(way.orders, -n_epochs, axis=0),
            n_steps=np.int32(n_steps),
            first_epoch=np.int32(self.state.epoch + n_epochs),
            n_epochs=np.int32(1),
            closes_epoch=np.bool_(False),
            judges_start=np.bool_(False),
        )
        return self._run(carry, rest)[0].arrays

    def _run(self, carry: PyTree, way: EpochInputs) -> PyTree:
        return run_epochs(carry, self.setup, way, self.held_out, short=self.is_short)

    def _placed(self, rows: PyTree) -> PyTree:
        """Return a chunk's rows on their devices. Rows that stay the same from call to call are moved once."""
        if rows is not self._moved[0]:
            move = self.placement.gathered if isinstance(rows, np.ndarray) else self.placement.replicate
            self._moved = rows, move(rows)
        return self._moved[1]

    def way(self) -> EpochInputs:
        """Return the next chunk with its number of epochs: 1, or for an only chunk as many as take half a second."""
        epoch, chunk = self.state.epoch, self.state.chunk
        if self._chunks is None:
            self._chunks, self.n_steps = self.training.chunks(epoch, chunk), self._steps_in(epoch)
        current_chunk = next(self._chunks)
        wanted = min(self.wanted, self.plan.max_epochs - epoch + 1) if len(self.n_steps) == 1 else 1
        orders = _orders(self.plan.seed, epoch, chunk, current_chunk, self.batch, wanted)
        closes = chunk == len(self.n_steps) - 1
        if closes:
            self._chunks = None
        return EpochInputs(
            rows=current_chunk.rows,
            orders=orders,
            n_steps=np.int32(self.n_steps[chunk]),
            first_epoch=np.int32(epoch),
            n_epochs=np.int32(min(wanted, len(orders))),
            closes_epoch=np.bool_(closes),
            judges_start=np.bool_(self.plan.keep_start and epoch == 1 and chunk == 0),
            weights=current_chunk.weights,
        )

    def advance(
        self, carry: PyTree, way: EpochInputs, sums: Metrics, means: Metrics | None, n_run: Any
    ) -> list[tuple[int, dict[str, float]]]:
        """Update the state with the results of one call of the program."""
        before, records = self.state, []
        history = {name: list(values) for name, values in before.history.items()}
        totals: dict[str, float] = before.sums
        for i in range(int(n_run)):
            totals = {name: totals.get(name, 0.0) + float(sums[name][i]) for name in sums.names}
            if not np.isfinite(totals["loss"]):
                self.failure = diverged(before.epoch + i, totals["loss"], self.plan, *first_not_finite(sums, i, way))
                raise self.failure
            if way.closes_epoch:
                record = _record(totals, means, i, sum(self.n_steps))
                records.append((before.epoch + i, record))
                totals = {}
                for name, value in record.items():
                    history.setdefault(name, []).append(value)
        self.state = TrainState(
            carry=carry,
            epoch=before.epoch + len(records),
            chunk=0 if way.closes_epoch else before.chunk + 1,
            sums=totals,
            history=history,
            stopped=bool(n_run < way.n_epochs),
        )
        return records

    def so_far(self) -> TrainResult:
        """Return the model and the learning curves after the last epoch."""
        arrays = jax.device_get(self.state.carry.arrays)
        model = jax.tree.map(_on_device, self.setup.model(arrays))
        return TrainResult(model, self.state.history, self.state.epoch - 1)

    def outcome(self) -> TrainResult:
        """Return the result: the weights of the best epoch by validation, else of the last epoch, and the curves."""
        carry, history = self.state.carry, self.state.history
        last_epoch = self.state.epoch - 1
        chosen = carry.best is not None and bool(np.isfinite(carry.best.value))
        arrays = jax.device_get(carry.best.arrays if chosen else carry.arrays)
        if carry.best and not chosen and 0 < last_epoch == self.plan.max_epochs:
            warnings.warn(
                f"β reaches its final value after epoch {self.setup.clock.warmup_end:g}, but training ended in epoch "
                f"{last_epoch}, so the weights of the last epoch are used. Raise max_epochs or shorten the warm-up.",
                stacklevel=5,
            )
        if not chosen and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(arrays)):
            raise diverged(last_epoch, np.nan, self.plan)  # in the last step, after the last loss
        return TrainResult(
            jax.tree.map(_on_device, self.setup.model(arrays)), history, int(carry.best.epoch) if chosen else last_epoch
        )


def _on_device(leaf: PyTree) -> PyTree:
    return jax.device_put(leaf) if isinstance(leaf, np.ndarray) else leaf


def final_beta(recipe: Recipe, plan: TrainConfig) -> np.float32:
    """Return the value of β at the end of its schedule, which validation uses."""
    return np.float32(recipe.objective.kl_schedule(float(plan.max_epochs), plan.max_epochs))


def _comparable_after(recipe: Recipe, n_epochs: int) -> float:
    """Return the epoch after which losses are comparable: β no longer rises, and penalties have found their weights."""
    of_penalties = max((penalty.settles_after for penalty in recipe.penalties), default=0.0)
    return max(recipe.objective.kl_schedule.warmup_end(n_epochs), np.floor(of_penalties * n_epochs))


def _batch(n_rows: int, plan: TrainConfig) -> int:
    return min(plan.batch_size, 1 << (n_rows - 1).bit_length())


def _orders(seed: int, epoch: int, chunk: int, here: Chunk, batch: int, n_epochs: int) -> np.ndarray:
    """Return the orders of a chunk's rows for ``n_epochs`` epochs from ``epoch`` on; the padded size sets the shape."""
    room = max(here.rows.shape[0], bucket_size(here.n_rows))  # for a share of a chunk, the room of the whole chunk
    n_steps = bucket_size(-(-room // batch))
    capacity = int(np.clip(_STRETCH_CELLS // (n_steps * batch), 1, _STRETCH_EPOCHS))
    orders = np.zeros((capacity, n_steps, batch), np.int32)
    for i in range(min(n_epochs, len(orders))):
        orders[i] = _order(seed, epoch + i, chunk, here.n_rows, orders.shape[1:])
    return orders


def _order(seed: int, epoch: int, chunk: int, n_rows: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return a random order of the rows in batches; the last batch and the padding repeat the order from its start."""
    shuffled = np.random.default_rng([seed, 1, epoch, chunk]).permutation(n_rows).astype(np.int32)
    return np.resize(shuffled, shape)


def _record(totals: dict[str, float], means: Metrics | None, i: int, n_steps: int) -> dict[str, float]:
    """Return the means of epoch i over its steps and over the validation rows."""
    record = {name: total / n_steps for name, total in totals.items()}
    if means is not None:
        record |= {f"validation_{name}": float(means[name][i]) for name in means.names}
    return record


def epochs_within(seconds: float, n_run: int) -> int:
    """Return the number of epochs for the next call, if ``n_run`` epochs took ``seconds``. It affects no result."""
    return max(1, int(_STRETCH_SECONDS * n_run / max(seconds, 1e-6)))
