"""The compiled loop: the same bits from the same seed, every row used, the best epoch kept, few programs."""

import math
import warnings

import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diabolo import inference, parts, recipes, training
from diabolo.errors import TrainingDiverged
from diabolo.model import Model
from diabolo.training import Chunk, Plan, Resident, train
from hypothesis import given, settings
from hypothesis import strategies as st

reproducible = settings(max_examples=100, deadline=None, derandomize=True, database=None)

PLAN = Plan(max_epochs=4, batch_size=16, learning_rate=0.01, seed=3)
BASIC = examples.RECIPES["basic"]
VARIATIONAL = examples.RECIPES["variational"]

every_recipe = pytest.mark.parametrize("name", examples.RECIPES)


@pytest.fixture(scope="module")
def rows(table):
    return ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)


def built(recipe, rows):
    return Model.build(recipe.bind(jnp.asarray(rows.min(axis=0)), jnp.asarray(rows.max(axis=0))), rows.shape[1], 0)


def trained(rows, recipe=BASIC, plan=PLAN, held_out=16, **changes):
    """Train on all but the last rows; judge by those."""
    plan = Plan(**{**vars(plan), **changes})
    validation = Resident(rows[-held_out:]) if held_out else None
    return train(built(recipe, rows), Resident(rows[: len(rows) - held_out]), plan, validation)


def leaves(outcome):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(outcome.model.weights)]


def same_bits(one, two):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(two), strict=True))


class InPieces:
    """A user's own source: several chunks, each padded with whatever one likes."""

    def __init__(self, pieces, padding=0.0, extra=5):
        self._pieces, self._padding, self._extra = pieces, padding, extra
        self.n_features = pieces[0].shape[1]

    @property
    def chunk_sizes(self):
        return tuple(len(piece) for piece in self._pieces)

    def chunks(self):
        for piece in self._pieces:
            padding = np.full((self._extra, self.n_features), self._padding, np.float32)
            yield Chunk(jnp.asarray(np.concatenate([piece, padding])), len(piece))


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
    history = trained(rows, examples.RECIPES[name], max_epochs=30, learning_rate=0.02).history
    assert history["loss"][-1] < history["loss"][0]
    assert min(history["validation_loss"]) < history["validation_loss"][0]


def test_held_out_rows_do_not_change_the_training(rows):
    with_rows, others = (train(built(BASIC, rows), Resident(rows[:64]), PLAN, v) for v in (Resident(rows[64:]), None))
    assert with_rows.history["loss"] == others.history["loss"]


def test_training_leaves_the_model_that_it_starts_from_alone(rows):
    model = built(BASIC, rows)
    before = [np.array(leaf) for leaf in jax.tree.leaves(model.weights)]
    train(model, Resident(rows), PLAN)
    assert all(np.array_equal(a, b) for a, b in zip(before, jax.tree.leaves(model.weights), strict=True))


def test_a_tiny_rate_keeps_the_weights_and_a_larger_one_moves_them_all(rows):
    start = [np.asarray(leaf) for leaf in jax.tree.leaves(built(BASIC, rows).weights)]
    still, moved = (leaves(trained(rows, learning_rate=rate)) for rate in (1e-12, 0.01))
    assert all(np.allclose(a, b, atol=1e-9) for a, b in zip(start, still, strict=True))
    assert all(np.all(a != b) for a, b in zip(start, moved, strict=True))


# -- rows -------------------------------------------------------------------------------------------------------------


