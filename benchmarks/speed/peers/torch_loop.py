"""The best plain PyTorch loop: rows in one tensor, a fresh order per epoch, fused Adam, and no questions asked."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from . import nats
from .torch_nets import Net

__all__ = ["TorchLoop", "train_for"]

logging.getLogger("torch").setLevel(logging.ERROR)


class TorchLoop:
    """Trains a `Net`, eager or with its loss (and so the loss's gradient) compiled."""

    def __init__(self, net: Net, rows: np.ndarray, batch: int, *, compiled: bool = False, rate: float = 1e-3) -> None:
        self.net, self.rows, self.batch, self.rate = net, torch.from_numpy(rows), batch, rate
        self.start = copy.deepcopy(net.state_dict())
        self.value: Callable[[torch.Tensor], torch.Tensor] = torch.compile(net.loss) if compiled else net.loss

    def fit(self, epochs: int) -> float:
        self.net.load_state_dict(self.start)
        started = time.perf_counter()
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.rate, fused=True)
        for _ in range(epochs):
            total = torch.zeros(())
            for chosen in _orders(len(self.rows), self.batch):
                total += _step(self.value, self.rows[chosen], optimizer)
            total.item()
        return time.perf_counter() - started

    def loss(self, rows: np.ndarray) -> float:
        with torch.no_grad():
            return nats(rows, *self.net.reading(torch.from_numpy(rows)))


def train_for(net: Net, rows: np.ndarray, batch: int, seconds: float, rate: float = 1e-3) -> int:
    """Train until the time is up, the rate falling by a cosine over it; the steps made."""
    data, steps = torch.from_numpy(rows), 0
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
    started = time.perf_counter()
    while True:
        for chosen in _orders(len(data), batch):
            passed = (time.perf_counter() - started) / seconds
            if passed >= 1:
                return steps
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * passed))
            _step(net.loss, data[chosen], optimizer)
            steps += 1


def _orders(n_rows: int, batch: int) -> tuple[torch.Tensor, ...]:
    """An epoch's batches, all full as ours are: an odd last one would cost `torch.compile` a second program."""
    order = torch.randperm(n_rows)
    return torch.cat([order, order[: -n_rows % batch]]).split(batch)


def _step(
    value: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, optimizer: torch.optim.Optimizer
) -> torch.Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss = value(x)
    loss.backward()
    optimizer.step()
    return loss.detach()
