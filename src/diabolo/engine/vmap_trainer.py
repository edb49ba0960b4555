"""Simultaneous training of many models: one `vmap` of the compiled program for trainings of equal shapes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from .. import jax_config
from ..core.model import Model
from .batches import ArraySource, Source
from .compiled import run_epochs_vmapped
from .trainer import TrainConfig, Trainer, TrainResult, epochs_within

__all__ = ["train_many"]

_TOGETHER_BYTES = 1 << 20  # state of the trainings that one program runs together: fits in the cache of a core
_ALONE_PRODUCTS = 1 << 20  # weights times rows of a step, from which matrix products dominate the time


@jax_config.standard()
def train_many(
    jobs: Sequence[tuple[Model, Source, TrainConfig, ArraySource | None]],
    on_share: Callable[[float], None] | None = None,
) -> list[TrainResult]:
    """Train many models at once; each result is the same as when the model is trained alone.

    Trainings with equal programs and shapes run in one mapped program. On a CPU, a group is as large as the cache of a
    core allows, and each core runs one group. The other trainings run one after the other.

    Parameters
    ----------
    jobs : sequence of (model, training, plan, validation)
        As for `train`.
    on_share : function or None
        Called repeatedly, from any thread, with the fraction of all epochs that are done.

    Raises
    ------
    TrainingDiverged
        If a loss is not finite.
    """
    runs = [Trainer(*job) for job in jobs]
    groups: dict[Any, list[Trainer]] = {}
    for number, run in enumerate(runs):
        if not run.keep_training:
            continue
        groups.setdefault(run.likeness() or number, []).append(run)
    for group in groups.values():
        n_together, n_workers = plan_groups(group)
        if n_together == 1:
            shards: Sequence[Trainer | VmappedTrainer] = group
        else:
            shards = [VmappedTrainer(group[i : i + n_together], n_together) for i in range(0, len(group), n_together)]
        _finish(shards, n_workers, partial(_tell, runs, on_share))
    return [run.outcome() for run in runs]


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
    if most < 2:
        return 1, 1
    if one.batch * sum(leaf.size for leaf in jax.tree.leaves(one.state.carry.arrays)) >= _ALONE_PRODUCTS:
        return 1, n_cores
    rounds = -(-len(group) // (n_cores * most))
    return -(-len(group) // (n_cores * rounds)), n_cores


def _finish(shards: Sequence[Trainer | VmappedTrainer], n_workers: int, tell: Callable[[], None]) -> None:
    """Run all groups. The first call compiles the program; then each worker runs one group after another."""
    stop = threading.Event()

    @jax_config.standard()  # JAX's settings are per thread
    def work(shard: Trainer | VmappedTrainer) -> None:
        while shard.keep_training and not stop.is_set():
            shard.run_epochs()
            tell()

    shards[0].run_epochs()
    with ThreadPoolExecutor(n_workers) as pool:
        try:
            list(pool.map(work, shards))
        finally:
            stop.set()


class VmappedTrainer:
    """Trainings in progress with the same program, which is mapped over all of them.

    The group is padded to ``room`` trainings by repeating the last one, so that groups of similar size share a program.
    """

    def __init__(self, runs: Sequence[Trainer], room: int) -> None:
        self._runs, self._room = runs, room
        ways = [run.way() for run in runs]
        self._rows, self._rows_axis = _shared_or_stacked(self._filled([way.rows for way in ways]))
        self._held_out, self._held_out_axis = _shared_or_stacked(self._filled([run.held_out for run in runs]))
        self._setup = _stacked(self._filled([run.setup for run in runs]))
        self._carry = _stacked(self._filled([run.state.carry for run in runs]))

    def _filled(self, values: list[Any]) -> list[Any]:
        return values + values[-1:] * (self._room - len(values))

    @property
    def keep_training(self) -> bool:
        return any(run.keep_training for run in self._runs)

    def run_epochs(self) -> None:
        """Call the program once, for all trainings that continue."""
        started, runs = time.perf_counter(), self._runs
        for run in runs:
            run.wanted = max(run.wanted for run in runs)
        ways = [run.way() for run in runs]
        n_epochs = np.zeros(self._room, np.int32)  # 0 for the padding
        n_epochs[: len(runs)] = [way.n_epochs * run.keep_training for way, run in zip(ways, runs, strict=True)]
        orders = np.stack(self._filled([way.orders for way in ways]))
        way = ways[0]._replace(rows=self._rows, orders=orders, n_epochs=n_epochs)
        self._carry, *reports = run_epochs_vmapped(
            self._carry, self._setup, way, self._held_out, (self._rows_axis, self._held_out_axis)
        )
        going = [i for i, run in enumerate(runs) if run.keep_training]
        reports = jax.device_get(reports)
        for i in going:
            runs[i].advance(None, way._replace(n_epochs=n_epochs[i]), *_member(reports, i))
        if done := [i for i in going if not runs[i].keep_training]:
            carries = jax.device_get(self._carry)
            for i in done:
                runs[i].state = replace(runs[i].state, carry=_member(carries, i))
        took, most = time.perf_counter() - started, int(n_epochs.max())
        for run in runs:
            run.wanted = epochs_within(took, most)


def _member(many: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], many)


def _stacked(values: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(jax.device_get(leaves)), *values)


def _shared_or_stacked(values: Sequence[Any]) -> tuple[Any, int | None]:
    """Return the value and None if all values are the same; else the stacked values and their axis, 0."""
    if all(value is values[0] for value in values):
        return values[0], None
    return jax.device_put(_stacked(values)), 0
