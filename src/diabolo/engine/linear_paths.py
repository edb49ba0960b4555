"""The linear maps of a model's networks, which a start in closed form sets, and the rows that it is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from ..core.latents import Deterministic, DiagonalGaussian
from ..core.layers import Dense, Filter, MLPModule, Skip
from ..core.model import Model
from ..core.networks import Identity
from .sharding import current
from .splits import Rows

__all__ = ["dense", "path", "paths", "pieces", "placed", "with_path"]


def path(module: PyTree) -> PyTree:
    """Return the linear map of a network; None if it has none."""
    if isinstance(module, Skip):
        return module.linear
    if isinstance(module, Filter):
        return module.neighbors
    if isinstance(module, MLPModule) and len(module.layers) == 1 and module.output_activation == "identity":
        return module.layers[0]
    return None


def paths(model: Model) -> tuple[PyTree, PyTree] | None:
    """Return the linear maps of encoder and decoder; None if one of them has none. An `Identity` needs no map."""
    encoder = path(model.weights.encoder)
    decoder = model.recipe.decoder if isinstance(model.recipe.decoder, Identity) else path(model.weights.decoder)
    if encoder is None or decoder is None or not isinstance(model.recipe.latent, Deterministic | DiagonalGaussian):
        return None
    return encoder, decoder


def with_path(module: PyTree, linear: eqx.Module) -> PyTree:
    """Return a network with another linear map."""
    if isinstance(module, Skip):
        return eqx.tree_at(lambda m: m.linear, module, linear)
    if isinstance(module, Filter):
        return eqx.tree_at(lambda m: m.neighbors, module, linear)
    return eqx.tree_at(lambda m: m.layers[0], module, linear)


def dense(weight: np.ndarray, bias: np.ndarray) -> Dense:
    """Return a linear map of 32 bits on the device."""
    return Dense(*(jax.device_put(np.ascontiguousarray(array, np.float32)) for array in (weight, bias)))


def placed(model: Model, encoder: Any, decoder: Any, likelihood: Any = None) -> Model:
    """Return the model with other linear maps; None leaves a map unchanged.

    Decoder outputs other than the mean of each column are set to 0.
    """
    weights = model.weights
    if encoder is not None:
        weights = eqx.tree_at(lambda w: w.encoder, weights, with_path(weights.encoder, encoder))
    if decoder is not None:
        beyond = len(path(weights.decoder).bias) - len(decoder.bias)
        decoder = dense(np.pad(decoder.weight, ((0, 0), (0, beyond))), np.pad(decoder.bias, (0, beyond)))
        weights = eqx.tree_at(lambda w: w.decoder, weights, with_path(weights.decoder, decoder))
    if likelihood is not None:
        weights = eqx.tree_at(lambda w: w.likelihood, weights, likelihood)
    return Model(model.recipe, weights)


def pieces(rows: Rows, *, with_held_out: bool = True) -> Iterator[np.ndarray]:
    """Yield all rows in scaled units, 32-bit, chunk by chunk, held-out rows last. Every process reads all rows."""
    for source in (rows.training, rows.held_out if with_held_out else None):
        for chunk in source.chunks() if source is not None else ():
            whole = current().gathered(chunk.rows) if isinstance(chunk.rows, np.ndarray) else chunk.rows
            yield np.asarray(whole)[: chunk.n_rows]
