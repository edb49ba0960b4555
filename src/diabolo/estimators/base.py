"""Fit autoencoders: one by `BaseAutoencoder.fit`, several at a time by `fit_together`.

An autoencoder is a table of parameters and one method that turns them into a `Recipe`. The way of a fit stands here
once: open the rows, prepare a job, have it trained, store what was learned. What is asked of a fitted autoencoder is in
`reconstructor`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import jax
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions

from .. import jax_config
from ..callbacks import Callback
from ..core.component import Registered
from ..core.likelihoods import by_column
from ..core.model import Model, Recipe
from ..data.blocks import BlockReader
from ..data.scaler import KINDS, ScalerStats
from ..data.schema import SchemaOverrides
from ..data.types import RowsLike
from ..engine.evaluation import evaluate, settle
from ..engine.jobs import Outcome, RandomStart, Start, TrainingJob, begin, training, warning_of
from ..engine.loader import ShuffledLoader, ValidationSplit
from ..engine.progress import Bar, in_words
from ..engine.splits import Rows, from_array, from_stream
from ..engine.vmap_trainer import train_many
from ..errors import TrainingWarning
from .input import InputSpec, Opened
from .reconstructor import Reconstructor
from .trainable import (
    Fitted,
    TrainableEstimator,
    identity_of,
    is_shown,
    linear_start,
    plan_of,
    seed_of,
    share_held_out,
    store,
)

__all__ = ["ESTIMATORS", "BaseAutoencoder", "chosen_by", "fit_together"]

Preparations = dict[tuple[object, ...], Rows]
"""Rows by the choices that they were prepared with."""


@dataclass(kw_only=True, eq=False, repr=False)
class BaseAutoencoder(Reconstructor, TrainableEstimator):
    """Base of all estimators; see `Autoencoder` for one whose every slot is free."""

    scaling: str | None = "auto"
    init: str = "closed_form"
    schema: str | SchemaOverrides | None = "auto"

    _fitted_json: ClassVar[tuple[str, ...]] = ("evaluation_",)

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **TrainableEstimator._parameter_constraints,
        "scaling": [StrOptions(set(KINDS)), None],
        "init": [StrOptions({"closed_form", "random"})],
        "schema": [StrOptions({"auto"}), dict, None],
    }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.sparse = True
        return tags

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: RowsLike,
        y: object = None,
        *,
        X_val: RowsLike | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 30.0,
        resume: bool = False,
        callback: Callback | None = None,
    ) -> Self:
        """Learn to reconstruct ``X``.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory
            Numbers, in your own units; NaN is a missing cell: the encoder is told which are, and the likelihood is
            that of the others. Besides arrays and data frames: a path or glob of .npy, .parquet, .csv or image files,
            an SQL query over files or databases (extra ``sql``), a `pyarrow.dataset.Dataset`, a memory-mapped array, a
            sparse matrix, or any iterable of chunks (n_i, d). What takes more than 64 MB as 32-bit floats is read in
            chunks, mixed anew in every epoch. Tables may have columns of texts, dates and booleans as well: see
            ``schema``.
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
        callback : Callback or None, default=None
            Is told of each epoch: a function of its number and its record. See `diabolo.callbacks`.

        Raises
        ------
        ValueError
            If rows are too few, not numbers or infinite, or a parameter is out of range.
        InvalidPart, InvalidData
            If two parts do not fit each other, or the rows the likelihood.
        TrainingDiverged
            If the loss stops being finite.
        CheckpointError
            If checkpoints cannot be written, or are of other data, parameters or versions.
        """
        self._validate_params()
        with training(checkpoint_dir, checkpoint_every, resume, callback, self.retries, bool(self.verbose)) as trainer:
            seed = seed_of(self.random_state, trainer.kept_seed)
            columns, job = self._job(InputSpec.learn(type(self).__name__, X, self.schema), seed, X_val)
            is_kept = trainer.checkpoints is not None
            outcome = trainer.train(job, identity_of(self, seed, columns, job.rows.fingerprint) if is_kept else {})
            fitted, concern = self._ended(columns, outcome)
        store(self, fitted)
        if trainer.verbose and sys.stderr.isatty() and (chosen := chosen_by(self)):
            print(f"chosen: {chosen}", file=sys.stderr)
        for warning in (warning_of(outcome), concern):
            if warning is not None:
                warnings.warn(warning, stacklevel=2)
        return self

    def _job(
        self, given: Opened, seed: int, X_val: RowsLike | None = None, known: Preparations | None = None
    ) -> tuple[InputSpec, TrainingJob]:
        """The columns, and what there is to train: rows scaled and split, weights drawn, the plan."""
        if given.input.owner != (owner := type(self).__name__):
            given = replace(given, input=replace(given.input, owner=owner))
        recipe, fraction = self._formula(given.input), share_held_out(self, X_val, given.n_rows)
        rows = self._prepared(given, recipe, fraction, seed, {} if known is None else known)
        columns, width = given.input, given.input.width
        if not columns.allow_missing and (rows.missing or recipe.corruption.produces_missing):
            columns = replace(columns, allow_missing=True)
            recipe = self._formula(columns)
        if X_val is not None:
            rows = rows.judged_by(columns.rows(X_val))
        model = Model.build(recipe, width, seed)
        plan = plan_of(self, rows.training.n_rows, model, width, seed)
        return columns, TrainingJob(
            model.fit_bounds(*rows.bounds), rows, plan, self._first(), columns.column_of_feature
        )

    def _prepared(self, given: Opened, recipe: Recipe, fraction: float, seed: int, known: Preparations) -> Rows:
        """Rows as training takes them: scaled, and a share held out; those known are used again."""
        supports = recipe.likelihood.supports(given.input.width)
        is_stored = isinstance(given.rows, BlockReader)
        choices = (self.scaling, supports, fraction, seed if is_stored or fraction else None)
        if choices not in known:
            is_image = given.input.image_shape is not None or hasattr(recipe.encoder, "shape")
            survey = ScalerStats(self.scaling, supports, one_unit=is_image or None)
            if isinstance(given.rows, BlockReader):
                stream = ShuffledLoader(given.rows, ValidationSplit(given.rows, fraction, seed), seed)
                self._announce(stream, Model.build(recipe, given.input.width, 0), seed)
                with Bar(f"{given.input.owner} reading", given.n_rows, is_shown(self)) as bar:
                    known[choices] = from_stream(stream, survey, bar.show)
            else:
                known[choices] = from_array(given.rows, survey, fraction, seed, given.fingerprint)
        return known[choices]

    def _first(self) -> Start:
        """Where training begins."""
        return RandomStart() if self.init == "random" else linear_start(self)

    def _ended(
        self, columns: InputSpec, outcome: Outcome, *, judged: bool = True
    ) -> tuple[Fitted, TrainingWarning | None]:
        """What has been learned; and a warning, if it is judged and is not good."""
        outcome = replace(outcome, trained=settle(outcome))
        model, rows = outcome.trained.model, outcome.job.rows
        found, concern = evaluate(columns.owner, model, rows) if judged else (None, None)
        own = self._findings(outcome)
        places = {"schema_": columns.schema, "image_shape_": columns.image_shape}
        return Fitted.of(columns, outcome, {"evaluation_": found, "_probe": None, **places, **own}), concern

    def _findings(self, outcome: Outcome) -> dict[str, object]:
        """Whatever a system reports of the rows it was fitted to, by the attribute's name."""
        return {}

    def _formula(self, columns: InputSpec) -> Recipe:
        recipe = super()._formula(columns)
        if columns.schema is None:
            return recipe
        return recipe.replace(likelihood=by_column(columns.schema.blocks, recipe.likelihood))

    def _announce(self, training: ShuffledLoader, model: Model, seed: int) -> None:
        """One line before a training on rows that are read in chunks."""
        if not is_shown(self):
            return
        n_epochs = plan_of(self, training.n_rows, model, training.n_features, seed).max_epochs
        n_weights = sum(leaf.size for leaf in jax.tree.leaves(model.weights.partition()[0]))
        seconds = jax_config.seconds_for(6.0 * n_weights * training.n_rows * n_epochs)
        held = training.chunk_bytes * 2 + 16 * n_weights  # a chunk and the next; weights, gradient, two moments
        print(
            f"{training.n_rows:,} rows × {training.n_features:,} columns in {training.n_chunks:,} chunks, "
            f"{held / 2**20:,.0f} MB on the device, {n_epochs:,} epochs: about {in_words(seconds)} or more",
            file=sys.stderr,
        )


