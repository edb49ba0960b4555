"""Encode rows that are images as PNG data in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

__all__ = ["encoded", "grid", "sheet"]

_GAP = 1


def _pixels(row: np.ndarray, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    scaled = (np.nan_to_num(row, nan=low).reshape(shape) - low) / (high - low if high > low else 1)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def _uri(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def grid(lines: Sequence[np.ndarray], shape: tuple[int, ...], bounds: tuple[float, float]) -> np.ndarray:
    """Return lines of images as one image of red, green, blue and opacity.

    Parameters
    ----------
    lines : sequence of arrays
        (n, d) each: the images of one line. The lines are stacked from top to bottom; gaps are transparent.
    shape : tuple of int
        (height, width) or (height, width, 3).
    bounds : tuple of float
        The values of black and of white.
    """
    height, width = shape[:2]
    columns = max(map(len, lines))
    canvas = np.zeros((len(lines) * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 4), np.uint8)
    for i, line in enumerate(lines):
        for j, row in enumerate(line):
            pixels = _pixels(row, shape, *bounds)
            top, left = i * (height + _GAP), j * (width + _GAP)
            here = canvas[top : top + height, left : left + width]
            here[..., :3], here[..., 3] = pixels if pixels.ndim == 3 else pixels[..., None], 255
    return canvas


def encoded(lines: Sequence[np.ndarray], shape: tuple[int, ...], bounds: tuple[float, float]) -> str:
    """Return lines of images, as arranged by `grid`, as one PNG data URI."""
    return _uri(grid(lines, shape, bounds))


def sheet(rows: np.ndarray, shape: tuple[int, ...], bounds: tuple[float, float], most: int) -> tuple[str, int, int]:
    """Return one PNG data URI of all images without gaps, and the width and height of an image: at most ``most``."""
    height, width = shape[:2]
    shrink = max(1, -(-max(height, width) // most))
    size = (max(1, width // shrink), max(1, height // shrink))
    columns = max(1, min(len(rows), 2048 // size[0]))
    canvas = Image.new("RGB" if len(shape) == 3 else "L", (columns * size[0], -(-len(rows) // columns) * size[1]))
    for i, row in enumerate(rows):
        image = Image.fromarray(_pixels(row, shape, *bounds))
        image = image if shrink == 1 else image.resize(size, Image.Resampling.BOX)
        canvas.paste(image, (i % columns * size[0], i // columns * size[1]))
    return _uri(np.asarray(canvas)), *size
