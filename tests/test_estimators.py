"""The scikit-learn face: its own checks, its protocols, the user's units, and each system's promises."""

import inspect
import io
import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import linalg, special, stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import examples
from diabolo import parts
from diabolo.core.corruptions import Corruption
from diabolo.core.model import Model
from diabolo.data.scaler import Survey
from diabolo.engine import checkpoints
from diabolo.engine.splits import from_array
from diabolo.errors import InvalidData, InvalidPart, TrainingDiverged
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
from diabolo.metrics import explained_variance

SMALL = examples.SMALL
every_estimator = pytest.mark.parametrize("name", examples.ESTIMATORS)
every_stochastic = pytest.mark.parametrize("name", examples.STOCHASTIC)
every_deterministic = pytest.mark.parametrize("name", [n for n in examples.ESTIMATORS if n not in examples.STOCHASTIC])


READINGS = ("transform", "reconstruct", "score_samples", "score", "corrupt")


def weights_of(estimator):
    return [np.asarray(array) for array in jax.tree.leaves(estimator.model_.weights)]


# -- scikit-learn's own checks ----------------------------------------------------------------------------------------

# Small programs that compile fast; `Autoencoder` keeps the default optimiser and schedule. What the estimators have of
# their own is a table of parameters, so those of each kind do: deterministic, corrupted, penalised, with a posterior.
_SHORT = {"max_epochs": 2, "batch_size": 8, "random_state": 0}
_QUICK = _SHORT | {"optimizer": "sgd", "learning_rate_schedule": "constant"}
_LAYER = {"hidden_layer_sizes": (4,)}


@parametrize_with_checks(
    [
        Autoencoder(encoder=parts.MLP((4,)), **_SHORT),
        SparseAutoencoder(n_hidden=4, **_QUICK),
        DenoisingAutoencoder(corruption="masking", **_LAYER, **_QUICK),
        VariationalAutoencoder(**_LAYER, **_QUICK),
    ]
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# -- parameters -------------------------------------------------------------------------------------------------------


@every_estimator
def test_fitting_leaves_the_parameters_alone(name, fitted):
    example = examples.ESTIMATORS[name]
    assert repr(fitted[name]) == repr(example)
    assert fitted[name].get_params() == example.get_params()


@every_estimator
def test_a_clone_is_unfitted_and_has_the_same_parameters(name, fitted):
    copied = clone(fitted[name])
    assert not hasattr(copied, "model_")
    assert copied.get_params() == fitted[name].get_params()


@every_estimator
def test_the_constructor_only_stores(name):
    example = examples.ESTIMATORS[name]
    for parameter, value in example.get_params(deep=False).items():
        marker = object()
        assert getattr(type(example)(**{parameter: marker}), parameter) is marker
        assert getattr(example, parameter) is value


@every_estimator
def test_every_parameter_is_constrained_and_documented(name):
    cls = ESTIMATORS[name]
    for parameter in inspect.signature(cls).parameters:
        assert parameter in cls._parameter_constraints
        assert f" {parameter} : " in cls.__doc__, parameter


@every_estimator
def test_every_fitted_attribute_is_documented(name, fitted):
    for attribute in vars(fitted[name]):
        if attribute.endswith("_") and not attribute.startswith("_") and attribute != "feature_names_in_":
            assert attribute in type(fitted[name]).__doc__, attribute


BAD_PARAMETERS = {
    "max_epochs": [-1, 1.5, "many"],
    "batch_size": [0, 2.5],
    "learning_rate": [0.0, -1.0, "fast"],
    "learning_rate_schedule": ["nope", 3],
    "optimizer": ["nope", None],
    "scaling": ["nope", 3],
    "validation_fraction": [-0.1, 1.0, "half"],
    "early_stopping": ["yes"],
    "patience": [0],
    "n_latent": [0, 1.5],
    "activation": ["nope"],
    "likelihood": ["nope", None],
    "hidden_layer_sizes": [3.5, "ten", (0,), (-1,), (4, 2.5)],
    "pretrain": ["nope"],
    "latent_activation": ["nope"],
    "pretrain_corruption": ["masking"],
    "pretrain_epochs": [0],
    "n_hidden": [0, 2.5],
    "target_activation": [0.0, 1.0],
    "sparsity_weight": [-1.0],
    "corruption": ["nope", 0.3],
    "noise_level": [-0.1],
    "beta": [-1.0, "nope"],
    "n_samples": [0],
    "latent": ["nope", 3],
    "encoder": [3],
    "decoder": [3],
    "prior": [3],
    "objective": ["nope"],
    "penalties": [parts.L1(), "nope"],
}


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        (name, parameter, value)
        for name, cls in ESTIMATORS.items()
        if name in examples.ESTIMATORS
        for parameter in inspect.signature(cls).parameters
        for value in BAD_PARAMETERS.get(parameter, [])
    ],
)
def test_a_bad_parameter_is_refused_by_name(name, parameter, value, table):
    estimator = clone(examples.ESTIMATORS[name]).set_params(**{parameter: value})
    named = {"hidden_layer_sizes": r"hidden"}.get(parameter, parameter)
    with pytest.raises(ValueError, match=named):
        estimator.fit(table)


