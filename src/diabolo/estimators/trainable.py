"""Base classes of estimators that are trained, saved and loaded: parameters, the training plan, fitted attributes.

An estimator is a set of parameters (a keyword-only dataclass, so that `__init__` only stores them). `result` has the
result of a fit as one value.
"""

from __future__ import annotations

import numbers
import os
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import jax_config
from ..core.component import Component, Registered, inner_parameters, register, with_parameter
from ..core.model import Model, Recipe
from ..core.optimizers import SGD, Adam, AnyOptimizer, Muon, Optimizer, Transformation, is_transformation
from ..core.schedules import Constant, Cosine, Schedule
from ..data.scaler import Scaler
from ..engine.sharding import current
from ..engine.trainer import TrainConfig
from ..errors import InvalidParameter, suggest
from ..persistence import files, serialization
from ..persistence.serialization import Found, Stored
from .arguments import MAX_INT, Refused, check_arguments
from .input import InputSpec
from .predictor import Predictor
from .result import Fitted, store, with_weights

__all__ = [
    "ESTIMATOR_REGISTRY",
    "Learned",
    "Saveable",
    "TrainableEstimator",
    "identity_of",
    "is_shown",
    "plan_of",
    "recipe_over",
    "require_fitted",
    "resolve",
    "restore",
    "share_held_out",
    "stored_of",
]

OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "muon": Muon(), "sgd": SGD()}
P = TypeVar("P", bound=Component)
RATE_SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(), "constant": Constant()}


_HELD_OUT, _MOST_HELD_OUT, _ENOUGH_ROWS = 0.1, 0.25, 100
_LEAST_EPOCHS, _HIGHEST_RATE, _RATE_OF_SGD = 20, 0.01, 1e-3


def resolve(name: str, value: object, table: Mapping[str, P], base: type[Component]) -> P:
    """Return the component that a parameter names or is."""
    if isinstance(value, base):
        return cast("P", value)
    if isinstance(value, str) and value in table:
        return table[value]
    options = ", ".join(map(repr, table))
    raise InvalidParameter(f"The {name!r} parameter must be one of {options} or a {base.__name__}; got {value!r}.")


def is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __package__.partition(".")[0]


class Saveable(BaseEstimator):  # type: ignore[misc]
    """Base class of all estimators that can be fitted, saved, and loaded with `load`."""

    input_: InputSpec
    seed_: int
    n_features_in_: int
    n_samples_: int
    data_fingerprint_: str

    _fitted_arrays: ClassVar[tuple[str, ...]] = ()
    """Names of a subclass's additional fitted attributes that are saved as arrays."""
    _fitted_json: ClassVar[tuple[str, ...]] = ()
    """Names of a subclass's additional fitted attributes that are saved as JSON."""
    _former: ClassVar[dict[str, object]] = {}
    """Values of parameters that are absent or None in saved models of formats 1 and 2."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if is_ours(cls):
            register(cls)

    def set_params(self, **params: object) -> Self:
        """Set parameters; ``a__b`` sets parameter ``b`` of the estimator in ``a``.

        Parameters
        ----------
        **params : object
            New values, by the name of the parameter.

        Returns
        -------
        Self
            The estimator itself.

        Raises
        ------
        InvalidParameter
            If a parameter name is unknown.
        """
        known = self.get_params(deep=False)
        for key in params:
            name, _, rest = key.partition("__")
            if name not in known:
                raise InvalidParameter(
                    f"{type(self).__name__} has no parameter {name!r}. {suggest(name, sorted(known))}"
                )
            if rest and not hasattr(holder := params.get(name, known[name]), "set_params"):
                raise InvalidParameter(
                    f"{name} is {holder!r}, which has no parameter {rest!r}. Set {name} to a component first."
                )
        super().set_params(**params)
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parameters of components and estimators, as ``a__b`` or ``a__0__b``.

        Returns
        -------
        dict of str to object
            The values.
        """
        check_arguments(deep=deep)
        found: dict[str, Any] = super().get_params(deep)
        for name, value in list(found.items()) if deep else ():
            found |= inner_parameters(name, value)
        return found

    def _validate_params(self) -> None:
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            raise Refused(str(error)) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to a folder of JSON and safetensors, for `diabolo.load`; see `diabolo.persistence.files`.

        Parameters
        ----------
        path : path
            Folder to write.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model, or a parameter is not JSON.
        """
        check_is_fitted(self)
        check_arguments(path=path)
        files.write(path, *serialization.to_artifact(self._stored()))

    def _stored(self) -> Stored:
        """Return the content of the saved model."""
        columns = self.input_
        parts = {"schema": columns.schema, "cells": columns.cells, "container": columns.container}
        table: dict[str, object] = {name: None if part is None else part.to_json() for name, part in parts.items()}
        table |= {"image_shape": columns.image_shape, "row_shape": columns.row_shape}
        table = table if hasattr(self, "schema_") else {}
        own = {name: getattr(self, name) for name in ("n_samples_", "data_fingerprint_", *self._fitted_json)}
        return Stored(
            estimator=type(self).__name__,
            parameters=serialization.parameters(self, self.seed_),
            fitted={"n_features_in_": self.n_features_in_, **own, **table}
            | {"seed": self.seed_, "missing": columns.allow_missing},
            feature_names=None if columns.names is None else list(columns.names),
            arrays={name: np.asarray(getattr(self, name)) for name in self._fitted_arrays},
        )

    def _restore(self, found: Found) -> None:
        """Set the fitted attributes from a saved model."""
        self._validate_params()
        columns = InputSpec(
            type(self).__name__,
            found.value("n_features_in_"),
            None if found.feature_names is None else tuple(found.feature_names),
            found.schema,
            found.image_shape,
            found.value("missing"),
            found.cells,
            found.container,
            found.row_shape,
        )
        learned = {name: found.value(name) for name in self._fitted_json}
        learned |= {name: found.array(name) for name in self._fitted_arrays}
        learned |= self._learned_of(found, columns, learned)
        n_samples, fingerprint = found.value("n_samples_"), found.value("data_fingerprint_")
        store(self, Fitted(columns, found.value("seed"), n_samples, fingerprint, learned))

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        """Return additional fitted attributes from a saved model; ``learned`` holds those already read."""
        return {}


ESTIMATOR_REGISTRY = Registered(Saveable)
"""All estimator classes by name. Each subclass of `Saveable` is registered, so that `load` finds it."""


class Learned(Saveable):
    """Base class of estimators with one fitted model."""

    model_: Model
    scaler_: Scaler
    history_: dict[str, list[float]]
    best_epoch_: int
    n_epochs_: int

    @property
    def predictor_(self) -> Predictor:
        """Predictions for arrays of rows in the user's units, without input checks."""
        check_is_fitted(self)
        return Predictor(self.model_, self.scaler_, self.input_)

    def __getstate__(self) -> dict[str, object]:
        """Return the state for pickle and skops; the weights are NumPy arrays, since skops cannot restore JAX's."""
        return with_weights(np.asarray, super().__getstate__())

    def __setstate__(self, state: dict[str, object]) -> None:
        jax_config.check_usable()
        super().__setstate__(with_weights(jax.device_put, state))

    def _stored(self) -> Stored:
        own = {name: getattr(self, name) for name in ("history_", "best_epoch_", "n_epochs_")}
        stored = super()._stored()
        return replace(stored, fitted=stored.fitted | own, model=self.model_, scaler=self.scaler_)


