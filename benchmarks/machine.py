"""Where the figures were taken: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe", "load"]

_PACKAGES = (
    *("diabolo", "jax", "jaxlib", "equinox", "optax", "numpy", "scikit-learn"),
    *("torch", "pyod", "pythae", "onnx", "onnxruntime", "numba"),
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "XLA_FLAGS")


def describe() -> dict[str, Any]:
    """Processor, cores, threads and versions. Threads are left at their defaults; what they were stands here."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        "threads": {name: os.environ.get(name, "default") for name in _THREADS} | {"torch": _torch_threads()},
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def load() -> float | None:
    """How many processes wanted to run during the last minute: a machine shared with others is a noisy one."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _torch_threads() -> int | None:
    try:
        import torch
    except ImportError:
        return None
    return int(torch.get_num_threads())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
