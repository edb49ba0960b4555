"""diabolo: autoencoders as one model with replaceable components.

Names are imported on first use, so `import diabolo` is fast and does not import JAX.
"""

from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import callbacks, datasets, metrics, parts
    from .displays.anomaly import AnomalyDisplay
    from .displays.latent_map import LatentMapDisplay
    from .displays.learning_curve import LearningCurveDisplay
    from .displays.reconstruction import ReconstructionDisplay
    from .engine.sharding import use_devices
    from .estimators.anomaly_detector import AnomalyDetector
    from .estimators.autoencoders import (
        Autoencoder,
        AutoencoderClassifier,
        BasicAutoencoder,
        DenoisingAutoencoder,
        SparseAutoencoder,
        StackedAutoencoder,
        VariationalAutoencoder,
    )
    from .estimators.generator import AutoencoderGenerator
    from .estimators.imputer import AutoencoderImputer
    from .estimators.loading import load
    from .estimators.search import BatchedSearchCV
    from .estimators.series_detector import SeriesDetector
    from .estimators.sweep import sweep
    from .export.onnx import export_onnx

__version__ = "0.2.0"

__all__ = [
    "AnomalyDetector",
    "AnomalyDisplay",
    "Autoencoder",
    "AutoencoderClassifier",
    "AutoencoderGenerator",
    "AutoencoderImputer",
    "BasicAutoencoder",
    "BatchedSearchCV",
    "DenoisingAutoencoder",
    "LatentMapDisplay",
    "LearningCurveDisplay",
    "ReconstructionDisplay",
    "SeriesDetector",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "VariationalAutoencoder",
    "__version__",
    "callbacks",
    "datasets",
    "export_onnx",
    "load",
    "metrics",
    "parts",
    "sweep",
    "use_devices",
]

_MODULES = ("callbacks", "datasets", "metrics", "parts")
_ELSEWHERE = {
    "AnomalyDisplay": ".displays.anomaly",
    "BatchedSearchCV": ".estimators.search",
    "LatentMapDisplay": ".displays.latent_map",
    "LearningCurveDisplay": ".displays.learning_curve",
    "ReconstructionDisplay": ".displays.reconstruction",
    "export_onnx": ".export.onnx",
    "sweep": ".estimators.sweep",
    "use_devices": ".engine.sharding",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    collects = gc.isenabled()
    gc.disable()  # nothing of a module is garbage, but thousands of new objects would be searched for some, many times
    try:
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        return getattr(importlib.import_module(_ELSEWHERE.get(name, ".estimators"), __name__), name)
    finally:
        if collects:
            gc.enable()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
