"""The compiled loop: chunks of rows in, weights and learning curves out. It knows no variant by name.

There is one program, a *stretch* (see `engine.compiled`): some epochs over one chunk of rows. Metrics leave the device
once per stretch. Rows in memory are one chunk, and a stretch is as many epochs as take half a second; a source of many
chunks makes stretches of one pass each, the last of which closes the epoch.

All that happens is a function of (seed, epoch, chunk, step), never of a hidden generator or the clock:

- the order of rows: `default_rng([seed, 1, epoch, chunk])` on the host, an argument of the program;
- noise: the key (stream of the seed, step) inside the program, step counted over the whole training.

So a training under way is one small value, a `State`, and a run that starts from it goes on to the bit.

Shapes are few: rows are padded to a coarse grid of sizes and counts are arguments, so data sets of nearby sizes share a
program. Numbers of the recipe, the optimiser and the schedules are arguments as well. Small weights lie in one vector
while they are trained, which makes the optimiser one kernel in place of one for each array.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .. import jax_config
from ..core.model import Model, Recipe
from ..core.optimizers import Adam, Optimizer
from ..core.schedules import Cosine, Schedule
from ..errors import TrainingDiverged
from .batches import ArraySource, Chunk, Source, bucket_size
from .compiled import BestParams, Carry, EpochInputs, Metrics, RngStreams, StepCounters, TrainSpec, run_epochs
from .prng import stream
from .sharding import current

__all__ = [
    "CheckpointSink",
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
_TRAINING_NOISE, _JUDGING_NOISE = 3, 4
_LOOKED_AT = 128


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to train.

    Parameters
    ----------
    max_epochs : int
        Passes over the training rows; 0 for none.
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
    keep_start : bool
        Whether the weights that training begins with are judged on the held-out rows as well, and kept if no epoch is
        better.
    """

    max_epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: Schedule = Cosine()
    optimizer: Optimizer = Adam()
    patience: int | None = None
    seed: int = 0
    keep_start: bool = False


# -- what goes out ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainResult:
    """The outcome: the best epoch's model, and the curves."""

    model: Model
    history: dict[str, list[float]]
    """One number per epoch under each name; held-out figures are named ``validation_…``."""
    best_epoch: int
    """Counted from 1; the last one where there are no held-out rows; 0: none was run, or none better than the start."""

    @cached_property
    def n_epochs(self) -> int:
        """How many epochs were run."""
        return len(self.history.get("loss", ()))


@dataclass(frozen=True)
class TrainState:
    """A training under way: all that changes in it, and all that it takes to go on to the same bits."""

    carry: Any
    """A pytree of arrays: weights, the optimiser's memory, the number of steps, the best weights so far."""
    epoch: int = 1
    """The epoch under way, counted from 1,"""
    chunk: int = 0
    """how many of its chunks are done,"""
    sums: dict[str, float] = field(default_factory=dict)
    """and the sums of their training terms over steps."""
    history: dict[str, list[float]] = field(default_factory=dict)
    stopped: bool = False
    """Whether patience has run out."""


class CheckpointSink(Protocol):
    """Where states are kept, so that a training that was stopped can go on."""

    def load(self, like: Any) -> TrainState | None:
        """The last state that was kept, its carry a pytree like this one; None if there is none."""

    def maybe_save(self, state: TrainState) -> None:
        """Keep this state, if it is time to."""

    def save(self, state: TrainState) -> None:
        """Keep this state."""


OnEpoch = Callable[[int, dict[str, float]], None]


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
) -> TrainResult:
    """Make the formula's loss small on ``training``; keep the weights that are best on ``validation``.

    Held-out rows are judged by the objective at β's final value, corrupted by the same noise in every epoch, and only
    from the epoch on at which β's schedule has settled. Without held-out rows the last epoch is the best.

    ``on_epoch`` is told each epoch's number and record; ``on_chunk``, in the midst of an epoch of many chunks, how many
    epochs are done.

    With a keeper, training goes on from the latest state that it has, offers it each new one, and hands it the last one
    whatever ends the training, an interruption included.

    Raises
    ------
    TrainingDiverged
        If the loss is no longer finite.
    """
    run = Trainer(model, training, plan, validation)
    if keeper is not None:
        run.resume(keeper.load(run.state.carry))
    good = run.state
    try:
        while run.keep_training:
            for epoch, record in run.run_epochs():
                if on_epoch is not None:
                    on_epoch(epoch, record)
            if on_chunk is not None and run.state.chunk:
                on_chunk(run.epochs_done)
            if keeper is not None:
                good = run.state if run.is_sound else good
                keeper.maybe_save(good)
        return run.outcome()
    finally:
        if keeper is not None:
            keeper.save(run.state if run.is_sound else good)


