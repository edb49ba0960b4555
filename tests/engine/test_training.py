"""The loop: the same bits from the same seed, every row used, the best epoch kept, divergence said."""

import math
import warnings
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import examples
from diabolo import parts
from diabolo.engine import inference, trainer
from diabolo.engine.batches import ArraySource, bucket_size
from diabolo.engine.trainer import TrainConfig, train
from diabolo.errors import TrainingDiverged
from training import (
    ANNEALED,
    BASIC,
    PLAN,
    STEEP,
    VARIATIONAL,
    InPieces,
    InTheLastStep,
    built,
    every_recipe,
    leaves,
    same_bits,
    trained,
)

reproducible = settings(max_examples=100, deadline=None, derandomize=True, database=None)

# -- the same seed, the same bits -------------------------------------------------------------------------------------


@every_recipe
def test_the_same_seed_gives_the_same_bits(name, rows):
    one, two = (trained(rows, examples.RECIPES[name]) for _ in range(2))
    assert same_bits(one, two)
    assert one.history == two.history
    assert one.best_epoch == two.best_epoch


@every_recipe
def test_another_seed_gives_another_outcome(name, rows):
    one, two = (trained(rows, examples.RECIPES[name], seed=seed) for seed in (3, 4))
    assert not same_bits(one, two)


@every_recipe
def test_the_loss_falls(name, rows):
    history = trained(rows, examples.RECIPES[name], max_epochs=31, learning_rate=0.02).history
    assert history["loss"][-1] < history["loss"][0]
    assert min(history["validation_loss"]) < history["validation_loss"][0]


def test_held_out_rows_do_not_change_the_training(rows):
    judged, others = (trained(rows, judged=judged) for judged in (True, False))
    assert judged.history["loss"] == others.history["loss"]


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_how_many_epochs_are_run_at_once_changes_nothing(at_once, rows, monkeypatch):
    """How many epochs go into one call depends on the machine's speed; the outcome must not."""
    usual = trained(rows, VARIATIONAL, max_epochs=20)
    monkeypatch.setattr(trainer, "epochs_within", lambda seconds, n_run: at_once)
    other = trained(rows, VARIATIONAL, max_epochs=20)
    assert same_bits(usual, other)
    assert usual.history == other.history
    assert usual.best_epoch == other.best_epoch


def test_training_leaves_the_model_that_it_starts_from_alone(rows):
    model = built(BASIC, rows)
    before = [np.array(leaf) for leaf in jax.tree.leaves(model.weights)]
    train(model, ArraySource(rows[:64]), PLAN, ArraySource(rows[64:]))
    assert all(np.array_equal(a, b) for a, b in zip(before, jax.tree.leaves(model.weights), strict=True))


def test_a_tiny_rate_keeps_the_weights_and_a_larger_one_moves_them_all(rows):
    start = [np.asarray(leaf) for leaf in jax.tree.leaves(built(BASIC, rows).weights)]
    still, moved = (leaves(trained(rows, learning_rate=rate)) for rate in (1e-12, 0.01))
    assert all(np.allclose(a, b, atol=1e-9) for a, b in zip(start, still, strict=True))
    assert all(np.all(a != b) for a, b in zip(start, moved, strict=True))


# -- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 20, 63])
def test_every_row_is_used_in_the_first_epoch(n_rows, rows):
    """A row that is not a number, wherever it stands, shows in the first epoch's loss."""
    model = built(BASIC, rows)
    for i in range(n_rows):
        poisoned = rows[:n_rows].copy()
        poisoned[i] = np.nan
        with pytest.raises(TrainingDiverged) as caught:
            train(model, InPieces([poisoned]), PLAN)
        assert caught.value.epoch == 1


