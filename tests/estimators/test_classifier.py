"""Supervised fine-tuning: the labels' part of the formula, scikit-learn's protocol, and what it is begun with."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import special
from scipy.sparse import csr_matrix
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
from diabolo.engine import inference
from diabolo.errors import CheckpointError, InvalidData, InvalidParameter, InvalidPart
from diabolo.estimators.autoencoders import (
    BasicAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
)

UNTRAINED = BasicAutoencoder(n_latent=4, max_epochs=0)
QUICK = {"batch_size": 16, "learning_rate": 0.05, "random_state": 0}


OTHER_BATCHES = "rows of other numbers are other batches, so a training with weights is not that with repeated rows"
EXPECTED_FAILURES = {f"check_sample_weight_equivalence_on_{kind}_data": OTHER_BATCHES for kind in ("dense", "sparse")}


@pytest.mark.slow
@parametrize_with_checks(
    [AutoencoderClassifier(UNTRAINED, max_epochs=40, optimizer="sgd", **QUICK)],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X, np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def crossed():
    """Rows whose label is the sign of a product of two columns, so that a linear model sees nothing."""
    X = np.random.default_rng(0).normal(size=(600, 2))
    return X, np.where(X[:, 0] * X[:, 1] > 0, "left", "right")


@pytest.fixture(scope="module")
def of_crossed(crossed):
    """The classifier's own choice of an autoencoder, fitted once."""
    return FrozenEstimator(StackedAutoencoder(n_latent=2, random_state=0).fit(crossed[0][:300]))


def codes_of(fitted, X):
    """The codes of a classifier or an autoencoder."""
    return inference.map_rows(inference.code, fitted.model_, fitted.scaler_.apply(X))


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
    rows = np.hstack([x, np.eye(3)[classes]]).astype(np.float32)

    @jax.jit
    def computed(rows):
        scores = model.weights.decoder(model.code(rows[:, :4]))
        return loss(model, rows, jax.random.key(0), jnp.ones(()), jnp.ones(6)), scores

    (total, terms), scores = computed(rows)
    by_hand = -special.log_softmax(np.asarray(scores, np.float64), axis=1)[np.arange(6), classes].mean()
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
    begun = BasicAutoencoder(n_latent=4, init="random", max_epochs=5, random_state=0).fit(X)
    before = [np.asarray(leaf).copy() for leaf in jax.tree.leaves(begun.model_.weights)]
    model = AutoencoderClassifier(FrozenEstimator(begun), max_epochs=0, **QUICK).fit(X, y)
    assert model.autoencoder_ is begun
    np.testing.assert_array_equal(codes_of(model, X), codes_of(begun, X))
    clone(model).set_params(max_epochs=5).fit(X, y)
    for old, new in zip(before, jax.tree.leaves(begun.model_.weights), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_plain_autoencoder_is_cloned_and_fitted(iris):
    X, y = iris
    given = BasicAutoencoder(n_latent=4, init="random", max_epochs=2, random_state=0)
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


def test_rows_of_ones_own_choose_the_best_epoch(crossed, of_crossed, monkeypatch):
    X, y = crossed
    model = AutoencoderClassifier(of_crossed, random_state=0, max_epochs=30)
    model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    held_out = model.history_["validation_loss"]
    assert model.best_epoch_ == 1 + int(np.argmin(held_out))
    assert min(held_out) == pytest.approx(log_loss(y[1::2], model.predict_proba(X[1::2])), rel=1e-4)
    monkeypatch.setattr(StackedAutoencoder, "fit", None)  # labels are looked at before the autoencoder is trained
    with pytest.raises(ValueError, match="rose"):
        AutoencoderClassifier(random_state=0).fit(X, y, X_val=X[:2], y_val=["rose", "left"])


# -- the start: a linear probe ----------------------------------------------------------------------------------------


def test_the_start_is_a_logistic_regression_on_the_scaled_rows(iris):
    """The code is a rotation of the scaled rows, so that the ridge penalty is the same."""
    X, y = iris
    model = AutoencoderClassifier(UNTRAINED, max_epochs=0, validation_fraction=None, **QUICK).fit(X, y)
    rows = StandardScaler().fit_transform(X)
    theirs = LogisticRegression(solver="newton-cholesky")
    by_strength = [clone(theirs).set_params(C=10.0**c).fit(rows, y).predict_proba(rows) for c in range(-4, 3)]
    assert min(np.abs(model.predict_proba(X) - one).max() for one in by_strength) < 5e-3


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "a", "a", "b", "c"]], ids=len)
def test_labels_that_do_not_depend_on_the_row_have_their_frequencies(classes):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1200, 12)), rng.choice(classes, 1200)
    model = AutoencoderClassifier(random_state=0).fit(X[:200], y[:200])
    frequencies = {label: float(np.mean(y[:200] == label)) for label in set(classes)}
    by_frequency = -np.log([frequencies[label] for label in y[200:]]).mean()
    assert log_loss(y[200:], model.predict_proba(X[200:])) < by_frequency + 0.03


