"""Where training starts: the best linear model, and nothing may get worse from there."""

import warnings

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture

import diabolo
from diabolo import parts
from diabolo.data.scaler import Scaler, have_one_unit
from diabolo.engine import linear_paths, moments
from diabolo.errors import PoorFitWarning, PosteriorCollapseWarning
from diabolo.estimators.trainable import share_held_out

TABLES = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer, "digits": load_digits}


def scaled_errors(fitted, X):
    """Squared errors in scaled units, of the model."""
    return np.square(fitted.scaler_.apply(fitted.reconstruct(X)).astype(float) - fitted.scaler_.apply(X)).sum()


def pca_error(fitted, train, test, k):
    """Of PCA fitted to the training rows, in the model's units."""
    a, b = (fitted.scaler_.apply(rows).astype(float) for rows in (train, test))
    pca = PCA(k, svd_solver="full").fit(a)
    return np.square(pca.inverse_transform(pca.transform(b)) - b).sum()


# -- basic ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_a_linear_autoencoder_is_pca_without_training(name):
    X = TABLES[name]().data
    train, test = X[::2], X[1::2]
    basic = diabolo.BasicAutoencoder(n_latent=2, random_state=0).fit(train)
    assert basic.n_epochs_ == basic.best_epoch_ == 0
    assert scaled_errors(basic, test) == pytest.approx(pca_error(basic, train, test, 2), rel=1e-4)
    assert basic.evaluation_["explained_variance"] == pytest.approx(
        basic.evaluation_["pca_explained_variance"], abs=1e-5
    )


def test_training_from_the_optimum_makes_nothing_worse():
    X = load_wine().data
    solved = diabolo.BasicAutoencoder(n_latent=3, random_state=0).fit(X)
    trained = diabolo.BasicAutoencoder(n_latent=3, max_epochs=5, learning_rate=0.1, random_state=0).fit(X)
    assert trained.n_epochs_ == 5
    assert trained.best_epoch_ == 0
    assert np.array_equal(trained.reconstruct(X), solved.reconstruct(X))


def test_at_random_it_gets_there_by_gradients():
    X = load_digits().data
    model = diabolo.BasicAutoencoder(n_latent=4, init="random", learning_rate=0.03, random_state=0).fit(X)
    assert model.n_epochs_ > 0
    assert model.history_["loss"][-1] < 0.8 * model.history_["loss"][0]
    assert scaled_errors(model, X) < 1.05 * pca_error(model, X, X, 4)


def test_components_of_wide_rows_and_of_streams(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 6)) * [9, 7, 5, 0.4, 0.3, 0.2] @ np.linalg.qr(rng.normal(size=(60, 6)))[0].T
    X = X + 0.01 * rng.normal(size=X.shape)
    exact = diabolo.BasicAutoencoder(n_latent=3, scaling=None, random_state=0).fit(X)
    monkeypatch.setattr(moments, "MOST_COLUMNS", 10)
    by_passes = diabolo.BasicAutoencoder(n_latent=3, scaling=None, random_state=0).fit(X)
    assert np.allclose(by_passes.reconstruct(X), exact.reconstruct(X), atol=1e-4)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr("diabolo.data.blocks.CHUNK_BYTES", 1 << 16)
    by_stream = diabolo.BasicAutoencoder(n_latent=3, scaling=None, random_state=0).fit(str(tmp_path / "X.npy"))
    assert np.allclose(by_stream.reconstruct(X), exact.reconstruct(X), atol=1e-3)


# -- stacked ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_a_stacked_one_is_never_behind_pca(name):
    X = TABLES[name]().data
    train, test = X[::2], X[1::2]
    stacked = diabolo.StackedAutoencoder(n_latent=3, random_state=0).fit(train)
    assert scaled_errors(stacked, test) <= 1.0005 * pca_error(stacked, train, test, 3)


def test_where_nothing_is_to_be_learned_the_start_is_kept():
    X = np.random.default_rng(0).normal(size=(80, 10))
    stacked = diabolo.StackedAutoencoder(n_latent=3, random_state=0).fit(X)
    assert stacked.best_epoch_ == 0
    assert scaled_errors(stacked, X) == pytest.approx(pca_error(stacked, X, X, 3), rel=1e-4)


def test_far_from_the_rows_the_network_is_linear():
    X = load_wine().data
    stacked = diabolo.StackedAutoencoder(n_latent=3, max_epochs=50, random_state=0).fit(X)
    direction = X.std(axis=0)
    codes = stacked.transform(X[:1] + np.array([[100], [200], [300]]) * direction)
    assert np.allclose(codes[2] - codes[1], codes[1] - codes[0], rtol=1e-3)


