"""Collect all results that a report shows or checks from a fitted autoencoder.

The code names no class of autoencoder: the contents follow from the model's parts and methods.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jaxtyping import Array, Float
from sklearn.decomposition import PCA

from ..core.model import Model, loss
from ..data.scaler import Scaler
from ..data.schema import Schema
from ..data.types import RowsLike
from ..engine import inference
from ..errors import InvalidData
from ..persistence import files
from ..persistence.fitted import FittedAutoencoder
from .rows import labels_of, sample_rows

__all__ = [
    "DIVERGED",
    "LEAST_ROWS",
    "Noise",
    "Reconstructed",
    "ReportData",
    "RowResults",
    "collect",
    "image_shape_of",
    "reconstruct_rows",
]

LEAST_ROWS = 20
"""Findings about the variation of values over rows need at least this many rows."""
DIVERGED = -0.5
"""An explained variance below this: the error is over 1.5 times that of the mean row."""
_EXTREME = 1e3
"""A cell is extreme if its distance from the median is this many times the column's spread."""
_FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
_STEPS = 9
_DRAWS = 64
_SAMPLES = 24


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of the known values along an axis; 0 where none is known."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=axis, dtype=np.float64)
    return np.divide(total, np.maximum(known.sum(axis=axis), 1))


def _explained(scaled: np.ndarray, reconstructions: np.ndarray) -> float:
    """Return the share of the total variance that reconstructions keep."""
    spread = _mean(np.square(scaled - _mean(scaled, axis=0)), axis=0)
    return float(1 - _mean(np.square(scaled - reconstructions), axis=0).sum() / max(spread.sum(), 1e-30))


@dataclass(frozen=True)
class Noise:
    """The error before and after restoration, for several noise levels."""

    factors: tuple[float, ...]
    """Noise levels, in multiples of the level in training."""
    before: tuple[float, ...]
    """Mean squared error per feature of the corrupted rows, in scaled units."""
    after: tuple[float, ...]
    """Mean squared error per feature of the restored rows, in scaled units."""


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """Rows, their codes and their reconstructions."""

    rows: np.ndarray
    """(n, d), in the user's units; rows of a table with a schema are encoded."""
    scaled: np.ndarray
    """(n, d), the rows in the network's units."""
    reconstructions: np.ndarray
    """(n, d), the reconstructions, in the network's units."""
    codes: np.ndarray
    """(n, K)"""
    numbers: np.ndarray
    """(n,), the position of each row among the rows given, from 0."""
    n_given: int
    labels: np.ndarray | None
    """(n,), the user's label of each row."""
    given: pa.Table | None = None
    """The cells of the rows exactly as given, if there is a schema; `rows` are encoded."""

    @cached_property
    def errors(self) -> np.ndarray:
        """(n,), the mean squared error of each row's known cells, in scaled units."""
        return _mean(np.square(self.scaled - self.reconstructions), axis=1)

    @cached_property
    def spread(self) -> np.ndarray:
        """(d,), each feature's variance, in scaled units."""
        return _mean(np.square(self.scaled - _mean(self.scaled, axis=0)), axis=0)

    @cached_property
    def unexplained(self) -> np.ndarray:
        """(d,), the share of each feature's variance that the reconstruction lacks; 0 for constant features."""
        lacking = _mean(np.square(self.scaled - self.reconstructions), axis=0)
        return np.divide(lacking, self.spread, out=np.zeros_like(lacking), where=self.spread > 1e-12)

    def unexplained_by_column(self, column_of_feature: Sequence[str]) -> dict[str, float]:
        """Return the mean of `unexplained` over the features of each column."""
        shares: dict[str, list[float]] = {}
        for name, value in zip(column_of_feature, self.unexplained, strict=True):
            shares.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in shares.items()}

    @cached_property
    def plane(self) -> tuple[np.ndarray, tuple[float, ...]]:
        """(n, 2), the codes' first two principal components, and the share of variance of each."""
        found = PCA(2, random_state=0).fit(self.codes)
        return found.transform(self.codes), tuple(float(share) for share in found.explained_variance_ratio_)

    def at_rank(self, shares: tuple[float, ...], each: int) -> Iterator[np.ndarray]:
        """Yield ``each`` rows around each quantile of the reconstruction error."""
        order = np.argsort(self.errors, kind="stable")
        for share in shares:
            middle = max(0, round(share * (len(order) - each)))
            yield order[middle : middle + each]


