"""Divergence: the compiled loop gives its epoch, step and term, alone and mapped over many trainings."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

import examples
from diabolo import parts
from diabolo.core.model import Model
from diabolo.engine import trainer, vmap_trainer
from diabolo.engine.batches import ArraySource
from diabolo.engine.trainer import TrainConfig, TrainResult, train
from diabolo.engine.vmap_trainer import train_many
from diabolo.errors import TrainingDiverged


@dataclass(frozen=True)
class InfiniteFrom(parts.Schedule):
    """A rate of 0 until a step, counted from 0, and infinite from there on; four steps an epoch."""

    step: float = 0.0

    def __call__(self, t, n_epochs):
        return jnp.where(4 * t > self.step - 0.5, jnp.inf, 0.0)

    def warmup_end(self, n_epochs):
        return 0.0


@pytest.fixture(scope="module")
def rows(table):
    return ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)


def job(rows, step, recipe):
    plan = TrainConfig(max_epochs=16, batch_size=16, seed=3, learning_rate_schedule=InfiniteFrom(step))
    return Model.build(recipe, rows.shape[1], 0), ArraySource(rows[:64]), plan, None


def where(error):
    return error.epoch, error.step, set(error.term.split(", "))


@pytest.mark.parametrize("step", [0, 2, 3, 9, 30])
@pytest.mark.parametrize(("name", "terms"), [("basic", {"reconstruction"}), ("variational", {"kl", "reconstruction"})])
def test_alone_and_among_many_the_same_step_is_named(step, name, terms, rows, monkeypatch):
    monkeypatch.setattr(vmap_trainer, "plan_groups", lambda group: (len(group), 1))
    recipe = examples.RECIPES[name]
    one, many = job(rows, float(step), recipe), [job(rows, float(at), recipe) for at in (500, step, 600)]
    with pytest.raises(TrainingDiverged) as alone:
        train(*one)
    mapped, interrupted = train_many(many)
    assert [type(one) for one in mapped] == [TrainResult, TrainingDiverged, TrainResult]
    assert not interrupted
    epoch, within = divmod(step + 1, 4)  # the first step whose loss such weights give
    assert where(alone.value) == where(mapped[1]) == (epoch + 1, within + 1, terms)


def test_the_step_is_not_searched_for(rows, monkeypatch):
    """The step is known before anything is run again; for σ the steps before it are run once, or twice."""
    real, calls, before = trainer.run_epochs, [], trainer.Trainer._sigma_before

    def sigma_before(run, way, error):
        calls.clear()
        assert error.step is not None
        return before(run, way, error)

    monkeypatch.setattr(trainer, "run_epochs", lambda *given, **options: calls.append(1) or real(*given, **options))
    monkeypatch.setattr(trainer.Trainer, "_sigma_before", sigma_before)
    for step in (0, 30):
        with pytest.raises(TrainingDiverged) as caught:
            train(*job(rows, float(step), examples.RECIPES["variational"]))
        assert np.isfinite(caught.value.sigma).all()
        assert len(calls) <= 4
