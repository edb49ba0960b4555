r"""What training makes small: a number per row, in nats, from log p(x | z), q(z | x) and π(z)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .component import Component, component_field, int_field
from .distributions import Distribution, kl_divergence
from .schedules import Constant, Schedule

__all__ = ["ELBO", "ImportanceWeighted", "LossTerms", "Objective", "PosteriorSamples", "Reconstruction"]


class LossTerms(NamedTuple):
    """An objective's value, row by row."""

    loss: Float[Array, " n"]
    """What the gradient is taken of, and what held-out rows are judged by, there with β as the schedule ends."""
    parts: dict[str, Float[Array, " n"]]
    """The terms by name, for the learning curves."""


class PosteriorSamples(NamedTuple):
    """What an objective may look at: s codes for each of n rows, and what the model says of them."""

    log_likelihood: Float[Array, "s n"]
    """log p(x | z)."""
    z: Float[Array, "s n k"]
    """z ~ q(z | x)."""
    q: Distribution
    prior: Distribution

    def log_weights(self) -> Float[Array, "s n"]:
        r"""log w = log p(x | z) + log π(z) − log q(z | x) (Burda et al. 2016, eq. 8)."""
        return self.log_likelihood + (self.prior.log_prob(self.z) - self.q.log_prob(self.z)).sum(-1)


class Objective(Component, role="objective"):
    """From s draws of the code to a number per row."""

    needs_posterior: ClassVar[bool]
    """Whether q(z | x) must have a density."""
    n_samples: int
    """How many codes are drawn for each row."""

    @property
    @abstractmethod
    def kl_schedule(self) -> Schedule:
        """The schedule of β."""

    @property
    def n_gradient_samples(self) -> int:
        """Of how many draws' mean −log w, for each row, the gradient is taken in place of the loss's; 0: the loss's."""
        return 0

    def select_gradient_samples(self, key: PRNGKeyArray, seen: PosteriorSamples) -> Int[Array, "m n"]:
        """Which draws of each row those are, if there are any `n_gradient_samples`."""
        raise NotImplementedError

    @abstractmethod
    def __call__(self, seen: PosteriorSamples, beta: Float[Array, ""]) -> LossTerms:
        """The terms, row by row; ``beta`` weighs the KL term where there is one."""


@dataclass(frozen=True)
class Reconstruction(Objective):
    r"""−log p(x | z): with a Gaussian of σ² = ½, ‖x − x̂‖² and a constant; with a Bernoulli, the cross-entropy."""

    needs_posterior: ClassVar[bool] = False
    n_samples: int = int_field(1)

    @property
    def kl_schedule(self) -> Schedule:
        return Constant()

    def __call__(self, seen: PosteriorSamples, beta: Float[Array, ""]) -> LossTerms:
        loss = -seen.log_likelihood.mean(0)
        return LossTerms(loss, {"reconstruction": loss})


@dataclass(frozen=True)
class ELBO(Objective):
    r"""−ELBO = E_q[−log p(x | z)] + β · KL(q(z | x) ‖ π(z)), β annealed; β = 1 is the true bound.

    Parameters
    ----------
    beta : Schedule, default=Constant(1)
        β over the epochs; `LinearWarmup` and `Cyclical` for KL annealing.
    n_samples : int, default=1
        Draws of z per row in the expectation.

    References
    ----------
    Kingma & Welling (2014), eq. 3 and 7; Bowman et al. (2016), section 3.1, for β.

    Examples
    --------
    >>> from diabolo.core.schedules import LinearWarmup
    >>> ELBO(LinearWarmup(10)).annealing
    LinearWarmup(epochs=10.0, start=0.0)
    """

    needs_posterior: ClassVar[bool] = True
    beta: Schedule = component_field(Schedule, Constant())
    n_samples: int = int_field(1)

    @property
    def kl_schedule(self) -> Schedule:
        return self.beta

    def __call__(self, seen: PosteriorSamples, beta: Float[Array, ""]) -> LossTerms:
        reconstruction = -seen.log_likelihood.mean(0)
        kl = kl_divergence(seen.q, seen.prior, seen.z).sum(-1)
        kl = kl.mean(0) if kl.ndim > 1 else kl
        return LossTerms(reconstruction + beta * kl, {"reconstruction": reconstruction, "kl": kl})


@dataclass(frozen=True)
class ImportanceWeighted(Objective):
    r"""−log (1/k) Σᵢ wᵢ, the bound that tightens with k and is the ELBO at k = 1 (Burda et al. 2016, eq. 8).

    Parameters
    ----------
    n_samples : int, default=5
        k, the draws per row.
    n_backward : int, default=0
        Of how many of the k draws the gradient is taken; 0: of all. They are chosen by systematic resampling, the i-th
        with probability wᵢ/Σⱼwⱼ, so that the gradient is the same in expectation; for large k one draw costs a third of
        all (ibid., section 3), and a fifth of them costs half and is hardly noisier.
    """

    needs_posterior: ClassVar[bool] = True
    n_samples: int = int_field(5)
    n_backward: int = int_field(0, "[0, 2147483647]")

    @property
    def kl_schedule(self) -> Schedule:
        return Constant()

    @property
    def n_gradient_samples(self) -> int:
        return self.n_backward

    def select_gradient_samples(self, key: PRNGKeyArray, seen: PosteriorSamples) -> Int[Array, "m n"]:
        share = jax.nn.softmax(seen.log_weights(), axis=0)
        m, up_to = self.n_backward, jnp.cumsum(share, axis=0)
        at = (jnp.arange(m)[:, None] + jax.random.uniform(key, share.shape[1:])) / m
        return (at[:, None] >= up_to[:-1]).sum(1)

    def __call__(self, seen: PosteriorSamples, beta: Float[Array, ""]) -> LossTerms:
        log_w = seen.log_weights()
        loss = jnp.log(log_w.shape[0]) - jax.nn.logsumexp(log_w, axis=0)
        reconstruction = -seen.log_likelihood.mean(0)
        return LossTerms(loss, {"reconstruction": reconstruction, "kl": -log_w.mean(0) - reconstruction})
