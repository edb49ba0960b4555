"""What each system promises: basic, stacked, sparse, denoising, variational, and the free one."""

import pickle

import jax
import numpy as np
import pytest
from scipy import linalg, special, stats
from sklearn.base import clone
from sklearn.decomposition import PCA

import examples
from diabolo import parts
from diabolo.core.corruptions import Corruption
from diabolo.core.model import Model
from diabolo.errors import InvalidData
from diabolo.estimators.autoencoders import (
    CORRUPTIONS,
    Autoencoder,
    BasicAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
)
from diabolo.estimators.base import ESTIMATORS, BaseAutoencoder
from diabolo.estimators.input import InputSpec
from diabolo.estimators.trainable import recipe_over
from diabolo.metrics import explained_variance

SMALL = examples.SMALL
every_stochastic = pytest.mark.parametrize("name", examples.STOCHASTIC)
every_deterministic = pytest.mark.parametrize("name", [n for n in examples.ESTIMATORS if n not in examples.STOCHASTIC])


def weights_of(estimator):
    return [np.asarray(array) for array in jax.tree.leaves(estimator.model_.weights)]


# -- basic: PCA's subspace --------------------------------------------------------------------------------------------


def test_a_linear_autoencoder_spans_the_subspace_of_pca(table):
    rows = (table - table.mean(axis=0)) / table.std(axis=0)
    settings = {"max_epochs": 600, "batch_size": 80, "learning_rate": 0.02, "random_state": 0}
    estimator = BasicAutoencoder(scaling=None, validation_fraction=None, **settings).fit(rows)
    pca = PCA(2).fit(rows)
    (decoder,) = estimator.model_.weights.decoder.layers
    angles = linalg.subspace_angles(np.asarray(decoder.weight, np.float64).T, pca.components_.T)
    assert np.cos(angles).min() > 0.999
    best = explained_variance(rows, pca.inverse_transform(pca.transform(rows)))
    assert explained_variance(rows, estimator.reconstruct(rows)) == pytest.approx(best, abs=1e-3)
    assert estimator.score(rows) > estimator.score(rows[:, ::-1]), "rows unlike the others score lower"


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_the_activation_of_the_basic_code_bounds_it(activation, table):
    codes = BasicAutoencoder(activation=activation, **SMALL).fit_transform(table)
    assert codes.min() >= (0 if activation == "sigmoid" else -1)
    assert codes.max() <= 1


# -- stacked ----------------------------------------------------------------------------------------------------------


def test_hidden_layers_are_mirrored(fitted):
    weights = fitted["StackedAutoencoder"].model_.weights
    assert [layer.weight.shape for layer in weights.encoder.module.layers] == [(6, 4), (4, 3), (3, 2)]
    assert [layer.weight.shape for layer in weights.decoder.module.layers] == [(2, 3), (3, 4), (4, 6)]


@pytest.mark.parametrize("sizes", [(5,), [5], np.array([5])], ids=repr)
def test_hidden_layers_are_given_as_any_sequence(sizes):
    assert StackedAutoencoder(hidden_layer_sizes=sizes)._recipe(6).encoder.hidden == (5,)


def test_pre_training_starts_the_fine_tuning_from_a_lower_loss(table):
    settings = {"hidden_layer_sizes": (8, 4), "activation": "tanh", "pretrain_epochs": 30, "skip": False} | SMALL
    plain, pretrained = (StackedAutoencoder(pretrain=p, **settings).fit(table) for p in (None, "layerwise"))
    assert plain.pretrain_history_ == []
    assert len(pretrained.pretrain_history_) == 3
    assert all(len(history["loss"]) == 30 for history in pretrained.pretrain_history_)
    assert all(history["loss"][-1] < history["loss"][0] for history in pretrained.pretrain_history_)
    assert pretrained.history_["loss"][0] < 0.8 * plain.history_["loss"][0]
    assert len(pretrained.history_["loss"]) == SMALL["max_epochs"]


def test_pre_training_corrupts_each_layers_input_if_asked(table):
    settings = {"hidden_layer_sizes": (8,), "n_latent": 4, "pretrain": "layerwise", "pretrain_epochs": 3} | SMALL
    settings |= {"activation": "tanh", "latent_activation": "tanh"}
    plain, all_alike, each = (
        StackedAutoencoder(pretrain_corruption=given, **settings | {"max_epochs": 0}).fit(table).pretrain_history_
        for given in (None, parts.GaussianNoise(0.5), (parts.NoCorruption(), parts.GaussianNoise(0.5)))
    )
    assert each[0] == plain[0]
    assert all(noisy["loss"] != quiet["loss"] for noisy, quiet in zip(all_alike, plain, strict=True))
    assert all(noisy["loss"] != quiet["loss"] for noisy, quiet in zip(each[1:], plain[1:], strict=True))


