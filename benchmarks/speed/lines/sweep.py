"""`sweep`: 32 small networks at once against 32 fits one after the other."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

from .. import rows
from ..context import Absent, Context, by_turns, gather
from ..peers import peer
from ..record import Line

__all__ = ["sweep"]

_SIZES, _BATCH, _COUNT = (21, 64, 32), 32, 32


def sweep(context: Context) -> Line:
    """21-64-32-64-21, ReLU, squared error, 16 learning rates by two seeds; whole calls, programs compiled before."""
    train = rows.table(context.data)
    epochs = context.pick(20, 4)
    rates = np.geomspace(1e-4, 1e-2, _COUNT // 2).tolist()
    line = Line(
        "sweep", {"sizes": _SIZES, "batch": _BATCH, "rows": len(train), "epochs": epochs, "rates": rates, "seeds": 2}
    )
    builders = {"diabolo": _ours, "PyTorch": partial(_torch, False), "PyTorch compiled": partial(_torch, True)}
    sides = gather(line, {name: partial(build, train, epochs, rates) for name, build in builders.items()})
    for side in sides.values():
        side()  # compiles
    for name, seconds in by_turns({n: partial(_timed, side) for n, side in sides.items()}, context.repeats).items():
        line.add(name, "nets/s", [_COUNT / value for value in seconds])
    line.compare("32 nets", "diabolo", line.best("PyTorch", "PyTorch compiled"), 8.0)
    return line


def _timed(job: Any) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def _ours(train: np.ndarray, epochs: int, rates: list[float]) -> Any:
    import diabolo

    if not hasattr(diabolo, "sweep"):
        raise Absent("diabolo has no sweep yet")
    estimator = diabolo.StackedAutoencoder(
        n_latent=_SIZES[-1],
        hidden_layer_sizes=_SIZES[1:-1],
        activation="relu",
        batch_size=_BATCH,
        max_epochs=epochs,
        scaling=None,
        validation_fraction=None,
        learning_rate_schedule="constant",
    )

    def job() -> None:
        found = diabolo.sweep(estimator, {"learning_rate": rates, "random_state": [0, 1]}, train)
        if len(found.table) != _COUNT:
            raise RuntimeError(f"the sweep's table has {len(found.table)} records in place of {_COUNT}")

    return job


def _torch(compiled: bool, train: np.ndarray, epochs: int, rates: list[float]) -> Any:
    loop, nets = peer("torch_loop"), peer("torch_nets")
    side = loop.TorchLoop(nets.Deep(_SIZES, bernoulli=False), train, _BATCH, compiled=compiled)

    def job() -> None:
        # One network begun again each time: `torch.compile` would else compile each of them.
        for rate in [rate for rate in rates for _ in range(2)]:
            side.rate = rate
            side.fit(epochs)

    return job
