"""Estimators: autoencoders, detectors of anomalies in rows and in series, the imputer, the generator, base classes.

Names are imported on first use: an autoencoder needs no module of the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .anomaly_detector import AnomalyDetector, Explanation
    from .autoencoders import (
        ESTIMATORS,
        Autoencoder,
        AutoencoderClassifier,
        BasicAutoencoder,
        DenoisingAutoencoder,
        SparseAutoencoder,
        StackedAutoencoder,
        VariationalAutoencoder,
    )
    from .generator import AutoencoderGenerator
    from .imputer import AutoencoderImputer
    from .loading import load
    from .series_detector import SeriesDetector

__all__ = [
    "ESTIMATORS",
    "AnomalyDetector",
    "Autoencoder",
    "AutoencoderClassifier",
    "AutoencoderGenerator",
    "AutoencoderImputer",
    "BasicAutoencoder",
    "DenoisingAutoencoder",
    "Explanation",
    "SeriesDetector",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "VariationalAutoencoder",
    "load",
]

_ELSEWHERE = {
    "AnomalyDetector": "anomaly_detector",
    "AutoencoderGenerator": "generator",
    "AutoencoderImputer": "imputer",
    "Explanation": "anomaly_detector",
    "SeriesDetector": "series_detector",
    "load": "loading",
}
"""Modules of names that are not in `autoencoders`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_ELSEWHERE.get(name, 'autoencoders')}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
