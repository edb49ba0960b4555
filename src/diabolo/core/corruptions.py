r"""Corruptions x̃ = g(x | θ), applied to rows before the encoder reads them. The target stays the clean x.

Every corruption maps (n, d) to (n, d). It acts during training only: `transform`, `reconstruct` and `score_samples`
never corrupt rows. Levels are in the units that the network reads, that is, after the estimator's scaling; those of
`InDataUnits` are in the units of the user's rows.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..errors import InvalidPart
from .component import Component, choice_field, component_field, component_tuple_field, float_field

__all__ = [
    "Chain",
    "Corruption",
    "GaussianNoise",
    "InDataUnits",
    "MaskCells",
    "Masking",
    "NoCorruption",
    "RandomChoice",
    "SaltAndPepper",
]

Rows = Float[Array, "n d"]
Bound = Float[Array, " d"]


class Corruption(Component, role="corruption"):
    """A random map from rows to rows."""

    @property
    def produces_missing(self) -> bool:
        """Whether the corruption sets cells to missing (NaN); the encoder then reads a mask of the missing cells."""
        return False

    @abstractmethod
    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        """Corrupt a batch of rows, (n, d) → (n, d)."""

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        """Return a copy fitted to the training data's bounds: minimum and maximum of each feature, each (d,)."""
        return self

    def fit_units(self, offset: Bound, scale: Bound) -> Self:
        """Return a copy fitted to the scaling of each feature: the user's number is x·scale + offset, each (d,)."""
        return self

    def scale_level(self, factor: float) -> Corruption | None:
        """Return a copy with its level multiplied by ``factor`` (a probability: at most 1); None if it has no level."""
        return None


@dataclass(frozen=True)
class NoCorruption(Corruption):
    """No corruption: x̃ = x."""

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        return x


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    r"""Additive Gaussian noise: x̃ = x + ε, ε ~ N(0, σ²).

    Parameters
    ----------
    sigma : float in [0, inf), default=0.3
        σ, the standard deviation of the noise, in scaled units: 1 is the standard deviation of a standardised column.
        In ``InDataUnits(GaussianNoise(sigma))``, σ is in the user's units.
    features : {"all", "varying"}, default="all"
        "all": add noise to every feature. "varying": leave features that are constant in the training data unchanged.

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
    r"""Salt-and-pepper noise: each cell is x with probability 1 − p, v_min with p/2, v_max with p/2.

    Parameters
    ----------
    p : float in [0, 1], default=0.3
        The probability that a cell is replaced.
    low, high : float or None, default=None
        v_min and v_max, in scaled units, or in the user's units within `InDataUnits`. None: each feature's minimum and
        maximum in the training data.

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
            raise InvalidPart("SaltAndPepper has no bounds. Set low and high, or call fit_bounds(low, high) first.")
        u = jax.random.uniform(key, x.shape, x.dtype)
        return jnp.where(u < self.p / 2, self.low, jnp.where(u < self.p, self.high, x))

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        return self.replace(low=low if self.low is None else self.low, high=high if self.high is None else self.high)

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(p=min(1.0, self.p * factor))


