"""z: what the encoder's output means. A latent turns it into the posterior q(z | x)."""

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
    """From the encoder's output (n, n_outputs) to a distribution over codes (n, n_latent)."""

    n_latent: int
    stochastic: ClassVar[bool]
    """Whether q(z | x) has a density, so that there are an ELBO and samples."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """How many numbers the encoder gives for each row."""

    @property
    @abstractmethod
    def in_unit_interval(self) -> bool:
        """Whether every coordinate of every code lies in (0, 1)."""

    @abstractmethod
    def __call__(self, h: Float[Array, "n m"]) -> Distribution:
        """q(z | x), a batch of n posteriors over n_latent coordinates."""


@dataclass(frozen=True)
class Deterministic(Latent):
    """A deterministic code z = activation(h): all of the posterior's mass at one point.

    Parameters
    ----------
    n_latent : int, default=2
        K, the number of coordinates; more than d for an overcomplete code.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="identity"
        "sigmoid" puts the code in (0, 1), where the KL sparsity penalty is defined.

    Examples
    --------
    >>> Code(2)(jnp.ones((5, 2))).mean.shape
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
    r"""q(z | x) = N(μ(x), diag σ²(x)), so that z = μ + σ ⊙ ε with ε ~ N(0, I_K).

    The encoder gives 2K numbers: μ, and s with σ = softplus(s) + 1e-6, which neither overflows nor reaches 0.

    Parameters
    ----------
    n_latent : int, default=2
        K, the number of coordinates.

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
