"""Noise taken out of images that were not seen before.

    python examples/denoise_images.py --out restored.png

The denoiser learns from clean digits that it is shown with noise; a median filter knows nothing of digits.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import median_filter
from sklearn.datasets import load_digits

from diabolo import DenoisingAutoencoder
from diabolo.metrics import psnr

LEVEL = 1.1  # in standard deviations of the pixels: 0.3 of the range


def main() -> None:
    """Fit, spoil, restore, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="restored.png")
    parser.add_argument("--quick", action="store_true", help="a short training")
    options = parser.parse_args()

    X = load_digits().data / 16
    train, clean = X[:1400], X[1400:]
    net = DenoisingAutoencoder(
        corruption="gaussian", noise_level=LEVEL, max_epochs=20 if options.quick else None, random_state=0
    ).fit(train)

    noisy = clean + LEVEL * train.var(axis=0).mean() ** 0.5 * np.random.default_rng(0).normal(size=clean.shape)
    filtered = median_filter(noisy.reshape(-1, 8, 8), size=(1, 3, 3)).reshape(clean.shape)
    shown = {"clean": clean, "noisy": noisy, "median filter": filtered, "restored": net.denoise(noisy)}
    for name, images in list(shown.items())[1:]:
        print(f"{name}: {psnr(clean, images):.1f} dB")

    figure, axes = plt.subplots(len(shown), 12, figsize=(10, 3.6), layout="constrained")
    for line, (name, images) in zip(axes, shown.items(), strict=True):
        for place, pixels in zip(line, images, strict=False):
            place.imshow(pixels.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
        label = name if name == "clean" else f"{name}\n{psnr(clean, images):.1f} dB"
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
