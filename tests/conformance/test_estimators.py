"""What every estimator does: scikit-learn's own checks and protocols, parameters, fits, outputs."""

import inspect
import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import examples
from diabolo import parts
from diabolo.core.model import Model
from diabolo.data.scaler import ScalerStats
from diabolo.engine import checkpoints
from diabolo.engine.splits import from_array
from diabolo.errors import InvalidPart, TrainingDiverged
from diabolo.estimators.autoencoders import (
    Autoencoder,
    BasicAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from diabolo.estimators.base import ESTIMATORS
from helpers import Terminal, over

SMALL = examples.SMALL
every_estimator = pytest.mark.parametrize("name", examples.ESTIMATORS)


def weights_of(estimator):
    return [np.asarray(array) for array in jax.tree.leaves(estimator.model_.weights)]


# -- scikit-learn's own checks ----------------------------------------------------------------------------------------

# Small programs that compile fast; `Autoencoder` keeps the default optimiser and schedule. What the estimators have of
# their own is a table of parameters, so CI checks two: without a posterior, and with one.
_SHORT = {"max_epochs": 2, "batch_size": 8, "random_state": 0}
_QUICK = _SHORT | {"optimizer": "sgd", "learning_rate_schedule": "constant"}
_LAYER = {"hidden_layer_sizes": (4,)}
_OTHER_BATCHES = "rows of other numbers are other batches: the optimum is that of repeated rows, not the way to it"
_EXPECTED = {f"check_sample_weight_equivalence_on_{kind}_data": _OTHER_BATCHES for kind in ("dense", "sparse")}


@parametrize_with_checks([Autoencoder(encoder=parts.MLP(()), **_SHORT)], expected_failed_checks=lambda _: _EXPECTED)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([VariationalAutoencoder(**_LAYER, **_QUICK)], expected_failed_checks=lambda _: _EXPECTED)
def test_scikit_learns_own_checks_pass_of_a_posterior(estimator, check):
    check(estimator)


@pytest.mark.large
@parametrize_with_checks(
    [SparseAutoencoder(n_hidden=4, **_QUICK), DenoisingAutoencoder(corruption="masking", **_LAYER, **_QUICK)],
    expected_failed_checks=lambda _: _EXPECTED,
)
def test_scikit_learns_own_checks_pass_of_penalties_and_noise(estimator, check):
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


@over(
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
    with pytest.raises(InvalidPart, match=r"Masking\.p"):
        DenoisingAutoencoder(corruption="masking", noise_level=1.5, **SMALL).fit(table)


def test_an_elbo_of_a_deterministic_code_is_refused(table):
    with pytest.raises(InvalidPart, match=r"ELBO.*DiagonalGaussian"):
        Autoencoder(objective="elbo", **SMALL).fit(table)


def test_nested_parameters_reach_parts_and_no_other_estimator():
    latent, corruption = parts.Deterministic(2), parts.Masking(0.1)
    one, two = (Autoencoder(latent=latent, corruption=corruption) for _ in range(2))
    one.set_params(latent__n_latent=5, corruption__p=0.9, max_epochs=7)
    assert (one.latent, one.corruption, one.max_epochs) == (parts.Deterministic(5), parts.Masking(0.9), 7)
    assert (two.latent, two.corruption, two.max_epochs) == (latent, corruption, None)
    assert latent == parts.Deterministic(2)


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
    params = Autoencoder(latent=parts.Deterministic(3), objective=parts.ELBO(parts.LinearWarmup(4))).get_params()
    assert params["latent__n_latent"] == 3
    assert params["objective__beta__epochs"] == 4.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latent__n_latents": 3}, "n_latents"),
        ({"corruption__p": 2.0}, r"Masking\.p"),
        ({"no_such": 3}, "no_such"),
    ],
)
def test_setting_a_wrong_parameter_says_so(changes, named):
    with pytest.raises(ValueError, match=named):
        Autoencoder(latent=parts.Deterministic(2), corruption=parts.Masking(0.1)).set_params(**changes)


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
    rows = from_array(table, ScalerStats(None, "real"), fraction, 0)
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
    with pytest.raises(TrainingDiverged) as caught:
        estimator.fit(table)
    assert caught.value.epoch is not None


def test_a_column_that_goes_far_beyond_the_others_is_named_as_the_likely_cause(table):
    wild = table.copy()
    wild[:, 1] *= 1e18
    names = [f"c{i}" for i in range(table.shape[1])]
    frame = pd.DataFrame(wild, columns=names)
    with pytest.raises(TrainingDiverged, match=r"c1.*e\+20") as caught:
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

        def warmup_end(self, n_epochs):
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

    monkeypatch.setattr(progress.sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    BasicAutoencoder(**SMALL, verbose=1).fit(table)
    assert "training" in terminal.getvalue()
    VariationalAutoencoder(max_epochs=0, hidden_layer_sizes=(4,), random_state=0, verbose=1).fit(table)
    assert "chosen: n_latent 6, scaling standard\n" in terminal.getvalue()


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


# -- scikit-learn's machinery -----------------------------------------------------------------------------------------


def test_it_is_a_step_of_a_pipeline(table, fitted):
    pipeline = make_pipeline(StandardScaler(), BasicAutoencoder(scaling=None, **SMALL))
    assert pipeline.fit_transform(table).shape == (80, 2)
    assert pipeline.score(table) == pipeline[-1].score(pipeline[0].transform(table))
    assert pipeline[:-1].inverse_transform(pipeline[-1].inverse_transform(pipeline.transform(table))).shape == (80, 6)


def test_a_grid_over_flat_parameters(table):
    grid = {"n_latent": [1, 2], "activation": ["identity"]}
    search = GridSearchCV(BasicAutoencoder(**SMALL), grid, cv=2, error_score="raise").fit(table)
    assert search.best_params_ == {"n_latent": 2, "activation": "identity"}
    assert search.transform(table).shape == (80, 2)


def test_a_grid_over_parameters_of_parts(table):
    estimator = Autoencoder(
        encoder=parts.MLP(()),
        latent=parts.Deterministic(2),
        corruption=parts.Masking(0.0),
        **SMALL | {"learning_rate": 0.03},
    )
    grid = {"latent__n_latent": np.arange(1, 3), "corruption__p": [0.0, 0.95]}
    search = GridSearchCV(estimator, grid, cv=2, refit=False, error_score="raise").fit(table)
    assert search.best_params_ == {"corruption__p": 0.0, "latent__n_latent": 2}
    assert estimator.latent == parts.Deterministic(2)


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
