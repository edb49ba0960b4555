"""PyOD's two autoencoders on the networks that everybody has."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.vae import VAE

from . import nats
from .torch_nets import kl_per_row

__all__ = ["PyODVariational", "plain"]


class PyODVariational:
    """PyOD's VAE with the given sizes.

    Its loss is the mean squared error over features and, with ``capacity`` at its default of 0, no KL at all (it is
    clamped to that capacity); here the capacity is unbounded and β = 1/d makes the two terms those of a Gaussian
    likelihood with σ² = ½. It has no Bernoulli likelihood. Its own standardisation and dropout are off, as ours are.
    """

    def __init__(self, sizes: Sequence[int], rows: np.ndarray, batch: int) -> None:
        self.sizes, self.rows, self.batch = list(sizes), rows, batch

    def fit(self, epochs: int) -> float:
        self.detector = VAE(
            encoder_neuron_list=self.sizes[1:-1],
            decoder_neuron_list=self.sizes[-2:0:-1],
            latent_dim=self.sizes[-1],
            hidden_activation_name="relu",
            output_activation_name="sigmoid",
            batch_norm=False,
            dropout_rate=0,
            preprocessing=False,
            batch_size=self.batch,
            epoch_num=epochs,
            lr=1e-3,
            optimizer_params={},
            beta=1 / self.sizes[0],
            capacity=1e9,
            verbose=0,
        )
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.detector.fit(self.rows)
        return time.perf_counter() - started

    def loss(self, rows: np.ndarray) -> float:
        model = self.detector.model.eval()
        with torch.no_grad():
            mu, log_var = model.encode(torch.from_numpy(rows))
            return nats(rows, model.decode(mu).numpy(), kl_per_row(mu, log_var).numpy())


def plain(rows: np.ndarray, hidden: Sequence[int], **settings: Any) -> AutoEncoder:
    """PyOD's AutoEncoder after one epoch, with neither batch norm nor dropout nor standardisation: for scoring."""
    detector = AutoEncoder(
        hidden_neuron_list=list(hidden),
        batch_norm=False,
        dropout_rate=0,
        preprocessing=False,
        epoch_num=1,
        verbose=0,
        **settings,
    )
    return detector.fit(rows)
