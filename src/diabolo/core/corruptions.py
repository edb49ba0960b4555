r"""x̃ = g(x | θ): what is done to a row before the encoder sees it. The target stays the clean x.

Every corruption maps (n, d) to (n, d). It acts during training only; `transform`, `reconstruct` and `score_samples`
never corrupt. Levels are in the units the network sees, that is after the estimator's scaling.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..errors import InvalidPart
from .component import Component, choice_field, component_tuple_field, float_field

__all__ = [
    "Chain",
    "Corruption",
    "GaussianNoise",
    "MaskCells",
    "Masking",
    "NoCorruption",
    "RandomChoice",
    "SaltAndPepper",
]

Rows = Float[Array, "n d"]
Bound = Float[Array, " d"]


class Corruption(Component, role="corruption"):
    """A random map of rows to rows."""

    @property
    def produces_missing(self) -> bool:
        """Whether it makes cells missing, NaN; the encoder is then told which are."""
        return False

    @abstractmethod
    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        """Corrupt a batch, (n, d) → (n, d)."""

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        """A copy that has learned what it needs from the training data's bounds per feature, each (d,)."""
        return self

    def scale_level(self, factor: float) -> Corruption | None:
        """The same with its level multiplied, a share at most by what makes it 1; None, if it has no level."""
        return None


@dataclass(frozen=True)
class NoCorruption(Corruption):
    """x̃ = x."""

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        return x


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    r"""x̃ = x + ε, ε ~ N(0, σ²).

    Parameters
    ----------
    sigma : float in [0, inf), default=0.3
        σ, the noise's standard deviation, in scaled units.
    features : {"all", "varying"}, default="all"
        "varying": features that are constant in the training data stay as they are.

    References
    ----------
    Vincent et al. (2010), "Stacked Denoising Autoencoders", JMLR 11, section 3.3.

    Examples
    --------
    >>> GaussianNoise(0.0)(jax.random.key(0), jnp.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    sigma: float = float_field(0.3, "[0, inf)")
    features: str = choice_field("all", ("all", "varying"))

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        return x + self.sigma * jax.random.normal(key, x.shape, x.dtype)

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        return self if self.features == "all" else self.replace(sigma=self.sigma * (high > low))

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(sigma=self.sigma * factor)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    r"""x̃ = x with probability 1 − p, v_min with p/2, v_max with p/2, cell by cell.

    Parameters
    ----------
    p : float in [0, 1], default=0.3
        The share of cells that are replaced.
    low, high : float or None, default=None
        v_min and v_max. None: each feature's own minimum and maximum in the training data.

    References
    ----------
    Vincent et al. (2010), section 3.3.

    Examples
    --------
    >>> SaltAndPepper(1.0, low=-1.0, high=-1.0)(jax.random.key(0), jnp.ones((1, 2))).tolist()
    [[-1.0, -1.0]]
    """

    p: float = float_field(0.3, "[0, 1]")
    low: float | None = float_field(None)
    high: float | None = float_field(None)

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        if self.low is None or self.high is None:
            raise InvalidPart("SaltAndPepper has no bounds yet: give low and high, or call bind(low, high) first.")
        u = jax.random.uniform(key, x.shape, x.dtype)
        return jnp.where(u < self.p / 2, self.low, jnp.where(u < self.p, self.high, x))

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        return self.replace(low=low if self.low is None else self.low, high=high if self.high is None else self.high)

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(p=min(1.0, self.p * factor))


@dataclass(frozen=True)
class Masking(Corruption):
    r"""x̃ = x · m, m ~ Bernoulli(1 − p), cell by cell.

    Parameters
    ----------
    p : float in [0, 1], default=0.3
        The share of cells set to 0: black in an image, the column's mean in standardised data.

    References
    ----------
    Vincent et al. (2008), "Extracting and Composing Robust Features", section 2.3.

    Examples
    --------
    >>> Masking(1.0)(jax.random.key(0), jnp.ones((1, 2))).tolist()
    [[0.0, 0.0]]
    """

    p: float = float_field(0.3, "[0, 1]")

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        return x * jax.random.bernoulli(key, 1.0 - self.p, x.shape).astype(x.dtype)

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(p=min(1.0, self.p * factor))


@dataclass(frozen=True)
class MaskCells(Corruption):
    r"""x̃ = x where m = 1, and not known where m = 0, m ~ Bernoulli(1 − p), cell by cell.

    Unlike `Masking`, the encoder is told which cells are hidden. The likelihood is asked about them all the same, so
    that the network learns each cell from any of the others: a model that fills missing cells, also of rows that have
    none while it is fitted.

    Parameters
    ----------
    p : float in [0, 1], default=0.3
        The share of cells that are hidden.

    References
    ----------
    Vincent et al. (2008), section 2.3; the flags beside the row: Nazábal et al. (2020), section 3.1.

    Examples
    --------
    >>> Missing(1.0)(jax.random.key(0), jnp.ones((1, 2))).tolist()
    [[nan, nan]]
    """

    p: float = float_field(0.3, "[0, 1]")

    @property
    def produces_missing(self) -> bool:
        return True

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        return jnp.where(jax.random.bernoulli(key, self.p, x.shape), jnp.nan, x)

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(p=min(1.0, self.p * factor))


@dataclass(frozen=True)
class Chain(Corruption):
    """Several corruptions, one after another, each with a key of its own.

    Examples
    --------
    >>> Chain((GaussianNoise(0.1), Masking(1.0)))(jax.random.key(0), jnp.ones((1, 2))).tolist()
    [[0.0, 0.0]]
    """

    steps: tuple[Corruption, ...] = component_tuple_field(Corruption)

    @property
    def produces_missing(self) -> bool:
        return any(step.produces_missing for step in self.steps)

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        for i, step in enumerate(self.steps):
            x = step(jax.random.fold_in(key, i), x)
        return x

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        return self.replace(steps=tuple(step.fit_bounds(low, high) for step in self.steps))

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(steps=_all_times(self.steps, factor))


@dataclass(frozen=True)
class RandomChoice(Corruption):
    """For each row one of several corruptions, each as likely as the others: for a denoiser that is told no level.

    Parameters
    ----------
    options : tuple of Corruption
        At least one.

    Examples
    --------
    >>> OneOf((Masking(1.0), SaltAndPepper(1.0, 1.0, 1.0)))(jax.random.key(0), jnp.full((3, 2), 5.0)).tolist()
    [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    """

    options: tuple[Corruption, ...] = component_tuple_field(Corruption, (NoCorruption(),))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.options:
            raise InvalidPart("OneOf.options must hold at least one Corruption; got none.")

    @property
    def produces_missing(self) -> bool:
        return any(option.produces_missing for option in self.options)

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        chosen = jax.random.randint(jax.random.fold_in(key, len(self.options)), (len(x), 1), 0, len(self.options))
        corrupted = x
        for i, option in enumerate(self.options):
            corrupted = jnp.where(chosen == i, option(jax.random.fold_in(key, i), x), corrupted)
        return corrupted

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        return self.replace(options=tuple(option.fit_bounds(low, high) for option in self.options))

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(options=_all_times(self.options, factor))


def _all_times(some: tuple[Corruption, ...], factor: float) -> tuple[Corruption, ...]:
    return tuple(one.scale_level(factor) or one for one in some)