def test_fine_tuning_is_kept_where_a_linear_model_sees_nothing(crossed, of_crossed):
    X, y = crossed
    model = AutoencoderClassifier(of_crossed, max_epochs=200, random_state=0).fit(X[:300], y[:300])
    assert model.best_epoch_ > 0
    assert model.score(X[300:], y[300:]) > 0.9


def test_a_class_without_training_rows_has_its_frequency():
    """A class can be in none of the rows that are left for training; its probability is small and not 0."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.array(["a", "b"] * 20)
    weights = np.ones(40)
    y[0], weights[0] = "c", 0.0
    model = AutoencoderClassifier(UNTRAINED, max_epochs=0, **QUICK).fit(X, y, sample_weight=weights)
    assert 0.001 < model.predict_proba(X)[:, 2].mean() < 0.05


# -- corruption, posteriors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", [parts.Masking(0.3), parts.SaltAndPepper(0.2)])
def test_rows_can_be_corrupted_in_fine_tuning_and_are_not_after(corruption, crossed, of_crossed):
    X, y = (some[:300] for some in crossed)
    model = AutoencoderClassifier(of_crossed, corruption=corruption, max_epochs=60, random_state=0)
    model.fit(X, y, X_val=X, y_val=y)
    assert min(model.history_["validation_loss"]) == pytest.approx(log_loss(y, model.predict_proba(X)), rel=1e-4)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    assert model.score(X, y) > 0.8


def test_a_posterior_is_drawn_from_in_training_and_its_mean_predicts(iris):
    X, y = iris
    begun = VariationalAutoencoder(hidden_layer_sizes=(4,), n_latent=3, max_epochs=0, random_state=0)
    model = AutoencoderClassifier(begun, max_epochs=40, **QUICK).fit(X, y)
    of_mean = jax.jit(lambda rows: model.model_.decode(model.model_.code(rows)).mean)(model.scaler_.apply(X))
    np.testing.assert_allclose(of_mean, model.predict_proba(X), rtol=1e-4, atol=1e-6)
    assert model.score(X, y) > 0.8


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rare():
    """118 rows of one class, and 2 of another that lies apart."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 4)), np.array(["usual"] * 118 + ["rare"] * 2)
    X[118:, 0] += 3
    return X, y


def test_a_rare_class_is_found_with_balanced_weights(rare):
    X, y = rare
    for weights in ({"class_weight": "balanced"}, {"class_weight": {"rare": 59.0}}):
        model = AutoencoderClassifier(UNTRAINED, **weights, **QUICK).fit(X, y)
        assert (model.predict(X[118:]) == "rare").all()
        assert (model.predict(X[:118]) == "usual").mean() > 0.85


def test_weights_of_rows_and_of_classes_are_one_product_and_their_unit_does_not_matter(rare):
    X, y = rare
    model = AutoencoderClassifier(UNTRAINED, max_epochs=5, **QUICK)
    of_class = clone(model).set_params(class_weight={"rare": 8.0}).fit(X, y)
    of_rows = clone(model).fit(X, y, np.where(y == "rare", 8.0, 1.0))
    halves = clone(model).set_params(class_weight={"rare": 2.0}).fit(X, y, np.where(y == "rare", 400.0, 100.0))
    for other in (of_rows, halves):
        np.testing.assert_array_equal(other.predict_proba(X), of_class.predict_proba(X))


def test_equal_weights_change_no_bit(iris):
    X, y = iris
    model = AutoencoderClassifier(UNTRAINED, max_epochs=3, **QUICK)
    plain, weighted = (
        clone(model).fit(X, y),
        clone(model).set_params(class_weight="balanced").fit(X, y, np.full(150, 7)),
    )
    np.testing.assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))


def test_the_loss_is_that_of_the_weights(crossed, of_crossed):
    X, y = (some[:300] for some in crossed)
    model = AutoencoderClassifier(of_crossed, class_weight={"left": 5.0}, max_epochs=20, random_state=0)
    model.fit(X, y, X_val=X, y_val=y)
    expected = log_loss(y, model.predict_proba(X), sample_weight=np.where(y == "left", 5.0, 1.0))
    assert min(model.history_["validation_loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "wrong", [[1.0], [1.0, -1.0] * 75, [np.nan] * 150, [0.0] * 150, ["a"] * 150, np.ones((150, 2))], ids=str
)
def test_wrong_weights_are_refused(wrong, iris):
    with pytest.raises(InvalidData):
        AutoencoderClassifier(UNTRAINED, max_epochs=1, **QUICK).fit(*iris, wrong)


@pytest.mark.parametrize("wrong", [{"rose": 2.0}, {"setosa": -1.0}, {"setosa": np.inf}], ids=str)
def test_wrong_weights_of_classes_are_refused(wrong, iris):
    with pytest.raises(InvalidParameter):
        AutoencoderClassifier(UNTRAINED, class_weight=wrong, max_epochs=1, **QUICK).fit(*iris)


# -- tables, sparse rows, probabilities -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    """A table with text, counts, dates, yes and no and empty cells, and labels that follow from two of them."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "a": rng.normal(size=300),
        "b": rng.choice(["x", "y", "z"], 300),
        "n": rng.negative_binomial(1, 0.01, 300),
        "d": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 999, 300), unit="D"),
        "ok": rng.random(300) < 0.5,
    })  # fmt: skip
    y = np.where((table["b"] == "x") ^ (table["n"] > 80), "p", "q")
    table.loc[3, "a"] = np.nan
    table.loc[5, "b"] = None
    return table, y


