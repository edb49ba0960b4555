"""Have a job trained: checkpoints, the start, pre-training, retries, progress.

`training` opens a `Trainer`; `Trainer.train` takes a `TrainingJob`, which is a value, to an `Outcome`, another. On the
way nothing of the estimator that asks is called or changed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import numpy as np

from ..callbacks import Callback
from ..core.component import require_number
from ..core.corruptions import Corruption
from ..core.model import Model
from ..errors import (
    DiaboloError,
    InvalidParameter,
    LossIncreasedWarning,
    NoImprovementWarning,
    OutOfMemory,
    RetriedWarning,
    TrainingDiverged,
    TrainingWarning,
)
from . import closed_form
from .checkpoints import Checkpoints
from .pretraining import History, layerwise
from .progress import EpochBar
from .sharding import current
from .splits import Rows
from .trainer import CheckpointSink, TrainConfig, TrainResult, train

__all__ = [
    "GivenStart",
    "LayerwiseStart",
    "LinearStart",
    "Outcome",
    "RandomStart",
    "Start",
    "Trainer",
    "TrainingJob",
    "begin",
    "in_memory",
    "training",
    "warning_of",
]

_LOWER = 3.0
"""Each retry divides the learning rate by this."""
_NO_ROOM = ("RESOURCE_EXHAUSTED", "Maximum allowed dimension", "array is too big", "Out of memory")
_ENOUGH_STEPS = 1_000
_ROSE = 0.1
"""So much of the first epoch's loss, and one nat at least, is more than chance."""
_NARROW = 1e-5
"""A σ in scaled units, a tenth of the least that `LearnedGaussian` learns unless told otherwise."""
_WILD = 100.0
"""So many times the median column's largest value, and one is suspect."""


class GivenStart(NamedTuple):
    """Start from the job's model as it is."""


class RandomStart(NamedTuple):
    """Start from weights drawn at random."""


class LinearStart(NamedTuple):
    """Start from the best linear model, in closed form."""

    max_epochs: int | None
    """No more epochs than these from there, and none if the start is the optimum; None: as the plan says."""


class LayerwiseStart(NamedTuple):
    """Start from layers that are pre-trained one by one."""

    n_epochs: int
    corruptions: tuple[Corruption, ...]


Start = GivenStart | RandomStart | LinearStart | LayerwiseStart


@dataclass(frozen=True)
class TrainingJob:
    """A training that is ready to begin."""

    model: Model
    rows: Rows
    plan: TrainConfig
    start: Start
    columns: Sequence[Hashable]
    """The name, or number, of the user's column that each number of a row belongs to."""


@dataclass(frozen=True)
class Outcome:
    """A training that has ended."""

    job: TrainingJob
    """What was trained: with the weights and the plan that training began with."""
    trained: TrainResult
    pretraining: tuple[History, ...] = field(default=())
    """The learning curves of each pre-trained layer."""


@contextmanager
def in_memory() -> Iterator[None]:
    """Raise what NumPy and XLA say where there is not room enough as our error."""
    try:
        yield
    except (MemoryError, ValueError, jax.errors.JaxRuntimeError) as error:
        said = str(error)
        if isinstance(error, DiaboloError) or not (isinstance(error, MemoryError) or any(s in said for s in _NO_ROOM)):
            raise
        raise OutOfMemory(
            f"The training does not fit in memory: {said.splitlines()[0]}. Use fewer units, rows in a batch or draws."
        ) from error


@contextmanager
def training(
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    callback: Callback | None = None,
    retries: int = 0,
    verbose: bool = False,
) -> Iterator[Trainer]:
    """Open a trainer; the folder of checkpoints is locked while it works.

    Raises
    ------
    InvalidParameter
        If the callback is no function, or ``checkpoint_every`` is out of range.
    CheckpointError
        As `Checkpoints`.
    OutOfMemory
        If what is done with the trainer does not fit in memory.
    """
    if callback is not None and not callable(callback):
        raise InvalidParameter(f"callback must be a function of an epoch's number and record; got {callback!r}.")
    require_number("checkpoint_every", checkpoint_every, "[0, inf)")
    kept, leads = None, current().is_main_process
    if checkpoint_dir is not None:
        kept = Checkpoints(checkpoint_dir, every=checkpoint_every, resume=resume, writes=leads)
    with in_memory(), kept or nullcontext():
        yield Trainer(kept, callback if leads else None, retries, verbose and leads)


@dataclass(frozen=True)
class Trainer:
    """Trains jobs: where states are kept, who is told, and how often a training may begin anew."""

    checkpoints: Checkpoints | None = None
    callback: Callback | None = None
    retries: int = 0
    verbose: bool = False

    @property
    def kept_seed(self) -> int | None:
        """The seed of the training that is kept, if there is one."""
        identity = None if self.checkpoints is None else self.checkpoints.identity()
        return None if identity is None else int(identity["seed"])

    def train(self, job: TrainingJob, identity: Mapping[str, object]) -> Outcome:
        """Train a job, or go on with what is kept of it.

        Parameters
        ----------
        job : Job
        identity : dict
            What a kept training must have in common with this one.

        Raises
        ------
        TrainingDiverged
            If the loss is no longer finite, after all retries.
        CheckpointError
            If the kept training is another one.
        """
        if self.checkpoints is not None:
            self.checkpoints.identify(dict(identity))
        begun, pretraining = begin(job, self._keeper, self.verbose)
        rows = begun.rows
        with EpochBar(begun.plan.max_epochs, "training", self.verbose) as bar:

            def on_epoch(epoch: int, record: dict[str, float]) -> None:
                bar(epoch, record)
                if self.callback is not None:
                    self.callback(epoch, record)

            for attempt in range(self.retries + 1):
                plan = replace(begun.plan, learning_rate=begun.plan.learning_rate / _LOWER**attempt)
                kept_as = self._keeper("training" if not attempt else f"retry{attempt}")
                try:
                    trained = train(begun.model, rows.training, plan, rows.held_out, on_epoch, kept_as, bar.within)
                    break
                except TrainingDiverged as error:
                    if attempt == self.retries:
                        raise _explained(error, begun) from None
                    lower = plan.learning_rate / _LOWER
                    warnings.warn(
                        f"{error} Beginning anew with learning_rate={lower:.3g}.", RetriedWarning, stacklevel=3
                    )
        return Outcome(begun, trained, tuple(pretraining))

    def _keeper(self, stage: str) -> CheckpointSink | None:
        return None if self.checkpoints is None else self.checkpoints.stage(stage)


