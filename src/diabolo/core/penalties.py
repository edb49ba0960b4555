r"""Penalties Ω(h | …), which are added to the objective in the loss: Σ weightᵢ · Ωᵢ.

A penalty reads one forward pass and returns one number. Its ``z`` is the code that the decoder reads.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import InvalidPart
from .activations import softplus
from .component import Component, float_field, int_tuple_field
from .distributions import Normal, kl_bernoulli
from .forward import ForwardPass, Own, Owner, mean_over_rows, on_device
from .layers import MLPModule

__all__ = [
    "L1",
    "Adversarial",
    "Commitment",
    "Contractive",
    "Independence",
    "KLSparsity",
    "MaximumMeanDiscrepancy",
    "Penalty",
    "SparsityConstraint",
    "TotalCorrelation",
    "WeightDecay",
]


class Penalty(Component, Owner, role="penalty"):
    """A term Ω of the loss with its weight."""

    needs_unit_code: ClassVar[bool] = False
    """Whether the penalty is defined only for codes in (0, 1)."""
    settles_after: ClassVar[float] = 0.0
    """Fraction of the training, in [0, 1], after which the losses of two epochs are comparable."""

    @abstractmethod
    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        """Return Ω, before weighting."""

    def weighted(self, seen: ForwardPass, own: Own) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
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
    >>> float(jax.jit(KLSparsity(0.05))(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None))) < 1e-6
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
    >>> float(jax.jit(part.weighted)(seen, {"log_weight": jnp.zeros(())})[1]["sparsity_weight"])
    1.0
    """

    needs_unit_code: ClassVar[bool] = True
    settles_after: ClassVar[float] = 0.9
    rho: float = float_field(0.05, "(0, 1)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        return KLSparsity(self.rho)(seen)

    def found(self, own: Own) -> Float[Array, ""]:
        """Return β, computed from the penalty's own weights."""
        return jnp.exp(_PACE * own["log_weight"])

    def build(self, rng: np.random.Generator, n_features: int, n_latent: int) -> Own:
        return {"log_weight": jax.device_put(np.zeros((), np.float32))}

    def weighted(self, seen: ForwardPass, own: Own) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
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
    >>> float(jax.jit(L1())(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None)))
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
    >>> weights = {"W": jnp.ones((2, 2)), "b": jnp.ones(2)}
    >>> float(jax.jit(WeightDecay())(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, weights)))
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
    >>> float(jax.jit(Contractive())(ForwardPass(x, x[None], jnp.ones(4), lambda x: 2 * x, None)))  # three entries of 2
    12.0
    """

    weight: float = float_field(0.1, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        jacobian = jax.vmap(jax.jacrev(lambda row: seen.encode(row[None])[0]))(seen.x)
        return mean_over_rows(jnp.square(jacobian).sum((-2, -1)), seen.row_weight)


# -- of the code and its prior ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Commitment(Penalty):
    r"""The commitment loss of a codebook: Ω = ‖h − sg(z)‖², averaged over rows; sg stops the gradient.

    Parameters
    ----------
    weight : float in [0, inf), default=0.25
        The weight of the penalty.

    References
    ----------
    van den Oord, Vinyals & Kavukcuoglu (2017), "Neural Discrete Representation Learning", eq. 3, last term.

    Examples
    --------
    >>> z = jnp.zeros((1, 4, 3))
    >>> float(jax.jit(Commitment())(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None, h=jnp.ones((4, 3)))))
    3.0
    """

    weight: float = float_field(0.25, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        return mean_over_rows(jnp.square(seen.h - jax.lax.stop_gradient(seen.z[0])).sum(-1), seen.row_weight)


@dataclass(frozen=True)
class MaximumMeanDiscrepancy(Penalty):
    r"""The squared maximum mean discrepancy of the codes from draws of the prior (Wasserstein autoencoder, WAE-MMD).

    The kernel is Σ_s C·s / (C·s + ‖a − b‖²) with C = 2K and s from 0.1 to 10, whose expectation is finite for every
    distribution. The estimate from a batch is unbiased, so that it can be negative.

    Parameters
    ----------
    weight : float in [0, inf), default=10
        The weight of the penalty.

    References
    ----------
    Tolstikhin et al. (2018), "Wasserstein Auto-Encoders", algorithm 2 and section 4.

    Examples
    --------
    >>> from diabolo.core.distributions import Normal
    >>> prior, key = Normal(jnp.zeros(2), jnp.ones(2)), jax.random.key(0)
    >>> z = jnp.full((1, 100, 2), 5.0)
    >>> seen = ForwardPass(z[0], z, jnp.ones(100), lambda x: x, None, prior=prior, key=key)
    >>> float(jax.jit(MaximumMeanDiscrepancy())(seen)) > 1
    True
    """

    weight: float = float_field(10.0, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        z, weight = seen.z[0], seen.row_weight
        drawn = seen.prior.sample(seen.key, z.shape[:1])
        return _pairs(z, z, weight, 1) + _pairs(drawn, drawn, weight, 1) - 2 * _pairs(z, drawn, weight, 0)


def _pairs(
    a: Float[Array, "n k"], b: Float[Array, "n k"], row_weight: Float[Array, " n"], without: int
) -> Float[Array, ""]:
    """Return the mean kernel of all pairs of rows; ``without`` = 1: of different rows."""
    squares = jnp.square(a[:, None] - b).sum(-1)
    scale = 2.0 * a.shape[1] * jnp.asarray([0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
    kernel = (scale / (scale + squares[..., None])).sum(-1)
    pairs = row_weight[:, None] * row_weight * (1 - without * jnp.eye(len(a)))
    return (pairs * kernel).sum() / jnp.maximum(pairs.sum(), 1)


@dataclass(frozen=True)
class TotalCorrelation(Penalty):
    r"""The total correlation KL(q(z) ‖ Π_j q(z_j)) of the codes of all rows, estimated from a batch (β-TCVAE).

    With the objective `ELBO`, a weight of β − 1 is the β-TCVAE. q(z) is the mean of q(z | x) over the training rows:
    the row's own posterior counts 1/N, the others of the batch share the rest, which makes the estimate of q(z)
    unbiased, as in stratified sampling. Rows of weight 0 do not enter it.

    Parameters
    ----------
    weight : float in [0, inf), default=5
        The weight of the penalty.

    References
    ----------
    Chen et al. (2018), "Isolating Sources of Disentanglement in VAEs", eq. 2, 4 and appendix C.2.

    Examples
    --------
    >>> from diabolo.core.distributions import Normal
    >>> z = np.repeat(np.linspace(-2, 2, 50, dtype=np.float32), 2).reshape(1, 50, 2)  # two equal coordinates
    >>> q = Normal(jnp.asarray(z[0]), jnp.full((50, 2), 0.1))
    >>> seen = ForwardPass(z[0], z, jnp.ones(50), lambda x: x, None, q=q, n_rows=np.float32(50))
    >>> float(jax.jit(TotalCorrelation())(seen)) > 1
    True
    """

    weight: float = float_field(5.0, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        if not isinstance(seen.q, Normal):
            raise InvalidPart(f"TotalCorrelation needs a normal posterior q(z | x), not {type(seen.q).__name__}.")
        n = len(seen.row_weight)
        own, others = jnp.eye(n), seen.row_weight * (1 - jnp.eye(n))
        beside = jnp.maximum(others.sum(-1, keepdims=True), 1)
        share = jnp.log(own / seen.n_rows + others * (1 - 1 / seen.n_rows) / beside)
        each = seen.q.log_prob(seen.z[:, :, None])  # (s, n, n, k): log q(z_j | x') of row z under the posterior of x'
        joint = jax.nn.logsumexp(share + each.sum(-1), axis=-1)
        product = jax.nn.logsumexp(share[..., None] + each, axis=-2).sum(-1)
        return mean_over_rows((joint - product).mean(0), seen.row_weight)


@dataclass(frozen=True)
class Independence(Penalty):
    r"""The squared correlations of the codes with the condition: Ω = Σ_jk ρ(z_j, c_k)², over the rows of a batch.

    It is 0 if the mean of the code is the same under every condition; other dependence remains possible.

    Parameters
    ----------
    weight : float in [0, inf), default=10
        The weight of the penalty.

    Examples
    --------
    >>> z = jnp.array([[1.0], [2.0], [3.0], [4.0]])
    >>> seen = ForwardPass(z, z[None], jnp.ones(4), lambda x: x, None, condition=z)
    >>> round(float(jax.jit(Independence())(seen)), 3)
    1.0
    """

    weight: float = float_field(10.0, "[0, inf)")

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        if seen.condition is None:
            raise InvalidPart("Independence needs a condition: name its columns in the estimator's `condition`.")
        z, c = (_standardised(of, seen.row_weight) for of in (seen.z[0], seen.condition))
        return jnp.square(mean_over_rows(z.T[:, None] * c.T, seen.row_weight)).sum()


def _standardised(values: Float[Array, "n k"], row_weight: Float[Array, " n"]) -> Float[Array, "n k"]:
    centred = values - mean_over_rows(values.T, row_weight)
    return centred / jnp.sqrt(mean_over_rows(jnp.square(centred.T), row_weight) + 1e-6)


@dataclass(frozen=True)
class Adversarial(Penalty):
    r"""An opponent that tells codes from draws of the prior, and a penalty that deceives it (adversarial autoencoder).

    The opponent D is a network with its own Adam. After each step of the autoencoder it makes a step on
    −log D(draws) − log(1 − D(codes)), and the penalty is −log D(codes), averaged over rows.

    Parameters
    ----------
    weight : float in [0, inf), default=10
        The weight of the penalty.
    hidden : tuple of int, default=(64, 64)
        The hidden layers of the opponent.
    learning_rate : float in (0, inf), default=3e-3
        The learning rate of the opponent, constant.

    References
    ----------
    Makhzani et al. (2016), "Adversarial Autoencoders", section 2; Goodfellow et al. (2014), section 3, for −log D.

    Examples
    --------
    >>> penalty, z = Adversarial(hidden=(8,)), jnp.zeros((1, 4, 2))
    >>> own = penalty.build(np.random.default_rng(0), n_features=3, n_latent=2)
    >>> term, _ = jax.jit(penalty.weighted)(ForwardPass(z[0], z, jnp.ones(4), lambda x: x, None), own)
    >>> round(float(term), 2)  # 10·log 2: the opponent cannot tell yet
    6.93
    """

    settles_after: ClassVar[float] = 0.9
    weight: float = float_field(10.0, "[0, inf)")
    hidden: tuple[int, ...] = int_tuple_field((64, 64))
    learning_rate: float = float_field(3e-3, "(0, inf)")

    def build(self, rng: np.random.Generator, n_features: int, n_latent: int) -> Own:
        opponent = MLPModule.init(rng, (n_latent, *self.hidden, 1))
        mean, square = (jax.tree.map(_zeros, opponent) for _ in range(2))
        return {"opponent": opponent, "mean": mean, "square": square, "n_steps": on_device(np.zeros(()))}

    def __call__(self, seen: ForwardPass) -> Float[Array, ""]:
        raise NotImplementedError("Adversarial needs its opponent: see weighted.")

    def weighted(self, seen: ForwardPass, own: Own) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        opponent = jax.lax.stop_gradient(own["opponent"])
        return self.weight * mean_over_rows(softplus(-opponent(seen.z[0])[:, 0]), seen.row_weight), {}

    def updated(self, own: Own, seen: ForwardPass) -> Own:
        drawn = seen.prior.sample(seen.key, seen.z.shape[1:2])

        def loss(opponent: MLPModule) -> Float[Array, ""]:
            mistakes = softplus(-opponent(drawn)[:, 0]) + softplus(opponent(seen.z[0])[:, 0])
            return mean_over_rows(mistakes, seen.row_weight)

        import optax

        state = optax.ScaleByAdamState(own["n_steps"].astype(jnp.int32), own["mean"], own["square"])
        step, state = optax.scale_by_adam(b1=0.5).update(eqx.filter_grad(loss)(own["opponent"]), state)
        opponent = jax.tree.map(lambda weight, change: weight - self.learning_rate * change, own["opponent"], step)
        return {"opponent": opponent, "mean": state.mu, "square": state.nu, "n_steps": own["n_steps"] + 1}


def _zeros(leaf: Array) -> Array:
    return on_device(np.zeros(leaf.shape))
