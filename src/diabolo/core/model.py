r"""The formula of all autoencoders, written once.

    x ──g──► x̃ ──F──► h ──► q(z | x̃) ──► z ──G──► η ──► p(x | z)        loss = objective + Σ weightᵢ · penaltyᵢ

A `Recipe` names the component of each role; a `Model` is a recipe with weights; `loss` is the formula read from left to
right. Every system of the lecture is a value of `Recipe`, and the code below does not depend on which one it is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .. import jax_config
from ..errors import InvalidPart
from . import distributions
from .component import Component, choice_field, component_field, component_tuple_field, int_field, int_tuple_field
from .corruptions import Corruption, NoCorruption
from .distributions import Distribution
from .forward import ForwardPass, Own, mean_over_rows
from .latents import Deterministic, Latent
from .likelihoods import Gaussian, Likelihood
from .networks import MLP, Network
from .objectives import LossTerms, Objective, PosteriorSamples, Reconstruction
from .penalties import Penalty
from .priors import Prior, StandardNormal
from .weights import Updates, Weights

__all__ = ["Model", "Recipe", "loss", "training_loss"]


@dataclass(frozen=True)
class Recipe(Component):
    """One autoencoder as a value: a component for every role of the formula.

    Parameters
    ----------
    corruption : Corruption, default=NoCorruption()
        Corruption of the training rows before the encoder.
    encoder : Network, default=MLP()
        Map from a row to the input of the latent.
    latent : Latent, default=Deterministic()
        The code, or its distribution q(z | x).
    prior : Prior, default=StandardNormal()
        Prior π(z) of the code.
    decoder : Network or None, default=None
        Map from a code to the parameters of the likelihood. None: the reversed encoder.
    likelihood : Likelihood, default=Gaussian()
        Distribution p(x | z) of a row.
    objective : Objective, default=Reconstruction()
        The function that training minimises, without the penalties.
    penalties : tuple of Penalty, default=()
        Terms added to the loss.
    n_targets : int, default=0
        Number of trailing columns used as prediction targets y instead of inputs. x is the row without these columns,
        and the likelihood is p(y | z). 0: the row itself is the target, with the likelihood p(x | z).
    inputs : Likelihood, default=Gaussian()
        The likelihood of rows that have targets, from which the encoder takes how to transform and mask them. By
        default: real numbers. Rows without targets have ``likelihood``.
    missing : {"error", "mask"}, default="error"
        How missing cells (NaN) are handled. Always "mask" if the corruption produces missing cells. "error": missing
        cells are not allowed. "mask": the encoder reads 0 in each missing cell, and a mask of the missing cells as
        further inputs, one per column. The likelihood is that of the observed cells, p(x_observed | z), which excludes
        the missing cells exactly (Nazábal et al. 2020, eq. 2; Mattei & Frellsen 2019, eq. 4).
    condition : tuple of int, default=()
        The positions of the features of a row that are a condition c: the decoder reads them beside z, and the
        likelihood is that of the other features, p(x | z, c). The encoder reads the whole row, q(z | x, c), and a
        corruption leaves the condition as it is (Sohn, Lee & Yan 2015).

    Raises
    ------
    InvalidPart
        If a component has the wrong role, or two components are incompatible.

    Examples
    --------
    >>> Recipe(encoder=MLP((32, 16)), latent=Deterministic(4)).decoder.hidden
    (16, 32)
    """

    role: ClassVar[str] = "recipe"

    corruption: Corruption = component_field(Corruption, NoCorruption())
    encoder: Network = component_field(Network, MLP())
    latent: Latent = component_field(Latent, Deterministic())
    prior: Prior = component_field(Prior, StandardNormal())
    decoder: Network | None = component_field(Network, None)
    likelihood: Likelihood = component_field(Likelihood, Gaussian())
    objective: Objective = component_field(Objective, Reconstruction())
    penalties: tuple[Penalty, ...] = component_tuple_field(Penalty)
    n_targets: int = int_field(0, "[0, 2147483647]")
    inputs: Likelihood = component_field(Likelihood, Gaussian())
    missing: str = choice_field("error", ("error", "mask"))
    condition: tuple[int, ...] = int_tuple_field((), "[0, 2147483647]")

    def __post_init__(self) -> None:
        if self.decoder is None and isinstance(self.encoder, Network):
            object.__setattr__(self, "decoder", self.encoder.reversed())
        if isinstance(self.corruption, Corruption) and self.corruption.produces_missing:
            object.__setattr__(self, "missing", "mask")
        super().__post_init__()
        if self.objective.needs_posterior and not self.latent.stochastic:
            raise InvalidPart(
                f"{type(self.objective).__name__} needs a posterior with a density, but {self.latent!r} has none. "
                f"Use DiagonalGaussian({self.latent.n_latent}), or the objective Reconstruction()."
            )
        if self.condition and self.n_targets:
            raise InvalidPart("A recipe with targets has no condition: the encoder reads all other columns.")
        for penalty in self.penalties:
            if penalty.needs_unit_code and not self.latent.in_unit_interval:
                raise InvalidPart(
                    f"{type(penalty).__name__} is defined for codes in (0, 1), but {self.latent!r} allows others. "
                    'Use Deterministic(n_latent, activation="sigmoid").'
                )

    @property
    def input_likelihood(self) -> Likelihood:
        """The likelihood of the columns that the encoder reads."""
        return self.inputs if self.n_targets else self.likelihood

    @property
    def for_validation(self) -> Self:
        """The recipe for validation: the recipe itself, but without corruption if it has targets.

        A denoiser is validated on corrupted rows, because on clean rows the identity would be the best model.
        """
        return self.replace(corruption=NoCorruption()) if self.n_targets else self

    def split_targets(self, rows: Float[Array, "n d"]) -> tuple[Float[Array, "n r"], Float[Array, "n t"]]:
        """Split rows into the columns that the encoder reads and the targets of the likelihood."""
        if not self.n_targets:
            return rows, rows
        return rows[:, : -self.n_targets], rows[:, -self.n_targets :]

    def corrupted(self, key: PRNGKeyArray, x: Float[Array, "n r"]) -> Float[Array, "n r"]:
        """Return the corrupted rows x̃ = g(x); missing cells stay missing."""
        noisy = self.corruption(key, x)
        if self.condition:
            noisy = jnp.where(self.is_condition(x.shape[-1]), x, noisy)
        if self.missing == "error":
            return noisy
        if self.corruption.produces_missing:
            hidden = jnp.isnan(noisy)
            noisy = jnp.where(self.input_likelihood.expand_mask(hidden), jnp.nan, jnp.where(hidden, x, noisy))
        return jnp.where(jnp.isnan(x), x, noisy)

    def encoder_input(self, x: Float[Array, "n r"]) -> Float[Array, "n i"]:
        """Return the input of the encoder: the transformed rows and, with missing="mask", the mask."""
        transformed = self.input_likelihood.transform_input(x)
        if self.missing == "error":
            return transformed
        missing = jnp.isnan(x)
        return jnp.concatenate([jnp.where(missing, 0, transformed), missing.astype(x.dtype)], axis=-1)

    def is_condition(self, n_features: int) -> np.ndarray:
        """Return whether each feature of a row belongs to the condition, (d,)."""
        found = np.zeros(n_features, bool)
        found[list(self.condition)] = True
        return found

    def decoded_condition(self, n_features: int) -> tuple[int, ...]:
        """Return the positions of features of the condition that the decoder reads."""
        own = self.likelihood.own_condition(n_features)
        return tuple(at for at in self.condition if at not in own)

    def updates(self, weights: Weights, seen: ForwardPass, in_training: Weights | None = None) -> Updates:
        """Return new values of weights that are not trained by gradient; those of networks need them in training.

        Raises
        ------
        InvalidPart
            If a component returns weights that it does not own.
        """
        return Updates(
            _updated(self.latent, weights.latent, seen),
            _updated(self.prior, weights.prior, seen),
            _updated(self.objective, weights.objective, seen),
            tuple(_updated(part, own, seen) for part, own in zip(self.penalties, weights.penalties, strict=False)),
            *(() if in_training is None else self._updated_networks(in_training, seen)),
        )

    def _updated_networks(self, weights: Weights, seen: ForwardPass) -> tuple[eqx.Module | None, ...]:
        encoder, decoder = self.encoder, self.decoder
        assert decoder is not None
        return (
            encoder.updated(weights.encoder, self.encoder_input(seen.x)) if encoder.has_training_mode else None,
            decoder.updated(weights.decoder, _joined(seen.z, seen.condition)) if decoder.has_training_mode else None,
        )

    def fit_bounds(self, low: Float[Array, " d"], high: Float[Array, " d"]) -> Self:
        """Return a copy whose corruption is fitted to the training data's bounds: minimum and maximum per feature."""
        return self.replace(corruption=self.corruption.fit_bounds(low, high))

    def fit_units(self, offset: Float[Array, " d"], scale: Float[Array, " d"]) -> Self:
        """Return a copy whose corruption is fitted to the scaling, x·scale + offset, of each feature."""
        return self.replace(corruption=self.corruption.fit_units(offset, scale))