@pytest.mark.parametrize("given", [(parts.Masking(),) * 2, ("masking",) * 3], ids=repr)
def test_a_corruption_for_each_layer_is_needed_or_one_for_all(given, table):
    settings = {"hidden_layer_sizes": (8, 4), "pretrain": "layerwise"} | SMALL
    with pytest.raises(ValueError, match="pretrain_corruption"):
        StackedAutoencoder(pretrain_corruption=given, **settings).fit(table)


def test_a_layer_above_a_sigmoid_one_is_pre_trained_by_cross_entropy(table):
    settings = {"hidden_layer_sizes": (8,), "latent_activation": "sigmoid", "pretrain": "layerwise"} | SMALL
    model = StackedAutoencoder(activation="sigmoid", pretrain_epochs=30, **settings | {"max_epochs": 0}).fit(table)
    codes = model.transform(table)
    assert np.all((codes > 0) & (codes < 1))
    # The entropy of 8 numbers in (0, 1) lies between 0 and 8·log 2; a squared error's constant is 4·log π.
    assert 0 < model.pretrain_history_[1]["loss"][-1] < 8 * np.log(2)


def test_pre_training_gives_the_same_bits_from_one_random_state(table):
    settings = {"hidden_layer_sizes": (8, 4), "activation": "tanh", "pretrain_epochs": 30} | SMALL
    one, two = (StackedAutoencoder(pretrain="layerwise", **settings).fit(table) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(one), weights_of(two), strict=True))
    assert one.pretrain_history_ == two.pretrain_history_


# -- sparse -----------------------------------------------------------------------------------------------------------


def test_the_mean_activation_is_that_of_all_rows(table, fitted):
    estimator = fitted["SparseAutoencoder"]
    np.testing.assert_allclose(estimator.mean_activation_, estimator.transform(table).mean(axis=0), rtol=1e-6)


def test_the_sparse_code_lies_between_zero_and_one(table, fitted):
    codes = fitted["SparseAutoencoder"].transform(table)
    assert codes.shape == (80, 8)
    assert np.all((codes > 0) & (codes < 1))


@pytest.mark.parametrize(("n_features", "n_units"), [(6, 12), (784, 1_568), (1_500, 2_048), (4_096, 4_096)])
def test_the_sparse_code_is_overcomplete_by_default_and_never_narrower_than_the_row(n_features, n_units):
    assert recipe_over(SparseAutoencoder(), InputSpec("rows", n_features)).latent.n_latent == n_units


def test_the_sparsity_weight_draws_the_mean_activation_to_its_target(table):
    far = []
    for weight in (0.0, 10.0):
        settings = SMALL | {"max_epochs": 150, "learning_rate": 0.03}
        estimator = SparseAutoencoder(n_hidden=8, target_activation=0.1, sparsity_weight=weight, **settings).fit(table)
        far.append(np.abs(estimator.mean_activation_ - 0.1).max())
    assert far[1] < 0.05 < far[0]


# -- denoising --------------------------------------------------------------------------------------------------------

NOISES = {
    **{name: name for name in CORRUPTIONS},
    "part": parts.Masking(0.2),
    "chain": parts.Chain((parts.GaussianNoise(0.2), parts.SaltAndPepper(0.1))),
}


@pytest.mark.parametrize("name", NOISES)
def test_every_corruption_trains_and_shows_what_it_does(name, table):
    estimator = DenoisingAutoencoder(corruption=NOISES[name], hidden_layer_sizes=(4,), **SMALL).fit(table)
    assert isinstance(estimator.model_.recipe.corruption, Corruption)
    assert np.isfinite(estimator.history_["loss"]).all()
    noisy = estimator.corrupt(table)
    assert noisy.shape == table.shape
    assert np.any(~(np.abs(noisy - table) <= 1e-3))  # another number, or none
    np.testing.assert_array_equal(noisy, estimator.corrupt(table))
    assert np.any(noisy != estimator.corrupt(table, random_state=1))


def test_the_noise_level_is_the_names_level_and_not_the_parts():
    named = DenoisingAutoencoder(corruption="masking", noise_level=0.7)
    own = DenoisingAutoencoder(corruption=parts.Masking(0.2), noise_level=0.7)
    assert named._recipe(6).corruption == parts.Masking(0.7)
    assert own._recipe(6).corruption == parts.Masking(0.2)