# -- denoising --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", ["gaussian", "salt_and_pepper", "masking"])
@pytest.mark.parametrize(("name", "max_epochs"), [("wine", None), pytest.param("digits", 20, marks=pytest.mark.large)])
def test_denoised_rows_are_nearer_to_the_clean_ones(name, max_epochs, corruption):
    X = TABLES[name]().data
    train, test = X[::2], X[1::2]
    model = diabolo.DenoisingAutoencoder(corruption=corruption, max_epochs=max_epochs, random_state=0).fit(train)
    noisy = model.corrupt(test, random_state=1)
    clean, before, after = (model.scaler_.apply(rows).astype(float) for rows in (test, noisy, model.denoise(noisy)))
    assert np.square(after - clean).sum() < 0.95 * np.square(before - clean).sum()


def test_the_denoiser_starts_at_the_linear_regression_on_noise():
    """For Gaussian noise: x̂ = μ + Σ(Σ + σ²)⁻¹(x̃ − μ)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3)) @ np.array([[1.0, 0.8, 0.1], [0, 0.6, 0.2], [0, 0, 1.0]])
    noise = parts.GaussianNoise(0.5)
    model = diabolo.DenoisingAutoencoder(corruption=noise, scaling=None, max_epochs=0, random_state=0).fit(X)
    covariance, mean = np.cov(X.T, bias=True), X.mean(axis=0)
    wiener = np.linalg.solve(covariance + 0.25 * np.eye(3), covariance)
    noisy = X[:50] + 0.5 * rng.normal(size=(50, 3))
    assert np.allclose(model.denoise(noisy), mean + (noisy - mean) @ wiener, atol=0.06)


def test_a_regression_that_does_not_hold_on_other_rows_is_not_trusted():
    """Forty rows of forty columns that do not correlate: the noise is left where it is, or nearly."""
    rng = np.random.default_rng(0)
    X, test = rng.standard_t(2, size=(40, 40)), rng.standard_t(2, size=(2000, 40))
    model = diabolo.DenoisingAutoencoder(scaling=None, noise_level=0.3, max_epochs=0, random_state=0).fit(X)
    noisy = test + 0.3 * rng.normal(size=test.shape)
    assert np.square(model.denoise(noisy) - test).sum() < 1.01 * np.square(noisy - test).sum()


def test_columns_in_another_order_are_denoised_alike():
    X, order = load_digits().data, np.random.default_rng(0).permutation(64)
    one = diabolo.DenoisingAutoencoder(max_epochs=0, random_state=0).fit(X)
    other = diabolo.DenoisingAutoencoder(max_epochs=0, random_state=0).fit(X[:, order])
    noisy = X[:100] + np.random.default_rng(1).normal(size=(100, 64))
    ours, theirs = one.denoise(noisy), other.denoise(noisy[:, order])
    assert np.abs(theirs - ours[:, order]).mean() < 0.15 * np.abs(ours - noisy).mean()


@pytest.mark.slow
def test_noise_in_the_users_units_is_halved():
    X = load_digits().data
    train, test = X[:1300], X[1300:]
    noisy = test + 0.2 * train.std() * np.random.default_rng(0).normal(size=test.shape)
    model = diabolo.DenoisingAutoencoder(max_epochs=60, random_state=0).fit(train)  # of 182 by default
    assert np.square(model.denoise(noisy) - test).sum() < 0.5 * np.square(noisy - test).sum()


@pytest.mark.parametrize(("n_columns", "n_rows"), [(3, 128), (256, 128), (257, 64), (784, 32), (10**6, 32)])
def test_a_filter_that_all_columns_share_needs_few_rows_a_step(n_columns, n_rows):
    assert parts.NeighborFilter().rows_per_step(n_columns) == n_rows
    assert parts.MLP().rows_per_step(n_columns) == 128


def test_a_denoiser_of_wide_rows_takes_small_steps_unless_told_otherwise():
    X = np.random.default_rng(0).normal(size=(256, 257))
    once = {"max_epochs": 1, "validation_fraction": None, "init": "random", "random_state": 0}
    few = diabolo.DenoisingAutoencoder(**once).fit(X)
    same = diabolo.DenoisingAutoencoder(batch_size=64, **once).fit(X)
    other = diabolo.DenoisingAutoencoder(batch_size=32, **once).fit(X)
    assert few.history_ == same.history_ != other.history_


# -- variational ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_variational_one_starts_at_factor_analysis_with_an_exact_posterior():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 7)) + rng.normal(size=(2000, 7)) * np.linspace(0.3, 0.9, 7)
    model = diabolo.VariationalAutoencoder(n_latent=2, scaling=None, max_epochs=0, random_state=0).fit(X)
    expected = FactorAnalysis(2, tol=1e-8, max_iter=5000, svd_method="lapack").fit(X).score(X)
    assert model.score(X) == pytest.approx(expected, abs=2e-3)
    assert np.allclose(model.elbo(X[:200], 4000), model.log_likelihood(X[:200]), atol=0.08)


def test_with_a_code_for_every_column_it_starts_at_the_full_gaussian():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(3000, 5)) @ rng.normal(size=(5, 5))
    model = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(X)
    assert model.transform(X).shape[1] == 5
    assert model.score(X) == pytest.approx(GaussianMixture(1).fit(X).score(X), abs=5e-3)


@pytest.mark.parametrize(
    "load",
    [load_iris, pytest.param(load_wine, marks=pytest.mark.large), pytest.param(load_diabetes, marks=pytest.mark.slow)],
)
def test_a_density_is_not_below_a_full_gaussian_or_factor_analysis(load):
    X = load().data
    train, test = X[::2], X[1::2]
    mean, spread = train.mean(axis=0), train.std(axis=0)
    a, b, volume = (train - mean) / spread, (test - mean) / spread, np.log(spread).sum()
    gaussian = GaussianMixture(1, reg_covar=1e-6).fit(a).score(b) - volume
    ours = diabolo.VariationalAutoencoder(random_state=0).fit(train).score(test)
    assert ours > gaussian - 0.02 * X.shape[1]


def test_two_heaps_are_two():
    rng = np.random.default_rng(0)

    def draw(n):
        return np.c_[rng.choice([-2.0, 2.0], n), np.zeros(n)] + 0.2 * rng.normal(size=(n, 2))

    model = diabolo.VariationalAutoencoder(max_epochs=150, random_state=0).fit(draw(1000))  # of 300 by default
    assert model.score(draw(1000)) > -1.2  # a full Gaussian has −1.9
    assert (np.abs(model.sample(2000, random_state=0)[:, 0]) < 1).mean() < 0.2


@pytest.mark.slow
def test_noise_that_differs_from_row_to_row_is_told_as_such():
    rng = np.random.default_rng(0)

    def draw(n):
        kind = rng.integers(0, 2, n)
        return np.c_[4.0 * kind + 0.1 * rng.normal(size=n), np.where(kind, 1.0, 0.2) * rng.normal(size=n)]

    train, test, settings = draw(1500), draw(1000), {"scaling": None, "max_epochs": 40, "random_state": 0}
    ours = diabolo.VariationalAutoencoder(**settings).fit(train)
    same = diabolo.VariationalAutoencoder(likelihood="learned_gaussian", **settings).fit(train)
    assert ours.score(test) > same.score(test)
    density = ours.model_.decode(ours.model_.code(jnp.asarray([[0.0, 0.0], [4.0, 0.0]])))
    quiet, loud = np.asarray(density.scale)[:, 1]
    assert loud > 2 * quiet


@pytest.mark.slow
def test_held_out_rows_are_judged_by_the_beta_that_is_wanted():
    X = load_digits().data / 16
    model = diabolo.VariationalAutoencoder(n_latent=8, beta=0.01, max_epochs=60, random_state=0).fit(X)
    assert model.best_epoch_ > 10
    row = model.best_epoch_ - 1
    terms = {name: values[row] for name, values in model.history_.items()}
    expected = terms["validation_reconstruction"] + 0.01 * terms["validation_kl"]
    assert terms["validation_loss"] == pytest.approx(expected, rel=1e-4)


# -- resolution -------------------------------------------------------------------------------------------------------


def test_resolution_is_the_step_of_repeated_values():
    rng = np.random.default_rng(0)
    rows = np.c_[rng.normal(size=500), rng.normal(size=500).round(1), rng.integers(0, 2, 500), np.ones(500)]
    assert linear_paths.resolutions(rows) == pytest.approx([0, 0.1, 1, 0], abs=1e-6)


def test_a_density_does_not_spike_at_repeated_values():
    """A coin beside a normal column: σ stays at 1/√12 of the step, whatever training would gain."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=2000), rng.integers(0, 2, 2000)]
    model = diabolo.VariationalAutoencoder(scaling=None, max_epochs=60, random_state=0).fit(X)
    floor = np.asarray(model.model_.weights.likelihood["floor"].value)
    assert floor == pytest.approx([1e-4, 1 / np.sqrt(12)], rel=1e-3)
    assert model.score(X) < -1.4 + np.log(np.sqrt(12)) - 0.9 + 0.2