class Trainer:
    """A training under way: its state, and everything that does not change."""

    def __init__(self, model: Model, training: Source, plan: TrainConfig, validation: ArraySource | None) -> None:
        self.training, self.plan = training, plan
        arrays, fixed, skeleton = model.weights.trainable(packed=plan.optimizer.elementwise)
        self.batch, self.placement = _batch(training.n_rows, plan), current()
        self.placement.require_batches(self.batch)
        self.held_out = self.placement.replicate(None if validation is None else next(validation.chunks()))
        self._moved: tuple[Any, Any] = (None, None)
        self.n_steps = self._steps_in(1)
        clock = StepCounters(
            steps_per_epoch=np.float32(sum(self.n_steps)),
            n_epochs=np.float32(plan.max_epochs),
            learning_rate=np.float32(plan.learning_rate),
            warmup_end=np.float32(_settled_after(model.recipe, plan.max_epochs)),
            patience=np.float32(np.inf if plan.patience is None else plan.patience),
            final_beta=final_beta(model.recipe, plan),
        )
        noise = RngStreams(stream(plan.seed, _TRAINING_NOISE), stream(plan.seed, _JUDGING_NOISE))
        self.setup = TrainSpec(model.recipe, plan.optimizer, plan.learning_rate_schedule, clock, noise, fixed, skeleton)
        best = None if validation is None else BestParams(arrays, np.float32(np.inf), np.int32(0))
        self.state = TrainState(Carry(arrays, plan.optimizer.start(arrays), np.int32(0), best))
        self.wanted = 1
        self._chunks: Iterator[Chunk] | None = None

    def _steps_in(self, epoch: int) -> list[int]:
        """The number of steps for each chunk of an epoch."""
        return [-(-n // self.batch) for n in self.training.chunk_sizes(epoch)]

    @property
    def epochs_done(self) -> float:
        return self.state.epoch - 1 + self.state.chunk / len(self.n_steps)

    @property
    def keep_training(self) -> bool:
        return self.state.epoch <= self.plan.max_epochs and not self.state.stopped

    @property
    def is_sound(self) -> bool:
        """Whether the weights are numbers: those of a step whose loss was the last one to be are not."""
        return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(self.state.carry.arrays))

    def likeness(self) -> Any:
        """What is equal for trainings that one program can do together; None if it cannot."""
        if len(self.n_steps) != 1 or self.placement.n_devices > 1:
            return None
        arguments = (self.state.carry, self.setup, self.way()._replace(rows=None), self.held_out)
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
        chunk = self.training.chunk_sizes()
        return tree, shapes, chunk, self.plan.max_epochs, self.batch

    def resume(self, state: TrainState | None) -> None:
        """Go on from there, if there is such a state."""
        self.state = state or self.state

    def run_epochs(self) -> list[tuple[int, dict[str, float]]]:
        """One call of the program; the epochs that it has closed, with a record of each.

        Raises
        ------
        TrainingDiverged
            If a loss is not finite; the state stays the one before.
        """
        started = time.perf_counter()
        way, place = self.way(), self.placement
        there = way._replace(rows=self._placed(way.rows), orders=place.shard_batch(way.orders))
        carry, *reports = run_epochs(place.replicate(self.state.carry), self.setup, there, self.held_out)
        try:
            records = self.advance(carry, way, *jax.device_get(reports))
        except TrainingDiverged as error:
            error.sigma = self._sigma_before(there, error)
            raise
        self.wanted = epochs_within(time.perf_counter() - started, len(records))
        return records

    def _sigma_before(self, way: EpochInputs, error: TrainingDiverged) -> np.ndarray | None:
        """The likelihood's σ just before a step: the same steps are run again, up to there."""
        if error.step is None:
            return None
        n_steps, n_before = int(way.n_steps), (error.epoch or self.state.epoch) - self.state.epoch
        steps_before = n_before * n_steps + error.step - 1
        sigma = None
        for done in range(steps_before, max(-1, steps_before - 2), -1):
            # The step before has left weights that are not finite, if its loss was finite and its gradient not.
            sigma = _sigma(self.setup.model(self._arrays_after(way, *divmod(done, n_steps))), way.rows[:_LOOKED_AT])
            if sigma is None or np.isfinite(sigma).all():
                break
        return sigma

    def _arrays_after(self, way: EpochInputs, n_epochs: int, n_steps: int) -> Any:
        """The weights after so many epochs of a stretch, and steps of the next one."""
        carry = self.placement.replicate(self.state.carry)
        if n_epochs:
            carry, *_ = run_epochs(carry, self.setup, way._replace(n_epochs=np.int32(n_epochs)), self.held_out)
        rest = way._replace(
            orders=jnp.roll(way.orders, -n_epochs, axis=0),
            n_steps=np.int32(n_steps),
            first_epoch=np.int32(self.state.epoch + n_epochs),
            n_epochs=np.int32(1),
            closes_epoch=np.bool_(False),
            judges_start=np.bool_(False),
        )
        return run_epochs(carry, self.setup, rest, self.held_out)[0].arrays

    def _placed(self, rows: Any) -> Any:
        """A chunk's rows where they are needed; those that stay from call to call are moved once."""
        if rows is not self._moved[0]:
            move = self.placement.gathered if isinstance(rows, np.ndarray) else self.placement.replicate
            self._moved = rows, move(rows)
        return self._moved[1]

    def way(self) -> EpochInputs:
        """The next chunk, and how many epochs to spend on it: one, or as many as take half a second of the only one."""
        epoch, chunk = self.state.epoch, self.state.chunk
        if self._chunks is None:
            self._chunks, self.n_steps = self.training.chunks(epoch, chunk), self._steps_in(epoch)
        here = next(self._chunks)
        wanted = min(self.wanted, self.plan.max_epochs - epoch + 1) if len(self.n_steps) == 1 else 1
        orders = _orders(self.plan.seed, epoch, chunk, here, self.batch, wanted)
        closes = chunk == len(self.n_steps) - 1
        if closes:
            self._chunks = None
        return EpochInputs(
            rows=here.rows,
            orders=orders,
            n_steps=np.int32(self.n_steps[chunk]),
            first_epoch=np.int32(epoch),
            n_epochs=np.int32(min(wanted, len(orders))),
            closes_epoch=np.bool_(closes),
            judges_start=np.bool_(self.plan.keep_start and epoch == 1 and chunk == 0),
        )

    def advance(
        self, carry: Any, way: EpochInputs, sums: Metrics, means: Metrics | None, n_run: Any
    ) -> list[tuple[int, dict[str, float]]]:
        """Enter what the program has done into the state."""
        before, records = self.state, []
        history = {name: list(values) for name, values in before.history.items()}
        totals: dict[str, float] = before.sums
        for i in range(int(n_run)):
            totals = {name: totals.get(name, 0.0) + float(sums[name][i]) for name in sums.names}
            if not np.isfinite(totals["loss"]):
                raise _diverged(before.epoch + i, totals["loss"], self.plan, *_first_not_finite(sums, i, way))
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

    def outcome(self) -> TrainResult:
        """The weights to keep, those of the best held-out epoch, else of the last, and the curves."""
        carry, history = self.state.carry, self.state.history
        last_epoch = self.state.epoch - 1
        chosen = carry.best is not None and bool(np.isfinite(carry.best.value))
        arrays = jax.device_get(carry.best.arrays if chosen else carry.arrays)
        if carry.best and last_epoch and not chosen:
            warnings.warn(
                f"β reaches its final value after epoch {self.setup.clock.warmup_end:g}, but training ended at "
                f"{last_epoch}: the last epoch's weights are kept. Raise max_epochs or shorten the annealing.",
                stacklevel=5,
            )
        if not chosen and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(arrays)):
            raise _diverged(last_epoch, np.nan, self.plan)  # in its last step, which no loss has seen
        return TrainResult(
            jax.tree.map(_on_device, self.setup.model(arrays)), history, int(carry.best.epoch) if chosen else last_epoch
        )


