"""The linear paths of a model, which can be set in closed form, and the blocks of features that its likelihood has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..core.forward import Own
from ..core.latents import Deterministic, DiagonalGaussian
from ..core.layers import Dense, Filter, Fixed, MLPModule, Skip
from ..core.likelihoods import ColumnwiseLikelihood, LearnedGaussian, Likelihood
from ..core.model import Model
from ..core.networks import Identity
from ..core.tied import TransposedModule
from .moments import clipped, known_mean
from .splits import Rows

__all__ = [
    "Block",
    "blocks_of",
    "bounded",
    "dense",
    "inverse_softplus",
    "path",
    "paths",
    "placed",
    "resolutions",
    "resolved",
    "spread",
    "within",
]

_COMPARED_VALUES, _REPEATED, _SAME, _CONSTANT = 4096, 0.75, 1e-5, 1e-3


class Block(NamedTuple):
    """Adjacent features with one likelihood."""

    likelihood: Likelihood
    prefix: str
    """What the names of the likelihood's own weights begin with."""
    features: slice
    outputs: np.ndarray
    """The decoder's outputs for the mean of each feature."""

    def own(self, weights: Own, name: str) -> np.ndarray:
        """Return one of the likelihood's own weights, of these features."""
        found = weights[self.prefix + name]
        return np.asarray(found.value if isinstance(found, Fixed) else found, np.float64)


def blocks_of(likelihood: Likelihood, n_features: int) -> Iterator[Block]:
    """Yield the blocks of a likelihood; one, unless it differs by column."""
    if not isinstance(likelihood, ColumnwiseLikelihood):
        yield Block(likelihood, "", slice(0, n_features), np.arange(n_features))
        return
    first = output = 0
    for i, (one, width) in enumerate(zip(likelihood.blocks, likelihood.widths, strict=True)):
        yield Block(one, f"{i}.", slice(first, first + width), output + np.arange(width))
        first, output = first + width, output + one.n_outputs(width)


def path(module: PyTree) -> PyTree:
    """Return the linear map of a network; None if it has none."""
    if isinstance(module, Skip):
        return module.linear
    if isinstance(module, Filter):
        return module.neighbors
    if isinstance(module, MLPModule) and len(module.layers) == 1 and module.output_activation == "identity":
        return module.layers[0]
    if isinstance(module, TransposedModule) and len(module.biases) == 1:
        return Dense(jax.device_put(np.zeros((module.n_in, module.biases[0].size), np.float32)), module.biases[0])
    return None


def paths(model: Model) -> tuple[PyTree, PyTree] | None:
    """Return the linear maps of encoder and decoder; None if one of them has none. An `Identity` needs no map."""
    encoder = path(model.weights.encoder)
    decoder = model.recipe.decoder if isinstance(model.recipe.decoder, Identity) else path(model.weights.decoder)
    if encoder is None or decoder is None or not isinstance(model.recipe.latent, Deterministic | DiagonalGaussian):
        return None
    return encoder, decoder


def _with_path(module: PyTree, linear: PyTree) -> PyTree:
    if isinstance(module, Skip):
        return eqx.tree_at(lambda m: m.linear, module, linear)
    if isinstance(module, Filter):
        return eqx.tree_at(lambda m: m.neighbors, module, linear)
    if isinstance(module, TransposedModule):
        return eqx.tree_at(lambda m: m.biases[0], module, linear.bias)
    return eqx.tree_at(lambda m: m.layers[0], module, linear)


def dense(weight: np.ndarray, bias: np.ndarray) -> Dense:
    """Return a layer with these weights, in 32 bits."""
    return Dense(*(jax.device_put(np.ascontiguousarray(array, np.float32)) for array in (weight, bias)))


def placed(model: Model, encoder: eqx.Module | None, decoder: Dense | None, likelihood: Own | None = None) -> Model:
    """Return the model with other linear maps; None leaves a map unchanged.

    Decoder outputs other than the mean of each column are set to 0.
    """
    weights = model.weights
    if encoder is not None:
        weights = eqx.tree_at(lambda w: w.encoder, weights, _with_path(weights.encoder, encoder))
    if decoder is not None:
        weight, bias = (np.asarray(array) for array in (decoder.weight, decoder.bias))
        n_outputs = len(path(weights.decoder).bias)
        if n_outputs > len(bias):
            at = np.concatenate([block.outputs for block in blocks_of(model.recipe.likelihood, len(bias))])
            wide = np.zeros((len(weight) + 1, n_outputs), np.float32)
            wide[:, at] = np.vstack([weight, bias])
            decoder = dense(wide[:-1], wide[-1])
        weights = eqx.tree_at(lambda w: w.decoder, weights, _with_path(weights.decoder, decoder))
    if likelihood is not None:
        weights = eqx.tree_at(lambda w: w.likelihood, weights, likelihood)
    return Model(model.recipe, weights)