@reproducible
@given(n_rows=st.integers(1, 700), batch_size=st.integers(1, 300))
def test_every_row_is_used_about_equally_often(n_rows, batch_size):
    plan = TrainConfig(batch_size=batch_size)
    batch = trainer._batch(n_rows, plan)
    n_steps = -(-n_rows // batch)
    counts = np.bincount(trainer._order(plan.seed, 1, 0, n_rows, (n_steps, batch)).ravel(), minlength=n_rows)
    assert len(counts) == n_rows
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1
    assert batch <= max(batch_size, 2 * n_rows)


@pytest.mark.parametrize("change", [{"epoch": 2}, {"chunk": 1}, {"seed": 1}])
def test_the_order_changes_with_epoch_chunk_and_seed(change):
    arguments = {"seed": 0, "epoch": 1, "chunk": 0, "n_rows": 100, "shape": (4, 25)}
    first, again, other = (trainer._order(**a) for a in (arguments, arguments, arguments | change))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert set(first.ravel()) == set(other.ravel()) == set(range(100))


@reproducible
@given(st.integers(1, 3_000_000))
def test_the_grid_of_sizes_holds_every_number_with_little_waste(n):
    size = bucket_size(n)
    assert size >= n
    assert size <= max(16, 2 * n)
    assert bucket_size(size) == size
    if n > 16 * 2048:
        assert size <= 1.13 * n
        assert size % 2048 == 0


def test_the_grid_of_sizes_is_coarse():
    assert len({bucket_size(n) for n in range(1, 100_000)}) < 40


@pytest.mark.parametrize("n_rows", [1, 17])
def test_any_number_of_rows_trains(n_rows, rows):
    outcome = train(built(BASIC, rows), ArraySource(rows[:n_rows]), PLAN)
    assert np.isfinite(outcome.history["loss"]).all()
    assert outcome.history["loss"][-1] < outcome.history["loss"][0]


def test_padding_never_reaches_the_training(rows):
    clean, poisoned = (train(built(BASIC, rows), InPieces([rows[:50]], padding=p), PLAN) for p in (0.0, np.nan))
    assert np.isfinite(poisoned.history["loss"]).all()
    assert poisoned.history == clean.history
    assert same_bits(poisoned, clean)


def test_padding_never_reaches_the_judgement_of_held_out_rows(rows):
    model = built(BASIC, rows)
    clean, garbage = (
        train(model, ArraySource(rows[:64]), PLAN, InPieces([rows[64:]], padding=p)).history for p in (0.0, 1e4)
    )
    assert clean == garbage


def test_a_source_of_several_uneven_chunks_trains_as_well(rows):
    source = InPieces([rows[:10], rows[10:50], rows[50:64]])
    outcome = train(built(BASIC, rows), source, replace(PLAN, max_epochs=31), ArraySource(rows[64:]))
    whole = trained(rows, max_epochs=31)
    assert outcome.n_epochs == 31
    assert outcome.history["loss"][-1] < 0.9 * outcome.history["loss"][0]
    assert outcome.history["loss"][-1] == pytest.approx(whole.history["loss"][-1], rel=0.1)


def test_an_epoch_of_many_chunks_tells_how_far_it_is(rows):
    told, source = [], InPieces([rows[:10], rows[10:50], rows[50:64]])
    train(built(BASIC, rows), source, replace(PLAN, max_epochs=2), on_chunk=told.append)
    assert told == pytest.approx([1 / 3, 2 / 3, 4 / 3, 5 / 3])


def test_a_source_of_several_chunks_stops_early_as_well(away):
    source = InPieces([away[:10], away[10:50], away[50:64]])
    plan = replace(PLAN, max_epochs=31, learning_rate=0.05, patience=2)
    outcome = train(built(BASIC, away), source, plan, ArraySource(away[64:]))
    assert outcome.n_epochs == outcome.best_epoch + 2 < 31
    assert outcome.best_epoch == 1 + int(np.argmin(outcome.history["validation_loss"]))


def test_more_rows_than_a_block_are_judged_alike(rows):
    many = np.tile(rows, (30, 1))[:2100] * np.linspace(0.5, 2, 2100, dtype=np.float32)[:, None]
    model = built(BASIC, rows)
    outcome = train(model, ArraySource(rows[:64]), replace(PLAN, learning_rate=1e-12), ArraySource(many))
    by_row = -inference.map_rows(inference.log_likelihood, model, many)
    assert outcome.history["validation_loss"][0] == pytest.approx(by_row.mean(), rel=1e-5)


def test_resident_rows_are_the_rows_and_zeros():
    rows = np.arange(1.0, 41.0).reshape(20, 2)
    source = ArraySource(rows)
    (chunk,) = source.chunks()
    assert (source.n_features, source.chunk_sizes(), chunk.n_rows) == (2, (20,), 20)
    np.testing.assert_array_equal(chunk.rows[:20], rows)
    assert not np.any(chunk.rows[20:])
    assert chunk.rows.dtype == jnp.float32


# -- the best epoch ---------------------------------------------------------------------------------------------------


def held_out_loss(outcome, rows):
    """The loss of the kept weights on the held-out rows, for a recipe without noise."""
    return -float(inference.map_rows(inference.log_likelihood, outcome.model, rows[64:]).mean())


def test_the_best_epoch_has_the_least_held_out_loss_and_its_weights_are_kept(away):
    outcome = trained(away, max_epochs=20, learning_rate=0.05)
    curve = outcome.history["validation_loss"]
    assert outcome.best_epoch == 1 + int(np.argmin(curve))
    assert outcome.best_epoch < outcome.n_epochs == 20
    assert held_out_loss(outcome, away) == pytest.approx(min(curve), rel=1e-5)


@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_early_stopping_waits_for_its_patience(patience, at_once, away, monkeypatch):
    monkeypatch.setattr(trainer, "epochs_within", lambda seconds, n_run: at_once)
    outcome = trained(away, max_epochs=20, learning_rate=0.05, patience=patience)
    curve = outcome.history["validation_loss"]
    assert outcome.n_epochs == outcome.best_epoch + patience < 20
    assert outcome.best_epoch == 1 + int(np.argmin(curve))
    assert held_out_loss(outcome, away) == pytest.approx(min(curve), rel=1e-5)


def test_without_patience_all_epochs_are_run(away):
    assert trained(away, max_epochs=20, learning_rate=0.05).n_epochs == 20


def test_without_held_out_rows_the_last_epoch_is_kept(rows):
    outcome = trained(rows, judged=False, patience=1)
    assert outcome.best_epoch == outcome.n_epochs == 16
    assert not any(name.startswith("validation") for name in outcome.history)


def test_while_beta_rises_no_epoch_is_the_best(rows):
    opposite = 0.1 * rows + np.where(np.arange(80) < 64, 2, -2)[:, None].astype(np.float32)
    outcome = trained(opposite, ANNEALED)
    curve = outcome.history["validation_loss"]
    assert outcome.best_epoch == 5 + int(np.argmin(curve[4:]))
    assert int(np.argmin(curve)) < 4, "the curve must be least before, or this shows nothing"


def test_patience_waits_for_beta_to_settle(away):
    outcome = trained(away, ANNEALED, learning_rate=0.1, patience=1)
    assert outcome.best_epoch >= 5
    assert outcome.n_epochs == outcome.best_epoch + 1


def test_training_that_ends_before_beta_has_settled_warns_and_keeps_the_last_epoch(rows):
    with pytest.warns(UserWarning, match="50.*16"):
        outcome = trained(rows, ANNEALED.replace(objective__beta__epochs=50))
    assert outcome.best_epoch == outcome.n_epochs == 16


def test_without_held_out_rows_there_is_nothing_to_warn_of(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(rows, ANNEALED.replace(objective__beta__epochs=50), judged=False)


def test_held_out_rows_are_judged_at_beta_one(rows):
    history = trained(rows, ANNEALED).history
    for i, total in enumerate(history["validation_loss"]):
        assert total == pytest.approx(history["validation_reconstruction"][i] + history["validation_kl"][i], rel=1e-5)


# -- learning curves --------------------------------------------------------------------------------------------------

TERMS = {
    "basic": {"reconstruction"},
    "stacked": {"reconstruction"},
    "sparse": {"reconstruction", "KLSparsity"},
    "denoising": {"reconstruction"},
    "variational": {"reconstruction", "kl"},
}


@every_recipe
def test_the_history_has_every_term_once_an_epoch(name, rows):
    outcome = trained(rows, examples.RECIPES[name])
    terms = {"loss", *TERMS[name]}
    assert set(outcome.history) == {*terms, "beta", "learning_rate", *(f"validation_{term}" for term in terms)}
    assert {len(curve) for curve in outcome.history.values()} == {outcome.n_epochs} == {16}
    assert all(type(value) is float and math.isfinite(value) for curve in outcome.history.values() for value in curve)


@every_recipe
def test_the_terms_add_up_to_the_loss(name, rows):
    history = trained(rows, examples.RECIPES[name]).history
    for prefix in ("", "validation_"):
        total = np.sum([history[prefix + term] for term in TERMS[name]], axis=0)
        np.testing.assert_allclose(history[prefix + "loss"], total, rtol=1e-4)


def test_the_curves_show_beta_and_the_rate_as_they_are_scheduled(rows):
    schedule = parts.Cosine(warmup=0.25)
    history = trained(rows, ANNEALED, learning_rate_schedule=schedule).history
    times = np.arange(16 * 4).reshape(16, 4) / 4  # 64 rows in batches of 16
    beta = [np.mean([float(parts.LinearWarmup(5)(float(t), 16.0)) for t in epoch]) for epoch in times]
    rate = [np.mean([0.01 * float(schedule(float(t), 16.0)) for t in epoch]) for epoch in times]
    np.testing.assert_allclose(history["beta"], beta, rtol=1e-5)
    np.testing.assert_allclose(history["learning_rate"], rate, rtol=1e-4)


def test_the_first_loss_is_that_of_the_formula_at_the_first_weights(rows):
    history = trained(rows, learning_rate=1e-12).history
    by_row = -inference.map_rows(inference.log_likelihood, built(BASIC, rows), rows)
    assert history["loss"][0] == pytest.approx(by_row[:64].mean(), rel=1e-5)
    assert history["validation_loss"][0] == pytest.approx(by_row[64:].mean(), rel=1e-5)


def test_whoever_watches_is_told_of_every_epoch(rows):
    told = []
    plan, held_out = replace(PLAN, max_epochs=18), ArraySource(rows[64:])
    outcome = train(built(BASIC, rows), ArraySource(rows[:64]), plan, held_out, lambda *seen: told.append(seen))
    assert [epoch for epoch, _ in told] == list(range(1, 19))
    for name, curve in outcome.history.items():
        assert [record[name] for _, record in told] == curve


# -- divergence -------------------------------------------------------------------------------------------------------


def test_training_that_diverges_says_when_and_in_which_term(rows):
    with pytest.raises(TrainingDiverged, match="rate") as caught:
        trained(rows, **STEEP, learning_rate=1e6)
    assert isinstance(caught.value, ArithmeticError)
    assert None not in (caught.value.epoch, caught.value.step, caught.value.term)


@dataclass(frozen=True)
class InStep(parts.Schedule):
    """A rate that is nothing until a step, counted from 0, and infinite from there on."""

    step: int = parts.int_field(0, "[0, inf)")

    def __call__(self, t, n_epochs):
        return jnp.where(4 * t > self.step - 0.5, jnp.inf, 0.0)

    def warmup_end(self, n_epochs):
        return 0.0


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 6, 9, 30])
@pytest.mark.parametrize(("recipe", "terms"), [(BASIC, {"reconstruction"}), (ANNEALED, {"kl", "reconstruction"})])
def test_the_epoch_the_step_and_the_terms_that_were_no_number_are_named(step, recipe, terms, rows):
    """Four steps an epoch, some epochs a stretch."""
    with pytest.raises(TrainingDiverged) as caught:
        trained(rows, recipe, learning_rate_schedule=InStep(step), judged=False)
    epoch, within = divmod(step + 1, 4)  # the first loss that is asked of such weights
    assert (caught.value.epoch, caught.value.step) == (epoch + 1, within + 1)
    assert set(caught.value.term.split(", ")) == terms


def test_training_that_diverges_in_its_very_last_step_says_so(rows):
    """The last loss is a number still; the weights after it are not."""
    with pytest.raises(TrainingDiverged):
        trained(rows, learning_rate_schedule=InTheLastStep(), judged=False)


def test_where_rows_are_held_out_divergence_at_the_end_keeps_the_best_weights(rows):
    outcome = trained(rows, learning_rate_schedule=InTheLastStep())
    assert outcome.best_epoch < 16
    assert all(np.isfinite(leaf).all() for leaf in leaves(outcome))
