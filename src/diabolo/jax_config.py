"""The one place where JAX is configured: compiled programs are kept on disk between runs; the number of threads.

The folder is ``$JAX_COMPILATION_CACHE_DIR`` if set (JAX's own variable, whose other settings are then left alone),
else ``$XDG_CACHE_HOME/diabolo`` or ``~/.cache/diabolo``. ``DIABOLO_CACHE=off`` turns it off.

XLA divides long sums among its threads, so the last digits depend on their number. That is the number of cores that a
process may use, unless ``DIABOLO_THREADS`` says otherwise, before JAX has begun to work.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from .errors import InvalidParameter

__all__ = ["configure", "n_cores", "n_threads", "seconds_for"]

_THREADS, _XLAS = "DIABOLO_THREADS", "NPROC"
"""Our variable, and the one that XLA looks at."""


def configure() -> None:
    """Point JAX at the cache, unless the user or the program has chosen already; tell XLA how many threads to use.

    Raises
    ------
    InvalidParameter
        If ``DIABOLO_THREADS`` is no whole number of at least 1.
    """
    if (threads := os.environ.get(_THREADS)) is not None:
        if not threads.isdecimal() or not 1 <= int(threads) <= 4096:
            raise InvalidParameter(f"{_THREADS} must be a whole number of at least 1; got {threads!r}.")
        os.environ[_XLAS] = threads
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


def n_threads() -> int:
    """Among how many threads XLA divides its work on the processor."""
    told = os.environ.get(_XLAS, "")
    if told.isdecimal() and int(told):
        return int(told)
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
