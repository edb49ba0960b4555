r"""Distributions, which likelihoods, posteriors and priors return.

Shapes: ``...`` stands for any leading axes (samples, rows), ``d`` for the last axis (features or latent coordinates).
`log_prob` is elementwise, in nats; the log-density of a row is the sum over the last axis. No value is clamped.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from .activations import softplus
from .component import give_plain_keys

__all__ = [
    "Bernoulli",
    "Categorical",
    "Conditional",
    "Dirac",
    "Distribution",
    "Given",
    "Joint",
    "Mixture",
    "NegativeBinomial",
    "Normal",
    "ZeroInflated",
    "kl_bernoulli",
    "kl_divergence",
    "normal_from",
    "split_columns",
]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Distribution(eqx.Module):
    """A batch of distributions over rows, whose log-density is a sum over features."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        give_plain_keys(cls)

    @property
    @abstractmethod
    def mean(self) -> Float[Array, "*batch d"]:
        """The mean E[x]."""

    @abstractmethod
    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log p(x), elementwise, in nats."""

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the deviance 2·(max log p(x) − log p(x)), elementwise; the maximum is over the mean.

        By default: (x − mean)². The deviance is 0 where the mean is x, and never negative. It measures the distance
        between x and the mean, in one unit for every kind of column (McCullagh & Nelder 1989, section 2.3).
        """
        return jnp.square(x - self.mean)

    @abstractmethod
    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draw samples of shape ``shape + batch shape``, reparameterised if the distribution allows it."""


class Normal(Distribution):
    r"""A normal distribution N(mean, scale²).

    ``sample`` returns mean + scale ⊙ ε with ε ~ N(0, 1) (Kingma & Welling 2014, eq. 4).

    >>> float(Normal(jnp.zeros(1), jnp.ones(1)).log_prob(jnp.zeros(1))[0])  # -½ log 2π
    -0.9189...
    """

    loc: Float[Array, "*batch d"]
    scale: Float[Array, "..."]
    """The standard deviation: one number, one per coordinate, or one per element of ``loc`` (broadcast)."""

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return self.loc

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return -0.5 * self.deviance(x) - jnp.log(self.scale) - _HALF_LOG_2PI

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.square((x - self.loc) / self.scale)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        return self.loc + self.scale * jax.random.normal(key, shape + jnp.shape(self.loc))


def normal_from(eta: Float[Array, "*batch m"]) -> Normal:
    """Return the normal distribution with mean μ and σ = softplus(s) + 1e-6 of a network's outputs (μ, s)."""
    mean, spread = jnp.split(eta, 2, axis=-1)
    return Normal(mean, softplus(spread) + 1e-6)


_ROUNDING = 1e-5
"""How far scaled 32-bit numbers may lie outside the support of a distribution."""


def _in_unit_interval(x: Float[Array, "..."]) -> Bool[Array, "..."]:
    return (x >= -_ROUNDING) & (x <= 1 + _ROUNDING)


def _is_count(x: Float[Array, "..."]) -> Bool[Array, "..."]:
    return (x >= -_ROUNDING) & (jnp.abs(x - jnp.round(x)) <= _ROUNDING * jnp.maximum(1, jnp.abs(x)))


class Bernoulli(Distribution):
    r"""A Bernoulli distribution with mean sigmoid(logits); log p(x) = x·logits − softplus(logits).

    For grey values in (0, 1), −log p is the usual cross-entropy. p is normalised on {0, 1} only. Outside [0, 1],
    log p(x) is −∞.

    >>> float(eqx.filter_jit(Bernoulli(jnp.zeros(1)).log_prob)(jnp.ones(1))[0])  # log ½
    -0.6931...
    """

    logits: Float[Array, "*batch d"]

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return jax.nn.sigmoid(self.logits)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.where(_in_unit_interval(x), x * self.logits - softplus(self.logits), -jnp.inf)

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        within = jnp.clip(x, 0, 1)
        saturated = xlogy(within, within) + xlogy(1 - within, 1 - within)
        return jnp.where(_in_unit_interval(x), 2 * (saturated - self.log_prob(within)), jnp.inf)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        drawn = jax.random.bernoulli(key, self.mean, shape + jnp.shape(self.logits))
        return drawn.astype(self.logits.dtype)