def test_sigma_of_a_constant_column_has_a_higher_floor():
    X = np.c_[np.random.default_rng(0).normal(size=(2001, 1)), np.full(2001, 0.1)]
    model = diabolo.VariationalAutoencoder(scaling=None, max_epochs=0, random_state=0).fit(X)
    floor = np.asarray(model.model_.weights.likelihood["floor"].value)
    assert floor == pytest.approx([1e-4, 1e-3], rel=1e-3)


# -- sparse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["iris", "wine", *(pytest.param(name, marks=pytest.mark.large) for name in ("breast_cancer", "digits"))]
)
def test_activations_meet_their_target(name):
    X = TABLES[name]().data
    train, test = X[::2], X[1::2]
    sparse = diabolo.SparseAutoencoder(random_state=0).fit(train)
    assert np.abs(sparse.mean_activation_ - 0.05).mean() < 0.001
    assert np.abs(sparse.transform(train).mean(axis=0) - 0.05).mean() < 0.01
    assert np.abs(sparse.transform(test).mean(axis=0) - 0.05).mean() < 0.02
    assert sparse.sparsity_weight_ == pytest.approx(sparse.history_["sparsity_weight"][-1], rel=0.2)
    a = sparse.scaler_.apply(test).astype(float)
    assert 1 - scaled_errors(sparse, test) / np.square(a - a.mean(axis=0)).sum() > 0.75


