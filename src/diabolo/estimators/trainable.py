"""What all estimators share that train the formula: parameters, checkpoints, progress, artefacts.

An estimator is a table of parameters (a keyword-only dataclass, so that `__init__` only stores) and what turns them and
the user's rows into a `Job`. Everything else stands here once.
"""

from __future__ import annotations

import numbers
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..callbacks import Callback
from ..core.component import Part, Registered, inner_parameters, register, require_number, with_parameter
from ..core.model import Model, Recipe
from ..core.optimizers import SGD, Adam, Muon, Optimizer
from ..core.schedules import Constant, Cosine, Schedule
from ..engine.checkpoints import Checkpoints
from ..engine.progress import EpochBar
from ..engine.sharding import current
from ..engine.splits import Rows
from ..engine.trainer import Keeper, Plan, Trained, train
from ..errors import (
    ArtifactError,
    DiaboloError,
    InvalidParameter,
    LossRose,
    NoImprovement,
    OutOfMemory,
    Retried,
    TrainingDiverged,
    meant,
)
from ..persistence import files, serialization
from .input import Columns

__all__ = ["LEARNERS", "MOST", "Begin", "Job", "Kept", "Learner", "documented", "load", "resolve"]

OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "muon": Muon(), "sgd": SGD()}
RATE_SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(), "constant": Constant()}

MOST = 2**31 - 1
"""Of epochs, rows in a batch, units, …"""

_HELD_OUT, _MOST_HELD_OUT, _ENOUGH_ROWS = 0.1, 0.25, 100
_LEAST_EPOCHS, _HIGHEST_RATE, _RATE_OF_SGD = 20, 0.01, 1e-3
_LOWER = 3.0
"""A retry's rate is so many times lower."""
_NO_ROOM = ("RESOURCE_EXHAUSTED", "Maximum allowed dimension", "array is too big", "Out of memory")
_ENOUGH_STEPS = 1_000
_ROSE = 0.1
"""So much of the first epoch's loss, and one nat at least, is more than chance."""
_NARROW = 1e-5
"""A σ in scaled units, a tenth of the least that `LearnedGaussian` learns unless told otherwise."""
_WILD = 100.0
"""So many times the median column's largest value, and one is suspect."""

_TRAINING_PARAMETERS = """
    max_epochs : int or None, default=None
        Passes over the training rows. None: as many as make 2,000 steps of the optimiser (1,500 for a denoising model,
        3,000 for a sparse, 4,000 for a variational one), at least 20 and at most 1,000 (1,500 for a sparse one; 200
        where training starts at the best linear model, 300 of a variational one); none where the optimum is known in
        closed form. 0: none, and the weights are kept as they were drawn, pre-trained, or found in closed form.
    batch_size : int or None, default=None
        Rows per step of the optimiser. None: 128; fewer where all columns share weights, as in a denoiser without a
        bottleneck: as many as have 32,768 cells, at least 32.
    learning_rate : float or None, default=None
        The optimiser's peak rate. None: 0.034/√w (0.068/√w for a denoising or a variational model), at most 0.01, where
        w is the most inputs that a layer has, so that a step changes what a layer says by much the same whatever its
        width (Yang et al. 2021, "Tensor Programs V", table 3, between their rates for input and for hidden weights):
        0.003 or 0.006 for 128. 0.001 for SGD.
    learning_rate_schedule : {"cosine", "constant"} or Schedule, default="cosine"
        The factor on the rate over time.
    optimizer : {"adam", "muon", "sgd"} or Optimizer, default="adam"
    validation_fraction : float in [0, 1), "auto" or None, default="auto"
        The share of rows held out to choose the best epoch, if `fit` is given no ``X_val``. "auto": a tenth, but at
        least 100 rows, and at most a quarter. 0 or None: none, and the last epoch is kept.
    early_stopping : bool, default=False
        Stop once ``patience`` epochs have not improved on the best held-out one. The best epoch's weights are kept
        either way.
    patience : int, default=10
    retries : int, default=0
        How often to begin anew, each time with a third of the rate, if the loss stops being a number; each is told by a
        `Retried` warning.
    random_state : int, RandomState or None, default=None
        Fixes the weights' start, the held-out rows, the order of rows and all noise. Two fits with one int give the
        same bits.
    verbose : int, default=0
        1: a progress bar, if standard error is a terminal.
"""