@reproducible
@given(n_rows=st.integers(1, 700), batch_size=st.integers(1, 300), epoch=st.integers(1, 5))
def test_every_row_is_used_at_least_once_in_an_epoch(n_rows, batch_size, epoch):
    plan = Plan(batch_size=batch_size)
    order = training._order(plan, epoch, 0, n_rows)
    batch = training._batch(n_rows, plan)
    n_steps = -(-n_rows // batch)
    used = order[:n_steps].ravel()
    counts = np.bincount(used, minlength=n_rows)
    assert order.shape[0] >= n_steps
    assert order.shape[1] == batch
    assert order.dtype == np.int32
    assert len(counts) == n_rows
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1
    if batch <= n_rows:
        assert n_rows <= used.size < n_rows + batch


@pytest.mark.parametrize("change", [{"epoch": 2}, {"chunk": 1}, {"plan": Plan(seed=1)}])
def test_the_order_changes_with_epoch_chunk_and_seed(change):
    arguments = {"plan": Plan(seed=0), "epoch": 1, "chunk": 0, "n_rows": 100}
    first, again, other = (training._order(**a) for a in (arguments, arguments, arguments | change))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@reproducible
@given(st.integers(1, 3_000_000))
def test_the_grid_of_sizes_holds_every_number_with_little_waste(n):
    size = training._grid_size(n)
    assert size >= n
    assert size <= max(16, 2 * n)
    assert training._grid_size(size) == size
    if n > 16 * 2048:
        assert size <= 1.13 * n
        assert size % 2048 == 0


def test_the_grid_of_sizes_is_coarse():
    assert len({training._grid_size(n) for n in range(1, 100_000)}) < 40


@pytest.mark.parametrize("n_rows", [1, 2, 15, 17, 33])
def test_any_number_of_rows_trains(n_rows, rows):
    outcome = trained(rows[:n_rows], held_out=0, max_epochs=1)
    assert np.isfinite(outcome.history["loss"]).all()


def test_padding_never_reaches_the_training(rows):
    clean, poisoned = (train(built(BASIC, rows), InPieces([rows], padding=p), PLAN) for p in (0.0, np.nan))
    assert np.isfinite(poisoned.history["loss"]).all()
    assert poisoned.history == clean.history
    assert same_bits(poisoned, clean)


def test_padding_never_reaches_the_judgement_of_held_out_rows(rows):
    model, held_out = built(BASIC, rows), rows[64:]
    clean, garbage = (
        train(model, Resident(rows[:64]), PLAN, InPieces([held_out], padding=p)).history for p in (0.0, 1e4)
    )
    assert clean == garbage


def test_a_source_of_several_uneven_chunks_trains_as_well(rows):
    source = InPieces([rows[:10], rows[10:50], rows[50:64]])
    outcome = train(built(BASIC, rows), source, Plan(**{**vars(PLAN), "max_epochs": 30}), Resident(rows[64:]))
    whole = trained(rows, max_epochs=30)
    assert outcome.history["loss"][-1] < 0.9 * outcome.history["loss"][0]
    assert outcome.history["loss"][-1] == pytest.approx(whole.history["loss"][-1], rel=0.1)


def test_held_out_rows_in_several_chunks_are_judged_as_one(rows):
    model = built(BASIC, rows)
    one, several = (
        train(model, Resident(rows[:64]), PLAN, source).history["validation_loss"]
        for source in (Resident(rows[64:]), InPieces([rows[64:67], rows[67:]]))
    )
    assert several == pytest.approx(one, rel=1e-5)


def test_more_rows_than_a_block_are_judged_alike():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2500, 3)).astype(np.float32)
    model = built(BASIC, rows)
    arrays, skeleton = model.weights.apart()
    held_out = training._held_out(arrays, skeleton, model.recipe, 0, Resident(rows))["validation_loss"]
    by_row = -inference.by_rows(inference.log_likelihood, model, rows)
    assert held_out == pytest.approx(by_row.mean(), rel=1e-5)


def test_resident_rows_are_the_rows_and_zeros():
    rows = np.arange(1.0, 41.0).reshape(20, 2)
    source = Resident(rows)
    (chunk,) = source.chunks()
    assert (source.n_features, source.chunk_sizes, chunk.n_rows) == (2, (20,), 20)
    np.testing.assert_array_equal(chunk.rows[:20], rows)
    assert not np.any(chunk.rows[20:])
    assert chunk.rows.dtype == jnp.float32


