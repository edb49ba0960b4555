"""What all estimators share that are trained, saved and read: parameters, the plan of a training, what is stored.

An estimator is a table of parameters (a keyword-only dataclass, so that `__init__` only stores). What a fit learns is
one value, `Fitted`, that `store` lets an estimator take up at once; reading an artefact takes the same way.
"""

from __future__ import annotations

import numbers
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import former_names
from ..core.component import Component, Registered, inner_parameters, register, with_parameter
from ..core.model import Model, Recipe
from ..core.optimizers import SGD, Adam, Muon, Optimizer
from ..core.schedules import Constant, Cosine, Schedule
from ..data.scaler import Scaler
from ..engine.jobs import LinearStart, Outcome
from ..engine.sharding import current
from ..engine.trainer import TrainConfig
from ..errors import ArtifactError, InvalidParameter, suggest
from ..persistence import files, serialization
from ..persistence.serialization import Found, Stored
from .input import InputSpec
from .predictor import Predictor

__all__ = [
    "ESTIMATOR_REGISTRY",
    "MAX_INT",
    "Fitted",
    "Learned",
    "Saveable",
    "Seed",
    "TrainableEstimator",
    "identity_of",
    "is_shown",
    "linear_start",
    "load",
    "plan_of",
    "recipe_over",
    "resolve",
    "seed_of",
    "share_held_out",
    "store",
    "stored_of",
]

OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "muon": Muon(), "sgd": SGD()}
RATE_SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(), "constant": Constant()}

Seed = int | np.random.RandomState | None
E = TypeVar("E", bound="Saveable")
P = TypeVar("P", bound=Component)

MAX_INT = 2**31 - 1
"""Of epochs, rows in a batch, units, …"""

_HELD_OUT, _MOST_HELD_OUT, _ENOUGH_ROWS = 0.1, 0.25, 100
_LEAST_EPOCHS, _HIGHEST_RATE, _RATE_OF_SGD = 20, 0.01, 1e-3


def resolve(name: str, value: object, table: Mapping[str, P], base: type[Component]) -> P:
    """A part, from a part or the name of one."""
    if isinstance(value, base):
        return cast("P", value)
    if isinstance(value, str) and value in table:
        return table[value]
    options = ", ".join(map(repr, table))
    raise InvalidParameter(f"The {name!r} parameter must be one of {options} or a {base.__name__}; got {value!r}.")


class _Refused(InvalidParameter, InvalidParameterError):  # type: ignore[misc]
    """Both ours and scikit-learn's."""


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __package__.partition(".")[0]


@dataclass(frozen=True)
class Fitted:
    """Everything that a fit has learned, built before any of it is entered: see `store`."""

    input: InputSpec
    seed: int
    n_samples: int
    fingerprint: str
    learned: Mapping[str, object]
    """What its kind of estimator has learned besides, by the attribute's name."""

    @classmethod
    def of(cls, columns: InputSpec, outcome: Outcome, besides: Mapping[str, object]) -> Fitted:
        """What a training has brought, and what its kind of estimator has learned besides."""
        job, trained = outcome.job, outcome.trained
        learned = {
            "model_": trained.model,
            "scaler_": job.rows.scaler,
            "history_": trained.history,
            "best_epoch_": trained.best_epoch,
            "n_epochs_": trained.n_epochs,
        }
        return cls(columns, job.plan.seed, job.rows.n_samples, job.rows.fingerprint, {**learned, **besides})

    def attributes(self) -> dict[str, object]:
        """Return the values by the attributes' names."""
        names = self.input.names
        return {
            "input_": self.input,
            "seed_": self.seed,
            "n_features_in_": self.input.n_features,
            **({} if names is None else {"feature_names_in_": np.array(names, dtype=object)}),
            "n_samples_": self.n_samples,
            "data_fingerprint_": self.fingerprint,
            **self.learned,
        }