def begin(
    job: TrainingJob, keeper: Callable[[str], CheckpointSink | None] = lambda stage: None, verbose: bool = False
) -> tuple[TrainingJob, list[History]]:
    """Bring a job's model to the place where training begins; return the curves of pre-trained layers as well."""
    if isinstance(job.start, LayerwiseStart):
        plan, rows = replace(job.plan, max_epochs=job.start.n_epochs), job.rows
        with EpochBar(plan.max_epochs, "pre-training", verbose) as bar:
            model, histories = layerwise(
                job.model, rows.training, rows.held_out, plan, bar, keeper, job.start.corruptions
            )
        return replace(job, model=model), histories
    if isinstance(job.start, GivenStart):
        return job, []
    if isinstance(job.start, RandomStart):
        return replace(job, model=closed_form.prepared(job.model, job.rows)), []
    found = closed_form.start(job.model, job.rows, job.plan.seed)
    plan = replace(job.plan, keep_start=found.is_linear)
    if found.is_linear and job.start.max_epochs is not None:
        plan = replace(plan, max_epochs=min(plan.max_epochs, 0 if found.is_optimum else job.start.max_epochs))
    return replace(job, model=found.model, plan=plan), []


def _explained(error: TrainingDiverged, job: TrainingJob) -> TrainingDiverged:
    """The same error, with a likely cause in the rows, if there is one."""
    furthest, width = np.maximum(*map(np.abs, job.rows.bounds)), len(job.columns)
    wild = np.flatnonzero(furthest > max(_WILD, _WILD * float(np.median(furthest))))
    worst = int(furthest.argmax())
    if len(wild) and worst < width:
        cause = (
            f"column {job.columns[worst]} goes to {furthest[worst]:.3g} in scaled units, others to "
            f"{np.median(furthest):.3g}. Look for a wrong value there, or scale it."
        )
    elif error.sigma is not None and error.sigma.min() < _NARROW:
        narrow = int(error.sigma.argmin())
        of = f" of column {job.columns[narrow]}" if len(error.sigma) == width else ""
        cause = (
            f"the likelihood's σ{of} was {error.sigma[narrow]:.3g} in scaled units, by which errors are divided. "
            "Give it a floor, LearnedGaussian(floor=1e-3) say, or leave out columns that are constant."
        )
    else:
        return error
    told = type(error)(f"{error} The likely cause: {cause}")
    told.epoch, told.step, told.term, told.sigma = error.epoch, error.step, error.term, error.sigma
    return told


def warning_of(outcome: Outcome) -> TrainingWarning | None:
    """What a training of a thousand steps or more should have brought, and has not."""
    trained, plan = outcome.trained, outcome.job.plan
    n_steps = -(-outcome.job.rows.training.n_rows // plan.batch_size)
    if trained.n_epochs * n_steps < _ENOUGH_STEPS or len(trained.history.get("loss", ())) < 2:
        return None
    curve = trained.history.get("validation_loss") or trained.history["loss"]
    best, first = curve[max(trained.best_epoch, 1) - 1], curve[0]
    is_start = plan.keep_start and not trained.best_epoch
    if not is_start and (risen := _risen(trained.history)) is not None:
        kept = (
            "those of the best epoch" if "validation_loss" in trained.history else "the last, as no rows are held out"
        )
        return LossIncreasedWarning(
            f"The training loss rose again, to {risen:.4g} in the last epochs; it was {trained.history['loss'][0]:.4g} "
            f"after the first. The weights kept are {kept}. Lower the learning rate (now {plan.learning_rate:g})."
        )
    if not plan.keep_start and best >= first - 1e-3 * abs(first):
        return NoImprovementWarning(
            f"After {trained.n_epochs} epochs the loss is {best:.4g}; it was {first:.4g} after the first. Change the "
            f"learning rate (now {plan.learning_rate:g}), or look whether there is anything to learn."
        )
    return None


def _risen(history: dict[str, list[float]]) -> float | None:
    """The training loss at the end, if it is above the first epoch's by more than was ever gained, and than chance.

    Epochs of another β had another loss. The end is the last tenth.
    """
    curve = np.array(
        [loss for loss, beta in zip(history["loss"], history["beta"], strict=True) if beta == history["beta"][-1]]
    )
    end, first = float(curve[-max(1, len(curve) // 10) :].mean()), float(curve[0])
    return end if end - first > max(first - float(curve.min()), _ROSE * max(1.0, abs(first))) else None
