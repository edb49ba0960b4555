"""Data-parallel training on one device, on all devices of a host, or on the devices of many processes.

Every device holds the weights. The batch of each step is split among the devices, which use the same noise and compute
the same update as one device, except for the order of sums. Rows in memory are replicated on every device. Rows that
are read in chunks are read in equal shares, one per process, and exchanged once per chunk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as _PartitionSpec
from jaxtyping import PyTree

from .. import jax_config
from ..errors import InvalidPlacement

__all__ = ["Placement", "connect", "current", "use_devices"]

PartitionSpec: Any = _PartitionSpec  # it has no type annotations
_CHOSEN: ContextVar[Sequence[jax.Device] | None] = ContextVar("diabolo_devices", default=None)


@contextmanager
def use_devices(n: int | None = None) -> Iterator[None]:
    """Train on the first ``n`` devices of JAX, or on all devices, within this context.

    If `jax.distributed` has been started, all devices of all processes are used without this context.

    Parameters
    ----------
    n : int or None, default=None
        The number of devices. None: all.

    Yields
    ------
    None
        Nothing; the context ends with the block.

    Raises
    ------
    InvalidPlacement
        If JAX has fewer devices.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import Autoencoder, use_devices
    >>> with use_devices():
    ...     ae = Autoencoder(max_epochs=3, random_state=0).fit(load_iris().data)
    """
    jax_config.check_usable()
    devices = jax.devices()
    if n is not None and not 1 <= n <= len(devices):
        raise InvalidPlacement(f"{n} devices are requested, but JAX has {len(devices)}: {devices}. Request fewer.")
    token = _CHOSEN.set(devices[:n])
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def connect() -> None:
    """Start JAX's distributed runtime, so that all processes of a job train one model.

    SLURM, Kubernetes, Open MPI and cloud TPUs are detected automatically. Elsewhere, set ``DIABOLO_COORDINATOR``
    (host:port of process 0), ``DIABOLO_PROCESSES`` (the number of processes) and ``DIABOLO_PROCESS`` (the number of
    this process, from 0). If a process ends unexpectedly, the others stop within half a minute.
    """
    given: dict[str, Any] = {
        "coordinator_address": os.environ.get("DIABOLO_COORDINATOR"),
        "num_processes": _whole(os.environ.get("DIABOLO_PROCESSES")),
        "process_id": _whole(os.environ.get("DIABOLO_PROCESS")),
    }
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=20, shutdown_timeout_seconds=20)
    except (ValueError, RuntimeError) as error:
        raise InvalidPlacement(
            f"JAX's distributed runtime cannot be started: {error} "
            "Set DIABOLO_COORDINATOR, DIABOLO_PROCESSES and DIABOLO_PROCESS."
        ) from error


def _whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise InvalidPlacement(f"DIABOLO_PROCESSES and DIABOLO_PROCESS must be whole numbers; got {text!r}.") from None


def current() -> Placement:
    """Return the placement of the context, or else that of the job."""
    jax_config.check_usable()
    everywhere = jax.devices() if jax.process_count() > 1 else None
    return Placement(_CHOSEN.get() or everywhere)


class Placement:
    """A set of devices, with methods to place arrays on them.

    Parameters
    ----------
    devices : sequence of jax.Device or None
        None: JAX's default device; arrays are not moved.
    """

    def __init__(self, devices: Sequence[jax.Device] | None) -> None:
        self._mesh = None if devices is None else Mesh(np.array(devices), ("rows",))

    @property
    def n_devices(self) -> int:
        """Number of devices that share a batch."""
        return 1 if self._mesh is None else int(self._mesh.size)

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and shows progress."""
        return bool(jax.process_index() == 0)

    @property
    def share(self) -> tuple[int, int]:
        """Index of the part of each chunk that this process reads, and the number of parts."""
        return jax.process_index(), jax.process_count()

    def require_batches(self, batch_size: int) -> None:
        """Check that batches can be split evenly among the devices.

        Raises
        ------
        InvalidPlacement
            If the number of devices does not divide the batch.
        """
        if batch_size % self.n_devices:
            raise InvalidPlacement(
                f"Batches of {batch_size} rows cannot be split evenly among {self.n_devices} devices. "
                f"Use a batch_size that is a multiple of {self.n_devices}, or fewer devices."
            )

    def broadcast_scalar(self, number: int) -> int:
        """Return the number of the first process, so that all processes use the same number."""
        if jax.process_count() == 1:
            return number
        from jax.experimental import multihost_utils

        return int(multihost_utils.broadcast_one_to_all(np.int32(number)))

    def replicate(self, tree: PyTree) -> PyTree:
        """Place a copy of every array on every device."""
        return self._put(tree, PartitionSpec())

    def shard_batch(self, orders: np.ndarray) -> jax.Array:
        """Split each batch of the orders of rows, (epochs, steps, batch), among the devices."""
        return self._put(orders, PartitionSpec(None, None, "rows"))

    def gathered(self, part: np.ndarray) -> np.ndarray:
        """Gather the rows of all processes on every device."""
        if self._mesh is None:
            return jax.device_put(part)
        n_processes = jax.process_count()
        by_process = NamedSharding(self._mesh, PartitionSpec("rows"))
        shape = (part.shape[0] * n_processes, *part.shape[1:])
        rows = jax.make_array_from_process_local_data(by_process, part, shape)  # type: ignore[no-untyped-call]
        return jax.jit(_same, out_shardings=NamedSharding(self._mesh, PartitionSpec()))(rows)

    def _put(self, tree: PyTree, spec: PartitionSpec) -> PyTree:
        if self._mesh is None:
            return tree
        sharding = NamedSharding(self._mesh, spec)

        def put(leaf: PyTree) -> PyTree:
            if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
                return leaf
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

        return jax.tree.map(put, tree)


def _same(rows: jax.Array) -> jax.Array:
    return rows
