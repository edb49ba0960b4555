"""Images: files whose pixels become rows of numbers in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InvalidData

__all__ = ["IMAGES", "MOST_PIXELS", "Images"]


_GREY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


MOST_PIXELS = 1 << 25
"""Of an image, a colour's three counted each: a few bytes may say that there are many more."""


IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


@dataclass(frozen=True)
class Images:
    """Files that are images of one size: (height, width), or (height, width, 3) if they have colours."""

    files: tuple[Path, ...]
    shape: tuple[int, ...]

    @classmethod
    def at(cls, files: Sequence[Path]) -> Images:
        """These files; the size is the first one's.

        Raises
        ------
        InvalidData
            If the first is not an image.
        """
        return cls(tuple(files), _read_pixels(files[0]).shape)

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Some of them as rows of numbers in [0, 1], float32.

        Raises
        ------
        InvalidData
            If one is not an image, or of another size.
        """
        files = self.files[start:stop]
        found = np.empty((len(files), *self.shape), np.uint8)
        for i, file in enumerate(files):
            pixels = _read_pixels(file)
            if pixels.shape != self.shape:
                raise InvalidData(
                    f"{file} is {_size(pixels.shape)}, but {self.files[0].name} is {_size(self.shape)}. "
                    "Bring all to one size."
                )
            found[i] = pixels
        return found.reshape(len(files), -1).astype(np.float32) / 255


def _read_pixels(file: Path) -> np.ndarray:
    """An image's bytes, (height, width) or (height, width, 3)."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            n_numbers = picture.width * picture.height * (1 if picture.mode in _GREY else 3)
            if n_numbers > MOST_PIXELS:
                raise ValueError(f"it has {n_numbers:,} numbers, more than {MOST_PIXELS:,}; cut it, or make it smaller")
            if picture.mode.startswith("I;16"):
                return (np.asarray(picture) >> 8).astype(np.uint8)
            return np.asarray(picture.convert("L" if picture.mode in _GREY else "RGB"))
    except Exception as error:  # readers of damaged images raise whatever it is that they stumble over
        raise InvalidData(f"{file} cannot be read as an image: {error}.") from error


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]} {'colour' if len(shape) > 2 else 'grey'}"
