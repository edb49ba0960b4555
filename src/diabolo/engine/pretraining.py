"""Greedy layer-wise pre-training: a good initialisation of a deep autoencoder.

For each layer, a one-layer autoencoder is trained on the codes of the layers below, with the same loss and the same
training loop. Its encoder and decoder become layers of the deep network.

Hinton & Salakhutdinov (2006); Bengio et al. (2007), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import equinox as eqx

from ..core.corruptions import Corruption, NoCorruption
from ..core.latents import Deterministic
from ..core.layers import Dense, MLPModule
from ..core.likelihoods import Bernoulli, Gaussian
from ..core.model import Model, Recipe
from ..core.networks import MLP
from ..core.weights import Weights
from ..errors import InvalidPart
from . import inference
from .batches import ArraySource, Source
from .trainer import CheckpointSink, OnEpoch, TrainConfig, train

__all__ = ["layerwise"]

History = dict[str, list[float]]


def layerwise(
    model: Model,
    training: Source,
    held_out: ArraySource | None,
    plan: TrainConfig,
    on_epoch: OnEpoch | None = None,
    keeper: Callable[[str], CheckpointSink | None] = lambda stage: None,
    corruptions: Sequence[Corruption] = (),
) -> tuple[Model, list[History]]:
    """Pre-train every layer, from the input inwards; return the model and the learning curves of each layer.

    Parameters
    ----------
    model, training, held_out, plan, on_epoch
        As for `diabolo.engine.trainer.train`.
    keeper
        Function from a layer's name to its checkpoint sink.
    corruptions
        The corruption of each layer's input during its training (Vincent et al. 2010, section 3.5); empty: none. Above
        the first layer corruptions are not fitted to the bounds of features, so `SaltAndPepper` needs explicit bounds.

    Raises
    ------
    InvalidPart
        If encoder and decoder are not mirrored dense layers around a `Deterministic` latent.
    """
    sizes, encoder, decoder = _layers(model)
    corruptions = corruptions or [NoCorruption()] * len(encoder)
    histories = []
    for depth in range(len(encoder)):
        seed = plan.seed + 1 + depth
        missing = "error" if depth else model.recipe.missing
        recipe = _one_layer(model.recipe, depth, sizes).replace(corruption=corruptions[depth], missing=missing)
        shallow = Model.build(recipe, training.n_features, seed)
        trained = train(shallow, training, replace(plan, seed=seed), held_out, on_epoch, keeper(f"layer-{depth + 1}"))
        encoder[depth] = trained.model.weights.encoder.layers[0]  # type: ignore[attr-defined]
        decoder[-1 - depth] = trained.model.weights.decoder.layers[0]  # type: ignore[attr-defined]
        histories.append(trained.history)
        code = partial(inference.map_rows, inference.code, trained.model)
        training = training.mapped(code)
        held_out = None if held_out is None else held_out.mapped(code)
    return Model(model.recipe, _with_layers(model.weights, encoder, decoder)), histories


def _layers(model: Model) -> tuple[tuple[int, ...], list[Dense], list[Dense]]:
    recipe, weights = model.recipe, model.weights
    if not (
        isinstance(recipe.encoder, MLP)
        and recipe.decoder == recipe.encoder.reversed()
        and isinstance(recipe.latent, Deterministic)
    ):
        raise InvalidPart(
            "Layer-wise pre-training needs mirrored dense layers around a Deterministic latent; got "
            f"{recipe.encoder!r}, {recipe.latent!r}, {recipe.decoder!r}."
        )
    assert isinstance(weights.encoder, MLPModule)
    assert isinstance(weights.decoder, MLPModule)
    sizes = (*recipe.encoder.hidden, recipe.latent.n_latent)
    return sizes, list(weights.encoder.layers), list(weights.decoder.layers)


def _one_layer(recipe: Recipe, depth: int, sizes: tuple[int, ...]) -> Recipe:
    """Return the recipe of one layer's autoencoder. Inputs above the first layer are outputs of the activation."""
    assert isinstance(recipe.encoder, MLP)
    assert isinstance(recipe.latent, Deterministic)
    hidden, last, first = recipe.encoder.activation, depth == len(sizes) - 1, depth == 0
    in_unit_interval = hidden == "sigmoid"
    return Recipe(
        encoder=MLP(()),
        latent=Deterministic(sizes[depth], recipe.latent.activation if last else hidden),
        decoder=MLP((), output_activation="identity" if first or in_unit_interval else hidden),
        likelihood=recipe.likelihood if first else Bernoulli() if in_unit_interval else Gaussian(),
    )


def _with_layers(weights: Weights, encoder: list[Dense], decoder: list[Dense]) -> Weights:
    new: Weights = eqx.tree_at(
        lambda w: (w.encoder.layers, w.decoder.layers), weights, (tuple(encoder), tuple(decoder))
    )
    return new
