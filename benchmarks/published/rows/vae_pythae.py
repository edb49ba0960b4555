"""The VAE by which pythae shows that it reproduces its models."""

from __future__ import annotations

from typing import Any

from diabolo import VariationalAutoencoder
from diabolo.parts import Steps

from ..data import binarized_mnist
from ..record import Bound, Found, Row
from ..study import Study


def _run(study: Study) -> Found:
    rows = binarized_mnist(study)
    train, valid, test = rows.train, rows.valid, rows.test

    def make(seed: int) -> VariationalAutoencoder:
        return VariationalAutoencoder(
            n_latent=40,
            hidden_layer_sizes=(400,),
            activation="relu",
            likelihood="bernoulli",
            batch_size=100,
            learning_rate=1e-4,
            learning_rate_schedule=Steps((200, 350), factor=10**-0.2),
            max_epochs=study.epochs(500),
            scaling=None,
            random_state=seed,
        )

    def measured(model: Any) -> dict[str, float]:
        return {"NLL": -float(model.log_likelihood(test, n_samples=200).mean())}

    figures, settings = study.trials(make, train, measured, X_val=valid)
    return Found(figures, settings=[settings])


VAE_PYTHAE = Row(
    name="vae-pythae",
    title="pythae's reproduction of a VAE",
    protocol="Larochelle's binarised MNIST, 50,000 / 10,000 / 10,000; 784-400-40-400-784, ReLU, batch 100, 500 epochs "
    "of Adam at 1e-4, multiplied by 10^−0.2 at epochs 200 and 350; test −log p, importance-weighted with 200 draws",
    published="89.78 (pythae's own reproduction; 89.9 in the paper that it reproduces)",
    unit="nats",
    run=_run,
    remarks="Not reached. The schedule leads to −ELBO 95.5 on the training rows and 98.6 on held-out ones. It is not "
    "optimisation that is missing: Muon with a cosine brings two nats on the training rows, and 91.9 on validation "
    "rows. Which rate and batch made the model that was published is not said with it.",
    bounds=(Bound("NLL", 89.78, wished=88.71),),
    minutes=45,
)
