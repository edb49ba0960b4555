"""The autoencoders: the general `Autoencoder`, and five standard systems by name."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..core import recipes
from ..core.activations import ACTIVATIONS
from ..core.corruptions import Corruption, NoCorruption
from ..core.latents import Deterministic, Latent
from ..core.likelihoods import Gaussian, LearnedGaussian, Likelihood
from ..core.model import Recipe
from ..core.networks import MLP, Network, SkipMLP
from ..core.objectives import Objective
from ..core.penalties import Penalty
from ..core.priors import Prior, StandardNormal
from ..core.schedules import Constant, Schedule
from ..engine import inference, moments
from ..engine.jobs import LayerwiseStart, Outcome, Start
from .base import ESTIMATORS, BaseAutoencoder
from .classifier import AutoencoderClassifier
from .documentation import documented
from .input import InputSpec
from .loading import load
from .named_parts import (
    ANNEALINGS,
    CORRUPTIONS,
    LAYERS,
    LIKELIHOOD,
    OBJECTIVES,
    SIZE,
    corruptions_of,
    likelihood_of,
    named_corruption,
    sizes_of,
)
from .trainable import resolve

__all__ = [
    "ESTIMATORS",
    "Autoencoder",
    "AutoencoderClassifier",
    "BasicAutoencoder",
    "DenoisingAutoencoder",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "VariationalAutoencoder",
    "load",
]

_WIDEST_CODE, _MOST_UNITS, _NARROW, _MANY_DRAWS = 256, 2_048, 16, 4


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(BaseAutoencoder):
    r"""General autoencoder in which every component can be chosen.

    x ──corruption──► x̃ ──encoder──► h ──latent──► z ──decoder──► η ──likelihood──► p(x | z). Training minimises the
    objective plus the penalties. The named autoencoders are special cases of this class.

    Parameters
    ----------
    latent : Latent or None, default=None
        The code. None: ``Deterministic(2)``.
    encoder : Network or None, default=None
        None: ``SkipMLP()``, a hidden layer of 128 units parallel to a linear map.
    decoder : Network or None, default=None
        None: the encoder with its layers in reverse order.
    corruption : Corruption or None, default=None
        Corruption of the training rows before the encoder. None: no corruption.
    prior : Prior or None, default=None
        Prior of the code. None: ``StandardNormal()``.
    {likelihood parameter}
    objective : {"reconstruction", "elbo"} or Objective, default="reconstruction"
        The function that training optimises.
    penalties : tuple of Penalty, default=()
        Terms added to the loss.
    {common parameters}

    Attributes
    ----------
    {common attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import Autoencoder, parts
    >>> ae = Autoencoder(latent=parts.Deterministic(1), corruption=parts.Masking(0.2), max_epochs=3, random_state=0)
    >>> ae.fit_transform(load_iris().data).shape
    (150, 1)
    """

    latent: Latent | None = None
    encoder: Network | None = None
    decoder: Network | None = None
    corruption: Corruption | None = None
    prior: Prior | None = None
    likelihood: str | Likelihood = "gaussian"
    objective: str | Objective = "reconstruction"
    penalties: tuple[Penalty, ...] = ()

    _former: ClassVar[dict[str, object]] = {"encoder": MLP()}
    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LIKELIHOOD,
        "latent": [Latent, None],
        "encoder": [Network, None],
        "decoder": [Network, None],
        "corruption": [Corruption, None],
        "prior": [Prior, None],
        "objective": [StrOptions(set(OBJECTIVES)), Objective],
        "penalties": [tuple, list],
    }

    def _recipe(self, n_features: int) -> Recipe:
        return Recipe(
            corruption=self.corruption or NoCorruption(),
            encoder=self.encoder or SkipMLP(),
            latent=self.latent or Deterministic(),
            prior=self.prior or StandardNormal(),
            decoder=self.decoder,
            likelihood=likelihood_of(self.likelihood),
            objective=resolve("objective", self.objective, OBJECTIVES, Objective),
            penalties=tuple(self.penalties),
        )


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class BasicAutoencoder(BaseAutoencoder):
    r"""Autoencoder without hidden layers: z = s(W·x + b), x̂ = W'·z + b'.

    With ``activation="identity"`` and a Gaussian likelihood, the optimum spans the same subspace as PCA (Baldi & Hornik
    1989, "Neural Networks and Principal Component Analysis").

    Parameters
    ----------
    n_latent : int or None, default=None
        K, the dimensions of the code. None: 2; in an `AutoencoderClassifier`, one per column, at most 256.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="identity"
        s, the activation of the code.
    {likelihood parameter}
    {common parameters}

    Attributes
    ----------
    {common attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import BasicAutoencoder
    >>> BasicAutoencoder(n_latent=1, max_epochs=3, random_state=0).fit_transform(load_iris().data).shape
    (150, 1)
    """

    n_latent: int | None = None
    activation: str = "identity"
    likelihood: str | Likelihood = "gaussian"

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LIKELIHOOD,
        "n_latent": [SIZE, None],
        "activation": [StrOptions(set(ACTIVATIONS))],
    }

    def _recipe(self, n_features: int) -> Recipe:
        return recipes.basic(self.n_latent or 2, activation=self.activation, likelihood=likelihood_of(self.likelihood))


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class StackedAutoencoder(BaseAutoencoder):
    r"""Deep autoencoder: several hidden layers in the encoder, the same layers in reverse order in the decoder.

    Parameters
    ----------
    n_latent : int or None, default=None
        K, the dimensions of the code. None: 2; in an `AutoencoderClassifier`, one per column, at most 256.
    hidden_layer_sizes : tuple of int, default=(128, 64)
        Sizes of the hidden layers of the encoder, from the input to the code.
    {activation parameter}
    latent_activation : the same names, default="identity"
        Activation of the code.
    {likelihood parameter}
    {skip parameter}
        Not used with ``pretrain``.
    pretrain : {"layerwise"} or None, default=None
        "layerwise": first train each layer as an autoencoder of the output of the layer before it, then train all
        layers together (Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks"; Bengio
        et al. 2007).
    pretrain_epochs : int, default=20
        Number of pre-training epochs per layer.
    pretrain_corruption : Corruption, tuple of Corruption or None, default=None
        Corruption of each layer's input during pre-training, as in a stacked denoising autoencoder (Vincent et al.
        2010, section 3.5). One corruption for all layers, or one per layer, the code layer included.
    {common parameters}

    Attributes
    ----------
    pretrain_history_ : list of dict
        One ``history_`` per pre-trained layer, from the input to the code.
    {common attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import StackedAutoencoder
    >>> sae = StackedAutoencoder(hidden_layer_sizes=(8, 4), max_epochs=3, random_state=0)
    >>> sae.fit_transform(load_iris().data).shape
    (150, 2)
    """

    n_latent: int | None = None
    hidden_layer_sizes: tuple[int, ...] = (128, 64)
    activation: str = "silu"
    latent_activation: str = "identity"
    likelihood: str | Likelihood = "gaussian"
    skip: bool = True
    pretrain: str | None = None
    pretrain_epochs: int = 20
    pretrain_corruption: Corruption | tuple[Corruption, ...] | None = None

    _former: ClassVar[dict[str, object]] = {"skip": False}
    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LIKELIHOOD,
        **LAYERS,
        "n_latent": [SIZE, None],
        "latent_activation": [StrOptions(set(ACTIVATIONS))],
        "skip": ["boolean"],
        "pretrain": [StrOptions({"layerwise"}), None],
        "pretrain_epochs": [SIZE],
        "pretrain_corruption": [Corruption, tuple, list, None],
    }
    _fitted_json: ClassVar[tuple[str, ...]] = (*BaseAutoencoder._fitted_json, "pretrain_history_")

    def _recipe(self, n_features: int) -> Recipe:
        return recipes.stacked(
            self.n_latent or 2,
            hidden=sizes_of(self.hidden_layer_sizes),
            activation=self.activation,
            latent_activation=self.latent_activation,
            skip=self.skip and self.pretrain is None,
            likelihood=likelihood_of(self.likelihood),
        )

    def _first(self) -> Start:
        if self.pretrain is None:
            return super()._first()
        return LayerwiseStart(self.pretrain_epochs, corruptions_of(self.pretrain_corruption, self.hidden_layer_sizes))

    def _findings(self, outcome: Outcome) -> dict[str, object]:
        return {"pretrain_history_": list(outcome.pretraining)}


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class SparseAutoencoder(BaseAutoencoder):
    r"""Sparse autoencoder: a wide code whose units are rarely active.

    The loss is (1/N)·Σ‖x − x̂‖² + β·Σⱼ KL(ρ‖ρ̂ⱼ) plus a constant. h = sigmoid(W·x + b) ∈ (0, 1)^m is the code, and ρ̂ⱼ
    is the mean of hⱼ over the rows (Ng 2011, "Sparse autoencoder", CS294A; Lee, Ekanadham & Ng 2008).

    Parameters
    ----------
    n_hidden : int or None, default=None
        m, the number of units of the code. None: twice the number of features d, at most 2,048 or d.
    target_activation : float in (0, 1), default=0.05
        ρ, the target of the mean activations.
    sparsity_weight : float in [0, inf) or None, default=None
        β, the weight of the penalty. None: training adapts β so that every ρ̂ⱼ approaches ρ; see ``sparsity_weight_``.
    {likelihood parameter}
    {common parameters}

    Attributes
    ----------
    mean_activation_ : array of shape (m,)
        ρ̂, the mean activations over all rows passed to `fit`, validation rows included, with their weights.
    sparsity_weight_ : float
        β: ``sparsity_weight``, or the value found by training if it is None.
    {common attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import SparseAutoencoder
    >>> SparseAutoencoder(n_hidden=16, max_epochs=3, random_state=0).fit(load_iris().data).mean_activation_.shape
    (16,)
    """

    n_hidden: int | None = None
    target_activation: float = 0.05
    sparsity_weight: float | None = None
    likelihood: str | Likelihood = "gaussian"

    _steps: ClassVar[int] = 3_000
    _most_epochs: ClassVar[int] = 1_500

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LIKELIHOOD,
        "n_hidden": [SIZE, None],
        "target_activation": [Interval(numbers.Real, 0, 1, closed="neither")],
        "sparsity_weight": [Interval(numbers.Real, 0, None, closed="left"), None],
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("mean_activation_",)
    _fitted_json: ClassVar[tuple[str, ...]] = (*BaseAutoencoder._fitted_json, "sparsity_weight_")

    def _recipe(self, n_features: int) -> Recipe:
        return recipes.sparse(
            self.n_hidden or max(n_features, min(2 * n_features, _MOST_UNITS)),
            rho=self.target_activation,
            weight=self.sparsity_weight,
            likelihood=likelihood_of(self.likelihood),
        )

    def _findings(self, outcome: Outcome) -> dict[str, object]:
        model, given = outcome.trained.model, self.sparsity_weight
        total, n = np.zeros(outcome.job.model.recipe.latent.n_latent), 0.0
        for piece, w in moments.weighted(outcome.job.rows):
            codes = inference.map_rows(inference.code, model, piece.astype(np.float32))
            total += moments.times(codes, w).sum(axis=0, dtype=np.float64)
            n += len(piece) if w is None else w.sum()
        if given is None:  # the constraint has adapted the weight in training
            given = float(model.recipe.penalties[0].found(model.weights.penalties[0]))  # type: ignore[attr-defined]
        return {"mean_activation_": total / n, "sparsity_weight_": given}


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class DenoisingAutoencoder(BaseAutoencoder):
    r"""Denoising autoencoder: reconstructs the clean row x from a corrupted row x̃ = g(x | θ).

    See Vincent et al. (2008, 2010). Use `reconstruct` or `denoise` to remove noise from noisy rows. Only `fit` corrupts
    rows; `corrupt` returns corrupted rows for inspection.

    Parameters
    ----------
    n_latent : int or None, default=None
        K, the number of dimensions of the code. None: no bottleneck, so that in the worst case nothing is removed. The
        code is then the restored row: each column is estimated from the columns that correlate with it most, see
        `parts.NeighborFilter`. The code has instead as many dimensions as there are columns, at most 256, if a column
        is not a number, cells are missing or masked, ``skip`` is False, or the likelihood is neither "gaussian" nor
        "learned_gaussian".
    hidden_layer_sizes : tuple of int, default=(128,)
        Sizes of the hidden layers of the encoder, from the input to the code.
    {activation parameter}
    corruption : {"gaussian", "salt_and_pepper", "masking", "missing"} or Corruption, default="gaussian"
        Corruption of the training rows. A name uses ``noise_level``; a `Corruption` has its own level. With "missing",
        cells are masked in training, and the model can fill missing cells: see `impute`.
    noise_level : float, default=0.3
        σ of "gaussian", or the probability p of the other names. Not used if ``corruption`` is a `Corruption`.
    noise_units : {"scaled", "data"}, default="scaled"
        "data": σ, and the 0 of "masking", are in the user's units; see `parts.InDataUnits`. Only for names.
    {skip parameter}
    {likelihood parameter}
    {common parameters}

    Attributes
    ----------
    {common attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import DenoisingAutoencoder
    >>> dae = DenoisingAutoencoder(corruption="masking", noise_level=0.25, max_epochs=3, random_state=0)
    >>> dae.fit(load_iris().data).reconstruct(load_iris().data).shape
    (150, 4)
    """

    n_latent: int | None = None
    hidden_layer_sizes: tuple[int, ...] = (128,)
    activation: str = "silu"
    corruption: str | Corruption = "gaussian"
    noise_level: float = 0.3
    noise_units: str = "scaled"
    skip: bool = True
    likelihood: str | Likelihood = "gaussian"

    _steps: ClassVar[int] = 1_500
    _rate: ClassVar[float] = 0.068

    _former: ClassVar[dict[str, object]] = {"skip": False}
    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LIKELIHOOD,
        **LAYERS,
        "n_latent": [SIZE, None],
        "corruption": [StrOptions(set(CORRUPTIONS)), Corruption],
        "skip": ["boolean"],
        "noise_level": [Interval(numbers.Real, 0, None, closed="left")],
        "noise_units": [StrOptions({"scaled", "data"})],
    }

    def _recipe(self, n_features: int) -> Recipe:
        return self._recipe_over(InputSpec(type(self).__name__, n_features))

    def _recipe_over(self, columns: InputSpec) -> Recipe:
        named = named_corruption(self.corruption, self.noise_level, self.noise_units)
        corruption = resolve("corruption", self.corruption, named, Corruption)
        likelihood = likelihood_of(self.likelihood)
        given: dict[str, Any] = {
            "corruption": corruption,
            "hidden": sizes_of(self.hidden_layer_sizes),
            "activation": self.activation,
            "likelihood": likelihood,
        }
        is_whole = self.n_latent is None and self.skip
        is_plain = type(likelihood) in (Gaussian, LearnedGaussian) and columns.schema is None
        if is_whole and is_plain and not (columns.allow_missing or corruption.produces_missing or self.condition):
            return recipes.restoring(columns.width, **given)
        return recipes.denoising(self.n_latent or min(columns.width, _WIDEST_CODE), skip=self.skip, **given)


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class VariationalAutoencoder(BaseAutoencoder):
    r"""Variational autoencoder: z ~ N(0, I), x ~ p(x | z), approximate posterior q(z | x) = N(μ(x), diag σ²(x)).

    Training minimises −ELBO = E_q[−log p(x | z)] + β·KL(q(z | x) ‖ N(0, I)) (Kingma & Welling 2014, "Auto-Encoding
    Variational Bayes"). β can change over the epochs (Bowman et al. 2016). β = 1 gives the true bound. The validation
    loss uses the final value of β.

    Parameters
    ----------
    n_latent : int or None, default=None
        K, the number of latent dimensions. None: the number of columns, at most 256; training turns off the dimensions
        that the data do not need. Use 2 to plot the latent space.
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Sizes of the hidden layers of the encoder, from the input to the code.
    {activation parameter}
    likelihood : str or Likelihood, default="heteroscedastic_gaussian"
        p(x | z). "heteroscedastic_gaussian": normal, with σ(z) learned per feature and row. "learned_gaussian": normal,
        with one σ learned per feature. "gaussian": normal, with σ² = ½ (use ``Gaussian(sigma)`` for another value).
        Also "bernoulli", "count" or a `Likelihood`.
    beta : float, {"linear", "cyclical"} or Schedule, default=1.0
        β, the weight of the KL term. "linear": from 0 to 1 over ten epochs. "cyclical": four times from 0 to 1 (Fu et
        al. 2019).
    n_samples : int or None, default=None
        Number of samples of z per row in training. None: 4 for at most 16 features, where samples cost little,
        otherwise 1.
    {skip parameter}
    {common parameters}

    Attributes
    ----------
    {common attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import VariationalAutoencoder
    >>> vae = VariationalAutoencoder(n_latent=2, max_epochs=3, random_state=0).fit(load_iris().data)
    >>> vae.sample(5).shape, vae.score_samples(load_iris().data).shape
    ((5, 4), (150,))
    """

    n_latent: int | None = None
    hidden_layer_sizes: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    likelihood: str | Likelihood = "heteroscedastic_gaussian"
    beta: float | str | Schedule = 1.0
    n_samples: int | None = None
    skip: bool = True

    _steps: ClassVar[int] = 4_000
    _most_from_linear: ClassVar[int] = 300
    _rate: ClassVar[float] = 0.068

    _former: ClassVar[dict[str, object]] = {"skip": False}
    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LIKELIHOOD,
        **LAYERS,
        "n_latent": [SIZE, None],
        "beta": [Interval(numbers.Real, 0, None, closed="left"), StrOptions(set(ANNEALINGS)), Schedule],
        "n_samples": [SIZE, None],
        "skip": ["boolean"],
    }

    def _recipe(self, n_features: int) -> Recipe:
        beta = Constant(float(self.beta)) if isinstance(self.beta, numbers.Real) else self.beta
        return recipes.variational(
            self.n_latent or min(n_features, _WIDEST_CODE),
            hidden=sizes_of(self.hidden_layer_sizes),
            activation=self.activation,
            likelihood=likelihood_of(self.likelihood),
            beta=resolve("beta", beta, ANNEALINGS, Schedule),
            skip=self.skip,
            n_samples=self.n_samples or (_MANY_DRAWS if n_features <= _NARROW else 1),
        )
