"""The estimators that the laws are tried on, the rows that they are fitted to, and everything that they say of rows."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import diabolo
from diabolo import parts

__all__ = ["SUBJECTS", "Answers", "Subject", "asked", "columns_of", "drawn_from", "questions", "quietly", "rows_at"]

N_ROWS, WIDTH = 80, 6
"""All fits have this shape, so that they share compiled programs."""
Rows = np.ndarray | pa.Table
Answers = dict[str, np.ndarray]
"""What an estimator says of rows: one array for each question and column."""

_SMALL: dict[str, Any] = {"max_epochs": 3, "batch_size": 16, "learning_rate": 0.01, "random_state": 0}
_LAYER: dict[str, Any] = {"hidden_layer_sizes": (4,)}


@contextmanager
def quietly() -> Iterator[None]:
    """Ignore warnings: fits of three epochs are poor by design."""
    with warnings.catch_warnings(action="ignore"):
        yield


# -- rows -------------------------------------------------------------------------------------------------------------


def numbers(seed: int = 0, n: int = N_ROWS) -> np.ndarray:
    """Return correlated columns in different units."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 2)) @ rng.normal(size=(2, WIDTH)) + 0.1 * rng.normal(size=(n, WIDTH))
    return rows * np.array([1.0, 10.0, 0.1, 1.0, 5.0, 1.0]) + np.array([0.0, 100.0, 0.0, -3.0, 0.0, 1.0])


def holes(seed: int = 0, n: int = N_ROWS) -> np.ndarray:
    """Return the same with a tenth of the cells missing."""
    rows = numbers(seed, n)
    return np.where(np.random.default_rng(seed + 1).random(rows.shape) < 0.1, np.nan, rows)


def counts(seed: int = 0, n: int = N_ROWS) -> np.ndarray:
    """Return counts."""
    return np.random.default_rng(seed).poisson(4.0, (n, WIDTH)).astype(float)


def bits(seed: int = 0, n: int = N_ROWS) -> np.ndarray:
    """Return zeros and ones."""
    return (np.random.default_rng(seed).random((n, WIDTH)) < 0.4).astype(float)


def named(seed: int = 0, n: int = N_ROWS) -> pa.Table:
    """Return numbers with names."""
    return pa.table({f"x{i}": cells for i, cells in enumerate(numbers(seed, n).T)})


def mixed(seed: int = 0, n: int = N_ROWS) -> pa.Table:
    """Return a table with columns of all kinds, and missing cells."""
    rng = np.random.default_rng(seed)
    length = rng.normal(5.0, 2.0, n).round(3)
    columns = {
        "length": length,
        "width": (length / 2 + rng.normal(0, 0.3, n)).round(3),
        "visits": rng.poisson(rng.gamma(2.0, 2.0, n)),
        "kind": np.where(length > 5, "größer", rng.choice(["x", "z, y", 'q"'], n)),
        "answer": rng.choice(["True", "False", "Maybe"], n),
        "is new": rng.random(n) < 0.3,
        "born": np.datetime64("1970-01-01") + rng.integers(0, 9000, n),
    }
    empty = {name: rng.random(n) < 0.1 if name in ("width", "kind", "born") else None for name in columns}
    return pa.table({name: pa.array(cells, mask=empty[name]) for name, cells in columns.items()})


def rows_at(rows: Rows, places: Any) -> Rows:
    """Return the rows at some places, in their order."""
    places = np.asarray(places, dtype=np.int64)
    return rows.take(pa.array(places)) if isinstance(rows, pa.Table) else rows[places]


# -- answers ----------------------------------------------------------------------------------------------------------


def columns_of(name: str, answer: Any) -> Answers:
    """Return an answer of any type as columns, by names that do not depend on the type."""
    answer = answer.collect() if hasattr(answer, "collect") else answer  # a lazy frame
    if hasattr(answer, "to_arrow"):  # polars
        answer = answer.to_arrow()
    elif type(answer).__module__.startswith("pandas"):
        answer = pa.Table.from_pandas(answer, preserve_index=False)
    if isinstance(answer, pa.Table):
        return {f"{name} {i}": _cells(column) for i, column in enumerate(answer.columns)}
    rows = np.asarray(answer)
    return {name: rows} if rows.ndim == 1 else {f"{name} {i}": column for i, column in enumerate(rows.T)}