def test_a_noise_level_that_no_share_can_be_is_refused(table):
    with pytest.raises(InvalidPart, match=r"Masking\.p must be"):
        DenoisingAutoencoder(corruption="masking", noise_level=1.5, **SMALL).fit(table)


def test_an_elbo_of_a_deterministic_code_is_refused(table):
    with pytest.raises(InvalidPart, match=r"ELBO.*DiagonalGaussian"):
        Autoencoder(objective="elbo", **SMALL).fit(table)


def test_nested_parameters_reach_parts_and_no_other_estimator():
    latent, corruption = parts.Code(2), parts.Masking(0.1)
    one, two = (Autoencoder(latent=latent, corruption=corruption) for _ in range(2))
    one.set_params(latent__n_latent=5, corruption__p=0.9, max_epochs=7)
    assert (one.latent, one.corruption, one.max_epochs) == (parts.Code(5), parts.Masking(0.9), 7)
    assert (two.latent, two.corruption, two.max_epochs) == (latent, corruption, None)
    assert latent == parts.Code(2)


def test_defaults_are_not_shared_between_estimators():
    one, two = DenoisingAutoencoder(), DenoisingAutoencoder()
    one.set_params(corruption=parts.Masking(0.1), corruption__p=0.5)
    assert one.corruption == parts.Masking(0.5)
    assert two.corruption == "gaussian"


@pytest.mark.parametrize("reverse", [False, True])
def test_deep_parameters_are_set_from_the_outside_inwards(reverse):
    changes = {
        "objective": parts.ELBO(),
        "objective__beta": parts.LinearWarmup(10),
        "objective__beta__epochs": 3,
        "objective__n_samples": 2,
    }
    names = sorted(changes, reverse=reverse)
    estimator = Autoencoder(objective=parts.ImportanceWeighted()).set_params(**{name: changes[name] for name in names})
    assert estimator.objective == parts.ELBO(parts.LinearWarmup(3.0), 2)


def test_get_params_lists_the_parameters_of_parts():
    params = Autoencoder(latent=parts.Code(3), objective=parts.ELBO(parts.LinearWarmup(4))).get_params()
    assert params["latent__n_latent"] == 3
    assert params["objective__beta__epochs"] == 4.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent__n_latents": 3}, "no parameter 'n_latents'"),
        ({"corruption__p": 2.0}, r"Masking\.p must be"),
        ({"no_such": 3}, "no_such"),
    ],
)
def test_setting_a_wrong_parameter_says_so(changes, message):
    with pytest.raises(ValueError, match=message):
        Autoencoder(latent=parts.Code(2), corruption=parts.Masking(0.1)).set_params(**changes)


# -- fitting ----------------------------------------------------------------------------------------------------------


