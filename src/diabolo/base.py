"""What all estimators share: scikit-learn's protocol over the formula, the loop and the artefact.

An estimator is a table of parameters (a keyword-only dataclass, so that `__init__` only stores) and one method that
turns them into a `Recipe`. Everything else stands here once.
"""

from __future__ import annotations

import numbers
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from . import artifact, inference, packing
from .errors import ArtifactError
from .model import Model, Recipe
from .optimizers import SGD, Adam, Optimizer
from .part import Part
from .progress import EpochBar
from .scaling import KINDS, Scaler
from .schedules import Constant, Cosine, Schedule
from .sources import Resident
from .training import Plan, train

__all__ = ["ESTIMATORS", "BaseAutoencoder", "documented", "load"]

OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "sgd": SGD()}
RATE_SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(), "constant": Constant()}

ESTIMATORS: dict[str, type[BaseAutoencoder]] = {}
"""Every estimator class by name; subclassing `BaseAutoencoder` enters it, so that `load` finds it."""

_LEAST_EPOCHS, _LEAST_STEPS = 20, 4_000

_COMMON_PARAMETERS = """
    max_epochs : int or None, default=None
        Passes over the training rows. None: as many as make 4,000 steps of the optimiser, and at least 20.
    batch_size : int, default=128
        Rows per step of the optimiser.
    learning_rate : float, default=1e-3
        The optimiser's peak rate.
    learning_rate_schedule : {"cosine", "constant"} or Schedule, default="cosine"
        The factor on the rate over time.
    optimizer : {"adam", "sgd"} or Optimizer, default="adam"
    scaling : {"auto", "standard", "minmax", "range"} or None, default="auto"
        How features are brought into the network's units; undone in everything that comes out. "standard": mean 0 and
        standard deviation 1. "minmax": each feature onto [0, 1]. "range": all features onto [0, 1] by one map, as
        pixels want it. "auto": "standard" for a likelihood on real numbers; for one on [0, 1], None if the rows lie
        there and "minmax" otherwise. None: as they are.
    validation_fraction : float in [0, 1) or None, default=0.1
        The share of rows held out to choose the best epoch. 0 or None: none, and the last epoch is kept.
    early_stopping : bool, default=False
        Stop once ``patience`` epochs have not improved on the best held-out one. The best epoch's weights are kept
        either way.
    patience : int, default=10
    random_state : int, RandomState or None, default=None
        Fixes the weights' start, the held-out rows, the order of rows and all noise. Two fits with one int give the
        same bits.
    verbose : int, default=0
        1: a progress bar, if standard error is a terminal.
"""

_COMMON_ATTRIBUTES = """
    history_ : dict of str to list of float
        The learning curves, a number per epoch: ``loss`` and its terms in nats (means over rows, in scaled units),
        ``beta``, ``learning_rate``, and under ``validation_…`` the same for held-out rows at β = 1.
    best_epoch_, n_epochs_ : int
        The epoch whose weights are kept, counted from 1, and how many were run.
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
    """Put the shared parameters and attributes into a class's docstring, where it says ``{common}``."""
    assert cls.__doc__ is not None
    parameters, attributes = _COMMON_PARAMETERS.strip(), _COMMON_ATTRIBUTES.strip()
    cls.__doc__ = cls.__doc__.replace("{common parameters}", parameters).replace("{common attributes}", attributes)
    return cls


def resolve(name: str, value: Any, table: dict[str, Any], base: type[Part]) -> Any:
    """A part, from a part or the name of one."""
    if isinstance(value, base):
        return value
    if isinstance(value, str) and value in table:
        return table[value]
    options = ", ".join(map(repr, table))
    raise ValueError(f"The {name!r} parameter must be one of {options} or a {base.__name__}; got {value!r}.")


def _require_positive(n_samples: Any) -> None:
    if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
        raise ValueError(f"n_samples must be a whole number of at least 1; got {n_samples!r}.")


def _is_stochastic(estimator: BaseAutoencoder) -> bool:
    recipe = estimator.model_.recipe if hasattr(estimator, "model_") else estimator._recipe(2)
    if not recipe.latent.stochastic:
        raise AttributeError(f"{type(estimator).__name__} has a deterministic code: there is no posterior to ask.")
    return True