# -- the best epoch ---------------------------------------------------------------------------------------------------


def held_out_loss(outcome, rows):
    """The loss of the kept weights on the held-out rows, for a recipe without noise."""
    return -float(inference.by_rows(inference.log_likelihood, outcome.model, rows[-16:]).mean())


def test_the_best_epoch_has_the_least_held_out_loss_and_its_weights_are_kept(rows):
    away = np.concatenate([rows[:64], -3 * rows[64:] + 2])  # held-out rows of another kind: training soon hurts
    outcome = trained(away, max_epochs=20, learning_rate=0.05)
    curve = outcome.history["validation_loss"]
    assert outcome.best_epoch == 1 + int(np.argmin(curve))
    assert outcome.best_epoch < outcome.n_epochs == 20
    assert held_out_loss(outcome, away) == pytest.approx(min(curve), rel=1e-5)


@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_waits_for_its_patience(patience, rows):
    away = np.concatenate([rows[:64], -3 * rows[64:] + 2])
    outcome = trained(away, max_epochs=20, learning_rate=0.05, patience=patience)
    curve = outcome.history["validation_loss"]
    assert outcome.n_epochs == outcome.best_epoch + patience < 20
    assert outcome.best_epoch == 1 + int(np.argmin(curve))
    assert held_out_loss(outcome, away) == pytest.approx(min(curve), rel=1e-5)


def test_without_patience_all_epochs_are_run(rows):
    away = np.concatenate([rows[:64], -3 * rows[64:] + 2])
    assert trained(away, max_epochs=12, learning_rate=0.05).n_epochs == 12


def test_without_held_out_rows_the_last_epoch_is_kept(rows):
    outcome = trained(rows, held_out=0, max_epochs=5, patience=1)
    assert outcome.best_epoch == outcome.n_epochs == 5
    assert not any(name.startswith("validation") for name in outcome.history)


ANNEALED = VARIATIONAL.replace(objective=parts.ELBO(parts.LinearWarmup(5)))


def test_while_beta_rises_no_epoch_is_the_best(rows):
    outcome = trained(rows, ANNEALED, max_epochs=8)
    curve = outcome.history["validation_loss"]
    assert outcome.best_epoch == 5 + int(np.argmin(curve[4:]))
    assert outcome.best_epoch >= 5


def test_patience_waits_for_beta_to_settle(rows):
    away = np.concatenate([rows[:64], -3 * rows[64:] + 2])
    outcome = trained(away, ANNEALED.replace(objective__beta__epochs=6), max_epochs=12, learning_rate=0.1, patience=1)
    assert outcome.best_epoch >= 6
    assert outcome.n_epochs >= 7


def test_training_that_ends_before_beta_has_settled_warns_and_keeps_the_last_epoch(rows):
    with pytest.warns(UserWarning, match="β reaches its final value after epoch 50, but training ended at 4"):
        outcome = trained(rows, ANNEALED.replace(objective__beta__epochs=50))
    assert outcome.best_epoch == outcome.n_epochs == 4