@every_estimator
def test_one_random_state_gives_the_same_bits(name, table, fitted):
    again = clone(fitted[name]).fit(table)
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(again), weights_of(fitted[name]), strict=True))
    assert again.history_ == fitted[name].history_
    np.testing.assert_array_equal(again.transform(table), fitted[name].transform(table))


@every_estimator
def test_another_random_state_gives_another_fit(name, table, fitted):
    other = clone(fitted[name]).set_params(random_state=1).fit(table)
    assert any(not np.array_equal(a, b) for a, b in zip(weights_of(other), weights_of(fitted[name]), strict=True))


def test_a_random_state_object_advances(table):
    state = np.random.RandomState(0)
    one, two = (BasicAutoencoder(**SMALL | {"random_state": state}).fit(table) for _ in range(2))
    assert one.history_ != two.history_


@every_estimator
def test_labels_are_ignored(name, table, fitted):
    with_labels = clone(fitted[name]).fit(table, np.arange(len(table)))
    np.testing.assert_array_equal(with_labels.transform(table), fitted[name].transform(table))


@every_estimator
def test_fitting_leaves_the_rows_alone(name, table):
    rows = table.copy()
    clone(examples.ESTIMATORS[name]).fit(rows).reconstruct(rows)
    np.testing.assert_array_equal(rows, table)


@every_estimator
def test_the_fitted_attributes_fit_each_other(name, fitted):
    estimator = fitted[name]
    assert estimator.n_features_in_ == 6
    assert estimator.n_epochs_ == len(estimator.history_["loss"]) == SMALL["max_epochs"]
    lowest = 1 + int(np.argmin(estimator.history_["validation_loss"]))
    assert estimator.best_epoch_ in (0, lowest)  # 0: the closed form is better
    assert len(estimator.data_fingerprint_) == 32


@pytest.mark.parametrize("fraction", [None, 0, 0.0])
def test_without_held_out_rows_the_last_epoch_is_kept(fraction, table):
    estimator = BasicAutoencoder(**SMALL, validation_fraction=fraction).fit(table)
    assert estimator.best_epoch_ == estimator.n_epochs_ == 3
    assert not any(name.startswith("validation") for name in estimator.history_)


@pytest.mark.parametrize(("fraction", "n_held_out"), [(0.1, 8), (0.001, 1), (0.5, 40), (0.9999, 79)])
def test_the_share_of_held_out_rows_is_as_asked_and_leaves_some_on_both_sides(fraction, n_held_out, table):
    rows = from_array(table, Survey(None, "real"), fraction, 0)
    assert (rows.training.n_rows, rows.held_out.n_rows) == (80 - n_held_out, n_held_out)
    chunks = [next(source.chunks()) for source in (rows.training, rows.held_out)]
    together = np.concatenate([np.asarray(chunk.rows)[: chunk.n_rows] for chunk in chunks])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(table.astype(np.float32), axis=0))


