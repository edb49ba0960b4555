"""The jobs that people do with a fitted autoencoder: one module each, over the public estimators."""

from ..learner import load
from .anomalies import AnomalyDetector, Explanation
from .generation import AutoencoderGenerator
from .repair import AutoencoderImputer

__all__ = ["AnomalyDetector", "AutoencoderGenerator", "AutoencoderImputer", "Explanation", "load"]
