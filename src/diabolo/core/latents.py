"""Latents: the map from the encoder's output to the posterior q(z | x) over codes z."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .activations import ACTIVATIONS, activate
from .component import Component, choice_field, float_field, int_field, int_tuple_field
from .distributions import Conditional, Dirac, Distribution, normal_from
from .forward import ForwardPass, Own, Owner, on_device
from .layers import MLPModule, NormalModule

__all__ = ["Deterministic", "DiagonalGaussian", "Latent", "TwoLevel", "VectorQuantized"]


class Latent(Component, Owner, role="latent"):
    """A map from the encoder's output, (n, n_outputs), to a distribution over codes, (n, n_latent)."""

    if TYPE_CHECKING:  # a field of most latents, a property of those whose code has several parts
        n_latent: int
    stochastic: ClassVar[bool]
    """Whether q(z | x) has a density. The ELBO and posterior samples need one."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Number of encoder outputs per row."""

    @property
    @abstractmethod
    def in_unit_interval(self) -> bool:
        """Whether every coordinate of every code lies in (0, 1)."""

    def __call__(self, h: Float[Array, "n m"]) -> Distribution:
        """Return q(z | x), a batch of n posteriors over n_latent coordinates, of a latent without weights."""
        raise NotImplementedError(f"{type(self).__name__} defines neither __call__ nor posterior.")

    def posterior(self, h: Float[Array, "n m"], own: Own) -> Distribution:
        """Return q(z | x) given the latent's own weights. Override it in place of ``__call__`` if there are any."""
        return self(h)


@dataclass(frozen=True)
class Deterministic(Latent):
    """A deterministic code z = activation(h): a posterior with all its mass at one point.

    Parameters
    ----------
    n_latent : int, default=2
        K, the number of code coordinates; larger than d for an overcomplete code.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="identity"
        Applied to the encoder's output. "sigmoid" maps the code to (0, 1), as the KL sparsity penalty requires.

    Examples
    --------
    >>> Deterministic(2)(jnp.ones((5, 2))).mean.shape
    (5, 2)
    """

    stochastic: ClassVar[bool] = False
    n_latent: int = int_field(2)
    activation: str = choice_field("identity", tuple(ACTIVATIONS))

    @property
    def n_outputs(self) -> int:
        return self.n_latent

    @property
    def in_unit_interval(self) -> bool:
        return self.activation == "sigmoid"

    def __call__(self, h: Float[Array, "n m"]) -> Distribution:
        return Dirac(activate(self.activation, h))


@dataclass(frozen=True)
class DiagonalGaussian(Latent):
    r"""A Gaussian posterior q(z | x) = N(μ(x), diag σ²(x)); samples are z = μ + σ ⊙ ε with ε ~ N(0, I_K).

    The encoder returns 2K numbers per row: μ and s, with σ = softplus(s) + 1e-6, which neither overflows nor reaches 0.

    Parameters
    ----------
    n_latent : int, default=2
        K, the number of code coordinates.

    References
    ----------
    Kingma & Welling (2014), "Auto-Encoding Variational Bayes", section 3 and appendix C.2.

    Examples
    --------
    >>> jax.jit(DiagonalGaussian(2))(np.ones((5, 4))).mean.shape
    (5, 2)
    """

    stochastic: ClassVar[bool] = True
    n_latent: int = int_field(2)

    @property
    def n_outputs(self) -> int:
        return 2 * self.n_latent

    @property
    def in_unit_interval(self) -> bool:
        return False

    def __call__(self, h: Float[Array, "n m"]) -> Distribution:
        return normal_from(h)


# -- two levels -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TwoLevel(Latent):
    r"""A code z = (z₁, z₂) of two levels with the posterior q(z₁ | x)·q(z₂ | z₁), both normal.

    The decoder reads both levels. Use it with `TwoLevelPrior`, whose ``n_top`` must be the same.

    Parameters
    ----------
    n_bottom : int, default=2
        The number of coordinates of z₁, the first ones of the code.
    n_top : int, default=1
        The number of coordinates of z₂, the last ones of the code.
    hidden : tuple of int, default=(32,)
        The hidden layers of the network of q(z₂ | z₁).

    References
    ----------
    Sønderby et al. (2016), "Ladder Variational Autoencoders", eq. 4 to 6.

    Examples
    --------
    >>> latent = TwoLevel(n_bottom=2, n_top=1)
    >>> own = latent.build(np.random.default_rng(0), n_features=4, n_latent=3)
    >>> jax.eval_shape(lambda h: latent.posterior(h, own).mean, np.ones((5, 4))).shape
    (5, 3)
    """

    stochastic: ClassVar[bool] = True
    n_bottom: int = int_field(2)
    n_top: int = int_field(1)
    hidden: tuple[int, ...] = int_tuple_field((32,))

    @property
    def n_latent(self) -> int:  # type: ignore[override]
        return self.n_bottom + self.n_top

    @property
    def n_outputs(self) -> int:
        return 2 * self.n_bottom

    @property
    def in_unit_interval(self) -> bool:
        return False

    def build(self, rng: np.random.Generator, n_features: int, n_latent: int) -> Own:
        return {"network": NormalModule(MLPModule.init(rng, (self.n_bottom, *self.hidden, 2 * self.n_top)))}

    def posterior(self, h: Float[Array, "n m"], own: Own) -> Distribution:
        return Conditional(normal_from(h), own["network"])


