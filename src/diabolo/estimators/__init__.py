"""Estimators: the autoencoders, the jobs that people do with them, and what they share."""

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
