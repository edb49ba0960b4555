"""What all autoencoders share: the way of the user's rows into the formula, and what is asked of a fitted one.

An autoencoder is a table of parameters and one method that turns them into a `Recipe`. Everything else stands here and
in `learner` once.
"""

from __future__ import annotations

import numbers
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import jax
import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted

from .. import jax_config, report
from ..callbacks import Callback
from ..core.component import Registered
from ..core.corruptions import NoCorruption
from ..core.likelihoods import by_column
from ..core.model import Model, Recipe
from ..data import writers
from ..data.blocks import Store
from ..data.scaler import KINDS, Survey, refuse_far
from ..engine import closed_form, inference, prng
from ..engine.checkpoints import Checkpoints
from ..engine.loader import HeldOut, Stream
from ..engine.progress import Bar, in_words
from ..engine.sharding import current
from ..engine.splits import Rows, from_array, from_stream
from ..engine.trainer import Keeper, Trained, final_beta
from ..errors import InvalidData, InvalidParameter, InvalidType, PoorFit, PosteriorCollapse
from ..metrics import active_units
from ..persistence import reference_outputs
from . import trainable
from .input import FLOATS, Tables
from .trainable import MOST, Job, Learner

__all__ = ["ESTIMATORS", "BaseAutoencoder", "Preparations", "documented"]

_CODES = 256
"""Draws of z to fill cells with,"""
_DRAWS = 64
"""and to estimate a density with."""

_SCALING = """
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        How features are brought into the network's units; undone in everything that comes out. "standard": mean 0 and
        standard deviation 1 (less, if a feature's range is more than 30 standard deviations). "global": all features
        by one map, with a mean variance of 1, and 0 stays 0 if it is the least value. "minmax": each feature onto
        [0, 1]. "range": all features onto [0, 1] by one map. "auto": for a likelihood on real numbers "global", if rows
        are images or all features seem to have one unit (`data.scaler.have_one_unit`), and "standard" otherwise;
        for one on [0, 1], None if the rows lie there and "minmax" otherwise. None: as they are.
    init : {"closed_form", "random"}, default="closed_form"
        Where training begins. "closed_form": at the best linear model, where the networks have a linear path (PCA,
        linear regression on corrupted rows, or factor analysis; see `engine.closed_form`); if no epoch is better on
        held-out rows, it is kept. "random": with weights drawn at random.
    schema : "auto", dict or None, default="auto"
        What the columns of a table are: numbers, dates, booleans, counts or categories, each with a likelihood of its
        own; ``likelihood`` is then that of the numbers. "auto": inferred, if any column is something other than a
        number. A dict: inferred, but for the columns it names, whose value is a kind or, for a category, perhaps
        ``{"kind": "category", "categories": [...]}``. None: columns must be numbers, and are all told by
        ``likelihood``.
"""
_ATTRIBUTES = """
    schema_ : Schema or None
        What the columns are; None, if all are plain numbers.
    evaluation_ : dict or None
        What the reconstruction keeps of held-out rows (of training rows, if none are held out): ``rows``, ``n_rows``,
        ``explained_variance``, and ``pca_explained_variance``, that of PCA fitted to the training rows with as many
        components as the code has; None if cells are missing.
    image_shape_ : tuple of int or None
        (height, width), or (height, width, 3), if the rows were read from files of images.
"""


def documented(cls: type) -> type:
    """Put the shared parameters and attributes into a class's docstring, where it says ``{common …}``."""
    assert cls.__doc__ is not None
    shared = {
        "parameters": f"{{training parameters}}\n    {_SCALING.strip()}",
        "attributes": f"{{training attributes}}\n    {_ATTRIBUTES.strip()}",
    }
    for name, text in shared.items():
        cls.__doc__ = cls.__doc__.replace(f"{{common {name}}}", text)
    return trainable.documented(cls)