class Categorical(Distribution):
    r"""A categorical distribution over one-hot rows of d numbers: log p(x) = Σ xᵢ · log softmax(logits)ᵢ.

    `log_prob` returns the terms of the sum. The d numbers are one variable, so that a single term is not a density. For
    rows of proportions that sum to 1, −log p is the usual cross-entropy.

    >>> float(Categorical(jnp.zeros(2)).log_prob(jnp.array([0.0, 1.0])).sum())  # log ½
    -0.6931...
    """

    logits: Float[Array, "*batch d"]

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return jax.nn.softmax(self.logits)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return x * jax.nn.log_softmax(self.logits)

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return 2 * (xlogy(x, x) - self.log_prob(x))

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        drawn = jax.random.categorical(key, self.logits, shape=shape + self.logits.shape[:-1])
        return jax.nn.one_hot(drawn, self.logits.shape[-1], dtype=self.logits.dtype)


_MAX_LOG_MEAN = 85.0
"""The largest log-mean: e to this power, and its product with any count, are finite 32-bit numbers."""


def _beyond_linear(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return t − log(1 + t) ≥ 0, by its series where the two terms cancel."""
    series = jnp.zeros_like(t)
    for n in range(12, 1, -1):
        series = (-1) ** n / n + t * series
    small = jnp.abs(t) < 0.25
    return jnp.where(small, t * t * jnp.where(small, series, 0), t - jnp.log1p(t))


_SHIFT = 3
"""Γ is computed by its series at arguments larger by this, and by the recurrence from there."""


def _series(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the terms of Stirling's series of log Γ(y) beyond (y − ½)·log y − y + ½ log 2π; y is at least 3."""
    inverse = 1 / y
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


def _rising(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x·(x + 1)·…, of as many factors as the shift, each divided by x + shift, so that none overflows."""
    top, found = x + _SHIFT, jnp.ones_like(x)
    for i in range(_SHIFT):
        found = found * ((x + i) / top)
    return found


@jax.custom_jvp
def _log_ways(x: Float[Array, "..."], r: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log Γ(x + r) − log Γ(r) − log Γ(x + 1) for counts x and r > 0, elementwise; it has a slope in r.

    It costs a tenth of JAX's `betaln`. Of r and x + 1, b is the larger and a the smaller; then log Γ(a + b − 1) −
    log Γ(b) is a difference of two series, whose large terms cancel before they are computed.
    """
    a, b = jnp.minimum(r, x + 1), jnp.maximum(r, x + 1)
    low, high, total = a + _SHIFT, b + _SHIFT, x + r + _SHIFT
    change, log_low = jnp.log1p((a - 1) / high), jnp.log(low)
    growth = (a - 1) * (jnp.log(total) - 1) + (high - 0.5) * change + _series(total) - _series(high)
    of_a = (low - 0.5) * log_low - low + _HALF_LOG_2PI + _series(low)
    # Each rising product lacks powers of its shifted argument: they are the linear terms.
    products = jnp.log(_rising(x + r) / _rising(b) / _rising(a)) + _SHIFT * (change - log_low)
    return jnp.where(x > 0, growth - of_a - products, 0)


def _slope_of_log_ways(x: Float[Array, "..."], r: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return ψ(x + r) − ψ(r), where ψ is the derivative of log Γ."""
    low, total = r + _SHIFT, x + r + _SHIFT
    found = jnp.log1p(x / low)
    for y, sign in ((total, 1), (low, -1)):
        square = 1 / (y * y)
        found -= sign * (0.5 / y + square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240))))
    for i in range(_SHIFT):
        found += x / (x + r + i) / (r + i)
    return found


_log_ways.defjvps(None, lambda slope, _, x, r: _slope_of_log_ways(x, r) * slope)


class NegativeBinomial(Distribution):
    r"""A negative binomial distribution on 0, 1, 2, … with mean m and variance m + m²/r.

    It is a Poisson distribution whose rate is drawn from a gamma distribution. For r → ∞ it is a Poisson distribution.
    log p(x) = log Γ(x + r) − log Γ(r) − log x! + r · log(r/(r + m)) + x · log(m/(r + m))
    (Cameron & Trivedi 2013, section 3.3, "NB2"). For numbers that are not counts, log p(x) is −∞.

    >>> p = NegativeBinomial(jnp.zeros(1), jnp.ones(1))
    >>> float(eqx.filter_jit(p.log_prob)(jnp.zeros(1))[0])  # m = r = 1: log ½
    -0.6931...
    """

    log_mean: Float[Array, "*batch d"]
    concentration: Float[Array, "..."]
    """The concentration r, broadcast against ``log_mean``."""

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return jnp.exp(self.log_mean)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        # Both logarithms, −r·log(r/(r + m)) and −x·log(m/(r + m)), share log(1 + e to the power −|log m/r|).
        r, log_odds = self.concentration, self.log_mean - jnp.log(self.concentration)
        count = jnp.maximum(x, 0)
        lost = (r + count) * softplus(-jnp.abs(log_odds))
        lost += r * jnp.maximum(log_odds, 0) + count * jnp.maximum(-log_odds, 0)
        found = _log_ways(count, r) - lost
        return jnp.where(_is_count(x), found, -jnp.inf)

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        # The deviance is 2·(x·log(x/m) − (x + r)·log((x + r)/(m + r))), whose two terms cancel for large counts. With
        # u = (m − x)/(x + r) and s = (m − x)·r/(x·(m + r)) it is 2·(r·log(1 + u) − x·log(1 + s)). Near u = 0 the linear
        # terms of both logarithms are computed separately: see `_beyond_linear`.
        r, log_m = self.concentration, jnp.minimum(self.log_mean, _MAX_LOG_MEAN)
        m, known = jnp.exp(log_m), jnp.where(x > 0, x, 1)
        u, share = (m - x) / (x + r), r / (m + r)
        s = share * ((m - x) / known)
        log_of_parts = log_m - jnp.log(known) + jnp.log((x + r) / (m + r))
        log_s = jnp.where(s < -0.5, log_of_parts, jnp.log1p(jnp.maximum(s, -0.5)))
        far = r * jnp.log1p(jnp.maximum(u, -1 + 1e-7)) - jnp.where(x > 0, x * log_s, 0)
        beyond = jnp.where(s < -0.5, s - log_s, _beyond_linear(jnp.maximum(s, -0.5)))
        last = jnp.where(x > 0, x * beyond, share * m)
        near = share * (m - x) * u - r * _beyond_linear(jnp.clip(u, -0.5, 0.5)) + last
        found = 2 * jnp.maximum(jnp.where(jnp.abs(u) < 0.5, near, far), 0)
        return jnp.where(_is_count(x), found, jnp.inf)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        of_rate, of_count = jax.random.split(key)
        r = jnp.broadcast_to(self.concentration, shape + jnp.shape(self.log_mean))
        rate = jax.random.gamma(of_rate, r) * jnp.exp(self.log_mean - jnp.log(r))
        plain = jax.random.wrap_key_data(jax.random.key_data(of_count), impl="threefry2x32")  # `poisson` needs it
        return jax.random.poisson(plain, rate).astype(self.log_mean.dtype)


class ZeroInflated(Distribution):
    r"""A negative binomial distribution whose counts are replaced by 0 with probability π = sigmoid(logits).

    p(0) = π + (1 − π)·NB(0) and p(x) = (1 − π)·NB(x) for x > 0 (Lambert 1992; Lopez et al. 2018, methods).

    >>> p = ZeroInflated(NegativeBinomial(jnp.zeros(1), jnp.ones(1)), jnp.zeros(1))  # ½ + ½·½
    >>> float(jnp.exp(p.log_prob(jnp.zeros(1)))[0]), p.mean.tolist()
    (0.75, [0.5])
    """

    counts: NegativeBinomial
    logits: Float[Array, "*batch d"]

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return jax.nn.sigmoid(-self.logits) * self.counts.mean

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        others = self.counts.log_prob(x) - softplus(self.logits)
        return jnp.where(x > 0, others, jnp.logaddexp(-softplus(-self.logits), others))

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the deviance of the negative binomial with the same mean: that of the inflated one has no maximum."""
        log_mean = self.counts.log_mean - softplus(self.logits)
        return NegativeBinomial(log_mean, self.counts.concentration).deviance(x)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        of_count, of_zero = jax.random.split(key)
        counts = self.counts.sample(of_count, shape)
        return jnp.where(jax.random.bernoulli(of_zero, jax.nn.sigmoid(self.logits), counts.shape), 0, counts)


class Dirac(Distribution):
    """A distribution with all its mass at one point: the posterior of a deterministic code."""

    value: Float[Array, "*batch d"]

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return self.value

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.where(x == self.value, jnp.inf, -jnp.inf)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        return jnp.broadcast_to(self.value, shape + jnp.shape(self.value))


def split_columns(x: Shaped[Array, "..."], widths: Sequence[int]) -> list[Shaped[Array, "..."]]:
    """Split the last axis into blocks of the given widths."""
    return jnp.split(x, np.cumsum(widths)[:-1].tolist(), axis=-1)


class Joint(Distribution):
    """A product of independent distributions, one per block of coordinates on the last axis.

    >>> Joint((Bernoulli(jnp.zeros(1)), Normal(jnp.zeros(2), jnp.ones(2)))).mean.tolist()
    [0.5, 0.0, 0.0]
    """

    blocks: tuple[Distribution, ...]

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return jnp.concatenate([block.mean for block in self.blocks], axis=-1)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        pieces = zip(self.blocks, split_columns(x, [block.mean.shape[-1] for block in self.blocks]), strict=True)
        return jnp.concatenate([block.log_prob(piece) for block, piece in pieces], axis=-1)

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        pieces = zip(self.blocks, split_columns(x, [block.mean.shape[-1] for block in self.blocks]), strict=True)
        return jnp.concatenate([block.deviance(piece) for block, piece in pieces], axis=-1)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        keys = jax.random.split(key, len(self.blocks))
        return jnp.concatenate([block.sample(k, shape) for k, block in zip(keys, self.blocks, strict=True)], axis=-1)


class Mixture(Distribution):
    r"""A mixture Σ_m w_m·N(loc_m, diag scale_m²) of m normal distributions over d coordinates.

    `log_prob` returns the terms log p(x_j | x_1 … x_{j−1}) of the chain rule, whose sum is the log-density of a row.

    >>> mixture = Mixture(Normal(jnp.array([[-2.0], [2.0]]), jnp.ones((2, 1))), jnp.log(jnp.array([0.5, 0.5])))
    >>> log_p = eqx.filter_jit(mixture.log_prob)(jnp.array([2.0]))
    >>> mixture.mean.tolist(), round(float(log_p[0]), 2)  # log ½ N(2 | 2, 1)
    ([0.0], -1.61)
    """

    components: Normal
    """m normal distributions: (m, d)."""
    log_weights: Float[Array, " m"]
    """log w, normalised."""

    @property
    def mean(self) -> Float[Array, " d"]:
        return jnp.exp(self.log_weights) @ self.components.mean

    def log_prob(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        each = jnp.cumsum(self.components.log_prob(x[..., None, :]), axis=-1) + self.log_weights[:, None]
        so_far = jax.nn.logsumexp(each, axis=-2)
        return jnp.diff(so_far, axis=-1, prepend=0)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "*batch d"]:
        which, noise = jax.random.split(key)
        chosen = jax.random.categorical(which, self.log_weights, shape=shape)
        loc, scale = (part[chosen] for part in jnp.broadcast_arrays(self.components.loc, self.components.scale))
        return Normal(loc, scale).sample(noise)


class Conditional(Distribution):
    r"""A product p(a)·p(b | a) over two blocks of coordinates, stored in the order (a, b) or (b, a).

    >>> joint = Conditional(Normal(jnp.zeros(1), jnp.ones(1)), lambda a: Normal(3 * a, jnp.ones(1)))
    >>> joint.mean.tolist(), [round(term, 2) for term in joint.log_prob(jnp.array([1.0, 3.0])).tolist()]
    ([0.0, 0.0], [-1.42, -0.92])
    """

    first: Distribution
    """p(a)."""
    then: Callable[[Array], Distribution]
    """Function from a to p(b | a)."""
    first_last: bool = eqx.field(static=True, default=False)
    """Whether a is the last block of a row, and not the first."""

    def _joined(self, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.concatenate([b, a] if self.first_last else [a, b], axis=-1)

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        """The mean of a, and that of b given this a."""
        a = self.first.mean
        return self._joined(a, self.then(a).mean)

    def log_prob(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        size = self.first.mean.shape[-1]
        one, other = split_columns(x, (x.shape[-1] - size, size) if self.first_last else (size, x.shape[-1] - size))
        a, b = (other, one) if self.first_last else (one, other)
        return self._joined(jnp.broadcast_to(self.first.log_prob(a), a.shape), self.then(a).log_prob(b))

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        of_a, of_b = jax.random.split(key)
        a = self.first.sample(of_a, shape)
        return self._joined(a, self.then(a).sample(of_b))


class Given(Distribution):
    """A distribution of rows in which some features are known: they have their values, and add nothing to log p."""

    others: Distribution
    """The distribution of all features, of which those of the known ones are not used."""
    row: Float[Array, "*batch d"]
    known: Bool[Array, " d"]

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        return jnp.where(self.known, self.row, self.others.mean)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.where(self.known, 0, self.others.log_prob(x))

    def deviance(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.where(self.known, 0, self.others.deviance(x))

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        return jnp.where(self.known, self.row, self.others.sample(key, shape))


def kl_divergence(q: Distribution, p: Distribution, z: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Return KL(q‖p) per coordinate, in nats: in closed form, or as log q(z) − log p(z) at samples z ~ q.

    The closed form, used for two normals, is log(σ_p/σ_q) + (σ_q² + (μ_q − μ_p)²) / (2σ_p²) − ½ (Kingma & Welling 2014,
    appendix B). The sample form, used for all other pairs, keeps the leading sample axis of ``z``.
    """
    if isinstance(q, Normal) and isinstance(p, Normal):
        ratio = jnp.square(q.scale / p.scale)
        return 0.5 * (ratio + jnp.square((q.loc - p.loc) / p.scale) - 1.0 - jnp.log(ratio))
    return q.log_prob(z) - p.log_prob(z)


def kl_bernoulli(rho: Float[Array, "..."], rho_hat: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Return KL(ρ‖ρ̂) = ρ log(ρ/ρ̂) + (1−ρ) log((1−ρ)/(1−ρ̂)) between two Bernoulli means in (0, 1), in nats.

    >>> float(jax.jit(kl_bernoulli)(0.5, 0.5))
    0.0
    """
    return rho * (jnp.log(rho) - jnp.log(rho_hat)) + (1 - rho) * (jnp.log1p(-rho) - jnp.log1p(-rho_hat))