# -- a codebook -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VectorQuantized(Latent):
    r"""A code that is one of C vectors, the nearest to the encoder's output; its gradient passes straight through.

    The code may consist of several groups of coordinates with a codebook each, so that it is one of C^groups. Each
    vector is the moving average of the outputs nearest to it. A vector that is not used is moved to the output of a
    random row. Use it with the penalty `Commitment`, which keeps the outputs near the vectors.

    Parameters
    ----------
    size : int, default=8
        The number of coordinates of a vector.
    n_codes : int, default=64
        C, the number of vectors of each codebook.
    n_groups : int, default=1
        G, the number of groups; the code has K = G·size coordinates.
    decay : float in (0, 1), default=0.99
        γ, the decay of the moving averages, per step.

    References
    ----------
    van den Oord, Vinyals & Kavukcuoglu (2017), "Neural Discrete Representation Learning", eq. 1 to 3, appendix A.1;
    Dhariwal et al. (2020), "Jukebox", section 3, for codes that are not used.

    Examples
    --------
    >>> latent = VectorQuantized(size=2, n_codes=3)
    >>> own = {"vectors": jnp.array([[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]])}
    >>> h = jnp.array([[0.2, 0.1], [1.9, 1.6]])
    >>> jax.jit(latent.indices)(h, own).tolist(), jax.jit(latent.posterior)(h, own).mean.tolist()
    ([[0], [2]], [[0.0, 0.0], [2.0, 2.0]])
    """

    stochastic: ClassVar[bool] = False
    size: int = int_field(8)
    n_codes: int = int_field(64)
    n_groups: int = int_field(1)
    decay: float = float_field(0.99, "(0, 1)")

    @property
    def n_latent(self) -> int:  # type: ignore[override]
        return self.n_groups * self.size

    @property
    def n_outputs(self) -> int:
        return self.n_latent

    @property
    def in_unit_interval(self) -> bool:
        return False

    def build(self, rng: np.random.Generator, n_features: int, n_latent: int) -> Own:
        shape = self.n_groups, self.n_codes, self.size
        vectors, counts, sums = rng.normal(size=shape), np.zeros(shape[:2]), np.zeros(shape)
        return {"vectors": on_device(vectors), "counts": on_device(counts), "sums": on_device(sums)}

    def indices(self, h: Float[Array, "n m"], own: Own) -> Int[Array, "n g"]:
        """Return the number of the nearest vector of each group."""
        return jnp.square(self._grouped(h)[:, :, None] - own["vectors"]).sum(-1).argmin(-1)

    def posterior(self, h: Float[Array, "n m"], own: Own) -> Distribution:
        which = jax.nn.one_hot(self.indices(h, own), self.n_codes)
        nearest = jnp.einsum("ngc,gcd->ngd", which, own["vectors"]).reshape(h.shape)
        return Dirac(h + jax.lax.stop_gradient(nearest - h))

    def updated(self, own: Own, seen: ForwardPass) -> Own:
        grouped = self._grouped(seen.h)
        which = jax.nn.one_hot(self.indices(seen.h, own), self.n_codes) * seen.row_weight[:, None, None]
        counts = self.decay * own["counts"] + (1 - self.decay) * which.sum(0)
        sums = self.decay * own["sums"] + (1 - self.decay) * jnp.einsum("ngc,ngd->gcd", which, grouped)
        # A vector without a row in about 1 / (1 − γ) steps starts again as if it had the average number of rows.
        average = counts.sum(-1, keepdims=True) / self.n_codes
        is_unused = (counts < _UNUSED * average)[..., None]
        rows = jax.random.categorical(seen.key, jnp.log(seen.row_weight), shape=(self.n_codes,))
        fresh = jnp.moveaxis(grouped[rows], 0, 1)
        counts = jnp.where(is_unused[..., 0], average, counts)
        sums = jnp.where(is_unused, fresh * average[..., None], sums)
        return {"vectors": sums / counts[..., None], "counts": counts, "sums": sums}

    def _grouped(self, h: Float[Array, "n m"]) -> Float[Array, "n g k"]:
        return h.reshape(len(h), self.n_groups, -1)


_UNUSED = 0.05
"""A vector is unused if it has less than this share of the average number of rows of a vector."""