def test_a_fixed_weight_is_the_lectures():
    X = load_iris().data
    sparse = diabolo.SparseAutoencoder(sparsity_weight=0.3, max_epochs=5, random_state=0).fit(X)
    assert sparse.sparsity_weight_ == 0.3
    assert sparse.model_.recipe.penalties == (parts.KLSparsity(0.05, 0.3),)


def test_a_constraint_is_resumed_to_the_bit(tmp_path):
    X = load_iris().data
    whole = diabolo.SparseAutoencoder(max_epochs=6, random_state=0).fit(X)

    def stop(epoch, record):
        if epoch == 3:
            raise KeyboardInterrupt

    stopped = diabolo.SparseAutoencoder(max_epochs=6, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X, checkpoint_dir=tmp_path, callback=stop)
    again = diabolo.SparseAutoencoder(max_epochs=6, random_state=0).fit(X, checkpoint_dir=tmp_path, resume=True)
    assert again.sparsity_weight_ == whole.sparsity_weight_
    assert np.array_equal(again.transform(X), whole.transform(X))


# -- one unit ---------------------------------------------------------------------------------------------------------


def one_unit(X):
    return have_one_unit(X, X.min(axis=0), X.max(axis=0))


def test_pixels_and_signals_have_one_unit_and_tables_have_not():
    t = np.linspace(0, 6, 40)
    signals = np.sin(t + np.random.default_rng(0).uniform(0, 6, (100, 1)))
    assert one_unit(load_digits().data)
    assert one_unit(signals)
    for load in (load_iris, load_wine, load_breast_cancer, load_diabetes):
        assert not one_unit(load().data)
    assert not one_unit(np.random.default_rng(0).normal(size=(300, 50)))  # the same range, but unrelated


def test_one_unit_does_not_depend_on_the_order_of_rows_and_columns_nor_on_the_unit():
    X, rng = load_digits().data, np.random.default_rng(0)
    for same in (X[rng.permutation(len(X))], X[:, rng.permutation(64)], X * 1e-3, X - 500):
        assert one_unit(same)


def test_one_map_for_all_columns_keeps_black():
    scaler = Scaler.fit("auto", load_digits().data, "real")
    assert scaler.kind == "global"
    assert set(scaler.offset) == {0.0}
    assert len(set(scaler.scale)) == 1
    assert scaler.apply(load_digits().data).var(axis=0).mean() == pytest.approx(1, rel=1e-4)


def test_a_nearly_constant_column_is_not_blown_up():
    X = np.random.default_rng(0).normal(size=(10_000, 3))
    X[:, 1] = 0
    X[7, 1] = 1e-6
    scaled = Scaler.fit("standard", X, "real").apply(X)
    assert np.abs(scaled).max() <= 30
    assert scaled[:, 0].std() == pytest.approx(1, rel=1e-4)


# -- failures are said ------------------------------------------------------------------------------------------------