@dataclass(frozen=True, kw_only=True)
class RowResults(Reconstructed):
    """The report's rows, and all outputs of the model for them."""

    scores: np.ndarray
    """(n,), the log-density in nats and the user's units."""
    kl: np.ndarray | None
    """(n, K), in nats; None without a posterior."""
    noise: Noise | None
    reconstruction: np.ndarray | None = None
    """(n, 2), −log p(x | z) in nats with the corruption of training, for the trained and for the initial weights. None
    if training had held-out rows, since their learning curve is more informative."""

    @cached_property
    def explained(self) -> float:
        """The share of the total variance that the reconstruction keeps."""
        return _explained(self.scaled, self.reconstructions)

    @cached_property
    def extremes(self) -> list[tuple[int, int]]:
        """Row and column of each extreme cell, the most extreme first; none if the rows are few."""
        found: list[tuple[float, int, int]] = []
        for j in range(self.rows.shape[1]):
            at, factors = _extremes(self.rows[:, j].astype(np.float64))
            found += [(-float(factor), int(i), j) for i, factor in zip(at, factors, strict=True)]
        return [(i, j) for _, i, j in sorted(found)]

    @cached_property
    def usual(self) -> np.ndarray:
        """(n,), whether a row has no extreme cell."""
        found = np.ones(len(self.rows), bool)
        found[[i for i, _ in self.extremes]] = False
        return found

    def explained_by(self, reconstructions: np.ndarray) -> float:
        """Return the share of the variance that reconstructions keep, over rows without extreme cells."""
        return _explained(self.scaled[self.usual], reconstructions[self.usual])

    @cached_property
    def explained_usual(self) -> float:
        """The share of the variance that the reconstruction keeps, over rows without extreme cells."""
        return self.explained_by(self.reconstructions)


@dataclass(frozen=True)
class ReportData:
    """A fitted autoencoder, its training, and its outputs."""

    name: str
    model: Model
    scaler: Scaler
    schema: Schema | None
    history: dict[str, list[float]]
    best_epoch: int
    n_epochs: int
    n_samples: int
    fingerprint: str
    seed: int
    columns: tuple[str, ...]
    """The user's columns, in their order."""
    column_of_feature: tuple[str, ...]
    """The column of each feature."""
    labels: tuple[str, ...]
    """The name of each feature: the column's name, with the category's name for a feature of a category."""
    image: tuple[int, ...] | None
    """(height, width) or (height, width, 3), if rows are images."""
    parameters: dict[str, Any]
    versions: dict[str, str]
    results: RowResults | None
    """The report's rows and their results; None if no rows were given."""
    samples: np.ndarray | None
    """New rows from the prior, in the user's units: E[x | z] for images, samples of x for other rows; None without a
    posterior."""
    between: np.ndarray | None
    """(steps, d), the decoded interpolation between two rows' codes, in the user's units."""
    evaluation: dict[str, Any] | None = None
    """The estimator's ``evaluation_``: the explained variance on held-out (or training) rows, and that of PCA fitted to
    the training rows; None if the estimator has no such attribute."""
    untrained: float | None = None
    """The explained variance of the report's rows with the initial weights. It is computed only if the explained
    variance with the trained weights is below `DIVERGED`."""

    @property
    def recipe(self) -> Any:
        """The model's parts."""
        return self.model.recipe

    @property
    def is_stochastic(self) -> bool:
        """Whether the model has a posterior."""
        return bool(self.recipe.latent.stochastic)

    @property
    def targets(self) -> tuple[float, ...]:
        """The target activations ρ of the penalties that have one."""
        return tuple(penalty.rho for penalty in self.recipe.penalties if hasattr(penalty, "rho"))

    @property
    def has_names(self) -> bool:
        """Whether the user named the columns; pixels and columns of plain arrays are numbered."""
        return self.image is None and (self.schema is not None or self.columns[0] != "0")

    @property
    def anneals(self) -> bool:
        """Whether β changed during training."""
        return len(set(self.curve("beta"))) > 1

    @property
    def rows_per_step(self) -> int:
        """The size of a batch."""
        return int(self.parameters["batch_size"] or self.recipe.encoder.rows_per_step(len(self.column_of_feature)))

    @property
    def rate(self) -> float:
        """The peak of the learning rate; 0 if nothing was trained."""
        return self.parameters["learning_rate"] or max(self.curve("learning_rate"), default=0.0)

    def curve(self, name: str) -> list[float]:
        """Return a learning curve; empty if there is none."""
        return self.history.get(name, [])


