r"""Penalties Ω(h | …), which are added to the objective in the loss: Σ weightᵢ · Ωᵢ.

A penalty reads one forward pass and returns one number. Its ``z`` is the code that the decoder reads.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .component import Component, float_field
from .distributions import kl_bernoulli

__all__ = [
    "L1",
    "Contractive",
    "ForwardPass",
    "KLSparsity",
    "Penalty",
    "SparsityConstraint",
    "WeightDecay",
    "mean_over_rows",
]


class ForwardPass(NamedTuple):
    """The input of a penalty: one forward pass over a batch."""

    x: Float[Array, "n d"]
    """The rows that the encoder reads (corrupted during training)."""
    z: Float[Array, "s n k"]
    """The codes that the decoder reads: s samples per row (s = 1 for a deterministic code)."""
    row_weight: Float[Array, " n"]
    """The weight of each row: 1, or 0 for padding."""
    encode: Callable[[Array], Array]
    """Function from rows (n, d) to deterministic codes (n, k)."""
    weights: Any
    """The pytree of all trained arrays."""


def mean_over_rows(values: Float[Array, "... n"], row_weight: Float[Array, " n"]) -> Float[Array, "..."]:
    """Return the weighted mean over the last axis."""
    return (values * row_weight).sum(-1) / row_weight.sum()


class Penalty(Component, role="penalty"):
    """A term Ω of the loss with its weight."""

    needs_unit_code: ClassVar[bool] = False
    """Whether the penalty is defined only for codes in (0, 1)."""
    settles_after: ClassVar[float] = 0.0
    """Fraction of the training, in [0, 1], after which the losses of two epochs are comparable."""

    @abstractmethod
    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        """Return Ω, before weighting."""

    def build(self) -> dict[str, Float[Array, "..."]]:
        """Return the penalty's own weights, which are trained with the others. By default: none."""
        return {}

    def weighted(
        self, seen: ForwardPass, own: dict[str, Float[Array, "..."]]
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the term of the loss, weight · Ω, and further numbers by name for the learning curves."""
        return self.weight * self(seen), {}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class KLSparsity(Penalty):
    r"""KL sparsity: Ω(h | m, ρ) = Σⱼ KL(ρ‖ρ̂ⱼ), where ρ̂ⱼ is the mean activation of unit j over the batch.

    Parameters
    ----------
    rho : float in (0, 1), default=0.05
        ρ, the target mean activation of each unit.
    weight : float in [0, inf), default=1
        β, the weight of the penalty.

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
    rho: float = float_field(0.05, "(0, 1)")
    weight: float = float_field(1.0, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        rho_hat = mean_over_rows(jnp.moveaxis(seen.z, 1, -1), seen.row_weight).mean(0)
        # Keeps the logarithm finite, and the gradient nonzero, for units whose sigmoid rounds to 0 or 1.
        tiny = 1e-6
        return kl_bernoulli(jnp.asarray(self.rho), tiny + (1 - 2 * tiny) * rho_hat).sum()


@dataclass(frozen=True)
class SparsityConstraint(Penalty):
    r"""The constraint ρ̂ⱼ = ρ for every unit j: the penalty β·Σⱼ KL(ρ‖ρ̂ⱼ) with a β that is found during training.

    β is the Lagrange multiplier of the constraint meanⱼ KL(ρ‖ρ̂ⱼ) ≤ τ, where τ allows deviations of ρ/5. β rises while
    the constraint is violated and falls while it is satisfied. log β is trained by gradient ascent as one more weight,
    which is optimised, saved and resumed like the others. The deviation of ρ̂ⱼ that is expected by chance in a batch is
    subtracted.

    Parameters
    ----------
    rho : float in (0, 1), default=0.05
        ρ, the target mean activation of each unit.

    References
    ----------
    Ng (2011), "Sparse autoencoder", section 3, for Σⱼ KL(ρ‖ρ̂ⱼ); Platt & Barr (1987), "Constrained Differential
    Optimization", for multipliers by gradient ascent.

    Examples
    --------
    >>> z = jnp.full((1, 4, 3), 0.05)
    >>> seen = ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None)
    >>> part = SparsityConstraint(0.05)
    >>> float(part.weighted(seen, part.build())[1]["sparsity_weight"])
    1.0
    """

    needs_unit_code: ClassVar[bool] = True
    settles_after: ClassVar[float] = 0.9
    rho: float = float_field(0.05, "(0, 1)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        return KLSparsity(self.rho)(seen)

    def found(self, own: dict[str, Float[Array, "..."]]) -> Float[Array, ""]:
        """Return β, computed from the penalty's own weights."""
        return jnp.exp(_PACE * own["log_weight"])

    def build(self) -> dict[str, Float[Array, "..."]]:
        return {"log_weight": jax.device_put(np.zeros((), np.float32))}

    def weighted(
        self, seen: ForwardPass, own: dict[str, Float[Array, "..."]]
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        log_weight = _PACE * own["log_weight"]
        omega, weight = self(seen), jnp.exp(jax.lax.stop_gradient(log_weight))
        rho, n_rows = jnp.asarray(self.rho), seen.row_weight.sum()
        mean = mean_over_rows(jnp.moveaxis(seen.z, 1, -1), seen.row_weight).mean(0)
        square = mean_over_rows(jnp.moveaxis(seen.z**2, 1, -1), seen.row_weight).mean(0)
        curvature = 2 * rho * (1 - rho)
        by_chance = ((square - mean**2) / jnp.maximum(n_rows - 1, 1) / curvature).mean()
        allowed = (_ALLOWED * rho) ** 2 / curvature
        violation = jnp.clip((omega / mean.shape[0] - by_chance) / allowed - 1, -1, 3)
        ascent = (log_weight - jax.lax.stop_gradient(log_weight)) * jax.lax.stop_gradient(violation)
        return weight * omega - ascent, {"sparsity_weight": weight}


_PACE = 10.0
"""The speed of log β relative to that of a weight."""
_ALLOWED = 0.2
"""The deviation of a mean activation, as a fraction of ρ, up to which the constraint is satisfied."""


@dataclass(frozen=True)
class L1(Penalty):
    r"""L1 sparsity: Ω = ``Σⱼ |hⱼ|``, averaged over rows.

    Parameters
    ----------
    weight : float in [0, inf), default=1e-3
        The weight of the penalty.

    Examples
    --------
    >>> z = -jnp.ones((1, 4, 3))
    >>> float(L1()(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None)))
    3.0
    """

    weight: float = float_field(1e-3, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        return mean_over_rows(jnp.abs(seen.z).sum(-1).mean(0), seen.row_weight)


@dataclass(frozen=True)
class WeightDecay(Penalty):
    r"""Weight decay: Ω = ½ Σ W² over all weight matrices. Biases (arrays with one axis) are excluded.

    Parameters
    ----------
    weight : float in [0, inf), default=1e-4
        The weight of the penalty.

    Examples
    --------
    >>> z = jnp.ones((1, 4, 3))
    >>> float(WeightDecay()(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, {"W": jnp.ones((2, 2)), "b": jnp.ones(2)})))
    2.0
    """

    weight: float = float_field(1e-4, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        matrices = [leaf for leaf in jax.tree.leaves(seen.weights) if isinstance(leaf, jax.Array) and leaf.ndim > 1]
        return 0.5 * sum((jnp.square(leaf).sum() for leaf in matrices), start=jnp.zeros(()))


@dataclass(frozen=True)
class Contractive(Penalty):
    r"""The contractive penalty: Ω = ‖∂h/∂x‖²_F, averaged over rows (Rifai et al. 2011, eq. 2).

    It costs one backward pass per latent coordinate.

    Parameters
    ----------
    weight : float in [0, inf), default=0.1
        The weight of the penalty.

    Examples
    --------
    >>> x = jnp.ones((4, 3))
    >>> float(Contractive()(ForwardPass(x, x[None], jnp.ones(4), lambda x: 2 * x, None)))  # three entries of 2
    12.0
    """

    weight: float = float_field(0.1, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        jacobian = jax.vmap(jax.jacrev(lambda row: seen.encode(row[None])[0]))(seen.x)
        return mean_over_rows(jnp.square(jacobian).sum((-2, -1)), seen.row_weight)
