"""Simultaneous training of many models: one `vmap` of the compiled program for trainings of equal shapes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from .. import jax_config
from ..core.model import Model
from ..errors import TrainingDiverged
from .batches import ArraySource, Source
from .compiled import run_epochs_vmapped
from .trainer import TrainConfig, Trainer, TrainResult, epochs_within

__all__ = ["Results", "train_many"]

T = TypeVar("T")

_TOGETHER_BYTES = 1 << 20  # state of the trainings that one program runs together: fits in the cache of a core
_ALONE_PRODUCTS = 1 << 20  # weights times rows of a step, from which matrix products dominate the time


class Results(NamedTuple):
    """The results of trainings that ran together, in their order."""

    trained: list[TrainResult | TrainingDiverged | None]
    """A result, the error of a training that diverged, or None if it was interrupted before its first epoch ended."""
    interrupted: bool
    """Whether Ctrl-C, or any `KeyboardInterrupt`, ended the trainings."""


@jax_config.standard()
def train_many(
    jobs: Sequence[tuple[Model, Source, TrainConfig, ArraySource | None]],
    on_share: Callable[[float], None] | None = None,
) -> Results:
    """Train many models at once; each result is the same as when the model is trained alone.

    Trainings with equal programs and shapes run in one mapped program. On a CPU, a group is as large as the cache of a
    core allows, and each core runs one group. The other trainings run one after the other. A training that diverges
    does not affect the others.

    Parameters
    ----------
    jobs : sequence of (model, training, plan, validation)
        As for `train`.
    on_share : function or None
        Called repeatedly, from any thread, with the fraction of all epochs that are done.
    """
    runs = [Trainer(*job) for job in jobs]
    groups: dict[Hashable, list[Trainer]] = {}
    for number, run in enumerate(runs):
        if not run.keep_training:
            continue
        groups.setdefault(run.likeness() or number, []).append(run)
    interrupted = False
    for n_workers, shards in _by_workers(list(groups.values())):
        try:
            _finish(shards, n_workers, partial(_tell, runs, on_share))
        except KeyboardInterrupt:
            interrupted = True
        for shard in (one for some in shards for one in some):
            if isinstance(shard, VmappedTrainer):
                shard.end()
        if interrupted:
            break
    return Results([_result(run) for run in runs], interrupted)


def _by_workers(groups: Sequence[list[Trainer]]) -> list[tuple[int, list[list[Trainer | VmappedTrainer]]]]:
    """Return the shards of each group, one program for each group, by the number of programs that run at a time."""
    found: dict[int, list[list[Trainer | VmappedTrainer]]] = {}
    for group in groups:
        n, n_workers = plan_groups(group)
        together = (VmappedTrainer(group[i : i + n], n) for i in range(0, len(group), n))
        found.setdefault(n_workers, []).append(list(group) if n == 1 else list(together))
    return list(found.items())


def _result(run: Trainer) -> TrainResult | TrainingDiverged | None:
    if run.failure is not None:
        return run.failure
    if run.keep_training and (run.state.epoch == 1 or not run.is_sound):
        return None
    try:
        return run.outcome()
    except TrainingDiverged as error:
        return error


def _tell(runs: Sequence[Trainer], on_share: Callable[[float], None] | None) -> None:
    """Report the fraction of epochs done. Epochs that an early stop skips count as done."""
    if on_share is not None:
        done = sum(run.epochs_done if run.keep_training else run.plan.max_epochs for run in runs)
        on_share(done / max(1, sum(run.plan.max_epochs for run in runs)))


def plan_groups(group: Sequence[Trainer]) -> tuple[int, int]:
    """Return the number of trainings per program, and the number of programs that run at the same time."""
    n_cores, one = jax_config.n_cores(), group[0]
    if n_cores is None:
        return len(group), 1
    most = _TOGETHER_BYTES // sum(leaf.nbytes for leaf in jax.tree.leaves(one.state.carry))
    if most < 2:  # a training that needs the cache of a core for itself, or more
        return 1, n_cores if most else 1
    if one.batch * sum(leaf.size for leaf in jax.tree.leaves(one.state.carry.arrays)) >= _ALONE_PRODUCTS:
        return 1, n_cores
    rounds = -(-len(group) // (n_cores * most))
    return -(-len(group) // (n_cores * rounds)), n_cores


def _finish(groups: Sequence[Sequence[Trainer | VmappedTrainer]], n_workers: int, tell: Callable[[], None]) -> None:
    """Run all groups. The first call of each compiles its program; then each worker runs one shard after another.

    All calls are made by the workers, which Ctrl-C does not interrupt: each ends its call, so that states are whole.
    """
    stop = threading.Event()

    @jax_config.standard()  # JAX's settings are per thread
    def one_call(shard: Trainer | VmappedTrainer) -> None:
        if not stop.is_set():
            with suppress(TrainingDiverged):  # the trainer keeps the error
                shard.run_epochs()

    def work(shard: Trainer | VmappedTrainer) -> None:
        while shard.keep_training and not stop.is_set():
            one_call(shard)
            tell()

    with ThreadPoolExecutor(n_workers) as pool:
        try:
            list(pool.map(one_call, (shards[0] for shards in groups)))
            list(pool.map(work, (shard for shards in groups for shard in shards)))
        finally:
            stop.set()


class VmappedTrainer:
    """Trainings in progress with the same program, which is mapped over all of them.

    The group is padded to ``room`` trainings by repeating the last one, so that groups of similar size share a program.
    """

    def __init__(self, runs: Sequence[Trainer], room: int) -> None:
        self._runs, self._room = runs, room
        self._is_short = all(run.is_short for run in runs)
        ways = [run.way() for run in runs]
        self._rows, self._rows_axis = _shared_or_stacked(self._filled([way.rows for way in ways]))
        self._held_out, self._held_out_axis = _shared_or_stacked(self._filled([run.held_out for run in runs]))
        self._setup = _stacked(self._filled([run.setup for run in runs]))
        self._carry = _stacked(self._filled([run.state.carry for run in runs]))

    def _filled(self, values: list[T]) -> list[T]:
        return values + values[-1:] * (self._room - len(values))

    @property
    def keep_training(self) -> bool:
        return any(run.keep_training for run in self._runs)

    def run_epochs(self) -> None:
        """Call the program once, for all trainings that continue."""
        started = time.perf_counter()
        running = [i for i, run in enumerate(self._runs) if run.keep_training]
        wanted = max(self._runs[i].wanted for i in running)
        for i in running:
            self._runs[i].wanted = wanted
        ways = {i: self._runs[i].way() for i in running}
        lead = ways[running[0]]  # those that are running are all at the same epoch
        n_epochs = np.zeros(self._room, np.int32)  # 0 for the padding, and for trainings that have ended
        orders = np.zeros((self._room, *lead.orders.shape), np.int32)
        for i, way in ways.items():
            n_epochs[i], orders[i] = way.n_epochs, way.orders
        way = lead._replace(rows=self._rows, orders=orders, n_epochs=n_epochs)
        self._carry, *reports = run_epochs_vmapped(
            self._carry, self._setup, way, self._held_out, (self._rows_axis, self._held_out_axis), short=self._is_short
        )
        reports = jax.device_get(reports)
        for i in running:
            with suppress(TrainingDiverged):  # the trainer keeps the error, and the others continue
                self._runs[i].advance(_Place(self._carry, i), ways[i], *_member(reports, i))
            if not self._runs[i].keep_training:
                self._fetch(self._runs[i])
        took = time.perf_counter() - started
        for i in running:
            self._runs[i].wanted = epochs_within(took, int(n_epochs.max()))

    def end(self) -> None:
        """Give each training its own carry."""
        for run in self._runs:
            self._fetch(run)

    def _fetch(self, run: Trainer) -> None:
        if isinstance(place := run.state.carry, _Place):
            run.state = replace(run.state, carry=jax.device_get(_member(place.carries, place.number)))


class _Place(NamedTuple):
    """The carry of one training among those of a group."""

    carries: PyTree
    number: int


def _member(many: PyTree, i: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], many)


def _stacked(values: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: np.stack(jax.device_get(leaves)), *values)


def _shared_or_stacked(values: Sequence[PyTree]) -> tuple[PyTree, int | None]:
    """Return the value and None if all values are the same; else the stacked values and their axis, 0."""
    if all(value is values[0] for value in values):
        return values[0], None
    return jax.device_put(_stacked(values)), 0