def test_salt_and_pepper_use_the_training_rows_bounds_in_the_users_units(table):
    estimator = DenoisingAutoencoder(
        corruption="salt_and_pepper", noise_level=1.0, hidden_layer_sizes=(4,), **SMALL
    ).fit(table[:60], X_val=table[60:])
    noisy = estimator.corrupt(table)
    low, high = table[:60].min(axis=0), table[:60].max(axis=0)
    nearest = np.minimum(np.abs(noisy - low), np.abs(noisy - high))
    assert np.all(nearest <= 1e-5 * np.maximum(np.abs(low), np.abs(high)) + 1e-6)


def test_denoising_takes_noise_away(digits):
    rows = digits[:256]
    estimator = DenoisingAutoencoder(
        n_latent=16, hidden_layer_sizes=(64,), noise_level=1.0, max_epochs=60, batch_size=32, learning_rate=3e-3,
        scaling="range", corruption=parts.GaussianNoise(0.3), random_state=0,
    ).fit(rows)  # fmt: skip
    noisy = estimator.corrupt(rows, random_state=7)
    before, after = np.square(noisy - rows).mean(), np.square(estimator.reconstruct(noisy) - rows).mean()
    assert after < 0.6 * before


def test_nothing_is_corrupted_outside_fit(table, fitted):
    estimator = fitted["DenoisingAutoencoder"]
    clean = pickle.loads(pickle.dumps(estimator))
    clean.model_ = Model(clean.model_.recipe.replace(corruption=parts.NoCorruption()), clean.model_.weights)
    for method in ("transform", "reconstruct", "score_samples"):
        np.testing.assert_array_equal(getattr(clean, method)(table), getattr(estimator, method)(table))


def test_corruption_of_many_rows_does_not_repeat(table, fitted):
    rows = np.tile(table, (27, 1))[:2100]
    touched = ~np.isclose(fitted["DenoisingAutoencoder"].corrupt(rows), rows, rtol=1e-4)
    assert 0 < touched.mean() < 1
    assert not np.array_equal(touched[:50], touched[2048:2098])


# -- variational ------------------------------------------------------------------------------------------------------


@every_stochastic
def test_the_elbo_is_below_the_estimate_of_the_likelihood(name, table, fitted):
    elbo, estimate = fitted[name].elbo(table), fitted[name].log_likelihood(table)
    assert elbo.shape == estimate.shape == (80,)
    assert elbo.dtype == estimate.dtype == np.float64
    assert np.all(elbo <= estimate + 1e-4)
    assert elbo.mean() < estimate.mean()


@every_stochastic
def test_more_draws_tighten_the_estimate_and_not_the_elbo(name, table, fitted):
    assert fitted[name].log_likelihood(table).mean() > fitted[name].log_likelihood(table, n_samples=1).mean()
    assert fitted[name].elbo(table, n_samples=512).mean() == pytest.approx(fitted[name].elbo(table).mean(), abs=0.5)


@every_stochastic
def test_one_draw_gives_one_number_for_both(name, table, fitted):
    np.testing.assert_allclose(fitted[name].elbo(table, 1), fitted[name].log_likelihood(table, 1), rtol=1e-5)


@every_stochastic
def test_the_score_is_the_estimate_of_the_likelihood(name, table, fitted):
    np.testing.assert_array_equal(fitted[name].score_samples(table), fitted[name].log_likelihood(table))


@every_stochastic
def test_the_kl_is_never_negative_and_per_coordinate(name, table, fitted):
    kl = fitted[name].kl(table)
    assert kl.shape == (80, 2)
    assert kl.dtype == np.float64
    assert np.all(kl >= -1e-6)


@every_stochastic
def test_the_estimates_do_not_depend_on_the_neighbours(name, table, fitted):
    for method in ("elbo", "log_likelihood", "kl"):
        whole = getattr(fitted[name], method)(table)
        np.testing.assert_array_equal(getattr(fitted[name], method)(table[::-1])[::-1], whole)


@every_stochastic
@pytest.mark.parametrize("noise", [True, False])
def test_samples_are_new_rows_in_the_users_units_fixed_by_their_seed(name, noise, table, fitted):
    draws = fitted[name].sample(300, noise=noise, random_state=0)
    assert draws.shape == (300, 6)
    assert draws.dtype == np.float64
    assert len(np.unique(draws, axis=0)) == 300
    np.testing.assert_array_equal(draws, fitted[name].sample(300, noise=noise, random_state=0))
    assert np.any(draws != fitted[name].sample(300, noise=noise, random_state=1))
    assert np.all(np.abs(draws.mean(axis=0) - table.mean(axis=0)) < 2 * table.std(axis=0))


