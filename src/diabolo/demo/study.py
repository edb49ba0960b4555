"""Train the five systems on scikit-learn's digits, and measure them on held-out digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from .. import metrics
from ..estimators.autoencoders import (
    BasicAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
)

__all__ = ["NOISES", "RHO", "Findings", "M", "run"]

K = 8
M = 128
RHO = 0.05
NOISES = {"gaussian": 1.0, "salt_and_pepper": 0.2, "masking": 0.3}
"""Noise levels: Gaussian in standard deviations of the pixels, the others as shares of the pixels."""


@dataclass(frozen=True)
class Findings:
    """The data of the pictures, and the results."""

    test: np.ndarray
    """(n, 64) held-out digits in [0, 1]."""
    labels: np.ndarray
    reconstructions: dict[str, np.ndarray]
    """(n, 64) reconstructions of each system."""
    noisy: dict[str, np.ndarray]
    cleaned: dict[str, np.ndarray]
    histories: dict[str, dict[str, list[float]]]
    best_epochs: dict[str, int]
    """The best epoch of each system; 0 for the initial weights."""
    planes: dict[str, np.ndarray]
    """Two-dimensional codes of the held-out digits, (n, 2)."""
    manifold: np.ndarray
    """(side, side, 64) decoded digits of the two-dimensional variational model on a grid."""
    features: np.ndarray
    """(m, 64) contribution of each sparse unit to the decoder's output."""
    mean_activation: np.ndarray
    """(m,) mean activation of each sparse unit over the held-out digits."""
    samples: np.ndarray
    walks: np.ndarray
    """(walks, steps, 64) interpolations between two digits."""
    results: dict[str, Any]


def run(seed: int, say: Callable[[str], None]) -> Findings:
    """Train all systems and collect the results; ``say`` gets the name of each training."""
    digits = load_digits()
    train, test, _, labels = train_test_split(
        digits.data / 16, digits.target, test_size=360, random_state=seed, stratify=digits.target
    )
    say("basic, by gradient descent")
    # By default the weights are PCA's, without a learning curve. From random weights, only a high rate reaches PCA.
    basic = BasicAutoencoder(n_latent=K, init="random", learning_rate=3e-2, random_state=seed).fit(train)
    say("stacked")
    stacked = StackedAutoencoder(n_latent=K, random_state=seed).fit(train)
    say("sparse")
    sparse = SparseAutoencoder(n_hidden=M, target_activation=RHO, random_state=seed).fit(train)
    denoisers = {}
    for noise, level in NOISES.items():
        say(f"denoising, {noise.replace('_', ' ')}")
        denoisers[noise] = DenoisingAutoencoder(corruption=noise, noise_level=level, random_state=seed).fit(train)
    say("variational")
    vae = VariationalAutoencoder(n_latent=K, beta="linear", random_state=seed).fit(train)
    say("variational, two latent coordinates for the plane")
    plane = VariationalAutoencoder(n_latent=2, random_state=seed).fit(train)

    systems = {"basic": basic, "stacked": stacked, "sparse": sparse, "variational": vae}
    named = {f"denoising: {noise.replace('_', ' ')}": model for noise, model in denoisers.items()}
    noisy = {noise: model.corrupt(test, random_state=seed + 1) for noise, model in denoisers.items()}
    cleaned = {noise: model.reconstruct(noisy[noise]) for noise, model in denoisers.items()}
    models = systems | named
    reconstructions = {name: model.reconstruct(test) for name, model in systems.items()}
    return Findings(
        test=test,
        labels=labels,
        reconstructions={"PCA": _pca(K, train, test), **reconstructions},
        noisy=noisy,
        cleaned=cleaned,
        histories={name: model.history_ for name, model in models.items()},
        best_epochs={name: model.best_epoch_ for name, model in models.items()},
        planes={"PCA": PCA(2, random_state=0).fit(train).transform(test), "variational, K = 2": plane.transform(test)},
        manifold=_manifold(plane),
        features=sparse.inverse_transform(np.eye(M)) - sparse.inverse_transform(np.zeros((1, M))),
        mean_activation=sparse.transform(test).mean(axis=0),
        samples=vae.sample(60, noise=False, random_state=seed),
        walks=_walks(vae, test, labels),
        results={
            "data": {"name": "scikit-learn digits, 8×8", "train": len(train), "test": len(test)},
            "seed": seed,
            "reconstruction": {
                name: {
                    "code": model.transform(test).shape[1],
                    "squared_error": metrics.squared_error(test, reconstructions[name]),
                    "explained_variance": metrics.explained_variance(test, reconstructions[name]),
                    **_pca_figures(model.transform(test).shape[1], train, test),
                }
                for name, model in systems.items()
            },
            "denoising": {
                noise: {
                    "level": NOISES[noise],
                    "psnr_before": metrics.psnr(test, noisy[noise]),
                    "psnr_after": metrics.psnr(test, cleaned[noise]),
                }
                for noise in NOISES
            },
            "sparse": {
                "rho": RHO,
                "mean_rho_hat": float(sparse.mean_activation_.mean()),
                "mean_abs_difference": float(np.abs(sparse.mean_activation_ - RHO).mean()),
                "mean_abs_difference_held_out": float(np.abs(sparse.transform(test).mean(axis=0) - RHO).mean()),
            },
            "variational": {
                "elbo": float(np.median(vae.elbo(test))),
                "kl": float(np.median(vae.kl(test).sum(axis=1))),
                "log_p": float(np.median(vae.score_samples(test))),
                "active_units": int(metrics.active_units(vae.transform(test)).sum()),
                "units": K,
            },
        },
    )


def _pca(n_components: int, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    pca = PCA(min(n_components, train.shape[1]), random_state=0).fit(train)
    x_hat: np.ndarray = pca.inverse_transform(pca.transform(test))
    return x_hat


def _pca_figures(n_components: int, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Return error and explained variance of PCA with the same K; with as many components as pixels PCA is exact."""
    x_hat = _pca(n_components, train, test)
    return {
        "pca_squared_error": metrics.squared_error(test, x_hat),
        "pca_explained_variance": metrics.explained_variance(test, x_hat),
    }


def _manifold(plane: VariationalAutoencoder, side: int = 15) -> np.ndarray:
    """Return the decoder's means on a square grid over most of the prior's mass."""
    at = np.linspace(-2.2, 2.2, side)
    grid = np.stack(np.meshgrid(at, at[::-1]), axis=-1).reshape(-1, 2)
    return plane.inverse_transform(grid).reshape(side, side, -1)


def _walks(vae: VariationalAutoencoder, test: np.ndarray, labels: np.ndarray, steps: int = 12) -> np.ndarray:
    """Return decoded linear interpolations between the codes of two digits."""
    ends = [(0, 6), (1, 4), (3, 8), (9, 7)]
    t = np.linspace(0, 1, steps)[:, None]
    walks = []
    for a, b in ends:
        z = vae.transform(test[[np.flatnonzero(labels == a)[0], np.flatnonzero(labels == b)[0]]])
        walks.append(vae.inverse_transform((1 - t) * z[:1] + t * z[1:]))
    return np.stack(walks)
