"""What a report rests on: a fitted autoencoder is asked once, and everything that is shown or judged is in the answer.

The report knows no kind of autoencoder by name: what it shows follows from the parts, and from the methods that are
there.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.decomposition import PCA

from .. import inference
from ..errors import InvalidData
from ..model import Model
from ..schema import Schema
from ..stores import Store

__all__ = ["MOST_ROWS", "Evidence", "Noise", "Seen", "gathered"]

MOST_ROWS = 5_000
"""So many rows are looked at, drawn evenly from more."""
_FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
_STEPS = 9
_DRAWS = 64
_SAMPLES = 24


@dataclass(frozen=True)
class Noise:
    """How well rows are restored, by the level of the noise, in multiples of that in training."""

    factors: tuple[float, ...]
    before: tuple[float, ...]
    """The corrupted rows' mean squared error per feature, in scaled units,"""
    after: tuple[float, ...]
    """and the restored ones'."""


@dataclass(frozen=True)
class Seen:
    """What the model makes of rows."""

    rows: np.ndarray
    """(n, d), in the user's units; of a table with a schema, encoded."""
    scaled: np.ndarray
    """(n, d), in the network's,"""
    rebuilt: np.ndarray
    """and what the model makes of them."""
    codes: np.ndarray
    """(n, K)"""
    scores: np.ndarray
    """(n,), in nats and the user's units."""
    numbers: np.ndarray
    """(n,), which of the rows given these are, from 0."""
    n_given: int
    labels: np.ndarray | None
    """(n,), what the user has to say of each row."""
    kl: np.ndarray | None
    """(n, K), in nats, of a latent that has a posterior."""
    noise: Noise | None

    @cached_property
    def errors(self) -> np.ndarray:
        """(n,), the mean squared error of each row's known cells, in scaled units."""
        with np.errstate(invalid="ignore"):
            found: np.ndarray = np.nanmean(np.square(self.scaled - self.rebuilt), axis=1)
        return np.nan_to_num(found)

    @cached_property
    def spread(self) -> np.ndarray:
        """(d,), each feature's variance, in scaled units."""
        found: np.ndarray = np.nan_to_num(np.nanvar(self.scaled, axis=0))
        return found

    @cached_property
    def unexplained(self) -> np.ndarray:
        """(d,), the share of each feature's variance that the reconstruction lacks; 0 for constant features."""
        lacking = np.nan_to_num(np.nanmean(np.square(self.scaled - self.rebuilt), axis=0))
        return np.divide(lacking, self.spread, out=np.zeros_like(lacking), where=self.spread > 1e-12)

    @cached_property
    def explained(self) -> float:
        """The share of the total variance that the reconstruction keeps."""
        lacking = np.nan_to_num(np.nanmean(np.square(self.scaled - self.rebuilt), axis=0))
        return float(1 - lacking.sum() / max(self.spread.sum(), 1e-30))

    @cached_property
    def pca_explained(self) -> float | None:
        """The share that PCA with as many components keeps of these very rows; None, if it would keep all."""
        n, width = self.scaled.shape
        k = self.codes.shape[1]
        if k >= min(n, width) or np.isnan(self.scaled).any():
            return None
        return float(PCA(k, random_state=0).fit(self.scaled).explained_variance_ratio_.sum())

    @cached_property
    def plane(self) -> tuple[np.ndarray, tuple[float, ...]]:
        """(n, 2), the codes' first two principal components, and the share of their variance in each."""
        found = PCA(2, random_state=0).fit(self.codes)
        return found.transform(self.codes), tuple(float(share) for share in found.explained_variance_ratio_)

    def at_rank(self, shares: tuple[float, ...], each: int) -> Iterator[np.ndarray]:
        """Some rows about each share of the way from the best to the worst reconstructed."""
        order = np.argsort(self.errors, kind="stable")
        for share in shares:
            middle = max(0, round(share * (len(order) - each)))
            yield order[middle : middle + each]


