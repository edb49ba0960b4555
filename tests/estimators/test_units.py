"""Rows as users have them: wrong ones, units, data frames."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import diabolo
import examples
from diabolo.errors import InvalidData
from diabolo.estimators.autoencoders import (
    BasicAutoencoder,
)
from diabolo.metrics import explained_variance
from helpers import over

SMALL = examples.SMALL
every_estimator = over("name", list(examples.ESTIMATORS))


READINGS = ("transform", "reconstruct", "score_samples", "score", "corrupt")


# -- wrong rows -------------------------------------------------------------------------------------------------------

WRONG_ROWS = {
    "infinity": (lambda x: np.where(x == x[3, 2], np.inf, x), "infinity"),
    "one row": (lambda x: x[:1], "sample"),
    "no rows": (lambda x: x[:0], "0 sample"),
    "no columns": (lambda x: x[:, :0], "0 feature"),
    "strings": (lambda x: np.full(x.shape, "a"), "convert|numeric|strings"),
    "one axis": (lambda x: x[:, 0], "2D"),
    "one row of two axes": (lambda x: x[None], "sample"),
    "complex": (lambda x: x + 1j, "Complex"),
}


@over("what", list(WRONG_ROWS))
def test_rows_that_cannot_be_fitted_are_refused_by_name(what, table):
    spoil, message = WRONG_ROWS[what]
    with pytest.raises(ValueError, match=message):
        BasicAutoencoder(**SMALL).fit(spoil(table))


@over("method", READINGS)
@over("what", ["infinity", "strings", "one axis"])
def test_rows_that_cannot_be_read_are_refused_by_name(what, method, table, fitted):
    spoil, message = WRONG_ROWS[what]
    with pytest.raises(ValueError, match=message):
        getattr(fitted["BasicAutoencoder"], method)(spoil(table))


@every_estimator
@over("method", READINGS)
def test_rows_of_another_width_are_refused(name, method, table, fitted):
    with pytest.raises(ValueError, match="5 features"):
        getattr(fitted[name], method)(table[:, :5])


@every_estimator
def test_codes_of_another_width_are_refused(name, fitted):
    with pytest.raises(ValueError, match="5"):
        fitted[name].inverse_transform(np.zeros((3, 5)))


@every_estimator
@over("method", ["transform", "inverse_transform", "reconstruct", "score_samples", "score", "corrupt"])
def test_an_unfitted_estimator_says_so(name, method, table):
    with pytest.raises(NotFittedError):
        getattr(clone(examples.ESTIMATORS[name]), method)(table)


@every_estimator
def test_an_unfitted_estimator_is_not_saved(name, tmp_path):
    with pytest.raises(NotFittedError):
        clone(examples.ESTIMATORS[name]).save(tmp_path / "x.diabolo")
    assert not list(tmp_path.iterdir())


# -- scaling and units ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["auto", "standard", "minmax", "range"])
def test_what_comes_out_is_in_the_users_units(scaling, table):
    estimator = BasicAutoencoder(n_latent=6, scaling=scaling, **SMALL | {"max_epochs": 200, "learning_rate": 0.03})
    estimator.fit(table)
    assert explained_variance(table, estimator.reconstruct(table)) > 0.9
    rows = estimator.scaler_.apply(table)
    np.testing.assert_allclose(estimator.scaler_.invert(rows), table, rtol=1e-5, atol=1e-5)


def test_the_kinds_of_scaling_do_what_they_say(table):
    scaled = {}
    for kind in ("standard", "minmax", "range", None):
        estimator = BasicAutoencoder(scaling=kind, validation_fraction=None, **SMALL).fit(table)
        scaled[kind] = estimator.scaler_.apply(table).astype(np.float64)
    np.testing.assert_allclose(scaled["standard"].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled["standard"].std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(scaled["minmax"].min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled["minmax"].max(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose((scaled["range"].min(), scaled["range"].max()), (0, 1), atol=1e-6)
    np.testing.assert_allclose(np.ptp(scaled["range"], axis=0), np.ptp(table, axis=0) / np.ptp(table), rtol=1e-4)
    np.testing.assert_allclose(scaled[None], table, rtol=1e-6)


@every_estimator
def test_multiplying_a_column_changes_codes_by_nothing_and_scores_by_its_logarithm(name, table, fitted):
    """p(1000·x) = p(x) / 1000: the change is the same for every row."""
    units = np.array([1.0, 1.0, 1000.0, 1.0, 1.0, 1.0])
    other = clone(fitted[name]).fit(table * units)
    change = other.score_samples(table * units) - fitted[name].score_samples(table)
    np.testing.assert_allclose(change, -np.log(1000), atol=2e-3)
    np.testing.assert_allclose(other.transform(table * units), fitted[name].transform(table), atol=2e-4)
    np.testing.assert_allclose(
        other.reconstruct(table * units), fitted[name].reconstruct(table) * units, rtol=1e-3, atol=1e-3
    )


@every_estimator
def test_a_power_of_two_changes_not_one_bit(name, table, fitted):
    units = np.array([1.0, 4.0, 1024.0, 0.5, 1.0, 1.0])
    other = clone(fitted[name]).fit(table * units)
    np.testing.assert_array_equal(other.transform(table * units), fitted[name].transform(table))
    np.testing.assert_allclose(
        other.score_samples(table * units), fitted[name].score_samples(table) - np.log(units).sum(), rtol=0, atol=1e-12
    )


def test_moving_a_column_far_away_loses_little(table, fitted):
    far = table + np.array([0.0, 0.0, 1e6, 0.0, 0.0, 0.0])
    other = clone(fitted["BasicAutoencoder"]).fit(far)
    np.testing.assert_allclose(other.transform(far), fitted["BasicAutoencoder"].transform(table), atol=1e-4)


def test_a_constant_column_is_no_trouble(table):
    rows = np.column_stack([table[:, :5], np.full(80, 7.0)])
    for estimator in (BasicAutoencoder(**SMALL), clone(examples.ESTIMATORS["VariationalAutoencoder"])):
        estimator.fit(rows)
        assert np.isfinite(estimator.reconstruct(rows)).all()
        assert np.isfinite(estimator.score_samples(rows)).all()


def test_a_probability_is_not_rescaled(grey):
    """A Bernoulli's log-probability has no units; min–max scaling of grey values changes nothing but the values."""
    estimator = BasicAutoencoder(likelihood="bernoulli", scaling="minmax", validation_fraction=None, **SMALL).fit(grey)
    plain = BasicAutoencoder(likelihood="bernoulli", scaling=None, validation_fraction=None, **SMALL).fit(grey)
    np.testing.assert_allclose(estimator.score_samples(grey), plain.score_samples(grey), rtol=1e-4, atol=1e-4)
    assert np.all(plain.score_samples(grey) < 0)


