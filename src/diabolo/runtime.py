"""The one place where JAX is configured: compiled programs are kept on disk between runs.

The folder is ``$JAX_COMPILATION_CACHE_DIR`` if set (JAX's own variable, whose other settings are then left alone),
else ``$XDG_CACHE_HOME/diabolo`` or ``~/.cache/diabolo``. ``DIABOLO_CACHE=off`` turns it off.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["configure", "n_cores", "seconds_for"]


def configure() -> None:
    """Point JAX at the cache, unless the user or the program has chosen already."""
    if os.environ.get("DIABOLO_CACHE") == "off" or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "diabolo" / "programs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: work without
        return
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


def n_cores() -> int | None:
    """How many processor cores programs may use; None where they run on an accelerator."""
    if jax.default_backend() != "cpu":
        return None
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_for(flops: float) -> float:
    """How long the device would take for so many operations if all were products of matrices: a bound from below."""
    size = 1024
    product = jax.jit(jnp.matmul)
    matrix = jax.device_put(np.ones((size, size), np.float32))
    took = []
    for _ in range(4):  # the first compiles
        started = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        took.append(time.perf_counter() - started)
    return flops / (2 * size**3) * min(took)
