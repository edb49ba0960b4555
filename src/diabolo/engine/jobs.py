"""Training jobs: checkpoints, the start, pre-training, retries, progress, callbacks.

`training` opens a `Trainer`; `Trainer.train` takes a `TrainingJob` and returns an `Outcome`. Both are values: the
estimator that requests the training is neither called nor changed. `train_together` trains several jobs.
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

from ..callbacks import Callback, ModelCallback, by_kind
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
from .trainer import CheckpointSink, Interrupted, TrainConfig, TrainResult, train
from .vmap_trainer import train_many

__all__ = [
    "ContinuedStart",
    "GivenStart",
    "LayerwiseStart",
    "LinearStart",
    "Outcome",
    "RandomStart",
    "Start",
    "Together",
    "Trainer",
    "TrainingJob",
    "train_together",
    "training",
    "warning_of",
]

_LOWER = 3.0
"""Each retry divides the learning rate by this."""
_NO_ROOM = ("RESOURCE_EXHAUSTED", "Maximum allowed dimension", "array is too big", "Out of memory")
_ENOUGH_STEPS = 1_000
_ROSE = 0.1
"""An increase by this fraction of the first epoch's loss, and by at least as many nats, is more than chance."""
_NARROW = 1e-5
"""The smallest normal σ, in scaled units: a tenth of the default floor of `LearnedGaussian`."""
_WILD = 100.0
"""A column is suspect if its largest value exceeds that of the median column by this factor."""


class GivenStart(NamedTuple):
    """A start from the model of the job; it is kept if no epoch is better."""


class ContinuedStart(NamedTuple):
    """A start from the model of the job, with the bounds of the new rows; it is kept if no epoch is better."""


class RandomStart(NamedTuple):
    """A start from random weights."""


class LinearStart(NamedTuple):
    """A start from the best linear model, computed in closed form."""

    max_epochs: int | None
    """Maximum number of epochs from the start, 0 if the start is the optimum; None: that of the plan."""


class LayerwiseStart(NamedTuple):
    """A start from layers that are pre-trained one by one."""

    n_epochs: int
    corruptions: tuple[Corruption, ...]


Start = GivenStart | ContinuedStart | RandomStart | LinearStart | LayerwiseStart


@dataclass(frozen=True)
class TrainingJob:
    """A training that is ready to start."""

    model: Model
    rows: Rows
    plan: TrainConfig
    start: Start
    columns: Sequence[Hashable]
    """Name or number of the user's column to which each number of a row belongs."""


@dataclass(frozen=True)
class Outcome:
    """A training that has ended."""

    job: TrainingJob
    """The job, with the initial weights and the plan that training started with."""
    trained: TrainResult
    pretraining: tuple[History, ...] = field(default=())
    """The learning curves of each pre-trained layer."""
    interrupted: bool = False
    """Whether Ctrl-C, or any `KeyboardInterrupt`, ended the training after its first epoch."""


class Together(NamedTuple):
    """The results of trainings that ran together, in their order."""

    outcomes: list[Outcome | TrainingDiverged | None]
    """An outcome, the error of a training that diverged, or None if it was interrupted before its first epoch ended."""
    interrupted: bool


@contextmanager
def in_memory() -> Iterator[None]:
    """Convert the out-of-memory errors of NumPy and XLA to `OutOfMemory`."""
    try:
        yield
    except (MemoryError, ValueError, jax.errors.JaxRuntimeError) as error:
        text = str(error)
        if isinstance(error, DiaboloError) or not (isinstance(error, MemoryError) or any(s in text for s in _NO_ROOM)):
            raise
        raise OutOfMemory(
            f"The training does not fit in memory: {text.splitlines()[0]}. "
            "Use fewer units, smaller batches or fewer samples."
        ) from error


@contextmanager
def training(
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    callback: Callback | ModelCallback | None = None,
    retries: int = 0,
    verbose: bool = False,
) -> Iterator[Trainer]:
    """Open a trainer. The checkpoint folder is locked while it is open.

    Raises
    ------
    InvalidParameter
        If the callback is not callable, or ``checkpoint_every`` is out of range.
    CheckpointError
        As for `Checkpoints`.
    OutOfMemory
        If the training does not fit in memory.
    """
    if callback is not None and not callable(callback):
        raise InvalidParameter(
            "callback must be a function of epoch number and record, and of the model if it has a third parameter; "
            f"got {callback!r}."
        )
    require_number("checkpoint_every", checkpoint_every, "[0, inf)")
    kept, leads = None, current().is_main_process
    if checkpoint_dir is not None:
        kept = Checkpoints(checkpoint_dir, every=checkpoint_every, resume=resume, writes=leads)
    with in_memory(), kept or nullcontext():
        yield Trainer(kept, *by_kind(callback if leads else None), retries, verbose and leads)


