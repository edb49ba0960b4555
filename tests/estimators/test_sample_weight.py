"""Weights of rows: as if each row were there so many times."""

import jax
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import diabolo
import examples
from diabolo import (
    BasicAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
    parts,
)
from diabolo.errors import CheckpointError, InvalidData, InvalidParameter

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(60, 5)) * np.linspace(0.2, 2, 5) + 3
WEIGHTS = RNG.integers(1, 5, 60) * np.where(X[:, 0] > 3, 4, 1)
OF_TABLE = RNG.integers(1, 5, 80)
ALL = {"validation_fraction": None, "random_state": 0}
LINEAR = ALL | {"n_latent": 2, "max_epochs": 0}


def arrays_of(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.model_.weights)]


def assert_same_bits(one, other):
    for a, b in zip(arrays_of(one), arrays_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.scaler_.scale, other.scaler_.scale)
    np.testing.assert_array_equal(one.scaler_.offset, other.scaler_.offset)


@pytest.mark.parametrize("name", examples.ESTIMATORS)
def test_equal_weights_are_no_weights_to_the_bit(name, table, fitted):
    for weight in (np.ones(80), np.full(80, 0.3)):
        assert_same_bits(sklearn.clone(fitted[name]).fit(table, sample_weight=weight), fitted[name])


@pytest.mark.parametrize("name", ["DenoisingAutoencoder", "VariationalAutoencoder"])
def test_rows_of_weight_0_are_as_if_not_there(name, table):
    kept = RNG.random(80) < 0.9
    spoilt = np.where(kept[:, None], table, 1e6 * table)
    weight = np.where(kept, OF_TABLE, 0)
    plain = sklearn.clone(examples.ESTIMATORS[name]).fit(table[kept], sample_weight=OF_TABLE[kept])
    assert_same_bits(sklearn.clone(plain).fit(spoilt, sample_weight=weight), plain)


def test_a_row_of_weight_0_does_not_enter_the_schema():
    table = pd.DataFrame({"kind": [*"abab" * 5, "c"], "size": [*RNG.normal(size=20), 1e9]})
    weight = [1, 2] * 10 + [0]
    model = BasicAutoencoder(**LINEAR).fit(table, sample_weight=weight)
    assert {column.name: column.categories for column in model.schema_.columns}["kind"] == ("a", "b")
    assert model.n_samples_ == 20


@pytest.mark.parametrize("scaling", ["standard", "global", None])
def test_the_linear_optimum_is_that_of_repeated_rows(scaling):
    weighted = BasicAutoencoder(**LINEAR, scaling=scaling).fit(X, sample_weight=WEIGHTS)
    repeated = BasicAutoencoder(**LINEAR, scaling=scaling).fit(np.repeat(X, WEIGHTS, axis=0))
    np.testing.assert_allclose(weighted.scaler_.scale, repeated.scaler_.scale, rtol=1e-10)
    np.testing.assert_allclose(weighted.reconstruct(X), repeated.reconstruct(X), rtol=1e-4)
    assert np.abs(weighted.reconstruct(X) - BasicAutoencoder(**LINEAR).fit(X).reconstruct(X)).max() > 0.01
    if scaling is None:
        pca = PCA(2).fit(np.repeat(X, WEIGHTS, axis=0))
        np.testing.assert_allclose(weighted.reconstruct(X), pca.inverse_transform(pca.transform(X)), rtol=1e-4)


@pytest.mark.parametrize(("n", "most"), [(4, 4), (60, 3)], ids=["by a decomposition of the rows", "by passes"])
def test_principal_components_of_many_columns_are_weighted_as_well(n, most, monkeypatch):
    monkeypatch.setattr("diabolo.engine.moments.MOST_COLUMNS", most)
    rows, weight = X[:n], np.r_[WEIGHTS[: n - 1], 7]
    found = BasicAutoencoder(**LINEAR, scaling=None).fit(rows, sample_weight=weight).reconstruct(rows)
    pca = PCA(2).fit(np.repeat(rows, weight, axis=0))
    np.testing.assert_allclose(found, pca.inverse_transform(pca.transform(rows)), rtol=1e-3)


def test_factor_analysis_is_that_of_repeated_rows():
    settings = {"n_latent": 2, "likelihood": "gaussian", "max_epochs": 0} | ALL
    weighted = VariationalAutoencoder(**settings).fit(X, sample_weight=WEIGHTS)
    repeated = VariationalAutoencoder(**settings).fit(np.repeat(X, WEIGHTS, axis=0))
    np.testing.assert_allclose(weighted.reconstruct(X), repeated.reconstruct(X), rtol=1e-3)