@dataclass(frozen=True)
class Masking(Corruption):
    r"""Masking noise: x̃ = x · m, m ~ Bernoulli(1 − p) for each cell.

    Parameters
    ----------
    p : float in [0, 1], default=0.3
        The probability that a cell is set to 0 in scaled units: black in an image, the column's mean in standardised
        data. ``InDataUnits(Masking(p))`` sets cells to 0 in the user's units.

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
    r"""Random missing cells: x̃ = x where m = 1, missing (NaN) where m = 0, m ~ Bernoulli(1 − p) for each cell.

    Unlike `Masking`, the encoder also reads the mask of missing cells. The masked cells stay targets of the likelihood,
    so that the network learns to predict each cell from any subset of the others. The fitted model can therefore impute
    missing cells, even if the training rows have none.

    Parameters
    ----------
    p : float in [0, 1], default=0.3
        The probability that a cell is set to missing.

    References
    ----------
    Vincent et al. (2008), section 2.3; for the mask as further inputs: Nazábal et al. (2020), section 3.1.

    Examples
    --------
    >>> MaskCells(1.0)(jax.random.key(0), jnp.ones((1, 2))).tolist()
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
    """Several corruptions applied in sequence, each with its own random key.

    Parameters
    ----------
    steps : tuple of Corruption, default=()
        The corruptions, in the order of their application.

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

    def fit_units(self, offset: Bound, scale: Bound) -> Self:
        return self.replace(steps=tuple(step.fit_units(offset, scale) for step in self.steps))

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(steps=_scale_levels(self.steps, factor))


@dataclass(frozen=True)
class RandomChoice(Corruption):
    """One of several corruptions, drawn uniformly for each row: for a denoiser that must handle an unknown level.

    Parameters
    ----------
    options : tuple of Corruption
        The corruptions to choose from; at least one.

    Raises
    ------
    InvalidPart
        If ``options`` is empty.

    Examples
    --------
    >>> choice = RandomChoice((Masking(1.0), SaltAndPepper(1.0, 1.0, 1.0)))
    >>> jax.jit(choice)(jax.random.key(0), jnp.full((3, 2), 5.0)).tolist()
    [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    """

    options: tuple[Corruption, ...] = component_tuple_field(Corruption, (NoCorruption(),))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.options:
            raise InvalidPart("RandomChoice.options is empty. Give at least one Corruption.")

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

    def fit_units(self, offset: Bound, scale: Bound) -> Self:
        return self.replace(options=tuple(option.fit_units(offset, scale) for option in self.options))

    def scale_level(self, factor: float) -> Corruption | None:
        return self.replace(options=_scale_levels(self.options, factor))


@dataclass(frozen=True)
class InDataUnits(Corruption):
    r"""A corruption of the user's rows: its levels and values are in the units of the data, not in scaled units.

    x̃ = s⁻¹(g(s(x))), where s maps scaled rows to the user's units. For example, ``InDataUnits(GaussianNoise(2.0))``
    adds noise with a standard deviation of 2 in the unit of each column, and ``InDataUnits(Masking(0.1))`` sets cells
    to the user's 0.

    Parameters
    ----------
    corruption : Corruption
        g, the corruption.
    offset, scale : float or None, default=None
        The user's number is x·scale + offset. None: the scaling that the estimator has fitted to the training rows.

    Examples
    --------
    >>> InDataUnits(Masking(1.0), offset=10.0, scale=2.0)(jax.random.key(0), jnp.ones((1, 2))).tolist()
    [[-5.0, -5.0]]
    """

    corruption: Corruption = component_field(Corruption, NoCorruption())
    offset: float | None = float_field(None)
    scale: float | None = float_field(None)

    @property
    def produces_missing(self) -> bool:
        return self.corruption.produces_missing

    def __call__(self, key: PRNGKeyArray, x: Rows) -> Rows:
        if self.offset is None or self.scale is None:
            raise InvalidPart(
                "InDataUnits has no scaling. Set offset and scale, or call fit_units(offset, scale) first."
            )
        given = x * self.scale + self.offset
        # The change is added to x, so that cells which do not change are not rounded to 32 bits of the user's units.
        return x + (self.corruption(key, given) - given) / self.scale

    def fit_units(self, offset: Bound, scale: Bound) -> Self:
        return self.replace(
            offset=offset if self.offset is None else self.offset, scale=scale if self.scale is None else self.scale
        )

    def fit_bounds(self, low: Bound, high: Bound) -> Self:
        if self.offset is None or self.scale is None:
            return self
        return self.replace(
            corruption=self.corruption.fit_bounds(low * self.scale + self.offset, high * self.scale + self.offset)
        )

    def scale_level(self, factor: float) -> Corruption | None:
        scaled = self.corruption.scale_level(factor)
        return None if scaled is None else self.replace(corruption=scaled)


def _scale_levels(corruptions: tuple[Corruption, ...], factor: float) -> tuple[Corruption, ...]:
    return tuple(corruption.scale_level(factor) or corruption for corruption in corruptions)
