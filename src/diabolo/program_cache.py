"""The cache of compiled programs on disk: entries are whole or absent, and their total size is bounded.

JAX's own cache never replaces a damaged entry, is unbounded by default, and warns at each program if it cannot write.
This one has the same interface, and is used for diabolo's folder only: see `install`. Each entry is one file with a
hash, written atomically. A damaged entry is deleted when it is read, and an entry that JAX rejects is replaced. The
entries that were used least recently are deleted first. If the folder cannot be written, it is only read. While a
process compiles a program, others that need the same one wait for it: the workers of a search compile each one once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import filelock
import jax

from . import outputs

__all__ = ["MOST_BYTES", "ProgramCache", "install", "is_effective", "release"]

MOST_BYTES = 1 << 29
"""Total size of the entries of the cache, about 3,000 programs."""
_SUFFIX, _DIGEST = ".program", 16
_LOCK, _LONGEST_WAIT = ".lock", 60.0
_NAMES = re.compile(rf".+{re.escape(_SUFFIX)}|.+{re.escape(_LOCK)}|.+-cache|{re.escape(outputs.SCRATCH)}.*")
"""Names of the cache's files: entries, locks, entries of JAX's own format, incomplete files."""
_COMPILED = "/jax/core/compile/backend_compile_duration"
"""JAX's event at the end of a compilation, in its thread."""
_held = threading.local()


class ProgramCache:
    """A folder of compiled programs, with the interface of JAX's caches.

    Parameters
    ----------
    folder : Path
    most_bytes : int
        Maximum total size of the entries.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self.most_bytes = folder, most_bytes
        self._given: set[str] = set()
        self._is_rejected = False
        self._room = 0
        """Bytes that this process may write before it looks through the folder again."""

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if there is none, or if it is damaged.

        If there is none, this thread is expected to compile the program, until `release`; meanwhile other threads and
        processes that ask for it wait, for a minute at most.
        """
        release()
        if (value := self._read(key)) is not None or self._is_rejected:
            return value
        lock = filelock.FileLock(self._path / f"{key}{_LOCK}", thread_local=False)
        try:
            lock.acquire(timeout=_LONGEST_WAIT, poll_interval=0.02)
        except (OSError, NotImplementedError):  # it took too long, or the folder is only read, or knows no locks
            return self._read(key)
        _held.lock = lock
        if (value := self._read(key)) is not None:
            release()
        return value

    def _read(self, key: str) -> bytes | None:
        file = self._path / f"{key}{_SUFFIX}"
        try:
            content = file.read_bytes()
        except OSError:
            return None
        self._given.add(key)
        value = content[_DIGEST:]
        if content[:_DIGEST] != _digest(value):
            self._given.discard(key)
            _delete(file)
            return None
        with contextlib.suppress(OSError):  # a folder that is only read
            os.utime(file)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Store a value, in place of any former one; delete old entries if the cache is too large."""
        self._is_rejected |= key in self._given  # as on some processors all are: to wait for others is in vain
        if len(value) > self.most_bytes:
            return
        file = self._path / f"{key}{_SUFFIX}"
        with contextlib.suppress(OSError):  # a folder that is only read, or a full disk: compile again next time
            # The hash tells of an entry that was lost with the power: it need not be on the disk at once.
            with outputs.write_file(file, is_ours=lambda path: path.is_file(), is_durable=False) as stream:
                stream.write(_digest(value) + value)
            self._room -= _DIGEST + len(value)
            if self._room < 0:
                self._bound()

    def _bound(self) -> None:
        """Delete the entries that were used least recently, until there is room for a 32nd of the bound.

        Each writing process looks when it has written so much, so that several may exceed the bound by as much each.
        """
        self._room = self.most_bytes // 32
        found = []
        for entry in os.scandir(self._path):
            if _NAMES.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # deleted by another process
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self.most_bytes - self._room:
                break
            _delete(file)
            total -= size


def release() -> None:
    """Let others ask for the program that this thread was expected to compile."""
    if (lock := getattr(_held, "lock", None)) is not None:
        _held.lock = None
        _delete(Path(lock.lock_file))
        lock.release()


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_DIGEST).digest()


def _delete(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def install(folder: Path) -> None:
    """Have JAX use a `ProgramCache` in ``folder``; other folders have JAX's own cache.

    JAX has no public function for this. If its internals have changed, its own cache is used.
    """
    try:
        from jax._src import compilation_cache

        own = compilation_cache.get_file_cache
    except (ImportError, AttributeError):
        return

    def file_cache(path: str) -> Any:
        return (ProgramCache(folder), path) if Path(path) == folder else own(path)

    def on_event(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED:
            release()

    compilation_cache.get_file_cache = file_cache
    jax.monitoring.register_event_duration_secs_listener(on_event)
    # If JAX rejects an entry, the program is compiled and the entry replaced.
    warnings.filterwarnings("ignore", "Error reading persistent compilation cache entry", UserWarning)


def is_effective(folder: Path) -> bool:
    """Return whether JAX can use programs that it stored on this machine: compile one twice, with JAX's own cache.

    On some processors JAX rejects every stored program (https://github.com/jax-ml/jax/issues/38445).

    Parameters
    ----------
    folder : Path
        An empty folder. It becomes the cache of this process, which must not have compiled a program before.
    """
    hits = []

    def listen(event: str, **_: str | int) -> None:
        if event.endswith("/cache_hits"):
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    for name, value in {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]
    for _ in range(2):
        jax.jit(lambda x: x @ x.T + jax.numpy.tanh(x).sum())(jax.numpy.ones((8, 8), "float32")).block_until_ready()
        jax.clear_caches()  # type: ignore[no-untyped-call]
    return bool(hits)
