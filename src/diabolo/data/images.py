"""Images: files whose pixels become rows of numbers in [0, 1].

In every format 0 is black, and 1 is the largest value of the depth, 8 or 16 bits. 32-bit integers are read as 16 bits,
floats are not scaled, and values outside of the range are refused. Images are rotated by their EXIF orientation.
Transparent images are drawn on white. Each page of a TIFF file, and each frame of an animation, is a row.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidData

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IMAGES", "MOST_PIXELS", "Images"]

_GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
MOST_PIXELS = 1 << 25
"""The largest number of values of an image, three for a pixel in colour: a small file may declare a huge image."""
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_PAGED = (".gif", ".tif", ".tiff", ".webp")
_DEEP, _DEEPEST = 255, 65_535


@dataclass(frozen=True)
class Images:
    """Image files of one size: (height, width), or (height, width, 3) in colour.

    Parameters
    ----------
    files : tuple of Path
        The file of each row.
    shape : tuple of int
    pages : tuple of int
        The page of each row in its file; empty: each file has one page.
    """

    files: tuple[Path, ...]
    shape: tuple[int, ...]
    pages: tuple[int, ...] = ()

    @classmethod
    def at(cls, files: Sequence[Path]) -> Images:
        """Open files, with one row for each page; the size is that of the first image.

        Raises
        ------
        InvalidData
            If the first file is not an image.
        """
        counts = [_n_pages(file) if file.suffix.lower() in _PAGED else 1 for file in files]
        shape = _read_pixels(files[0], 0, counts[0]).shape
        if max(counts) == 1:
            return cls(tuple(files), shape)
        places = [(file, page) for file, count in zip(files, counts, strict=True) for page in range(count)]
        return cls(tuple(file for file, _ in places), shape, tuple(page for _, page in places))

    @property
    def names(self) -> tuple[Path, ...]:
        """A relative path for each row's image in an output folder, with the folders below the common one."""
        root = os.path.commonpath([file.parent for file in self.files]) if self.files else ""
        below = [Path(os.path.relpath(file, root or ".")) for file in self.files]
        if not self.pages:
            return tuple(below)
        counts = dict(zip(self.files, self.pages, strict=True))  # the last page of each
        return tuple(
            name.with_name(f"{name.stem}-{page + 1:04}{name.suffix}") if counts[file] else name
            for name, file, page in zip(below, self.files, self.pages, strict=True)
        )

    def require_shape(self, shape: tuple[int, ...] | None) -> None:
        """Check that the images have the size of a model's images; None: the model was not fitted to images.

        Raises
        ------
        InvalidData
            If the images have another size, even with the same number of pixels.
        """
        if shape is not None and tuple(shape) != self.shape:
            raise InvalidData(
                f"{self.files[0]} is {_size(self.shape)}, but the model was fitted to images of {_size(tuple(shape))}. "
                "Resize them to that size."
            )

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read images as rows of numbers in [0, 1], float32.

        Raises
        ------
        InvalidData
            If a file is not an image, or has another size.
        """
        files = self.files[start:stop]
        pages = self.pages[start:stop] or (0,) * len(files)
        found = np.empty((len(files), *self.shape), np.float32)
        for i, (file, page) in enumerate(zip(files, pages, strict=True)):
            pixels = _read_pixels(file, page, 2 if self._is_paged(start + i) else 1)
            if pixels.shape != self.shape:
                raise InvalidData(
                    f"{file} is {_size(pixels.shape)}, but {self.files[0].name} is {_size(self.shape)}. "
                    "Bring all to one size."
                )
            found[i] = pixels
        return found.reshape(len(files), -1)

    def _is_paged(self, i: int) -> bool:
        """Return whether a row's file has several pages."""
        if not self.pages:
            return False
        return self.pages[i] > 0 or (i + 1 < len(self.files) and self.files[i + 1] == self.files[i])


def _n_pages(file: Path) -> int:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return int(getattr(picture, "n_frames", 1))
    except Exception as error:  # damaged images can raise any error
        raise InvalidData(f"{file} cannot be read as an image: {error}.") from error


def _read_pixels(file: Path, page: int, n_pages: int) -> np.ndarray:
    """Read an image as numbers in [0, 1], (height, width) or (height, width, 3)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as picture:
            n_numbers = picture.width * picture.height * (1 if picture.mode in _GREY else 3)
            if n_numbers > MOST_PIXELS:
                raise ValueError(f"it has {n_numbers:,} numbers, more than {MOST_PIXELS:,}; cut it, or make it smaller")
            if file.suffix.lower() == ".png" and getattr(picture, "is_animated", False):
                raise ValueError("it moves (an animation); save its frames as separate files")
            if page:
                picture.seek(page)
            moves = n_pages > 1 and file.suffix.lower() == ".gif"  # frames of a GIF may have different palettes
            found = picture.convert("RGBA") if moves else picture
            return _numbers_of(ImageOps.exif_transpose(found))
    except Exception as error:  # damaged images can raise any error
        raise InvalidData(f"{file} cannot be read as an image: {error}.") from error


def _numbers_of(picture: Image.Image) -> np.ndarray:
    if picture.mode == "F":
        return _of_floats(np.asarray(picture))
    if picture.mode.startswith("I"):
        return _of_whole(np.asarray(picture), is_deep=picture.mode == "I")
    if picture.has_transparency_data:
        return _on_white(picture)
    pixels = np.asarray(picture.convert("L" if picture.mode in _GREY else "RGB"))
    return pixels.astype(np.float32) / _DEEP


def _of_floats(pixels: np.ndarray) -> np.ndarray:
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"its floats range from {low:g} to {high:g}; scale them to [0, 1], where 1 is white")
    return pixels.astype(np.float32)


def _of_whole(pixels: np.ndarray, *, is_deep: bool) -> np.ndarray:
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > _DEEPEST or (is_deep and 0 < high <= _DEEP):
        raise ValueError(
            f"its 32-bit numbers range from {low} to {high}, so white is unknown; save it with 8 or 16 bits"
        )
    return pixels.astype(np.float32) / _DEEPEST


def _on_white(picture: Image.Image) -> np.ndarray:
    is_grey = picture.mode in _GREY
    pixels = np.asarray(picture.convert("LA" if is_grey else "RGBA")).astype(np.float32) / _DEEP
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    found: np.ndarray = colours * alpha + (1 - alpha)
    if np.ptp(found) == 0 and np.ptp(alpha) > 0:
        raise ValueError("it is white on a transparent ground, so it would be all white; save it without transparency")
    return found[..., 0] if is_grey else found


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]} {'colour' if len(shape) > 2 else 'grey'}"