def _updated(part: Latent | Prior | Objective | Penalty, own: Own, seen: ForwardPass) -> Own:
    new = part.updated(own, seen)
    if unknown := sorted(set(new) - set(own)):
        raise InvalidPart(f"{type(part).__name__}.updated returns {unknown}, which its build does not.")
    return new


def _built(network: Network, rng: np.random.Generator, n_in: int, n_out: int) -> eqx.Module:
    """Build a network, and check that it is a function of rows only.

    Raises
    ------
    InvalidPart
        If it has a layer with noise or a state of its own, such as dropout or batch normalisation.
    """
    module = network.build(rng, n_in, n_out)
    special = (eqx.nn.Dropout, eqx.nn.StatefulLayer)
    for layer in jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, special)):
        if isinstance(layer, special) and not (isinstance(layer, eqx.nn.Dropout) and layer.inference):
            raise InvalidPart(
                f"{network!r} has a layer {type(layer).__name__}, which needs noise or a state. A network is a "
                "function of rows: use parts.RegularizedMLP, or Network.in_training of your own."
            )
    return module


class Model(eqx.Module):
    """A recipe with its weights."""

    recipe: Recipe
    weights: Weights

    @classmethod
    @jax_config.standard()
    def build(cls, recipe: Recipe, n_features: int, seed: int | np.random.Generator) -> Model:
        """Create a model with random weights for ``n_features`` columns. The same seed gives the same bits."""
        rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng([seed, 0])
        latent, likelihood, n_targets = recipe.latent, recipe.likelihood, recipe.n_targets or n_features
        weights = Weights(
            encoder=_built(recipe.encoder, rng, n_features * (1 + (recipe.missing == "mask")), latent.n_outputs),
            decoder=_built(
                recipe.decoder or recipe.encoder.reversed(),
                rng,
                latent.n_latent + len(recipe.decoded_condition(n_features)),
                likelihood.n_outputs(n_targets),
            ),
            likelihood=likelihood.build(n_targets),
            latent=latent.build(rng, n_features, latent.n_latent),
            prior=recipe.prior.build(rng, n_features, latent.n_latent),
            objective=recipe.objective.build(rng, n_features, latent.n_latent),
            penalties=tuple(penalty.build(rng, n_features, latent.n_latent) for penalty in recipe.penalties),
        )
        model = cls(recipe, weights)
        _ = model.decoder  # raises if it does not fit the encoder
        return model

    @jax_config.standard()
    def fit_corruption(self, scaling: tuple[np.ndarray, np.ndarray], bounds: tuple[np.ndarray, np.ndarray]) -> Model:
        """Return a copy whose corruption is fitted to the offset and the scale, and the minimum and the maximum.

        Each has shape (d,). The minimum and the maximum are those of scaled training rows.
        """
        offset, scale, low, high = (jax.device_put(np.asarray(some, np.float32)) for some in (*scaling, *bounds))
        return Model(self.recipe.fit_units(offset, scale).fit_bounds(low, high), self.weights)

    def widened(self, n_features: int) -> Model:
        """Return the same function with hidden layers of few sizes: see `core.networks.Network.widened`.

        Training both gives the same model, except for rounding, if the optimiser treats each weight by itself.
        """
        recipe = self.recipe
        decoder = None if recipe.decoder is None else recipe.decoder.widened()
        larger = Model.build(recipe.replace(encoder=recipe.encoder.widened(), decoder=decoder), n_features, 0)
        return Model(larger.recipe, jax.tree.map(_embedded, larger.weights, self.weights))

    @property
    def decoder(self) -> eqx.Module:
        """The decoder, with the matrices of the encoder if the weights are tied, or with a condition."""
        decoder = self.weights.decoder
        assert self.recipe.decoder is not None
        is_whole = isinstance(decoder, _Conditioned)
        return decoder if is_whole else self.recipe.decoder.bound(decoder, self.weights.encoder)

    @property
    def prior(self) -> Distribution:
        """The prior π(z)."""
        return self.recipe.prior.distribution(self.recipe.latent.n_latent, self.weights.prior, self.encode)

    def in_training(self, key: PRNGKeyArray, row_weight: Float[Array, " n"]) -> Model:
        """Return the model as it is in a step of training; the model itself if its networks have no such mode."""
        weights, networks = self.weights, (self.recipe.encoder, self.recipe.decoder)
        encoder, decoder = (
            network.in_training(module, jax.random.fold_in(key, i), row_weight)
            if network is not None and network.has_training_mode
            else module
            for i, (network, module) in enumerate(zip(networks, (weights.encoder, weights.decoder), strict=True), 2)
        )
        if encoder is weights.encoder and decoder is weights.decoder:
            return self
        return Model(self.recipe, dataclasses.replace(weights, encoder=encoder, decoder=decoder))

    def encode(self, x: Float[Array, "n d"]) -> Distribution:
        """Return q(z | x) = latent(F(x)), (n, d) → n posteriors over (K,)."""
        return self.posterior(self.encoded(x))

    def encoded(self, x: Float[Array, "n d"]) -> Float[Array, "n m"]:
        """Return h = F(x), the output of the encoder."""
        h: Array = self.weights.encoder(self.recipe.encoder_input(x))  # type: ignore[operator]
        return h

    def posterior(self, h: Float[Array, "n m"]) -> Distribution:
        """Return q(z | x) at the output of the encoder."""
        return self.recipe.latent.posterior(h, self.weights.latent)

    def given(self, rows: Float[Array, "*batch d"]) -> Model:
        """Return the model whose decoder reads the condition of these rows; the model itself if it has no condition."""
        recipe, decoder = self.recipe, self.decoder
        if not recipe.condition:
            return self
        module = decoder.module if isinstance(decoder, _Conditioned) else decoder
        transformed = recipe.input_likelihood.transform_input(rows)
        runs = _runs(recipe.decoded_condition(rows.shape[-1]))
        read = jnp.concatenate([transformed[..., :0], *(transformed[..., start:end] for start, end in runs)], axis=-1)
        weights = dataclasses.replace(self.weights, decoder=_Conditioned(module, read, rows))
        return Model(recipe, weights)

    def decode(self, z: Float[Array, "*batch k"]) -> Distribution:
        """Return p(x | z) = likelihood(G(z)), (…, K) → densities over (…, d); with a condition, that of `given`."""
        decoder = self.decoder
        likelihood, own, eta = self.recipe.likelihood, self.weights.likelihood, decoder(z)  # type: ignore[operator]
        if not isinstance(decoder, _Conditioned):
            return likelihood(eta, own)
        density = likelihood.given(eta, own, decoder.rows)
        known = jnp.asarray(self.recipe.is_condition(decoder.rows.shape[-1]))
        return distributions.Given(density, decoder.rows, known)

    def log_likelihood(self, targets: Float[Array, "..."], z: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        """Return log p(x | z) of the observed cells of each row, in nats."""
        density = self.decode(z)
        if self.recipe.missing == "error":
            return density.log_prob(targets).sum(-1)
        observed = ~jnp.isnan(targets)
        # Missing cells are set to 0 before log_prob, because the gradient of an unused NaN is NaN.
        return jnp.where(observed, density.log_prob(jnp.where(observed, targets, 0)), 0).sum(-1)

    def code(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        """Return the deterministic code: the mean of the posterior."""
        return self.encode(x).mean

    def reconstruct(self, x: Float[Array, "n r"]) -> Float[Array, "n t"]:
        """Return x̂ = E[x | z] (or E[y | z], if the recipe has targets) at the deterministic code."""
        return self.given(x).decode(self.code(x)).mean


def _runs(positions: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return adjacent positions as slices, which cost less than a gather, and can be exported."""
    starts = [at for at in positions if at - 1 not in positions]
    ends = [at + 1 for at in positions if at + 1 not in positions]
    return list(zip(starts, ends, strict=True))


class _Conditioned(eqx.Module):
    """A decoder that reads the condition of some rows after the code."""

    module: eqx.Module
    condition: Float[Array, "*rows c"]
    rows: Float[Array, "*rows d"]

    def __call__(self, z: Float[Array, "*batch k"]) -> Float[Array, "*batch m"]:
        out: Array = self.module(_joined(z, self.condition))  # type: ignore[operator]
        return out


def _joined(z: Float[Array, "*batch k"], condition: Float[Array, "*rows c"] | None) -> Float[Array, "*batch i"]:
    """Return what the decoder reads: codes, and the condition of their rows."""
    if condition is None:
        return z
    return jnp.concatenate([z, jnp.broadcast_to(condition, (*z.shape[:-1], condition.shape[-1]))], axis=-1)


def _terms_by_selected_samples(
    model: Model, targets: Float[Array, "n t"], seen: ForwardPass, beta: Float[Array, ""], key: PRNGKeyArray
) -> tuple[LossTerms, Float[Array, "m n k"]]:
    """Return the terms of an objective, with the gradient of a few selected samples per row, and these samples."""
    objective, z, q = model.recipe.objective, seen.z, seen.q
    fixed, fixed_z, fixed_q = jax.lax.stop_gradient((eqx.filter(model, eqx.is_array), z, q))
    fixed = eqx.combine(fixed, model)
    drawn = PosteriorSamples(fixed.log_likelihood(targets, fixed_z), fixed_z, fixed_q, seen.prior, seen)
    terms = objective.terms(drawn, beta, fixed.weights.objective)
    chosen = objective.select_gradient_samples(jax.random.fold_in(key, 1), drawn)
    some = jnp.take_along_axis(z, chosen[..., None], axis=0)
    selected = PosteriorSamples(model.log_likelihood(targets, some), some, q, seen.prior, seen)
    selected_loss = -selected.log_weights().mean(0)
    return terms._replace(loss=terms.loss + selected_loss - jax.lax.stop_gradient(selected_loss)), some


def loss(
    model: Model,
    rows: Float[Array, "n d"],
    key: PRNGKeyArray,
    beta: Float[Array, ""],
    row_weight: Float[Array, " n"],
    n_rows: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Return the loss that training minimises, and its terms by name (means over rows, in nats).

    Parameters
    ----------
    model : Model
    rows : (n, d)
        Clean rows. They are corrupted here; the clean rows (or their targets) are the targets of the likelihood.
    key
        The random key of the corruption and of the samples of z.
    beta
        The current weight of the KL term.
    row_weight : (n,)
        The weight of each row: 1, or 0 for padding.
    n_rows
        The number of training rows. None: that of these rows.
    """
    total, named, _ = _formula(model, model, rows, key, beta, row_weight, n_rows)
    return total, named


def training_loss(
    model: Model,
    rows: Float[Array, "n d"],
    key: PRNGKeyArray,
    beta: Float[Array, ""],
    row_weight: Float[Array, " n"],
    n_rows: Float[Array, ""],
) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], Updates]]:
    """Return the `loss`, with its terms and the `Recipe.updates` of weights that have no gradient."""
    active = model.in_training(key, row_weight)
    total, named, seen = _formula(model, active, rows, key, beta, row_weight, n_rows)
    return total, (named, jax.lax.stop_gradient(model.recipe.updates(model.weights, seen, active.weights)))