def _extremes(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a column's extreme cells, and their distances from the median in units of the spread.

    The spread is the distance between the 5th and the 95th percentile. It is 0 if most cells have one value; then the
    spread is the median distance of the other cells, or the absolute value of the median if these are fewer than five.
    """
    none = np.empty(0, int), np.empty(0)
    known = np.flatnonzero(~np.isnan(cells))
    if len(known) < LEAST_ROWS:
        return none
    ordered = np.sort(cells[known])
    n, middle = len(ordered), float(np.median(ordered))
    spread = float(ordered[int(0.95 * (n - 1))] - ordered[n - 1 - int(0.95 * (n - 1))])
    far = np.abs(cells[known] - middle)
    if not spread:
        others = far[far > 0]
        spread = float(np.median(others)) if len(others) >= 5 else abs(middle)
    spread = max(spread, 1e-6 * abs(middle))
    if not spread:
        return none
    at = np.flatnonzero(far > _EXTREME * spread)
    if len(at) > max(2, n // 100):  # a second mode of the column, not a wrong cell
        return none
    return known[at], far[at] / spread


def _reconstruction(model: Model, x: Float[Array, "n d"], noise: inference.Noise) -> Float[Array, " n"]:
    """Return the reconstruction term of each row's loss, computed as in training."""

    def one_row(row: Float[Array, " d"], key: Any) -> Float[Array, ""]:
        term: Float[Array, ""] = loss(model, row[None], key, jnp.ones(()), jnp.ones(1))[1]["reconstruction"]
        return term

    return jax.vmap(one_row)(x, jax.random.split(noise.fresh(), len(x)))


def _initial(estimator: FittedAutoencoder, width: int) -> Model:
    """Return the model with its initial weights."""
    return Model.build(estimator.predictor_.model.recipe, width, estimator.seed_)


def _reconstructions(estimator: FittedAutoencoder, scaled: np.ndarray, seed: int) -> np.ndarray | None:
    """Return the reconstruction term of rows with trained and with initial weights; None if rows were held out."""
    history = estimator.history_
    if "reconstruction" not in history or "validation_loss" in history:
        return None
    models = (estimator.predictor_.model, _initial(estimator, scaled.shape[1]))
    return np.stack([inference.map_rows(_reconstruction, model, scaled, seed=seed) for model in models], axis=1)


def _restored(model: Model, scaled: np.ndarray, corruption: Any, seed: int) -> Noise | None:
    levels = [corruption.scale_level(factor) for factor in _FACTORS]
    if any(level is None for level in levels) or np.isnan(scaled).any():
        return None
    before, after = [], []
    for level in levels:
        noisier = Model(model.recipe.replace(corruption=level), model.weights)
        noisy = inference.map_rows(inference.corrupt, noisier, scaled, seed=seed)
        found = inference.map_rows(inference.reconstruct, model, noisy)
        # Hidden cells have no value before restoration: count the column's mean in their place.
        shown = np.where(np.isnan(noisy), scaled.mean(axis=0), noisy)
        before.append(float(np.square(shown - scaled).mean()))
        after.append(float(np.square(found - scaled).mean()))
    return Noise(_FACTORS, tuple(before), tuple(after))


def reconstruct_rows(estimator: FittedAutoencoder, X: RowsLike, y: object = None, *, seed: int = 0) -> Reconstructed:
    """Return a sample of the rows, at most `rows.MOST_ROWS`, with their codes and reconstructions.

    Raises
    ------
    InvalidData
        If ``y`` does not have one value for each row.
    """
    model, scaler = estimator.predictor_.model, estimator.predictor_.scaler
    rows, numbers, n, given = sample_rows(estimator.input_, X, seed)
    scaled = scaler.apply(rows)
    codes = inference.map_rows(inference.code, model, scaled)
    return Reconstructed(
        rows=rows,
        scaled=scaled,
        reconstructions=inference.map_rows(inference.decode, model, inference.with_condition(model, codes, scaled)),
        codes=codes,
        numbers=numbers,
        n_given=n,
        labels=None if y is None else labels_of(y, n)[numbers],
        given=given,
    )


def _results_of(estimator: FittedAutoencoder, X: RowsLike, y: object, seed: int) -> RowResults:
    model, found = estimator.predictor_.model, reconstruct_rows(estimator, X, y, seed=seed)
    stochastic = model.recipe.latent.stochastic
    if stochastic:
        log_p = inference.map_rows(inference.log_densities, model, found.scaled, _DRAWS)
    else:
        log_p = inference.map_rows(inference.log_likelihood, model, found.scaled)
    return RowResults(
        **{field.name: getattr(found, field.name) for field in fields(found)},
        scores=estimator.predictor_.in_user_units(found.rows, log_p),
        kl=inference.map_rows(inference.kl, model, found.scaled) if stochastic else None,
        noise=_restored(model, found.scaled, model.recipe.corruption, seed),
        reconstruction=_reconstructions(estimator, found.scaled, seed),
    )


def _untrained(estimator: FittedAutoencoder, results: RowResults) -> float | None:
    """Return the explained variance with the initial weights, if that of the trained weights is far below 0."""
    if not estimator.n_epochs_ or len(results.rows) < LEAST_ROWS or results.explained_usual >= DIVERGED:
        return None
    model = _initial(estimator, results.scaled.shape[1])
    return results.explained_by(inference.map_rows(inference.reconstruct, model, results.scaled))


def _between(model: Model, results: RowResults) -> np.ndarray:
    """Interpolate from the best reconstructed row to the row with the most distant code in the better half of rows."""
    better = np.argsort(results.errors, kind="stable")[: max(2, len(results.errors) // 2)]
    codes = results.codes[better]
    furthest = np.square(codes - codes[0]).sum(axis=1).argmax()
    along = np.linspace(0, 1, _STEPS, dtype=codes.dtype)[:, None]
    codes = codes[0] + along * (codes[furthest] - codes[0])
    joined = inference.with_condition(model, codes, results.scaled[better[:1]])
    found: np.ndarray = inference.map_rows(inference.decode, model, joined)
    return found


def image_shape_of(estimator: FittedAutoencoder, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return (height, width) or (height, width, 3) if the model's rows are images.

    Raises
    ------
    InvalidData
        If the given shape does not fit the rows.
    """
    width = estimator.input_.width
    encoder = getattr(estimator.predictor_.model.recipe.encoder, "shape", ())
    shape = given or estimator.input_.image_shape or (encoder if len(encoder) == 3 else None)
    if shape is None:
        return None
    shape = tuple(int(size) for size in shape)
    if len(shape) not in (2, 3) or int(np.prod(shape)) != width or (len(shape) == 3 and shape[2] not in (1, 3)):
        if given is None:
            return None
        raise InvalidData(
            f"image_shape is {given}, but rows have {width} features. Give (height, width) or (height, width, 3) with "
            f"{width} as the product."
        )
    return shape[:2] if len(shape) == 3 and shape[2] == 1 else shape


def collect(
    estimator: FittedAutoencoder,
    X: RowsLike | None = None,
    y: object = None,
    *,
    image_shape: tuple[int, ...] | None = None,
    seed: int = 0,
) -> ReportData:
    """Collect a fitted autoencoder's training and its outputs for rows.

    Raises
    ------
    InvalidData
        If ``y`` does not have one value for each row, or ``image_shape`` does not fit the rows.
    """
    predictor, schema = estimator.predictor_, estimator.input_.schema
    model, scaler = predictor.model, predictor.scaler
    columns = tuple(map(str, estimator.input_.labels))
    image = image_shape_of(estimator, image_shape)
    results = None if X is None else _results_of(estimator, X, y, seed)
    samples = None
    if model.recipe.latent.stochastic and (results is not None or not model.recipe.condition):
        given = None if results is None else np.resize(results.rows, (_SAMPLES, results.rows.shape[1]))
        samples = predictor.decode(predictor.prior_codes(_SAMPLES, seed), seed, noise=image is None, given=given)
    return ReportData(
        name=type(estimator).__name__,
        model=model,
        scaler=scaler,
        schema=schema,
        history=estimator.history_,
        best_epoch=estimator.best_epoch_,
        n_epochs=estimator.n_epochs_,
        n_samples=estimator.n_samples_,
        fingerprint=estimator.data_fingerprint_,
        seed=estimator.seed_,
        columns=columns,
        column_of_feature=columns if schema is None else schema.column_of_feature,
        labels=columns if schema is None else schema.labels,
        image=image,
        parameters=estimator.get_params(deep=False),
        versions={"python": platform.python_version()} | files.versions(),
        results=results,
        samples=samples,
        between=None if results is None or len(results.rows) < 2 else scaler.invert(_between(model, results)),
        evaluation=getattr(estimator, "evaluation_", None),
        untrained=None if results is None else _untrained(estimator, results),
    )
