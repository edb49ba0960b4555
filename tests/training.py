"""Small trainings on the usual table, for the tests of the engine."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import examples
from diabolo import parts
from diabolo.core.model import Model
from diabolo.engine.batches import ArraySource, Chunk
from diabolo.engine.trainer import TrainConfig, train

PLAN = TrainConfig(max_epochs=16, batch_size=16, learning_rate=0.01, seed=3)
BASIC = examples.RECIPES["basic"]
VARIATIONAL = examples.RECIPES["variational"]
ANNEALED = VARIATIONAL.replace(objective=parts.ELBO(parts.LinearWarmup(5)), likelihood=parts.Gaussian())

STEEP = {"optimizer": parts.SGD(0.0), "learning_rate_schedule": parts.Constant()}
"""Gradient descent at one rate."""

every_recipe = pytest.mark.parametrize("name", examples.RECIPES)


def built(recipe, rows):
    return Model.build(
        recipe.fit_bounds(jnp.asarray(rows.min(axis=0)), jnp.asarray(rows.max(axis=0))), rows.shape[1], 0
    )


def trained(rows, recipe=BASIC, *, judged=True, **changes):
    """Train on the first 64 rows; judge by the last 16."""
    plan = replace(PLAN, **changes)
    return train(built(recipe, rows), ArraySource(rows[:64]), plan, ArraySource(rows[64:]) if judged else None)


def leaves(outcome):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(outcome.model.weights)]


def same_bits(one, two):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(two), strict=True))


class InPieces:
    """A user's own source: several chunks, each padded to 64 rows with whatever one likes."""

    def __init__(self, pieces, padding=0.0):
        self._pieces, self._padding = pieces, padding
        self.n_features, self.n_rows = pieces[0].shape[1], sum(map(len, pieces))

    def chunk_sizes(self, epoch=1):
        return tuple(len(piece) for piece in self._pieces)

    def chunks(self, epoch=1, start=0):
        for piece in self._pieces[start:]:
            padded = np.full((64, self.n_features), self._padding, np.float32)
            padded[: len(piece)] = piece
            yield Chunk(jnp.asarray(padded), len(piece))


@dataclass(frozen=True)
class InTheLastStep(parts.Schedule):
    """A rate that is nothing until the very last step, and infinite there."""

    steps_per_epoch: float = 4.0

    def __call__(self, t, n_epochs):
        return jnp.where(t > n_epochs - 1.5 / self.steps_per_epoch, jnp.inf, 0.0)

    def warmup_end(self, n_epochs):
        return 0.0
