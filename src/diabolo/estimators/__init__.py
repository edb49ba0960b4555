"""Estimators: the autoencoders, the anomaly detector, the imputer, the generator, and their base classes."""

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
    "SparseAutoencoder",
    "StackedAutoencoder",
    "VariationalAutoencoder",
    "load",
]
