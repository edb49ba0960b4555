"""Which devices train, and what lies on which: one, all of a host, or all of many processes.

Training in parallel is by rows. Every device holds the weights; each step's batch is dealt among the devices, which
therefore make the same noise and the same update as one device would, but for the order of sums. Rows in memory lie on
every device. Rows that are read in chunks are read in equal shares, each process its own, and exchanged once per chunk.
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

from .. import jax_config
from ..errors import InvalidPlacement

__all__ = ["Placement", "connect", "current", "use_devices"]

PartitionSpec: Any = _PartitionSpec  # without types of its own
_CHOSEN: ContextVar[Sequence[jax.Device] | None] = ContextVar("diabolo_devices", default=None)


@contextmanager
def use_devices(n: int | None = None) -> Iterator[None]:
    """Train on the first ``n`` devices that JAX shows, or on all, within this context.

    Where `jax.distributed` has been started, all devices of all processes are used without it.

    Raises
    ------
    InvalidPlacement
        If there are fewer.

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
        raise InvalidPlacement(f"{n} devices are wanted, but JAX shows {len(devices)}: {devices}.")
    token = _CHOSEN.set(devices[:n])
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def connect() -> None:
    """Start JAX's distributed runtime, so that all processes of a job train one model.

    SLURM, Kubernetes, Open MPI and cloud TPUs are found by themselves. Elsewhere set ``DIABOLO_COORDINATOR``
    (host:port of process 0), ``DIABOLO_PROCESSES`` (their number) and ``DIABOLO_PROCESS`` (this one's, from 0). When a
    process dies the others stop within half a minute.
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
            f"JAX's distributed runtime does not start: {error} "
            "Set DIABOLO_COORDINATOR, DIABOLO_PROCESSES and DIABOLO_PROCESS."
        ) from error


def _whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise InvalidPlacement(f"DIABOLO_PROCESSES and DIABOLO_PROCESS must be whole numbers; got {text!r}.") from None


def current() -> Placement:
    """That of the context, or of the job."""
    jax_config.check_usable()
    everywhere = jax.devices() if jax.process_count() > 1 else None
    return Placement(_CHOSEN.get() or everywhere)


class Placement:
    """Devices, and how to put things on them.

    Parameters
    ----------
    devices : sequence of jax.Device or None
        None: JAX's default device, and nothing is ever moved.
    """

    def __init__(self, devices: Sequence[jax.Device] | None) -> None:
        self._mesh = None if devices is None else Mesh(np.array(devices), ("rows",))

    @property
    def n_devices(self) -> int:
        """How many share a batch."""
        return 1 if self._mesh is None else int(self._mesh.size)

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return bool(jax.process_index() == 0)

    @property
    def share(self) -> tuple[int, int]:
        """Which part of each chunk this process reads, of how many."""
        return jax.process_index(), jax.process_count()

    def require_batches(self, batch_size: int) -> None:
        """Refuse batches that cannot be dealt evenly.

        Raises
        ------
        InvalidPlacement
            If the number of devices does not divide the batch.
        """
        if batch_size % self.n_devices:
            raise InvalidPlacement(
                f"Batches of {batch_size} rows cannot be dealt among {self.n_devices} devices. "
                f"Use a batch_size that is a multiple of {self.n_devices}, or fewer devices."
            )

    def broadcast_scalar(self, number: int) -> int:
        """The first process's number, for what must be one and the same for all."""
        if jax.process_count() == 1:
            return number
        from jax.experimental import multihost_utils

        return int(multihost_utils.broadcast_one_to_all(np.int32(number)))

    def replicate(self, tree: Any) -> Any:
        """On every device, whole."""
        return self._put(tree, PartitionSpec())

    def shard_batch(self, orders: np.ndarray) -> Any:
        """The orders of rows (epochs, steps, batch), each batch in parts."""
        return self._put(orders, PartitionSpec(None, None, "rows"))

    def gathered(self, part: np.ndarray) -> Any:
        """Rows of which every process has its share, whole on every device."""
        if self._mesh is None:
            return jax.device_put(part)
        n_processes = jax.process_count()
        by_process = NamedSharding(self._mesh, PartitionSpec("rows"))
        shape = (part.shape[0] * n_processes, *part.shape[1:])
        rows = jax.make_array_from_process_local_data(by_process, part, shape)  # type: ignore[no-untyped-call]
        return jax.jit(_same, out_shardings=NamedSharding(self._mesh, PartitionSpec()))(rows)

    def _put(self, tree: Any, spec: Any) -> Any:
        if self._mesh is None:
            return tree
        sharding = NamedSharding(self._mesh, spec)

        def put(leaf: Any) -> Any:
            if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
                return leaf
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

        return jax.tree.map(put, tree)


def _same(rows: jax.Array) -> jax.Array:
    return rows