_TRAINING_ATTRIBUTES = """
    history_ : dict of str to list of float
        The learning curves, a number per epoch: ``loss`` and its terms in nats (means over rows, in scaled units),
        ``beta``, ``learning_rate``, and under ``validation_…`` the same for held-out rows at β's final value. Empty if
        nothing was trained.
    best_epoch_, n_epochs_ : int
        The epoch whose weights are kept, counted from 1, and how many were run. 0: the weights that training began
        with, since no epoch was better on held-out rows, or none was run.
    model_ : Model
        The recipe and its weights.
    scaler_ : Scaler
    n_samples_ : int
        How many rows `fit` was given, held-out ones included.
    data_fingerprint_ : str
        A hash of those rows.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only if `fit` was given names.
"""


def documented(cls: type) -> type:
    """Put the shared parameters and attributes into a class's docstring, where it says ``{training …}``."""
    assert cls.__doc__ is not None
    for name, text in (("parameters", _TRAINING_PARAMETERS), ("attributes", _TRAINING_ATTRIBUTES)):
        cls.__doc__ = cls.__doc__.replace(f"{{training {name}}}", text.strip())
    return cls


def resolve(name: str, value: Any, table: dict[str, Any], base: type[Part]) -> Any:
    """A part, from a part or the name of one."""
    if isinstance(value, base):
        return value
    if isinstance(value, str) and value in table:
        return table[value]
    options = ", ".join(map(repr, table))
    raise InvalidParameter(f"The {name!r} parameter must be one of {options} or a {base.__name__}; got {value!r}.")


@contextmanager
def _in_memory() -> Iterator[None]:
    """What NumPy and XLA say where there is not room enough, as our error."""
    try:
        yield
    except (MemoryError, ValueError, jax.errors.JaxRuntimeError) as error:
        said = str(error)
        if isinstance(error, DiaboloError) or not (isinstance(error, MemoryError) or any(s in said for s in _NO_ROOM)):
            raise
        raise OutOfMemory(
            f"The training does not fit in memory: {said.splitlines()[0]}. Use fewer units, rows in a batch or draws."
        ) from error


class Job(NamedTuple):
    """A training that is ready to begin."""

    model: Model
    rows: Rows
    plan: Plan


Begin = Callable[[int, Checkpoints | None], Job]
"""From the seed, and where the training is kept if anywhere, to what there is to train."""


class _Refused(InvalidParameter, InvalidParameterError):  # type: ignore[misc]
    """Both ours and scikit-learn's."""


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __package__.partition(".")[0]


class Kept(BaseEstimator):  # type: ignore[misc]
    """Base of all that can be saved, and found again by `load`."""

    _fitted_arrays: ClassVar[tuple[str, ...]] = ()
    """Fitted attributes of a subclass's own that are arrays,"""
    _fitted_json: ClassVar[tuple[str, ...]] = ()
    """and those that are JSON."""
    _former: ClassVar[dict[str, Any]] = {}
    """What parameters that are absent, or None, in artefacts of formats 1 and 2 stand for."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if _is_ours(cls):
            register(cls)

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``a__b`` sets parameter ``b`` of the estimator in ``a``.

        Raises
        ------
        InvalidParameter
            If there is none of this name.
        """
        known = self.get_params(deep=False)
        for key in params:
            name, _, rest = key.partition("__")
            if name not in known:
                raise InvalidParameter(f"{type(self).__name__} has no parameter {name!r}. {meant(name, sorted(known))}")
            if rest and not hasattr(holder := params.get(name, known[name]), "set_params"):
                raise InvalidParameter(f"{name} is {holder!r}, which has no parameter {rest!r}. Give it a part first.")
        super().set_params(**params)
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; with ``deep`` also those of what they hold, as ``a__b`` or ``a__0__b``."""
        found: dict[str, Any] = super().get_params(deep)
        for name, value in list(found.items()) if deep else ():
            found |= inner_parameters(name, value)
        return found

    def _validate_params(self) -> None:
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            raise _Refused(str(error)) from None

    def _given(self) -> dict[str, Any]:
        """The parameters as they are written down."""
        given: dict[str, Any] = self.get_params(deep=False)
        return given

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder of JSON and safetensors that `diabolo.load` reads; see `diabolo.persistence.files`.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model, or a parameter is not JSON.
        """
        check_is_fitted(self)
        files.write(path, *serialization.pack(self))


