"""Training that continues from another fit: `init=FrozenEstimator(model)`."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

import examples
from diabolo import Autoencoder, BasicAutoencoder, StackedAutoencoder, VariationalAutoencoder, load, parts
from diabolo.errors import InvalidParameter
from helpers import same_bits, stop_and_go_on

SMALL = examples.SMALL
SETTINGS = {
    "stacked": StackedAutoencoder(n_latent=2, hidden_layer_sizes=(8,), **SMALL),
    "variational": VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,), **SMALL),
    "codebook": Autoencoder(latent=parts.VectorQuantized(2, 4), penalties=(parts.Commitment(),), **SMALL),
}
every = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def begun(table):
    """Each, hardly trained."""
    return {name: clone(one).set_params(init="random", max_epochs=2).fit(table) for name, one in SETTINGS.items()}


def after(model, **changes):
    return clone(model).set_params(init=FrozenEstimator(model), **changes)


@every
def test_without_epochs_it_is_the_same_model(name, table, begun):
    model = begun[name]
    same = after(model, max_epochs=0).fit(table)
    np.testing.assert_array_equal(same.score_samples(table), model.score_samples(table))
    assert same.best_epoch_ == 0


@every
def test_it_is_never_worse_than_its_start_on_held_out_rows(name, table, begun):
    model = begun[name]
    more = after(model, max_epochs=200).fit(table)
    assert more.best_epoch_ > 0
    assert more.history_["validation_loss"][more.best_epoch_ - 1] < min(model.history_["validation_loss"])
    kept = after(model, learning_rate=10.0).fit(table)  # which spoils every epoch
    assert kept.best_epoch_ == 0
    np.testing.assert_array_equal(kept.score_samples(table), model.score_samples(table))


def test_it_learns_other_rows_in_the_units_of_the_first(table, begun):
    model, moved = begun["stacked"], table + 2 * table.std(axis=0)
    tuned = after(model, max_epochs=200).fit(moved)
    np.testing.assert_array_equal(tuned.scaler_.scale, model.scaler_.scale)
    np.testing.assert_array_equal(tuned.scaler_.offset, model.scaler_.offset)
    assert tuned.score(moved) > model.score(moved)


def test_the_first_model_does_not_change(table, begun):
    model = begun["variational"]
    before = model.score_samples(table)
    after(model).fit(2 * table)
    np.testing.assert_array_equal(model.score_samples(table), before)


def test_it_resumes_to_the_bit_and_is_saved(table, begun, tmp_path):
    estimator = after(begun["variational"], max_epochs=6)
    unbroken = clone(estimator).fit(table)
    assert same_bits(stop_and_go_on(estimator, table, tmp_path / "c", 2), unbroken)
    unbroken.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").score_samples(table), unbroken.score_samples(table))


def test_a_table_is_read_with_the_first_models_types():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x": rng.normal(size=60), "kind": rng.choice(["a", "b", "c"], 60)})
    model = StackedAutoencoder(n_latent=2, hidden_layer_sizes=(8,), **SMALL).fit(rows)
    some = rows[rows["kind"] != "c"]
    tuned = after(model).fit(some)
    assert tuned.schema_ == model.schema_
    assert np.isfinite(tuned.score_samples(rows)).all()


def test_what_does_not_fit_is_refused(table, begun):
    model = begun["stacked"]
    with pytest.raises(InvalidParameter, match="other weights"):
        after(model, n_latent=3).fit(table)
    with pytest.raises(InvalidParameter, match="other weights"):
        after(model).fit(table[:, :5])
    with pytest.raises(InvalidParameter, match="must hold a BasicAutoencoder"):
        BasicAutoencoder(init=FrozenEstimator(model)).fit(table)
    with pytest.raises(InvalidParameter, match="not frozen"):
        clone(model).set_params(init=model).fit(table)
    with pytest.raises(NotFittedError):
        after(clone(model)).fit(table)
    holed = np.where(np.random.default_rng(0).random(table.shape) < 0.1, np.nan, table)
    with pytest.raises(InvalidParameter, match="missing cells"):
        after(model).fit(holed)