def _on_device(leaf: Any) -> Any:
    return jax.device_put(leaf) if isinstance(leaf, np.ndarray) else leaf


def final_beta(recipe: Recipe, plan: TrainConfig) -> np.float32:
    """Give β where its schedule ends: held-out rows are judged by it."""
    return np.float32(recipe.objective.kl_schedule(float(plan.max_epochs), plan.max_epochs))


def _settled_after(recipe: Recipe, n_epochs: int) -> float:
    """The epoch after which losses may be compared: β no longer rises, and penalties have found their weights."""
    of_penalties = max((penalty.settles_after for penalty in recipe.penalties), default=0.0)
    return max(recipe.objective.kl_schedule.warmup_end(n_epochs), np.floor(of_penalties * n_epochs))


def _batch(n_rows: int, plan: TrainConfig) -> int:
    return min(plan.batch_size, 1 << (n_rows - 1).bit_length())


def _orders(seed: int, epoch: int, chunk: int, here: Chunk, batch: int, n_epochs: int) -> np.ndarray:
    """The orders of a chunk's rows in ``n_epochs`` epochs from ``epoch`` on, in an array whose size its room sets."""
    room = max(here.rows.shape[0], bucket_size(here.n_rows))  # of a share of a chunk, the whole chunk's
    n_steps = bucket_size(-(-room // batch))
    capacity = int(np.clip(_STRETCH_CELLS // (n_steps * batch), 1, _STRETCH_EPOCHS))
    orders = np.zeros((capacity, n_steps, batch), np.int32)
    for i in range(min(n_epochs, len(orders))):
        orders[i] = _order(seed, epoch + i, chunk, here.n_rows, orders.shape[1:])
    return orders


def _order(seed: int, epoch: int, chunk: int, n_rows: int, shape: tuple[int, ...]) -> np.ndarray:
    """A fresh order of the rows, in batches; the last batch and the padding begin the order again."""
    shuffled = np.random.default_rng([seed, 1, epoch, chunk]).permutation(n_rows).astype(np.int32)
    return np.resize(shuffled, shape)


def _record(totals: dict[str, float], means: Metrics | None, i: int, n_steps: int) -> dict[str, float]:
    """Epoch i's means: over its steps, and over the held-out rows."""
    record = {name: total / n_steps for name, total in totals.items()}
    if means is not None:
        record |= {f"validation_{name}": float(means[name][i]) for name in means.names}
    return record


def epochs_within(seconds: float, n_run: int) -> int:
    """How many epochs the next stretch should have, if ``n_run`` took so long. It changes no result."""
    return max(1, int(_STRETCH_SECONDS * n_run / max(seconds, 1e-6)))


_NO_TERMS = ("loss", "beta", "learning_rate")


def _first_not_finite(sums: Metrics, i: int, way: EpochInputs) -> tuple[int | None, str | None]:
    """The step of a stretch's epoch i, counted from 1, whose loss was the first not to be finite, and its terms."""
    n_finite = {name: int(sums.n_finite(name)[i]) for name in sums.names}
    if n_finite["loss"] >= way.n_steps:  # only the sum with the chunks before is not
        return None, None
    terms = [name for name, n in n_finite.items() if name not in _NO_TERMS and n <= n_finite["loss"]]
    return n_finite["loss"] + 1, ", ".join(terms) or "loss"


def _diverged(
    epoch: int, value: float, plan: TrainConfig, step: int | None = None, term: str | None = None
) -> TrainingDiverged:
    where = "" if step is None else f", step {step}, by its term {term}"
    error = TrainingDiverged(
        f"The loss became {value} in epoch {epoch}{where}. Lower the learning rate (now {plan.learning_rate:g}), "
        "or scale the data to a spread near 1."
    )
    error.epoch, error.step, error.term = epoch, step, term
    return error


def _sigma(model: Model, rows: Any) -> np.ndarray | None:
    """The least σ of each column, or of all, that the likelihood tells these rows with; None, if it has none."""
    density = model.decode(model.code(model.recipe.split_targets(rows)[0]))
    found = [
        leaf for at, leaf in jax.tree_util.tree_leaves_with_path(density) if getattr(at[-1], "name", "") == "scale"
    ]
    return np.concatenate([np.atleast_2d(leaf).min(axis=0) for leaf in found]) if found else None
