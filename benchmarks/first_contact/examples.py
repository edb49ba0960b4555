"""What needs no other set: README's example, two blobs, a low β on digits, and a folder of images by the command."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from . import child
from .peers import kernel_density, squared_error

__all__ = ["PARTS", "Context", "blobs"]


class Context(child.Context):
    """The digits in [0, 1], split."""

    def __init__(self, seed: int) -> None:
        super().__init__(load_digits().data / 16, seed)


def _vae(**parameters: Any) -> Any:
    from diabolo import VariationalAutoencoder

    return VariationalAutoencoder(**parameters)


def readme(about: Context) -> child.Figures:
    """Fit README's example to digits; average the log-density of test rows, all pixels, in nats."""
    fitted = about.fit("README's example", _vae(n_latent=8, random_state=about.seed))
    return {"score": float(np.mean(fitted.score_samples(about.test)))}


def blobs(n_rows: int, seed: int) -> np.ndarray:
    """Draw from two Gaussian blobs in the plane, of standard deviation 0.2, at (−2, 0) and (2, 0)."""
    rng = np.random.default_rng(seed)
    centres = np.array([[-2.0, 0.0], [2.0, 0.0]])
    return centres[rng.integers(2, size=n_rows)] + 0.2 * rng.normal(size=(n_rows, 2))


def two_blobs(about: Context) -> child.Figures:
    """Average the log-density of new rows of two blobs, and count the samples that fall between the blobs."""
    rows = blobs(2_000, about.seed)
    train, test = rows[:1_000], rows[1_000:]
    fitted = about.fit("two blobs", _vae(random_state=about.seed), train)
    kernel, bandwidth = kernel_density(train, test)
    centres = np.array([[-2.0, 0.0], [2.0, 0.0]])
    square = np.square(test[:, None] - centres).sum(axis=2) / (2 * 0.2**2)
    true = np.logaddexp(-square[:, 0], -square[:, 1]) - np.log(4 * np.pi * 0.2**2)
    samples = np.asarray(fitted.sample(2_000, random_state=about.seed))
    return {
        "score": float(np.mean(fitted.score_samples(test))),
        "kernel density": kernel,
        "bandwidth": bandwidth,
        "true density": float(true.mean()),
        "samples between": float((np.abs(samples[:, 0]) < 1).mean()),
    }


def low_beta(about: Context) -> child.Figures:
    """Fit digits with β = 0.01; report the best epoch and the error of test rows."""
    fitted = about.fit("β = 0.01", _vae(beta=0.01, random_state=about.seed))
    found, scale = np.asarray(fitted.reconstruct(about.test)), fitted.scaler_.apply
    n_rows = len(about.test)
    return {
        "best epoch": float(fitted.best_epoch_),
        "epochs": float(fitted.n_epochs_),
        "error, scaled units": squared_error(scale(about.test), scale(found)) / n_rows,
        "error": squared_error(about.test, found) / n_rows,
    }


def folder(about: Context) -> child.Figures:
    """Denoise digits as PNG files by the documented command; PSNR of noisy and of cleaned test images, in dB."""
    train, test = (np.round(rows * 255).astype(np.uint8) for rows in (about.train, about.test))
    draw = np.random.default_rng([about.seed, 2]).normal(size=test.shape)
    noisy = np.clip(np.round(test + 0.2 * train.std() * draw), 0, 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        _write(work / "clean", train)
        _write(work / "noisy", noisy)
        run = work / "run"
        record: dict[str, Any] = {"fit": "diabolo fit", "warnings": []}
        about.fits.append(record)
        with child.timed(record):
            _command("fit", work / "clean", "--model", "denoising", "--out", run, "--seed", about.seed)
        _command("denoise", run, work / "noisy", "-o", work / "cleaned")
        cleaned = _read(work / "cleaned", len(test))
    return {"PSNR before": _psnr(test, noisy), "PSNR after": _psnr(test, cleaned)}


def _command(*words: Any) -> None:
    call = [sys.executable, "-m", "diabolo", *map(str, words)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"diabolo {words[0]} gave {done.returncode}: {done.stderr[-200:]}")


def _write(place: Path, rows: np.ndarray) -> None:
    from PIL import Image

    place.mkdir()
    for i, row in enumerate(rows):
        Image.fromarray(row.reshape(8, 8)).save(place / f"{i:04d}.png")


def _read(place: Path, n_images: int) -> np.ndarray:
    from PIL import Image

    def pixels(file: Path) -> np.ndarray:
        with Image.open(file) as image:
            return np.asarray(image.convert("L")).reshape(-1)

    return np.stack([pixels(place / f"{i:04d}.png") for i in range(n_images)])


def _psnr(clean: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 * clean.size / squared_error(clean, other)))


PARTS: dict[str, Callable[[Context], child.Figures]] = {
    "readme": readme,
    "blobs": two_blobs,
    "low_beta": low_beta,
    "folder": folder,
}