@dataclass(frozen=True)
class Trainer:
    """A trainer of jobs, with its checkpoints, callback and number of retries."""

    checkpoints: Checkpoints | None = None
    callback: Callback | None = None
    model_callback: ModelCallback | None = None
    retries: int = 0
    verbose: bool = False

    def seed(self, drawn: int, *, is_given: bool) -> int:
        """Return the seed of the training, the same in all processes: that of a saved training, unless one is given."""
        saved = None if is_given or self.checkpoints is None else self.checkpoints.identity()
        return current().broadcast_scalar(drawn if saved is None else int(saved["seed"]))

    def train(
        self, job: TrainingJob, identity: Mapping[str, object], shown: Callable[[Outcome], object] | None = None
    ) -> Outcome:
        """Train a job, or resume its saved training.

        If it is interrupted after its first epoch, the outcome is that of the best epoch so far.

        Parameters
        ----------
        job : TrainingJob
        identity : dict
            The identity of the training; a saved training must have the same.
        shown : function or None
            Function from an outcome so far to the model that a callback gets.

        Raises
        ------
        TrainingDiverged
            If the loss is not finite after all retries.
        CheckpointError
            If the saved training has another identity.
        """
        if self.checkpoints is not None:
            self.checkpoints.identify(dict(identity))
        begun, pretraining = _begin(job, self._keeper, self.verbose)
        rows = begun.rows
        with EpochBar(begun.plan.max_epochs, "training", self.verbose) as bar:
            callback, model_callback = self.callback, self.model_callback

            def on_epoch(epoch: int, record: dict[str, float]) -> object:
                bar(epoch, record)
                return None if callback is None else callback(epoch, record)

            def on_model(epoch: int, record: dict[str, float], so_far: TrainResult) -> object:
                assert model_callback is not None
                found = Outcome(begun, so_far, tuple(pretraining))
                return model_callback(epoch, record, found if shown is None else shown(found))

            for attempt in range(self.retries + 1):
                plan = _slower(begun.plan, attempt)
                kept_as = self._keeper("training" if not attempt else f"retry{attempt}")
                try:
                    trained = train(
                        begun.model,
                        rows.training,
                        plan,
                        rows.held_out,
                        on_epoch,
                        kept_as,
                        bar.within,
                        None if model_callback is None else on_model,
                    )
                    break
                except Interrupted as stop:
                    return Outcome(begun, stop.trained, tuple(pretraining), interrupted=True)
                except TrainingDiverged as error:
                    if attempt == self.retries:
                        raise _explained(error, begun) from None
                    _warn_of_retry(error, begun.plan, attempt + 1, stacklevel=4)
        return Outcome(begun, trained, tuple(pretraining))

    def _keeper(self, stage: str) -> CheckpointSink | None:
        return None if self.checkpoints is None else self.checkpoints.stage(stage)


def _begin(
    job: TrainingJob, keeper: Callable[[str], CheckpointSink | None] = lambda stage: None, verbose: bool = False
) -> tuple[TrainingJob, list[History]]:
    """Return the job with the model at its start, and the learning curves of pre-trained layers."""
    if isinstance(job.start, LayerwiseStart):
        plan, rows = replace(job.plan, max_epochs=job.start.n_epochs, frozen=()), job.rows
        with EpochBar(plan.max_epochs, "pre-training", verbose) as bar:
            try:
                model, histories = layerwise(
                    job.model, rows.training, rows.held_out, plan, bar, keeper, job.start.corruptions
                )
            except Interrupted:  # no epoch of the training itself has ended
                raise KeyboardInterrupt from None
        return replace(job, model=model), histories
    if isinstance(job.start, GivenStart):
        return replace(job, plan=replace(job.plan, keep_start=True)), []
    if isinstance(job.start, RandomStart):
        return replace(job, model=closed_form.prepared(job.model, job.rows)), []
    # The loss of the start is comparable with later ones only if no penalty has to settle first.
    settles = any(penalty.settles_after for penalty in job.model.recipe.penalties)
    if isinstance(job.start, ContinuedStart):
        plan = replace(job.plan, keep_start=not settles)
        return replace(job, model=closed_form.prepared(job.model, job.rows, plan.frozen), plan=plan), []
    found = closed_form.start(job.model, job.rows, job.plan.seed)
    plan = replace(job.plan, keep_start=found.is_linear and not settles)
    if found.is_linear and not found.is_tangent and job.start.max_epochs is not None:
        plan = replace(plan, max_epochs=min(plan.max_epochs, 0 if found.is_optimum else job.start.max_epochs))
    return replace(job, model=found.model, plan=plan), []


