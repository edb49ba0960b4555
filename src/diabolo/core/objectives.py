r"""Objectives: the loss per row that training minimises, in nats, computed from log p(x | z), q(z | x) and π(z)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .component import Component, component_field, int_field
from .distributions import Distribution, kl_divergence
from .forward import ForwardPass, Own, Owner
from .schedules import Constant, Schedule

__all__ = ["ELBO", "ImportanceWeighted", "LossTerms", "Objective", "PosteriorSamples", "Reconstruction"]


class LossTerms(NamedTuple):
    """The value of an objective for each row."""

    loss: Float[Array, " n"]
    """The loss. It is differentiated in training; on validation rows it is computed with the final β."""
    parts: dict[str, Float[Array, " n"]]
    """The terms of the loss by name, for the learning curves."""


class PosteriorSamples(NamedTuple):
    """The input of an objective: s sampled codes for each of n rows, and their densities under the model."""

    log_likelihood: Float[Array, "s n"]
    """log p(x | z)."""
    z: Float[Array, "s n k"]
    """z ~ q(z | x)."""
    q: Distribution
    prior: Distribution
    seen: ForwardPass | None = None
    """The whole forward pass, in training."""

    def log_weights(self) -> Float[Array, "s n"]:
        r"""Return log w = log p(x | z) + log π(z) − log q(z | x) (Burda et al. 2016, eq. 8)."""
        return self.log_likelihood + (self.prior.log_prob(self.z) - self.q.log_prob(self.z)).sum(-1)


class Objective(Component, Owner, role="objective"):
    """A map from s samples of the code to a loss per row."""

    needs_posterior: ClassVar[bool]
    """Whether the objective requires a q(z | x) with a density."""
    n_samples: int
    """Number of sampled codes per row."""

    @property
    @abstractmethod
    def kl_schedule(self) -> Schedule:
        """The schedule of β."""

    @property
    def n_gradient_samples(self) -> int:
        """Number of samples per row to backpropagate through, by the gradient of their mean −log w; 0: all samples."""
        return 0

    def select_gradient_samples(self, key: PRNGKeyArray, seen: PosteriorSamples) -> Int[Array, "m n"]:
        """Return the indices of the samples of each row to backpropagate through; used if `n_gradient_samples` > 0."""
        raise NotImplementedError

    @abstractmethod
    def __call__(self, seen: PosteriorSamples, beta: Float[Array, ""]) -> LossTerms:
        """Return the terms for each row; ``beta`` is the weight of the KL term, if there is one."""

    def terms(self, seen: PosteriorSamples, beta: Float[Array, ""], own: Own) -> LossTerms:
        """Return the terms given the objective's own weights. Override it as well if there are any."""
        return self(seen, beta)


@dataclass(frozen=True)
class Reconstruction(Objective):
    r"""The reconstruction error −log p(x | z).

    For a Gaussian with σ² = ½ it is ‖x − x̂‖² plus a constant; for a Bernoulli it is the cross-entropy.

    Parameters
    ----------
    n_samples : int, default=1
        Number of samples of the code per row, if it is random.
    """

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
    r"""The negative evidence lower bound, −ELBO = E_q[−log p(x | z)] + β · KL(q(z | x) ‖ π(z)).

    β follows a schedule; with β = 1 the value is a bound on −log p(x).

    Parameters
    ----------
    beta : Schedule, default=Constant(1)
        β as a function of the epoch; `LinearWarmup` and `Cyclical` implement KL annealing.
    n_samples : int, default=1
        Number of samples of z per row for the expectation.

    References
    ----------
    Kingma & Welling (2014), eq. 3 and 7; Bowman et al. (2016), section 3.1, for β.

    Examples
    --------
    >>> from diabolo.core.schedules import LinearWarmup
    >>> ELBO(LinearWarmup(10)).kl_schedule
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
    r"""The importance-weighted bound −log (1/k) Σᵢ wᵢ (Burda et al. 2016, eq. 8).

    The bound becomes tighter as k grows; for k = 1 it is the −ELBO.

    Parameters
    ----------
    n_samples : int, default=5
        k, the number of samples of z per row.
    n_backward : int, default=0
        Number of samples per row to backpropagate through; 0: all k. Sample i is selected by systematic resampling with
        probability wᵢ/Σⱼwⱼ, so that the expected gradient is unchanged. For large k, one sample reduces the cost to a
        third (ibid., section 3); a fifth of the samples reduces it to half and adds hardly any noise.
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
