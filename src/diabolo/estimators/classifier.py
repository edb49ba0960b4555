"""Supervised fine-tuning: a fitted encoder, a layer of class scores on its code, all trained by the labels.

The same formula with p(y | z) in place of p(x | z): the likelihood is `Categorical`, the decoder one linear layer.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import equinox as eqx
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ..callbacks import Callback
from ..core.corruptions import Corruption, NoCorruption
from ..core.likelihoods import Categorical
from ..core.model import Model, Recipe
from ..core.networks import MLP
from ..data.scaler import Scaler, ScalerStats
from ..data.types import RowsLike
from ..engine import inference
from ..engine.jobs import GivenStart, TrainingJob, training, warning_of
from ..engine.splits import Rows, from_array
from ..errors import InvalidData, InvalidParameter, InvalidPart
from .base import BaseAutoencoder
from .documentation import documented
from .input import InputSpec
from .trainable import Fitted, TrainableEstimator, identity_of, plan_of, recipe_over, seed_of, share_held_out, store

__all__ = ["AutoencoderClassifier"]


@documented
@dataclass(eq=False, repr=False)
class AutoencoderClassifier(ClassifierMixin, TrainableEstimator):  # type: ignore[misc]
    r"""A classifier that begins with an autoencoder's encoder: x → z(x) → softmax(W·z + b), all of it trained.

    Unlabelled rows teach the encoder, labelled ones the classes: the fine-tuning of Hinton & Salakhutdinov (2006),
    Bengio et al. (2007) and Vincent et al. (2010), section 3.5. The loss is the cross-entropy −log p(y | x), in nats.
    If the autoencoder has a posterior, codes are drawn from it in training; predictions use its mean.

    Parameters
    ----------
    autoencoder : BaseAutoencoder, or FrozenEstimator around a fitted one
        A plain one is cloned and fitted, without labels, to the rows that `fit` is given. One that is fitted already,
        to more rows perhaps, is begun with as it is if `sklearn.frozen.FrozenEstimator` holds it; it is not changed.
        Its scaling is used, and this one's seed if it has none.
    corruption : Corruption or None, default=None
        What is done to rows in fine-tuning, before the encoder sees them. Held-out rows are judged clean.
    {training parameters}

    Attributes
    ----------
    classes_ : array of shape (c,)
    autoencoder_ : BaseAutoencoder
        The one begun with. Not saved.
    {training attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import AutoencoderClassifier, StackedAutoencoder
    >>> sae = StackedAutoencoder(hidden_layer_sizes=(16,), n_latent=8, random_state=0)
    >>> model = AutoencoderClassifier(sae, random_state=0).fit(*load_iris(return_X_y=True))
    >>> model.score(*load_iris(return_X_y=True)) > 0.9
    True
    """

    autoencoder: BaseAutoencoder | FrozenEstimator
    corruption: Corruption | None = None

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **TrainableEstimator._parameter_constraints,
        "autoencoder": [BaseAutoencoder, FrozenEstimator],
        "corruption": [Corruption, None],
    }
    _fitted_json: ClassVar[tuple[str, ...]] = ("_classes",)

    def _begins_with(self) -> BaseAutoencoder:
        given = self.autoencoder
        inner = given.estimator if isinstance(given, FrozenEstimator) else given
        if not isinstance(inner, BaseAutoencoder):
            raise InvalidParameter(
                f"The 'autoencoder' parameter must hold one of diabolo's autoencoders; got {inner!r}."
            )
        return inner

    def _recipe(self, n_features: int) -> Recipe:
        return self._recipe_over(InputSpec(type(self).__name__, n_features))

    def _recipe_over(self, columns: InputSpec) -> Recipe:
        return self._recipe_of(columns, len(self._classes))

    def _recipe_of(self, columns: InputSpec, n_classes: int) -> Recipe:
        begun = recipe_over(self._begins_with(), columns)
        return Recipe(
            corruption=self.corruption or NoCorruption(),
            encoder=begun.encoder,
            latent=begun.latent,
            decoder=MLP(()),
            likelihood=Categorical(),
            n_targets=n_classes,
            missing="mask" if columns.allow_missing else "error",
        )

    def _formula_of_saved(self, columns: InputSpec, learned: Mapping[str, object]) -> Recipe:
        return self._recipe_of(columns, len(cast("list[object]", learned["_classes"])))

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: RowsLike,
        y: ArrayLike,
        *,
        X_val: RowsLike | None = None,
        y_val: ArrayLike | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 30.0,
        resume: bool = False,
        callback: Callback | None = None,
    ) -> Self:
        """Fit the autoencoder to ``X``, unless it is frozen, then all of the encoder to the labels.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
            Labels.
        X_val, y_val : the same of other rows, or None, default=None
            Rows to choose the best epoch by, in place of a share of ``X``.
        checkpoint_dir, checkpoint_every, resume, callback
            As for an autoencoder's `fit`.

        Raises
        ------
        ValueError
            If rows or labels are too few, not numbers or infinite, ``y_val`` has labels that ``y`` has not, or a
            parameter is out of range.
        InvalidPart, InvalidData, TrainingDiverged, CheckpointError
            As for an autoencoder's `fit`.
        """
        self._validate_params()
        folder = None if checkpoint_dir is None else Path(checkpoint_dir)
        with training(folder, checkpoint_every, resume, callback, self.retries, bool(self.verbose)) as trainer:
            seed = seed_of(self.random_state, trainer.kept_seed)
            columns, rows, labels = InputSpec.of_labelled(type(self).__name__, X, y)
            classes, positions = _classes_of(labels)
            if (X_val is None) != (y_val is None):
                raise InvalidData("X_val and y_val belong together: give both, or neither.")
            ahead = None if X_val is None else replace(columns, allow_missing=True).read(X_val)
            apart = {} if folder is None else {"checkpoint_dir": folder / "autoencoder", "resume": resume}
            begun = self._begun_with(rows, ahead, seed, checkpoint_every, apart)
            columns = replace(columns, allow_missing=begun.input_.allow_missing)
            beside = _beside(begun.scaler_, rows, positions, len(classes))
            prepared = from_array(beside, ScalerStats(None, "real"), share_held_out(self, ahead, len(rows)), seed)
            if ahead is not None:
                assert y_val is not None
                of_val = _positions(y_val, classes, len(ahead))
                prepared = prepared.judged_by(_beside(begun.scaler_, ahead, of_val, len(classes)))
            job = self._job(columns, begun, prepared, len(classes), seed)
            fingerprint = f"{prepared.fingerprint}+{begun.data_fingerprint_}"
            outcome = trainer.train(job, identity_of(self, seed, columns, fingerprint))
        own = {"_classes": classes.tolist(), "autoencoder_": begun, "scaler_": begun.scaler_}
        store(self, Fitted.of(columns, outcome, own))
        if (warning := warning_of(outcome)) is not None:
            warnings.warn(warning, stacklevel=2)
        return self

    def _begun_with(
        self, rows: np.ndarray, ahead: np.ndarray | None, seed: int, every: float, apart: dict[str, Any]
    ) -> BaseAutoencoder:
        given = self._begins_with()
        if isinstance(self.autoencoder, FrozenEstimator):
            check_is_fitted(given)
            for some in (rows,) if ahead is None else (rows, ahead):
                given.input_.read(some)
            return given
        one: BaseAutoencoder = clone(given)
        if one.random_state is None:
            one.set_params(random_state=seed)
        return one.fit(rows, X_val=ahead, checkpoint_every=every, **apart)

    def _job(
        self, columns: InputSpec, begun: BaseAutoencoder, prepared: Rows, n_classes: int, seed: int
    ) -> TrainingJob:
        """What there is to train: rows with their labels beside them, and the encoder under its new layer."""
        width, formula = columns.width, self._recipe_of(columns, n_classes)
        if formula.missing == "mask" and not columns.allow_missing:
            raise InvalidPart(
                f"{self.corruption!r} hides cells, but the autoencoder has learned from rows without missing ones. "
                "Give it the same corruption."
            )
        model = Model.build(formula, width, seed)
        weights = eqx.tree_at(lambda w: w.encoder, model.weights, begun.model_.weights.encoder)
        low, high = prepared.bounds
        model = Model(model.recipe, weights).fit_bounds(low[:width], high[:width])
        plan = plan_of(self, prepared.training.n_rows, model, width, seed)
        return TrainingJob(model, prepared, plan, GivenStart(), columns.column_of_feature)

    # -- using --------------------------------------------------------------------------------------------------------

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted."""
        return np.asarray(self._classes)

    def predict_proba(self, X: RowsLike) -> np.ndarray:
        """p(y | x): rows (n, d) → probabilities (n, c) of the classes in the order of ``classes_``."""
        check_is_fitted(self)
        told = self.predictor_.scaled(inference.reconstruct, self.input_.read(X))
        found = told.astype(np.float64)
        shares: np.ndarray = found / found.sum(axis=1, keepdims=True)  # they sum to 1 in 32 bits only
        return shares

    def predict_log_proba(self, X: RowsLike) -> np.ndarray:
        """log p(y | x), as `predict_proba`, in nats."""
        return np.log(self.predict_proba(X))

    def predict(self, X: RowsLike) -> np.ndarray:
        """The most probable label of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[best]
        return labels


def _classes_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels that there are, sorted, and where each row's stands among them."""
    try:
        check_classification_targets(labels)
        classes, positions = np.unique(labels, return_inverse=True)
    except (ValueError, TypeError) as error:
        raise InvalidData(f"y does not hold labels: {error} Give one kind of label, none of them missing.") from error
    return classes, positions


def _beside(scaler: Scaler, rows: np.ndarray, positions: np.ndarray, n_classes: int) -> np.ndarray:
    """Scaled rows, and each one's class as a row of zeros and a one."""
    return np.hstack([scaler.apply(rows), np.eye(n_classes, dtype=np.float32)[positions]])


def _positions(labels: ArrayLike, classes: np.ndarray, n_rows: int) -> np.ndarray:
    """Where labels stand among the classes."""
    labels = np.asarray(labels)
    if labels.shape != (n_rows,):
        raise InvalidData(f"y_val has shape {labels.shape}, but X_val has {n_rows} rows: give one label for each.")
    if unknown := sorted(set(np.unique(labels).tolist()) - set(classes.tolist())):
        raise InvalidData(f"y_val has labels that y has not: {', '.join(map(repr, unknown))}.")
    return np.searchsorted(classes, labels)