def test_a_fit_that_is_worse_than_the_mean_says_so():
    X = load_wine().data
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        diabolo.Autoencoder(encoder=parts.MLP((128, 64)), learning_rate=1.0, max_epochs=30, random_state=0).fit(X)
    assert any(issubclass(one.category, PoorFitWarning) for one in said)


def test_a_fit_behind_pca_says_so():
    X, deep = load_breast_cancer().data, parts.MLP((64, 64))
    with pytest.warns(PoorFitWarning):
        diabolo.Autoencoder(
            encoder=deep, latent=parts.Deterministic(8), learning_rate=1e-3, max_epochs=3, random_state=0
        ).fit(X)


def test_a_collapsed_posterior_is_said_at_once():
    X = load_iris().data
    with pytest.warns(PosteriorCollapseWarning):
        diabolo.VariationalAutoencoder(n_latent=2, beta=1e4, init="random", max_epochs=300, random_state=0).fit(X)


def test_few_rows_hold_out_more():
    for n, held_out in ((40, 10), (200, 50), (600, 100), (3000, 300)):
        X = np.random.default_rng(0).normal(size=(n, 3))
        model = diabolo.StackedAutoencoder(n_latent=1, max_epochs=1, random_state=0)
        assert round(share_held_out(model, None, len(X)) * n) == held_out


# -- with a condition, and of tables of several kinds -----------------------------------------------------------------


def of_two_kinds(n=400, seed=0):
    """Numbers that move together with the code, and by a text column."""
    rng = np.random.default_rng(seed)
    kind, z = rng.integers(3, size=n), rng.normal(size=(n, 1))
    numbers = z @ np.array([[1.0, -2.0, 0.5, 1.5]]) + 4 * np.eye(3)[kind] @ rng.normal(size=(3, 4))
    table = pd.DataFrame(numbers + 0.3 * rng.normal(size=(n, 4)), columns=list("abcd"))
    return table.assign(kind=np.array(["x", "y", "z"])[kind], is_high=z[:, 0] > 0)


def test_with_a_condition_a_linear_one_is_pca_of_what_the_condition_leaves():
    table = of_two_kinds()[[*"abcd", "kind"]]
    left = table[[*"abcd"]] - table.groupby("kind")[[*"abcd"]].transform("mean")
    model = diabolo.BasicAutoencoder(n_latent=1, condition="kind", scaling=None, random_state=0).fit(table)
    errors = (model.reconstruct(table)[[*"abcd"]] - table[[*"abcd"]]).to_numpy()
    assert np.square(errors).sum() == pytest.approx(np.square(left - PCA(1).fit(left).inverse_transform(
        PCA(1).fit_transform(left))).to_numpy().sum(), rel=1e-2)  # fmt: skip


def test_with_a_condition_a_density_starts_at_factor_analysis_of_what_it_leaves():
    table = of_two_kinds()[[*"abcd", "kind"]]
    left = table[[*"abcd"]] - table.groupby("kind")[[*"abcd"]].transform("mean")
    model = diabolo.VariationalAutoencoder(n_latent=1, condition="kind", max_epochs=0, random_state=0).fit(table)
    reference = FactorAnalysis(1, tol=1e-8, max_iter=5000).fit(left)
    assert model.score(table) == pytest.approx(reference.score(left), abs=1e-4)
    assert np.mean(model.elbo(table)) == pytest.approx(model.score(table), abs=1e-4)


def test_a_density_of_several_kinds_starts_above_independent_columns():
    train, test = of_two_kinds(400), of_two_kinds(400, seed=0)
    start = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(train)
    numbers = train[[*"abcd"]]
    independent = -0.5 * (np.log(2 * np.pi * np.e * numbers.var())).sum() - np.log(3) - np.log(2)
    assert start.score(test) > independent + 1
    by_kind = start.sample(2000, random_state=1).groupby("kind")[["a"]].mean()
    assert by_kind.to_numpy().std() > 0.3 * train.groupby("kind")[["a"]].mean().to_numpy().std()


def test_columns_of_a_table_have_the_resolution_that_they_have_alone():
    X = load_iris(as_frame=True).data
    alone = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(X)
    beside = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(X.assign(kind=["a", "b"] * 75))
    floor = {name: own.value for name, own in beside.predictor_.model.weights.likelihood.items() if "floor" in name}
    np.testing.assert_allclose(*floor.values(), alone.predictor_.model.weights.likelihood["floor"].value)


def test_one_training_row_is_enough_for_a_start():
    model = diabolo.VariationalAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(
        [[0.0, 1.0, 2.0], [1.0, 0.0, 5.0]]
    )
    assert np.isfinite(model.score_samples([[0.5, 0.5, 3.0]])).all()
