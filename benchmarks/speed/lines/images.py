"""`images` and `quality`: convolutions against convolutions, and our default against them by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import rows
from ..context import Absent, Context
from ..peers import Side, nats, peer
from ..peers.ours import Ours
from ..record import Line
from .dense import train_by_turns

__all__ = ["images", "quality"]

_SHAPE, _CHANNELS, _CODE, _BATCH = (28, 28, 1), (32, 64), 20, 128
_MARGIN = 0.97  # a fit is cut to whole epochs, and the machine is not always as fast as when its pace was taken
_LAYOUTS = {"PyTorch": False, "PyTorch channels_last": True}


def images(context: Context) -> Line:
    """4×4 convolutions of stride 2 on 28×28, channels 32 and 64, dense to 20, and the mirror."""
    train, test = rows.images(context.data)
    train = train[: context.pick(50, 8) * _BATCH]
    epochs = context.pick((1, 3), (1, 2))
    line = Line(
        "images", {"shape": _SHAPE, "channels": _CHANNELS, "batch": _BATCH, "rows": len(train), "epochs": epochs}
    )
    builders: dict[str, Callable[[], Side]] = {"diabolo": lambda: Ours(_convolutional(), train)}
    builders |= {name: partial(_torch_loop, train, last) for name, last in _LAYOUTS.items()}
    train_by_turns(line, context, builders, epochs, len(train), test[:500])
    best = line.best(*(f"{name}, steady" for name in _LAYOUTS))
    line.compare("training", "diabolo, steady", best, 1.0, peer=best.removesuffix(", steady"))
    return line


def quality(context: Context) -> Line:
    """The error a convolutional net of PyTorch's reaches in two minutes: ours, dense, must reach it in one."""
    train, test = rows.images(context.data)
    budget = context.pick(120.0, 10.0)
    line = Line("quality", {"seconds": budget, "network": (784, 512, 20), "batch": _BATCH, "rows": len(train)})
    turns = 1 if context.quick else min(context.repeats, 2)  # each takes three minutes
    found: dict[str, list[tuple[float, float]]] = {"diabolo": [], "PyTorch conv": []}
    model = _dense()
    for _ in range(turns):
        try:
            found["PyTorch conv"].append(_torch_error(train, test, budget))
        except Absent as reason:
            line.absent["PyTorch conv"] = str(reason)
        found["diabolo"].append(_our_error(model, train, test, budget / 2))
    for side, pairs in found.items():
        if pairs:
            line.add(f"{side}, seconds", "s", [seconds for seconds, _ in pairs])
            line.add(f"{side}, error", "nats/row", [error for _, error in pairs])
    line.compare("test error", "diabolo, error", "PyTorch conv, error", 1.0, less_is_better=True, peer="PyTorch conv")
    line.compare("time", "diabolo, seconds", "PyTorch conv, seconds", 2.0, less_is_better=True, peer="PyTorch conv")
    return line


# -- ours -------------------------------------------------------------------------------------------------------------


def _convolutional() -> Any:
    from diabolo import Autoencoder, parts

    if not hasattr(parts, "Convolutional"):
        raise Absent("diabolo has no parts.Convolutional yet")
    encoder = parts.Convolutional(_SHAPE, _CHANNELS, kernel=4, stride=2, activation="relu")
    return Autoencoder(
        encoder=encoder,
        decoder=encoder.reversed(),
        latent=parts.Deterministic(_CODE),
        likelihood="bernoulli",
        batch_size=_BATCH,
        scaling=None,
        validation_fraction=None,
        learning_rate_schedule="constant",
        random_state=0,
    )


def _dense() -> Any:
    """What we propose for images of this size, with its own rate, activation and cosine."""
    from diabolo import StackedAutoencoder

    return StackedAutoencoder(
        n_latent=_CODE,
        hidden_layer_sizes=(512,),
        likelihood="bernoulli",
        batch_size=_BATCH,
        scaling=None,
        validation_fraction=None,
        random_state=0,
    )


def _pace(model: Any, train: np.ndarray) -> tuple[float, float]:
    """Seconds of a fit's overhead and of an epoch, its program compiled: so that a fit can be cut to a time."""
    side = Ours(model, train)
    side.fit(1)
    one, three = side.fit(1), side.fit(3)
    epoch = (three - one) / 2
    return max(0.0, one - epoch), epoch


def _our_error(model: Any, train: np.ndarray, test: np.ndarray, seconds: float) -> tuple[float, float]:
    """The longest schedule that fits into the time; a fit that overran does not count and is made again, shorter."""
    overhead, epoch = _pace(model, train)
    side = Ours(model, train)
    epochs = max(1, int((_MARGIN * seconds - overhead) / epoch))
    taken = side.fit(epochs)
    while taken > seconds and epochs > 1:
        epochs = max(1, int(epochs * _MARGIN * seconds / taken))
        taken = side.fit(epochs)
    return taken, side.loss(test)


# -- theirs -----------------------------------------------------------------------------------------------------------


def _torch_loop(train: np.ndarray, last: bool) -> Side:
    loop = peer("torch_loop")
    return loop.TorchLoop(peer("torch_nets").Conv(_CODE, _CHANNELS, last), train, _BATCH)


def _torch_error(train: np.ndarray, test: np.ndarray, seconds: float) -> tuple[float, float]:
    """The better layout, trained for the whole time with a cosine over it."""
    loop, nets = peer("torch_loop"), peer("torch_nets")
    trials = {name: _torch_loop(train[: 10 * _BATCH], last) for name, last in _LAYOUTS.items()}
    best = min(trials, key=lambda name: (trials[name].fit(1), trials[name].fit(1))[1])
    net = nets.Conv(_CODE, _CHANNELS, _LAYOUTS[best])
    started = time.perf_counter()
    loop.train_for(net, train, _BATCH, seconds)
    taken = time.perf_counter() - started
    import torch

    with torch.no_grad():
        return taken, nats(test, *net.reading(torch.from_numpy(test)))