@every_estimator
def test_no_epochs_keep_the_weights_as_they_were_drawn(name, table):
    estimator = clone(examples.ESTIMATORS[name]).set_params(max_epochs=0, init="random").fit(table)
    drawn = Model.build(estimator._recipe(6), 6, estimator.seed_)
    trainable = (jax.tree.leaves(model.weights.trainable()[0]) for model in (estimator.model_, drawn))
    if name != "SparseAutoencoder":  # whose biases are solved for at the end
        for found, wanted in zip(*trainable, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert (estimator.best_epoch_, estimator.n_epochs_, estimator.history_) == (0, 0, {})
    assert np.isfinite(estimator.reconstruct(table)).all()


def test_rows_of_ones_own_choose_the_best_epoch_and_all_others_are_trained_on(table):
    rows, apart = table[:60], table[60:]
    settings = SMALL | {"max_epochs": 30, "learning_rate": 0.05, "init": "random"}
    estimator = BasicAutoencoder(**settings).fit(rows, X_val=apart)
    alone = BasicAutoencoder(**settings, validation_fraction=None).fit(rows)
    assert estimator.history_["loss"] == alone.history_["loss"]
    assert estimator.best_epoch_ == 1 + int(np.argmin(estimator.history_["validation_loss"]))
    squared = np.square(estimator.scaler_.apply(apart) - estimator.scaler_.apply(estimator.reconstruct(apart)))
    mean_loss = squared.sum(axis=1).mean() + 3 * np.log(np.pi)
    assert estimator.history_["validation_loss"][estimator.best_epoch_ - 1] == pytest.approx(mean_loss, rel=1e-5)
    assert estimator.n_samples_ == 80
    assert estimator.data_fingerprint_ != alone.data_fingerprint_


@pytest.mark.parametrize("apart", [np.ones((3, 5)), np.full((3, 6), np.inf), np.ones(6), np.ones((0, 6))], ids=repr)
def test_bad_rows_of_ones_own_are_refused(apart, table):
    with pytest.raises(ValueError, match="features|infinity|1D|sample"):
        BasicAutoencoder(**SMALL).fit(table, X_val=apart)


def test_early_stopping_ends_before_all_epochs_are_run(table):
    estimator = BasicAutoencoder(
        max_epochs=3000, batch_size=16, learning_rate=0.05, early_stopping=True, patience=2, random_state=0
    ).fit(table)
    assert estimator.n_epochs_ == estimator.best_epoch_ + 2 < 3000


def test_two_rows_are_enough(table):
    assert BasicAutoencoder(**SMALL).fit(table[:2]).transform(table).shape == (80, 2)


def test_training_that_diverges_says_so(table):
    estimator = BasicAutoencoder(**SMALL | {"learning_rate": 1e9, "max_epochs": 3}, optimizer="sgd")
    with pytest.raises(TrainingDiverged, match="Lower the learning rate"):
        estimator.fit(table)


def test_a_column_that_goes_far_beyond_the_others_is_named_as_the_likely_cause(table):
    wild = table.copy()
    wild[:, 1] *= 1e18
    names = [f"c{i}" for i in range(table.shape[1])]
    frame = pd.DataFrame(wild, columns=names)
    with pytest.raises(TrainingDiverged, match=r"likely cause: column c1 goes to .*e\+20") as caught:
        BasicAutoencoder(**SMALL, scaling=None, init="random").fit(frame)
    assert caught.value.epoch == 1
    assert caught.value.step is not None


def test_a_training_that_diverges_leaves_the_last_good_weights_to_go_on_from(table, tmp_path):
    steady = BasicAutoencoder(**SMALL | {"max_epochs": 6})

    @dataclass(frozen=True)
    class LateAndWild(parts.Schedule):
        """A rate of one until the third epoch's end, and none that is a number then."""

        def __call__(self, t, n_epochs):
            return jnp.where(t > 2.99, jnp.nan, 1.0)

        def settled_after(self, n_epochs):
            return 0.0

    wild = clone(steady).set_params(learning_rate_schedule=LateAndWild())
    with pytest.raises(TrainingDiverged):
        wild.fit(table, checkpoint_dir=tmp_path, checkpoint_every=0)
    assert not hasattr(wild, "model_")
    kept = sorted(tmp_path.glob("*.checkpoint"))
    assert kept
    for file in kept:
        _, arrays = checkpoints._read(file)
        assert all(
            np.isfinite(array).all() for name, array in arrays.items() if "arrays" in name and "best" not in name
        )


def test_nothing_is_printed_where_there_is_no_terminal(table, capsys):
    BasicAutoencoder(**SMALL, verbose=1).fit(table)
    assert capsys.readouterr() == ("", "")


def test_a_progress_bar_shows_on_a_terminal(table, monkeypatch):
    from diabolo.engine import progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(progress.sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    BasicAutoencoder(**SMALL, verbose=1).fit(table)
    assert "training" in terminal.getvalue()
    VariationalAutoencoder(max_epochs=1, hidden_layer_sizes=(4,), random_state=0, verbose=1).fit(table)
    assert "chosen: n_latent 6, scaling standard\n" in terminal.getvalue()


# -- wrong rows -------------------------------------------------------------------------------------------------------

WRONG_ROWS = {
    "infinity": (lambda x: np.where(x == x[3, 2], np.inf, x), "infinity"),
    "one row": (lambda x: x[:1], "minimum of 2 is required"),
    "no rows": (lambda x: x[:0], "0 sample"),
    "no columns": (lambda x: x[:, :0], "0 feature"),
    "strings": (lambda x: np.full(x.shape, "a"), "could not convert string to float|dtype='numeric'|strings"),
    "one axis": (lambda x: x[:, 0], "Expected 2D array, got 1D array"),
    "three axes": (lambda x: x[None], "dim 3"),
    "complex": (lambda x: x + 1j, "Complex data not supported"),
}


@pytest.mark.parametrize("what", WRONG_ROWS)
def test_rows_that_cannot_be_fitted_are_refused_by_name(what, table):
    spoil, message = WRONG_ROWS[what]
    with pytest.raises(ValueError, match=message):
        BasicAutoencoder(**SMALL).fit(spoil(table))


@pytest.mark.parametrize("method", READINGS)
@pytest.mark.parametrize("what", ["infinity", "strings", "one axis"])
def test_rows_that_cannot_be_read_are_refused_by_name(what, method, table, fitted):
    spoil, message = WRONG_ROWS[what]
    with pytest.raises(ValueError, match=message):
        getattr(fitted["BasicAutoencoder"], method)(spoil(table))


@every_estimator
@pytest.mark.parametrize("method", READINGS)
def test_rows_of_another_width_are_refused(name, method, table, fitted):
    with pytest.raises(ValueError, match=r"5 features, but \w+ is expecting 6"):
        getattr(fitted[name], method)(table[:, :5])


@every_estimator
def test_codes_of_another_width_are_refused(name, fitted):
    with pytest.raises(ValueError, match="Z has 5 columns"):
        fitted[name].inverse_transform(np.zeros((3, 5)))


@every_estimator
@pytest.mark.parametrize(
    "method", ["transform", "inverse_transform", "reconstruct", "score_samples", "score", "corrupt"]
)
def test_an_unfitted_estimator_says_so(name, method, table):
    with pytest.raises(NotFittedError):
        getattr(clone(examples.ESTIMATORS[name]), method)(table)


@every_estimator
def test_an_unfitted_estimator_is_not_saved(name, tmp_path):
    with pytest.raises(NotFittedError):
        clone(examples.ESTIMATORS[name]).save(tmp_path / "x.diabolo")
    assert not list(tmp_path.iterdir())


# -- outputs ----------------------------------------------------------------------------------------------------------


@every_estimator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_floating_type_is_kept(name, dtype, table, fitted):
    rows = table.astype(dtype)
    estimator = fitted[name]
    codes = estimator.transform(rows)
    assert codes.dtype == estimator.reconstruct(rows).dtype == dtype
    assert estimator.inverse_transform(codes).dtype == dtype
    assert estimator.corrupt(rows).dtype == dtype
    assert estimator.score_samples(rows).dtype == np.float64
    assert clone(estimator).fit(rows).transform(rows).dtype == dtype


def test_whole_numbers_are_rows_too(table, fitted):
    estimator, rows = fitted["BasicAutoencoder"], np.round(table).astype(int)
    np.testing.assert_array_equal(estimator.transform(rows), estimator.transform(rows.astype(float)))


@every_estimator
def test_outputs_have_the_shapes_of_the_rows(name, table, fitted):
    estimator, k = fitted[name], fitted[name].model_.recipe.latent.n_latent
    assert estimator.transform(table).shape == (80, k)
    assert estimator.reconstruct(table).shape == (80, 6)
    assert estimator.inverse_transform(np.zeros((3, k))).shape == (3, 6)
    assert estimator.score_samples(table).shape == (80,)
    assert isinstance(estimator.score(table), float)
    assert estimator.get_feature_names_out().shape == (k,)


@every_estimator
def test_reconstructing_is_transforming_there_and_back(name, table, fitted):
    there_and_back = fitted[name].inverse_transform(fitted[name].transform(table))
    np.testing.assert_allclose(there_and_back, fitted[name].reconstruct(table), rtol=1e-5, atol=1e-5)


@every_estimator
def test_every_reading_is_deterministic_and_independent_of_the_order_of_rows(name, table, fitted):
    order = np.random.default_rng(0).permutation(80)
    for method in ("transform", "reconstruct", "score_samples"):
        read = getattr(fitted[name], method)
        np.testing.assert_array_equal(read(table), read(table))
        np.testing.assert_array_equal(read(table)[order], read(table[order]))


@every_estimator
def test_the_score_is_the_mean_of_the_rows_scores(name, table, fitted):
    assert fitted[name].score(table) == pytest.approx(fitted[name].score_samples(table).mean(), rel=1e-12)


@every_estimator
def test_fit_transform_is_fit_and_transform(name, table, fitted):
    both = clone(fitted[name]).fit_transform(table)
    np.testing.assert_array_equal(both, fitted[name].transform(table))


def test_the_score_of_a_deterministic_code_is_the_density_at_its_reconstruction(table, fitted):
    estimator = fitted["BasicAutoencoder"]
    scale = estimator.scaler_.scale
    error = (table - estimator.reconstruct(table)) / scale
    expected = -np.square(error).sum(axis=1) - 3 * np.log(np.pi) - np.log(scale).sum()
    np.testing.assert_allclose(estimator.score_samples(table), expected, rtol=1e-4, atol=1e-4)


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
    for estimator in (BasicAutoencoder(**SMALL), VariationalAutoencoder(hidden_layer_sizes=(4,), **SMALL)):
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
    with pytest.raises(InvalidData, match=r'needs features in \[0, 1\].*Use scaling="minmax".*or "range"'):
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
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="same order"):
        estimator.transform(frame[COLUMNS[::-1]])


# -- scikit-learn's machinery -----------------------------------------------------------------------------------------


def test_it_is_a_step_of_a_pipeline(table, fitted):
    pipeline = make_pipeline(StandardScaler(), BasicAutoencoder(scaling=None, **SMALL))
    assert pipeline.fit_transform(table).shape == (80, 2)
    assert pipeline.score(table) == pipeline.score(table)
    assert pipeline[:-1].inverse_transform(pipeline[-1].inverse_transform(pipeline.transform(table))).shape == (80, 6)


def test_a_grid_over_flat_parameters(table):
    search = GridSearchCV(
        BasicAutoencoder(**SMALL),
        {"n_latent": [1, 2], "activation": ["sigmoid", "identity"]},
        cv=2,
        error_score="raise",
    ).fit(table)
    assert search.best_params_ == {"n_latent": 2, "activation": "identity"}
    assert search.transform(table).shape == (80, 2)


def test_a_grid_over_parameters_of_parts(table):
    estimator = Autoencoder(
        encoder=parts.MLP(()), latent=parts.Code(2), corruption=parts.Masking(0.0), **SMALL | {"learning_rate": 0.03}
    )
    grid = {"latent__n_latent": np.arange(1, 3), "corruption__p": [0.0, 0.95]}
    search = GridSearchCV(estimator, grid, cv=2, refit=False, error_score="raise").fit(table)
    assert search.best_params_ == {"corruption__p": 0.0, "latent__n_latent": 2}
    assert estimator.latent == parts.Code(2)


@every_estimator
def test_a_pickled_estimator_gives_the_same_outputs(name, table, fitted):
    copied = pickle.loads(pickle.dumps(fitted[name]))
    for method in ("transform", "reconstruct", "score_samples"):
        np.testing.assert_array_equal(getattr(copied, method)(table), getattr(fitted[name], method)(table))


def test_another_process_gives_the_same_outputs(table, fitted):
    estimators = [fitted["BasicAutoencoder"], fitted["VariationalAutoencoder"]]
    elsewhere = joblib.Parallel(n_jobs=2)(joblib.delayed(estimator.transform)(table) for estimator in estimators)
    for estimator, codes in zip(estimators, elsewhere, strict=True):
        np.testing.assert_array_equal(codes, estimator.transform(table))


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
    settings = {"hidden_layer_sizes": (8,), "pretrain": "layerwise", "pretrain_epochs": 3} | SMALL
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
    with pytest.raises(ValueError, match="one for each of the 3 layers"):
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


def test_the_mean_activation_is_that_of_the_training_rows(table):
    estimator = SparseAutoencoder(n_hidden=8, validation_fraction=None, **SMALL).fit(table)
    np.testing.assert_allclose(estimator.mean_activation_, estimator.transform(table).mean(axis=0), rtol=1e-6)


def test_the_sparse_code_is_overcomplete_by_default_and_lies_between_zero_and_one(table):
    codes = SparseAutoencoder(**SMALL).fit_transform(table)
    assert codes.shape == (80, 12)
    assert np.all((codes > 0) & (codes < 1))


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
        corruption="salt_and_pepper", noise_level=1.0, hidden_layer_sizes=(4,), validation_fraction=None, **SMALL
    ).fit(table)
    noisy = estimator.corrupt(table)
    low, high = table.min(axis=0), table.max(axis=0)
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
    few, many = (fitted[name].log_likelihood(table, n_samples=n).mean() for n in (1, 512))
    assert many > few
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


