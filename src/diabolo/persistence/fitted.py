"""Protocols of fitted estimators, as used by reports, exports, the server and saved models.

The packages that use them do not import `estimators`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ..core.model import Model
from ..data.blocks import BlockReader
from ..data.readers import Table
from ..data.scaler import Scaler
from ..data.schema import Schema
from ..data.series import SeriesRows
from ..data.types import Frame, Name, RowsLike

__all__ = [
    "Columns",
    "Explained",
    "Fills",
    "FittedAutoencoder",
    "FittedClassifier",
    "FittedDetector",
    "FittedEstimator",
    "FittedGenerator",
    "FittedImputer",
    "FittedSeriesDetector",
    "ImputationParts",
    "Says",
    "ScoresSeries",
]


class Columns(Protocol):
    """The input columns of a fit; implemented by `estimators.input.InputSpec`."""

    @property
    def n_features(self) -> int:
        """The number of columns of the input."""

    @property
    def names(self) -> tuple[Hashable, ...] | None:
        """The names of the columns, if they have names."""

    @property
    def labels(self) -> Sequence[Hashable]:
        """The names of the columns, or their numbers if there are no names."""

    @property
    def schema(self) -> Schema | None:
        """The kinds of the columns of a table; None if all columns are plain numbers."""

    @property
    def cells(self) -> Schema | None:
        """The types and ranges of columns of plain numbers; None for arrays, and for a table with a schema."""

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of the images, if the rows were read from image files."""

    @property
    def allow_missing(self) -> bool:
        """Whether rows may have missing cells."""

    @property
    def width(self) -> int:
        """The number of features of an encoded row."""

    def open(self, X: RowsLike) -> BlockReader | np.ndarray:
        """Open rows from any source, with the columns of the fit."""

    def source(self, X: RowsLike, *, whole: bool = False) -> BlockReader | Table | None:
        """Open rows with the columns of the fit; None for an array or a data frame of numbers."""

    def tables(self, X: RowsLike, show_progress: bool = False) -> Iterator[Table]:
        """Yield checked rows in chunks, with their cells as given, if they are of a table."""

    def refuse_missing(self, rows: np.ndarray, first: int = 0) -> None:
        """Check that there are no missing cells, unless the model allows them."""


class Says(Protocol):
    """Predictions in the user's units; implemented by `estimators.predictor.Predictor`."""

    @property
    def model(self) -> Model:
        """The recipe and its weights."""

    @property
    def scaler(self) -> Scaler:
        """The scaling of the rows."""

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Encode rows, (n, d) → (n, K)."""

    def decode(
        self, z: np.ndarray, seed: int = 0, *, noise: bool = False, given: np.ndarray | None = None
    ) -> np.ndarray:
        """Decode codes, (n, K) → (n, d)."""

    def log_density(self, rows: np.ndarray) -> np.ndarray:
        """Return the log-density of each row, (n,)."""

    def in_user_units(self, rows: np.ndarray, log_density: np.ndarray) -> np.ndarray:
        """Convert log-densities of scaled rows to log-densities in the units of the rows."""

    def prior_codes(self, n_samples: int, seed: int) -> np.ndarray:
        """Sample codes from the prior, (n_samples, K)."""


class FittedEstimator(Protocol):
    """A fitted estimator of any kind."""

    @property
    def input_(self) -> Columns:
        """The columns of the fit."""

    @property
    def seed_(self) -> int:
        """The seed drawn from ``random_state``."""

    @property
    def n_samples_(self) -> int:
        """The number of rows of the fit."""

    @property
    def data_fingerprint_(self) -> str:
        """The hash of the rows of the fit."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters."""


class FittedAutoencoder(FittedEstimator, Protocol):
    """A fitted autoencoder."""

    @property
    def predictor_(self) -> Says:
        """The predictions of the model."""

    @property
    def history_(self) -> dict[str, list[float]]:
        """The learning curves."""

    @property
    def best_epoch_(self) -> int:
        """The epoch whose weights are used."""

    @property
    def n_epochs_(self) -> int:
        """The number of epochs run."""


class Explained(Protocol):
    """The result of a detector's ``explain``."""

    @property
    def scores(self) -> np.ndarray: ...
    @property
    def contributions(self) -> np.ndarray: ...
    @property
    def columns(self) -> tuple[Name, ...]: ...
    @property
    def observed(self) -> Frame: ...
    @property
    def expected(self) -> Frame: ...


class FittedDetector(Protocol):
    """A fitted detector with a calibrated threshold."""

    false_alarm_rate: float
    contaminated: bool
    calibration_scores_: np.ndarray
    n_samples_: int

    @property
    def offset_(self) -> float: ...
    @property
    def can_flag_(self) -> bool: ...
    def score_samples(self, X: RowsLike) -> np.ndarray: ...
    def p_values_from_scores(self, scores: np.ndarray) -> np.ndarray: ...
    def explain(self, X: RowsLike) -> Explained: ...


class FittedClassifier(FittedEstimator, Protocol):
    """A fitted classifier."""

    classes_: np.ndarray
    history_: dict[str, list[float]]
    best_epoch_: int

    def predict_proba(self, X: RowsLike) -> np.ndarray: ...


class FittedGenerator(FittedEstimator, Protocol):
    """A fitted generator of rows."""

    def sample(self, n_samples: int = 1, *, random_state: int | None = None) -> Frame: ...


class ImputationParts(Protocol):
    """The parts of an imputed value, and their shares; implemented by `estimators.blend.Blend`."""

    @property
    def mean(self) -> np.ndarray: ...
    @property
    def linear_share(self) -> np.ndarray: ...
    @property
    def network_share(self) -> np.ndarray: ...
    @property
    def has_linear(self) -> bool: ...
    def linear(self, rows: np.ndarray) -> np.ndarray: ...


class Fills(Protocol):
    """Imputations of arrays of rows in the user's units; implemented by `estimators.imputer.Filler`."""

    def expected(self, rows: np.ndarray) -> np.ndarray: ...
    def judged(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class FittedImputer(FittedEstimator, Protocol):
    """A fitted imputer with calibrated intervals."""

    conformal_scores_: np.ndarray

    @property
    def blend_(self) -> ImputationParts: ...
    @property
    def filler_(self) -> Fills: ...


class ScoresSeries(Protocol):
    """The scores of series; implemented by `estimators.series_model.SeriesModel`."""

    def energies(self, rows: SeriesRows) -> np.ndarray: ...
    def scores(self, energies: np.ndarray) -> np.ndarray: ...
    def expected(self, rows: SeriesRows) -> np.ndarray: ...


class FittedSeriesDetector(Protocol):
    """A fitted detector of anomalies in series."""

    window_: int
    step_: float
    n_samples_: int
    false_alarm_rate: float
    calibration_maxima_: np.ndarray

    @property
    def offset_(self) -> float: ...
    @property
    def input_(self) -> Columns: ...
    @property
    def series_model_(self) -> ScoresSeries: ...
    def p_values_from_scores(self, scores: np.ndarray) -> np.ndarray: ...
