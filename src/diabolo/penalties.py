r"""Ω(h | …): what is added to the loss besides the objective, Σ weightᵢ · Ωᵢ.

A penalty sees one forward pass and gives one number. ``z`` is the very code that the decoder reads.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .distributions import kl_bernoulli
from .part import Part, number

__all__ = ["L1", "Contractive", "ForwardPass", "KLSparsity", "Penalty", "WeightDecay", "mean_over_rows"]


class ForwardPass(NamedTuple):
    """What a penalty may look at."""

    x: Float[Array, "n d"]
    """The rows the encoder read (corrupted, in training)."""
    z: Float[Array, "s n k"]
    """The codes the decoder reads: s draws for each row (s = 1 for a deterministic code)."""
    row_weight: Float[Array, " n"]
    """How much each row counts: 1, or 0 for padding."""
    encode: Callable[[Array], Array]
    """From rows (n, d) to deterministic codes (n, k)."""
    weights: Any
    """The pytree of all trained arrays."""


def mean_over_rows(values: Float[Array, "... n"], row_weight: Float[Array, " n"]) -> Float[Array, "..."]:
    """The weighted mean over the last axis."""
    return (values * row_weight).sum(-1) / row_weight.sum()


class Penalty(Part, slot="penalty"):
    """A term Ω of the loss, and its weight."""

    needs_unit_code: ClassVar[bool] = False
    """Whether it is defined only for codes in (0, 1)."""
    weight: float

    @abstractmethod
    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        """Ω, not yet weighted."""


@dataclass(frozen=True)
class KLSparsity(Penalty):
    r"""Ω(h | m, ρ) = Σⱼ KL(ρ‖ρ̂ⱼ), ρ̂ⱼ the mean activation of unit j over the batch.

    Parameters
    ----------
    rho : float in (0, 1), default=0.05
        ρ, the target sparsity.
    weight : float in [0, inf), default=1
        β, the penalty's weight.

    References
    ----------
    Lee, Ekanadham & Ng (2008); Ng (2011), "Sparse autoencoder", CS294A lecture notes, section 3.

    Examples
    --------
    >>> z = jnp.full((1, 4, 3), 0.05)
    >>> float(KLSparsity(0.05)(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None))) < 1e-6
    True
    """

    needs_unit_code: ClassVar[bool] = True
    rho: float = number(0.05, "(0, 1)")
    weight: float = number(1.0, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        rho_hat = mean_over_rows(jnp.moveaxis(seen.z, 1, -1), seen.row_weight).mean(0)
        # A unit whose sigmoid has rounded to 0 or 1 keeps a gradient, and the logarithm stays finite.
        tiny = 1e-6
        return kl_bernoulli(jnp.asarray(self.rho), tiny + (1 - 2 * tiny) * rho_hat).sum()


@dataclass(frozen=True)
class L1(Penalty):
    r"""Ω = ``Σⱼ |hⱼ|``, averaged over rows.

    Examples
    --------
    >>> z = -jnp.ones((1, 4, 3))
    >>> float(L1()(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None)))
    3.0
    """

    weight: float = number(1e-3, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        return mean_over_rows(jnp.abs(seen.z).sum(-1).mean(0), seen.row_weight)


@dataclass(frozen=True)
class WeightDecay(Penalty):
    r"""Ω = ½ Σ W² over all weight matrices; biases (arrays of one axis) are left alone.

    Examples
    --------
    >>> z = jnp.ones((1, 4, 3))
    >>> float(WeightDecay()(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, {"W": jnp.ones((2, 2)), "b": jnp.ones(2)})))
    2.0
    """

    weight: float = number(1e-4, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        matrices = [leaf for leaf in jax.tree.leaves(seen.weights) if isinstance(leaf, jax.Array) and leaf.ndim > 1]
        return 0.5 * sum((jnp.square(leaf).sum() for leaf in matrices), start=jnp.zeros(()))


@dataclass(frozen=True)
class Contractive(Penalty):
    r"""Ω = ‖∂h/∂x‖²_F, averaged over rows (Rifai et al. 2011, eq. 2). Costs one pass backwards per latent coordinate.

    Examples
    --------
    >>> x = jnp.ones((4, 3))
    >>> float(Contractive()(ForwardPass(x, x[None], jnp.ones(4), lambda x: 2 * x, None)))  # three entries of 2
    12.0
    """

    weight: float = number(0.1, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        jacobian = jax.vmap(jax.jacrev(lambda row: seen.encode(row[None])[0]))(seen.x)
        return mean_over_rows(jnp.square(jacobian).sum((-2, -1)), seen.row_weight)
