"""The stacked denoising autoencoder of Vincent et al. (2010), and of the deep-learning tutorials."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from diabolo import AutoencoderClassifier, StackedAutoencoder
from diabolo.parts import Corruption, Masking

from ..data import images
from ..record import Bound, Found, Row
from ..study import Study

_LAYERWISE = (Masking(0.1), Masking(0.2), Masking(0.3))
_VARIANTS: dict[str, tuple[dict[str, Any], Corruption | None]] = {
    "denoising": ({"pretrain": "layerwise", "pretrain_corruption": _LAYERWISE}, Masking(0.25)),
    "no corruption": ({"pretrain": "layerwise"}, None),
    "no pre-training": ({}, Masking(0.25)),
}
"""What is done to the autoencoder, and to the rows that its encoder is fine-tuned with."""
_ERROR = "test error"


def _run(study: Study) -> Found:
    mnist = images(study, "mnist", 10_000)
    train, y_train = mnist.train, mnist.y_train
    valid, y_valid = mnist.valid, mnist.y_valid
    test, y_test = mnist.test, mnist.y_test

    def measured(model: Any) -> dict[str, float]:
        return {
            _ERROR: 100 * (1 - model.score(test, y_test)),
            "validation error": 100 * (1 - model.score(valid, y_valid)),
        }

    found, settings = {}, {}
    width = study.pick(1000, 50)
    controls = study.pick(("no corruption", "no pre-training"), ("no pre-training",))
    for name in ("denoising", *controls):
        variant = _VARIANTS[name]

        def make(seed: int, variant: tuple[dict[str, Any], Corruption | None] = variant) -> AutoencoderClassifier:
            beginning, corruption = variant
            begun = StackedAutoencoder(
                n_latent=width,
                hidden_layer_sizes=(width, width),
                activation="sigmoid",
                latent_activation="sigmoid",
                likelihood="bernoulli",
                max_epochs=0,
                scaling=None,
                pretrain_epochs=study.epochs(10),
                **beginning,
            )
            return AutoencoderClassifier(
                begun,
                corruption=corruption,
                max_epochs=study.epochs(30),
                validation_fraction=None,
                random_state=seed,
            )

        label = name.replace(" ", "-") + "-"
        found[name], settings[name] = study.trials(make, train, measured, label, y=y_train)
    control = {f"{_ERROR}, {name}": found[name][_ERROR] for name in controls}
    bounds = [Bound(_ERROR, fmean(values)) for values in control.values()]
    return Found(found["denoising"], control, [settings["denoising"]], bounds)


SDA = Row(
    name="sda",
    title="Stacked denoising autoencoders",
    protocol="MNIST in [0, 1], 50,000 rows to train on, 10,000 to choose by, 10,000 to test; three layers of 1,000 "
    "sigmoid units, each pre-trained on masked input (10, 20, 30 %), then all fine-tuned by the labels, with a quarter "
    "of the pixels masked, to the last epoch. Controls: the same without corruption anywhere, and without pre-training",
    published="1.30 % (deep-learning tutorials); 1.28 ± 0.22 % (Vincent et al. 2010)",
    unit="% of test images",
    run=_run,
    bounds=(Bound(_ERROR, 1.40, wished=1.20),),
    minutes=120,
)