def _formula(
    model: Model,
    active: Model,
    rows: Float[Array, "n d"],
    key: PRNGKeyArray,
    beta: Float[Array, ""],
    row_weight: Float[Array, " n"],
    n_rows: Float[Array, ""] | None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]], ForwardPass]:
    recipe, weights, model, active = model.recipe, model.weights, model.given(rows), active.given(rows)
    x, targets = recipe.split_targets(rows)
    corruption_key, latent_key = jax.random.split(key)
    corrupted = recipe.corrupted(corruption_key, x)
    h = active.encoded(corrupted)
    q = active.posterior(h)
    z = q.sample(latent_key, (recipe.objective.n_samples,))
    seen = ForwardPass(
        corrupted,
        z,
        row_weight,
        model.code,
        weights,
        h=h,
        q=q,
        prior=model.prior,
        key=jax.random.fold_in(key, 1),
        n_rows=row_weight.sum() if n_rows is None else n_rows,
        condition=model.weights.decoder.condition if isinstance(model.weights.decoder, _Conditioned) else None,
    )
    if recipe.objective.n_gradient_samples:
        terms, some = _terms_by_selected_samples(active, targets, seen, beta, latent_key)
        seen = dataclasses.replace(seen, z=some)
    else:
        drawn = PosteriorSamples(active.log_likelihood(targets, z), z, q, seen.prior, seen)
        terms = recipe.objective.terms(drawn, beta, model.weights.objective)

    penalty = jnp.zeros(())
    named: dict[str, Array] = {}
    owns = (
        *model.weights.penalties,
        *({} for _ in recipe.penalties),
    )  # a penalty may be added after the model is built
    for part, own in zip(recipe.penalties, owns, strict=False):
        value, numbers = part.weighted(seen, own)
        named |= {type(part).__name__: value, **numbers}
        penalty = penalty + value

    total = mean_over_rows(terms.loss, row_weight) + penalty
    named |= {name: mean_over_rows(value, row_weight) for name, value in terms.parts.items()}
    return total, {"loss": total, **named}, seen


def _embedded(room: Array, array: Array) -> Array:
    """Return an array of the shape of ``room`` that begins with ``array`` along every axis, and is 0 elsewhere."""
    if room.shape == array.shape:
        return array
    return jax.device_put(np.pad(np.asarray(array), [(0, n - m) for n, m in zip(room.shape, array.shape, strict=True)]))
