"""Priors π(z): the distribution over codes before a row is observed."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import jax.numpy as jnp

from .component import Component
from .distributions import Distribution, Normal

__all__ = ["Prior", "StandardNormal"]


class Prior(Component, role="prior"):
    """A prior distribution over codes."""

    @abstractmethod
    def __call__(self, n_latent: int) -> Distribution:
        """Return π(z) over one code, with batch shape (n_latent,)."""


@dataclass(frozen=True)
class StandardNormal(Prior):
    """The standard normal prior N(0, I_K) of Kingma & Welling (2014).

    >>> StandardNormal()(3).mean.tolist()
    [0.0, 0.0, 0.0]
    """

    def __call__(self, n_latent: int) -> Distribution:
        return Normal(jnp.zeros(n_latent), jnp.ones(n_latent))
