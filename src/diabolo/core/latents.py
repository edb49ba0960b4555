"""Latents: the map from the encoder's output to the posterior q(z | x) over codes z."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .activations import ACTIVATIONS, activate, softplus
from .component import Component, choice_field, int_field
from .distributions import Dirac, Distribution, Normal

__all__ = ["Deterministic", "DiagonalGaussian", "Latent"]


class Latent(Component, role="latent"):
    """A map from the encoder's output, (n, n_outputs), to a distribution over codes, (n, n_latent)."""

    n_latent: int
    stochastic: ClassVar[bool]
    """Whether q(z | x) has a density. The ELBO and posterior samples need one."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Number of encoder outputs per row."""

    @property
    @abstractmethod
    def in_unit_interval(self) -> bool:
        """Whether every coordinate of every code lies in (0, 1)."""

    @abstractmethod
    def __call__(self, h: Float[Array, "n m"]) -> Distribution:
        """Return q(z | x), a batch of n posteriors over n_latent coordinates."""


@dataclass(frozen=True)
class Deterministic(Latent):
    """A deterministic code z = activation(h): a posterior with all its mass at one point.

    Parameters
    ----------
    n_latent : int, default=2
        K, the number of code coordinates; larger than d for an overcomplete code.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="identity"
        Applied to the encoder's output. "sigmoid" maps the code to (0, 1), as the KL sparsity penalty requires.

    Examples
    --------
    >>> Deterministic(2)(jnp.ones((5, 2))).mean.shape
    (5, 2)
    """

    stochastic: ClassVar[bool] = False
    n_latent: int = int_field(2)
    activation: str = choice_field("identity", tuple(ACTIVATIONS))

    @property
    def n_outputs(self) -> int:
        return self.n_latent

    @property
    def in_unit_interval(self) -> bool:
        return self.activation == "sigmoid"

    def __call__(self, h: Float[Array, "n m"]) -> Distribution:
        return Dirac(activate(self.activation, h))


@dataclass(frozen=True)
class DiagonalGaussian(Latent):
    r"""A Gaussian posterior q(z | x) = N(μ(x), diag σ²(x)); samples are z = μ + σ ⊙ ε with ε ~ N(0, I_K).

    The encoder returns 2K numbers per row: μ and s, with σ = softplus(s) + 1e-6, which neither overflows nor reaches 0.

    Parameters
    ----------
    n_latent : int, default=2
        K, the number of code coordinates.

    References
    ----------
    Kingma & Welling (2014), "Auto-Encoding Variational Bayes", section 3 and appendix C.2.

    Examples
    --------
    >>> DiagonalGaussian(2)(jnp.ones((5, 4))).mean.shape
    (5, 2)
    """

    stochastic: ClassVar[bool] = True
    n_latent: int = int_field(2)

    @property
    def n_outputs(self) -> int:
        return 2 * self.n_latent

    @property
    def in_unit_interval(self) -> bool:
        return False

    def __call__(self, h: Float[Array, "n m"]) -> Distribution:
        mean, spread = jnp.split(h, 2, axis=-1)
        return Normal(mean, softplus(spread) + 1e-6)