def chosen_by(estimator: BaseAutoencoder) -> str:
    """Say what `fit` chose, where a parameter left it to choose."""
    choices = (
        ("n_latent", None, f"{getattr(estimator.model_.recipe.latent, 'n_latent', '')}"),
        ("scaling", "auto", estimator.scaler_.kind),
        ("sparsity_weight", None, f"{getattr(estimator, 'sparsity_weight_', 0) or 0:.3g}"),
    )
    return ", ".join(
        f"{name} {value}" for name, free, value in choices if getattr(estimator, name, "") == free and value
    )


def fit_together(
    pairs: Sequence[tuple[BaseAutoencoder, Opened]],
    on_share: Callable[[float], None] | None = None,
    *,
    judged: bool = False,
    stacklevel: int = 3,
) -> list[BaseAutoencoder]:
    """Fit each estimator to the rows beside it, as many at a time as their shapes allow.

    What is the same for several is prepared once. ``on_share`` is told the share of all epochs that is done. If one
    fails, none has changed.

    Raises
    ------
    ValueError, InvalidPart, InvalidData, TrainingDiverged
        As `fit`.
    """
    known: dict[int, Preparations] = {}
    every, begun = [], []
    for one, given in pairs:
        one._validate_params()
        columns, job = one._job(given, seed_of(one.random_state), known=known.setdefault(id(given.rows), {}))
        every.append((one, columns))
        begun.append(begin(job))
    trained = train_many([(job.model, job.rows.training, job.plan, job.rows.held_out) for job, _ in begun], on_share)
    outcomes = [Outcome(job, found, tuple(before)) for (job, before), found in zip(begun, trained, strict=True)]
    ended = [one._ended(columns, found, judged=judged) for (one, columns), found in zip(every, outcomes, strict=True)]
    for (one, _), (fitted, concern) in zip(every, ended, strict=True):
        store(one, fitted)
        if concern is not None:
            warnings.warn(concern, stacklevel=stacklevel)
    return [one for one, _ in every]


ESTIMATORS = Registered(BaseAutoencoder)  # type: ignore[type-abstract]
"""The autoencoders of diabolo by name."""
