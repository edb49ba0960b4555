r"""L(x | z; Θ): what the decoder's output η says about a row. A likelihood turns η into the density p(x | z).

Densities are normalised, in nats. The reconstruction x̂ is the density's mean.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import distributions
from .activations import softplus
from .distributions import Distribution
from .part import Part, number

__all__ = ["Bernoulli", "Categorical", "Gaussian", "LearnedGaussian", "Likelihood"]

Own = dict[str, Float[Array, "..."]]


class Likelihood(Part, slot="likelihood"):
    """From the decoder's output (…, n_outputs) to a density over rows (…, d)."""

    support: ClassVar[Literal["real", "unit"]]
    """Which values a feature may take: any real number, or [0, 1]."""
    discrete: ClassVar[bool]
    """Whether the density is a probability mass, which no change of units rescales."""

    def n_outputs(self, n_features: int) -> int:
        """How many numbers the decoder gives for each row: one for each feature, unless refined."""
        return n_features

    def build(self, n_features: int) -> Own:
        """The likelihood's own weights, those that do not depend on z: none, unless refined."""
        return {}

    @abstractmethod
    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        """p(x | z)."""


@dataclass(frozen=True)
class Gaussian(Likelihood):
    r"""p(x | z) = N(x̂, σ² I) with x̂ = η and σ given.

    With the default σ² = ½, −log p = ‖x − x̂‖² + (d/2)·log π: the lecture's squared error, in nats.

    Parameters
    ----------
    sigma : float in (0, inf), default=√½
        σ, in scaled units.

    Examples
    --------
    >>> p = Gaussian()(jnp.zeros((1, 2)), {})
    >>> round(float(-p.log_prob(jnp.ones((1, 2))).sum() - jnp.log(jnp.pi)), 5)  # ‖(1, 1) − (0, 0)‖²
    2.0
    """

    support: ClassVar[Literal["real", "unit"]] = "real"
    discrete: ClassVar[bool] = False
    sigma: float = number(0.5**0.5, "(0, inf)")

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Normal(eta, jnp.asarray(self.sigma))


@dataclass(frozen=True)
class LearnedGaussian(Likelihood):
    r"""p(x | z) = N(x̂, diag σ²) with x̂ = η and σ learned: one weight per feature, shared by all rows.

    The usual choice for a variational model on real numbers: σ decides how much a feature's error weighs against the
    KL term, and no fixed value is right for all data. σ starts at 1.

    Parameters
    ----------
    floor : float in (0, 1), default=1e-3
        The smallest σ, in scaled units, so that the density of a constant feature stays bounded.

    References
    ----------
    Rybkin, Daniilidis & Levine (2021), "Simple and Effective VAE Training with Calibrated Decoders", section 3.

    Examples
    --------
    >>> part = LearnedGaussian()
    >>> round(float(part(jnp.zeros((1, 1)), part.build(1)).log_prob(jnp.zeros((1, 1)))[0, 0]), 4)  # −½ log 2π
    -0.9189
    """

    support: ClassVar[Literal["real", "unit"]] = "real"
    discrete: ClassVar[bool] = False
    floor: float = number(1e-3, "(0, 1)")

    def build(self, n_features: int) -> Own:
        at_one = np.log(np.expm1(1.0 - self.floor))
        return {"spread": jax.device_put(np.full(n_features, at_one, np.float32))}

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Normal(eta, softplus(own["spread"]) + self.floor)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    r"""p(x | z) = Bernoulli(sigmoid(η)), feature by feature; x̂ = sigmoid(η).

    On {0, 1} a normalised probability; on grey values in (0, 1) the usual cross-entropy, which is not.

    Examples
    --------
    >>> Bernoulli()(jnp.zeros((1, 2)), {}).mean.tolist()
    [[0.5, 0.5]]
    """

    support: ClassVar[Literal["real", "unit"]] = "unit"
    discrete: ClassVar[bool] = True

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Bernoulli(eta)


@dataclass(frozen=True)
class Categorical(Likelihood):
    r"""p(x | z) = softmax(η)ᵢ for a row x of d numbers of which the i-th is 1, the others 0; x̂ = softmax(η).

    −log p is the cross-entropy of a classifier.

    Examples
    --------
    >>> Categorical()(jnp.zeros((1, 4)), {}).mean.tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    support: ClassVar[Literal["real", "unit"]] = "unit"
    discrete: ClassVar[bool] = True

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Categorical(eta)
