"""What reports, exports, servers and artefacts may ask of a fitted estimator, as protocols.

The rooms that ask lie below `estimators`, and know no estimator by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..core.model import Model
from ..data.blocks import BlockReader
from ..data.scaler import Scaler
from ..data.schema import Schema
from ..data.types import RowsLike

__all__ = ["Columns", "FittedAutoencoder", "FittedEstimator", "Says"]


class Columns(Protocol):
    """The columns of a fit: `estimators.input.InputSpec`."""

    @property
    def n_features(self) -> int:
        """The number of the user's columns."""

    @property
    def names(self) -> tuple[Any, ...] | None:
        """The names of the columns, if they have names."""

    @property
    def labels(self) -> Sequence[Any]:
        """The names of the columns; their numbers if they have none."""

    @property
    def schema(self) -> Schema | None:
        """What the columns of a table are."""

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of images."""

    @property
    def allow_missing(self) -> bool:
        """Whether rows may have missing cells."""

    @property
    def width(self) -> int:
        """How many numbers a row is."""

    def open(self, X: RowsLike) -> BlockReader | np.ndarray:
        """Open rows from anywhere, of the columns of the fit."""

    def refuse_missing(self, rows: np.ndarray, first: int = 0) -> None:
        """Refuse missing cells, unless there were some in training."""


class Says(Protocol):
    """What a fitted model says of rows in the user's units: `estimators.predictor.Predictor`."""

    @property
    def model(self) -> Model:
        """The recipe and its weights."""

    @property
    def scaler(self) -> Scaler:
        """The scaling of rows."""

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Encode rows, (n, d) → (n, K)."""

    def decode(self, z: np.ndarray, seed: int = 0, *, noise: bool = False) -> np.ndarray:
        """Decode codes, (n, K) → (n, d)."""

    def log_density(self, rows: np.ndarray) -> np.ndarray:
        """Return the log-density of each row, (n,)."""

    def in_user_units(self, rows: np.ndarray, log_density: np.ndarray) -> np.ndarray:
        """Convert log-densities of scaled rows to those of the rows."""

    def prior_codes(self, n_samples: int, seed: int) -> np.ndarray:
        """Sample codes from the prior, (n_samples, K)."""


class FittedEstimator(Protocol):
    """A fitted estimator of any kind."""

    @property
    def input_(self) -> Columns:
        """The columns of the fit."""

    @property
    def seed_(self) -> int:
        """The seed that was drawn from ``random_state``."""

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
        """What the model says of rows."""

    @property
    def history_(self) -> dict[str, list[float]]:
        """The learning curves."""

    @property
    def best_epoch_(self) -> int:
        """The epoch whose weights are kept."""

    @property
    def n_epochs_(self) -> int:
        """How many epochs were run."""