@pytest.mark.parametrize("batch_size", [16, 64])
def test_training_finds_the_weighted_optimum(batch_size):
    """From random weights, by gradients of batches whose weights differ."""
    settings = ALL | {"n_latent": 1, "init": "random", "scaling": "global", "max_epochs": 400, "learning_rate": 0.01}
    found = BasicAutoencoder(**settings, batch_size=batch_size).fit(X, sample_weight=WEIGHTS).reconstruct(X)
    best, plain = (PCA(1).fit(rows) for rows in (np.repeat(X, WEIGHTS, axis=0), X))
    away, gap = (np.sqrt(np.square(some - best.inverse_transform(best.transform(X))).mean())
                 for some in (found, plain.inverse_transform(plain.transform(X))))  # fmt: skip
    assert away < 0.2 * gap


def test_the_validation_loss_is_weighted():
    """With a weight of nearly 0 for all rows but those of a constant, the loss of held-out rows is that of these."""
    rows = np.concatenate([np.ones((40, 5)), X[:40] + 10])
    weight = np.r_[np.ones(40), np.full(40, 1e-9)]
    settings = {"n_latent": 1, "scaling": None, "max_epochs": 1, "validation_fraction": 0.5, "random_state": 0}
    weighted = BasicAutoencoder(**settings).fit(rows, sample_weight=weight)
    assert weighted.history_["validation_loss"][0] < 0.01 * BasicAutoencoder(**settings).fit(rows[40:]).history_[
        "validation_loss"
    ][0] + 5 / 2 * np.log(np.pi) + 0.1  # fmt: skip


def test_each_system_takes_weights(table, fitted):
    for name in ("SparseAutoencoder", "DenoisingAutoencoder"):
        weighted = sklearn.clone(fitted[name]).fit(table, sample_weight=OF_TABLE).reconstruct(table)
        assert np.isfinite(weighted).all()
        assert not np.array_equal(weighted, fitted[name].reconstruct(table))
    few = examples.SMALL | {"max_epochs": 2}
    for model in (
        StackedAutoencoder(hidden_layer_sizes=(4,), pretrain="layerwise", pretrain_epochs=1, **few),
        diabolo.Autoencoder(encoder=parts.RegularizedMLP((4,), normalization="batch"), **few),
    ):
        weighted, otherwise = (
            sklearn.clone(model).fit(table, sample_weight=weight).reconstruct(table)
            for weight in (OF_TABLE, OF_TABLE[::-1])
        )
        assert np.isfinite(weighted).all()
        assert not np.array_equal(weighted, otherwise)


WRONG = {"negative": -1.0, "NaN": np.nan, "infinite": np.inf}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_weights_are_refused_with_their_row(what):
    with pytest.raises(InvalidData, match="row 3"):
        BasicAutoencoder(**LINEAR).fit(X, sample_weight=np.where(np.arange(60) == 2, WRONG[what], 1))


def test_weights_that_do_not_fit_the_rows_are_refused(tmp_path):
    for weight, message in (
        (np.ones(59), "59"),
        (np.ones((60, 2)), "60, 2"),
        (np.zeros(60), "non-zero"),
        ("a", "numb"),
    ):
        with pytest.raises(InvalidData, match=message):
            BasicAutoencoder(**LINEAR).fit(X, sample_weight=weight)
    np.save(tmp_path / "x.npy", X)
    for source in (str(tmp_path / "x.npy"), iter([X])):
        with pytest.raises(InvalidParameter, match="in memory"):
            BasicAutoencoder(**LINEAR).fit(source, sample_weight=WEIGHTS)


def test_the_range_of_weights_has_no_bound(table):
    least = sklearn.clone(examples.ESTIMATORS["VariationalAutoencoder"]).set_params(init="closed_form", max_epochs=1)
    rows, weights = np.vstack([table, table[:20] + 1]), np.append(OF_TABLE, np.full(20, 1e-50))
    assert_same_bits(sklearn.clone(least).fit(rows, sample_weight=weights), least.fit(table, sample_weight=OF_TABLE))
    huge = sklearn.clone(least).fit(table, sample_weight=np.full(80, 1e308))
    assert_same_bits(huge, sklearn.clone(least).fit(table))


def test_a_checkpoint_of_other_weights_is_refused(tmp_path):
    model = BasicAutoencoder(n_latent=1, max_epochs=1, random_state=0)
    model.fit(X, sample_weight=WEIGHTS, checkpoint_dir=tmp_path)
    model.fit(X, sample_weight=WEIGHTS, checkpoint_dir=tmp_path, resume=True)
    with pytest.raises(CheckpointError):
        model.fit(X, sample_weight=WEIGHTS[::-1], checkpoint_dir=tmp_path, resume=True)


def test_weights_are_routed_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        steps = StandardScaler().set_fit_request(sample_weight=False), BasicAutoencoder(**LINEAR)
        steps[1].set_fit_request(sample_weight=True)
        routed = make_pipeline(*steps).fit(X, sample_weight=WEIGHTS)
    direct = BasicAutoencoder(**LINEAR).fit(StandardScaler().fit_transform(X), sample_weight=WEIGHTS)
    assert_same_bits(routed[-1], direct)
