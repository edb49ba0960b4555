"""π(z): what a code is expected to look like before any row is seen."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import jax.numpy as jnp

from .component import Component
from .distributions import Distribution, Normal

__all__ = ["Prior", "StandardNormal"]


class Prior(Component, role="prior"):
    """A distribution over codes."""

    @abstractmethod
    def __call__(self, n_latent: int) -> Distribution:
        """π(z) over one code, batch shape (n_latent,)."""


@dataclass(frozen=True)
class StandardNormal(Prior):
    """N(0, I_K), the prior of Kingma & Welling (2014).

    >>> StandardNormal()(3).mean.tolist()
    [0.0, 0.0, 0.0]
    """

    def __call__(self, n_latent: int) -> Distribution:
        return Normal(jnp.zeros(n_latent), jnp.ones(n_latent))
