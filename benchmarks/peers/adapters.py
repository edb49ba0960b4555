"""Estimators of diabolo with the constructors of a peer's classes, as thin as the peer's tests allow."""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from functools import cache
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.impute import IterativeImputer
from sklearn.neighbors import LocalOutlierFactor
from sklearn.utils.validation import check_is_fitted

import diabolo

__all__ = ["put_in_place"]

_RATE = 0.1
"""The false-alarm rate for a peer's contamination="auto"."""


class _Detector:
    """`AnomalyDetector` behind a detector of scikit-learn; a given contamination is a quantile of training scores."""

    def fit(self: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit the detector, and set the threshold."""
        share = _RATE if self.contamination == "auto" else self.contamination
        seed = getattr(self, "random_state", None)
        with warnings.catch_warnings(action="ignore"):
            inner = diabolo.AnomalyDetector(false_alarm_rate=share, random_state=0 if seed is None else seed).fit(X)
        self.inner_, scores = inner, inner.score_samples(X)
        is_given = self.contamination != "auto"
        self.offset_ = np.percentile(scores, 100 * share) if is_given else inner.offset_
        self.n_features_in_, self.decision_scores_ = inner.n_features_in_, scores - self.offset_
        if hasattr(inner, "feature_names_in_"):
            self.feature_names_in_ = inner.feature_names_in_
        return self

    def score_samples(self: Any, X: Any) -> Any:
        """Return the scores; higher is more normal."""
        check_is_fitted(self, "inner_")
        return self.inner_.score_samples(X)

    def decision_function(self: Any, X: Any) -> Any:
        """Return the distances from the threshold."""
        return self.score_samples(X) - self.offset_

    def predict(self: Any, X: Any) -> Any:
        """Return −1 for anomalies."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self: Any, X: Any, y: Any = None) -> Any:
        """Fit, and predict the same rows."""
        return self.fit(X).predict(X)


class Forest(_Detector, IsolationForest):
    """In the place of an isolation forest."""


class Envelope(_Detector, EllipticEnvelope):
    """In the place of an elliptic envelope."""


class Factor(_Detector, LocalOutlierFactor):
    """In the place of a local outlier factor."""

    @property
    def negative_outlier_factor_(self) -> Any:
        """The scores of the training rows."""
        return self.decision_scores_ + self.offset_


class Components(TruncatedSVD):
    """`BasicAutoencoder` in the place of a decomposition."""

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit the autoencoder."""
        if self.n_components > np.shape(X)[1]:
            raise ValueError(f"n_components({self.n_components}) must be <= n_features({np.shape(X)[1]}).")
        self.inner_ = diabolo.BasicAutoencoder(n_latent=self.n_components, random_state=0).fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and return the codes."""
        return self.fit(X).transform(X)

    def transform(self, X: Any) -> Any:
        """Return the codes."""
        return self.inner_.transform(X)

    def inverse_transform(self, X: Any) -> Any:
        """Return the rows that codes stand for."""
        return self.inner_.inverse_transform(X)


class Imputer(IterativeImputer):
    """`AutoencoderImputer` in the place of an imputer; it marks missing cells by NaN only."""

    def __init__(self, *, missing_values: Any = np.nan, add_indicator: bool = False, keep_empty_features: bool = False,
                 random_state: Any = None, **others: Any) -> None:  # fmt: skip
        self.missing_values, self.add_indicator = missing_values, add_indicator
        self.keep_empty_features, self.random_state = keep_empty_features, random_state

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return ["add_indicator", "keep_empty_features", "missing_values", "random_state"]

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit the imputer."""
        options = {"keep_empty_features": self.keep_empty_features, "add_indicator": self.add_indicator}
        known = {name: value for name, value in options.items() if name in diabolo.AutoencoderImputer().get_params()}
        seed = 0 if self.random_state is None else self.random_state
        with warnings.catch_warnings(action="ignore"):
            self.inner_ = diabolo.AutoencoderImputer("single", random_state=seed, **known).fit(self._marked(X))
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and fill the cells."""
        return self.fit(X).transform(X)

    def transform(self, X: Any) -> Any:
        """Fill the cells."""
        return self.inner_.transform(self._marked(X))

    def _marked(self, X: Any) -> Any:
        if pd.isna(self.missing_values):
            return X
        rows = np.array(X, dtype=float)
        rows[rows == self.missing_values] = np.nan
        return rows


def outliers() -> type:
    """Return `AnomalyDetector` as a detector of PyOD."""
    from pyod.models.base import BaseDetector

    @cache  # PyOD's tests fit the same rows anew before each test; one seed gives the same bits
    def fitted_to(content: bytes, shape: tuple[int, ...]) -> diabolo.AnomalyDetector:
        with warnings.catch_warnings(action="ignore"):
            return diabolo.AnomalyDetector(random_state=0).fit(np.frombuffer(content).reshape(shape))

    class Outliers(BaseDetector):  # type: ignore[misc]
        """In the place of PyOD's autoencoders."""

        def __init__(self, contamination: float = 0.1, **others: Any) -> None:
            super().__init__(contamination=contamination)
            self.others = others

        def fit(self, X: Any, y: Any = None) -> Self:
            """Fit the detector, and let PyOD set the threshold."""
            self.model = fitted_to(np.ascontiguousarray(X).tobytes(), np.shape(X))
            self.decision_scores_ = -self.model.score_samples(X)
            self._set_n_classes(y)
            self._process_decision_scores()
            return self

        def decision_function(self, X: Any) -> np.ndarray:
            """Return the anomaly scores."""
            return -self.model.score_samples(X)

    return Outliers


class Synthesizer:
    """`AutoencoderGenerator` with the methods of CTGAN's TVAE."""

    def __init__(self, epochs: int = 300, **others: Any) -> None:
        self._seed: Any = None

    def fit(self, train_data: pd.DataFrame, discrete_columns: tuple[str, ...] | list[str] = ()) -> None:
        """Fit the generator; columns that are not discrete are numbers."""
        schema = {name: "category" if name in discrete_columns else "number" for name in train_data.columns}
        self.inner = diabolo.AutoencoderGenerator(schema=schema, random_state=0).fit(train_data)

    def set_random_state(self, random_state: int) -> None:
        """Set the seed of the next samples."""
        self._seed = np.random.RandomState(random_state)

    def sample(self, samples: int) -> pd.DataFrame:
        """Return new rows."""
        rows = self.inner.sample(samples, random_state=self._seed)
        return rows.to_pandas() if hasattr(rows, "to_pandas") else pd.DataFrame(rows)


_MADE = {"Outliers": outliers}


def put_in_place(dotted: str, adapter: str) -> None:
    """Let a dotted name of a peer's class mean an adapter; a module that cannot be imported is made anew."""
    made = _MADE[adapter]() if adapter in _MADE else globals()[adapter]
    module, _, name = dotted.rpartition(".")
    try:
        found = importlib.import_module(module)
    except ImportError:
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
        found = sys.modules[module]
    setattr(found, name, made)
