"""The variational autoencoder of PyTorch's examples."""

from __future__ import annotations

from diabolo import VariationalAutoencoder

from ..data import images
from ..record import Bound, Found, Row
from ..study import Study


def _run(study: Study) -> Found:
    mnist = images(study, "mnist", 0)
    train, test = mnist.train, mnist.test

    def make(seed: int) -> VariationalAutoencoder:
        return VariationalAutoencoder(
            n_latent=20,
            hidden_layer_sizes=(400,),
            activation="relu",
            likelihood="bernoulli",
            batch_size=128,
            learning_rate=1e-3,
            learning_rate_schedule="constant",
            max_epochs=study.epochs(10),
            validation_fraction=None,
            scaling=None,
            random_state=seed,
        )

    figures, settings = study.trials(make, train, lambda model: {"−ELBO": -float(model.elbo(test).mean())})
    return Found(figures, settings=[settings])


VAE_EXAMPLE = Row(
    name="vae-example",
    title="PyTorch's example of a VAE",
    protocol="MNIST in [0, 1], 60,000 rows to train on, 10,000 to test; 784-400-20-400-784, ReLU, Bernoulli "
    "(cross-entropy of grey values), batch 128, Adam at 1e-3; test −ELBO after epoch 10, in nats",
    published="105.6 (test loss that the VAE of pytorch/examples prints after epoch 10)",
    unit="nats",
    run=_run,
    bounds=(Bound("−ELBO", 105.6),),
    minutes=2,
)