class Saveable(BaseEstimator):  # type: ignore[misc]
    """Base of all that can be fitted, saved, and found again by `load`."""

    input_: InputSpec
    seed_: int
    n_features_in_: int
    n_samples_: int
    data_fingerprint_: str

    _fitted_arrays: ClassVar[tuple[str, ...]] = ()
    """Fitted attributes of a subclass's own that are arrays,"""
    _fitted_json: ClassVar[tuple[str, ...]] = ()
    """and those that are JSON."""
    _former: ClassVar[dict[str, object]] = {}
    """What parameters that are absent, or None, in artefacts of formats 1 and 2 stand for."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if _is_ours(cls):
            register(cls)

    def set_params(self, **params: object) -> Self:
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
                raise InvalidParameter(
                    f"{type(self).__name__} has no parameter {name!r}. {suggest(name, sorted(known))}"
                )
            if rest and not hasattr(holder := params.get(name, known[name]), "set_params"):
                raise InvalidParameter(f"{name} is {holder!r}, which has no parameter {rest!r}. Give it a part first.")
        super().set_params(**params)
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; with ``deep`` also those of what they hold, as ``a__b`` or ``a__0__b``."""
        found: dict[str, Any] = super().get_params(deep)
        for name, value in list(found.items()) if deep else ():
            found |= inner_parameters(name, value)
        return found

    def _validate_params(self) -> None:
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            raise _Refused(str(error)) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder of JSON and safetensors that `diabolo.load` reads; see `diabolo.persistence.files`.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model, or a parameter is not JSON.
        """
        check_is_fitted(self)
        files.write(path, *serialization.to_artifact(self._stored()))

    def _stored(self) -> Stored:
        """What is written down."""
        columns = self.input_
        schema = {} if not hasattr(self, "schema_") else {
            "schema": None if columns.schema is None else columns.schema.to_json(),
            "image_shape": columns.image_shape,
        }  # fmt: skip
        own = {name: getattr(self, name) for name in ("n_samples_", "data_fingerprint_", *self._fitted_json)}
        return Stored(
            estimator=type(self).__name__,
            parameters=serialization.parameters(self, self.seed_),
            fitted={"n_features_in_": self.n_features_in_, **own, **schema}
            | {"seed": self.seed_, "missing": columns.allow_missing},
            feature_names=None if columns.names is None else list(columns.names),
            arrays={name: np.asarray(getattr(self, name)) for name in self._fitted_arrays},
        )

    def _restore(self, found: Found) -> None:
        """Take up what is read of an artefact."""
        self._validate_params()
        columns = InputSpec(
            type(self).__name__,
            found.value("n_features_in_"),
            None if found.feature_names is None else tuple(found.feature_names),
            found.schema,
            found.image_shape,
            found.value("missing"),
        )
        learned = {name: found.value(name) for name in self._fitted_json}
        learned |= {name: found.array(name) for name in self._fitted_arrays}
        learned |= self._learned_of(found, columns, learned)
        n_samples, fingerprint = found.value("n_samples_"), found.value("data_fingerprint_")
        store(self, Fitted(columns, found.value("seed"), n_samples, fingerprint, learned))

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        """What a kind of estimator takes of an artefact besides its own JSON and arrays, which are read."""
        return {}


ESTIMATOR_REGISTRY = Registered(Saveable)
"""Every estimator class of diabolo by name; subclassing `Saveable` enters it, so that `load` finds it."""


class Learned(Saveable):
    """What those with one model have learned."""

    model_: Model
    scaler_: Scaler
    history_: dict[str, list[float]]
    best_epoch_: int
    n_epochs_: int

    @property
    def predictor_(self) -> Predictor:
        """What the model says of rows in the user's units."""
        return Predictor(self.model_, self.scaler_, self.input_)

    def _stored(self) -> Stored:
        own = {name: getattr(self, name) for name in ("history_", "best_epoch_", "n_epochs_")}
        stored = super()._stored()
        return replace(stored, fitted=stored.fitted | own, model=self.model_, scaler=self.scaler_)


ESTIMATOR_REGISTRY = Registered(Saveable)
"""Every estimator class of diabolo by name; subclassing `Saveable` enters it, so that `load` finds it."""


