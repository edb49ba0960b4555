"""Estimators stored by skops and pickle give the same outputs; their weights are stored as NumPy arrays."""

import pickle

import jax
import numpy as np
import pytest
import skops.io
from sklearn.base import clone

import diabolo
import examples
from helpers import over

FEW = {"max_epochs": 0, "random_state": 0}
VAE = diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(4,), **FEW)
TASKS = {
    "AutoencoderClassifier": (diabolo.AutoencoderClassifier(VAE, **FEW), "predict_proba"),
    "AnomalyDetector": (diabolo.AnomalyDetector(VAE, false_alarm_rate=0.2, random_state=0), "p_values"),
    "AutoencoderImputer": (diabolo.AutoencoderImputer(VAE, random_state=0), "transform"),
    "AutoencoderGenerator": (diabolo.AutoencoderGenerator(VAE, random_state=0), "sample"),
}
ALL = {name: (clone(one).set_params(**FEW), "transform") for name, one in examples.ESTIMATORS.items()} | TASKS


def stored_by_skops(estimator):
    content = skops.io.dumps(estimator)
    return skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))


def stored_by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


@pytest.mark.parametrize("stored", [stored_by_skops, stored_by_pickle])
@over("estimator, method", ALL)
def test_a_stored_estimator_gives_the_same_outputs(stored, estimator, method, table):
    fitted = clone(estimator).fit(table, np.arange(len(table)) % 2)
    given = {"n_samples": 5, "random_state": 0} if method == "sample" else {"X": table}
    again = stored(fitted)
    np.testing.assert_array_equal(getattr(again, method)(**given), getattr(fitted, method)(**given))
    assert again.get_params().keys() == fitted.get_params().keys()


@over("stored", [stored_by_skops, stored_by_pickle])
def test_the_weights_stay_those_of_jax(stored, table):
    again = stored(diabolo.BasicAutoencoder(**FEW).fit(table))
    arrays = [leaf for leaf in jax.tree.leaves(again.model_.weights) if hasattr(leaf, "shape")]
    assert arrays
    assert all(isinstance(array, jax.Array) for array in arrays)


@over("stored", [stored_by_skops, stored_by_pickle])
def test_an_unfitted_estimator_stays_unfitted(stored):
    assert not hasattr(stored(VAE), "model_")


def test_a_stored_estimator_is_saved_and_fitted_again(table, tmp_path):
    again = stored_by_skops(diabolo.BasicAutoencoder(**FEW).fit(table))
    again.save(tmp_path / "model")
    np.testing.assert_array_equal(diabolo.load(tmp_path / "model").transform(table), again.transform(table))
    assert again.fit(table[:40]).transform(table).shape == (80, 2)
