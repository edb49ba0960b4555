"""What all estimators share: scikit-learn's protocol over the formula, the loop and the artefact.

An estimator is a table of parameters (a keyword-only dataclass, so that `__init__` only stores) and one method that
turns them into a `Recipe`. Everything else stands here once.
"""

from __future__ import annotations

import numbers
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import jax
import numpy as np
import pyarrow.dataset
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from . import artifact, inference, packing, randomness, runtime
from .checkpoint import Checkpoints
from .data import Table
from .errors import ArtifactError
from .model import Model, Recipe
from .optimizers import SGD, Adam, Optimizer
from .part import Part
from .placement import current
from .preparation import Rows, from_array, from_stream
from .progress import Bar, EpochBar, in_words
from .scaling import KINDS, Survey
from .schedules import Constant, Cosine, Schedule
from .sources import Source
from .stores import Store, open_store
from .streams import HeldOut, Stream
from .training import Keeper, Plan, Trained, train

__all__ = ["ESTIMATORS", "BaseAutoencoder", "Job", "Preparations", "documented", "load"]

OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "sgd": SGD()}
RATE_SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(), "constant": Constant()}

ESTIMATORS: dict[str, type[BaseAutoencoder]] = {}
"""Every estimator class by name; subclassing `BaseAutoencoder` enters it, so that `load` finds it."""

_LEAST_EPOCHS, _LEAST_STEPS = 20, 4_000
_FLOATS = [np.float64, np.float32]
_FILES = str | os.PathLike | pyarrow.dataset.Dataset