def require_positive(number: Any, name: str = "n_samples") -> int:
    if not isinstance(number, numbers.Integral) or not 1 <= int(number) <= MOST:
        raise InvalidParameter(f"{name} must be a whole number of at least 1; got {number!r}.")
    return int(number)


def drawing(random_state: Any) -> np.random.RandomState:
    """What to draw seeds from, of all that scikit-learn takes for a state."""
    try:
        state: np.random.RandomState = check_random_state(random_state)
    except ValueError as error:
        raise InvalidParameter(f"random_state: {error}.") from error
    return state


def _known_recipe(estimator: BaseAutoencoder) -> Recipe:
    """What it was fitted with, or would be."""
    return estimator.model_.recipe if hasattr(estimator, "model_") else estimator._recipe(2)


def _is_stochastic(estimator: BaseAutoencoder) -> bool:
    if not _known_recipe(estimator).latent.stochastic:
        raise AttributeError(f"{type(estimator).__name__} has a deterministic code: there is no posterior to ask.")
    return True


def _is_denoiser(estimator: BaseAutoencoder) -> bool:
    if isinstance(_known_recipe(estimator).corruption, NoCorruption):
        raise AttributeError(
            f"{type(estimator).__name__} has learned from clean rows: there is no noise that it knows."
        )
    return True


_SURELY, _FEW_HELD_OUT = 2.0, 1024
_EVALUATED, _ENOUGH_TO_JUDGE, _IN_MEMORY, _BEHIND = 1024, 20, 2048, 0.02


def _settled(job: Job, trained: Trained) -> Trained:
    """The outcome; of few held-out rows, the start if no epoch is surely better.

    It is if the mean gain, or the share of rows that gain, is two standard errors above what chance gives.
    """
    held_out = job.rows.held_out
    if not (job.plan.keep_start and trained.best_epoch and held_out is not None and held_out.n_rows <= _FEW_HELD_OUT):
        return trained
    chunk, beta = next(held_out.chunks()), float(final_beta(job.model.recipe, job.plan))
    rows = np.asarray(chunk.rows)[: chunk.n_rows]
    before, after = (inference.by_rows(inference.losses, one, rows, beta) for one in (job.model, trained.model))
    gain = before.astype(np.float64) - after
    error = 1 / np.sqrt(len(gain))
    if gain.mean() > _SURELY * gain.std() * error or (gain > 0).mean() > 0.5 + _SURELY * 0.5 * error:
        return trained
    return replace(trained, model=job.model, best_epoch=0)


Preparations = dict[tuple[Any, ...], Rows]
"""Rows by the choices that they were prepared with."""