def test_without_held_out_rows_there_is_nothing_to_warn_of(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(rows, ANNEALED.replace(objective__beta__epochs=50), held_out=0)


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
    assert {len(curve) for curve in outcome.history.values()} == {outcome.n_epochs} == {4}
    assert all(type(value) is float and math.isfinite(value) for curve in outcome.history.values() for value in curve)


@every_recipe
def test_the_terms_add_up_to_the_loss(name, rows):
    history = trained(rows, examples.RECIPES[name]).history
    for prefix in ("", "validation_"):
        total = np.sum([history[prefix + term] for term in TERMS[name]], axis=0)
        np.testing.assert_allclose(history[prefix + "loss"], total, rtol=1e-4)


def test_the_curves_show_beta_and_the_rate_as_they_are_scheduled(rows):
    schedule = parts.Cosine(warmup=0.25)
    history = trained(rows, ANNEALED, max_epochs=8, learning_rate_schedule=schedule).history
    n_steps = 4  # 64 rows in batches of 16
    times = np.arange(8 * n_steps).reshape(8, n_steps) / n_steps
    beta = [np.mean([float(parts.LinearWarmup(5)(float(t), 8.0)) for t in epoch]) for epoch in times]
    rate = [np.mean([0.01 * float(schedule(float(t), 8.0)) for t in epoch]) for epoch in times]
    np.testing.assert_allclose(history["beta"], beta, rtol=1e-5)
    np.testing.assert_allclose(history["learning_rate"], rate, rtol=1e-4)


def test_the_first_loss_is_that_of_the_formula_at_the_first_weights(rows):
    history = trained(rows, learning_rate=1e-12, max_epochs=1, held_out=16).history
    model = built(BASIC, rows)
    by_row = -inference.by_rows(inference.log_likelihood, model, rows)
    assert history["loss"][0] == pytest.approx(by_row[:64].mean(), rel=1e-5)
    assert history["validation_loss"][0] == pytest.approx(by_row[64:].mean(), rel=1e-5)


def test_whoever_watches_is_told_of_every_epoch(rows):
    told = []
    outcome = train(built(BASIC, rows), Resident(rows), PLAN, None, lambda epoch, record: told.append((epoch, record)))
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4]
    assert [record["loss"] for _, record in told] == outcome.history["loss"]


# -- divergence -------------------------------------------------------------------------------------------------------


def test_training_that_diverges_says_so_and_names_the_mend(rows):
    with pytest.raises(TrainingDiverged, match=r"epoch \d+\. Lower the learning rate \(now 1e\+06\)") as caught:
        trained(rows, optimizer=parts.SGD(), learning_rate=1e6, learning_rate_schedule=parts.Constant(), max_epochs=30)
    assert isinstance(caught.value, ArithmeticError)


@pytest.mark.parametrize("held_out", [0, 16])
def test_training_that_diverges_in_its_last_step_says_so(held_out, rows):
    with pytest.raises(TrainingDiverged, match="Lower the learning rate"):
        trained(
            rows,
            optimizer=parts.SGD(),
            learning_rate=1e38,
            learning_rate_schedule=parts.Constant(),
            max_epochs=1,
            batch_size=64,
            held_out=held_out,
        )


# -- optimisers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [pytest.param(p, id=name) for name, p in examples.all_parts("optimizer")])
def test_every_optimizer_makes_the_loss_fall(optimizer, rows):
    history = trained(rows, optimizer=optimizer, learning_rate=3e-3, max_epochs=20).history
    assert history["loss"][-1] < history["loss"][0]


def test_gradient_descent_subtracts_the_rate_times_the_gradient(rows):
    """One full batch of plain gradient descent, against finite differences of the formula."""
    outcome = trained(
        rows,
        optimizer=parts.SGD(0.0),
        learning_rate=1e-3,
        learning_rate_schedule=parts.Constant(),
        max_epochs=1,
        batch_size=64,
        held_out=16,
    )
    start = built(BASIC, rows).weights.decoder.layers[0].bias
    x_hat = inference.by_rows(inference.reconstruct, built(BASIC, rows), rows[:64]).astype(np.float64)
    gradient = 2 * (x_hat - rows[:64]).mean(axis=0)  # of (1/N) Σ ‖x − x̂‖² by the decoder's bias
    moved = np.asarray(outcome.model.weights.decoder.layers[0].bias) - np.asarray(start)
    np.testing.assert_allclose(moved, -1e-3 * gradient, rtol=1e-3, atol=1e-8)


