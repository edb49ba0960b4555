"""Supervised fine-tuning: add a linear layer of class scores to a fitted encoder, and train both on labels.

The model is the same as for an autoencoder, with p(y | z) in place of p(x | z): the likelihood is `Categorical`, and
the decoder is one linear layer.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import equinox as eqx
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from sklearn.base import ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..callbacks import Callback, ModelCallback
from ..core.corruptions import Corruption, NoCorruption
from ..core.likelihoods import Categorical, by_column
from ..core.model import Model, Recipe
from ..core.networks import MLP
from ..data.readers import SchemaSpec
from ..data.scaler import ScalerStats
from ..data.types import RowsLike
from ..engine import inference
from ..engine.evaluation import settle_classifier
from ..engine.jobs import GivenStart, TrainingJob, training, warning_of
from ..engine.splits import Rows, from_array
from ..errors import InvalidData, InvalidParameter, InvalidPart, TrainingInterrupted
from ..persistence.serialization import Found, Stored
from .arguments import check_arguments, check_page, seed_from
from .base import ESTIMATORS, BaseAutoencoder
from .documentation import documented
from .input import InputSpec
from .labels import append_classes, class_weights, classes_of, positions_of
from .linear_probe import probed
from .result import Fitted, store
from .row_weights import checked_weights
from .trainable import TrainableEstimator, identity_of, plan_of, recipe_over, share_held_out

if TYPE_CHECKING:
    from ..displays.network import NetworkSummary
    from ..displays.report import Report

__all__ = ["AutoencoderClassifier"]

_WIDEST_CODE = 256


@documented
@dataclass(eq=False, repr=False)
class AutoencoderClassifier(ClassifierMixin, TrainableEstimator):  # type: ignore[misc]
    r"""Classifier with a pre-trained encoder: x → z(x) → softmax(W·z + b), with all weights trained.

    The encoder is pre-trained on rows without labels, then fine-tuned together with the class layer on labelled rows,
    as in Hinton & Salakhutdinov (2006), Bengio et al. (2007) and Vincent et al. (2010), section 3.5. The class layer
    starts as a logistic regression on the codes (Kumar et al. 2022), and this start is kept, with ``best_epoch_`` 0,
    unless fine-tuning lowers the loss of the validation rows beyond chance. The loss is the cross-entropy
    −log p(y | x), in nats. If the autoencoder has a posterior, training samples codes from it, and
    predictions use its mean.

    Parameters
    ----------
    autoencoder : BaseAutoencoder, FrozenEstimator around a fitted one, or None, default=None
        An autoencoder is cloned, and the clone is fitted to the rows of `fit`, without labels. To start from an
        autoencoder that is already fitted, possibly to more rows, wrap it in `sklearn.frozen.FrozenEstimator`; it is
        not changed. The classifier uses the scaling and the schema of the autoencoder. A clone without
        ``random_state`` uses the seed of the classifier. None: ``StackedAutoencoder()``. Its code, and that of a
        `BasicAutoencoder`, has by default as many dimensions as there are columns, at most 256.
    corruption : Corruption or None, default=None
        Corruption of the training rows in fine-tuning, before the encoder. Levels are in scaled units, see
        `parts.InDataUnits` for the user's units. Validation rows are not corrupted.
    class_weight : dict, "balanced" or None, default=None
        Weight of the cross-entropy of each class, by label; 1 for labels that are not named. "balanced": inversely
        proportional to the number of rows of the class, for rare classes. The probabilities are then those of classes
        with these weights.
    {training parameters}

    Attributes
    ----------
    classes_ : array of shape (c,)
        The labels, sorted.
    autoencoder_ : BaseAutoencoder
        The fitted autoencoder that fine-tuning started from. It is not saved.
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

    autoencoder: BaseAutoencoder | FrozenEstimator | None = None
    _: KW_ONLY
    corruption: Corruption | None = None
    class_weight: Mapping[Any, float] | str | None = None

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **TrainableEstimator._parameter_constraints,
        "autoencoder": [BaseAutoencoder, FrozenEstimator, None],
        "corruption": [Corruption, None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _fitted_json: ClassVar[tuple[str, ...]] = ("_classes",)
    _classes: list[object] = field(init=False)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _begins_with(self, width: int) -> BaseAutoencoder:
        """Return the autoencoder to start from, for rows of ``width`` features."""
        given = ESTIMATORS["StackedAutoencoder"]() if self.autoencoder is None else self.autoencoder
        inner = given.estimator if isinstance(given, FrozenEstimator) else given
        if not isinstance(inner, BaseAutoencoder):
            raise InvalidParameter(
                f"The 'autoencoder' parameter must hold one of diabolo's autoencoders; got {inner!r}."
            )
        return inner if isinstance(given, FrozenEstimator) else _for_labels(inner, width)

    def _recipe(self, n_features: int) -> Recipe:
        return self._recipe_over(InputSpec(type(self).__name__, n_features))

    def _recipe_over(self, columns: InputSpec) -> Recipe:
        return self._recipe_of(columns, len(self._classes))

    def _recipe_of(self, columns: InputSpec, n_classes: int) -> Recipe:
        begun = self._begins_with(columns.width)
        pretrained = recipe_over(begun, columns)
        inputs = pretrained.likelihood
        if columns.schema is not None:
            inputs = by_column(columns.schema.blocks, inputs)
        return Recipe(
            corruption=self.corruption or NoCorruption(),
            encoder=pretrained.encoder,
            latent=pretrained.latent,
            decoder=MLP(()),
            likelihood=Categorical(),
            n_targets=n_classes,
            inputs=inputs,
            missing="mask" if columns.allow_missing else "error",
        )

    def _formula_of_saved(self, columns: InputSpec, learned: Mapping[str, object]) -> Recipe:
        return self._recipe_of(columns, len(cast("list[object]", learned["_classes"])))

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: RowsLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: RowsLike | None = None,
        y_val: ArrayLike | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 30.0,
        resume: bool = False,
        callback: Callback | ModelCallback | None = None,
    ) -> Self:
        """Fit the autoencoder to ``X`` unless it is frozen, then train encoder and class layer on the labels.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows
            Training rows, as for an autoencoder's `fit`; they are read into memory. Tables may have columns of text,
            dates and booleans: see ``schema`` of the autoencoder.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of the cross-entropy of each row, at least 0; multiplied by the weight of its class. Only the ratios
            of weights matter. The autoencoder, which needs no labels, does not use them. None: 1 for each row.
        X_val, y_val : array-likes of shapes (m, d) and (m,), or None, default=None
            Validation rows and their labels, to choose the best epoch. None: a fraction of ``X``, see
            ``validation_fraction``.
        checkpoint_dir : path or None, default=None
            As for an autoencoder's `fit`, like the next three.
        checkpoint_every : float, default=30
            Seconds between two checkpoints.
        resume : bool, default=False
            Whether to resume from the checkpoint in ``checkpoint_dir``, if there is one.
        callback : Callback or None, default=None
            Function called after each epoch of fine-tuning.

        Returns
        -------
        Self
            The fitted classifier.

        Raises
        ------
        ValueError
            If there are too few rows, a cell is not a number or infinite, ``y_val`` has labels that are not in ``y``,
            or a parameter is out of range.
        InvalidPart, InvalidData, TrainingDiverged, CheckpointError
            As for an autoencoder's `fit`.
        """
        self._validate_params()
        check_arguments(checkpoint_dir=checkpoint_dir, resume=resume)
        folder, drawn = None if checkpoint_dir is None else Path(checkpoint_dir), seed_from(self.random_state)
        with training(folder, checkpoint_every, resume, callback, self.retries, bool(self.verbose)) as trainer:
            seed = trainer.seed(drawn, is_given=self.random_state is not None)
            columns, rows, labels = InputSpec.of_labelled(type(self).__name__, X, y, self._wanted())
            classes, positions = classes_of(labels)
            of_class = class_weights(self.class_weight, classes, positions)
            weights = of_class[positions] * checked_weights(sample_weight, len(rows))
            if (X_val is None) != (y_val is None):
                raise InvalidData("One of X_val and y_val is missing. X_val and y_val belong together: give both.")
            rows_val = None if X_val is None else replace(columns, allow_missing=True).rows(X_val)
            of_val = None if rows_val is None or y_val is None else positions_of(y_val, classes, len(rows_val))
            checkpoint_options = {} if folder is None else {"checkpoint_dir": folder / "autoencoder", "resume": resume}
            table = (rows, rows_val) if columns.schema is None else (X, X_val)
            pretrained = self._begun_with(table, columns.width, seed, checkpoint_every, checkpoint_options)
            columns = replace(columns, allow_missing=pretrained.input_.allow_missing)
            columns.refuse_missing(rows)
            with_classes = append_classes(pretrained.scaler_, rows, positions, len(classes), weights)
            prepared = from_array(
                with_classes, ScalerStats(None, "real"), share_held_out(self, rows_val, len(rows)), seed
            )
            if rows_val is not None:
                assert of_val is not None
                columns.refuse_missing(rows_val)
                prepared = prepared.judged_by(
                    append_classes(pretrained.scaler_, rows_val, of_val, len(classes), of_class[of_val])
                )
            job = self._job(columns, pretrained, prepared, len(classes), seed)
            fingerprint = f"{prepared.fingerprint}+{pretrained.data_fingerprint_}"
            own = {
                "_classes": classes.tolist(),
                "autoencoder_": pretrained,
                "scaler_": pretrained.scaler_,
                "schema_": columns.schema,
                "image_shape_": columns.image_shape,
            }
            outcome = trainer.train(
                job,
                identity_of(self, seed, columns, fingerprint),
                lambda so_far: store(clone(self), Fitted.of(columns, so_far, own)),
            )
        outcome = replace(outcome, trained=settle_classifier(outcome))
        store(self, Fitted.of(columns, outcome, own), outcome.interrupted)
        if (warning := warning_of(outcome)) is not None:
            warnings.warn(warning, stacklevel=2)
        return self

    def _wanted(self) -> SchemaSpec:
        """Return the schema with which to read the training rows."""
        begun = self._begins_with(1)
        if not isinstance(self.autoencoder, FrozenEstimator):
            return begun.schema
        check_is_fitted(begun)
        return begun.schema_

    def _begun_with(
        self,
        tables: tuple[RowsLike, RowsLike | None],
        width: int,
        seed: int,
        every: float,
        checkpoint_options: dict[str, Any],
    ) -> BaseAutoencoder:
        given, (X, X_val) = self._begins_with(width), tables
        if isinstance(self.autoencoder, FrozenEstimator):
            if given.schema_ is None:
                for some in tables:
                    if some is not None:
                        given.input_.read(some)
            return given
        one: BaseAutoencoder = clone(given)
        if one.random_state is None:
            one.set_params(random_state=seed)
        try:
            return one.fit(X, X_val=X_val, checkpoint_every=every, **checkpoint_options)
        except TrainingInterrupted:  # the classifier itself has learned nothing yet
            raise KeyboardInterrupt from None

    def _job(
        self, columns: InputSpec, pretrained: BaseAutoencoder, prepared: Rows, n_classes: int, seed: int
    ) -> TrainingJob:
        """Prepare the training job: rows with one-hot labels, the pre-trained encoder and the new class layer."""
        width, formula = columns.width, self._recipe_of(columns, n_classes)
        if formula.missing == "mask" and not columns.allow_missing:
            raise InvalidPart(
                f"{self.corruption!r} masks cells, but the autoencoder was trained without missing cells. "
                "Give the autoencoder the same corruption."
            )
        model = Model.build(formula, width, seed)
        weights = eqx.tree_at(lambda w: w.encoder, model.weights, pretrained.model_.weights.encoder)
        low, high = prepared.bounds
        scaling = pretrained.scaler_.offset, pretrained.scaler_.scale
        model = Model(model.recipe, weights).fit_corruption(scaling, (low[:width], high[:width]))
        plan = plan_of(self, prepared.training.n_rows, model, width, seed)
        return TrainingJob(probed(model, prepared, seed), prepared, plan, GivenStart(), columns.column_of_feature)

    def _stored(self) -> Stored:
        stored, begun = super()._stored(), self._begins_with(self.input_.width)
        if self.autoencoder is None or getattr(begun, "n_latent", 0) is not None:
            return stored
        # A frozen autoencoder is saved without its wrapper: `load` must not take its code for a default.
        saved = cast("dict[str, Any]", stored.parameters["autoencoder"])
        explicit = saved | {"parameters": saved["parameters"] | {"n_latent": self.predictor_.n_codes}}
        return replace(stored, parameters=stored.parameters | {"autoencoder": explicit})

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        places = {"schema_": columns.schema, "image_shape_": columns.image_shape}
        return super()._learned_of(found, columns, learned) | places

    # -- using --------------------------------------------------------------------------------------------------------

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted."""
        return np.asarray(self._classes)

    def predict_proba(self, X: RowsLike) -> np.ndarray:
        """Return p(y | x), the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of `fit`.

        Returns
        -------
        array of shape (n, c), float64
            The probabilities, in the order of ``classes_``; the sum of a row is 1.
        """
        found = self._mapped(X, inference.reconstruct)
        shares: np.ndarray = found / found.sum(axis=1, keepdims=True)  # the sum is 1 in 32 bits only
        return shares

    def predict_log_proba(self, X: RowsLike) -> np.ndarray:
        """Return log p(y | x), in nats; finite also where `predict_proba` is 0.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of `fit`.

        Returns
        -------
        array of shape (n, c), float64
            The logarithms of the probabilities.
        """
        found = self._mapped(X, inference.log_probabilities)
        shares: np.ndarray = found - logsumexp(found, axis=1, keepdims=True)
        return shares

    def _mapped(self, X: RowsLike, op: inference.Op) -> np.ndarray:
        predictor = self.predictor_
        found: np.ndarray = self.input_.map(X, lambda rows, _: predictor.scaled(op, rows).astype(np.float64))
        return found

    def predict(self, X: RowsLike) -> np.ndarray:
        """Return the most probable label of each row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of `fit`.

        Returns
        -------
        array of shape (n,)
            The labels.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[best]
        return labels

    def report(
        self,
        X: RowsLike | None = None,
        y: ArrayLike | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        title: str = "",
    ) -> Report:
        """Return an HTML report: accuracy beside simple answers, confusion, calibration, and the surest mistakes.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`; default=None
            Labelled rows, preferably rows not used in `fit`. None: the page shows the training only.
        y : array-like of shape (n,) or None, default=None
            Their labels.
        path : path or None, default=None
            File to write the page to.
        title : str, default=""
            Title of the page; empty: the name of the class.

        Returns
        -------
        Report
            The HTML page: a str with the attribute ``findings`` and the method ``save``.

        Raises
        ------
        InvalidData
            If one of ``X`` and ``y`` is missing, or there is not one label for each row.
        """
        check_is_fitted(self)
        check_arguments(y=y)
        check_page(path, title)
        from ..displays.report import Report
        from ..report import classifiers

        return Report.of(classifiers.collect(self, X, y), title, path)

    def summary(self) -> NetworkSummary:
        """Return the layers of the network, the shapes of their arrays, and how many numbers were trained.

        Returns
        -------
        NetworkSummary
            A table, shown by ``print`` and by a notebook.
        """
        from ..displays.network import NetworkSummary

        return NetworkSummary.from_estimator(self)


def _for_labels(estimator: BaseAutoencoder, width: int) -> BaseAutoencoder:
    """Return an autoencoder for a classifier of rows of ``width`` features: without a bottleneck by default."""
    narrow = ESTIMATORS["BasicAutoencoder"], ESTIMATORS["StackedAutoencoder"]
    if not isinstance(estimator, narrow) or getattr(estimator, "n_latent", width) is not None:
        return estimator
    wide: BaseAutoencoder = clone(estimator)
    return wide.set_params(n_latent=min(width, _WIDEST_CODE))
