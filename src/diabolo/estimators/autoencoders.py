"""The estimators: `Autoencoder`, whose every slot is free, the lecture's five systems by name, and the classifier."""

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
from ..engine import closed_form, inference
from ..engine.jobs import LayerwiseStart, Outcome, Start
from .base import ESTIMATORS, BaseAutoencoder
from .classifier import AutoencoderClassifier
from .documentation import documented
from .input import InputSpec
from .named_parts import (
    ANNEALINGS,
    CORRUPTIONS,
    LAYERS,
    LIKELIHOOD,
    OBJECTIVES,
    SIZE,
    corruptions_of,
    likelihood_of,
    sizes_of,
)
from .trainable import load, resolve

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

_WIDEST_CODE, _NARROW, _MANY_DRAWS = 256, 16, 4


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(BaseAutoencoder):
    r"""An autoencoder whose every slot is yours to fill.

    x ──corruption──► x̃ ──encoder──► h ──latent──► z ──decoder──► η ──likelihood──► p(x | z), made likely by the
    objective and the penalties. The named estimators are values of this one.

    Parameters
    ----------
    latent : Latent or None, default=None
        None: ``Deterministic(2)``.
    encoder : Network or None, default=None
        None: ``SkipMLP()``, a hidden layer of 128 beside a linear map.
    decoder : Network or None, default=None
        None: the encoder, mirrored.
    corruption : Corruption or None, default=None
    prior : Prior or None, default=None
        None: ``StandardNormal()``.
    likelihood : str or Likelihood, default="gaussian"
        "gaussian", "learned_gaussian", "heteroscedastic_gaussian", "bernoulli", "count", or a part.
    objective : {"reconstruction", "elbo"} or Objective, default="reconstruction"
    penalties : tuple of Penalty, default=()
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
    r"""Input, latent and output layers only: z = s(W·x + b), x̂ = W'·z + b'.

    With ``activation="identity"`` and a Gaussian likelihood the optimum spans the subspace of PCA (Baldi & Hornik 1989,
    "Neural Networks and Principal Component Analysis").

    Parameters
    ----------
    n_latent : int, default=2
        K, the width of the code.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="identity"
        s, on the code.
    likelihood : str or Likelihood, default="gaussian"
        "gaussian", "learned_gaussian", "heteroscedastic_gaussian", "bernoulli", "count", or a part.
        "gaussian" makes the loss ‖x − x̂‖² and a constant.
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

    n_latent: int = 2
    activation: str = "identity"
    likelihood: str | Likelihood = "gaussian"

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LIKELIHOOD,
        "n_latent": [SIZE],
        "activation": [StrOptions(set(ACTIVATIONS))],
    }

    def _recipe(self, n_features: int) -> Recipe:
        return recipes.basic(self.n_latent, activation=self.activation, likelihood=likelihood_of(self.likelihood))


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class StackedAutoencoder(BaseAutoencoder):
    r"""A deep autoencoder: several hidden layers between input and code, mirrored between code and output.

    Parameters
    ----------
    n_latent : int, default=2
        K, the width of the code.
    hidden_layer_sizes : tuple of int, default=(128, 64)
        From the input inwards.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        Of the hidden layers.
    latent_activation : the same names, default="identity"
        Of the code.
    likelihood : str or Likelihood, default="gaussian"
        "gaussian", "learned_gaussian", "heteroscedastic_gaussian", "bernoulli", "count", or a part.
        "gaussian" makes the loss ‖x − x̂‖² and a constant.
    skip : bool, default=True
        Whether a linear path runs beside the hidden layers of encoder and decoder, see `parts.SkipMLP`; not
        with ``pretrain``.
    pretrain : {"layerwise"} or None, default=None
        "layerwise": first train each layer as an autoencoder of the layers below it, then all together (Hinton &
        Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks"; Bengio et al. 2007).
    pretrain_epochs : int, default=20
        Epochs for each layer.
    pretrain_corruption : Corruption, tuple of Corruption or None, default=None
        What each layer's input is corrupted with while it is pre-trained, which makes a stacked denoising autoencoder
        (Vincent et al. 2010, section 3.5): one for all layers, or one for each, the code's included.
    {common parameters}

    Attributes
    ----------
    pretrain_history_ : list of dict
        One ``history_`` for each pre-trained layer, from the input inwards.
    {common attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import StackedAutoencoder
    >>> sae = StackedAutoencoder(hidden_layer_sizes=(8, 4), max_epochs=3, random_state=0)
    >>> sae.fit_transform(load_iris().data).shape
    (150, 2)
    """

    n_latent: int = 2
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
        "n_latent": [SIZE],
        "latent_activation": [StrOptions(set(ACTIVATIONS))],
        "skip": ["boolean"],
        "pretrain": [StrOptions({"layerwise"}), None],
        "pretrain_epochs": [SIZE],
        "pretrain_corruption": [Corruption, tuple, list, None],
    }
    _fitted_json: ClassVar[tuple[str, ...]] = (*BaseAutoencoder._fitted_json, "pretrain_history_")

    def _recipe(self, n_features: int) -> Recipe:
        return recipes.stacked(
            self.n_latent,
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
    r"""An overcomplete code whose units are seldom active.

    The loss is (1/N)·Σ‖x − x̂‖² + β·Σⱼ KL(ρ‖ρ̂ⱼ) and a constant, where h = sigmoid(W·x + b) ∈ (0, 1)^m is what the
    decoder reads and ρ̂ⱼ is the mean of hⱼ (Ng 2011, "Sparse autoencoder", CS294A; Lee, Ekanadham & Ng 2008).

    Parameters
    ----------
    n_hidden : int or None, default=None
        m, the number of units. None: twice the number of features.
    target_activation : float in (0, 1), default=0.05
        ρ.
    sparsity_weight : float in [0, inf) or None, default=None
        β. None: found while training, such that every ρ̂ⱼ comes to ρ; see ``sparsity_weight_``.
    likelihood : str or Likelihood, default="gaussian"
        "gaussian", "learned_gaussian", "heteroscedastic_gaussian", "bernoulli", "count", or a part.
        "gaussian" makes the reconstruction term ‖x − x̂‖² and a constant.
    {common parameters}

    Attributes
    ----------
    mean_activation_ : array of shape (m,)
        ρ̂, over the rows given, held-out ones included.
    sparsity_weight_ : float
        β, as it was given or found.
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
            self.n_hidden or 2 * n_features,
            rho=self.target_activation,
            weight=self.sparsity_weight,
            likelihood=likelihood_of(self.likelihood),
        )

    def _findings(self, outcome: Outcome) -> dict[str, object]:
        model, given = outcome.trained.model, self.sparsity_weight
        total, n = np.zeros(outcome.job.model.recipe.latent.n_latent), 0
        for piece in closed_form.pieces(outcome.job.rows):
            total += inference.map_rows(inference.code, model, piece).sum(axis=0, dtype=np.float64)
            n += len(piece)
        if given is None:  # the constraint has found it
            penalty: Any = model.recipe.penalties[0]
            given = float(penalty.found(model.weights.penalties[0]))
        return {"mean_activation_": total / n, "sparsity_weight_": given}


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class DenoisingAutoencoder(BaseAutoencoder):
    r"""Reads corrupted rows x̃ = g(x | θ), reconstructs the clean x (Vincent et al. 2008, 2010).

    `reconstruct` is the denoiser: give it noisy rows. Nothing is corrupted outside `fit`; `corrupt` shows what was.

    Parameters
    ----------
    n_latent : int or None, default=None
        K, the width of the code. None: no bottleneck, so that at worst nothing is removed. The code is the restored
        row: each column estimated by the columns that correlate with it most, see `parts.NeighborFilter`; where columns
        are not all numbers, or cells are missing, a code of as many numbers as there are columns, 256 at most.
    hidden_layer_sizes : tuple of int, default=(128,)
        From the input inwards.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
    corruption : {"gaussian", "salt_and_pepper", "masking", "missing"} or Corruption, default="gaussian"
        A name, whose level is ``noise_level``; or a part, which brings its own. With "missing" cells are hidden, and
        the model fills missing cells: see `impute`.
    noise_level : float, default=0.3
        σ of the Gaussian, p of the others, in scaled units. Not used if ``corruption`` is a part.
    skip : bool, default=True
        Whether a linear path runs beside the hidden layers of encoder and decoder, see `parts.SkipMLP`.
    likelihood : str or Likelihood, default="gaussian"
        "gaussian", "learned_gaussian", "heteroscedastic_gaussian", "bernoulli", "count", or a part.
        "gaussian" makes the loss ‖x − x̂‖² and a constant.
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
    }

    def _recipe(self, n_features: int) -> Recipe:
        return self._recipe_over(InputSpec(type(self).__name__, n_features))

    def _recipe_over(self, columns: InputSpec) -> Recipe:
        named = {name: part(self.noise_level) for name, part in CORRUPTIONS.items() if name == self.corruption}
        corruption, likelihood = (
            resolve("corruption", self.corruption, named, Corruption),
            likelihood_of(self.likelihood),
        )
        given: dict[str, Any] = {
            "corruption": corruption,
            "hidden": sizes_of(self.hidden_layer_sizes),
            "activation": self.activation,
            "likelihood": likelihood,
        }
        is_whole = self.n_latent is None and self.skip
        is_plain = type(likelihood) in (Gaussian, LearnedGaussian) and columns.schema is None
        if is_whole and is_plain and not (columns.allow_missing or corruption.produces_missing):
            return recipes.restoring(columns.width, **given)
        return recipes.denoising(self.n_latent or min(columns.width, _WIDEST_CODE), skip=self.skip, **given)


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class VariationalAutoencoder(BaseAutoencoder):
    r"""A generative model: z ~ N(0, I), x ~ p(x | z), with q(z | x) = N(μ(x), diag σ²(x)) for the posterior.

    Training makes −ELBO = E_q[−log p(x | z)] + β·KL(q(z | x) ‖ N(0, I)) small (Kingma & Welling 2014, "Auto-Encoding
    Variational Bayes"), with β annealed over the epochs (Bowman et al. 2016). β = 1 is the true bound. Held-out
    rows are judged by the β with which the schedule ends.

    Parameters
    ----------
    n_latent : int or None, default=None
        K, the number of latent coordinates. None: as many as there are columns, 256 at most; those that the data do not
        bear switch themselves off. 2 for a picture of the latent space.
    hidden_layer_sizes : tuple of int, default=(128, 128)
        From the input inwards.
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
    likelihood : str or Likelihood, default="heteroscedastic_gaussian"
        p(x | z). "heteroscedastic_gaussian": normal with σ(z) learned per feature and row; "learned_gaussian": with
        σ learned per feature; "gaussian": with σ² = ½ (``Gaussian(sigma)`` for another); "bernoulli"; "count"; or a
        part.
    beta : float, {"linear", "cyclical"} or Schedule, default=1.0
        β. "linear": from 0 to 1 over ten epochs. "cyclical": four times from 0 to 1 (Fu et al. 2019).
    n_samples : int or None, default=None
        Draws of z per row in training. None: 4 up to 16 features, where they cost little, and 1 for more.
    skip : bool, default=True
        Whether a linear path runs beside the hidden layers of encoder and decoder, see `parts.SkipMLP`.
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