def test_weight_decay_of_the_optimizer_shrinks_the_weights(rows):
    norms = []
    for decay in (0.0, 5.0):
        outcome = trained(rows, optimizer=parts.Adam(weight_decay=decay), max_epochs=20)
        norms.append(sum(float(np.square(leaf).sum()) for leaf in leaves(outcome)))
    assert norms[1] < 0.9 * norms[0]


# -- few programs -----------------------------------------------------------------------------------------------------


def new_programs(work):
    before = training._run_steps._cache_size(), training._evaluate._cache_size()
    work()
    after = training._run_steps._cache_size(), training._evaluate._cache_size()
    return after[0] - before[0], after[1] - before[1]


EVERYTHING = parts.Recipe(
    corruption=parts.Chain((parts.SaltAndPepper(0.1), parts.GaussianNoise(0.1))),
    encoder=parts.MLP((4,)),
    latent=parts.DiagonalGaussian(2),
    likelihood=parts.LearnedGaussian(),
    objective=parts.ELBO(parts.LinearWarmup(2)),
    penalties=(parts.L1(0.1),),
)

NUMBERS = {
    "nothing": {},
    "seed": {"seed": 11},
    "learning rate": {"learning_rate": 0.002},
    "epochs": {"max_epochs": 2},
    "patience": {"patience": 2},
    "Adam's numbers": {"optimizer": parts.Adam(b1=0.5, eps=1e-6, weight_decay=0.1)},
    "the rate's schedule": {"learning_rate_schedule": parts.Cosine(warmup=0.1, floor=0.2)},
    "a noise level": {"recipe": EVERYTHING.replace(corruption=parts.Chain((parts.SaltAndPepper(0.4), parts.GaussianNoise(0.2))))},
    "the warm-up": {"recipe": EVERYTHING.replace(objective__beta__epochs=1)},
    "a penalty's weight": {"recipe": EVERYTHING.replace(penalties=(parts.L1(0.3),))},
    "the likelihood's floor": {"recipe": EVERYTHING.replace(likelihood__floor=0.1)},
}
STRUCTURES = {
    "a hidden size": {"recipe": EVERYTHING.replace(encoder__hidden=(5,), decoder__hidden=(5,))},
    "draws per row": {"recipe": EVERYTHING.replace(objective__n_samples=2)},
}


@pytest.mark.parametrize("what", NUMBERS)
def test_changing_a_number_compiles_nothing(what, rows):
    trained(rows, EVERYTHING)
    assert new_programs(lambda: trained(rows, **{"recipe": EVERYTHING, **NUMBERS[what]})) == (0, 0)


@pytest.mark.parametrize("what", STRUCTURES)
def test_changing_structure_compiles_one_program_of_each_kind(what, rows):
    trained(rows, EVERYTHING)
    assert new_programs(lambda: trained(rows, **STRUCTURES[what])) == (1, 1)
    assert new_programs(lambda: trained(rows, **STRUCTURES[what])) == (0, 0)


def test_nearby_numbers_of_rows_share_a_program(rows):
    many = np.tile(rows, (2, 1))
    trained(many[:110], EVERYTHING)
    assert new_programs(lambda: [trained(many[:n], EVERYTHING) for n in (85, 100, 120, 144)]) == (0, 0)


def test_beta_as_a_number_is_swept_without_compiling(rows):
    recipe = recipes.variational(2, hidden=(4,), beta=parts.Constant(1.0))
    trained(rows, recipe)
    assert new_programs(lambda: [trained(rows, recipe.replace(objective__beta__value=b)) for b in (0.0, 0.5, 4.0)]) == (0, 0)


# -- inference --------------------------------------------------------------------------------------------------------

OPS = {
    "code": (inference.code, (), 6),
    "decode": (inference.decode, (), 2),
    "reconstruct": (inference.reconstruct, (), 6),
    "log_likelihood": (inference.log_likelihood, (), 6),
    "kl": (inference.kl, (), 6),
    "log_weight_sums": (inference.log_weight_sums, (3,), 6),
}
every_op = pytest.mark.parametrize("name", OPS)


