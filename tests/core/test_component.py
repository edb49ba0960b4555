"""The registry: parts and estimators in one table, by name."""

import diabolo
from diabolo.core.component import Component, Registered, list_components
from diabolo.estimators.base import ESTIMATORS
from diabolo.estimators.trainable import ESTIMATOR_REGISTRY, Saveable


def test_parts_and_estimators_stand_in_one_table():
    everything = Registered(object)
    assert set(list_components()) | set(ESTIMATOR_REGISTRY) == set(everything)
    assert not set(list_components()) & set(ESTIMATOR_REGISTRY)
    assert set(ESTIMATORS) < set(ESTIMATOR_REGISTRY)
    assert all(issubclass(everything[name], Component | Saveable) for name in everything)
    assert len(everything) == len(list_components()) + len(ESTIMATOR_REGISTRY)


def test_a_view_has_the_classes_below_its_base_alone():
    assert ESTIMATORS["BasicAutoencoder"] is diabolo.BasicAutoencoder
    assert "BaseAutoencoder" not in ESTIMATORS
    assert "Masking" not in ESTIMATORS
    assert ESTIMATORS.get("Masking") is None


def test_a_user_s_estimator_is_not_entered():
    namesake = type("BasicAutoencoder", (diabolo.BasicAutoencoder,), {"__module__": __name__})
    assert ESTIMATORS["BasicAutoencoder"] is not namesake
