"""The rows of the table, in the order of what they take."""

from __future__ import annotations

from ..record import Row
from .hinton import HINTON
from .vae_example import VAE_EXAMPLE
from .vae_pythae import VAE_PYTHAE
from .vae_static import VAE_STATIC

__all__ = ["ROWS"]

ROWS: dict[str, Row] = {row.name: row for row in (VAE_EXAMPLE, VAE_STATIC, HINTON, VAE_PYTHAE)}