_COMMON_PARAMETERS = """
    max_epochs : int or None, default=None
        Passes over the training rows. None: as many as make 4,000 steps of the optimiser, and at least 20. 0: none, and
        the weights are kept as they were drawn, or pre-trained.
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
        The share of rows held out to choose the best epoch, if `fit` is given no ``X_val``. 0 or None: none, and the
        last epoch is kept.
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


class Job(NamedTuple):
    """A training that is ready to begin."""

    model: Model
    rows: Rows
    plan: Plan


Preparations = dict[tuple[Any, ...], Rows]
"""Rows by the choices that they were prepared with."""


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
        "max_epochs": [Interval(numbers.Integral, 0, None, closed="left"), None],
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
        tags.input_tags.sparse = True
        return tags

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_val: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 30.0,
        resume: bool = False,
    ) -> Self:
        """Learn to reconstruct ``X``.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory
            Finite numbers, in your own units. Besides arrays and data frames: a path or glob of .npy, .parquet, .csv or
            image files, a `pyarrow.dataset.Dataset`, a memory-mapped array, a sparse matrix, or any iterable of chunks
            (n_i, d). What takes more than 64 MB as 32-bit floats is read in chunks, mixed anew in every epoch.
        y : ignored
        X_val : array-like of shape (m, d) or None, default=None
            Rows to choose the best epoch by, in place of a share of ``X``, all of which is then trained on.
        checkpoint_dir : path or None, default=None
            A folder to keep the training's state in, so that it can go on if it is stopped.
        checkpoint_every : float, default=30
            Seconds between two states. An interruption keeps one more.
        resume : bool, default=False
            Go on from ``checkpoint_dir``, if there is something in it. The weights will be those of a training that was
            never stopped, to the bit.

        Raises
        ------
        ValueError
            If rows are too few, not numbers or not finite, or a parameter is out of range.
        InvalidPart, InvalidData
            If two parts do not fit each other, or the rows the likelihood.
        TrainingDiverged
            If the loss stops being finite.
        CheckpointError
            If checkpoints cannot be written, or are of other data, parameters or versions.
        """
        self._validate_params()
        kept, leads = None, current().is_leader
        if checkpoint_dir is not None:
            kept = Checkpoints(checkpoint_dir, every=checkpoint_every, resume=resume, writes=leads)
        with kept or nullcontext():
            keeper: Callable[[str], Keeper | None] = kept.stage if kept is not None else lambda stage: None
            job = self._begun(X, self._drawn_seed(kept), kept, X_val=X_val)
            job = job._replace(model=self._start(job, keeper))
            with self._bar("training", job.plan) as bar:
                rows = job.rows
                trained = train(job.model, rows.training, job.plan, rows.held_out, bar, keeper("training"), bar.within)
        return self._ended(job, trained)

    def _begun(
        self,
        X: Any,
        seed: int,
        kept: Checkpoints | None = None,
        prepared: Preparations | None = None,
        X_val: Any = None,
    ) -> Job:
        """What there is to train: rows scaled and split, weights drawn, the plan."""
        self._seed = seed
        given = self._opened(X)
        model = Model.build(self._recipe(self.n_features_in_), self.n_features_in_, seed)
        fraction = self.validation_fraction or 0.0 if X_val is None else 0.0
        rows = self._prepared(given, model, fraction, {} if prepared is None else prepared)
        if X_val is not None:
            rows = rows.judged_by(validate_data(self, X_val, dtype=_FLOATS, reset=False))
        if kept is not None:
            kept.identify(self._identity(rows.fingerprint))
        self.scaler_ = rows.scaler
        return Job(model.bind(*rows.bounds), rows, self._plan(rows.training.n_rows))

    def _ended(self, job: Job, trained: Trained) -> Self:
        """Enter the outcome."""
        self.model_, self.history_ = trained.model, trained.history
        self.best_epoch_, self.n_epochs_ = trained.best_epoch, trained.n_epochs
        self.n_samples_, self.data_fingerprint_ = job.rows.n_samples, job.rows.fingerprint
        self._finish(job.rows.training)
        return self

    def _drawn_seed(self, kept: Checkpoints | None) -> int:
        """From ``random_state``; that of the kept training, where none is asked for."""
        identity = kept.identity() if kept is not None and self.random_state is None else None
        drawn = identity["seed"] if identity else check_random_state(self.random_state).randint(2**30)
        return current().agreed(int(drawn))

    def _identity(self, fingerprint: str) -> dict[str, Any]:
        """What a training must have in common with one that it goes on with."""
        given = packing.parameters(self).items()
        return {
            "estimator": type(self).__name__,
            "parameter": {name: value for name, value in given if name not in ("random_state", "verbose")},
            "seed": self._seed,
            "data": {"fingerprint": fingerprint, "columns": self.n_features_in_},
            "version": artifact.versions(),
        }

    def _opened(self, X: Any) -> Any:
        """A store or an array, whose columns are now known."""
        rows: Any = open_store(X)
        if isinstance(rows, Store):
            self._meet(rows, reset=True)
        else:
            rows = X if rows is None else rows.as_input()
            rows = validate_data(self, rows, dtype=_FLOATS, ensure_min_samples=2)
        return rows

    def _prepared(self, given: Any, model: Model, fraction: float, known: Preparations) -> Rows:
        """Rows as training takes them: scaled, and a share held out; those known are used again."""
        support = model.recipe.likelihood.support
        choices = (self.scaling, support, fraction, self._seed)
        if choices not in known:
            survey = Survey(self.scaling, support)
            if isinstance(given, Store):
                stream = Stream(given, HeldOut(given, fraction, self._seed), self._seed)
                self._announce(stream, model)
                with Bar(f"{type(self).__name__} reading", given.n_rows, self._speaks) as bar:
                    known[choices] = from_stream(stream, survey, bar.show)
            else:
                known[choices] = from_array(given, survey, fraction, self._seed)
        return known[choices]

    def _meet(self, store: Store, *, reset: bool) -> None:
        """Learn the columns of a store, or see that they are those known."""
        validate_data(self, Table(store.checked(0)[:2], store.names).as_input(), dtype=_FLOATS, reset=reset)

    def _start(self, job: Job, keeper: Callable[[str], Keeper | None]) -> Model:
        """The model that training begins with."""
        return job.model

    def _finish(self, training: Source) -> None:
        """Whatever a system reports of its training rows, given in scaled units."""

    @property
    def _speaks(self) -> bool:
        return bool(self.verbose) and current().is_leader

    def _announce(self, training: Stream, model: Model) -> None:
        """One line before a training on rows that are read in chunks."""
        if not self._speaks:
            return
        n_epochs = self._plan(training.n_rows).max_epochs
        n_weights = sum(leaf.size for leaf in jax.tree.leaves(model.weights.apart()[0]))
        seconds = runtime.seconds_for(6.0 * n_weights * training.n_rows * n_epochs)
        held = training.chunk_bytes * 2 + 16 * n_weights  # a chunk and the next; weights, gradient, two moments
        print(
            f"{training.n_rows:,} rows × {training.n_features:,} columns in {training.n_chunks:,} chunks, "
            f"{held / 2**20:,.0f} MB on the device, {n_epochs:,} epochs: about {in_words(seconds)} or more",
            file=sys.stderr,
        )

    def _bar(self, what: str, plan: Plan) -> EpochBar:
        return EpochBar(plan.max_epochs, f"{type(self).__name__} {what}", self._speaks)

    def _plan(self, n_rows: int) -> Plan:
        default = max(_LEAST_EPOCHS, -(-_LEAST_STEPS // -(-n_rows // self.batch_size)))
        return Plan(
            max_epochs=default if self.max_epochs is None else self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            learning_rate_schedule=resolve(
                "learning_rate_schedule", self.learning_rate_schedule, RATE_SCHEDULES, Schedule
            ),
            optimizer=resolve("optimizer", self.optimizer, OPTIMIZERS, Optimizer),
            patience=self.patience if self.early_stopping else None,
            seed=self._seed,
        )

    # -- using --------------------------------------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.recipe.latent.n_latent)

    def _rows(self, X: Any) -> np.ndarray:
        if self._is_plain(X):
            return X
        rows: np.ndarray = validate_data(self, X, dtype=_FLOATS, reset=False)
        return rows

    def _is_plain(self, X: Any) -> bool:
        """Whether scikit-learn would find nothing to do or to say: for one row, asking takes longer than the model."""
        if type(X) is not np.ndarray or X.dtype not in _FLOATS or X.ndim != 2 or hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return len(X) > 0 and X.shape[1] == self.n_features_in_ and bool(np.isfinite(X.sum()))

    def _mapped(self, X: Any, op: Callable[[np.ndarray, int], Any]) -> Any:
        """What ``op`` makes of rows and the first one's number; of rows that do not fit in memory, span by span."""
        check_is_fitted(self)
        opened = open_store(X, tuple(getattr(self, "feature_names_in_", ())) if isinstance(X, _FILES) else ())
        if not isinstance(opened, Store):
            return op(self._rows(X if opened is None else opened.as_input()), 0)
        self._meet(opened, reset=False)
        pieces, first = [], 0
        with Bar(f"{type(self).__name__} reading", opened.n_rows, self._speaks) as bar:
            for rows in opened.spans():
                pieces.append(op(rows, first))
                first += len(rows)
                opened.release()
                bar.show(first)
        return jax.tree.map(lambda *some: np.concatenate(some), *pieces)

    def _said(self, op: inference.Op, rows: np.ndarray, *static: Any, **noise: int) -> Any:
        """What the model says of rows in the user's units, in the network's."""
        return inference.by_rows(op, self.model_, rows, *static, scaler=self.scaler_, **noise)

    def _codes(self, Z: Any) -> np.ndarray:
        check_is_fitted(self)
        codes: np.ndarray = check_array(Z, dtype=_FLOATS, input_name="Z")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {codes.shape[1]} columns, but {type(self).__name__} has codes of {self._n_features_out}."
            )
        return codes

    def transform(self, X: Any) -> np.ndarray:
        """The deterministic codes: activations, or posterior means.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory, as for `fit`

        Returns
        -------
        Z : array of shape (n, K), of X's floating type
        """
        return self._mapped(X, lambda rows, _: self._said(inference.code, rows).astype(rows.dtype))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """From codes (n, K) to rows (n, d): E[x | z], in the units of the training data."""
        Z = self._codes(X)
        return self.scaler_.invert(inference.by_rows(inference.decode, self.model_, Z)).astype(Z.dtype)

    def reconstruct(self, X: Any) -> np.ndarray:
        """x̂ = E[x | z(x)] for each row, (n, d) → (n, d), in the units of X."""

        def rebuilt(rows: np.ndarray, _: int) -> np.ndarray:
            return self.scaler_.invert(self._said(inference.reconstruct, rows)).astype(rows.dtype)

        return self._mapped(X, rebuilt)

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
        return self._in_units(self._mapped(X, lambda rows, _: self._said(inference.log_likelihood, rows)))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, in nats."""
        return float(self.score_samples(X).mean())

    def corrupt(self, X: Any, random_state: int = 0) -> np.ndarray:
        """What training does to rows before the encoder sees them, x̃ = g(x): (n, d) → (n, d), in the units of X."""

        def noisy(rows: np.ndarray, first: int) -> np.ndarray:
            scaled = self._said(inference.corrupt, rows, seed=random_state, first_row=first)
            return self.scaler_.invert(scaled).astype(rows.dtype)

        return self._mapped(X, noisy)

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
        z = np.asarray(self.model_.prior.sample(randomness.key(seed), (n_samples,)))
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
        return self._mapped(X, lambda rows, _: self._said(inference.kl, rows).astype(np.float64))

    def _log_weights(self, X: Any, n_samples: int) -> Any:
        _require_positive(n_samples)
        return self._mapped(X, lambda rows, _: self._said(inference.log_weight_sums, rows, n_samples))

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
