"""Scaling of constant features: no unit may matter."""

import numpy as np
import pytest

from diabolo import AnomalyDetector, BasicAutoencoder, VariationalAutoencoder
from diabolo.data.scaler import Scaler

RNG = np.random.default_rng(0)
VARYING = RNG.normal(size=(120, 4)) @ RNG.normal(size=(4, 4))
ROWS = np.c_[VARYING, np.full(120, 5.0), np.zeros(120)]
"""Two columns are constant: 5 and 0."""
CHANGED = np.tile(ROWS[:1], (5, 1))
CHANGED[[1, 2, 3, 4], [4, 4, 5, 5]] = 6.0, 0.0, 1.0, -1.0


@pytest.mark.parametrize("kind", ["standard", "global", "minmax", "range"])
@pytest.mark.parametrize("factor", [1e-30, 1e-6, 1e6, 1e12])
def test_a_common_factor_changes_no_scaled_number(kind, factor):
    one, other = (Scaler.fit(kind, rows, "real") for rows in (ROWS, ROWS * factor))
    np.testing.assert_allclose(other.apply(CHANGED * factor), one.apply(CHANGED), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_a_column_has_its_own_unit(kind):
    units = np.array([1e-6, 1.0, 1e6, 1.0, 1e-6, 1.0])
    one, other = (Scaler.fit(kind, rows, "real") for rows in (ROWS, ROWS * units))
    np.testing.assert_allclose(other.apply(CHANGED * units)[:, :5], one.apply(CHANGED)[:, :5], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "minmax"])
@pytest.mark.parametrize("value", [5.0, -5.0, 1e-6, 1e12])
def test_a_change_of_a_constant_is_relative_to_its_value(kind, value):
    scaler = Scaler.fit(kind, np.c_[VARYING, np.full(120, value)], "real")
    row = np.r_[VARYING[0], 1.2 * value][None]
    np.testing.assert_allclose(scaler.apply(row)[0, -1], 0.2 * np.sign(value), rtol=1e-4)


@pytest.mark.parametrize("kind", ["standard", "global", "minmax", "range"])
@pytest.mark.parametrize(("value", "scale"), [(0.0, 1.0), (1e-6, 1e-6), (-3.0, 3.0)])
def test_a_table_of_constants_has_their_unit(kind, value, scale):
    scaler = Scaler.fit(kind, np.full((9, 3), value), "real")
    np.testing.assert_array_equal(scaler.scale, scale)


def test_a_constant_up_to_rounding_is_constant():
    scaler = Scaler.fit("standard", np.array([[0.3, 1.0], [0.1 + 0.2, 2.0], [0.3, 4.0]]), "real")
    np.testing.assert_allclose(scaler.scale[0], 0.3)


def scores(model, rows):
    return -model.score_samples(rows)


@pytest.mark.parametrize("kind", [AnomalyDetector, BasicAutoencoder, VariationalAutoencoder])
def test_scores_do_not_depend_on_the_unit(kind):
    few = {} if kind is AnomalyDetector else {"max_epochs": 1}
    expected = scores(kind(random_state=0, **few).fit(ROWS), CHANGED)
    for factor in (1e-6, 1e6):
        model = kind(random_state=0, **few).fit(ROWS * factor)
        change = 0 if kind is AnomalyDetector else ROWS.shape[1] * np.log(factor)  # of the volume, for a density
        np.testing.assert_allclose(scores(model, CHANGED * factor) - change, expected, rtol=1e-3, err_msg=str(factor))


def test_a_constant_column_that_changes_is_flagged_in_every_unit():
    """Before, 1e-6 → 1e-3 was never seen, since its unit was 1."""
    for value, changed in ((1e-6, 1e-3), (5.0, 6.0), (5e6, 6e6)):
        rows = np.c_[VARYING, np.full(120, value)]
        detector = AnomalyDetector(false_alarm_rate=0.05, random_state=0).fit(rows)
        assert detector.predict(np.r_[VARYING[0], changed][None]) == -1, value