@dataclass(kw_only=True, eq=False, repr=False)
class BaseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Tables, Learner):  # type: ignore[misc]
    """Base of all estimators; see `Autoencoder` for one whose every slot is free."""

    scaling: str | None = "auto"
    init: str = "closed_form"
    schema: str | dict[str, Any] | None = "auto"

    _fitted_json: ClassVar[tuple[str, ...]] = ("evaluation_",)
    evaluation_: ClassVar[Any] = None
    _probe = None  # not annotated, so not a parameter
    """What it said of some rows when it was saved."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Learner._parameter_constraints,
        "scaling": [StrOptions(set(KINDS)), None],
        "init": [StrOptions({"closed_form", "random"})],
        "schema": [StrOptions({"auto"}), dict, None],
    }

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

        def begun(seed: int, kept: Checkpoints | None) -> Job:
            return self._begun(X, seed, kept, X_val=X_val)

        return self._trained(begun, checkpoint_dir, checkpoint_every, resume, callback)

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
        n_given = given.n_rows if isinstance(given, Store) else len(given)
        rows = self._prepared(given, self._share_held_out(X_val, n_given), {} if prepared is None else prepared)
        self._missing = rows.missing or self._recipe(self._width).corruption.hides
        if X_val is not None:
            rows = rows.judged_by(self._rows(X_val))
        model = Model.build(self._formula(), self._width, seed)
        if kept is not None:
            kept.identify(self._identity(rows.fingerprint))
        self.scaler_ = rows.scaler
        return Job(model.bind(*rows.bounds), rows, self._plan(rows.training.n_rows, model))

    def _ended(self, job: Job, trained: Trained) -> Self:
        self._probe = None
        trained = _settled(job, trained)
        super()._ended(job, replace(trained, model=closed_form.finish(trained.model, job.rows)))
        self._finish(job.rows)
        self.evaluation_ = None  # type: ignore[misc]
        if self._speaks and sys.stderr.isatty() and (chosen := self._chosen()):
            print(f"chosen: {chosen}", file=sys.stderr)
        return self

    def _chosen(self) -> str:
        """What `fit` chose, where a parameter leaves it to choose."""
        choices = (
            ("n_latent", None, f"{getattr(self.model_.recipe.latent, 'n_latent', '')}"),
            ("scaling", "auto", self.scaler_.kind),
            ("sparsity_weight", None, f"{getattr(self, 'sparsity_weight_', 0) or 0:.3g}"),
        )
        return ", ".join(
            f"{name} {value}" for name, free, value in choices if getattr(self, name, "") == free and value
        )

    def _formula(self) -> Recipe:
        recipe = super()._formula()
        if self.schema_ is None:
            return recipe
        return recipe.replace(likelihood=by_column(self.schema_.blocks, recipe.likelihood))

    def _prepared(self, given: Any, fraction: float, known: Preparations) -> Rows:
        """Rows as training takes them: scaled, and a share held out; those known are used again."""
        recipe = self._formula()
        supports = recipe.likelihood.supports(self._width)
        in_memory = not isinstance(given, Store)
        choices = (self.scaling, supports, fraction, None if in_memory and not fraction else self._seed)
        if choices not in known:
            is_image = self.image_shape_ is not None or hasattr(recipe.encoder, "shape")
            survey = Survey(self.scaling, supports, one_unit=is_image or None)
            if not in_memory:
                stream = Stream(given, HeldOut(given, fraction, self._seed), self._seed)
                self._announce(stream, Model.build(recipe, self._width, 0))
                with Bar(f"{type(self).__name__} reading", given.n_rows, self._speaks) as bar:
                    known[choices] = from_stream(stream, survey, bar.show)
            else:
                known[choices] = from_array(given, survey, fraction, self._seed)
        return known[choices]

    def _start(self, job: Job, keeper: Callable[[str], Keeper | None]) -> Job:
        if self.init == "random":
            return job._replace(model=closed_form.prepared(job.model, job.rows))
        found = closed_form.start(job.model, job.rows, job.plan.seed)
        plan = replace(job.plan, keep_start=found.is_linear)
        if found.is_linear and self.max_epochs is None:
            most = 0 if found.is_optimum else self._most_from_linear
            plan = replace(plan, max_epochs=min(plan.max_epochs, most))
        return job._replace(model=found.model, plan=plan)

    def _finish(self, rows: Rows) -> None:
        """Whatever a system reports of the rows it was fitted to, given in scaled units."""

    def _evaluate(self, rows: Rows) -> None:
        """Measure what the reconstruction keeps of held-out rows, beside PCA of training rows; warn if it is poor."""
        source = rows.held_out or rows.training
        chunk = next(source.chunks())
        some = np.asarray(chunk.rows)[: min(chunk.n_rows, _EVALUATED)]
        if self.model_.recipe.n_targets or np.isnan(some).any() or current().n_devices > 1:
            return
        codes, rebuilt = inference.by_rows(inference.coded, self.model_, some)
        k, x = codes.shape[1], some.astype(np.float64)
        total = max(float(np.square(x - x.mean(axis=0)).sum()), 1e-30)
        by_pca = None
        if k < min(rows.n_samples, x.shape[1]) and (rows.n_samples <= _IN_MEMORY or x.shape[1] <= _IN_MEMORY):
            mean, axes, _ = closed_form.principal(rows, k)
            by_pca = 1 - float(np.square(x - mean - (x - mean) @ axes.T @ axes).sum()) / total
        self.evaluation_ = {  # type: ignore[misc]
            "rows": "training" if rows.held_out is None else "held-out",
            "n_rows": len(x),
            "explained_variance": 1 - float(np.square(x - rebuilt).sum()) / total,
            "pca_explained_variance": by_pca,
        }
        self._warn_of_fit(codes, len(x))

    def _warn_of_fit(self, codes: np.ndarray, n: int) -> None:
        found: dict[str, Any] = self.evaluation_ or {}
        recipe = self.model_.recipe
        if n < _ENOUGH_TO_JUDGE:
            return
        if recipe.latent.stochastic and not active_units(codes).any():
            warnings.warn(
                f"Posterior collapse: none of the {codes.shape[1]} latent units varies with the row. Raise β slowly "
                "(beta='linear'), set a lower one, train longer, or learn σ (likelihood='learned_gaussian').",
                PosteriorCollapse,
                stacklevel=5,
            )
            return
        kept, by_pca = found["explained_variance"], found["pca_explained_variance"]
        if not isinstance(recipe.corruption, NoCorruption) or recipe.latent.stochastic:
            by_pca = None  # these do not try to keep all of a clean row
        which = f"the reconstruction keeps {kept:.1%} of the variance of {found['rows']} rows"
        if kept < 0:
            said = f"{which}: it is worse than their mean. Lower the learning rate, train longer, or scale the columns."
        elif by_pca is not None and kept < by_pca - _BEHIND:
            mean = " It is nearly the mean of all rows." if kept < _BEHIND else ""
            said = f"{which}, PCA with as many components {by_pca:.1%}.{mean} Train longer, or use fewer layers."
        else:
            return
        warnings.warn(f"{type(self).__name__}: {said}", PoorFit, stacklevel=5)

    def _announce(self, training: Stream, model: Model) -> None:
        """One line before a training on rows that are read in chunks."""
        if not self._speaks:
            return
        n_epochs = self._plan(training.n_rows, model).max_epochs
        n_weights = sum(leaf.size for leaf in jax.tree.leaves(model.weights.apart()[0]))
        seconds = jax_config.seconds_for(6.0 * n_weights * training.n_rows * n_epochs)
        held = training.chunk_bytes * 2 + 16 * n_weights  # a chunk and the next; weights, gradient, two moments
        print(
            f"{training.n_rows:,} rows × {training.n_features:,} columns in {training.n_chunks:,} chunks, "
            f"{held / 2**20:,.0f} MB on the device, {n_epochs:,} epochs: about {in_words(seconds)} or more",
            file=sys.stderr,
        )

    # -- using --------------------------------------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.recipe.latent.n_latent)

    def _said(self, op: inference.Op, rows: np.ndarray, *static: Any, **noise: int) -> Any:
        """What the model says of rows in the user's units, in the network's."""
        found = inference.by_rows(op, self.model_, rows, *static, scaler=self.scaler_, **noise)
        refuse_far(found, self.scaler_, rows, self._name_of)
        return found

    def _codes(self, Z: Any) -> np.ndarray:
        check_is_fitted(self)
        try:
            codes: np.ndarray = check_array(Z, dtype=FLOATS, input_name="Z")
        except TypeError as error:
            raise InvalidType(str(error)) from error
        except ValueError as error:
            raise InvalidData(str(error)) from error
        if codes.shape[1] != self._n_features_out:
            raise InvalidData(
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
        return self._mapped(X, lambda rows, _: self._coded(rows))

    def inverse_transform(self, X: Any) -> Any:
        """From codes (n, K) to rows (n, d): E[x | z], in the units of the training data; for a schema, a table."""
        Z = self._codes(X)
        return self._told(self.scaler_.invert(inference.by_rows(inference.decode, self.model_, Z)).astype(Z.dtype))

    def reconstruct(self, X: Any) -> Any:
        """x̂ = E[x | z(x)] for each row, (n, d) → (n, d), in the units of X; missing cells are told as well.

        Of a table with a schema a table is given back: numbers within the range seen, the likeliest of categories; as a
        pandas or polars frame, if ``X`` is one, else as Arrow's.
        """
        return self._told(self._rebuilt(X), X)

    @available_if(_is_denoiser)  # type: ignore[untyped-decorator]
    def denoise(self, X: Any) -> Any:
        """Noisy rows with the noise taken away, (n, d) → (n, d): `reconstruct`, of a model that has learned to.

        That is one with a corruption; what it removes is noise of that kind and level.
        """
        return self.reconstruct(X)

    def _rebuilt(self, X: Any) -> np.ndarray:
        def rebuilt(rows: np.ndarray, _: int) -> np.ndarray:
            return self.scaler_.invert(self._said(inference.reconstruct, rows)).astype(rows.dtype)

        found: np.ndarray = self._mapped(X, rebuilt)
        return found

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of each row, in nats and in X's units; higher is more ordinary. Deterministic.

        Of a row with missing cells it is the density of the others: exactly so for a variational model, whose
        likelihood leaves out what is missing.

        For a deterministic code it is log p(x | z(x)); for a variational one an importance-weighted estimate of
        log p(x), with the same noise for every row and every call.

        Returns
        -------
        array of shape (n,)
        """
        check_is_fitted(self)
        found: np.ndarray = self._mapped(X, lambda rows, _: self._scored(rows))
        return found

    def _scored(self, rows: np.ndarray) -> np.ndarray:
        """The log-density of rows as they are read."""
        if self.model_.recipe.latent.stochastic:
            return self._weighed(rows, _DRAWS)[1]
        return self._in_units(rows, self._said(inference.log_likelihood, rows))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, in nats."""
        return float(self.score_samples(X).mean())

    def impute(
        self, X: Any, n_draws: int | None = None, *, n_samples: int = _CODES, random_state: int | None = None
    ) -> Any:
        """X with its missing cells filled, the others untouched.

        The rows that were fitted must have had missing cells, too, or the model a corruption that hides some, such as
        `parts.Missing`.

        A variational model fills them from p(x_missing | x_known), by draws of z weighted by what they say of the known
        cells; a deterministic one with its reconstruction.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory, as for `fit`
        n_draws : int or None, default=None
            None: the single best value, E[x_missing | x_known], or the likeliest category. m: that many draws, for
            multiple imputation (Rubin 1987), from a variational model only.
        n_samples : int, default=256
            Draws of z for each row.
        random_state : int or None, default=None
            Of the draws.

        Returns
        -------
        array of shape (n, d), of X's floating type
            Of a table with a schema, the table, with the columns that the model does not use. If there are to be draws,
            a list of them.

        Raises
        ------
        ValueError
            If the model has learned from rows without missing cells, or a deterministic code is asked for draws.

        References
        ----------
        Mattei & Frellsen (2019), "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets", section 4.
        """
        check_is_fitted(self)
        n_samples = require_positive(n_samples)
        if n_draws is None:
            return self._filled(X, partial(self._expected, n_samples=n_samples))
        n_draws = require_positive(n_draws, "n_draws")
        if not self.model_.recipe.latent.stochastic:
            raise InvalidParameter(f"{type(self).__name__} has a deterministic code: there is nothing to draw from.")
        seeds = drawing(random_state).randint(2**30, size=n_draws)

        def drawn(rows: np.ndarray, first: int, seed: int) -> np.ndarray:
            return self.scaler_.invert(self._said(inference.drawn_given, rows, n_samples, seed=seed, first_row=first))

        return [self._filled(X, partial(drawn, seed=int(seed))) for seed in seeds]

    def _expected(self, rows: np.ndarray, first: int = 0, n_samples: int = _CODES) -> np.ndarray:
        """What rows are expected to be, given their known cells, in the user's units."""
        if self.model_.recipe.latent.stochastic:
            return self.scaler_.invert(self._said(inference.expected_given, rows, n_samples))
        return self.scaler_.invert(self._said(inference.reconstruct, rows))

    def corrupt(self, X: Any, random_state: int = 0) -> Any:
        """What training does to rows before the encoder sees them, x̃ = g(x): (n, d) → (n, d), in the units of X."""

        def noisy(rows: np.ndarray, first: int) -> np.ndarray:
            scaled = self._said(inference.corrupt, rows, seed=random_state, first_row=first)
            return self.scaler_.invert(scaled).astype(rows.dtype)

        return self._told(self._mapped(X, noisy), X)

    def report(
        self,
        X: Any = None,
        y: Any = None,
        *,
        path: str | os.PathLike[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> str:
        """One page of HTML: did it learn, what did it learn, can it be trusted?

        Learning curves by term, reconstructions, the error of each feature, a map of the latent space, what each of its
        units does, samples, what is amiss and how to mend it, and a decoder that runs in the page: move the code, and
        see the row. It needs no network, and opens from a file.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory, as for `fit`; default=None
            Rows to show the model at work on, best such as it has not been fitted to. Of more than 5,000 so many are
            drawn. None: learning, samples and the decoder alone are shown.
        y : array-like of shape (n,) or None, default=None
            A label of each row, to colour the map by.
        path : path or None, default=None
            A file to write the page to.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, 3), if rows are images. None: known of files of images and convolutional
            networks, otherwise rows are no images.

        Returns
        -------
        str
            The page.

        Raises
        ------
        InvalidData
            If ``y`` or ``image_shape`` does not suit the rows.
        """
        check_is_fitted(self)
        page, _ = report.reported(self, X, y, image_shape=image_shape)
        if path is not None:
            writers.write_page(path, page)
        return page

    def save(self, path: str | os.PathLike[str], *, probe: Any = None) -> None:
        """Write a folder of JSON and safetensors that `diabolo.load` reads; see `diabolo.persistence.files`.

        Parameters
        ----------
        path : path
        probe : array-like of shape (n, d), or rows as for `fit`; default=None
            Rows whose codes and scores are kept, of the first 64, so that `verify` can tell whether another machine
            gives the same bits. Of the rows themselves a fingerprint is kept alone.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model, or a parameter is not JSON.
        """
        check_is_fitted(self)
        if probe is not None:
            self._probe = reference_outputs.probed(self, probe)
        super().save(path)

    def verify(self, X: Any) -> reference_outputs.Verified:
        """Whether this machine gives the bits that were stored: codes and scores of the rows that ``save`` was given.

        Raises
        ------
        InvalidData
            If none were stored, or ``X`` does not begin with those rows.
        """
        check_is_fitted(self)
        return reference_outputs.verified(self, X)

    def _in_units(self, rows: np.ndarray, log_density: np.ndarray) -> np.ndarray:
        change = 0.0 if self.model_.recipe.likelihood.discrete else self.scaler_.log_volume(rows)
        return log_density.astype(np.float64) - change

    # -- using a posterior --------------------------------------------------------------------------------------------

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Any, Any] | None = None,
        noise: bool = True,
        random_state: int | None = None,
    ) -> Any:
        """New rows: z from the prior, then x from p(x | z).

        Parameters
        ----------
        n_samples : int, default=1
        given : mapping or None, default=None
            Values that all rows have, by the name of the column, or its number if there are no names. z is then drawn
            from p(z | given): of 4,096 draws from the prior, or of 16 for each row if that is more, those that make the
            values likely.
        noise : bool, default=True
            False: E[x | z] in place of a draw from p(x | z), as one shows images.
        random_state : int or None, default=None

        Returns
        -------
        array of shape (n_samples, d), float64, in the units of the training data; for a schema an Arrow table of the
        same columns, types, ranges and categories
        """
        check_is_fitted(self)
        n_samples = require_positive(n_samples)
        seed = int(drawing(random_state).randint(2**30))
        row = None if not given else self._row_of(given)
        if row is None:
            z = self._from_prior(n_samples, seed)
        else:
            z = self._likely(self._from_prior(max(4096, 16 * n_samples), seed), row, n_samples, seed)
        rows = self._decoded(z, seed, noise)
        return self._told(rows if row is None else np.where(np.isnan(row), rows, row))

    @jax_config.standard()
    def _from_prior(self, n_samples: int, seed: int) -> np.ndarray:
        return np.asarray(self.model_.prior.sample(prng.key(seed), (n_samples,)))

    def _coded(self, rows: np.ndarray) -> np.ndarray:
        """The deterministic codes of rows as they are read."""
        codes: np.ndarray = self._said(inference.code, rows).astype(rows.dtype)
        return codes

    def _decoded(self, z: np.ndarray, seed: int, noise: bool = True) -> np.ndarray:
        """x ~ p(x | z), or E[x | z] without noise, in the user's units."""
        op = inference.draw if noise else inference.decode
        return self.scaler_.invert(inference.by_rows(op, self.model_, z, seed=seed))

    def _likely(self, z: np.ndarray, row: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
        """Of many codes some, drawn by how likely they make what is known of a row, in the user's units."""
        beside = np.hstack([z, np.broadcast_to(self.scaler_.apply(row), (len(z), row.shape[1]))])
        log_w = inference.by_rows(inference.log_likelihood_at, self.model_, beside).astype(np.float64)
        if not np.isfinite(log_w.max()):
            raise InvalidData("No row has such values: they are so far from the rows that were fitted.")
        weights = np.exp(log_w - log_w.max())
        chosen = np.random.default_rng([seed, 6]).choice(len(z), n_samples, p=weights / weights.sum())
        return z[chosen]

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def interpolate(self, a: Any, b: Any, n_steps: int = 10) -> Any:
        """From one row to another by way of their codes: ``n_steps`` rows, the first a's reconstruction, the last b's.

        Parameters
        ----------
        a, b : array-like of shape (1, d), or a table of one row
        n_steps : int, default=10

        Returns
        -------
        array of shape (n_steps, d), or a table, as `reconstruct` gives it
        """
        n_steps = require_positive(n_steps, "n_steps")
        ends = [self.transform(row) for row in (a, b)]
        if any(len(end) != 1 for end in ends):
            raise InvalidData(f"interpolate goes from one row to another; got {len(ends[0])} and {len(ends[1])} rows.")
        first, last = ends
        along = np.linspace(0, 1, n_steps, dtype=first.dtype)[:, None]
        return self.inverse_transform(first + along * (last - first))

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def elbo(self, X: Any, n_samples: int = _DRAWS) -> np.ndarray:
        """The evidence lower bound of each row at β = 1, (n,), in nats; a mean over ``n_samples`` draws of z."""
        return self._log_weights(X, n_samples)[0]

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def log_likelihood(self, X: Any, n_samples: int = _DRAWS) -> np.ndarray:
        """An importance-weighted estimate of log p(x) for each row, (n,), in nats (Burda et al. 2016, eq. 8)."""
        return self._log_weights(X, n_samples)[1]

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def kl(self, X: Any) -> np.ndarray:
        """KL(q(z | x) ‖ π) per row and coordinate, (n, K), in nats."""
        return self._mapped(X, lambda rows, _: self._said(inference.kl, rows).astype(np.float64))

    def _log_weights(self, X: Any, n_samples: int) -> Any:
        n_samples = require_positive(n_samples)
        return self._mapped(X, lambda rows, _: self._weighed(rows, n_samples))

    def _weighed(self, rows: np.ndarray, n_samples: int) -> tuple[np.ndarray, ...]:
        """The ELBO, and an estimate of log p(x), of rows as they are read."""
        found = self._said(inference.log_weight_sums, rows, n_samples)
        return tuple(self._in_units(rows, values) for values in found)


ESTIMATORS = Registered(BaseAutoencoder)  # type: ignore[type-abstract]
"""The autoencoders of diabolo by name."""
