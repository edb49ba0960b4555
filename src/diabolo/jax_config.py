"""The one place where JAX is configured: compiled programs are kept on disk between runs; the number of threads.

The folder is ``$JAX_COMPILATION_CACHE_DIR`` if set (JAX's own variable, whose other settings are then left alone),
else ``$XDG_CACHE_HOME/diabolo`` or ``~/.cache/diabolo``. ``DIABOLO_CACHE=off`` turns it off.

XLA divides long sums among its threads, so the last digits depend on their number. That is the number of cores that a
process may use, unless ``DIABOLO_THREADS`` says otherwise, before JAX has begun to work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .errors import ForkError, InvalidParameter, InvalidPlacement

__all__ = ["check_usable", "configure", "n_cores", "n_threads", "seconds_for", "standard"]

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
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "diabolo" / "programs"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a read-only home, or none: work without
        return
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


# -- where programs run -----------------------------------------------------------------------------------------------


@contextmanager
def standard() -> Iterator[None]:
    """Compute as diabolo's programs are written: in 32 bits, compiled, NaN a missing cell, whatever JAX is set to.

    Raises
    ------
    ForkError
        As `check_usable`.
    InvalidPlacement
        As `check_usable`.
    """
    check_usable()
    settings: Any = jax.config
    if not (settings.jax_enable_x64 or settings.jax_disable_jit or settings.jax_debug_nans or settings.jax_debug_infs):
        yield
        return
    with jax.enable_x64(False), jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False):
        yield


@cache
def _check_devices() -> None:
    try:
        jax.devices()
    except Exception as error:  # JAX's own, and of what it loads, an AssertionError among them
        asked = os.environ.get("JAX_PLATFORMS", "")
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidPlacement(
            f"JAX has no device to compute on (JAX_PLATFORMS is {asked!r}): {said}. Unset JAX_PLATFORMS, or install "
            "what the device needs (pip install 'diabolo[cuda]' for NVIDIA GPUs)."
        ) from error


# -- after a fork -----------------------------------------------------------------------------------------------------

_forked = False
"""Whether this process was forked from one in which JAX had begun to work: its threads are not here."""


def check_usable() -> None:
    """Refuse to compute in a process where it would never end, or where there is no device.

    Raises
    ------
    ForkError
        If this process was forked from one in which JAX had begun to work.
    InvalidPlacement
        If JAX has no device of the platforms that it is told to use.
    """
    if _forked:
        raise ForkError(
            "This process was forked from one in which JAX had begun to work. JAX's threads are not here, and any "
            "computation would hang. Start processes with multiprocessing.get_context('spawn'), or load and use models "
            "in the child alone (gunicorn without --preload)."
        )
    _check_devices()


def _after_fork(*_: Any) -> None:
    global _forked  # noqa: PLW0603  what a process is, is said once
    _forked = _forked or _has_begun()
    if _forked:
        with suppress(ImportError):  # a pickled model is arrays of JAX, which are made again before any of its methods
            from jax._src import array

            array._reconstruct_array = _refuse_array


def _refuse_array(*_: Any) -> Any:
    check_usable()


def _has_begun() -> bool:
    """Whether JAX has devices; it would not say so without making them."""
    try:
        from jax._src.xla_bridge import backends_are_initialized
    except ImportError:
        return True
    return backends_are_initialized()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
