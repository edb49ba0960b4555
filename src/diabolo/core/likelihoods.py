r"""Likelihoods L(x | z; Θ): the map from the decoder's output η to the density p(x | z) of a row.

Densities are normalised; log-densities are in nats. The reconstruction x̂ is the mean of the density.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..errors import InvalidPart
from . import distributions
from .activations import softplus
from .component import Component, choice_field, component_tuple_field, float_field, int_field, int_tuple_field
from .distributions import Distribution
from .forward import Own
from .layers import Fixed

__all__ = [
    "Bernoulli",
    "Categorical",
    "ColumnwiseLikelihood",
    "Gaussian",
    "GeneCounts",
    "HeteroscedasticGaussian",
    "LearnedGaussian",
    "Likelihood",
    "NegativeBinomial",
    "by_column",
]

Support = Literal["real", "unit", "count", "positive"]


class Likelihood(Component, role="likelihood"):
    """A map from the decoder's output, (…, n_outputs), to a density over rows, (…, d)."""

    support: ClassVar[Support]
    """The values that a feature may take: "real" is any real number, "unit" is [0, 1], "count" is 0, 1, 2, …,
    "positive" is (0, inf)."""
    discrete: ClassVar[bool]
    """Whether p(x | z) is a probability mass function, which does not change with the units of x."""

    def n_outputs(self, n_features: int) -> int:
        """Return the number of decoder outputs per row. By default: one per feature."""
        return n_features

    def supports(self, n_features: int) -> tuple[Support, ...]:
        """Return the support of each feature. By default: the same for all features."""
        return (self.support,) * n_features

    def transform_input(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """Transform rows into the values that the encoder reads. By default: the rows themselves."""
        return x

    def expand_mask(self, chosen: Bool[Array, "*batch d"]) -> Bool[Array, "*batch d"]:
        """Expand a mask of features to whole cells of the table. By default: each feature is one cell."""
        return chosen

    def build(self, n_features: int) -> Own:
        """Return the likelihood's own weights, which do not depend on z. By default: none."""
        return {}

    def own_condition(self, n_features: int) -> tuple[int, ...]:
        """Return the positions of features of the condition that only `given` reads, and not the decoder."""
        return ()

    @abstractmethod
    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        """Return the density p(x | z)."""

    def given(self, eta: Float[Array, "*batch m"], own: Own, rows: Float[Array, "*rows d"]) -> Distribution:
        """Return the density p(x | z, c) given rows, whose other features may be missing. By default: without them."""
        return self(eta, own)


@dataclass(frozen=True)
class Gaussian(Likelihood):
    r"""A Gaussian p(x | z) = N(x̂, σ² I) with x̂ = η and a fixed σ.

    With the default σ² = ½, −log p = ‖x − x̂‖² + (d/2)·log π: the lecture's squared error plus a constant, in nats.

    Parameters
    ----------
    sigma : float in (0, inf), default=√½
        σ, the standard deviation, in scaled units.

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
    r"""A Gaussian p(x | z) = N(x̂, diag σ²) with x̂ = η and a learned σ: one per feature, shared by all rows.

    σ sets the weight of a feature's error relative to the KL term; no fixed value suits all data. Training starts at
    σ = 1.

    Parameters
    ----------
    floor : float in (0, 1), default=1e-4
        The smallest σ, in scaled units. It bounds the density of a feature that is a function of other features. An
        estimator raises the floor of a feature with repeated values to the feature's resolution, and the floor of a
        constant feature to 1e-3.

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
    r"""A Gaussian p(x | z) = N(x̂(z), diag σ²(z)) with a learned σ for each feature and each row.

    This is the default likelihood of a variational model for real numbers, because the size of the error usually
    differs between rows. The decoder returns x̂ and δ; σ(z) = σ·exp(tanh δ(z)) + floor, with one learned σ per feature
    as in `LearnedGaussian`. The bound of a factor of e around σ keeps the density of a row that is unlike the training
    rows from falling without limit.

    Parameters
    ----------
    floor : float in (0, 1), default=1e-4
        The smallest σ(z), in scaled units; see `LearnedGaussian`.

    References
    ----------
    Kingma & Welling (2014), appendix C.2, for a decoder that returns σ(z); Mattei & Frellsen (2018), "Leveraging the
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
    r"""A Bernoulli p(x | z) = Bernoulli(sigmoid(η)) for each feature; x̂ = sigmoid(η).

    For values in {0, 1}, p is a normalised probability. For grey values in (0, 1), −log p is the usual cross-entropy,
    which is not a normalised density.

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
    r"""A categorical p(x | z) = softmax(η)ᵢ for one-hot rows x of d numbers, xᵢ = 1; x̂ = softmax(η).

    −log p is the cross-entropy loss of a classifier.

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
    r"""A negative binomial p(x | z) with mean e^η and concentration r on 0, 1, 2, …; r is learned, one per feature.

    Counts in tables usually vary more than a Poisson distribution allows; r → ∞ is the Poisson. Counts are not scaled;
    the encoder reads log(1 + x).

    Parameters
    ----------
    floor : float in (0, 1), default=1e-3
        The smallest concentration r.

    References
    ----------
    Cameron & Trivedi (2013), "Regression Analysis of Count Data", section 3.3; Lopez et al. (2018), "Deep generative
    modeling for single-cell transcriptomics", for this likelihood in a variational autoencoder.

    Examples
    --------
    >>> part = NegativeBinomial()
    >>> part(jnp.zeros((1, 2)), part.build(2)).mean.tolist()
    [[1.0, 1.0]]
    """

    support: ClassVar[Support] = "count"
    discrete: ClassVar[bool] = True
    floor: float = float_field(1e-3, "(0, 1)")

    def transform_input(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return jnp.log1p(jnp.maximum(x, 0))  # corrupted rows may be negative

    def build(self, n_features: int) -> Own:
        return {"concentration": _learned_from_one(n_features, self.floor)}

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        return distributions.NegativeBinomial(eta, softplus(own["concentration"]) + self.floor)


@dataclass(frozen=True)
class GeneCounts(Likelihood):
    r"""Counts of genes in cells, p(x | z, c) = NB(s·e^η, r), given the batch and the size factor s of each cell.

    A row is the counts of G genes, then its condition: the batch as a one-hot block of ``n_batches`` features, then s.
    All features beyond the genes must be named in the estimator's ``condition``. The decoder reads the batch, and s
    only multiplies the mean. The encoder reads log(1 + x/s), the batch and log s.

    Parameters
    ----------
    n_batches : int, default=0
        The number of batches; 0 for none.
    size_factor : {"none", "last"}, default="none"
        "last": the last feature of a row is s, in any unit. A unit in which s is about 1 is best.
    family : {"nb", "zinb"}, default="nb"
        "nb": negative binomial. "zinb": a count is 0 with a further probability, which the decoder returns.
    dispersion : {"gene", "gene-batch"}, default="gene"
        Whether each gene has one concentration r, or one in each batch. r is learned.
    floor : float in (0, 1), default=1e-3
        The smallest concentration r.

    Raises
    ------
    InvalidPart
        By ``build``, if there is no gene, or dispersion="gene-batch" without batches.

    References
    ----------
    Lopez et al. (2018), "Deep generative modeling for single-cell transcriptomics"; Townes et al. (2019), "Feature
    selection and dimension reduction for single-cell RNA-Seq based on a multinomial model", for the offset log s.

    Examples
    --------
    >>> part = GeneCounts(size_factor="last")  # two genes and the size factor
    >>> mean = part.given(jnp.zeros((1, 2)), part.build(3), jnp.array([[0.0, 5.0, 3.0]])).mean
    >>> np.round(np.asarray(mean, float)[:, :2], 3).tolist()
    [[3.0, 3.0]]
    """

    support: ClassVar[Support] = "count"
    discrete: ClassVar[bool] = True
    n_batches: int = int_field(0, "[0, 2147483647]")
    size_factor: str = choice_field("none", ("none", "last"))
    family: str = choice_field("nb", ("nb", "zinb"))
    dispersion: str = choice_field("gene", ("gene", "gene-batch"))
    floor: float = float_field(1e-3, "(0, 1)")

    @property
    def _n_sizes(self) -> int:
        return int(self.size_factor == "last")

    def n_genes(self, n_features: int) -> int:
        """Return the number of genes of rows of ``n_features``.

        Raises
        ------
        InvalidPart
            If none is left.
        """
        if (n := n_features - self.n_batches - self._n_sizes) < 1:
            raise InvalidPart(f"{self!r} needs more than {n_features} features: genes, the batch and the size factor.")
        return n

    def n_outputs(self, n_features: int) -> int:
        return self.n_genes(n_features) * (1 + (self.family == "zinb"))

    def supports(self, n_features: int) -> tuple[Support, ...]:
        genes: tuple[Support, ...] = (self.support,) * self.n_genes(n_features)
        unit: Support = "unit"
        positive: Support = "positive"
        return genes + (unit,) * self.n_batches + (positive,) * self._n_sizes

    def own_condition(self, n_features: int) -> tuple[int, ...]:
        return (n_features - 1,) * self._n_sizes

    def transform_input(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        counts, batch, size = self._split(x)
        return jnp.concatenate([jnp.log1p(jnp.maximum(counts, 0) / size), batch, jnp.log(size)], axis=-1)[
            ..., : x.shape[-1]
        ]

    def build(self, n_features: int) -> Own:
        n = self.n_genes(n_features)
        if self.dispersion == "gene-batch" and not self.n_batches:
            raise InvalidPart('GeneCounts(dispersion="gene-batch") needs batches. Set n_batches, or dispersion="gene".')
        shape = (self.n_batches, n) if self.dispersion == "gene-batch" else n
        return {"concentration": _learned_from_one(shape, self.floor)}

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        """Return the density in a cell of size factor 1, with the mean concentration of the batches."""
        share = 1 / max(1, self.n_batches)
        return self._density(eta, own, jnp.full(self.n_batches, share), jnp.ones(1))

    def given(self, eta: Float[Array, "*batch m"], own: Own, rows: Float[Array, "*rows d"]) -> Distribution:
        _, batch, size = self._split(rows)
        return self._density(eta, own, batch, size)

    def _split(self, rows: Float[Array, "*rows d"]) -> tuple[Array, Array, Array]:
        n = self.n_genes(rows.shape[-1])
        counts, batch, size = distributions.split_columns(rows, (n, self.n_batches, self._n_sizes))
        if not self._n_sizes:
            return counts, batch, jnp.ones_like(counts[..., :1])
        return counts, batch, jnp.where(size > 0, size, 1)  # rows of padding are 0

    def _density(
        self, eta: Float[Array, "*batch m"], own: Own, batch: Float[Array, "*rows b"], size: Float[Array, "*rows 1"]
    ) -> Distribution:
        r = softplus(own["concentration"]) + self.floor
        if self.dispersion == "gene-batch":
            r = batch @ r
        log_mean, *zeros = jnp.split(eta, 1 + (self.family == "zinb"), axis=-1)
        counts: Distribution = distributions.NegativeBinomial(log_mean + jnp.log(size), r)
        if zeros:
            counts = distributions.ZeroInflated(counts, zeros[0])  # type: ignore[arg-type]
        beyond = jnp.zeros((*log_mean.shape[:-1], self.n_batches + self._n_sizes))
        if not beyond.shape[-1]:
            return counts
        return distributions.Joint((counts, distributions.Normal(beyond, jnp.ones(()))))


@dataclass(frozen=True)
class ColumnwiseLikelihood(Likelihood):
    r"""A product p(x | z) = Π p_b(x_b | z): each block of adjacent columns of one kind has its own likelihood.

    Each likelihood is normalised, so that log p is in nats and the weight of a column does not depend on its scale.

    Parameters
    ----------
    blocks : tuple of Likelihood
        The likelihood of each block.
    widths : tuple of int
        The number of columns of each block.

    Raises
    ------
    InvalidPart
        If ``blocks`` and ``widths`` differ in length; by ``build``, if the widths do not sum to the row's length.

    Examples
    --------
    >>> part = ColumnwiseLikelihood((LearnedGaussian(), Bernoulli(), Categorical()), (2, 1, 3))
    >>> jax.jit(part)(np.zeros((1, part.n_outputs(6))), part.build(6)).mean.round(2).tolist()
    [[0.0, 0.0, 0.5, 0.3..., 0.3..., 0.3...]]
    """

    discrete: ClassVar[bool] = False
    blocks: tuple[Likelihood, ...] = component_tuple_field(Likelihood)
    widths: tuple[int, ...] = int_tuple_field(())

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.blocks) != len(self.widths):
            raise InvalidPart(
                f"ColumnwiseLikelihood has {len(self.blocks)} blocks, but {len(self.widths)} widths. "
                "Give one width for each block."
            )

    def _blocks_of(self, n_features: int) -> Iterator[tuple[Likelihood, int]]:
        if sum(self.widths) != n_features:
            raise InvalidPart(
                f"The blocks of {self!r} have {sum(self.widths)} columns in total, but rows have {n_features}. "
                "Give widths that sum to the row's length."
            )
        return zip(self.blocks, self.widths, strict=True)

    def n_outputs(self, n_features: int) -> int:
        return sum(block.n_outputs(width) for block, width in self._blocks_of(n_features))

    def supports(self, n_features: int) -> tuple[Support, ...]:
        return tuple(support for block, width in self._blocks_of(n_features) for support in block.supports(width))

    def transform_input(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        pieces = zip(self.blocks, distributions.split_columns(x, self.widths), strict=True)
        return jnp.concatenate([block.transform_input(piece) for block, piece in pieces], axis=-1)

    def expand_mask(self, chosen: Bool[Array, "*batch d"]) -> Bool[Array, "*batch d"]:
        pieces = zip(self.blocks, distributions.split_columns(chosen, self.widths), strict=True)
        return jnp.concatenate([block.expand_mask(piece) for block, piece in pieces], axis=-1)

    def build(self, n_features: int) -> Own:
        own = enumerate(block.build(width) for block, width in self._blocks_of(n_features))
        return {f"{i}.{name}": value for i, arrays in own for name, value in arrays.items()}

    def __call__(self, eta: Float[Array, "*batch m"], own: Own) -> Distribution:
        sizes = tuple(block.n_outputs(width) for block, width in zip(self.blocks, self.widths, strict=True))
        densities = []
        for i, (block, piece) in enumerate(zip(self.blocks, distributions.split_columns(eta, sizes), strict=True)):
            block_own = {name.removeprefix(f"{i}."): value for name, value in own.items() if name.startswith(f"{i}.")}
            densities.append(block(piece, block_own))
        return distributions.Joint(tuple(densities))


_BY_KIND: dict[str, Likelihood] = {"boolean": Bernoulli(), "count": NegativeBinomial(), "category": Categorical()}


def by_column(blocks: Sequence[tuple[str, int]], numbers: Likelihood) -> ColumnwiseLikelihood:
    """Return the likelihood of a table's encoded rows: each kind of column has its own, numbers have ``numbers``.

    >>> by_column([("number", 2), ("category", 3)], LearnedGaussian())
    ColumnwiseLikelihood(blocks=(LearnedGaussian(floor=0.0001), Categorical()), widths=(2, 3))
    """
    return ColumnwiseLikelihood(
        tuple(_BY_KIND.get(kind, numbers) for kind, _ in blocks), tuple(width for _, width in blocks)
    )


def _learned_from_one(shape: int | tuple[int, ...], floor: float) -> Float[Array, "..."]:
    """Return the value s with softplus(s) + floor = 1 for each feature."""
    return jax.device_put(np.full(shape, np.log(np.expm1(1.0 - floor)), np.float32))