def train_together(
    jobs: Sequence[TrainingJob],
    retries: Sequence[int],
    on_share: Callable[[float], None] | None = None,
    *,
    widened: bool = False,
) -> Together:
    """Train several jobs, as many at once as their shapes allow, each with its number of retries.

    A training that diverges does not affect the others. ``on_share`` is called with the fraction of all epochs that are
    done, before retries. With ``widened``, hidden layers are made as wide as those of few sizes, so that networks of
    different widths train together: the models are the same functions, with more weights.
    """
    found: list[Outcome | TrainingDiverged | None] = [None] * len(jobs)
    begun: dict[int, tuple[TrainingJob, tuple[History, ...]]] = {}
    interrupted = False
    try:
        for i, job in enumerate(jobs):
            try:
                ready, curves = _begin(job)
                begun[i] = _widened(ready) if widened else ready, tuple(curves)
            except TrainingDiverged as error:
                found[i] = error
    except KeyboardInterrupt:
        return Together(found, True)
    attempt, left = 0, list(begun)
    while left and not interrupted:
        plans = [(begun[i][0], _slower(begun[i][0].plan, attempt)) for i in left]
        trained, interrupted = train_many(
            [(job.model, job.rows.training, plan, job.rows.held_out) for job, plan in plans],
            None if attempt else on_share,
        )
        attempt += 1
        errors = {}
        for i, result in zip(left, trained, strict=True):
            job, pretraining = begun[i]
            if isinstance(result, TrainResult):
                found[i] = Outcome(job, result, pretraining, interrupted)
            elif result is not None:
                errors[i] = result
                found[i] = _explained(result, job)
        left = [i for i in errors if attempt <= retries[i]]
        for i in left:
            _warn_of_retry(errors[i], begun[i][0].plan, attempt, stacklevel=4)
    return Together(found, interrupted)


def _widened(job: TrainingJob) -> TrainingJob:
    """Return the job with a wider model, if its optimiser treats each weight by itself."""
    if not job.plan.optimizer.elementwise:
        return job
    return replace(job, model=job.model.widened(len(job.columns)))


def _slower(plan: TrainConfig, attempt: int) -> TrainConfig:
    return replace(plan, learning_rate=plan.learning_rate / _LOWER**attempt)


def _warn_of_retry(error: TrainingDiverged, plan: TrainConfig, attempt: int, stacklevel: int) -> None:
    rate = _slower(plan, attempt).learning_rate
    warnings.warn(f"{error} Training restarts with learning_rate={rate:.3g}.", RetriedWarning, stacklevel=stacklevel)


def _explained(error: TrainingDiverged, job: TrainingJob) -> TrainingDiverged:
    """Return the error with a likely cause in the rows, if there is one."""
    furthest, width = np.maximum(*map(np.abs, job.rows.bounds)), len(job.columns)
    wild = np.flatnonzero(furthest > max(_WILD, _WILD * float(np.median(furthest))))
    worst = int(furthest.argmax())
    if len(wild) and worst < width:
        cause = (
            f"column {job.columns[worst]} goes to {furthest[worst]:.3g} in scaled units, the median column to "
            f"{np.median(furthest):.3g}. Check the column for wrong values, or scale it."
        )
    elif error.sigma is not None and error.sigma.min() < _NARROW:
        narrow = int(error.sigma.argmin())
        of = f" of column {job.columns[narrow]}" if len(error.sigma) == width else ""
        cause = (
            f"the likelihood's σ{of} was {error.sigma[narrow]:.3g} in scaled units, and errors are divided by it. "
            "Set a floor, for example LearnedGaussian(floor=1e-3), or remove constant columns."
        )
    else:
        return error
    explained = type(error)(f"{error} The likely cause: {cause}")
    explained.epoch, explained.step, explained.term, explained.sigma = error.epoch, error.step, error.term, error.sigma
    return explained


def warning_of(outcome: Outcome) -> TrainingWarning | None:
    """Return a warning if a training of at least a thousand steps did not improve the loss; else None."""
    trained, plan = outcome.trained, outcome.job.plan
    n_steps = -(-outcome.job.rows.training.n_rows // plan.batch_size)
    if trained.n_epochs * n_steps < _ENOUGH_STEPS or len(trained.history.get("loss", ())) < 2:
        return None
    curve = trained.history.get("validation_loss") or trained.history["loss"]
    best, first = curve[max(trained.best_epoch, 1) - 1], curve[0]
    is_start = plan.keep_start and not trained.best_epoch
    if not is_start and (risen := _risen(trained.history)) is not None:
        kept = (
            "those of the best epoch" if "validation_loss" in trained.history else "the last, without validation rows"
        )
        return LossIncreasedWarning(
            f"The training loss rose again, to {risen:.4g} in the last epochs; it was {trained.history['loss'][0]:.4g} "
            f"after the first. The weights used are {kept}. Lower the learning rate (now {plan.learning_rate:g})."
        )
    if not plan.keep_start and best >= first - 1e-3 * abs(first):
        return NoImprovementWarning(
            f"After {trained.n_epochs} epochs the loss is {best:.4g}; it was {first:.4g} after the first. Change the "
            f"learning rate (now {plan.learning_rate:g}), or check whether there is anything to learn."
        )
    return None


def _risen(history: dict[str, list[float]]) -> float | None:
    """Return the final training loss if it is significantly above that of the first epoch; else None.

    The increase must exceed the largest decrease so far, and chance. Only epochs with the final β are compared. The
    final loss is the mean over the last tenth of the epochs.
    """
    curve = np.array(
        [loss for loss, beta in zip(history["loss"], history["beta"], strict=True) if beta == history["beta"][-1]]
    )
    end, first = float(curve[-max(1, len(curve) // 10) :].mean()), float(curve[0])
    return end if end - first > max(first - float(curve.min()), _ROSE * max(1.0, abs(first))) else None