def test_it_reads_tables_of_all_kinds_of_columns(mixed, tmp_path):
    table, y = mixed
    model = AutoencoderClassifier(StackedAutoencoder(max_epochs=0), max_epochs=300, random_state=0)
    model.fit(table[:200], y[:200])
    assert model.score(table[200:], y[200:]) > 0.85
    assert model.schema_.names == tuple(table.columns)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict_proba(table), model.predict_proba(table))
    np.testing.assert_array_equal(model.predict_proba(table[table.columns[::-1]]), model.predict_proba(table))
    table.to_csv(tmp_path / "table.csv", index=False)
    np.testing.assert_array_equal(model.predict(tmp_path / "table.csv"), model.predict(table))
    with pytest.raises(InvalidData, match="array|table|frame"):
        model.predict(np.zeros((2, 5)))


def test_a_frozen_autoencoder_of_a_table_keeps_its_schema(mixed):
    table, y = mixed
    begun = BasicAutoencoder(n_latent=3, max_epochs=2, random_state=0).fit(table)
    model = AutoencoderClassifier(FrozenEstimator(begun), max_epochs=2, **QUICK)
    model.fit(table[:200], y[:200], X_val=table[200:], y_val=y[200:])
    assert model.schema_ == begun.schema_
    assert model.autoencoder_ is begun


def test_counts_are_read_as_the_autoencoder_reads_them():
    X = np.random.default_rng(0).poisson(50, (60, 3))
    begun = BasicAutoencoder(likelihood="count", max_epochs=2, random_state=0).fit(X)
    model = AutoencoderClassifier(FrozenEstimator(begun), max_epochs=0, **QUICK).fit(X, X[:, 0] > 50)
    np.testing.assert_array_equal(codes_of(model, X), codes_of(begun, X))
    with pytest.raises(InvalidData):
        model.predict(X - 0.5)


def test_sparse_rows_are_dense_rows(iris):
    X, y = iris
    model = AutoencoderClassifier(UNTRAINED, max_epochs=3, **QUICK)
    dense, of_sparse = clone(model).fit(X, y), clone(model).fit(csr_matrix(X), y)
    np.testing.assert_array_equal(of_sparse.predict_proba(csr_matrix(X)), dense.predict_proba(X))


def test_logs_of_probabilities_are_finite_where_probabilities_are_0(iris):
    X, y = iris
    model = AutoencoderClassifier(UNTRAINED, max_epochs=400, **QUICK).fit(X, y)
    far = X.mean(axis=0) + 300 * (X - X.mean(axis=0))
    found, shares = model.predict_log_proba(far), model.predict_proba(far)
    assert (shares == 0).any()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found), shares, atol=1e-6)
    np.testing.assert_allclose(special.logsumexp(found, axis=1), 0, atol=1e-12)


@pytest.mark.parametrize(("given", "frozen"), [(None, 2), (3, 3)])
def test_the_default_code_has_no_bottleneck_and_a_frozen_one_stays(given, frozen, iris, tmp_path):
    X, y = iris
    for autoencoder, n_codes in (
        (StackedAutoencoder(n_latent=given, max_epochs=0), given or 4),
        (FrozenEstimator(StackedAutoencoder(n_latent=given, max_epochs=0).fit(X)), frozen),
    ):
        model = AutoencoderClassifier(autoencoder, max_epochs=1, **QUICK).fit(X, y)
        assert model.predictor_.n_codes == n_codes
        model.save(tmp_path / "model")
        np.testing.assert_array_equal(load(tmp_path / "model").predict_proba(X), model.predict_proba(X))


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
    model = AutoencoderClassifier(BasicAutoencoder(max_epochs=6, random_state=0), max_epochs=200, **QUICK)
    whole = clone(model).fit(X, y)
    monkeypatch.setattr("diabolo.engine.trainer._STRETCH_SECONDS", 0.001)

    def stop(epoch, record):
        if epoch > 50:
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
        make_pipeline(StandardScaler(), model), {"autoencoderclassifier__autoencoder__n_latent": [1, 4]}, cv=2
    ).fit(X, y)
    assert search.best_params_["autoencoderclassifier__autoencoder__n_latent"] == 4
    np.testing.assert_allclose(search.predict_proba(X).sum(axis=1), 1.0, rtol=1e-5)