@pytest.mark.parametrize("scaling", [None, "standard"])
def test_rows_outside_a_bernoullis_range_are_refused_with_the_mend(scaling, table):
    with pytest.raises(InvalidData, match="minmax.*range"):
        BasicAutoencoder(likelihood="bernoulli", scaling=scaling, **SMALL).fit(table)


@pytest.mark.parametrize("scaling", ["auto", "minmax", "range"])
def test_a_bernoulli_reconstructs_within_the_training_rows_bounds(scaling, table):
    estimator = BasicAutoencoder(likelihood="bernoulli", scaling=scaling, validation_fraction=None, **SMALL).fit(table)
    reconstructed = estimator.reconstruct(table)
    low, high = (table.min(), table.max()) if scaling == "range" else (table.min(axis=0), table.max(axis=0))
    assert np.all((reconstructed >= low - 1e-4) & (reconstructed <= high + 1e-4))


def test_grey_values_are_left_as_they_are_for_a_bernoulli(grey):
    assert BasicAutoencoder(likelihood="bernoulli", **SMALL).fit(grey).scaler_.kind == "none"


# -- data frames ------------------------------------------------------------------------------------------------------

COLUMNS = ["a", "b", "c", "d", "e", "f"]


@every_estimator
def test_a_data_frame_goes_in_and_comes_out(name, table, fitted):
    frame = pd.DataFrame(table, columns=COLUMNS, index=np.arange(80) + 1000)
    estimator = clone(examples.ESTIMATORS[name]).set_output(transform="pandas").fit(frame)
    out = estimator.transform(frame)
    assert isinstance(out, pd.DataFrame)
    assert list(out.columns) == list(estimator.get_feature_names_out())
    assert list(out.columns) == [f"{name.lower()}{i}" for i in range(out.shape[1])]
    assert list(out.index) == list(frame.index)
    assert list(estimator.feature_names_in_) == COLUMNS
    np.testing.assert_array_equal(out.to_numpy(), fitted[name].transform(table))