def _cells(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_floating(column.type):
        return column.to_numpy()
    cells = [_plain(cell) for cell in column.to_pylist()]
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


def _plain(cell: Any) -> Any:
    """Return a moment at midnight as its day: a text file has one form for both."""
    is_midnight = isinstance(cell, datetime) and cell.tzinfo is None and cell.time() == time.min
    return cell.date() if is_midnight else cell


def asked(model: Any, rows: Any) -> Answers:
    """Return everything that a fitted estimator says of each row.

    ``rows`` may be a function that returns them, for containers that can be read only once.
    """
    found: Answers = {}
    with quietly():
        for name, ask in questions(model).items():
            found |= columns_of(name, ask(rows() if callable(rows) else rows))
    return found


def questions(model: Any) -> dict[str, Callable[[Any], Any]]:
    """Return the methods that say something of each row, by name."""
    if isinstance(model, diabolo.AnomalyDetector):
        contributions = {"contributions": lambda rows: model.explain(rows).contributions}
        expected = {"expected": lambda rows: model.explain(rows).expected}
        return (
            {name: getattr(model, name) for name in ("score_samples", "predict", "p_values")} | contributions | expected
        )
    if isinstance(model, diabolo.AutoencoderImputer):
        low = {"low": lambda rows: model.prediction_intervals(rows, 0.8)[0]}
        high = {"high": lambda rows: model.prediction_intervals(rows, 0.8)[1]}
        return {"transform": model.transform} | low | high
    if isinstance(model, diabolo.AutoencoderClassifier):
        return {"predict": model.predict, "predict_proba": model.predict_proba}
    if isinstance(model, diabolo.AutoencoderGenerator):
        return {}
    names = ["transform", "reconstruct", "score_samples"]
    names += ["impute"] if model.input_.allow_missing else []
    names += ["elbo", "kl"] if model.predictor_.is_stochastic else []
    return {name: getattr(model, name) for name in names}


def drawn_from(model: Any, seed: int = 0) -> Answers:
    """Return new rows of an estimator that can sample."""
    given = {None: None, 5: {5: 0.5}, "answer": {"answer": "True"}}[getattr(model, "condition", None)]
    return columns_of("sample", model.sample(20, given=given, random_state=seed))


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Subject:
    """An estimator fitted once, whose fitted state no law may change."""

    name: str
    make: Callable[[], Any]
    """Return the estimator, unfitted."""
    draw: Callable[..., Rows]
    """Return rows, by a seed and a number of rows."""
    is_slow: bool = False
    """Whether `make test` leaves it to `make slow`: its programs take long to compile, and others are like it."""
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def is_table(self) -> bool:
        """Whether the columns have names."""
        return self.draw in (named, mixed)

    @property
    def allows_missing(self) -> bool:
        """Whether rows may have missing cells."""
        return self.draw in (holes, mixed) or self.name.startswith("imputer")

    def fit(self, rows: Any, estimator: Any = None, seed: int = 0) -> Any:
        """Return an estimator fitted to rows; the labels of a classifier follow from a seed."""
        estimator = self.make() if estimator is None else estimator
        with quietly():
            return estimator.fit(rows, *self.labels(len(rows), seed))

    def labels(self, n: int, seed: int = 0) -> tuple[np.ndarray, ...]:
        """Return the labels that `fit` needs."""
        is_classifier = self.name.startswith("classifier")
        return (np.random.default_rng(seed).integers(0, 3, n),) if is_classifier else ()

    @cached_property
    def rows(self) -> Rows:
        """The rows of the fit."""
        return self.draw()

    @cached_property
    def model(self) -> Any:
        """The fitted estimator."""
        return self.fit(self.rows)

    @cached_property
    def folder(self) -> Path:
        """A folder of its own."""
        self._made["folder"] = folder = tempfile.TemporaryDirectory(prefix="diabolo-laws-")
        return Path(folder.name)

    @cached_property
    def saved(self) -> Path:
        """The folder of the saved model."""
        self.model.save(self.folder / "model")
        return self.folder / "model"

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return something that laws derive from the fitted estimator, made once."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @cached_property
    def units(self) -> Mapping[str, float]:
        """The spread of each answer over the rows of the fit, which tolerances are relative to."""
        found = {}
        for name, cells in asked(self.model, self.rows).items():
            if cells.dtype.kind == "f":
                found[name] = float(np.std(cells[np.isfinite(cells)])) or 1.0
        return found

    def spread(self, rng: np.random.Generator, n: int, far: float) -> Rows:
        """Return rows like those of the fit: cells from other rows, and numbers up to ``far`` spreads away."""
        places = rng.integers(0, len(self.rows), (n, WIDTH))
        if isinstance(self.rows, pa.Table):
            return pa.table(
                {
                    name: self.rows[name].take(pa.array(rng.integers(0, len(self.rows), n)))
                    for name in self.rows.column_names
                }
            )
        rows = np.take_along_axis(self.rows, places, axis=0)
        moved = far * np.nanstd(self.rows, axis=0) * rng.normal(size=rows.shape)
        return rows + moved if self.draw in (numbers, holes) else rows


def _variational(**more: Any) -> Any:
    return diabolo.VariationalAutoencoder(n_latent=2, **_LAYER, **_SMALL, **more)


def _denoising() -> Any:
    return diabolo.DenoisingAutoencoder(**_LAYER, **_SMALL)


def _basic(**more: Any) -> Any:
    return diabolo.BasicAutoencoder(n_latent=2, **_SMALL, **more)


def _contractive() -> Any:
    return diabolo.Autoencoder(
        encoder=parts.MLP((4,), "tanh"), latent=parts.Deterministic(2), penalties=(parts.Contractive(0.1),), **_SMALL
    )


def _weighted() -> Any:
    return diabolo.Autoencoder(
        encoder=parts.MLP((4,), "tanh"),
        latent=parts.DiagonalGaussian(2),
        prior=parts.StandardNormal(),
        objective=parts.ImportanceWeighted(2),
        **_SMALL,
    )


def _of_clusters() -> Any:
    return diabolo.Autoencoder(
        encoder=parts.MLP((4,)),
        latent=parts.DiagonalGaussian(2),
        prior=parts.VampPrior(4),
        objective="elbo",
        **_SMALL,
    )


def _recurrent() -> Any:
    shape = (WIDTH // 2, 2)
    return diabolo.Autoencoder(
        encoder=parts.GRUEncoder(shape, 4),
        decoder=parts.GRUDecoder(shape, 4),
        latent=parts.DiagonalGaussian(2),
        likelihood="learned_gaussian",
        objective="elbo",
        **_SMALL,
    )


def _normalised() -> Any:
    return diabolo.Autoencoder(
        encoder=parts.RegularizedMLP((4,), normalization="batch", dropout=0.1), latent=parts.Deterministic(2), **_SMALL
    )


def _codebook() -> Any:
    return diabolo.Autoencoder(
        encoder=parts.MLP((4,)), latent=parts.VectorQuantized(2, 8), penalties=(parts.Commitment(),), **_SMALL
    )


def _detector(estimator: Any = "single") -> Any:
    return diabolo.AnomalyDetector(estimator, false_alarm_rate=0.1, random_state=0)


SUBJECTS: dict[str, Subject] = {
    name: Subject(name, make, draw, bool(slow))
    for name, make, draw, *slow in (
        ("basic", _basic, numbers),
        ("basic, by name", _basic, named),
        ("basic, of a table", _basic, mixed),
        ("stacked", lambda: diabolo.StackedAutoencoder(hidden_layer_sizes=(4, 3), n_latent=2, **_SMALL), numbers),
        ("sparse", lambda: diabolo.SparseAutoencoder(n_hidden=8, **_SMALL), numbers),
        ("denoising", _denoising, numbers),
        ("contractive", _contractive, numbers),
        ("importance-weighted", _weighted, numbers, "slow"),
        ("variational", _variational, numbers),
        ("variational, missing cells", _variational, holes, "slow"),
        ("variational, counts", lambda: _variational(likelihood="count"), counts, "slow"),
        ("variational, bits", lambda: _variational(likelihood="bernoulli"), bits, "slow"),
        ("variational, of a table", _variational, mixed, "slow"),
        ("variational, of clusters", _of_clusters, numbers, "slow"),
        ("variational, given a column", lambda: _variational(condition=5), numbers, "slow"),
        ("variational, of a table given a column", lambda: _variational(condition="answer"), mixed, "slow"),
        ("recurrent", _recurrent, numbers, "slow"),
        ("normalised", _normalised, numbers, "slow"),
        ("codebook", _codebook, numbers),
        ("detector", _detector, numbers),
        ("detector, of a table", lambda: _detector(_denoising()), mixed),
        ("imputer", lambda: diabolo.AutoencoderImputer(_denoising(), random_state=0), holes),
        ("imputer, of a table", lambda: diabolo.AutoencoderImputer(_denoising(), random_state=0), mixed, "slow"),
        ("generator", lambda: diabolo.AutoencoderGenerator(_variational(), random_state=0), numbers),
        ("generator, of a table", lambda: diabolo.AutoencoderGenerator(_variational(), random_state=0), mixed, "slow"),
        ("classifier", lambda: diabolo.AutoencoderClassifier(_basic(), **_SMALL), numbers),
    )
}
"""All estimators, by a name that begins with the kind of the estimator."""
