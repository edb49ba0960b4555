"""What the units of a sparse code stand for: each one's effect on an image, and the images that activate it most.

python examples/interpret_sparse_features.py --out features.png
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from diabolo import SparseAutoencoder

N_UNITS, N_ROWS = 10, 8


def main() -> None:
    """Fit, find each unit's effect and its rows, and draw them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="features.png")
    parser.add_argument("--quick", action="store_true", help="a short training")
    options = parser.parse_args()

    digits = load_digits()
    X = digits.data / 16
    net = SparseAutoencoder(max_epochs=20 if options.quick else None, random_state=0).fit(X)
    codes = net.transform(X)
    print(f"mean activation {net.mean_activation_.mean():.3f}, target {net.target_activation}")

    busiest = np.argsort(-codes.var(axis=0))[:N_UNITS]
    top = np.argsort(-codes[:, busiest], axis=0)[:N_ROWS]
    share = np.mean([np.bincount(digits.target[rows]).max() / N_ROWS for rows in top.T])
    print(f"of the {N_ROWS} images that activate a unit most, {share:.0%} are one digit")

    # What a unit adds to an image: the decoder with the unit on, less the decoder with all units off.
    off = np.zeros((1, codes.shape[1]))
    effects = net.inverse_transform(np.eye(codes.shape[1])[busiest]) - net.inverse_transform(off)

    figure, axes = plt.subplots(N_UNITS, N_ROWS + 1, figsize=(7, 8), layout="constrained")
    for line, unit, effect, rows in zip(axes, busiest, effects, top.T, strict=True):
        most = np.abs(effect).max()
        line[0].imshow(-effect.reshape(8, 8), cmap="RdBu", vmin=-most, vmax=most)
        line[0].set_ylabel(f"{unit + 1}", rotation=0, ha="right", va="center")
        for place, row in zip(line[1:], rows, strict=True):
            place.imshow(X[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        for place in line:
            place.set(xticks=[], yticks=[])
    axes[0, 0].set_title("adds")
    axes[0, 1].set_title("activated most by", loc="left")
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