@dataclass(kw_only=True, eq=False, repr=False)
class TrainableEstimator(Learned, ABC):
    """Base class of all trained estimators; `BaseAutoencoder` is the base class of autoencoders."""

    max_epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    learning_rate_schedule: str | Schedule = "cosine"
    optimizer: str | Optimizer | tuple[Any, ...] | None = "adam"
    validation_fraction: float | str | None = "auto"
    early_stopping: bool = False
    patience: int = 10
    retries: int = 0
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _steps: ClassVar[int] = 2_000
    _most_epochs: ClassVar[int] = 1_000
    """Default number of steps and maximum number of epochs, for ``max_epochs=None``."""
    _rate: ClassVar[float] = 0.034
    """Peak learning rate for a layer with one input."""

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "max_epochs": [Interval(numbers.Integral, 0, MAX_INT, closed="both"), None],
        "batch_size": [Interval(numbers.Integral, 1, MAX_INT, closed="both"), None],
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "learning_rate_schedule": [StrOptions(set(RATE_SCHEDULES)), Schedule],
        "optimizer": [StrOptions(set(OPTIMIZERS)), Optimizer, HasMethods(["init", "update"]), None],
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
        """Return the recipe defined by the parameters."""

    def set_params(self, **params: object) -> Self:
        """Set parameters; ``a__b`` replaces the component in ``a`` by a copy with a new value of its field ``b``.

        Other estimators with the same component do not change.

        Parameters
        ----------
        **params : object
            New values, by the name of the parameter.

        Returns
        -------
        Self
            The estimator itself.

        Raises
        ------
        InvalidParameter, InvalidPart
            If a parameter name is unknown, or a component cannot have the value.
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
        """Return the recipe for rows of these columns."""
        recipe = self._recipe_over(columns)
        return recipe.replace(missing="mask") if columns.allow_missing else recipe

    def _recipe_over(self, columns: InputSpec) -> Recipe:
        """Return the recipe defined by the parameters and the columns."""
        return self._recipe(columns.width)

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        scaler, zeros = found.scaler(columns.width), jnp.zeros(columns.width)
        recipe = self._formula_of_saved(columns, learned).fit_units(zeros, zeros).fit_bounds(zeros, zeros)
        return {
            **{name: found.value(name) for name in ("history_", "best_epoch_", "n_epochs_")},
            "scaler_": scaler,
            "model_": found.model(recipe, columns.width),
        }

    def _formula_of_saved(self, columns: InputSpec, learned: Mapping[str, object]) -> Recipe:
        """Return the recipe of a saved model; ``learned`` holds its fitted attributes."""
        return self._formula(columns)


def is_shown(estimator: TrainableEstimator) -> bool:
    """Return whether to show the progress of training and reading."""
    return bool(estimator.verbose) and current().is_main_process


def identity_of(estimator: TrainableEstimator, seed: int, columns: InputSpec, fingerprint: str) -> dict[str, object]:
    """Return the properties that must be equal to resume a training from its checkpoint."""
    given = serialization.parameters(estimator, seed).items()
    return {
        "estimator": type(estimator).__name__,
        "parameter": {name: value for name, value in given if name not in ("random_state", "verbose")},
        "seed": seed,
        "data": {"fingerprint": fingerprint, "columns": columns.n_features},
        "version": files.versions(),
    }


def share_held_out(estimator: TrainableEstimator, X_val: object, n_rows: int) -> float:
    """Return the fraction of the rows to hold out for validation; 0 if there are separate validation rows."""
    if X_val is not None:
        return 0.0
    if estimator.early_stopping and not estimator.validation_fraction:
        raise InvalidParameter(
            f"early_stopping=True needs validation rows, but validation_fraction is {estimator.validation_fraction!r}. "
            "Set validation_fraction, pass X_val to fit, or set early_stopping=False."
        )
    if estimator.validation_fraction == "auto":
        return max(_HELD_OUT, min(_MOST_HELD_OUT, _ENOUGH_ROWS / n_rows))
    return float(estimator.validation_fraction or 0.0)


def plan_of(estimator: TrainableEstimator, n_rows: int, model: Model, width: int, seed: int) -> TrainConfig:
    """Return the training plan of a model for ``n_rows`` rows of ``width`` features."""
    optimizer, schedule = _optimizer_of(estimator)
    batch_size = int(estimator.batch_size or model.recipe.encoder.rows_per_step(width))
    default = min(max(_LEAST_EPOCHS, -(-estimator._steps // -(-n_rows // batch_size))), estimator._most_epochs)
    rate = _rate_for(model, optimizer, estimator._rate) if estimator.learning_rate is None else estimator.learning_rate
    return TrainConfig(
        max_epochs=default if estimator.max_epochs is None else estimator.max_epochs,
        batch_size=batch_size,
        learning_rate=rate,
        learning_rate_schedule=schedule,
        optimizer=optimizer,
        patience=estimator.patience if estimator.early_stopping else None,
        seed=seed,
    )


def stored_of(estimator: Saveable) -> Stored:
    """Return the content of the saved model of a fitted estimator."""
    return estimator._stored()


def restore(estimator: Saveable, found: Found) -> None:
    """Set the fitted attributes of an unfitted estimator from a saved model."""
    estimator._restore(found)


def require_fitted(estimator: object, name: str = "estimator") -> None:
    """Check that an argument is a fitted estimator of diabolo.

    Raises
    ------
    InvalidParameter
        If it is something else.
    NotFittedError
        If it is not fitted.
    """
    if not isinstance(estimator, Saveable):
        raise InvalidParameter(f"{name} must be a fitted estimator of diabolo; got {reprlib.repr(estimator)}.")
    check_is_fitted(estimator)


def recipe_over(estimator: TrainableEstimator, columns: InputSpec) -> Recipe:
    """Return the recipe of an estimator, fitted or not, for rows of these columns."""
    return estimator._recipe_over(columns)


def _optimizer_of(estimator: TrainableEstimator) -> tuple[AnyOptimizer, Schedule]:
    """Return the optimizer and the schedule of its rate, which is constant for a transformation of the user's own.

    Raises
    ------
    InvalidParameter
        If there is a learning rate beside that of a transformation.
    """
    given, schedule = estimator.optimizer, estimator.learning_rate_schedule
    if not is_transformation(given):
        found = resolve("optimizer", given, OPTIMIZERS, Optimizer)
        return found, resolve("learning_rate_schedule", schedule, RATE_SCHEDULES, Schedule)
    if estimator.learning_rate is not None:
        raise InvalidParameter(
            f"learning_rate is {estimator.learning_rate!r}, but the optimizer is a transformation of Optax, which has "
            "its own learning rate. Leave learning_rate at None."
        )
    return Transformation(given), Constant()


def _rate_for(model: Model, optimizer: AnyOptimizer, rate: float) -> float:
    """Return the default peak learning rate, from the largest number of inputs of a layer; a fixed one for SGD."""
    if isinstance(optimizer, Transformation):
        return 1.0
    if isinstance(optimizer, SGD):
        return _RATE_OF_SGD
    arrays = jax.tree.leaves(model.weights.trainable()[0])
    return min(_HIGHEST_RATE, rate / max((array.shape[0] for array in arrays if array.ndim == 2), default=1) ** 0.5)
