"""`vae` and `deep`: dense networks in training, rows per second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .. import limit, rows
from ..context import Context, by_turns, gather
from ..peers import Side, peer
from ..peers.ours import Ours
from ..record import Line

__all__ = ["deep", "train_by_turns", "vae"]

TORCH = ("PyTorch", "PyTorch compiled")
LIMITS = ("limit, NumPy", "limit, torch", "limit, JAX")
Builders = dict[str, Callable[[], Side]]


def vae(context: Context) -> Line:
    """784-512-20, Bernoulli, ReLU, batches of 128, Adam 1e-3."""
    from diabolo import VariationalAutoencoder

    sizes, batch = (784, 512, 20), 128
    train, test = rows.images(context.data)
    train = train[: context.pick(160, 40) * batch]
    epochs = context.pick((1, 4), (1, 2))
    line = Line("vae", {"sizes": sizes, "batch": batch, "rows": len(train), "epochs": epochs, "rate": 1e-3})
    estimator = VariationalAutoencoder(n_latent=20, hidden_layer_sizes=(512,), likelihood="bernoulli", **_ours(batch))
    builders: Builders = {
        "diabolo": lambda: Ours(estimator, train),
        **_torch_sides(lambda nets: nets.Variational(sizes), train, batch),
        "pythae": lambda: peer("pythae_trainer").Pythae(sizes, train, batch),
        "PyOD": lambda: peer("pyod_detectors").PyODVariational(sizes, train, batch),
    }
    train_by_turns(line, context, builders, epochs, len(train), test[:2000])
    _against_limit(line, context, limit.mirrored(*sizes, heads=2), batch)
    steady = "{}, steady".format
    line.compare("training", steady("diabolo"), steady("pythae"), 3.0, peer="pythae")
    line.compare("training", steady("diabolo"), steady("PyOD"), 5.0, peer="PyOD")
    _best_torch_and_limit(line, 1.3, 0.85)
    return line


def deep(context: Context) -> Line:
    """784-1000-500-250-30 and its mirror, ReLU, linear code, Bernoulli, batches of 200."""
    from diabolo import StackedAutoencoder

    sizes, batch = (784, 1000, 500, 250, 30), 200
    train, test = rows.images(context.data)
    train = train[: context.pick(60, 15) * batch]
    epochs = context.pick((1, 4), (1, 2))
    line = Line("deep", {"sizes": sizes, "batch": batch, "rows": len(train), "epochs": epochs, "rate": 1e-3})
    estimator = StackedAutoencoder(n_latent=30, hidden_layer_sizes=sizes[1:-1], likelihood="bernoulli", **_ours(batch))
    builders: Builders = {
        "diabolo": lambda: Ours(estimator, train),
        **_torch_sides(lambda nets: nets.Deep(sizes), train, batch),
    }
    train_by_turns(line, context, builders, epochs, len(train), test[:2000])
    _against_limit(line, context, limit.mirrored(*sizes), batch)
    _best_torch_and_limit(line, 1.2, 0.88)
    return line


def _ours(batch: int) -> dict[str, object]:
    """What makes ours the peers' job: no held-out rows, a constant rate, rows as they are."""
    return {
        "activation": "relu",
        "batch_size": batch,
        "scaling": None,
        "validation_fraction": None,
        "learning_rate_schedule": "constant",
        "random_state": 0,
    }


def _torch_sides(net: Callable, train: np.ndarray, batch: int) -> Builders:
    """The plain loop, eager and compiled, each with a network of its own."""

    def build(compiled: bool) -> Side:
        loop = peer("torch_loop")
        return loop.TorchLoop(net(peer("torch_nets")), train, batch, compiled=compiled)

    return {name: partial(build, name != TORCH[0]) for name in TORCH}


def train_by_turns(
    line: Line, context: Context, builders: Builders, epochs: tuple[int, int], n_rows: int, test: np.ndarray
) -> None:
    """Each side fits a few epochs and some more, in turns: rows per second of the whole fit and, by the difference,
    of the epochs alone. A first fit of each, which compiles, is not counted.
    """
    sides = gather(line, builders)
    few, more = epochs
    for side in sides.values():
        side.fit(1)
    runs = {name: partial(lambda s: (s.fit(few), s.fit(more)), side) for name, side in sides.items()}
    for name, pairs in by_turns(runs, context.repeats).items():
        line.add(f"{name}, whole fit", "rows/s", [more * n_rows / long for _, long in pairs])
        line.add(f"{name}, steady", "rows/s", [(more - few) * n_rows / (long - short) for short, long in pairs])
        line.add(f"{name}, loss", "nats/row", [sides[name].loss(test)])


def _against_limit(line: Line, context: Context, shapes: Sequence[tuple[int, int]], batch: int) -> None:
    for name, values in by_turns(limit.limits(line, shapes, batch), context.repeats).items():
        line.add(name, "rows/s", values)


def _best_torch_and_limit(line: Line, torch_target: float, limit_target: float) -> None:
    best = line.best(*(f"{name}, steady" for name in TORCH))
    line.compare("training", "diabolo, steady", best, torch_target, peer=best.removesuffix(", steady"))
    line.compare("training", "diabolo, steady", line.best(*LIMITS), limit_target)
    whole = best.replace("steady", "whole fit")
    line.compare("whole fit", "diabolo, whole fit", whole, peer=whole.removesuffix(", whole fit"))
    losses = {name: figure.median for name, figure in line.figures.items() if name.endswith("loss")}
    line.notes.append("test loss, nats/row: " + ", ".join(f"{n[:-6]} {v:.1f}" for n, v in losses.items()))
