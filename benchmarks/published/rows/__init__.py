"""The rows of the table."""

from __future__ import annotations

from ..record import Row
from .annealing import ANNEALING
from .denoise_digits import DENOISE_DIGITS
from .hinton import HINTON
from .iwae import IWAE
from .sda import SDA
from .sparse_mnist import SPARSE_MNIST
from .sparse_patches import SPARSE_PATCHES
from .vae_example import VAE_EXAMPLE
from .vae_pythae import VAE_PYTHAE
from .vae_static import VAE_STATIC

__all__ = ["ROWS"]

_ROWS = (
    HINTON,
    SDA,
    SPARSE_MNIST,
    SPARSE_PATCHES,
    VAE_EXAMPLE,
    VAE_STATIC,
    VAE_PYTHAE,
    IWAE,
    DENOISE_DIGITS,
    ANNEALING,
)
ROWS: dict[str, Row] = {row.name: row for row in _ROWS}