@every_stochastic
def test_one_sample_is_drawn_unless_more_are_asked_for(name, fitted):
    assert fitted[name].sample().shape == (1, 6)


@every_stochastic
@pytest.mark.parametrize("n_samples", [0, -1])
def test_no_samples_at_all_are_refused(name, n_samples, fitted, table):
    with pytest.raises(ValueError, match="n_samples"):
        fitted[name].sample(n_samples)
    with pytest.raises(ValueError, match="n_samples"):
        fitted[name].elbo(table, n_samples=n_samples)


def test_the_noise_of_many_samples_does_not_repeat(fitted):
    """More samples than one block of inference: the noise of rows 0 and 2048 must differ."""
    estimator = fitted["Autoencoder"]
    noisy, means = (estimator.sample(2100, noise=noise, random_state=0) for noise in (True, False))
    noise = (noisy - means) / estimator.scaler_.scale / 0.5
    assert np.abs(noise[:50] - noise[2048:2098]).min(axis=0).max() > 1e-3
    assert abs(noise.std() - 1) < 0.05


@every_deterministic
@pytest.mark.parametrize("method", ["sample", "elbo", "log_likelihood", "kl"])
def test_a_deterministic_code_has_no_posterior_to_ask(name, method, fitted):
    for estimator in (examples.ESTIMATORS[name], fitted[name]):
        assert not hasattr(estimator, method)
        with pytest.raises(AttributeError, match=method):
            getattr(estimator, method)


MIXED = parts.ColumnwiseLikelihood(
    (parts.LearnedGaussian(), parts.Bernoulli(), parts.NegativeBinomial(), parts.Categorical()), (2, 1, 1, 3)
)