LEARNERS = Registered(Kept)
"""Every estimator class of diabolo by name; subclassing `Kept` enters it, so that `load` finds it."""


@dataclass(kw_only=True, eq=False, repr=False)
class Learner(Columns, Kept, ABC):
    """Base of all that is trained; `BaseAutoencoder` for those that reconstruct."""

    max_epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    learning_rate_schedule: str | Schedule = "cosine"
    optimizer: str | Optimizer = "adam"
    validation_fraction: float | str | None = "auto"
    early_stopping: bool = False
    patience: int = 10
    retries: int = 0
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _steps: ClassVar[int] = 2_000
    _most_epochs: ClassVar[int] = 1_000
    """What ``max_epochs=None`` stands for: epochs that make so many steps, and no more than these;"""
    _most_from_linear: ClassVar[int] = 200
    """nor than these where training starts at the best linear model."""
    _rate: ClassVar[float] = 0.034
    """The optimiser's peak rate for a layer of one input."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_epochs": [Interval(numbers.Integral, 0, MOST, closed="both"), None],
        "batch_size": [Interval(numbers.Integral, 1, MOST, closed="both"), None],
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "learning_rate_schedule": [StrOptions(set(RATE_SCHEDULES)), Schedule],
        "optimizer": [StrOptions(set(OPTIMIZERS)), Optimizer],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left"), StrOptions({"auto"}), None],
        "early_stopping": ["boolean"],
        "patience": [Interval(numbers.Integral, 1, MOST, closed="both")],
        "retries": [Interval(numbers.Integral, 0, MOST, closed="both")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @abstractmethod
    def _recipe(self, n_features: int) -> Recipe:
        """The formula's parts, from the parameters."""

    def _formula(self) -> Recipe:
        """The recipe, as the rows that were fitted need it."""
        recipe = self._recipe(self._width)
        return recipe.replace(missing="told") if self._missing else recipe

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``slot__field`` replaces the part in ``slot`` by one with another ``field``.

        Parts are values: other estimators that hold the same part do not see the change.
        """
        plain: dict[str, Any] = {}
        for key in sorted(params, key=lambda name: name.count("__")):
            slot, _, rest = key.partition("__")
            current = plain.get(slot, getattr(self, slot, None))
            if rest and inner_parameters(slot, current):
                plain[slot] = with_parameter(slot, current, rest, params[key])
            else:
                plain[key] = params[key]
        super().set_params(**plain)
        return self

    # -- fitting ------------------------------------------------------------------------------------------------------

    def _trained(
        self,
        begin: Begin,
        checkpoint_dir: str | os.PathLike[str] | None,
        checkpoint_every: float,
        resume: bool,
        callback: Callback | None = None,
    ) -> Self:
        """Train what ``begin`` makes ready, and enter the outcome."""
        self._validate_params()
        if callback is not None and not callable(callback):
            raise InvalidParameter(f"callback must be a function of an epoch's number and record; got {callback!r}.")
        require_number("checkpoint_every", checkpoint_every, "[0, inf)")
        kept, leads = None, current().is_leader
        if checkpoint_dir is not None:
            kept = Checkpoints(checkpoint_dir, every=checkpoint_every, resume=resume, writes=leads)
        with _in_memory(), kept or nullcontext():
            keeper: Callable[[str], Keeper | None] = kept.stage if kept is not None else lambda stage: None
            job = begin(self._drawn_seed(kept), kept)
            job = self._start(job, keeper)
            with self._bar("training", job.plan) as bar:
                rows = job.rows

                def told(epoch: int, record: dict[str, float]) -> None:
                    bar(epoch, record)
                    if callback is not None and leads:
                        callback(epoch, record)

                for attempt in range(self.retries + 1):
                    plan = replace(job.plan, learning_rate=job.plan.learning_rate / _LOWER**attempt)
                    kept_as = keeper("training" if not attempt else f"retry{attempt}")
                    try:
                        trained = train(job.model, rows.training, plan, rows.held_out, told, kept_as, bar.within)
                        break
                    except TrainingDiverged as error:
                        if attempt == self.retries:
                            raise self._explained(error, job) from None
                        lower = plan.learning_rate / _LOWER
                        warnings.warn(f"{error} Beginning anew with learning_rate={lower:.3g}.", Retried, stacklevel=3)
        _warn_of(trained, job.plan, -(-rows.training.n_rows // job.plan.batch_size))
        self._ended(job, trained)
        with _in_memory():
            self._evaluate(job.rows)
        return self

    def _evaluate(self, rows: Rows) -> None:
        """Measure how good the fitted model is, if there is a measure."""

    def _explained(self, error: TrainingDiverged, job: Job) -> TrainingDiverged:
        """The same error, with a likely cause in the rows, if there is one."""
        furthest = np.maximum(*map(np.abs, job.rows.bounds))
        wild = np.flatnonzero(furthest > max(_WILD, _WILD * float(np.median(furthest))))
        worst = int(furthest.argmax())
        if len(wild) and worst < self._width:
            cause = (
                f"column {self._name_of(worst)} goes to {furthest[worst]:.3g} in scaled units, others to "
                f"{np.median(furthest):.3g}. Look for a wrong value there, or scale it."
            )
        elif error.sigma is not None and error.sigma.min() < _NARROW:
            narrow = int(error.sigma.argmin())
            of = f" of column {self._name_of(narrow)}" if len(error.sigma) == self._width else ""
            cause = (
                f"the likelihood's σ{of} was {error.sigma[narrow]:.3g} in scaled units, by which errors are divided. "
                "Give it a floor, LearnedGaussian(floor=1e-3) say, or leave out columns that are constant."
            )
        else:
            return error
        told = type(error)(f"{error} The likely cause: {cause}")
        told.epoch, told.step, told.term, told.sigma = error.epoch, error.step, error.term, error.sigma
        return told

    def _ended(self, job: Job, trained: Trained) -> Self:
        """Enter the outcome."""
        self.model_, self.history_ = trained.model, trained.history
        self.best_epoch_, self.n_epochs_ = trained.best_epoch, trained.n_epochs
        self.n_samples_, self.data_fingerprint_ = job.rows.n_samples, job.rows.fingerprint
        return self

    def _drawn_seed(self, kept: Checkpoints | None) -> int:
        """From ``random_state``; that of the kept training, where none is asked for."""
        identity = kept.identity() if kept is not None and self.random_state is None else None
        drawn = identity["seed"] if identity else check_random_state(self.random_state).randint(2**30)
        return current().agreed(int(drawn))

    def _identity(self, fingerprint: str) -> dict[str, Any]:
        """What a training must have in common with one that it goes on with."""
        given = serialization.parameters(self).items()
        return {
            "estimator": type(self).__name__,
            "parameter": {name: value for name, value in given if name not in ("random_state", "verbose")},
            "seed": self._seed,
            "data": {"fingerprint": fingerprint, "columns": self.n_features_in_},
            "version": files.versions(),
        }

    def _share_held_out(self, X_val: Any, n_rows: int) -> float:
        """Of the rows given: none, if there are others to judge by."""
        if X_val is not None:
            return 0.0
        if self.validation_fraction == "auto":
            return max(_HELD_OUT, min(_MOST_HELD_OUT, _ENOUGH_ROWS / n_rows))
        return float(self.validation_fraction or 0.0)

    def _start(self, job: Job, keeper: Callable[[str], Keeper | None]) -> Job:
        """The same job, its model at the best place to begin from."""
        return job

    @property
    def _speaks(self) -> bool:
        return bool(self.verbose) and current().is_leader

    def _bar(self, what: str, plan: Plan) -> EpochBar:
        return EpochBar(plan.max_epochs, what, self._speaks)

    def _plan(self, n_rows: int, model: Model) -> Plan:
        optimizer = resolve("optimizer", self.optimizer, OPTIMIZERS, Optimizer)
        batch_size = int(self.batch_size or model.recipe.encoder.rows_per_step(self._width))
        default = min(max(_LEAST_EPOCHS, -(-self._steps // -(-n_rows // batch_size))), self._most_epochs)
        return Plan(
            max_epochs=default if self.max_epochs is None else self.max_epochs,
            batch_size=batch_size,
            learning_rate=_rate_for(model, optimizer, self._rate) if self.learning_rate is None else self.learning_rate,
            learning_rate_schedule=resolve(
                "learning_rate_schedule", self.learning_rate_schedule, RATE_SCHEDULES, Schedule
            ),
            optimizer=optimizer,
            patience=self.patience if self.early_stopping else None,
            seed=self._seed,
        )


def _rate_for(model: Model, optimizer: Optimizer, rate: float) -> float:
    """A peak rate, by the most inputs of a layer; a low one for steps that are as large as the gradient."""
    if isinstance(optimizer, SGD):
        return _RATE_OF_SGD
    arrays = jax.tree.leaves(model.weights.trainable()[0])
    return min(_HIGHEST_RATE, rate / max((array.shape[0] for array in arrays if array.ndim == 2), default=1) ** 0.5)


def _warn_of(trained: Trained, plan: Plan, n_steps: int) -> None:
    """What a training of a thousand steps or more should have brought, and has not."""
    if trained.n_epochs * n_steps < _ENOUGH_STEPS or len(trained.history.get("loss", ())) < 2:
        return
    curve = trained.history.get("validation_loss") or trained.history["loss"]
    best, first = curve[max(trained.best_epoch, 1) - 1], curve[0]
    is_start = plan.keep_start and not trained.best_epoch
    if not is_start and (risen := _risen(trained.history)) is not None:
        kept = (
            "those of the best epoch" if "validation_loss" in trained.history else "the last, as no rows are held out"
        )
        warnings.warn(
            f"The training loss rose again, to {risen:.4g} in the last epochs; it was {trained.history['loss'][0]:.4g} "
            f"after the first. The weights kept are {kept}. Lower the learning rate (now {plan.learning_rate:g}).",
            LossRose,
            stacklevel=4,
        )
    elif not plan.keep_start and best >= first - 1e-3 * abs(first):
        warnings.warn(
            f"After {trained.n_epochs} epochs the loss is {best:.4g}; it was {first:.4g} after the first. Change the "
            f"learning rate (now {plan.learning_rate:g}), or look whether there is anything to learn.",
            NoImprovement,
            stacklevel=4,
        )


def _risen(history: dict[str, list[float]]) -> float | None:
    """The training loss at the end, if it is above the first epoch's by more than was ever gained, and than chance.

    Epochs of another β had another loss. The end is the last tenth.
    """
    curve = np.array(
        [loss for loss, beta in zip(history["loss"], history["beta"], strict=True) if beta == history["beta"][-1]]
    )
    end, first = float(curve[-max(1, len(curve) // 10) :].mean()), float(curve[0])
    return end if end - first > max(first - float(curve.min()), _ROSE * max(1.0, abs(first))) else None


def load(path: str | os.PathLike[str], *, classes: Iterable[type] = ()) -> Any:
    """The estimator that `save` wrote, every output equal to the bit.

    What is read may come from anyone. It names classes, and of these only diabolo's are made, and those given here.

    Parameters
    ----------
    path : path
    classes : iterable of type, default=()
        Parts and estimators of your own that the model is made of, such as a network's.

    Raises
    ------
    ArtifactError
        If the folder is missing, damaged, or of a later format, or names an estimator that is not known.
    UnknownPart
        If it names a part that is not known.
    InvalidParameter
        If a class is neither a part nor an estimator.

    Examples
    --------
    >>> import tempfile, diabolo
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> model = diabolo.Autoencoder(max_epochs=1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model")
    ...     again = diabolo.load(f"{folder}/model")
    >>> bool((again.transform(X) == model.transform(X)).all())
    True
    """
    known: dict[str, type] = {name: cls for name, cls in Registered(object).items() if _is_ours(cls)}
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, Part | Kept)):
            raise InvalidParameter(f"classes must be parts and estimators; got {cls!r}.")
        known[cls.__name__] = cls
    manifest, arrays = files.read(path)
    try:
        return serialization.unpack(known, serialization.upgraded(known, manifest), arrays)
    except ArtifactError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
