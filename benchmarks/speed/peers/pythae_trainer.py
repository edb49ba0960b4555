"""Pythae's trainer on the network that everybody has."""

from __future__ import annotations

import copy
import logging
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor

from . import nats
from .torch_nets import kl_per_row, mlp

__all__ = ["Pythae"]

logging.getLogger("pythae").setLevel(logging.ERROR)
for _name in [name for name in logging.root.manager.loggerDict if name.startswith("pythae")]:
    logging.getLogger(_name).setLevel(logging.ERROR)


class _Encoder(BaseEncoder):
    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = mlp(*sizes[:-1], 2 * sizes[-1])

    def forward(self, x: Tensor) -> ModelOutput:
        mu, log_var = self.layers(x).chunk(2, dim=-1)
        return ModelOutput(embedding=mu, log_covariance=log_var)


class _Decoder(BaseDecoder):
    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = mlp(*sizes[::-1])

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z).sigmoid())


class Pythae:
    """`BaseTrainer` with its defaults: it keeps a copy of the best model and saves it at the end."""

    def __init__(self, sizes: Sequence[int], rows: np.ndarray, batch: int) -> None:
        self.sizes, self.batch = sizes, batch
        self.data = BaseDataset(torch.from_numpy(rows), torch.zeros(len(rows)))

    def fit(self, epochs: int) -> float:
        config = VAEConfig(input_dim=(self.sizes[0],), latent_dim=self.sizes[-1], reconstruction_loss="bce")
        self.model = VAE(config, encoder=_Encoder(self.sizes), decoder=_Decoder(self.sizes))
        with tempfile.TemporaryDirectory() as folder:
            settings = BaseTrainerConfig(
                output_dir=folder, per_device_train_batch_size=self.batch, num_epochs=epochs, learning_rate=1e-3
            )
            started = time.perf_counter()
            BaseTrainer(self.model, train_dataset=self.data, training_config=settings).train()
            return time.perf_counter() - started

    def loss(self, rows: np.ndarray) -> float:
        model = copy.deepcopy(self.model).eval()
        with torch.no_grad():
            code = model.encoder(torch.from_numpy(rows))
            back = model.decoder(code.embedding).reconstruction.numpy()
            return nats(rows, back, kl_per_row(code.embedding, code.log_covariance).numpy())
