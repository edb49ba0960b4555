"""Sparse features of natural photographs: the filters of Olshausen & Field (1996), from a sparse autoencoder."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA

from diabolo import Autoencoder
from diabolo.parts import MLP, Deterministic, Gaussian, KLSparsity, WeightDecay

from ..gabor import explained
from ..record import Bound, Found, Row
from ..study import Figures, Study

_UNITS = {8: 128, 12: 256}
_ENOUGH = 0.6


def _run(study: Study) -> Found:
    figures: Figures = {}
    control: Figures = {}
    settings = []
    for size, n_units in _UNITS.items():
        rows = _patches(size, study.pick(100_000, 500))

        def make(seed: int, n_units: int = n_units, **changes: Any) -> Autoencoder:
            return Autoencoder(
                encoder=MLP(()),
                latent=Deterministic(n_units, "sigmoid"),
                likelihood=Gaussian(1.0),
                penalties=(KLSparsity(0.02, weight=10.0), WeightDecay(1e-2)),
                batch_size=200,
                learning_rate=5e-3,
                max_epochs=study.epochs(25),
                scaling=None,
                random_state=seed,
            ).set_params(**changes)

        def measured(model: Any, size: int = size) -> dict[str, float]:
            return {f"{size} × {size}": _share(_filters(model), size, study)}

        def untrained(seed: int) -> Autoencoder:
            return make(seed, max_epochs=0)

        found, written = study.trials(make, rows, measured, f"{size}-")
        none, _ = study.trials(untrained, rows, measured, f"{size}-untrained-")
        components = PCA(size * size - 1).fit(rows).components_  # a patch's mean is gone, and with it one dimension
        pca = study.part(f"{size}-pca", "PCA", lambda folder, c=components, s=size: {"share": _share(c, s, study)})
        figures |= found
        control |= {f"{size} × {size}, PCA": [pca["share"]], f"{size} × {size}, untrained": none[f"{size} × {size}"]}
        settings.append(written)
        first = study.kept(f"{size}-seed-{study.seeds[0]}", make(study.seeds[0]))
        study.picture(f"{size}.png", _tiles(_filters(first), size))
    limits = [Bound(name, 20.0) for name in control]
    return Found(figures, control, settings, limits)


def _patches(size: int, n: int) -> np.ndarray:
    """Square patches from scikit-learn's two photographs, whitened, each with mean 0 and nearly the same contrast."""
    images = [_whitened(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        image = images[i % len(images)]
        top, left = (rng.integers(length - size + 1) for length in image.shape)
        rows.append(image[top : top + size, left : left + size].ravel())
    patches = np.array(rows)
    patches -= patches.mean(axis=1, keepdims=True)
    patches /= np.sqrt(patches.var(axis=1, keepdims=True) + 0.3 * patches.var())
    return np.asarray(patches / patches.std(), np.float32)


def _whitened(image: np.ndarray) -> np.ndarray:
    """Grey, at half the size (so without traces of JPEG), through Olshausen & Field's filter f·exp(−(f/f₀)⁴)."""
    grey = image.astype(float) @ [0.299, 0.587, 0.114]
    height, width = (length // 2 for length in grey.shape)
    grey = np.log(20 + grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    spectrum = np.fft.fft2(grey - grey.mean()) * frequency * np.exp(-((frequency / 0.4) ** 4))
    filtered = np.real(np.fft.ifft2(spectrum))
    return np.asarray(filtered / filtered.std())


def _filters(model: Any) -> np.ndarray:
    """What each unit looks for, a row each."""
    return np.asarray(model.model_.weights.encoder.layers[0].weight).T


def _share(filters: np.ndarray, size: int, study: Study) -> float:
    """The percentage of filters of which a Gabor function explains enough."""
    found = [explained(one.reshape(size, size)) for one in study.some(filters, 4)]
    return 100 * float(np.mean(np.array(found) >= _ENOUGH))


def _tiles(filters: np.ndarray, size: int) -> np.ndarray:
    """All filters side by side, each from black to white about grey."""
    across, gap = 32, size + 1
    pixels = np.ones((-(-len(filters) // across) * gap, across * gap))
    for i, one in enumerate(filters):
        top, left = (i // across) * gap, (i % across) * gap
        centred = (one - one.mean()).reshape(size, size)
        pixels[top : top + size, left : left + size] = 0.5 + 0.5 * centred / np.abs(centred).max()
    return pixels


SPARSE_PATCHES = Row(
    name="sparse-patches",
    title="Sparse features of natural photographs",
    protocol="100,000 patches of 8 × 8 and 12 × 12 pixels of scikit-learn's two photographs, whitened, of equal "
    "contrast; 128 and 256 sigmoid units, ρ = 0.02, β = 10, weight decay 0.01; the share of the units' filters of "
    "which a localised Gabor function (σ at most a fifth of the patch) explains at least 60 % of the variance. "
    "Controls: principal components, and the network before training",
    published="oriented, localised, band-pass filters (Olshausen & Field 1996; Ng's exercise)",
    unit="% of filters",
    run=_run,
    bounds=tuple(Bound(f"{size} × {size}", 70.0, at_most=False) for size in _UNITS),
    minutes=12,
    needs_data=False,
)
