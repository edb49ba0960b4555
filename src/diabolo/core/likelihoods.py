r"""L(x | z; Θ): what the decoder's output η says about a row. A likelihood turns η into the density p(x | z).

Densities are normalised, in nats. The reconstruction x̂ is the density's mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..errors import InvalidPart
from . import distributions
from .activations import softplus
from .component import Component, component_tuple_field, float_field, int_tuple_field
from .distributions import Distribution
from .layers import Fixed

__all__ = [
    "Bernoulli",
    "Categorical",
    "ColumnwiseLikelihood",
    "Gaussian",
    "HeteroscedasticGaussian",
    "LearnedGaussian",
    "Likelihood",
    "NegativeBinomial",
    "by_column",
]

Own = dict[str, Any]
"""Arrays by name; those that are not trained as `core.layers.Fixed`."""
Support = Literal["real", "unit", "count"]


class Likelihood(Component, role="likelihood"):
    """From the decoder's output (…, n_outputs) to a density over rows (…, d)."""

    support: ClassVar[Support]
    """Which values a feature may take: any real number, [0, 1], or 0, 1, 2, …"""
    discrete: ClassVar[bool]
    """Whether the density is a probability mass, which no change of units rescales."""

    def n_outputs(self, n_features: int) -> int:
        """How many numbers the decoder gives for each row: one for each feature, unless refined."""
        return n_features

    def supports(self, n_features: int) -> tuple[Support, ...]:
        """Which values each feature may take: all the same, unless refined."""
        return (self.support,) * n_features

    def transform_input(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """What an encoder reads in place of rows of such values: they themselves, unless refined."""
        return x

    def expand_mask(self, chosen: Bool[Array, "*batch d"]) -> Bool[Array, "*batch d"]:
        """A choice among a row's numbers, brought to whole cells: each number is one, unless refined."""
        return chosen

    def build(self, n_features: int) -> Own:
        """The likelihood's own weights, those that do not depend on z: none, unless refined."""
        return {}

    @abstractmethod
    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        """p(x | z)."""


@dataclass(frozen=True)
class Gaussian(Likelihood):
    r"""p(x | z) = N(x̂, σ² I) with x̂ = η and σ given.

    With the default σ² = ½, −log p = ‖x − x̂‖² + (d/2)·log π: the lecture's squared error, in nats.

    Parameters
    ----------
    sigma : float in (0, inf), default=√½
        σ, in scaled units.

    Examples
    --------
    >>> p = Gaussian()(jnp.zeros((1, 2)), {})
    >>> round(float(-p.log_prob(jnp.ones((1, 2))).sum() - jnp.log(jnp.pi)), 5)  # ‖(1, 1) − (0, 0)‖²
    2.0
    """

    support: ClassVar[Support] = "real"
    discrete: ClassVar[bool] = False
    sigma: float = float_field(0.5**0.5, "(0, inf)")

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Normal(eta, jnp.asarray(self.sigma))


@dataclass(frozen=True)
class LearnedGaussian(Likelihood):
    r"""p(x | z) = N(x̂, diag σ²) with x̂ = η and σ learned: one weight per feature, shared by all rows.

    σ decides how much a feature's error weighs against the KL term, and no fixed value is right for all data. σ starts
    at 1.

    Parameters
    ----------
    floor : float in (0, 1), default=1e-4
        The smallest σ, in scaled units, so that the density of a feature that follows from others stays bounded. An
        estimator raises it for features of repeated values to their resolution, and to 1e-3 for constant ones.

    References
    ----------
    Rybkin, Daniilidis & Levine (2021), "Simple and Effective VAE Training with Calibrated Decoders", section 3.

    Examples
    --------
    >>> part = LearnedGaussian()
    >>> round(float(part(jnp.zeros((1, 1)), part.build(1)).log_prob(jnp.zeros((1, 1)))[0, 0]), 4)  # −½ log 2π
    -0.9189
    """

    support: ClassVar[Support] = "real"
    discrete: ClassVar[bool] = False
    floor: float = float_field(1e-4, "(0, 1)")

    def build(self, n_features: int) -> Own:
        floor = Fixed(jax.device_put(np.full(n_features, self.floor, np.float32)))
        return {"spread": _learned_from_one(n_features, self.floor), "floor": floor}

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Normal(eta, softplus(own["spread"]) + own["floor"].value)


@dataclass(frozen=True)
class HeteroscedasticGaussian(LearnedGaussian):
    r"""p(x | z) = N(x̂(z), diag σ²(z)): each feature's σ is learned, and differs from row to row.

    The default of a variational model on real numbers: rows of different kinds seldom have errors of one size. The
    decoder gives x̂ and δ, and σ(z) = σ·exp(tanh δ(z)), above the floor, with a learned σ for each feature as in
    `LearnedGaussian`. Within a factor of e of it σ(z) can follow the rows, yet a row unlike those learned from is not
    infinitely improbable.

    Parameters
    ----------
    floor : float in (0, 1), default=1e-4
        The smallest σ(z), in scaled units; see `LearnedGaussian`.

    References
    ----------
    Kingma & Welling (2014), appendix C.2, for a decoder that gives σ(z); Mattei & Frellsen (2018), "Leveraging the
    Exact Likelihood of Deep Latent Variable Models", for why σ(z) must have a bound.

    Examples
    --------
    >>> part = HeteroscedasticGaussian()
    >>> p = part(jnp.array([[0.0, 0.0], [0.0, 9.0]]), part.build(1))  # x̂ and δ of two rows
    >>> p.scale.round(2).tolist()
    [[1.0], [2.7...]]
    """

    def n_outputs(self, n_features: int) -> int:
        return 2 * n_features

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        mean, delta = distributions.split_columns(eta, (eta.shape[-1] // 2,) * 2)
        return distributions.Normal(mean, softplus(own["spread"]) * jnp.exp(jnp.tanh(delta)) + own["floor"].value)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    r"""p(x | z) = Bernoulli(sigmoid(η)), feature by feature; x̂ = sigmoid(η).

    On {0, 1} a normalised probability; on grey values in (0, 1) the usual cross-entropy, which is not.

    Examples
    --------
    >>> Bernoulli()(jnp.zeros((1, 2)), {}).mean.tolist()
    [[0.5, 0.5]]
    """

    support: ClassVar[Support] = "unit"
    discrete: ClassVar[bool] = True

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Bernoulli(eta)


@dataclass(frozen=True)
class Categorical(Likelihood):
    r"""p(x | z) = softmax(η)ᵢ for a row x of d numbers of which the i-th is 1, the others 0; x̂ = softmax(η).

    −log p is the cross-entropy of a classifier.

    Examples
    --------
    >>> Categorical()(jnp.zeros((1, 4)), {}).mean.tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    support: ClassVar[Support] = "unit"
    discrete: ClassVar[bool] = True

    def expand_mask(self, chosen: Bool[Array, "*batch d"]) -> Bool[Array, "*batch d"]:
        return jnp.broadcast_to(chosen[..., :1], chosen.shape)

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.Categorical(eta)


@dataclass(frozen=True)
class NegativeBinomial(Likelihood):
    r"""p(x | z) = NegativeBinomial(mean e^η, concentration r) on 0, 1, 2, …, r learned: one for each feature.

    Counts in tables vary more than a Poisson's; r → ∞ is the Poisson. Rows are not scaled; an encoder reads log(1 + x).

    Parameters
    ----------
    floor : float in (0, 1), default=1e-3
        The smallest r.

    References
    ----------
    Cameron & Trivedi (2013), "Regression Analysis of Count Data", section 3.3; Lopez et al. (2018), "Deep generative
    modeling for single-cell transcriptomics", for such a likelihood in a variational autoencoder.

    Examples
    --------
    >>> part = Count()
    >>> part(jnp.zeros((1, 2)), part.build(2)).mean.tolist()
    [[1.0, 1.0]]
    """

    support: ClassVar[Support] = "count"
    discrete: ClassVar[bool] = True
    floor: float = float_field(1e-3, "(0, 1)")

    def transform_input(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return jnp.log1p(jnp.maximum(x, 0))  # corrupted rows may lie below

    def build(self, n_features: int) -> Own:
        return {"concentration": _learned_from_one(n_features, self.floor)}

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.NegativeBinomial(eta, softplus(own["concentration"]) + self.floor)


@dataclass(frozen=True)
class ColumnwiseLikelihood(Likelihood):
    r"""p(x | z) = Π p_b(x_b | z): neighbouring columns of one kind are a block, each with a likelihood of its own.

    Each is normalised, so that log p is in nats and columns weigh by what they tell, whatever their scale.

    Parameters
    ----------
    blocks : tuple of Likelihood
    widths : tuple of int
        How many columns each block has.

    Raises
    ------
    InvalidPart
        If there are not as many widths as blocks; by ``build``, if they do not make up a row.

    Examples
    --------
    >>> part = Mixed((LearnedGaussian(), Bernoulli(), Categorical()), (2, 1, 3))
    >>> part(jnp.zeros((1, part.n_outputs(6))), part.build(6)).mean.round(2).tolist()
    [[0.0, 0.0, 0.5, 0.3..., 0.3..., 0.3...]]
    """

    discrete: ClassVar[bool] = False
    blocks: tuple[Likelihood, ...] = component_tuple_field(Likelihood)
    widths: tuple[int, ...] = int_tuple_field(())

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.blocks) != len(self.widths):
            raise InvalidPart(
                f"Mixed has {len(self.blocks)} blocks, but {len(self.widths)} widths. Give the width of each block."
            )

    def _of(self, n_features: int) -> Iterator[tuple[Likelihood, int]]:
        if sum(self.widths) != n_features:
            raise InvalidPart(
                f"The blocks of {self!r} have {sum(self.widths)} columns together, but rows have {n_features}."
            )
        return zip(self.blocks, self.widths, strict=True)

    def n_outputs(self, n_features: int) -> int:
        return sum(block.n_outputs(width) for block, width in self._of(n_features))

    def supports(self, n_features: int) -> tuple[Support, ...]:
        return tuple(support for block, width in self._of(n_features) for support in block.supports(width))

    def transform_input(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        pieces = zip(self.blocks, distributions.split_columns(x, self.widths), strict=True)
        return jnp.concatenate([block.transform_input(piece) for block, piece in pieces], axis=-1)

    def expand_mask(self, chosen: Bool[Array, "*batch d"]) -> Bool[Array, "*batch d"]:
        pieces = zip(self.blocks, distributions.split_columns(chosen, self.widths), strict=True)
        return jnp.concatenate([block.expand_mask(piece) for block, piece in pieces], axis=-1)

    def build(self, n_features: int) -> Own:
        own = enumerate(block.build(width) for block, width in self._of(n_features))
        return {f"{i}.{name}": value for i, some in own for name, value in some.items()}

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        sizes = tuple(block.n_outputs(width) for block, width in zip(self.blocks, self.widths, strict=True))
        found = []
        for i, (block, piece) in enumerate(zip(self.blocks, distributions.split_columns(eta, sizes), strict=True)):
            its_own = {name.removeprefix(f"{i}."): value for name, value in own.items() if name.startswith(f"{i}.")}
            found.append(block(piece, its_own))
        return distributions.Joint(tuple(found))


_BY_KIND: dict[str, Likelihood] = {"boolean": Bernoulli(), "count": NegativeBinomial(), "category": Categorical()}


def by_column(blocks: Sequence[tuple[str, int]], numbers: Likelihood) -> ColumnwiseLikelihood:
    """The likelihood of a table's encoded rows: each kind of column has its own, numbers the one given.

    >>> by_column([("number", 2), ("category", 3)], LearnedGaussian())
    Mixed(blocks=(LearnedGaussian(floor=0.0001), Categorical()), widths=(2, 3))
    """
    return ColumnwiseLikelihood(
        tuple(_BY_KIND.get(kind, numbers) for kind, _ in blocks), tuple(width for _, width in blocks)
    )


def _learned_from_one(n_features: int, floor: float) -> Float[Array, " d"]:
    """What softplus(…) + floor makes 1, for each feature."""
    return jax.device_put(np.full(n_features, np.log(np.expm1(1.0 - floor)), np.float32))
