"""A sweep is many fits: the same outcomes, in few programs."""

import numpy as np
import pytest
from sklearn.base import clone

from diabolo import (
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
from diabolo.errors import InvalidPart, TrainingDiverged
from diabolo.estimators.base import fit_together
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
        VariationalAutoencoder(hidden_layer_sizes=(4,), **SMALL),
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
        assert (one.n_epochs_, one.best_epoch_) == (alone.n_epochs_, alone.best_epoch_)
        assert one.history_.keys() == alone.history_.keys()
        for curve, values in alone.history_.items():
            np.testing.assert_allclose(one.history_[curve], values, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one.transform(table), alone.transform(table), rtol=1e-3, atol=1e-4)
        assert row["n_epochs"] == one.n_epochs_
        assert row["loss"] == one.history_["loss"][max(one.best_epoch_, 1) - 1]


def test_settings_that_change_numbers_share_a_program(table):
    before = compiled.run_epochs_vmapped._cache_size(), compiled.run_epochs._cache_size()
    grid = {"learning_rate": np.geomspace(1e-4, 1e-2, 5).tolist(), "random_state": [0, 1]}
    sweep(BasicAutoencoder(n_latent=3, **AT_RANDOM), grid, table)
    after = compiled.run_epochs_vmapped._cache_size(), compiled.run_epochs._cache_size()
    assert 1 <= after[0] - before[0] <= 2  # arrays of NumPy's at first, of JAX's from then on
    assert after[1] == before[1]


def test_the_best_is_by_the_rows_held_out_or_by_those_given(table):
    grid = {"learning_rate": [1e-5, 0.03]}
    by_loss = sweep(BasicAutoencoder(**AT_RANDOM), grid, table)
    assert by_loss.best_params_ == {"learning_rate": 0.03}
    assert by_loss.best_estimator_ is by_loss.estimators_[1]
    assert by_loss.table[1]["validation_loss"] < by_loss.table[0]["validation_loss"]
    longer = BasicAutoencoder(**AT_RANDOM | {"max_epochs": 100, "learning_rate": 0.03})
    by_score = sweep(longer, {"n_latent": [1, 3]}, table[:60], table[60:])
    assert by_score.table[1]["score"] == by_score.estimators_[1].score(table[60:])
    assert by_score.best_params_ == {"n_latent": 3}


def test_rows_that_can_be_read_once_serve_all_settings(table):
    grid = {"learning_rate": [0.001, 0.03], "random_state": [0, 1]}
    found = sweep(BasicAutoencoder(**AT_RANDOM), grid, np.array_split(table, 3).__iter__())
    whole = sweep(BasicAutoencoder(**AT_RANDOM), grid, table)
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
        sweep(BasicAutoencoder(optimizer="sgd", **SMALL), {"learning_rate": [0.01, 1e9]}, table)


@pytest.mark.parametrize("n_cores", [None, 1, 2, 3], ids=lambda n: "accelerator" if n is None else f"{n} cores")
@pytest.mark.parametrize(("n", "alone"), [(5, False), (7, False), (5, True)])
def test_however_it_is_divided_among_cores_the_outcomes_agree(table, n_cores, n, alone, monkeypatch):
    monkeypatch.setattr(jax_config, "n_cores", lambda: n_cores)
    monkeypatch.setattr(vmap_trainer, "_TOGETHER_BYTES", 3_000)  # two or three of them
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


def test_one_that_diverges_ends_all(table, monkeypatch):
    monkeypatch.setattr(jax_config, "n_cores", lambda: 2)
    rates = [1e9, *np.geomspace(1e-4, 1e-2, 5).tolist()]
    with pytest.raises(TrainingDiverged, match="1e\\+09"):
        sweep(BasicAutoencoder(optimizer="sgd", **SMALL | {"max_epochs": 100_000}), {"learning_rate": rates}, table)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_share_that_is_done_rises_to_one(early_stopping, table):
    """Those that stop early have done theirs."""
    settings = {"max_epochs": 30, "early_stopping": early_stopping, "patience": 1, "learning_rate": 0.5}
    told = []
    rows = InputSpec.learn("BasicAutoencoder", table)
    fit_together([(BasicAutoencoder(random_state=i, **settings), rows) for i in range(3)], told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
