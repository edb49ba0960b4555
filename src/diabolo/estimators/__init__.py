"""Estimators: autoencoders, detectors of anomalies in rows and in series, the imputer, the generator, base classes."""

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
from .series_detector import SeriesDetector
from .trainable import load

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