@pytest.fixture(scope="module")
def mixed():
    """Rows of two numbers, a yes or no, a count and one of three categories, all following one hidden number."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=400)
    numbers = np.column_stack([100 * hidden + 5, 0.01 * hidden]) + rng.normal(size=(400, 2)) * [10, 0.001]
    yes, count = rng.uniform(size=400) < special.expit(4 * hidden), rng.poisson(np.exp(1 + hidden))
    category = np.digitize(hidden + 0.2 * rng.normal(size=400), [-0.5, 0.5])
    return np.column_stack([numbers, yes, count, np.eye(3)[category]])


@pytest.mark.slow
def test_columns_of_several_kinds_are_told_each_by_its_own_likelihood(mixed):
    estimator = VariationalAutoencoder(
        n_latent=1, hidden_layer_sizes=(16,), likelihood=MIXED, max_epochs=300, random_state=0
    )
    estimator.fit(mixed)
    rebuilt, drawn = estimator.reconstruct(mixed), estimator.sample(2000, random_state=0)
    assert np.corrcoef(rebuilt[:, 0], mixed[:, 0])[0, 1] > 0.95
    assert np.mean((rebuilt[:, 2] > 0.5) == mixed[:, 2]) > 0.85
    assert np.mean(rebuilt[:, 4:].argmax(axis=1) == mixed[:, 4:].argmax(axis=1)) > 0.8
    np.testing.assert_allclose(rebuilt[:, 4:].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(drawn[:, 3], np.round(drawn[:, 3]))
    np.testing.assert_array_equal(drawn[:, 4:].sum(axis=1), 1)
    np.testing.assert_allclose(drawn.mean(axis=0), mixed.mean(axis=0), atol=0.3 * mixed.std(axis=0).max())
    np.testing.assert_allclose(drawn[:, 2:].mean(axis=0), mixed[:, 2:].mean(axis=0), rtol=0.3)


def test_only_numbers_have_units(mixed):
    """A density of a number changes with its unit; the probability of a count or a category has none."""
    mixed = mixed[:80]
    estimator = VariationalAutoencoder(n_latent=1, hidden_layer_sizes=(4,), likelihood=MIXED, **SMALL)
    units = np.array([1000.0, 0.25, 1, 1, 1, 1, 1])
    one, other = (
        estimator.fit(mixed).score_samples(mixed),
        clone(estimator).fit(mixed * units).score_samples(mixed * units),
    )
    np.testing.assert_allclose(other, one - np.log(units).sum(), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(estimator.scaler_.scale[2:], 1)


@pytest.mark.parametrize(
    ("column", "value"),
    [(3, 0.5), (3, -1.0), (2, 2.0)],
)
def test_a_column_that_its_likelihood_cannot_tell_is_refused(column, value, mixed):
    rows = mixed.copy()
    rows[:, column][rows[:, column] == rows[0, column]] = value
    with pytest.raises(InvalidData, match=f"feature {column}"):
        VariationalAutoencoder(n_latent=1, likelihood=MIXED, **SMALL).fit(rows)


@pytest.mark.slow
def test_a_count_model_tells_counts_better_than_each_by_itself(mixed):
    """log p of held-out counts, against a negative binomial for each column: the hidden number tells the rest."""
    counts = np.repeat(mixed[:, 3:4], 3, axis=1)
    counts = np.random.default_rng(1).poisson(counts + 0.2).astype(float)
    estimator = VariationalAutoencoder(
        n_latent=1, hidden_layer_sizes=(16,), likelihood="count", max_epochs=1000, random_state=0
    )
    density = estimator.fit(counts[:300]).score_samples(counts[300:]).mean()
    mean, variance = counts[:300].mean(axis=0), counts[:300].var(axis=0)
    r = mean**2 / (variance - mean)
    alone = stats.nbinom.logpmf(counts[300:], r, r / (r + mean)).sum(axis=1).mean()
    assert density > alone + 0.5


@pytest.mark.parametrize("likelihood", ["gaussian", "learned_gaussian", "bernoulli", "count", parts.Gaussian(0.3)])
def test_every_likelihood_makes_a_variational_autoencoder(likelihood, grey):
    estimator = VariationalAutoencoder(likelihood=likelihood, hidden_layer_sizes=(4,), **SMALL)
    rows = np.round(9 * grey) if likelihood == "count" else grey
    estimator.fit(rows)
    assert np.isfinite(estimator.score_samples(rows)).all()
    if likelihood == "bernoulli":
        assert set(np.unique(estimator.sample(50, random_state=0))) == {0.0, 1.0}
        assert np.all(estimator.score_samples(rows) <= 0)


@pytest.mark.parametrize(
    ("beta", "schedule"),
    [
        (0, parts.Constant(0.0)),
        (0.3, parts.Constant(0.3)),
        (np.float32(0.5), parts.Constant(0.5)),
        ("linear", parts.LinearWarmup()),
        ("cyclical", parts.Cyclical()),
        (parts.LinearWarmup(2), parts.LinearWarmup(2)),
    ],
)
def test_beta_is_a_number_a_name_or_a_schedule(beta, schedule):
    assert VariationalAutoencoder(beta=beta, n_samples=1)._recipe(6).objective == parts.ELBO(schedule)


def test_a_larger_beta_keeps_the_posterior_nearer_to_the_prior(table):
    plain = clone(examples.ESTIMATORS["VariationalAutoencoder"]).set_params(max_epochs=100)
    free, held = (clone(plain).set_params(beta=b).fit(table).kl(table).sum(axis=1).mean() for b in (0.0, 4.0))
    assert held < 0.5 * free


def test_the_history_shows_beta(table):
    warming = clone(examples.ESTIMATORS["VariationalAutoencoder"]).set_params(beta=parts.LinearWarmup(2))
    estimator = warming.fit(table)
    beta = estimator.history_["beta"]
    assert 0 < beta[0] < beta[1] < beta[2] == 1
    assert estimator.best_epoch_ >= 2


# -- the free one -----------------------------------------------------------------------------------------------------


def test_the_named_estimators_are_values_of_the_free_one(table, fitted):
    recipe = examples.ESTIMATORS["VariationalAutoencoder"]._recipe(6)
    free = Autoencoder(
        encoder=recipe.encoder,
        latent=recipe.latent,
        likelihood=recipe.likelihood,
        objective=recipe.objective,
        init="random",
        **SMALL,
    ).fit(table)
    named = fitted["VariationalAutoencoder"]
    np.testing.assert_array_equal(free.transform(table), named.transform(table))
    np.testing.assert_array_equal(free.score_samples(table), named.score_samples(table))


def test_every_estimator_is_a_recipe_and_a_table_of_parameters():
    for name, cls in ESTIMATORS.items():
        if name in examples.ESTIMATORS:
            assert issubclass(cls, BaseAutoencoder)
            assert isinstance(examples.ESTIMATORS[name]._recipe(6), parts.Recipe)
