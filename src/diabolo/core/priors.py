"""Priors π(z): the distribution over codes before a row is observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..errors import InvalidPart
from .component import Component, int_field, int_tuple_field
from .distributions import Conditional, Distribution, Mixture, Normal
from .forward import Own, Owner, on_device
from .layers import MLPModule, NormalModule

__all__ = ["Encode", "Prior", "StandardNormal", "TwoLevelPrior", "VampPrior"]

Encode = Callable[[Array], Distribution]


class Prior(Component, Owner, role="prior"):
    """A prior distribution over codes."""

    def __call__(self, n_latent: int) -> Distribution:
        """Return π(z) over one code, with batch shape (n_latent,), of a prior without weights."""
        raise NotImplementedError(f"{type(self).__name__} defines neither __call__ nor distribution.")

    def distribution(self, n_latent: int, own: Own, encode: Encode) -> Distribution:
        """Return π(z) given the prior's own weights and the encoder, which maps rows (n, d) to q(z | x).

        Override it in place of ``__call__`` if the prior needs them.
        """
        return self(n_latent)


Prior.__abstractmethods__ = frozenset({"__call__", "distribution"})  # a prior defines one of them


@dataclass(frozen=True)
class StandardNormal(Prior):
    """The standard normal prior N(0, I_K) of Kingma & Welling (2014).

    >>> StandardNormal()(3).mean.tolist()
    [0.0, 0.0, 0.0]
    """

    def __call__(self, n_latent: int) -> Distribution:
        return Normal(jnp.zeros(n_latent), jnp.ones(n_latent))


@dataclass(frozen=True)
class VampPrior(Prior):
    r"""The mixture of the posteriors of M learned rows u_m, π(z) = (1/M) Σ_m q(z | u_m).

    Where the posteriors of the rows do not fill a ball, as with several clusters, it leaves less space between them
    than the standard normal does. The rows u_m are in scaled units and start as draws from N(0, I).

    Parameters
    ----------
    n_components : int, default=50
        M, the number of learned rows.

    References
    ----------
    Tomczak & Welling (2018), "VAE with a VampPrior", eq. 9.

    Examples
    --------
    >>> from diabolo import Autoencoder, parts
    >>> Autoencoder(latent=parts.DiagonalGaussian(2), objective="elbo", prior=parts.VampPrior(20)).prior
    VampPrior(n_components=20)
    """

    n_components: int = int_field(50)

    def build(self, rng: np.random.Generator, n_features: int, n_latent: int) -> Own:
        return {"rows": on_device(rng.normal(size=(self.n_components, n_features)))}

    def distribution(self, n_latent: int, own: Own, encode: Encode) -> Distribution:
        each = encode(own["rows"])
        if not isinstance(each, Normal):
            raise InvalidPart(f"VampPrior needs a normal posterior q(z | x), not {type(each).__name__}.")
        return Mixture(each, jnp.full(self.n_components, -np.log(self.n_components), jnp.float32))


@dataclass(frozen=True)
class TwoLevelPrior(Prior):
    r"""The prior π(z₁, z₂) = N(z₂ | 0, I)·N(z₁ | μ(z₂), diag σ²(z₂)), with learned μ and σ.

    Use it with `TwoLevel`, whose ``n_top`` must be the same.

    Parameters
    ----------
    n_top : int, default=1
        The number of coordinates of z₂, the last ones of the code.
    hidden : tuple of int, default=(32,)
        The hidden layers of the network of μ and σ.

    References
    ----------
    Sønderby et al. (2016), "Ladder Variational Autoencoders", eq. 1 to 3.

    Examples
    --------
    >>> prior = TwoLevelPrior(1)
    >>> own = prior.build(np.random.default_rng(0), n_features=4, n_latent=3)
    >>> prior.distribution(3, own, encode=lambda rows: rows).mean.shape
    (3,)
    """

    n_top: int = int_field(1)
    hidden: tuple[int, ...] = int_tuple_field((32,))

    def build(self, rng: np.random.Generator, n_features: int, n_latent: int) -> Own:
        if self.n_top >= n_latent:
            raise InvalidPart(f"TwoLevelPrior.n_top must be less than the code's size, {n_latent}; got {self.n_top}.")
        sizes = self.n_top, *self.hidden, 2 * (n_latent - self.n_top)
        return {"network": NormalModule(MLPModule.init(rng, sizes))}

    def distribution(self, n_latent: int, own: Own, encode: Encode) -> Distribution:
        top = Normal(jnp.zeros(self.n_top), jnp.ones(self.n_top))
        return Conditional(top, own["network"], first_last=True)
