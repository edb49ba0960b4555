"""The deep autoencoder of Hinton & Salakhutdinov (2006)."""

from __future__ import annotations

from typing import Any

from sklearn.decomposition import PCA

from diabolo import Autoencoder
from diabolo.metrics import squared_error
from diabolo.parts import MLP, Code

from ..data import images
from ..record import Bound, Found, Row
from ..study import Study


def _run(study: Study) -> Found:
    mnist = images(study.data, "mnist", 5_000)
    train, valid, test = study.some(mnist.train), study.some(mnist.valid), study.some(mnist.test)

    def make(seed: int) -> Autoencoder:
        return Autoencoder(
            encoder=MLP((1000, 500, 250), "gelu"),
            latent=Code(30),
            decoder=MLP((250, 500, 1000), "gelu", output_activation="sigmoid"),
            max_epochs=study.epochs(60),
            scaling=None,
            random_state=seed,
        )

    def measured(model: Any) -> dict[str, float]:
        return {"squared error": squared_error(test, model.reconstruct(test))}

    figures, settings = study.trials(make, train, measured, X_val=valid)
    pca = PCA(30).fit(train)
    control = squared_error(test, pca.inverse_transform(pca.transform(test)))
    return Found(figures, {"squared error of PCA-30": [control]}, [settings])


HINTON = Row(
    name="hinton",
    title="The deep autoencoder of Hinton & Salakhutdinov",
    protocol="MNIST in [0, 1], 55,000 rows to train on, 5,000 to choose by, 10,000 to test; 784-1000-500-250-30 with a "
    "linear code, and its mirror image; squared error summed over an image's pixels, mean over the test images",
    published="3.00 (Hinton & Salakhutdinov 2006); 2.46 (Martens 2010)",
    unit="squared error per image",
    run=_run,
    bounds=(Bound("squared error", 2.90, wished=2.46),),
    minutes=40,
)