@dataclass(kw_only=True, eq=False, repr=False)
class TrainableEstimator(Learned, ABC):
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

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "max_epochs": [Interval(numbers.Integral, 0, MAX_INT, closed="both"), None],
        "batch_size": [Interval(numbers.Integral, 1, MAX_INT, closed="both"), None],
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "learning_rate_schedule": [StrOptions(set(RATE_SCHEDULES)), Schedule],
        "optimizer": [StrOptions(set(OPTIMIZERS)), Optimizer],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left"), StrOptions({"auto"}), None],
        "early_stopping": ["boolean"],
        "patience": [Interval(numbers.Integral, 1, MAX_INT, closed="both")],
        "retries": [Interval(numbers.Integral, 0, MAX_INT, closed="both")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @abstractmethod
    def _recipe(self, n_features: int) -> Recipe:
        """The formula's parts, from the parameters."""

    def set_params(self, **params: object) -> Self:
        """Set parameters; ``slot__field`` replaces the part in ``slot`` by one with another ``field``.

        Parts are values: other estimators that hold the same part do not see the change.
        """
        plain: dict[str, object] = {}
        for key in sorted(params, key=lambda name: name.count("__")):
            slot, _, rest = key.partition("__")
            current = plain.get(slot, getattr(self, slot, None))
            if rest and inner_parameters(slot, current):
                plain[slot] = with_parameter(slot, current, rest, params[key])
            else:
                plain[key] = params[key]
        super().set_params(**plain)
        return self

    def _formula(self, columns: InputSpec) -> Recipe:
        """The recipe, as rows of these columns need it."""
        recipe = self._recipe_over(columns)
        return recipe.replace(missing="mask") if columns.allow_missing else recipe

    def _recipe_over(self, columns: InputSpec) -> Recipe:
        """The formula's parts, from the parameters and the columns."""
        return self._recipe(columns.width)

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        scaler, bounds = found.scaler(columns.width), jnp.zeros(columns.width)
        return {
            **{name: found.value(name) for name in ("history_", "best_epoch_", "n_epochs_")},
            "scaler_": scaler,
            "model_": found.model(self._formula_of_saved(columns, learned).fit_bounds(bounds, bounds), columns.width),
        }

    def _formula_of_saved(self, columns: InputSpec, learned: Mapping[str, object]) -> Recipe:
        """The recipe of an artefact, whose own JSON and arrays are read."""
        return self._formula(columns)


def store(estimator: E, fitted: Fitted) -> E:
    """Let an estimator take up what a fit has learned, in place of everything from an earlier one: all, or nothing."""
    own = {name: value for name, value in vars(estimator).items() if not name.endswith("_") or name.startswith("_")}
    estimator.__dict__ = own | fitted.attributes()
    return estimator


def is_shown(estimator: TrainableEstimator) -> bool:
    """Whether to show how far a training or a reading is."""
    return bool(estimator.verbose) and current().is_main_process


def identity_of(estimator: TrainableEstimator, seed: int, columns: InputSpec, fingerprint: str) -> dict[str, object]:
    """What a training must have in common with one that it goes on with."""
    given = serialization.parameters(estimator, seed).items()
    return {
        "estimator": type(estimator).__name__,
        "parameter": {name: value for name, value in given if name not in ("random_state", "verbose")},
        "seed": seed,
        "data": {"fingerprint": fingerprint, "columns": columns.n_features},
        "version": files.versions(),
    }


def share_held_out(estimator: TrainableEstimator, X_val: object, n_rows: int) -> float:
    """The share of the rows given that is held out: none, if there are others to judge by."""
    if X_val is not None:
        return 0.0
    if estimator.validation_fraction == "auto":
        return max(_HELD_OUT, min(_MOST_HELD_OUT, _ENOUGH_ROWS / n_rows))
    return float(estimator.validation_fraction or 0.0)


def plan_of(estimator: TrainableEstimator, n_rows: int, model: Model, width: int, seed: int) -> TrainConfig:
    """How long and how fast to train a model on so many rows of so many numbers."""
    optimizer = resolve("optimizer", estimator.optimizer, OPTIMIZERS, Optimizer)
    batch_size = int(estimator.batch_size or model.recipe.encoder.rows_per_step(width))
    default = min(max(_LEAST_EPOCHS, -(-estimator._steps // -(-n_rows // batch_size))), estimator._most_epochs)
    rate = _rate_for(model, optimizer, estimator._rate) if estimator.learning_rate is None else estimator.learning_rate
    return TrainConfig(
        max_epochs=default if estimator.max_epochs is None else estimator.max_epochs,
        batch_size=batch_size,
        learning_rate=rate,
        learning_rate_schedule=resolve(
            "learning_rate_schedule", estimator.learning_rate_schedule, RATE_SCHEDULES, Schedule
        ),
        optimizer=optimizer,
        patience=estimator.patience if estimator.early_stopping else None,
        seed=seed,
    )


def linear_start(estimator: TrainableEstimator) -> LinearStart:
    """Start from the best linear model, and go on for so many epochs at most."""
    return LinearStart(estimator._most_from_linear if estimator.max_epochs is None else None)


def seed_of(random_state: Seed, kept: int | None = None) -> int:
    """Draw a seed, the same in all processes; that of a kept training, where none is asked for."""
    drawn = kept if kept is not None and random_state is None else check_random_state(random_state).randint(2**30)
    return current().broadcast_scalar(int(drawn))


def stored_of(estimator: Saveable) -> Stored:
    """Return what is written down of a fitted estimator."""
    return estimator._stored()


def recipe_over(estimator: TrainableEstimator, columns: InputSpec) -> Recipe:
    """The formula's parts of an estimator that need not be fitted, over rows of these columns."""
    return estimator._recipe_over(columns)


def _rate_for(model: Model, optimizer: Optimizer, rate: float) -> float:
    """A peak rate, by the most inputs of a layer; a low one for steps that are as large as the gradient."""
    if isinstance(optimizer, SGD):
        return _RATE_OF_SGD
    arrays = jax.tree.leaves(model.weights.trainable()[0])
    return min(_HIGHEST_RATE, rate / max((array.shape[0] for array in arrays if array.ndim == 2), default=1) ** 0.5)


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
    known |= {former: known[now] for former, now in former_names.PARTS.items()}
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, Component | Saveable)):
            raise InvalidParameter(f"classes must be parts and estimators; got {cls!r}.")
        known[cls.__name__] = cls
    manifest, arrays = files.read(path)
    try:
        return serialization.from_artifact(known, serialization.upgraded(known, manifest), arrays, _restored)
    except ArtifactError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__


def _restored(estimator: Saveable, found: Found) -> None:
    estimator._restore(found)