def test_other_column_names_are_refused(table):
    frame = pd.DataFrame(table, columns=COLUMNS)
    estimator = BasicAutoencoder(**SMALL).fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="order"):
        estimator.transform(frame[COLUMNS[::-1]])


# -- tables without numbers -------------------------------------------------------------------------------------------

WORDS = pd.DataFrame({"a": ["x", "y", "z"] * 20, "b": ["u", "u", "v"] * 20})
TRUTHS = pd.DataFrame({"a": [True, False, True] * 20, "b": [False, True, True] * 20})


@pytest.mark.parametrize("rows", [WORDS, TRUTHS, WORDS.assign(c=TRUTHS["a"])], ids=["words", "truths", "both"])
@pytest.mark.parametrize("scaling", ["auto", "standard", "global", "minmax", "range", None])
def test_a_table_of_categories_and_booleans_needs_no_scaling(rows, scaling):
    model = diabolo.BasicAutoencoder(scaling=scaling, max_epochs=2, random_state=0).fit(rows)
    assert np.isfinite(model.score_samples(rows)).all()
    assert (model.scaler_.scale == 1).all()
    assert (model.scaler_.offset == 0).all()


def test_detectors_and_generators_read_tables_of_categories():
    detector = diabolo.AnomalyDetector("single", false_alarm_rate=0.1, random_state=0).fit(WORDS)
    assert detector.p_values(WORDS[:1].assign(b="w"))[0] < detector.p_values(WORDS).min() + 1e-9
    network = diabolo.VariationalAutoencoder(n_latent=2, scaling="standard", max_epochs=0, random_state=0)
    rng = np.random.default_rng(0)
    words = pd.DataFrame({name: rng.choice(["x", "y", "z"], 60) for name in "abcd"})
    drawn = diabolo.AutoencoderGenerator(network, random_state=0).fit(words).sample(20, random_state=0)
    assert set(drawn["a"]) <= {"x", "y", "z"}


@pytest.mark.parametrize("scaling", ["standard", "global", None])
def test_a_likelihood_on_the_unit_interval_refuses_a_scaling_that_leaves_it(scaling):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.raises(InvalidData):
        diabolo.BasicAutoencoder(likelihood="bernoulli", scaling=scaling, max_epochs=2).fit(rows)


@pytest.mark.parametrize("scaling", ["standard", "global", "minmax", None])
def test_a_noise_level_is_in_scaled_units_or_in_the_data_s(scaling, tmp_path):
    X = np.random.default_rng(0).normal(50, 20, (2000, 3))
    settings = {"noise_level": 2.0, "max_epochs": 0, "scaling": scaling, "random_state": 0}
    scaled, in_data = (
        diabolo.DenoisingAutoencoder(noise_units=units, **settings).fit(X) for units in ("scaled", "data")
    )
    assert (scaled.corrupt(X) - X).std() == pytest.approx(2.0 * scaled.scaler_.scale.mean(), rel=0.05)
    assert (in_data.corrupt(X) - X).std() == pytest.approx(2.0, rel=0.05)
    in_data.save(tmp_path / "model")
    np.testing.assert_array_equal(diabolo.load(tmp_path / "model").corrupt(X), in_data.corrupt(X))