@dataclass(frozen=True)
class Evidence:
    """A fitted autoencoder, and what it was found to do."""

    name: str
    model: Model
    scaler: Any
    schema: Schema | None
    history: dict[str, list[float]]
    best_epoch: int
    n_epochs: int
    n_samples: int
    fingerprint: str
    seed: int
    columns: tuple[str, ...]
    """The user's, in their order."""
    owners: tuple[str, ...]
    """The column that each number of a row belongs to,"""
    labels: tuple[str, ...]
    """and what it is called: of a category, which."""
    image: tuple[int, ...] | None
    """(height, width) or (height, width, 3), if rows are images."""
    parameters: dict[str, Any]
    versions: dict[str, str]
    seen: Seen | None
    """None: no rows were given."""
    samples: np.ndarray | None
    """New rows, in the user's units, if there is a density to draw them from: means of images, whose pixels' noise
    would hide them, and draws of all else."""
    between: np.ndarray | None
    """(steps, d), from one row to another by way of their codes, in the user's units."""

    @property
    def recipe(self) -> Any:
        """The parts."""
        return self.model.recipe

    @property
    def is_stochastic(self) -> bool:
        """Whether there is a posterior."""
        return bool(self.recipe.latent.stochastic)

    @property
    def targets(self) -> tuple[float, ...]:
        """The activations that penalties ask of the code's units, if any do."""
        return tuple(penalty.rho for penalty in self.recipe.penalties if hasattr(penalty, "rho"))

    @property
    def has_names(self) -> bool:
        """Whether columns are the user's to name: of images, and long rows without names, they are places."""
        return self.image is None and (self.schema is not None or self.columns[0] != "0")

    @property
    def anneals(self) -> bool:
        """Whether β changed while it was trained."""
        return len(set(self.curve("beta"))) > 1

    def curve(self, name: str) -> list[float]:
        """A learning curve; nothing, if there is none."""
        return self.history.get(name, [])


def _drawn(n: int, seed: int) -> np.ndarray:
    """Which of n rows are looked at."""
    if n <= MOST_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 9]).choice(n, MOST_ROWS, replace=False))


