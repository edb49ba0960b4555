"""Draw the results of `study`, one file per picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .study import NOISES, RHO, Findings, M

__all__ = ["draw"]

INK, MUTED, BLUE, ORANGE, GREEN = "#1f2430", "#8a909c", "#2f6fb5", "#d9792b", "#3a8f5c"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "figure.dpi": 160,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.12,
}


def draw(findings: Findings, folder: Path) -> dict[str, str]:
    """Write the pictures; return a mapping from their names to their paths relative to the folder's parent."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        for name, picture in _PICTURES.items():
            picture(findings).savefig(folder / f"{name}.png")
    return {name: f"{folder.name}/{name}.png" for name in _PICTURES}


def _digit(axes: Axes, pixels: np.ndarray) -> None:
    axes.imshow(pixels.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _strip(figure: Figure, rows: dict[str, np.ndarray]) -> None:
    """Draw rows of digits with their names on the left."""
    width = len(next(iter(rows.values())))
    grid = figure.subplots(len(rows), width, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for line, (name, digits) in zip(grid, rows.items(), strict=True):
        for axes, pixels in zip(line, digits, strict=True):
            _digit(axes, pixels)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)


def _mosaic(digits: np.ndarray) -> np.ndarray:
    """Return (rows, columns, 64) digits as one image, with one pixel of space between digits."""
    rows, columns, _ = digits.shape
    cells = np.pad(digits.reshape(rows, columns, 8, 8), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=0.0)
    return cells.transpose(0, 2, 1, 3).reshape(rows * 9, columns * 9)[:-1, :-1]


def _one_of_each(labels: np.ndarray) -> np.ndarray:
    return np.array([np.flatnonzero(labels == digit)[1] for digit in range(10)])


# -- the pictures -----------------------------------------------------------------------------------------------------


def reconstructions(found: Findings) -> Figure:
    chosen = _one_of_each(found.labels)
    rows = {"original": found.test[chosen]}
    rows |= {name: x_hat[chosen] for name, x_hat in found.reconstructions.items()}
    figure = Figure(figsize=(7.2, 0.66 * len(rows)))
    _strip(figure, rows)
    return figure


def curves(found: Findings) -> Figure:
    names = list(found.histories)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    grid = figure.subplots(2, 4).ravel()
    for axes, name in zip(grid, names, strict=False):
        history = found.histories[name]
        epochs = np.arange(1, len(history["loss"]) + 1)
        axes.plot(epochs, history["loss"], color=BLUE, lw=1.3, label="training")
        axes.plot(epochs, history["validation_loss"], color=ORANGE, lw=1.3, label="held out")
        if best := found.best_epochs[name]:
            axes.plot(best, history["validation_loss"][best - 1], "o", ms=4, color=INK, label="best epoch")
        low = min(*history["validation_loss"], history["loss"][-1])
        high = history["validation_loss"][len(epochs) // 40]
        axes.set(title=name, ylim=(low - 0.12 * (high - low), high + 0.05 * (high - low)))
    history = found.histories["variational"]
    last = grid[len(names)]
    epochs = np.arange(1, len(history["kl"]) + 1)
    last.plot(epochs, history["kl"], color=GREEN, lw=1.3, label="KL (nats)")
    last.set(title="variational: KL and β", ylim=(0, None))
    twin = last.twinx()
    twin.plot(epochs, history["beta"], color=MUTED, lw=1.1, ls="--", label="β")
    twin.set(ylim=(0, 1.08), yticks=[0, 0.5, 1])
    lines = last.get_lines() + twin.get_lines()
    last.legend(lines, [str(line.get_label()) for line in lines], loc="center right", fontsize=8)
    for axes in grid[len(names) + 1 :]:
        axes.set_visible(False)
    grid[0].legend(fontsize=8)
    figure.supxlabel("epoch", fontsize=9, color=INK)
    figure.supylabel("loss, nats per digit", fontsize=9, color=INK)
    return figure


def denoising(found: Findings) -> Figure:
    chosen = _one_of_each(found.labels)
    figure = Figure(figsize=(7.2, 7.4))
    for part, noise in zip(figure.subfigures(len(NOISES), 1, squeeze=False)[:, 0], NOISES, strict=True):
        level = f"σ = {NOISES[noise]:g} standard deviation" if noise == "gaussian" else f"p = {NOISES[noise]:g}"
        part.suptitle(f"{noise.replace('_', ' ')} noise, {level}", x=0.12, ha="left", fontsize=10)
        _strip(part, {
            "original": found.test[chosen], "corrupted": found.noisy[noise][chosen],
            "reconstructed": found.cleaned[noise][chosen],
        })  # fmt: skip
    return figure


def latent(found: Findings) -> Figure:
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    *scatters, mosaic = figure.subplots(1, 3)
    colours = mpl.colormaps["tab10"](np.arange(10))
    for axes, (name, z) in zip(scatters, found.planes.items(), strict=True):
        axes.scatter(*z.T, c=colours[found.labels], s=9, alpha=0.75, linewidths=0)
        for digit in range(10):
            centre = np.median(z[found.labels == digit], axis=0)
            axes.annotate(
                str(digit), centre, ha="center", va="center", fontsize=10, weight="bold",
                bbox={"boxstyle": "circle,pad=0.18", "fc": "white", "ec": colours[digit], "lw": 1.4},
            )  # fmt: skip
        axes.set(title=name, xlabel="$z_1$", ylabel="$z_2$")
    mosaic.imshow(_mosaic(found.manifold), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    mosaic.set(title="decoded grid over the plane", xticks=[], yticks=[])
    mosaic.spines[:].set_visible(False)
    return figure


def sparse(found: Findings) -> Figure:
    figure = Figure(figsize=(11, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.35, 1]})
    strongest = np.argsort(-np.linalg.norm(found.features, axis=1))[:72]
    shown = found.features[strongest] / np.abs(found.features[strongest]).max(axis=1, keepdims=True)
    image = _mosaic(shown.reshape(6, 12, 64))
    left.imshow(image, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    left.set(title=f"contribution of each unit (72 strongest of {M})", xticks=[], yticks=[])
    left.spines[:].set_visible(False)
    right.hist(found.mean_activation, bins=np.linspace(0, 2 * RHO, 41), color=BLUE, rwidth=0.9)
    right.axvline(RHO, color=ORANGE, lw=1.6, label=f"target ρ = {RHO}")
    right.set(
        title=f"mean activation $\\hat{{\\rho}}_j$ of the {M} units, held-out digits",
        xlabel="$\\hat{\\rho}_j$",
        ylabel="units",
    )
    right.legend()
    return figure


def samples(found: Findings) -> Figure:
    figure = Figure(figsize=(11, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1]})
    left.imshow(_mosaic(found.samples.reshape(5, 12, 64)), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    left.set(title="sampled: z ~ N(0, I), decoded", xticks=[], yticks=[])
    right.imshow(_mosaic(found.walks), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    right.set(title="linear interpolation between two codes", xticks=[], yticks=[])
    for axes in (left, right):
        axes.spines[:].set_visible(False)
        axes.set_anchor("N")
    return figure


_PICTURES: dict[str, Callable[[Findings], Figure]] = {
    "reconstructions": reconstructions,
    "curves": curves,
    "denoising": denoising,
    "latent": latent,
    "sparse": sparse,
    "samples": samples,
}