MIXED = parts.Mixed((parts.LearnedGaussian(), parts.Bernoulli(), parts.Count(), parts.Categorical()), (2, 1, 1, 3))


@pytest.fixture(scope="module")
def mixed():
    """Rows of two numbers, a yes or no, a count and one of three categories, all following one hidden number."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=400)
    numbers = np.column_stack([100 * hidden + 5, 0.01 * hidden]) + rng.normal(size=(400, 2)) * [10, 0.001]
    yes, count = rng.uniform(size=400) < special.expit(4 * hidden), rng.poisson(np.exp(1 + hidden))
    category = np.digitize(hidden + 0.2 * rng.normal(size=400), [-0.5, 0.5])
    return np.column_stack([numbers, yes, count, np.eye(3)[category]])


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
    estimator = VariationalAutoencoder(n_latent=1, hidden_layer_sizes=(4,), likelihood=MIXED, **SMALL)
    units = np.array([1000.0, 0.25, 1, 1, 1, 1, 1])
    one, other = (
        estimator.fit(mixed).score_samples(mixed),
        clone(estimator).fit(mixed * units).score_samples(mixed * units),
    )
    np.testing.assert_allclose(other, one - np.log(units).sum(), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(estimator.scaler_.scale[2:], 1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (3, 0.5, r"needs counts \(0, 1, 2, …\) in feature 3"),
        (3, -1.0, r"needs counts \(0, 1, 2, …\) in feature 3, which spans \[-1, "),
        (2, 2.0, r"needs numbers in \[0, 1\] in feature 2, which spans \[1, 2\]"),
    ],
)
def test_a_column_that_its_likelihood_cannot_tell_is_refused(column, value, message, mixed):
    rows = mixed.copy()
    rows[:, column][rows[:, column] == rows[0, column]] = value
    with pytest.raises(InvalidData, match=message):
        VariationalAutoencoder(n_latent=1, likelihood=MIXED, **SMALL).fit(rows)


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
    settings = SMALL | {"max_epochs": 100}
    free, held = (
        VariationalAutoencoder(beta=b, hidden_layer_sizes=(4,), **settings).fit(table).kl(table).sum(axis=1).mean()
        for b in (0.0, 4.0)
    )
    assert held < 0.5 * free


def test_the_history_shows_beta(table):
    warming = VariationalAutoencoder(beta=parts.LinearWarmup(2), hidden_layer_sizes=(4,), init="random", **SMALL)
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
