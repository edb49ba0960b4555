"""Codes to search by: `python -m benchmarks.retrieval [--data DIR]`.

For each image of a test set the ten nearest of the training set are looked up by scikit-learn's `NearestNeighbors`.
Told is the share of them that is of the same class: by pixels, and by codes of 8, 16 and 32 numbers. Labels are used
for that only. Digits are scikit-learn's; Fashion-MNIST is read from DIR (`fashion_mnist/`), if there is one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors

from diabolo import DenoisingAutoencoder

from .told import aligned, keep, with_spread

__all__ = ["OURS", "SIZES", "Images", "main", "measure", "precision", "report"]

OURS = "diabolo"
SIZES = (8, 16, 32)
_NEIGHBOURS = 10


class Images(NamedTuple):
    """Rows of pixels in [0, 1] to search among, and to search for; and their classes."""

    known: np.ndarray
    known_classes: np.ndarray
    asked: np.ndarray
    asked_classes: np.ndarray


def digits() -> Images:
    """scikit-learn's, a third of them asked for."""
    X, y = load_digits(return_X_y=True)
    known, asked, known_classes, asked_classes = train_test_split(
        X / 16, y, test_size=1 / 3, random_state=0, stratify=y
    )
    return Images(known, known_classes, asked, asked_classes)


def fashion(folder: Path) -> Images:
    """Fashion-MNIST's training images, and its test images to ask for."""
    with np.load(folder / "fashion_mnist.npz", allow_pickle=False) as file:
        known, asked = (file[key].reshape(-1, 784).astype(np.float32) / 255 for key in ("X_train", "X_test"))
        return Images(known, file["y_train"], asked, file["y_test"])


def _ours(k: int, seed: int) -> Any:
    return DenoisingAutoencoder(n_latent=k, hidden_layer_sizes=(512, 256), scaling=None, random_state=seed)


def _umap(k: int, seed: int) -> Any:
    from umap import UMAP

    return UMAP(n_components=k, random_state=seed)


METHODS: dict[str, Callable[[int, int], Any]] = {
    OURS: _ours,
    "PCA": lambda k, seed: PCA(k, random_state=seed),
    "UMAP": _umap,
}


def precision(known: np.ndarray, known_classes: np.ndarray, asked: np.ndarray, asked_classes: np.ndarray) -> float:
    """Of the ten nearest known rows, the share of the same class, in percent; a mean over the rows asked."""
    found = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(known).kneighbors(asked, return_distance=False)
    return 100 * float((known_classes[found] == asked_classes[:, None]).mean())


def measure(images: Images, method: str, k: int, seed: int) -> dict[str, float]:
    """One method's codes of one size: precision at ten, and the seconds of fitting and coding."""
    started = time.perf_counter()
    coder = METHODS[method](k, seed).fit(images.known)
    known, asked = coder.transform(images.known), coder.transform(images.asked)
    seconds = time.perf_counter() - started
    return {"precision": precision(known, images.known_classes, asked, images.asked_classes), "seconds": seconds}


def report(found: dict[str, Any]) -> str:
    """Precision at ten in percent, ± the spread over seeds, and seconds."""
    lines = [["", *(f"{n} numbers" for n in SIZES), "seconds"]]
    for name, some in found.items():
        lines.append([f"{name}: pixels", *[f"{some['pixels']:.2f}"] * len(SIZES), ""])
        for method, by_size in some["codes"].items():
            cells = [with_spread([run["precision"] for run in by_size[str(k)]]) for k in SIZES]
            seconds = np.median([run["seconds"] for k in SIZES for run in by_size[str(k)]])
            lines.append([f"{name}: {method}", *cells, f"{seconds:.1f}"])
    return aligned(lines)


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser("benchmarks.retrieval", description=(__doc__ or "").splitlines()[0])
    data = os.environ.get("DIABOLO_DATA")
    options.add_argument("--data", type=Path, default=Path(data) if data else None, help="default: $DIABOLO_DATA")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--out", type=Path, help="a JSON file to write")
    given = options.parse_args()
    sets = {"digits": digits()}
    if given.data and (given.data / "fashion_mnist").is_dir():
        sets["Fashion-MNIST"] = fashion(given.data / "fashion_mnist")
    found: dict[str, Any] = {}
    for name, images in sets.items():
        codes: dict[str, Any] = {}
        for method in METHODS:
            try:
                codes[method] = {
                    str(k): [measure(images, method, k, int(seed)) for seed in given.seeds.split(",")] for k in SIZES
                }
            except ModuleNotFoundError as error:
                print(f"{method}: {error.name} is not installed", file=sys.stderr)
                continue
            print(f"{name}, {method}: {codes[method]}", file=sys.stderr, flush=True)
        found[name] = {"pixels": precision(*images), "codes": codes}
    print(report(found))
    if given.out:
        keep(given.out, {"found": found})


if __name__ == "__main__":
    main()