def _some(estimator: Any, X: Any, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Some of the rows, checked; which they are, and of how many."""
    opened = estimator._opened_again(X)
    if not isinstance(opened, Store):
        chosen = _drawn(len(opened), seed)
        return opened[chosen], chosen, len(opened)
    chosen, pieces, first = _drawn(opened.n_rows, seed), [], 0
    for span in opened.spans():
        here = chosen[(chosen >= first) & (chosen < first + len(span))]
        estimator._refuse_holes(span, first)
        pieces.append(span[here - first])
        first += len(span)
        opened.release()
    return np.concatenate(pieces), chosen, opened.n_rows


def _labels(y: Any, numbers: np.ndarray, n: int) -> np.ndarray | None:
    if y is None:
        return None
    values = np.asarray(y.to_pylist() if isinstance(y, pa.Array | pa.ChunkedArray) else y)
    if values.shape != (n,):
        raise InvalidData(f"y has shape {values.shape}, but there are {n:,} rows: give one value for each.")
    chosen: np.ndarray = values[numbers]
    return chosen


def _restored(model: Model, scaled: np.ndarray, corruption: Any, seed: int) -> Noise | None:
    levels = [corruption.times(factor) for factor in _FACTORS]
    if any(level is None for level in levels) or np.isnan(scaled).any():
        return None
    before, after = [], []
    for level in levels:
        noisier = Model(model.recipe.replace(corruption=level), model.weights)
        noisy = inference.by_rows(inference.corrupt, noisier, scaled, seed=seed)
        found = inference.by_rows(inference.reconstruct, model, noisy)
        # Cells that are hidden have no error before; the mean in their place has that of the variance.
        shown = np.where(np.isnan(noisy), scaled.mean(axis=0), noisy)
        before.append(float(np.square(shown - scaled).mean()))
        after.append(float(np.square(found - scaled).mean()))
    return Noise(_FACTORS, tuple(before), tuple(after))


def _seen(estimator: Any, X: Any, y: Any, seed: int) -> Seen:
    model, scaler = estimator.model_, estimator.scaler_
    rows, numbers, n = _some(estimator, X, seed)
    scaled = scaler.apply(rows)
    codes = inference.by_rows(inference.code, model, scaled)
    stochastic = model.recipe.latent.stochastic
    if stochastic:
        log_p = inference.by_rows(inference.log_weight_sums, model, scaled, _DRAWS)[1]
    else:
        log_p = inference.by_rows(inference.log_likelihood, model, scaled)
    return Seen(
        rows=rows,
        scaled=scaled,
        rebuilt=inference.by_rows(inference.decode, model, codes),
        codes=codes,
        scores=estimator._in_units(rows, log_p),
        numbers=numbers,
        n_given=n,
        labels=_labels(y, numbers, n),
        kl=inference.by_rows(inference.kl, model, scaled) if stochastic else None,
        noise=_restored(model, scaled, model.recipe.corruption, seed),
    )


def _between(model: Model, seen: Seen) -> np.ndarray:
    """From the best reconstructed row to that of the better half whose code is furthest from it, in scaled units."""
    better = np.argsort(seen.errors, kind="stable")[: max(2, len(seen.errors) // 2)]
    codes = seen.codes[better]
    furthest = np.square(codes - codes[0]).sum(axis=1).argmax()
    along = np.linspace(0, 1, _STEPS, dtype=codes.dtype)[:, None]
    found: np.ndarray = inference.by_rows(inference.decode, model, codes[0] + along * (codes[furthest] - codes[0]))
    return found


def _versions() -> dict[str, str]:
    names = ("diabolo", "jax", "equinox", "optax", "numpy", "scikit-learn")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _image_shape(estimator: Any, given: tuple[int, ...] | None, width: int) -> tuple[int, ...] | None:
    encoder = getattr(estimator.model_.recipe.encoder, "shape", None)
    shape = given or estimator.image_shape_ or encoder
    if shape is None:
        return None
    shape = tuple(int(size) for size in shape)
    if len(shape) not in (2, 3) or int(np.prod(shape)) != width or (len(shape) == 3 and shape[2] not in (1, 3)):
        if given is None:
            return None
        raise InvalidData(
            f"image_shape is {given}, but rows have {width} features. Give (height, width) or (height, width, 3), "
            "whose product is their number."
        )
    return shape[:2] if len(shape) == 3 and shape[2] == 1 else shape


def gathered(
    estimator: Any, X: Any = None, y: Any = None, *, image_shape: tuple[int, ...] | None = None, seed: int = 0
) -> Evidence:
    """Ask a fitted autoencoder about rows.

    Raises
    ------
    InvalidData
        If ``y`` has not one value for each row, or ``image_shape`` is not that of the rows.
    """
    model, schema, scaler = estimator.model_, estimator.schema_, estimator.scaler_
    names = getattr(estimator, "feature_names_in_", None)
    columns = tuple(map(str, range(estimator.n_features_in_) if names is None else names))
    image = _image_shape(estimator, image_shape, estimator._width)
    seen = None if X is None else _seen(estimator, X, y, seed)
    samples = None
    if model.recipe.latent.stochastic:
        samples = estimator._decoded(estimator._from_prior(_SAMPLES, seed), seed, noise=image is None)
    return Evidence(
        name=type(estimator).__name__,
        model=model,
        scaler=scaler,
        schema=schema,
        history=estimator.history_,
        best_epoch=estimator.best_epoch_,
        n_epochs=estimator.n_epochs_,
        n_samples=estimator.n_samples_,
        fingerprint=estimator.data_fingerprint_,
        seed=estimator._seed,
        columns=columns,
        owners=columns if schema is None else schema.owners,
        labels=columns if schema is None else schema.labels,
        image=image,
        parameters=estimator.get_params(deep=False),
        versions=_versions(),
        seen=seen,
        samples=samples,
        between=None if seen is None or len(seen.rows) < 2 else scaler.invert(_between(model, seen)),
    )