@pytest.fixture(scope="module")
def model(rows):
    return trained(rows, VARIATIONAL).model


def applied(name, model, rows):
    op, static, width = OPS[name]
    return jax.tree.leaves(inference.by_rows(op, model, rows[:, :width], *static))


@every_op
def test_a_hundred_numbers_of_rows_need_three_programs_at_most(name, model, rows):
    many = np.tile(rows, (10, 1))
    before = inference._program._cache_size()
    for n in range(1, 101):
        assert all(len(out) == n for out in applied(name, model, many[: 3 * n])[:0] or applied(name, model, many[:n]))
    assert inference._program._cache_size() - before <= len(inference.SIZES)


@every_op
def test_a_rows_result_does_not_depend_on_its_neighbours(name, model, rows):
    whole = applied(name, model, rows[:30])
    some = np.array([7, 0, 29, 13])
    for out, part in zip(whole, applied(name, model, rows[some]), strict=True):
        np.testing.assert_array_equal(out[some], part)
    poisoned = rows[:30].copy()
    poisoned[:7] = 1e6
    for out, part in zip(whole, applied(name, model, poisoned), strict=True):
        np.testing.assert_array_equal(out[7:], part[7:])


@every_op
def test_blocks_of_other_sizes_give_the_same_numbers(name, model, rows):
    many = np.tile(rows, (30, 1))[:2100]
    whole = applied(name, model, many)
    few = applied(name, model, rows[:20])
    for out, small in zip(whole, few, strict=True):
        assert len(out) == 2100
        np.testing.assert_allclose(out[:20], small, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(out[2080:2100], out[: 80][2080 % 80 : 2080 % 80 + 20], rtol=1e-4, atol=1e-4)


@every_op
def test_results_are_float32_arrays_of_numpy(name, model, rows):
    for out in applied(name, model, rows[:5]):
        assert type(out) is np.ndarray
        assert out.dtype == np.float32
        assert np.isfinite(out).all()


@pytest.mark.parametrize("corruption", [parts.GaussianNoise(5.0), parts.Masking(1.0), parts.SaltAndPepper(1.0)], ids=repr)
@pytest.mark.parametrize("name", ["code", "reconstruct", "log_likelihood", "log_weight_sums"])
def test_nothing_is_corrupted_outside_training(name, corruption, model, rows):
    bound = corruption.bind(jnp.asarray(rows.min(axis=0)), jnp.asarray(rows.max(axis=0)))
    corrupting = Model(model.recipe.replace(corruption=bound), model.weights)
    for one, two in zip(applied(name, corrupting, rows[:20]), applied(name, model, rows[:20]), strict=True):
        np.testing.assert_array_equal(one, two)


def test_another_seed_gives_other_noise_and_compiles_nothing(model, rows):
    def estimates(seed):
        return inference.by_rows(inference.log_weight_sums, model, rows, 3, seed=seed)[0]

    one = estimates(0)
    before = inference._program._cache_size()
    assert np.any(one != estimates(1))
    np.testing.assert_array_equal(one, estimates(0))
    assert inference._program._cache_size() == before


def test_draws_in_different_blocks_are_independent(model):
    """More rows than one block: noise must not repeat from block to block."""
    block = inference.SIZES[-1]
    z = np.zeros((block + 50, 2), np.float32)
    draws = inference.by_rows(inference.draw, model, z, seed=1)
    assert not np.array_equal(draws[:50], draws[block:])
    assert len(np.unique(draws[:, 0])) > block + 25


def test_corruption_in_different_blocks_is_independent(rows):
    corrupting = built(recipes.denoising(2, hidden=(4,), corruption=parts.GaussianNoise(1.0)), rows)
    block = inference.SIZES[-1]
    noise = inference.by_rows(inference.corrupt, corrupting, np.zeros((block + 50, 6), np.float32))
    assert not np.array_equal(noise[:50], noise[block:])