def bounded(model: Model, rows: Rows) -> Model:
    """Return the model with its encoder's nonlinear path clipped to the bounds of the training rows."""
    if not isinstance(model.weights.encoder, Skip | Filter):
        return model
    recipe, (low, high) = model.recipe, (np.asarray(bound, np.float32) for bound in rows.bounds)
    if recipe.n_targets:
        low, high = low[: -recipe.n_targets], high[: -recipe.n_targets]
    shown = np.array(recipe.encoder_input(jnp.asarray(np.stack([low, high]))))
    if recipe.missing == "mask":
        shown[:, len(low) :] = [[0], [1]]
    return within(model, *shown)


def within(model: Model, low: np.ndarray, high: np.ndarray) -> Model:
    """Return the model with these bounds of its encoder's nonlinear path."""
    new = tuple(Fixed(jax.device_put(np.ascontiguousarray(bound, np.float32))) for bound in (low, high))
    weights = eqx.tree_at(lambda w: (w.encoder.low, w.encoder.high), model.weights, new)
    return Model(model.recipe, weights)


def resolved(model: Model, rows: Rows) -> Model:
    """Return the model with a floor of σ that the resolution of each feature allows.

    A feature with repeated values is rounded: its density could grow without limit at these values, and would carry no
    information. Rounding to steps of δ has an error of standard deviation δ/√12. The floor is δ/√12, or the feature's
    standard deviation if that is smaller. A constant feature may differ by one step in one row after n rows, with a
    standard deviation of δ/√n, where δ is the smallest step of the other features. The floor of a constant feature is
    at least 1e-3, which also applies if no values repeat.
    """
    learned = _learned(model, rows.training.n_features) if not model.recipe.n_targets else []
    if not learned:
        return model
    some = next(clipped(rows))
    some = some[:: max(1, len(some) // _COMPARED_VALUES)]
    std, steps = np.nan_to_num(some - known_mean(some)).std(axis=0), np.zeros(some.shape[1])
    for block, _ in learned:
        steps[block.features] = resolutions(some[:, block.features])
    constant = max(_CONSTANT, float(steps[steps > 0].min(initial=1)) / np.sqrt(rows.n_samples) if steps.any() else 0.0)
    lowest = np.where(std > 0, np.minimum(steps / np.sqrt(12), std), constant)
    new = {
        f"{block.prefix}floor": Fixed(
            jax.device_put(np.maximum(lowest[block.features], likelihood.floor).astype(np.float32))
        )
        for block, likelihood in learned
    }
    return Model(model.recipe, eqx.tree_at(lambda w: w.likelihood, model.weights, model.weights.likelihood | new))


def _learned(model: Model, n_features: int) -> list[tuple[Block, LearnedGaussian]]:
    """Return the blocks with a learned σ, and their likelihoods."""
    blocks = blocks_of(model.recipe.likelihood, n_features)
    return [(one, one.likelihood) for one in blocks if isinstance(one.likelihood, LearnedGaussian)]


def resolutions(rows: np.ndarray) -> np.ndarray:
    """Return the rounding step of each feature: the smallest distance of two values; 0 if values do not repeat.

    >>> resolutions(np.array([[0.1, 1.0], [0.3, 2.25], [0.1, 3.5], [0.3, 4.125], [0.7, 5.0]])).round(3).tolist()
    [0.2, 0.0]
    """
    found = np.zeros(rows.shape[1])
    for j, column in enumerate(rows.T):
        values = np.unique(column[~np.isnan(column)])
        gaps = np.diff(values)
        real = gaps > _SAME * max(1.0, float(np.abs(values).max(initial=0)))
        if real.any() and real.sum() + 1 <= _REPEATED * len(column):
            found[j] = gaps[real].min()
    return found


def spread(model: Model, sigma: np.ndarray) -> Own | None:
    """Return the likelihood's own weights for the given σ of each feature; None if σ is not learned."""
    own: Own = {}
    for block, _ in _learned(model, len(sigma)):
        above = np.maximum(sigma[block.features] - block.own(model.weights.likelihood, "floor"), 1e-4)
        own[f"{block.prefix}spread"] = jax.device_put(inverse_softplus(above).astype(np.float32))
    return model.weights.likelihood | own if own else None


def inverse_softplus(x: np.ndarray) -> np.ndarray:
    """Return the y with log(1 + e^y) = x > 0: learned spreads are the softplus of a weight.

    >>> inverse_softplus(np.log1p(np.exp([-3.0, 2.0]))).round(6).tolist()
    [-3.0, 2.0]
    """
    found: np.ndarray = x + np.log(-np.expm1(-x))
    return found
