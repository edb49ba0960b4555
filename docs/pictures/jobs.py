"""Draw jobs.png, the front page's picture: what each estimator does, on data that come with diabolo.

Run it from the root of the repository: `python docs/pictures/jobs.py`. It takes a minute and prints the figures.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from sklearn.datasets import load_digits

from diabolo import (
    AnomalyDetector,
    AutoencoderGenerator,
    AutoencoderImputer,
    DenoisingAutoencoder,
    VariationalAutoencoder,
)
from diabolo.datasets import load_homes, load_pulse, load_shapes

GREY, BLUE, ORANGE, GREEN = "0.55", "#0072b2", "#d55e00", "#009e73"


def images(ax: Axes, lines: list[np.ndarray], captions: list[str]) -> None:
    """Draw lines of images, each with a caption at its left."""
    height, gap = lines[0][0].shape[0], lines[0][0].shape[0] // 8
    row = np.ones((height, gap))
    drawn = [np.hstack([piece for image in line for piece in (image, row)][:-1]) for line in lines]
    wide = np.ones((gap, drawn[0].shape[1]))
    ax.imshow(np.vstack([piece for line in drawn for piece in (line, wide)][:-1]), cmap="gray", vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([(height + gap) * i + height / 2 for i in range(len(lines))], captions)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[:].set_visible(False)


def anomalies(ax: Axes) -> str:
    """Draw the heartbeats that are flagged over those that are not."""
    normal, new = load_pulse().data, load_pulse(subset="new")
    flagged = AnomalyDetector(random_state=0).fit(normal).predict(new.data) == -1
    ax.plot(new.data[~flagged][:60].T, color=GREY, lw=0.5, alpha=0.5)
    ax.plot(new.data[flagged][:3].T, color=ORANGE, lw=1.6)
    ax.set(xticks=[], yticks=[])
    hits, alarms = flagged[new.target == 1].sum(), flagged[new.target == 0].sum()
    return f"{hits} of 30 irregular heartbeats\nflagged, {alarms} of 270 regular ones"


def gaps(ax: Axes) -> str:
    """Draw a few rows of a table, with the cells that were filled in colour."""
    homes = load_homes(as_frame=True)
    filled = AutoencoderImputer(random_state=0).fit_transform(homes.data)
    columns = ["kind", "area", "rooms", "price"]
    empty = homes.data[columns].isna()
    rows = np.flatnonzero(empty.sum(axis=1) == 1)[[0, 1, 2, 5, 7]]
    texts = [
        [f"{cell:.0f}" if isinstance(cell, float) else str(cell) for cell in filled[columns].iloc[i]] for i in rows
    ]
    colors = [[(0, 0.62, 0.45, 0.35) if empty[name].iloc[i] else "white" for name in columns] for i in rows]
    table = ax.table(texts, cellColours=colors, colLabels=columns, loc="center", cellLoc="center", edges="closed")
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    table.scale(1.05, 1.45)
    ax.axis("off")
    was = homes.data["price"].isna()
    errors = (filled["price"] - homes.target["price"])[was].abs().mean()
    by_mean = (homes.data["price"].mean() - homes.target["price"])[was].abs().mean()
    return f"green cells were empty; error of\na price {errors:.0f}, of the mean price {by_mean:.0f}"


def noise(ax: Axes) -> str:
    """Draw noisy images over the denoised ones."""
    shapes = load_shapes()
    denoiser = DenoisingAutoencoder(noise_level=0.2, noise_units="data", random_state=0).fit(shapes.data[:240])
    found = denoiser.denoise(shapes.noisy[240:])
    before, after = (np.sqrt(np.square(rows - shapes.data[240:]).mean()) for rows in (shapes.noisy[240:], found))
    images(ax, [rows[:4].reshape(-1, 16, 16).clip(0, 1) for rows in (shapes.noisy[240:], found)], ["noisy", "denoised"])
    return f"root mean squared error\n{before:.2f} before, {after:.2f} after"


def codes(ax: Axes) -> str:
    """Draw digits over what a code of 8 numbers keeps of them."""
    X = load_digits().data / 16
    model = VariationalAutoencoder(n_latent=8, random_state=0).fit(X[:1500])
    new = X[1500:]
    lost = np.square(new - model.reconstruct(new)).sum() / np.square(new - new.mean(axis=0)).sum()
    lines = [new[10:14], model.reconstruct(new[10:14])]
    images(ax, [rows.reshape(-1, 8, 8).clip(0, 1) for rows in lines], ["64 pixels", "from 8\nnumbers"])
    return f"codes of 8 numbers keep {100 * (1 - lost):.0f} %\nof the variance of new digits"


def rows(ax: Axes) -> str:
    """Draw real rows and new ones."""
    homes = load_homes(as_frame=True).target
    new = AutoencoderGenerator(random_state=0).fit(homes).sample(400, random_state=0)
    ax.scatter(homes["area"][:400], homes["price"][:400], s=5, color=GREY, label="real")
    ax.scatter(new["area"], new["price"], s=5, color=BLUE, label="new")
    ax.set(xlabel="area, m²", ylabel="price", xticks=[], yticks=[])
    ax.legend(frameon=False, fontsize=8, loc="upper left", handletextpad=0)
    found, real = (table[["area", "price"]].corr().iloc[0, 1] for table in (new, homes))
    return f"correlation of area and price:\n{found:.2f} new, {real:.2f} real"


JOBS = {
    "Find anomalies": anomalies,
    "Fill gaps": gaps,
    "Remove noise": noise,
    "Compress": codes,
    "Generate rows": rows,
}

if __name__ == "__main__":
    figure = plt.figure(figsize=(12, 3.3), layout="constrained")
    for part, (title, draw) in zip(figure.subfigures(1, len(JOBS)), JOBS.items(), strict=True):
        text = draw(part.subplots())
        print(f"{title}: {' '.join(text.split())}")
        part.suptitle(title, fontsize=12, fontweight="bold")
        part.supxlabel(text, fontsize=9)
    figure.savefig(Path(__file__).with_name("jobs.png"), dpi=140, facecolor="white")
