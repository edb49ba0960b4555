"""Denoising images beside the classical filters."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.decomposition import PCA

from diabolo import Autoencoder
from diabolo.metrics import psnr
from diabolo.parts import (
    MLP,
    Corruption,
    Deterministic,
    GaussianNoise,
    Identity,
    Masking,
    RandomChoice,
    Residual,
    SaltAndPepper,
    UNet,
)

from ..data import images
from ..record import Bound, Found, Row
from ..study import Figures, Numbers, Study

_NOISES: dict[str, Corruption] = {
    **{f"Gaussian, σ = {sigma}": GaussianNoise(sigma) for sigma in (0.1, 0.25, 0.5)},
    **{f"salt and pepper, p = {p}": SaltAndPepper(p, low=0.0, high=1.0) for p in (0.1, 0.3, 0.5)},
    **{f"masking, p = {p}": Masking(p) for p in (0.25, 0.5, 0.75)},
}
_WEAK = ("Gaussian, σ = 0.1", "salt and pepper, p = 0.1", "masking, p = 0.25")
_SQUARE = (28, 28)
_EPOCHS = {"dense": 8, "U-Net": 3}
_VALIDATION = "validation"

Filter = Callable[[np.ndarray], np.ndarray]
"""From noisy images (n, 28, 28) to cleaner ones."""


def _run(study: Study) -> Found:
    fashion = images(study, "fashion_mnist", 5_000)
    train, valid, test = fashion.train, fashion.valid, fashion.test

    filters = cache(lambda: _filters(train))
    noises = study.pick(_NOISES, {_WEAK[0]: _NOISES[_WEAK[0]]})

    networks: dict[str, dict[str, Any]] = {
        "dense": {
            "encoder": MLP((1000,)),
            "latent": Deterministic(1000, "silu"),
            "decoder": MLP((), output_activation="sigmoid"),
        },
        "U-Net": {
            "encoder": Residual(UNet((*_SQUARE, 1), study.pick((32, 64, 128), (4,)))),
            "latent": Deterministic(784),
            "decoder": Identity(),
        },
    }

    settings: dict[str, str] = {}

    def better(noise: Corruption, label: str, judged: dict[str, Corruption], times: int = 1) -> Figures:
        """Both networks against one noise; the figures, on test rows, of the one that is better on validation rows."""

        def measured(model: Any) -> Numbers:
            on_valid = [_psnr(valid, model.reconstruct(_noisy(valid, one))) for one in judged.values()]
            on_test = {name: _psnr(test, model.reconstruct(_noisy(test, one))) for name, one in judged.items()}
            return {_VALIDATION: fmean(on_valid), **on_test}

        found = {}
        for kind, parts in networks.items():

            def make(seed: int, kind: str = kind, parts: dict[str, Any] = parts) -> Autoencoder:
                return Autoencoder(
                    corruption=noise,
                    **parts,
                    max_epochs=study.epochs(times * _EPOCHS[kind]),
                    validation_fraction=None,
                    scaling=None,
                    random_state=seed,
                )

            found[kind] = study.trials(make, train, measured, f"{label}-{kind}-")
        best = max(found, key=lambda kind: fmean(found[kind][0][_VALIDATION]))
        figures, setting = found[best]
        settings.setdefault(best, setting)
        return {f"{name} ({best})": values for name, values in figures.items() if name != _VALIDATION}

    figures: Figures = {}
    control: Figures = {}
    bounds = []
    for name, noise in noises.items():
        noisy = _noisy(test, noise)

        def classical(folder: Path, noise: Corruption = noise, noisy: np.ndarray = noisy) -> Numbers:
            return _classical(filters(), valid[: study.pick(300, 5)], noise, test, noisy)

        best = study.part(f"classical-{name}", f"{noise!r}", classical)
        found = better(noise, name, {name: noise})
        figures |= found
        control[f"{name}: {best['which']}"] = [best["PSNR"]]
        gain = 0.0 if name in _WEAK else 2.0
        bounds.append(Bound(next(iter(found)), best["PSNR"] + gain, at_most=False, wished=best["PSNR"] + 3.0))

    if not study.quick:
        names = {f"{name}, one model for all": noise for name, noise in noises.items()}
        figures |= better(RandomChoice(tuple(noises.values())), "one-for-all", names, times=2)
    return Found(figures, control, list(settings.values()), bounds)


def _noisy(rows: np.ndarray, noise: Corruption) -> np.ndarray:
    """The same noise for whoever is to remove it."""
    return Autoencoder(corruption=noise, max_epochs=0, scaling=None, random_state=0).fit(rows[:2]).corrupt(rows)


def _psnr(clean: np.ndarray, found: np.ndarray) -> float:
    return psnr(clean, np.clip(found, 0, 1))


def _classical(
    filters: dict[str, list[Filter]], valid: np.ndarray, noise: Corruption, test: np.ndarray, noisy: np.ndarray
) -> Numbers:
    """The best of the classical filters, each with the strength that is best on validation images."""
    before = _noisy(valid, noise)
    found = {}
    for kind, strengths in filters.items():
        best = max(strengths, key=lambda one: _psnr(valid, one(before.reshape(-1, *_SQUARE)).reshape(valid.shape)))
        found[kind] = _psnr(test, best(noisy.reshape(-1, *_SQUARE)).reshape(test.shape))
    which = max(found, key=lambda kind: found[kind])
    return {"PSNR": found[which], "which": which, **found}


def _filters(train: np.ndarray) -> dict[str, list[Filter]]:
    """Every filter in all strengths that are tried."""
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    def each(of_one: Callable[..., np.ndarray], **options: Any) -> Filter:
        return lambda noisy: np.stack([of_one(image, **options) for image in noisy])

    def projection(n: int) -> Filter:
        pca = PCA(min(n, len(train)), random_state=0).fit(train[:20_000])
        return lambda noisy: pca.inverse_transform(pca.transform(noisy.reshape(len(noisy), -1)))

    return {
        "median filter": [lambda noisy, k=k: ndimage.median_filter(noisy, (1, k, k)) for k in (3, 5)],
        "Gaussian blur": [
            lambda noisy, s=s: ndimage.gaussian_filter(noisy, (0, s, s)) for s in (0.4, 0.6, 0.8, 1.0, 1.3)
        ],
        "non-local means": [
            each(denoise_nl_means, patch_size=5, patch_distance=6, h=h) for h in (0.05, 0.1, 0.2, 0.4, 0.8)
        ],
        "total variation": [each(denoise_tv_chambolle, weight=w) for w in (0.05, 0.1, 0.2, 0.4, 0.8)],
        "PCA": [projection(n) for n in (20, 50, 100, 200, 300)],
    }


DENOISE_DIGITS = Row(
    name="denoise-digits",
    title="Denoising beside the classical filters",
    protocol="Fashion-MNIST in [0, 1], 55,000 rows to train on, 5,000 to choose by, 10,000 to test; for each noise, "
    "and for all nine in one, a dense network or a U-Net, whichever is better on validation images; peak "
    "signal-to-noise ratio over all pixels of the test images, clipped to [0, 1]. Control: the best of median filter, "
    "Gaussian blur, non-local means, total variation (scikit-image) and PCA, each at the strength that is best on 300 "
    "validation images",
    published="none",
    unit="dB",
    run=_run,
    minutes=120,
    seeds=(0,),
    needs=("skimage",),
)
