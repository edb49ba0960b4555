r"""Recipes of the lecture's five autoencoders.

Each function assembles components into a `Recipe`. A new variant needs one more function, here or in your own module,
and at most one new component.
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
    r"""Return the basic autoencoder, with input, latent and output layers only: z = s(W·x + b), x̂ = W'·z + b'.

    With the identity activation and a Gaussian likelihood, the optimum spans the PCA subspace (Baldi & Hornik 1989).

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
    """Return the stacked autoencoder, with several hidden layers before and after the code.

    The architecture is that of Hinton & Salakhutdinov (2006).

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
    r"""Return the sparse autoencoder, with an overcomplete code h ∈ (0, 1)^m whose units are rarely active.

    The loss is reconstruction + β·Σⱼ KL(ρ‖ρ̂ⱼ) (Ng 2011). β is ``weight``; if None, training finds β such that ρ̂ⱼ = ρ.

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
    """Return the denoising autoencoder, which reconstructs the clean x from the code of a corrupted x.

    The method is that of Vincent et al. (2008, 2010).

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
    """Return a denoiser without a bottleneck, which restores the clean x from a corrupted x: the code is the row.

    Each column is estimated from the columns most correlated with it; see `parts.NeighborFilter`.

    >>> restoring(64).latent
    Deterministic(n_latent=64, activation='identity')
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
    """Return the variational autoencoder, with q(z | x) = N(μ, diag σ²), π = N(0, I) and the loss −ELBO.

    The model is that of Kingma & Welling (2014). ``beta`` is the schedule of β (Bowman et al. 2016).

    >>> variational(3).latent
    DiagonalGaussian(n_latent=3)
    """
    return Recipe(
        encoder=_network(hidden, activation, skip),
        latent=DiagonalGaussian(n_latent),
        likelihood=likelihood,
        objective=ELBO(beta, n_samples),
    )
