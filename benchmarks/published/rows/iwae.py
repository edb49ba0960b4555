"""The importance-weighted autoencoder of Burda, Grosse & Salakhutdinov (2016)."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean
from typing import Any

from diabolo import Autoencoder
from diabolo.parts import MLP, DiagonalGaussian, ImportanceWeighted

from ..data import binarized_mnist
from ..record import Bound, Found, Row
from ..study import Figures, Study

_PUBLISHED = {1: 88.71, 5: 87.63, 50: 87.10}
_FEW, _SOME = 5, 10
"""Up to so many draws, the gradient is taken of all; of more, it is taken of some."""


def _run(study: Study) -> Found:
    rows = binarized_mnist(study)
    train, valid, test = rows.train, rows.valid, rows.test
    n_draws = study.pick(5_000, 5)
    figures: Figures = {}
    settings = ""
    for k in _PUBLISHED:

        def make(seed: int, k: int = k) -> Autoencoder:
            return Autoencoder(
                encoder=MLP((200, 200), "tanh"),
                latent=DiagonalGaussian(50),
                likelihood="bernoulli",
                objective=ImportanceWeighted(k, n_backward=0 if k <= _FEW else _SOME),
                optimizer="muon",
                batch_size=500,
                learning_rate=1e-2,
                max_epochs=study.epochs(120),
                scaling=None,
                random_state=seed,
            )

        def measured(model: Any, k: int = k) -> dict[str, float]:
            return {_name(k): -float(model.log_likelihood(test, n_samples=n_draws).mean())}

        found, settings = study.trials(make, train, measured, f"k-{k}-", X_val=valid)
        figures |= found
    ordered = [Bound(_name(more), fmean(figures[_name(less)])) for less, more in pairwise(_PUBLISHED)]
    return Found(figures, settings=[settings], bounds=ordered)


def _name(k: int) -> str:
    return f"NLL, k = {k}"


IWAE = Row(
    name="iwae",
    title="Importance-weighted autoencoders",
    protocol="Larochelle's binarised MNIST, 50,000 / 10,000 / 10,000; two layers of 200 tanh units on each side, "
    "K = 50; the bound of k = 1, 5 and 50 draws; test −log p, importance-weighted with 5,000 draws",
    published="88.71, 87.63, 87.10 for k = 1, 5, 50 (Burda et al. 2016, fixed binarisation)",
    unit="nats",
    run=_run,
    bounds=tuple(Bound(_name(k), value + 1.0, wished=value + 0.3) for k, value in _PUBLISHED.items()),
    minutes=90,
    remarks="With 50 draws the published figure is not reached within 1.0 nat: 0.27 are missing. Of the 50, the "
    "gradient is taken of ten, resampled by their weights, which halves the time of an epoch; of one only, −log p is "
    "88.92, not better than with one draw. After 120 epochs the bound is 89.0 nats on the training rows and 92.8 on "
    "others, so what is missing is not time alone; the published model has had 3,280 epochs at eight falling rates.",
    seeds=(0,),
)
