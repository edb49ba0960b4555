"""Fit autoencoders: one with `BaseAutoencoder.fit`, several together with `fit_together`.

An autoencoder is a set of parameters and one method that converts them to a `Recipe`. This module defines the steps of
a fit: open the rows, prepare a job, train, store the result. `reconstructor` has the methods of a fitted autoencoder.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import ClassVar, Self

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import jax_config
from ..callbacks import Callback, ModelCallback
from ..core.component import Registered
from ..core.likelihoods import by_column
from ..core.model import Model, Recipe
from ..data.blocks import BlockReader
from ..data.scaler import KINDS, KnownScaler, ScalerStats
from ..data.schema import SchemaOverrides
from ..data.types import Name, RowsLike
from ..engine.evaluation import Evaluation, evaluate, losses_at_best, settle
from ..engine.jobs import (
    ContinuedStart,
    LinearStart,
    Outcome,
    RandomStart,
    Start,
    TrainingJob,
    in_memory,
    train_together,
    training,
    warning_of,
)
from ..engine.loader import ShuffledLoader, ValidationSplit
from ..engine.progress import Bar, in_words
from ..engine.sharding import current
from ..engine.splits import Rows, from_array, from_stream
from ..errors import InvalidParameter, TrainingDiverged, TrainingWarning
from .arguments import check_arguments, seed_from
from .condition import Condition
from .input import InputSpec, Opened
from .reconstructor import Reconstructor
from .result import Fitted, store
from .row_weights import NEEDS_MEMORY, with_positive_weights
from .trainable import TrainableEstimator, identity_of, is_shown, plan_of, share_held_out

__all__ = ["ESTIMATORS", "BaseAutoencoder", "Together", "chosen_by", "fit_together"]

_OTHER = (
    "The model in init has other weights than this estimator: give both the same parameters, and rows with the same "
    "columns. Only a model fitted to rows with missing cells can continue with such rows."
)
_FREEZABLE = ("encoder", "decoder", "latent", "prior", "likelihood")
Preparations = dict[tuple[object, ...], Rows]
"""Prepared rows, by the settings of the preparation."""


@dataclass(kw_only=True, eq=False, repr=False)
class BaseAutoencoder(Reconstructor, TrainableEstimator):
    """Base class of all autoencoders; see `Autoencoder` for the general one."""

    scaling: str | None = "auto"
    init: str | FrozenEstimator | Reconstructor = "closed_form"
    schema: str | SchemaOverrides | None = "auto"
    condition: Name | Sequence[Name] | None = None
    frozen: tuple[str, ...] = ()

    _fitted_json: ClassVar[tuple[str, ...]] = ("evaluation_",)

    _most_from_linear: ClassVar[int] = 200
    """Maximum number of epochs for ``max_epochs=None`` if training starts at the best linear model."""
    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **TrainableEstimator._parameter_constraints,
        "scaling": [StrOptions(set(KINDS)), None],
        "init": [StrOptions({"closed_form", "random"}), FrozenEstimator, Reconstructor],
        "schema": [StrOptions({"auto"}), dict, None],
        "condition": [str, Integral, list, tuple, None],
        "frozen": [tuple, list],
    }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.sparse = tags.input_tags.three_d_array = True
        return tags

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: RowsLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: RowsLike | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 30.0,
        resume: bool = False,
        callback: Callback | ModelCallback | None = None,
    ) -> Self:
        """Train the autoencoder to reconstruct ``X``.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows
            Numbers, in any units. NaN is a missing cell: the encoder gets a mask of the missing cells, and the
            likelihood uses the known cells only. ``X`` can be an array, a data frame, a path or glob of .npy, .parquet,
            .csv or image files, an SQL query over files or databases (extra ``sql``), a `pyarrow.dataset.Dataset`, a
            memory-mapped array, a sparse matrix, or any iterable of chunks (n_i, d). Rows that need more than 64 MB as
            32-bit floats are read in chunks, and shuffled again in every epoch. Tables may have columns of text, dates
            and booleans as well: see ``schema``. Series or images may be an array of shape (n, length, channels), or of
            more axes: results have the shape of their input.
        y : array-like of shape (n,) or None, default=None
            Ignored: an autoencoder has no labels. Validation rows are ``X_val``.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, at least 0: the loss is Σ wᵢ·𝓛ᵢ / Σ wᵢ, as if row i were there wᵢ times; so are the
            scaling, the closed-form start and the validation loss. Rows of weight 0 are left out. A common factor does
            not matter. ``X`` must be in memory. None: all rows count alike.
        X_val : array-like of shape (m, d) or None, default=None
            Validation rows, to choose the best epoch. None: a fraction of ``X``, see ``validation_fraction``. With
            ``X_val``, all rows of ``X`` are training rows.
        checkpoint_dir : path or None, default=None
            Folder for checkpoints, so that an interrupted training can resume.
        checkpoint_every : float, default=30
            Seconds between two checkpoints. An interruption writes one more.
        resume : bool, default=False
            Whether to resume from the checkpoint in ``checkpoint_dir``, if there is one. The final weights are equal,
            bit for bit, to the weights of an uninterrupted training.
        callback : Callback, ModelCallback or None, default=None
            Function called after each epoch with the number of the epoch and its record; with a third parameter, also
            with a fitted copy of the model so far. If it returns True, the training stops. See `diabolo.callbacks`.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        ValueError
            If there are too few rows, a cell is not a number or infinite, or a parameter is out of range.
        InvalidPart, InvalidData
            If two components do not fit each other, or the rows do not fit the likelihood.
        TrainingDiverged
            If the loss becomes NaN or infinite.
        CheckpointError
            If checkpoints cannot be written, or belong to other data, parameters or versions.
        TrainingInterrupted
            On Ctrl-C after the first epoch. It is a `KeyboardInterrupt`. If the estimator was not fitted before, it is
            fitted with the best epoch so far; a former fit is kept.
        """
        self._validate_params()
        check_arguments(y=y, checkpoint_dir=checkpoint_dir, resume=resume)
        drawn = seed_from(self.random_state)
        with training(checkpoint_dir, checkpoint_every, resume, callback, self.retries, bool(self.verbose)) as trainer:
            seed = trainer.seed(drawn, is_given=self.random_state is not None)
            begun = self._begun() if isinstance(self.init, FrozenEstimator) else None
            wanted = self.schema if begun is None or begun.schema_ is None else begun.schema_
            weights = None
            if sample_weight is not None:
                X, weights = with_positive_weights(X, sample_weight)
            opened = InputSpec.learn(type(self).__name__, X, wanted, any_shape=True)
            columns, job = self._job(opened, seed, X_val, weights=weights)
            is_kept = trainer.checkpoints is not None
            outcome = trainer.train(
                job,
                identity_of(self, seed, columns, job.rows.fingerprint) if is_kept else {},
                lambda so_far: store(clone(self), self._fitted(columns, so_far, None)),
            )
            fitted, concern = self._ended(columns, outcome)
        store(self, fitted, outcome.interrupted)
        if trainer.verbose and sys.stderr.isatty() and (chosen := chosen_by(self)):
            print(f"chosen: {chosen}", file=sys.stderr)
        for warning in (warning_of(outcome), concern):
            if warning is not None:
                warnings.warn(warning, stacklevel=2)
        return self

    def _job(
        self,
        given: Opened,
        seed: int,
        X_val: RowsLike | None = None,
        known: Preparations | None = None,
        weights: np.ndarray | None = None,
    ) -> tuple[InputSpec, TrainingJob]:
        """Prepare the columns and the training job: scaled and split rows, initial weights, the training plan."""
        if given.input.owner != (owner := type(self).__name__):
            given = replace(given, input=replace(given.input, owner=owner))
        if (begun := self._begun()) is not None:
            if begun.input_.width != given.input.width:
                raise InvalidParameter(_OTHER)
            given = replace(given, input=replace(given.input, allow_missing=begun.input_.allow_missing))
        recipe, fraction = self._formula(given.input), share_held_out(self, X_val, given.n_rows)
        if recipe.condition:
            Condition(given.input, recipe.condition).require_all(given)
        first, frozen = self._first(), self._frozen_parts()
        rows = self._prepared(given, recipe, fraction, seed, {} if known is None else known, weights)
        columns, width = given.input, given.input.width
        if not columns.allow_missing and (rows.missing or recipe.corruption.produces_missing):
            columns = replace(columns, allow_missing=True)
            recipe = self._formula(columns)
        if X_val is not None:
            rows = rows.judged_by(columns.rows(X_val))
        model = Model.build(recipe, width, seed)
        model = model if begun is None else _continued(begun, model)
        plan = replace(plan_of(self, rows.training.n_rows, model, width, seed), frozen=frozen)
        model = model.fit_corruption((rows.scaler.offset, rows.scaler.scale), rows.bounds)
        return columns, TrainingJob(model, rows, plan, first, columns.column_of_feature)

    def _prepared(
        self,
        given: Opened,
        recipe: Recipe,
        fraction: float,
        seed: int,
        known: Preparations,
        weights: np.ndarray | None = None,
    ) -> Rows:
        """Scale the rows and hold out a fraction of them; reuse rows already prepared with the same settings."""
        supports = recipe.likelihood.supports(given.input.width)
        is_stored = isinstance(given.rows, BlockReader)
        shape: tuple[int, ...] = getattr(recipe.encoder, "shape", ())
        n_units = shape[1] if len(shape) == 2 else 1 if shape or given.input.image_shape is not None else None
        begun = self._begun()
        scaling = self.scaling if begun is None else id(begun)
        choices = (scaling, supports, n_units, fraction, seed if is_stored or fraction else None)
        if choices not in known:
            survey = ScalerStats(self.scaling, supports, n_units)
            survey = survey if begun is None else KnownScaler(begun.scaler_, supports)
            if isinstance(given.rows, BlockReader):
                if weights is not None:
                    raise InvalidParameter(NEEDS_MEMORY)
                stream = ShuffledLoader(given.rows, ValidationSplit(given.rows, fraction, seed), seed)
                self._announce(stream, Model.build(recipe, given.input.width, 0), seed)
                with Bar(f"{given.input.owner} reading", given.n_rows, is_shown(self)) as bar:
                    known[choices] = from_stream(stream, survey, bar.show)
            else:
                known[choices] = from_array(given.rows, survey, fraction, seed, given.fingerprint, weights)
        return known[choices]

    def _first(self) -> Start:
        """Return the kind of start: the weights of another fit, random or closed-form weights."""
        if isinstance(self.init, FrozenEstimator):
            return ContinuedStart()
        if self.init == "random":
            return RandomStart()
        return LinearStart(self._most_from_linear if self.max_epochs is None else None)

    def _frozen_parts(self) -> tuple[str, ...]:
        """Return the names of the parts that are not trained.

        Raises
        ------
        InvalidParameter
            If there is no such part.
        """
        for name in self.frozen:
            if name not in _FREEZABLE:
                options = ", ".join(map(repr, _FREEZABLE))
                raise InvalidParameter(f"frozen must be a tuple of names of parts, {options}; got {self.frozen!r}.")
        return tuple(self.frozen)

    def _begun(self) -> BaseAutoencoder | None:
        """Return the fitted estimator that training continues from, if ``init`` is one.

        Raises
        ------
        InvalidParameter
            If it is of another class, or not in a `FrozenEstimator`.
        NotFittedError
            If it is not fitted.
        """
        if isinstance(self.init, Reconstructor):  # as in a saved model, which has its parameters only
            raise InvalidParameter(
                f"init holds a {type(self.init).__name__} that is not frozen, and a clone of it is not fitted. Wrap a "
                "fitted one: init=FrozenEstimator(model)."
            )
        if not isinstance(self.init, FrozenEstimator):
            return None
        begun = self.init.estimator
        if type(begun) is not type(self):
            raise InvalidParameter(
                f"init must hold a {type(self).__name__}, like the estimator itself; got a {type(begun).__name__}."
            )
        check_is_fitted(begun)
        return begun

    def _ended(
        self, columns: InputSpec, outcome: Outcome, *, judged: bool = True
    ) -> tuple[Fitted, TrainingWarning | None]:
        """Return the fitted attributes, and a warning if the model is evaluated and fits poorly."""
        outcome = replace(outcome, trained=settle(outcome))
        model, rows = outcome.trained.model, outcome.job.rows
        found, concern = evaluate(columns.owner, model, rows) if judged else (None, None)
        return self._fitted(columns, outcome, found), concern

    def _fitted(self, columns: InputSpec, outcome: Outcome, evaluation: Evaluation | None) -> Fitted:
        own = self._findings(outcome)
        places = {"schema_": columns.schema, "image_shape_": columns.image_shape}
        return Fitted.of(columns, outcome, {"evaluation_": evaluation, "_probe": None, **places, **own})

    def _findings(self, outcome: Outcome) -> dict[str, object]:
        """Return the additional fitted attributes of a subclass, by name."""
        return {}

    def _formula(self, columns: InputSpec) -> Recipe:
        recipe = super()._formula(columns)
        if columns.schema is not None:
            recipe = recipe.replace(likelihood=by_column(columns.schema.blocks, recipe.likelihood))
        if self.condition is None:
            return recipe
        names = [self.condition] if isinstance(self.condition, str | int | np.integer) else list(self.condition)
        return recipe.replace(condition=Condition.of(columns, names).features)

    def _announce(self, training: ShuffledLoader, model: Model, seed: int) -> None:
        """Print one line with sizes and the expected time before training on rows read in chunks."""
        if not is_shown(self):
            return
        n_epochs = plan_of(self, training.n_rows, model, training.n_features, seed).max_epochs
        n_weights = sum(leaf.size for leaf in jax.tree.leaves(model.weights.partition()[0]))
        seconds = jax_config.seconds_for(6.0 * n_weights * training.n_rows * n_epochs)
        held = training.chunk_bytes * 2 + 16 * n_weights  # two chunks; weights, gradient, two moments
        print(
            f"{training.n_rows:,} rows × {training.n_features:,} columns in {training.n_chunks:,} chunks, "
            f"{held / 2**20:,.0f} MB on the device, {n_epochs:,} epochs: about {in_words(seconds)} or more",
            file=sys.stderr,
        )


def _continued(begun: BaseAutoencoder, fresh: Model) -> Model:
    """Return a model with the weights of a fitted estimator.

    Raises
    ------
    InvalidParameter
        If its networks have other sizes.
    """
    weights = begun.model_.weights
    one, other = (
        [(at, np.shape(leaf)) for at, leaf in jax.tree_util.tree_leaves_with_path(of)]
        for of in (weights, fresh.weights)
    )
    if one != other:
        raise InvalidParameter(_OTHER)
    return Model(fresh.recipe, weights)


def chosen_by(estimator: BaseAutoencoder) -> str:
    """Return a text with the values that `fit` chose for parameters left to it."""
    choices = (
        ("n_latent", None, f"{getattr(estimator.model_.recipe.latent, 'n_latent', '')}"),
        ("scaling", "auto", estimator.scaler_.kind),
        ("sparsity_weight", None, f"{getattr(estimator, 'sparsity_weight_', 0) or 0:.3g}"),
    )
    return ", ".join(
        f"{name} {value}" for name, free, value in choices if getattr(estimator, name, "") == free and value
    )


@dataclass(frozen=True)
class Together:
    """The results of a fit of several estimators, in their order."""

    errors: list[TrainingDiverged | None]
    losses: list[dict[str, float]]
    """``loss`` and ``validation_loss`` at the best epoch; empty if the estimator is not fitted."""
    interrupted: bool
    """Whether Ctrl-C ended the training: estimators without a complete epoch are not fitted, and have no error."""


def fit_together(
    pairs: Sequence[tuple[BaseAutoencoder, Opened]],
    on_share: Callable[[float], None] | None = None,
    *,
    judged: bool = False,
    widened: bool = False,
    stacklevel: int = 3,
) -> Together:
    """Fit each estimator to its rows, as many together as their shapes allow.

    Rows with the same settings are prepared once. ``on_share`` is called with the completed fraction of all epochs. An
    estimator whose training diverges, after its retries, does not change. With ``judged``, the fits are evaluated, and
    give the same warnings as `fit`. With ``widened``, networks of different widths train together: the models have more
    weights than the parameters say, for estimators that nobody sees.

    Raises
    ------
    ValueError, InvalidPart, InvalidData
        As `fit`, before any training.
    """
    known: dict[int, Preparations] = {}
    jobs, columns = [], []
    for one, given in pairs:
        one._validate_params()
        seed = current().broadcast_scalar(seed_from(one.random_state))
        spec, job = one._job(given, seed, known=known.setdefault(id(given.rows), {}))
        columns.append(spec)
        jobs.append(job)
    estimators = [one for one, _ in pairs]
    with in_memory():
        outcomes, interrupted = train_together(jobs, [one.retries for one in estimators], on_share, widened=widened)
    errors: list[TrainingDiverged | None] = [None] * len(pairs)
    losses: list[dict[str, float]] = [{} for _ in pairs]
    for i, (one, spec, outcome) in enumerate(zip(estimators, columns, outcomes, strict=True)):
        if not isinstance(outcome, Outcome):
            errors[i] = outcome
            continue
        fitted, concern = one._ended(spec, outcome, judged=judged)
        store(one, fitted)
        if judged:
            losses[i] = losses_at_best(outcome.job, one.model_, one.history_, one.best_epoch_)
            for warning in (warning_of(outcome), concern):
                if warning is not None and not interrupted:
                    warnings.warn(warning, stacklevel=stacklevel)
    return Together(errors, losses, interrupted)


ESTIMATORS = Registered(BaseAutoencoder)  # type: ignore[type-abstract]
"""The autoencoder classes by name."""
