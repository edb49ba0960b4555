"""Configuration of JAX: the cache of compiled programs on disk, and the number of threads.

The cache folder is ``$JAX_COMPILATION_CACHE_DIR`` if this variable of JAX is set; diabolo then changes no cache setting
of JAX. Otherwise it is ``$XDG_CACHE_HOME/diabolo`` or ``~/.cache/diabolo``, with a bounded size and entries that are
whole (see `diabolo.program_cache`). ``DIABOLO_CACHE=off`` turns the cache off.

XLA divides long sums among its threads, so the last digits of results depend on the number of threads. The default is
the number of cores available to the process. Set ``DIABOLO_THREADS`` before JAX starts to change it.
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

from . import program_cache
from .errors import ForkError, InvalidParameter, InvalidPlacement

__all__ = [
    "cache_folder",
    "check_usable",
    "configure",
    "n_cores",
    "n_threads",
    "seconds_for",
    "standard",
]

_THREADS, _XLAS = "DIABOLO_THREADS", "NPROC"
"""Environment variables for the number of threads: of diabolo, and of XLA."""


def configure() -> None:
    """Set the compilation cache of JAX, unless it is already set, and the number of threads of XLA.

    Raises
    ------
    InvalidParameter
        If ``DIABOLO_THREADS`` is not an integer from 1 to 4096.
    """
    if (threads := os.environ.get(_THREADS)) is not None:
        if not threads.isdecimal() or not 1 <= int(threads) <= 4096:
            raise InvalidParameter(f"{_THREADS} must be an integer from 1 to 4096; got {threads!r}.")
        os.environ[_XLAS] = threads
    if (folder := cache_folder()) is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home folder: run without a cache
        return
    program_cache.install(folder)
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.02,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


def cache_folder() -> Path | None:
    """Return diabolo's folder of compiled programs; None if the cache is off, is JAX's own, or has no home folder."""
    if os.environ.get("DIABOLO_CACHE") == "off" or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return None
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(home) / "diabolo" / "programs"


# -- where programs run -----------------------------------------------------------------------------------------------


@contextmanager
def standard() -> Iterator[None]:
    """Run with the JAX settings that diabolo needs: 32 bits, compiled, and no errors for NaN (a missing cell).

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
    except Exception as error:  # errors of JAX and its plugins, even AssertionError
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidPlacement(
            f"JAX has no device to compute on (JAX_PLATFORMS is {asked!r}): {reason}. Unset JAX_PLATFORMS, or install "
            "the packages for the device (pip install 'diabolo[cuda]' for NVIDIA GPUs)."
        ) from error


# -- after a fork -----------------------------------------------------------------------------------------------------

_forked = False
"""Whether this process was forked after JAX had started; then the threads of JAX are missing."""


def check_usable() -> None:
    """Check that this process can compute.

    Raises
    ------
    ForkError
        If this process was forked after JAX had started, so that a computation would never end.
    InvalidPlacement
        If JAX has no device of the selected platforms.
    """
    if _forked:
        raise ForkError(
            "This process was forked after JAX had started in its parent, so any computation would hang. Start "
            "processes with multiprocessing.get_context('spawn'), or load and use models only in the child (gunicorn "
            "without --preload)."
        )
    _check_devices()


def _after_fork(*_: Any) -> None:
    global _forked  # noqa: PLW0603  the state of the process
    _forked = _forked or _has_begun()
    if _forked:
        with suppress(ImportError):  # unpickling a model creates JAX arrays before any method is called
            from jax._src import array

            array._reconstruct_array = _refuse_array


def _refuse_array(*_: Any) -> Any:
    check_usable()


def _has_begun() -> bool:
    """Return whether JAX has started, without a public call, which would start it."""
    try:
        from jax._src.xla_bridge import backends_are_initialized
    except ImportError:
        return True
    return backends_are_initialized()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def n_cores() -> int | None:
    """Return the number of processor cores available to programs; None if they run on an accelerator."""
    if jax.default_backend() != "cpu":
        return None
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def n_threads() -> int:
    """Return the number of threads among which XLA divides its work on the CPU."""
    given = os.environ.get(_XLAS, "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_for(flops: float) -> float:
    """Return a lower bound of the time for ``flops`` operations: the time if all were matrix products."""
    size = 1024
    product = jax.jit(jnp.matmul)
    matrix = jax.device_put(np.ones((size, size), np.float32))
    took = []
    for _ in range(4):  # the first compiles
        started = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        took.append(time.perf_counter() - started)
    return flops / (2 * size**3) * min(took)
