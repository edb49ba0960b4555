"""A sweep is many fits: the same outcomes, in few programs."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from diabolo import (
    Autoencoder,
    BasicAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
    jax_config,
    parts,
    sweep,
)
from diabolo.engine import compiled, vmap_trainer
from diabolo.errors import (
    FailedSettingWarning,
    InvalidData,
    InvalidParameter,
    InvalidPart,
    RetriedWarning,
    TrainingDiverged,
)
from diabolo.estimators.base import ESTIMATORS, fit_together
from diabolo.estimators.input import InputSpec

SMALL = {"max_epochs": 6, "batch_size": 16, "random_state": 0}
# At PCA the encoder's gradient is rounding only, which Adam brings to full steps: nothing to compare by.
AT_RANDOM = SMALL | {"init": "random"}

SWEEPS = {
    "seeds and rates": (
        BasicAutoencoder(**AT_RANDOM),
        {"random_state": [0, 1, 2], "learning_rate": [0.001, 0.03]},
    ),
    "early stopping": (
        BasicAutoencoder(**AT_RANDOM | {"max_epochs": 60, "early_stopping": True, "patience": 2}),
        {"learning_rate": [0.01, 0.2, 0.5], "random_state": [3, 4]},
    ),
    "weights and levels of parts": (
        SparseAutoencoder(n_hidden=8, **SMALL),
        {"sparsity_weight": [0.0, 0.5, 2.0], "target_activation": [0.05, 0.3]},
    ),
    "noise": (
        DenoisingAutoencoder(hidden_layer_sizes=(4,), **SMALL),
        {"corruption": [parts.GaussianNoise(0.1), parts.GaussianNoise(0.5)], "validation_fraction": [None]},
    ),
    "β": (
        VariationalAutoencoder(hidden_layer_sizes=(4,), n_latent=2, **SMALL),
        [{"beta": [0.1, 1.0]}, {"beta": [parts.LinearWarmup(2)], "learning_rate": [0.01]}],
    ),
    "shapes": (
        StackedAutoencoder(hidden_layer_sizes=(4,), **SMALL),
        {"n_latent": [1, 2], "max_epochs": [3, 6], "learning_rate": [0.001, 0.01]},
    ),
    "pre-training": (
        StackedAutoencoder(hidden_layer_sizes=(4,), pretrain="layerwise", pretrain_epochs=2, **SMALL),
        {"random_state": [0, 1]},
    ),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_every_outcome_is_that_of_fitting_alone(table, name):
    estimator, grid = SWEEPS[name]
    found = sweep(estimator, grid, table)
    assert len(found.table) == len(found.estimators_) > 1
    for row, one in zip(found.table, found.estimators_, strict=True):
        alone = clone(estimator).set_params(**{k: v for k, v in row.items() if k in estimator.get_params()}).fit(table)
        assert one.get_params() == alone.get_params()
        assert_same_fit(one, alone, table)
        assert row["n_epochs"] == one.n_epochs_
        if one.best_epoch_:
            assert row["loss"] == one.history_["loss"][one.best_epoch_ - 1]


def assert_same_fit(one, alone, rows):
    """Every fitted attribute of two estimators is the same, numbers of the training except for rounding."""
    assert {name for name in vars(one) if name.endswith("_")} == {name for name in vars(alone) if name.endswith("_")}
    for name in ("seed_", "n_features_in_", "n_samples_", "data_fingerprint_", "n_epochs_", "best_epoch_", "schema_"):
        assert getattr(one, name) == getattr(alone, name), name
    for name in ("names", "schema", "image_shape", "allow_missing"):
        assert getattr(one.input_, name) == getattr(alone.input_, name), name
    assert one.scaler_.kind == alone.scaler_.kind
    assert (one.evaluation_ is None) == (alone.evaluation_ is None)
    if alone.evaluation_:
        assert one.evaluation_["n_rows"] == alone.evaluation_["n_rows"]
        assert one.evaluation_["explained_variance"] == pytest.approx(
            alone.evaluation_["explained_variance"], rel=1e-3, abs=1e-4
        )
    assert one.history_.keys() == alone.history_.keys()
    for curve, values in alone.history_.items():
        np.testing.assert_allclose(one.history_[curve], values, rtol=1e-3, atol=1e-5)
    mine, theirs = one.transform(rows), alone.transform(rows)
    np.testing.assert_allclose(np.asarray(mine), np.asarray(theirs), rtol=1e-3, atol=1e-3)


# -- every parameter --------------------------------------------------------------------------------------------------

VALUES = {
    "activation": ["sigmoid", "tanh"],
    "batch_size": [16, 32],
    "beta": [0.5, parts.LinearWarmup(2)],
    "corruption": [parts.Masking(0.3), parts.GaussianNoise(0.2)],
    "noise_units": ["scaled", "data"],
    "decoder": [parts.MLP(()), parts.MLP((4,))],
    "early_stopping": [False, True],
    "encoder": [parts.MLP(()), parts.MLP((4,))],
    "hidden_layer_sizes": [(4,), (5, 3)],
    "init": ["closed_form", "random"],
    "frozen": [(), ("decoder",)],
    "latent": [parts.Deterministic(2), parts.DiagonalGaussian(2)],
    "latent_activation": ["identity", "sigmoid"],
    "learning_rate": [None, 0.02],
    "learning_rate_schedule": ["constant", "cosine"],
    "likelihood": ["gaussian", parts.LearnedGaussian()],
    "max_epochs": [3, 7],
    "n_hidden": [4, 8],
    "n_latent": [1, 2],
    "n_samples": [1, 2],
    "noise_level": [0.1, 0.3],
    "objective": [parts.ELBO(), parts.ImportanceWeighted(2)],
    "optimizer": ["adam", "muon"],
    "patience": [1, 3],
    "penalties": [(), (parts.L1(0.1),)],
    "pretrain": [None, "layerwise"],
    "pretrain_corruption": [None, parts.GaussianNoise(0.1)],
    "pretrain_epochs": [1, 3],
    "prior": [parts.StandardNormal()],
    "random_state": [0, 1],
    "retries": [0, 8],
    "scaling": ["auto", "minmax"],
    "schema": ["auto", None, {"b": "ignore"}],
    "condition": [None, "a"],
    "skip": [False, True],
    "sparsity_weight": [None, 0.5],
    "target_activation": [0.05, 0.2],
    "validation_fraction": [0.1, 0.3],
    "verbose": [0],
}
LIKE_N_LATENT = (
    *("activation", "decoder", "encoder", "hidden_layer_sizes", "latent_activation", "likelihood", "n_hidden"),
    *("n_samples", "noise_units", "objective", "penalties"),
)
"""Other parameters that select a program: their settings are trained apart as well."""
SLOW = ("hidden_layer_sizes", "penalties")
"""Those of them that CI tries: sizes, and a tuple of parts."""
BASES = {
    "BasicAutoencoder": BasicAutoencoder(n_latent=2, init="random"),
    "SparseAutoencoder": SparseAutoencoder(n_hidden=6),
    "DenoisingAutoencoder": DenoisingAutoencoder(hidden_layer_sizes=(4,), n_latent=2),
    "StackedAutoencoder": StackedAutoencoder(hidden_layer_sizes=(4,), n_latent=2, pretrain="layerwise"),
    "VariationalAutoencoder": VariationalAutoencoder(hidden_layer_sizes=(4,), n_latent=2),
    "Autoencoder": Autoencoder(latent=parts.DiagonalGaussian(2), encoder=parts.MLP((4,)), decoder=parts.MLP((4,))),
}
"""In the order of the time that their programs take to compile."""


def small(name):
    early = {"early_stopping": True, "patience": 2, "max_epochs": 8}
    return clone(BASES[name]).set_params(random_state=0, batch_size=16, **early)


def test_every_parameter_of_every_system_has_values_to_try():
    assert set(BASES) == set(ESTIMATORS)
    assert set(VALUES) == {name for one in BASES.values() for name in one.get_params(deep=False)}


@pytest.fixture
def frame(table):
    return pd.DataFrame(table, columns=list("abcdef"))


def assert_equals_single_fits(estimator, grid, frame):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = sweep(estimator, grid, frame)
    with warnings.catch_warnings(record=True) as told_alone:
        warnings.simplefilter("always")
        rows = [{name: row[name] for name in grid} for row in found.table]
        singles = [clone(estimator).set_params(**setting).fit(frame) for setting in rows]
    for one, alone in zip(found.estimators_, singles, strict=True):
        assert_same_fit(one, alone, frame)
    assert sorted(w.category.__name__ for w in told) == sorted(w.category.__name__ for w in told_alone)


def marks(name):
    return [pytest.mark.slow if name in SLOW else pytest.mark.large] if name in LIKE_N_LATENT else []


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in sorted(VALUES)])
def test_a_sweep_over_any_parameter_equals_single_fits(name, frame, monkeypatch):
    # With few epochs in a call of the program, some trainings of a group end calls before others.
    monkeypatch.setattr(vmap_trainer, "epochs_within", lambda seconds, n: 3)
    has_it = [one for one in BASES if name in BASES[one].get_params(deep=False)]
    of = "VariationalAutoencoder" if name == "random_state" else has_it[0]  # whose steps draw noise as well
    grid = {"learning_rate": [0.05, 0.002]} | {name: VALUES[name]}
    assert_equals_single_fits(small(of), grid, frame)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_sweep_over_some_parameters_of_any_system_equals_single_fits(data, frame, monkeypatch):
    of = data.draw(st.sampled_from(sorted(BASES)), "system")
    names = data.draw(st.lists(st.sampled_from(sorted(BASES[of].get_params(deep=False))), max_size=3, unique=True))
    grid = {name: data.draw(st.lists(st.sampled_from(VALUES[name]), min_size=1, max_size=2)) for name in names}
    n = data.draw(st.integers(1, 5), "epochs a call")
    monkeypatch.setattr(vmap_trainer, "epochs_within", lambda seconds, n_run: n)
    if "layerwise" in grid.get("pretrain", ()) or BASES[of].get_params().get("pretrain"):
        grid.pop("schema", None)
    assert_equals_single_fits(small(of), grid, frame)


# -- how it is done ---------------------------------------------------------------------------------------------------


def test_settings_that_change_numbers_share_a_program(table):
    before = compiled.run_epochs_vmapped.n_programs(), compiled.run_epochs.n_programs()
    grid = {"learning_rate": np.geomspace(1e-4, 1e-2, 5).tolist(), "random_state": [0, 1]}
    sweep(BasicAutoencoder(n_latent=3, **AT_RANDOM), grid, table)
    after = compiled.run_epochs_vmapped.n_programs(), compiled.run_epochs.n_programs()
    assert 1 <= after[0] - before[0] <= 2  # arrays of NumPy's at first, of JAX's from then on
    assert after[1] == before[1]


def test_the_best_is_by_the_rows_held_out_or_by_those_given(table):
    grid = {"learning_rate": [1e-5, 0.03]}
    by_loss = sweep(BasicAutoencoder(**AT_RANDOM), grid, table)
    assert by_loss.best_params_ == {"learning_rate": 0.03}
    assert by_loss.best_estimator_ is by_loss.estimators_[1]
    assert by_loss.table[1]["validation_loss"] < by_loss.table[0]["validation_loss"]
    longer = BasicAutoencoder(**AT_RANDOM | {"max_epochs": 100, "learning_rate": 0.03})
    by_score = sweep(longer, {"n_latent": [1, 2]}, table[:60], table[60:])
    assert by_score.table[1]["score"] == by_score.estimators_[1].score(table[60:])
    assert by_score.best_params_ == {"n_latent": 2}


def test_rows_that_can_be_read_once_serve_all_settings(table):
    estimator, grid = SWEEPS["seeds and rates"]
    found = sweep(estimator, grid, np.array_split(table, 3).__iter__())
    whole = sweep(estimator, grid, table)
    assert [row["loss"] for row in found.table] == [row["loss"] for row in whole.table]


def test_the_estimator_given_stays_as_it_was(table):
    estimator = BasicAutoencoder(**AT_RANDOM)
    sweep(estimator, {"learning_rate": [0.1]}, table)
    assert estimator.learning_rate is None
    assert not hasattr(estimator, "model_")


def test_what_fit_refuses_a_sweep_refuses(table):
    with pytest.raises(ValueError, match="learning_rate"):
        sweep(BasicAutoencoder(), {"learning_rate": [0.1, -1]}, table)
    with pytest.raises(ValueError, match="nonsense"):
        sweep(BasicAutoencoder(), {"nonsense": [1]}, table)
    with pytest.raises(InvalidPart):
        sweep(DenoisingAutoencoder(corruption="masking"), {"noise_level": [0.1, 2.0]}, table)
    with pytest.raises(TrainingDiverged):
        sweep(BasicAutoencoder(optimizer="sgd", **AT_RANDOM), {"learning_rate": [1e8, 1e9]}, table)


@pytest.mark.parametrize("n_cores", [None, 1, 2, 3], ids=lambda n: "accelerator" if n is None else f"{n} cores")
@pytest.mark.parametrize(("n", "alone"), [(5, False), (7, False), (5, True)])
def test_however_it_is_divided_among_cores_the_outcomes_agree(table, n_cores, n, alone, monkeypatch):
    monkeypatch.setattr(jax_config, "n_cores", lambda: n_cores)
    monkeypatch.setattr(vmap_trainer, "_TOGETHER_BYTES", 1_500)  # two of them
    if alone:
        monkeypatch.setattr(vmap_trainer, "_ALONE_PRODUCTS", 1)
    grid = {"learning_rate": np.geomspace(1e-3, 1e-1, n).tolist()}
    early = BasicAutoencoder(**AT_RANDOM | {"max_epochs": 40, "early_stopping": True, "patience": 2})
    found = sweep(early, grid, table)
    assert [row["learning_rate"] for row in found.table] == grid["learning_rate"]
    for row, one in zip(found.table, found.estimators_, strict=True):
        alone = clone(early).set_params(learning_rate=row["learning_rate"]).fit(table)
        assert one.n_epochs_ == alone.n_epochs_
        np.testing.assert_allclose(one.history_["loss"], alone.history_["loss"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_cores", [None, 2])
@pytest.mark.parametrize("together", [True, False])
def test_one_that_diverges_fails_alone(table, monkeypatch, n_cores, together):
    monkeypatch.setattr(jax_config, "n_cores", lambda: n_cores)
    if not together:
        monkeypatch.setattr(vmap_trainer, "_TOGETHER_BYTES", 1)
    monkeypatch.setattr(vmap_trainer, "epochs_within", lambda seconds, n: 2)
    rates = [1e9, *np.geomspace(1e-4, 1e-2, 4).tolist()]
    steep = BasicAutoencoder(optimizer="sgd", **AT_RANDOM)
    with pytest.warns(FailedSettingWarning, match="1000000000"):
        found = sweep(steep, {"learning_rate": rates}, table, table)
    assert [
        ("error" in row, hasattr(one, "model_")) for row, one in zip(found.table, found.estimators_, strict=True)
    ] == [
        (True, False),
        *[(False, True)] * 4,
    ]
    assert found.best_index_ > 0
    for rate, one in list(zip(rates, found.estimators_, strict=True))[1:]:
        assert_same_fit(one, clone(steep).set_params(learning_rate=rate).fit(table), table)


def test_a_setting_is_retried_as_by_fit(table):
    steep = BasicAutoencoder(
        optimizer="sgd", learning_rate_schedule="constant", **AT_RANDOM | {"max_epochs": 8, "learning_rate": 30.0}
    )
    with pytest.warns(RetriedWarning) as told:
        found = sweep(steep, {"retries": [8, 9], "random_state": [0, 1]}, table)
    n_told = 0
    for row, one in zip(found.table, found.estimators_, strict=True):
        alone = clone(steep).set_params(retries=row["retries"], random_state=row["random_state"])
        with pytest.warns(RetriedWarning) as told_alone:
            alone.fit(table)
        assert_same_fit(one, alone, table)
        n_told += len(told_alone)
    assert n_told == len(told)


def test_a_score_that_is_no_number_is_never_the_best(table, monkeypatch):
    real = BasicAutoencoder.score
    monkeypatch.setattr(BasicAutoencoder, "score", lambda self, X: np.nan if self.n_latent == 1 else real(self, X))
    with pytest.warns(FailedSettingWarning):
        found = sweep(BasicAutoencoder(**SMALL), {"n_latent": [1, 2]}, table, table)
    assert found.best_params_ == {"n_latent": 2}
    with pytest.raises(InvalidData):
        sweep(BasicAutoencoder(n_latent=1, **SMALL), {"random_state": [1, 2]}, table, table)


def test_a_model_at_its_optimum_has_a_loss_too(table):
    """A linear system is not trained: it has no curve, but more units are better."""
    found = sweep(BasicAutoencoder(random_state=0), {"n_latent": [1, 2, 3]}, table)
    losses = [row["validation_loss"] for row in found.table]
    assert losses == sorted(losses, reverse=True)
    assert found.best_params_ == {"n_latent": 3}
    trained = BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(table)
    assert trained.best_epoch_ == 0
    assert losses[1] <= trained.history_["validation_loss"][0] + 1e-4


def test_validation_losses_are_not_compared_with_training_losses(table):
    found = sweep(BasicAutoencoder(**AT_RANDOM), {"validation_fraction": [None, 0.2]}, table)
    assert found.best_params_ == {"validation_fraction": 0.2}


def test_several_schemas_and_rows_to_score_by(frame):
    grid = {"schema": [{"a": "ignore"}, None, "auto"]}
    found = sweep(BasicAutoencoder(**SMALL), grid, frame, frame.iloc[:30])
    assert [one.n_features_in_ for one in found.estimators_] == [5, 6, 6]
    for row, one in zip(found.table, found.estimators_, strict=True):
        assert row["score"] == one.score(frame.iloc[:30])


def test_early_stopping_without_validation_rows_is_refused(table):
    early = BasicAutoencoder(early_stopping=True, validation_fraction=None, **SMALL)
    for use in (early.fit, lambda X: sweep(early, {"random_state": [0]}, X)):
        with pytest.raises(InvalidParameter, match="validation_fraction"):
            use(table)
    early.fit(table[:60], X_val=table[60:])
    with pytest.raises(InvalidParameter, match="validation_fraction"):
        clone(early).set_params(validation_fraction=0.0).fit(table)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_share_that_is_done_rises_to_one(early_stopping, table):
    """Those that stop early have done theirs."""
    params = {"max_epochs": 30, "early_stopping": early_stopping, "patience": 1, "learning_rate": 0.5}
    told = []
    rows = InputSpec.learn("BasicAutoencoder", table)
    fit_together([(BasicAutoencoder(random_state=i, **params), rows) for i in range(4)], told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
