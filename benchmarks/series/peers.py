"""Detectors of TSB-AD (Liu & Paparrizos 2024), with the settings that its authors found best on their tuning series."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import types
from collections.abc import Callable, Iterator
from importlib import metadata

import numpy as np

__all__ = ["PEERS", "STOCHASTIC", "peer", "published_volume", "versions"]

NETWORK = "AutoEncoder"
"""It takes rows to learn from: here all rows, as for the others."""
PEERS = ("Sub_PCA", "POLY", "KMeansAD_U", "Sub_IForest", "IForest", "MatrixProfile", NETWORK)
STOCHASTIC = ("KMeansAD_U", "Sub_IForest", "IForest", NETWORK)
"""Those whose scores depend on a seed."""
_TORCH = ("torch", "torch.nn", "torch.nn.functional", "torch.utils", "torch.utils.data", "torch.optim")


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Let the package be imported: it imports torch, and a class that statsmodels has removed, for other detectors."""
    models = importlib.import_module("statsmodels.tsa.ar_model")
    models.AR = getattr(models, "AR", None)
    absent = _TORCH if importlib.util.find_spec("torch") is None else ()
    for name in absent:
        module = types.ModuleType(name)
        module.__path__ = []
        module.__getattr__ = _placeholder  # type: ignore[method-assign]
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _placeholder(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def peer(name: str) -> Callable[[np.ndarray, int], np.ndarray] | None:
    """Scores of a whole series, (n,) and a seed to (n,); None, if the package is not installed."""
    try:
        with _importable():
            from TSB_AD import model_wrapper
            from TSB_AD.HP_list import Optimal_Uni_algo_HP_dict
            from TSB_AD.models import PCA, POLY, IForest, KMeansAD, MatrixProfile  # noqa: F401

            if name == NETWORK:
                import torch
                from TSB_AD.models import AE

                AE.check_is_fitted = lambda *_: None  # its class is not one that scikit-learn 1.7 knows to ask
    except ImportError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None

    def scores(values: np.ndarray, seed: int) -> np.ndarray:
        np.random.seed(seed)  # noqa: NPY002  the package draws from the global state
        rows, options = values[:, None], Optimal_Uni_algo_HP_dict[name]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if name == NETWORK:
                torch.manual_seed(seed)
                found = model_wrapper.run_Semisupervise_AD(name, rows, rows, **options)
            else:
                found = model_wrapper.run_Unsupervise_AD(name, rows, **options)
        if isinstance(found, str):
            raise RuntimeError(f"{name}: {found}")
        return np.nan_to_num(np.asarray(found, np.float64))

    return scores


def published_volume() -> Callable[[np.ndarray, np.ndarray, int], float] | None:
    """TSB-AD's own VUS-PR; None, if the package is not installed."""
    try:
        with _importable():
            from TSB_AD.evaluation.basic_metrics import generate_curve
    except ImportError:
        return None
    return lambda labels, scores, buffer: float(generate_curve(labels.astype(int), scores, buffer)[-1])


def versions() -> dict[str, str]:
    """The versions of the packages whose detectors were run."""
    names = ("TSB_AD", "stumpy", "arch", "statsmodels", "scikit-learn", "torch")
    known = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in metadata.distributions()}
    return {name: known[key] for name in names if (key := name.lower().replace("_", "-")) in known}
