"""New rows of a table of tumours, beside the real ones.

    python examples/generate_rows.py --out new_rows.png

Each column of the new rows has the old one's distribution, and columns hang together as they did. No new row is an old
one.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.neighbors import NearestNeighbors

from diabolo import AutoencoderGenerator, VariationalAutoencoder

SHOWN = ("mean radius", "mean texture", "mean concavity", "worst smoothness")


def nearest(rows: np.ndarray, among: np.ndarray, k: int = 0) -> float:
    """The median distance to the nearest row, or to the one after k others."""
    distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(among).kneighbors(rows)
    return float(np.median(distances[:, k]))


def main() -> None:
    """Fit, draw new rows, and plot both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="new_rows.png")
    parser.add_argument("--quick", action="store_true", help="a short training")
    options = parser.parse_args()

    real = load_breast_cancer(as_frame=True).data
    short = VariationalAutoencoder(max_epochs=30)
    generator = AutoencoderGenerator(short, random_state=0) if options.quick else AutoencoderGenerator(random_state=0)
    new = generator.fit(real).sample(len(real), random_state=0)
    new = new if hasattr(new, "columns") else type(real)(new, columns=real.columns)

    apart = (real - real.mean()) / real.std(), (new - real.mean()) / real.std()
    between = np.abs(real.corr() - new.corr()).to_numpy()[np.triu_indices(real.shape[1], 1)].mean()
    print(f"correlations differ by {between:.3f} on average")
    old, drawn = (rows.to_numpy() for rows in apart)
    print(f"nearest real row: {nearest(drawn, old):.2f} standard deviations from a new one, "
          f"{nearest(old, old, 1):.2f} from another real one")  # fmt: skip

    n = len(SHOWN)
    figure, axes = plt.subplots(n, n, figsize=(8, 8), layout="constrained")
    both = (("real", real, "#0072b2"), ("new", new, "#d55e00"))
    for i, down in enumerate(SHOWN):
        for j, across in enumerate(SHOWN):
            place = axes[i, j]
            for name, rows, color in both:
                if i == j:
                    place.hist(rows[down], bins=30, histtype="step", color=color, density=True, label=name)
                else:
                    place.scatter(rows[across], rows[down], s=2, color=color, alpha=0.4)
            place.set(xlabel=across if i == n - 1 else "", ylabel=down if j == 0 else "")
            place.set_yticks([]) if i == j else None
            place.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False)
    figure.savefig(options.out, dpi=100)


if __name__ == "__main__":
    main()
