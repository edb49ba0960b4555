r"""The lecture's five systems, each one value of the formula.

A recipe is a function that assembles parts. A new variant is one more function here (or in your own module), and at
most one new part.
"""

from __future__ import annotations

from .corruptions import Corruption, GaussianNoise
from .latents import Deterministic, DiagonalGaussian
from .likelihoods import Gaussian, HeteroscedasticGaussian, Likelihood
from .model import Recipe
from .networks import MLP, Identity, NeighborFilter, Network, SkipMLP
from .objectives import ELBO
from .penalties import KLSparsity, SparsityConstraint
from .schedules import Constant, Schedule

__all__ = ["basic", "denoising", "restoring", "sparse", "stacked", "variational"]


def _network(hidden: tuple[int, ...], activation: str, skip: bool) -> Network:
    return SkipMLP(hidden, activation) if skip else MLP(hidden, activation)


def basic(n_latent: int = 2, *, activation: str = "identity", likelihood: Likelihood = Gaussian()) -> Recipe:
    r"""Input, latent and output layers only: z = s(W·x + b), x̂ = W'·z + b'.

    With the identity and a Gaussian likelihood its optimum spans PCA's subspace (Baldi & Hornik 1989).

    >>> basic(3).encoder
    MLP(hidden=(), activation='silu', output_activation='identity')
    """
    return Recipe(encoder=MLP(()), latent=Deterministic(n_latent, activation), likelihood=likelihood)


def stacked(
    n_latent: int = 2,
    *,
    hidden: tuple[int, ...] = (128, 64),
    activation: str = "silu",
    skip: bool = True,
    latent_activation: str = "identity",
    likelihood: Likelihood = Gaussian(),
) -> Recipe:
    """Several hidden layers between input and code, and between code and output (Hinton & Salakhutdinov 2006).

    >>> stacked(3, hidden=(32, 16)).decoder.hidden
    (16, 32)
    """
    return Recipe(
        encoder=_network(hidden, activation, skip),
        latent=Deterministic(n_latent, latent_activation),
        likelihood=likelihood,
    )


def sparse(
    n_hidden: int = 128, *, rho: float = 0.05, weight: float | None = 1.0, likelihood: Likelihood = Gaussian()
) -> Recipe:
    r"""An overcomplete code h ∈ (0, 1)^m whose units are seldom active: reconstruction + β·Σⱼ KL(ρ‖ρ̂ⱼ) (Ng 2011).

    β is ``weight``; None: found while training, so that ρ̂ⱼ = ρ.

    >>> sparse(200).penalties
    (KLSparsity(rho=0.05, weight=1.0),)
    >>> sparse(200, weight=None).penalties
    (SparsityConstraint(rho=0.05),)
    """
    penalty = SparsityConstraint(rho) if weight is None else KLSparsity(rho, weight)
    return Recipe(
        encoder=MLP(()), latent=Deterministic(n_hidden, "sigmoid"), likelihood=likelihood, penalties=(penalty,)
    )


def denoising(
    n_latent: int = 2,
    *,
    corruption: Corruption = GaussianNoise(),
    hidden: tuple[int, ...] = (128,),
    activation: str = "silu",
    skip: bool = True,
    likelihood: Likelihood = Gaussian(),
) -> Recipe:
    """Corrupt x, reconstruct the clean x from a code (Vincent et al. 2008, 2010).

    >>> denoising(3).corruption
    GaussianNoise(sigma=0.3, features='all')
    """
    network = _network(hidden, activation, skip)
    return Recipe(corruption=corruption, encoder=network, latent=Deterministic(n_latent), likelihood=likelihood)


def restoring(
    n_features: int,
    *,
    corruption: Corruption = GaussianNoise(),
    hidden: tuple[int, ...] = (128,),
    activation: str = "silu",
    likelihood: Likelihood = Gaussian(),
) -> Recipe:
    """Corrupt x, restore the clean x without a bottleneck: the code is the restored row.

    Each column is estimated by those that correlate with it most, see `parts.NeighborFilter`.

    >>> restoring(64).latent
    Code(n_latent=64, activation='identity')
    """
    network = NeighborFilter(hidden, activation)
    return Recipe(
        corruption=corruption,
        encoder=network,
        latent=Deterministic(n_features),
        decoder=Identity(),
        likelihood=likelihood,
    )


def variational(
    n_latent: int = 2,
    *,
    hidden: tuple[int, ...] = (128, 128),
    activation: str = "silu",
    skip: bool = True,
    likelihood: Likelihood = HeteroscedasticGaussian(),
    beta: Schedule = Constant(),
    n_samples: int = 1,
) -> Recipe:
    """q(z | x) = N(μ, diag σ²), π = N(0, I), −ELBO with β annealed (Kingma & Welling 2014; Bowman et al. 2016).

    >>> variational(3).latent
    DiagonalGaussian(n_latent=3)
    """
    return Recipe(
        encoder=_network(hidden, activation, skip),
        latent=DiagonalGaussian(n_latent),
        likelihood=likelihood,
        objective=ELBO(beta, n_samples),
    )
