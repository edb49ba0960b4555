"""Digits as codes of sixteen numbers, and the nearest ones found by them.

    python examples/compress_and_search.py --out found.png

A denoising autoencoder's codes find digits of the same kind as often as the 64 pixels do, in a quarter of the room.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from diabolo import DenoisingAutoencoder

N_FOUND = 10


def precision(found: np.ndarray, y: np.ndarray, y_asked: np.ndarray) -> float:
    """The share of those found that are of the kind asked for."""
    return float((y[found] == y_asked[:, None]).mean())


def main() -> None:
    """Fit, search in three ways, and draw what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="found.png")
    parser.add_argument("--quick", action="store_true", help="a short training")
    options = parser.parse_args()

    digits = load_digits()
    X, asked, y, y_asked = digits.data[:1400] / 16, digits.data[1400:] / 16, digits.target[:1400], digits.target[1400:]
    # Noise as strong as the digits vary: codes then hold what digits have in common, rather than details.
    net = DenoisingAutoencoder(
        n_latent=16, noise_level=1.0, max_epochs=20 if options.quick else None, random_state=0
    ).fit(X)
    pca = PCA(16, random_state=0).fit(X)

    ways = {"codes": net.transform, "PCA": pca.transform, "pixels": np.asarray}
    found = {}
    for name, way in ways.items():
        found[name] = NearestNeighbors(n_neighbors=N_FOUND).fit(way(X)).kneighbors(way(asked), return_distance=False)
        print(f"{name}: of {N_FOUND} found, {precision(found[name], y, y_asked):.1%} are of the digit asked for")

    rows = [0, 7, 21, 90, 150]
    figure, axes = plt.subplots(len(rows), N_FOUND + 1, figsize=(N_FOUND + 1, len(rows)), layout="constrained")
    for line, i in zip(axes, rows, strict=True):
        for place, pixels in zip(line, [asked[i], *X[found["codes"][i]]], strict=True):
            place.imshow(pixels.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
        for side in line[0].spines.values():
            side.set(color="#d55e00", linewidth=2.5)
    axes[0, 0].set_title("asked", color="#d55e00")
    figure.suptitle("found by codes of 16 numbers, the nearest first")
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
