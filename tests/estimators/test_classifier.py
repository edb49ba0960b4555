"""Supervised fine-tuning: the labels' part of the formula, scikit-learn's protocol, and what it is begun with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from diabolo import AutoencoderClassifier, load, parts
from diabolo.core.model import Model, loss
from diabolo.errors import CheckpointError, InvalidPart
from diabolo.estimators.autoencoders import BasicAutoencoder, SparseAutoencoder, VariationalAutoencoder

UNTRAINED = BasicAutoencoder(n_latent=4, max_epochs=0)
QUICK = {"batch_size": 16, "learning_rate": 0.05, "random_state": 0}


@pytest.mark.slow
@parametrize_with_checks([AutoencoderClassifier(UNTRAINED, max_epochs=40, optimizer="sgd", **QUICK)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X, np.array(["setosa", "versicolor", "virginica"])[y]


# -- the formula with targets -----------------------------------------------------------------------------------------


def test_targets_are_told_and_not_read():
    rng = np.random.default_rng(0)
    x, classes = rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 3, 6)
    recipe = parts.Recipe(
        encoder=parts.MLP((5,), "tanh"),
        latent=parts.Deterministic(2),
        decoder=parts.MLP(()),
        likelihood=parts.Categorical(),
        n_targets=3,
    )
    model = Model.build(recipe, 4, 0)
    assert [layer.weight.shape for layer in model.weights.encoder.layers] == [(4, 5), (5, 2)]
    assert [layer.weight.shape for layer in model.weights.decoder.layers] == [(2, 3)]
    rows = jnp.asarray(np.hstack([x, np.eye(3)[classes]]), jnp.float32)
    total, terms = loss(model, rows, jax.random.key(0), jnp.ones(()), jnp.ones(6))
    scores = np.asarray(model.weights.decoder(model.code(rows[:, :4])), np.float64)
    by_hand = -special.log_softmax(scores, axis=1)[np.arange(6), classes].mean()
    assert float(total) == pytest.approx(by_hand, rel=1e-5)
    assert set(terms) == {"loss", "reconstruction"}


def test_the_number_of_targets_is_a_whole_number():
    with pytest.raises(InvalidPart, match="n_targets"):
        parts.Recipe(n_targets=-1)


# -- what it learns ---------------------------------------------------------------------------------------------------


def test_on_a_linear_code_it_is_logistic_regression(iris):
    X, y = iris
    X = StandardScaler().fit_transform(X)
    ours = AutoencoderClassifier(
        BasicAutoencoder(n_latent=4, max_epochs=0, scaling=None),
        max_epochs=1500, batch_size=150, learning_rate=0.1, validation_fraction=None, random_state=0,
    ).fit(X, y)  # fmt: skip
    # Without a penalty the likelihood of separable classes has no maximum, but both must come to nearly none.
    theirs = LogisticRegression(C=1e6, max_iter=10_000).fit(X, y)
    assert ours.score(X, y) >= theirs.score(X, y) - 0.01
    assert log_loss(y, ours.predict_proba(X)) < log_loss(y, theirs.predict_proba(X)) + 0.02


@pytest.mark.slow
def test_training_the_encoder_as_well_fits_better_than_a_classifier_on_its_codes():
    X, y = load_digits(return_X_y=True)
    begun = BasicAutoencoder(n_latent=6, activation="tanh", max_epochs=20, random_state=0).fit(X)
    model = AutoencoderClassifier(FrozenEstimator(begun), max_epochs=60, learning_rate=3e-3, random_state=0).fit(X, y)
    codes = begun.transform(X)
    on_codes = LogisticRegression(C=1e6, max_iter=10_000).fit(codes, y)
    assert log_loss(y, model.predict_proba(X)) < 0.5 * log_loss(y, on_codes.predict_proba(codes))


def test_a_frozen_autoencoder_is_begun_with_and_left_alone(iris):
    X, y = iris
    begun = SparseAutoencoder(n_hidden=8, max_epochs=5, random_state=0).fit(X)
    before = [np.asarray(leaf).copy() for leaf in jax.tree.leaves(begun.model_.weights)]
    model = AutoencoderClassifier(FrozenEstimator(begun), max_epochs=0, **QUICK).fit(X, y)
    assert model.autoencoder_ is begun
    rows = jnp.asarray(begun.scaler_.apply(X))
    np.testing.assert_array_equal(model.model_.code(rows), begun.model_.code(rows))
    clone(model).set_params(max_epochs=5).fit(X, y)
    for old, new in zip(before, jax.tree.leaves(begun.model_.weights), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_plain_autoencoder_is_cloned_and_fitted(iris):
    X, y = iris
    given = BasicAutoencoder(n_latent=3, max_epochs=2, random_state=0)
    model = AutoencoderClassifier(given, max_epochs=1, **QUICK).fit(X, y)
    assert not hasattr(given, "model_")
    np.testing.assert_array_equal(model.autoencoder_.transform(X), clone(given).fit(X).transform(X))


def test_a_frozen_autoencoder_must_be_fitted_and_of_these_columns(iris):
    X, y = iris
    with pytest.raises(NotFittedError):
        AutoencoderClassifier(FrozenEstimator(UNTRAINED)).fit(X, y)
    with pytest.raises(ValueError, match="StandardScaler"):
        AutoencoderClassifier(FrozenEstimator(StandardScaler().fit(X))).fit(X, y)
    begun = clone(UNTRAINED).fit(X[:, :3])
    with pytest.raises(ValueError, match="3 features"):
        AutoencoderClassifier(FrozenEstimator(begun)).fit(X, y)


# -- rows of one's own to judge by ------------------------------------------------------------------------------------


def test_rows_of_ones_own_choose_the_best_epoch(iris):
    X, y = iris
    settings = QUICK | {"max_epochs": 30, "learning_rate": 0.02}
    model = AutoencoderClassifier(UNTRAINED, **settings).fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    held_out = model.history_["validation_loss"]
    assert model.best_epoch_ == 1 + int(np.argmin(held_out))
    assert min(held_out) == pytest.approx(log_loss(y[1::2], model.predict_proba(X[1::2])), rel=1e-4)
    with pytest.raises(ValueError, match="rose"):
        AutoencoderClassifier(UNTRAINED, **settings).fit(X, y, X_val=X[:2], y_val=["rose", "setosa"])


# -- corruption, posteriors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", [parts.Masking(0.3), parts.SaltAndPepper(0.2)])
def test_rows_can_be_corrupted_in_fine_tuning_and_are_not_after(corruption, iris):
    X, y = iris
    model = AutoencoderClassifier(UNTRAINED, corruption=corruption, max_epochs=40, **QUICK).fit(X, y, X_val=X, y_val=y)
    assert min(model.history_["validation_loss"]) == pytest.approx(log_loss(y, model.predict_proba(X)), rel=1e-4)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    assert model.score(X, y) > 0.8


def test_a_posterior_is_drawn_from_in_training_and_its_mean_predicts(iris):
    X, y = iris
    begun = VariationalAutoencoder(hidden_layer_sizes=(8,), n_latent=3, max_epochs=5, random_state=0)
    model = AutoencoderClassifier(begun, max_epochs=40, **QUICK).fit(X, y)
    mean = model.model_.code(jnp.asarray(model.scaler_.apply(X)))
    np.testing.assert_allclose(model.model_.decode(mean).mean, model.predict_proba(X), rtol=1e-4, atol=1e-6)
    assert model.score(X, y) > 0.8


# -- kept and gone on with --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_saved_predicts_the_same_bits(frozen, iris, tmp_path):
    X, y = iris
    begun = FrozenEstimator(clone(UNTRAINED).fit(X)) if frozen else UNTRAINED
    model = AutoencoderClassifier(begun, corruption=parts.Masking(0.1), max_epochs=3, **QUICK).fit(X, y)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert list(again.classes_) == ["setosa", "versicolor", "virginica"]
    assert again.autoencoder.get_params() == UNTRAINED.get_params()
    assert clone(again).fit(X, y).score(X, y) > 0


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(iris, tmp_path, monkeypatch):
    X, y = iris
    model = AutoencoderClassifier(BasicAutoencoder(max_epochs=6, random_state=0), max_epochs=2000, **QUICK)
    whole = clone(model).fit(X, y)
    monkeypatch.setattr("diabolo.engine.trainer._STRETCH_SECONDS", 0.001)

    def stop(epoch, record):
        if epoch > 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clone(model).fit(X, y, checkpoint_dir=tmp_path, checkpoint_every=0, callback=stop)
    resumed = clone(model).fit(X, y, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    assert resumed.history_ == whole.history_
    with pytest.raises(CheckpointError, match="fingerprint"):
        clone(model).fit(X[:100], y[:100], checkpoint_dir=tmp_path, resume=True)


# -- among scikit-learn's ---------------------------------------------------------------------------------------------


def test_it_works_in_a_pipeline_and_a_grid_search(iris):
    X, y = iris
    model = AutoencoderClassifier(UNTRAINED, max_epochs=5, **QUICK)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), model), {"autoencoderclassifier__autoencoder__n_latent": [1, 3]}, cv=2
    ).fit(X, y)
    assert search.best_params_["autoencoderclassifier__autoencoder__n_latent"] in (1, 3)
    np.testing.assert_allclose(search.predict_proba(X).sum(axis=1), 1.0, rtol=1e-5)
