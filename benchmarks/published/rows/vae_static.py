"""A VAE of two hidden layers on Larochelle's binarised MNIST."""

from __future__ import annotations

from typing import Any

from diabolo import VariationalAutoencoder

from ..data import binarized_mnist
from ..record import Bound, Found, Row
from ..study import Study


def _run(study: Study) -> Found:
    rows = binarized_mnist(study)
    train, valid, test = rows.train, rows.valid, rows.test

    def measured(model: Any) -> dict[str, float]:
        bounds = {"ELBO": model.elbo(test, n_samples=128), "log p": model.log_likelihood(test, n_samples=128)}
        return {name: float(values.mean()) for name, values in bounds.items()}

    def make(seed: int) -> VariationalAutoencoder:
        return VariationalAutoencoder(
            n_latent=128,
            hidden_layer_sizes=(256, 256),
            activation="relu",
            likelihood="bernoulli",
            max_epochs=study.epochs(166),
            scaling=None,
            random_state=seed,
        )

    figures, settings = study.trials(make, train, measured, X_val=valid)
    return Found(figures, settings=[settings])


VAE_STATIC = Row(
    name="vae-static",
    title="A VAE on binarised MNIST",
    protocol="Larochelle's binarised MNIST, 50,000 rows to train on, 10,000 to choose by, 10,000 to test; "
    "K = 128, two layers of 256 ReLU units on each side; test ELBO and an importance-weighted log p, 128 draws each",
    published="ELBO −103.31, log p −97.10 (altosaar/variational-autoencoder; with a flow −95.33)",
    unit="nats",
    run=_run,
    bounds=(Bound("ELBO", -97.0, at_most=False), Bound("log p", -92.2, at_most=False, wished=-89.5)),
    minutes=9,
    seeds=(0,),
)