@dataclass(kw_only=True, eq=False, repr=False)
class BaseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """Base of all estimators; see `Autoencoder` for one whose every slot is free."""

    max_epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str | Schedule = "cosine"
    optimizer: str | Optimizer = "adam"
    scaling: str | None = "auto"
    validation_fraction: float | None = 0.1
    early_stopping: bool = False
    patience: int = 10
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_epochs": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "learning_rate": [Interval(numbers.Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions(set(RATE_SCHEDULES)), Schedule],
        "optimizer": [StrOptions(set(OPTIMIZERS)), Optimizer],
        "scaling": [StrOptions(set(KINDS)), None],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left"), None],
        "early_stopping": ["boolean"],
        "patience": [Interval(numbers.Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ESTIMATORS[cls.__name__] = cls

    @abstractmethod
    def _recipe(self, n_features: int) -> Recipe:
        """The formula's parts, from the parameters."""

    # -- parameters ---------------------------------------------------------------------------------------------------

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``slot__field`` replaces the part in ``slot`` by one with another ``field``.

        Parts are values: other estimators that hold the same part do not see the change.
        """
        plain: dict[str, Any] = {}
        for key in sorted(params, key=lambda name: name.count("__")):
            slot, _, rest = key.partition("__")
            current = plain.get(slot, getattr(self, slot, None))
            if rest and isinstance(current, Part):
                plain[slot] = current.replace(**{rest: params[key]})
            else:
                plain[key] = params[key]
        super().set_params(**plain)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn to reconstruct ``X``.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Finite numbers, in your own units.
        y : ignored

        Raises
        ------
        ValueError
            If rows are too few, not numbers or not finite, or a parameter is out of range.
        InvalidPart, InvalidData
            If two parts do not fit each other, or the rows the likelihood.
        TrainingDiverged
            If the loss stops being finite.
        """
        self._validate_params()
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        recipe = self._recipe(self.n_features_in_)
        self._seed = int(check_random_state(self.random_state).randint(2**30))
        rows, held_out = self._split(X)
        self.scaler_ = Scaler.fit(self.scaling, rows, recipe.likelihood.support)
        rows, held_out = self.scaler_.apply(rows), self.scaler_.apply(held_out)
        recipe = recipe.bind(jnp.asarray(rows.min(axis=0)), jnp.asarray(rows.max(axis=0)))
        plan = self._plan(len(rows))
        model = self._start(Model.build(recipe, self.n_features_in_, self._seed), rows, held_out, plan)
        with self._bar("training", plan) as bar:
            trained = train(model, Resident(rows), plan, Resident(held_out) if len(held_out) else None, bar)
        self.model_, self.history_ = trained.model, trained.history
        self.best_epoch_, self.n_epochs_ = trained.best_epoch, trained.n_epochs
        self.n_samples_, self.data_fingerprint_ = len(X), artifact.fingerprint(X)
        self._finish(rows)
        return self

    def _start(self, model: Model, rows: np.ndarray, held_out: np.ndarray, plan: Plan) -> Model:
        """The model that training begins with."""
        return model

    def _finish(self, rows: np.ndarray) -> None:
        """Whatever a system reports of its training rows, given in scaled units."""

    def _bar(self, what: str, plan: Plan) -> EpochBar:
        return EpochBar(plan.max_epochs, f"{type(self).__name__} {what}", bool(self.verbose))

    def _plan(self, n_rows: int) -> Plan:
        steps_per_epoch = -(-n_rows // self.batch_size)
        return Plan(
            max_epochs=self.max_epochs or max(_LEAST_EPOCHS, -(-_LEAST_STEPS // steps_per_epoch)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            learning_rate_schedule=resolve(
                "learning_rate_schedule", self.learning_rate_schedule, RATE_SCHEDULES, Schedule
            ),
            optimizer=resolve("optimizer", self.optimizer, OPTIMIZERS, Optimizer),
            patience=self.patience if self.early_stopping else None,
            seed=self._seed,
        )

    def _split(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.validation_fraction:
            return X, X[:0]
        n_held_out = min(max(1, round(len(X) * self.validation_fraction)), len(X) - 1)
        order = np.random.default_rng([self._seed, 2]).permutation(len(X))
        return X[np.sort(order[n_held_out:])], X[np.sort(order[:n_held_out])]

    # -- using --------------------------------------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.recipe.latent.n_latent)

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        rows: np.ndarray = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return rows

    def _codes(self, Z: Any) -> np.ndarray:
        check_is_fitted(self)
        codes: np.ndarray = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {codes.shape[1]} columns, but {type(self).__name__} has codes of {self._n_features_out}."
            )
        return codes

    def transform(self, X: Any) -> np.ndarray:
        """The deterministic codes: activations, or posterior means.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        Z : array of shape (n, K), of X's floating type
        """
        X = self._rows(X)
        return inference.by_rows(inference.code, self.model_, self.scaler_.apply(X)).astype(X.dtype)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """From codes (n, K) to rows (n, d): E[x | z], in the units of the training data."""
        Z = self._codes(X)
        return self.scaler_.invert(inference.by_rows(inference.decode, self.model_, Z)).astype(Z.dtype)

    def reconstruct(self, X: Any) -> np.ndarray:
        """x̂ = E[x | z(x)] for each row, (n, d) → (n, d), in the units of X."""
        X = self._rows(X)
        scaled = inference.by_rows(inference.reconstruct, self.model_, self.scaler_.apply(X))
        return self.scaler_.invert(scaled).astype(X.dtype)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of each row, in nats and in X's units; higher is more ordinary. Deterministic.

        For a deterministic code it is log p(x | z(x)); for a variational one an importance-weighted estimate of
        log p(x), with the same noise for every row and every call.

        Returns
        -------
        array of shape (n,)
        """
        check_is_fitted(self)
        if self.model_.recipe.latent.stochastic:
            return self.log_likelihood(X)
        scaled = self.scaler_.apply(self._rows(X))
        return self._in_units(inference.by_rows(inference.log_likelihood, self.model_, scaled))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, in nats."""
        return float(self.score_samples(X).mean())

    def corrupt(self, X: Any, random_state: int = 0) -> np.ndarray:
        """What training does to rows before the encoder sees them, x̃ = g(x): (n, d) → (n, d), in the units of X."""
        X = self._rows(X)
        noisy = inference.by_rows(inference.corrupt, self.model_, self.scaler_.apply(X), seed=random_state)
        return self.scaler_.invert(noisy).astype(X.dtype)

    def _in_units(self, log_density: np.ndarray) -> np.ndarray:
        change = 0.0 if self.model_.recipe.likelihood.discrete else self.scaler_.log_volume
        return log_density.astype(np.float64) - change

    # -- using a posterior --------------------------------------------------------------------------------------------

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def sample(self, n_samples: int = 1, *, noise: bool = True, random_state: int | None = None) -> np.ndarray:
        """New rows: z from the prior, then x from p(x | z).

        Parameters
        ----------
        n_samples : int, default=1
        noise : bool, default=True
            False: E[x | z] in place of a draw from p(x | z), as one shows images.
        random_state : int or None, default=None

        Returns
        -------
        array of shape (n_samples, d), float64, in the units of the training data
        """
        check_is_fitted(self)
        _require_positive(n_samples)
        seed = int(check_random_state(random_state).randint(2**30))
        z = np.asarray(self.model_.prior.sample(jax.random.key(seed), (n_samples,)))
        op = inference.draw if noise else inference.decode
        return self.scaler_.invert(inference.by_rows(op, self.model_, z, seed=seed))

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def elbo(self, X: Any, n_samples: int = 64) -> np.ndarray:
        """The evidence lower bound of each row at β = 1, (n,), in nats; a mean over ``n_samples`` draws of z."""
        return self._in_units(self._log_weights(X, n_samples)[0])

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def log_likelihood(self, X: Any, n_samples: int = 64) -> np.ndarray:
        """An importance-weighted estimate of log p(x) for each row, (n,), in nats (Burda et al. 2016, eq. 8)."""
        return self._in_units(self._log_weights(X, n_samples)[1])

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def kl(self, X: Any) -> np.ndarray:
        """KL(q(z | x) ‖ π) per row and coordinate, (n, K), in nats."""
        return inference.by_rows(inference.kl, self.model_, self.scaler_.apply(self._rows(X))).astype(np.float64)

    def _log_weights(self, X: Any, n_samples: int) -> Any:
        _require_positive(n_samples)
        return inference.by_rows(inference.log_weight_sums, self.model_, self.scaler_.apply(self._rows(X)), n_samples)

    # -- keeping ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder of JSON and safetensors that `diabolo.load` reads; see `diabolo.artifact`.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model, or a parameter is not JSON.
        """
        check_is_fitted(self)
        artifact.write(path, *packing.pack(self))

    _fitted_arrays: ClassVar[tuple[str, ...]] = ()
    """Fitted attributes of a subclass's own that are arrays,"""
    _fitted_json: ClassVar[tuple[str, ...]] = ()
    """and those that are JSON."""


def load(path: str | os.PathLike[str]) -> Any:
    """The estimator that `save` wrote, every output equal to the bit.

    Raises
    ------
    ArtifactError
        If the folder is missing, damaged, or of a later format.
    UnknownPart
        If it uses a part of your own whose module has not been imported.
    """
    manifest, arrays = artifact.read(path)
    cls = ESTIMATORS.get(manifest["estimator"])
    if cls is None:
        raise ArtifactError(
            f"{path} holds a {manifest['estimator']}, which is not among diabolo's estimators. "
            "Import the module that defines it, then load again."
        )
    return packing.unpack(cls, manifest, arrays)
