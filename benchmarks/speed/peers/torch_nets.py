"""The networks in PyTorch, written as one would."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Conv", "Deep", "Net", "Variational", "kl_per_row", "mlp"]


def mlp(*sizes: int) -> nn.Sequential:
    """Dense layers with ReLU between them, begun by Glorot's rule as ours are."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layer = nn.Linear(a, b)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def kl_per_row(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)), summed over the code."""
    return -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum(-1)


class Net(nn.Module):
    """A network that has a loss per row."""

    def loss(self, x: Tensor) -> Tensor:
        """The batch's mean loss."""
        raise NotImplementedError

    def reading(self, x: Tensor) -> tuple[np.ndarray, np.ndarray | float]:
        """The reconstruction from the code's mean, and the KL of each row."""
        raise NotImplementedError


class Deep(Net):
    """A deterministic autoencoder with a linear code."""

    def __init__(self, sizes: Sequence[int], bernoulli: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(*sizes), mlp(*sizes[::-1])
        self.bernoulli = bernoulli

    def loss(self, x: Tensor) -> Tensor:
        out = self.decoder(self.encoder(x))
        if self.bernoulli:
            return F.binary_cross_entropy_with_logits(out, x, reduction="sum") / len(x)
        return F.mse_loss(out, x, reduction="sum") / len(x)

    def reading(self, x: Tensor) -> tuple[np.ndarray, float]:
        out = self.decoder(self.encoder(x))
        return (out.sigmoid() if self.bernoulli else out).numpy(), 0.0


class Variational(Net):
    """A variational autoencoder with a Bernoulli likelihood."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(*sizes[:-1], 2 * sizes[-1]), mlp(*sizes[::-1])

    def loss(self, x: Tensor) -> Tensor:
        mu, log_var = self.encoder(x).chunk(2, dim=-1)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        error = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        return (error + kl_per_row(mu, log_var).sum()) / len(x)

    def reading(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        mu, log_var = self.encoder(x).chunk(2, dim=-1)
        return self.decoder(mu).sigmoid().numpy(), kl_per_row(mu, log_var).numpy()


class Conv(Net):
    """4×4 convolutions of stride 2 down to 7×7, a dense code, and the mirror; rows are flat images."""

    def __init__(self, code: int = 20, channels: tuple[int, int] = (32, 64), last: bool = False) -> None:
        super().__init__()
        a, b = channels
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.down = nn.Sequential(nn.Conv2d(1, a, 4, 2, 1), nn.ReLU(), nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())
        self.code, self.back = nn.Linear(b * 49, code), nn.Sequential(nn.Linear(code, b * 49), nn.ReLU())
        self.up = nn.Sequential(nn.ConvTranspose2d(b, a, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(a, 1, 4, 2, 1))
        self.to(memory_format=self.layout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, flat."""
        image = x.view(-1, 1, 28, 28).contiguous(memory_format=self.layout)
        z = self.code(self.down(image).flatten(1))
        maps = self.back(z).view(len(x), -1, 7, 7).contiguous(memory_format=self.layout)
        return self.up(maps).flatten(1)

    def loss(self, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(x), x, reduction="sum") / len(x)

    def reading(self, x: Tensor) -> tuple[np.ndarray, float]:
        return torch.cat([self(part).sigmoid() for part in x.split(1000)]).numpy(), 0.0
