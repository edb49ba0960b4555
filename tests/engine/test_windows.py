"""Windows of a series: their length, means over windows, a model that a few anomalies do not enter."""

import numpy as np
import pytest

from diabolo.engine.windows import (
    dominant_period,
    fit_windows,
    interpolated,
    mean_of_cells,
    mean_over_windows,
    window_length,
    windows_of,
)


def wave(n, period=24, noise=0.05, seed=0):
    return np.sin(np.arange(n) * 2 * np.pi / period) + noise * np.random.default_rng(seed).normal(size=n)


@pytest.mark.parametrize("period", [7, 24, 48, 288])
def test_the_period_of_a_wave_is_found(period):
    assert abs(dominant_period(wave(12 * period, period)[:, None]) - period) <= 1


def test_noise_and_constants_have_no_period():
    assert dominant_period(np.random.default_rng(0).normal(size=(4000, 1))) is None
    assert dominant_period(np.full((400, 2), 7.1)) is None
    assert dominant_period(np.zeros((3, 1))) is None


def test_days_win_over_weeks():
    days = wave(48 * 70, 48) + 0.3 * wave(48 * 70, 336, seed=1)
    assert abs(dominant_period(days[:, None]) - 48) <= 1


@pytest.mark.parametrize("n", [2, 40, 800, 10_000])
def test_a_window_is_whole_periods_and_at_most_an_eighth(n):
    length = window_length(n, 24)
    assert length == 120 or length == max(2, n // 8) < 120


def test_the_mean_over_windows_is_that_of_those_that_hold_the_step():
    of_windows = np.array([[1.0], [2.0], [np.nan], [4.0]])
    found = mean_over_windows(of_windows, 3)[:, 0]
    np.testing.assert_allclose(found, [1, 1.5, 1.5, 3, 4, 4])
    assert np.isnan(mean_over_windows(np.full((2, 1), np.nan), 2)).all()


def test_a_mean_of_cells_returns_a_series_from_its_own_windows():
    series = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_allclose(mean_of_cells(windows_of(series, 7), lambda windows: windows), series)


def test_a_huge_window_leaves_the_others_their_digits():
    of_windows = np.r_[1e18, np.full(20, 0.25)][:, None]
    np.testing.assert_array_equal(mean_over_windows(of_windows, 3)[5:, 0], 0.25)


def test_interpolation_fills_gaps_and_channels_without_values():
    filled = interpolated(np.array([[np.nan, np.nan], [1, np.nan], [np.nan, np.nan], [3, np.nan]]))
    np.testing.assert_array_equal(filled, [[1, 0], [1, 0], [2, 0], [3, 0]])


@pytest.fixture(scope="module")
def model():
    return fit_windows(windows_of(wave(1500)[:, None], 48))


def test_normal_windows_have_the_error_of_their_noise(model):
    terms = model.terms(windows_of(wave(400, seed=5)[:, None], 48))
    assert terms.shape == (2, 353, 1)
    assert np.median(terms[0]) == pytest.approx(0.05**2, rel=0.2)
    assert 0.05**2 < np.median(terms[1]) < 2 * 0.05**2  # the noise of both windows, the nearest of many


def test_a_few_anomalies_become_neither_component_nor_memory():
    spoilt = wave(1500)
    spoilt[700:703] += 40
    terms = fit_windows(windows_of(spoilt[:, None], 48)).terms(windows_of(spoilt[:, None], 48))
    assert (terms[:, 690] > 100 * np.median(terms, axis=1)).all()


def test_missing_cells_are_expected_from_the_others_and_not_counted(model):
    windows = windows_of(wave(400, seed=5)[:, None], 48).copy()
    holed = windows.copy()
    holed[:, 0, 10:20] = np.nan
    filled = model.filled(holed.reshape(len(holed), -1)).reshape(windows.shape)
    assert np.abs(filled - windows).max() < 0.5
    np.testing.assert_allclose(np.median(model.terms(holed)), np.median(model.terms(windows)), rtol=0.1)
    holed[3, 0, :30] = np.nan
    assert np.isnan(model.terms(holed)[:, 3]).all()
    assert not np.isnan(model.terms(holed)[:, 4]).any()


def test_wide_windows_have_the_leading_components_of_all():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 3)) * [9, 6, 4] @ np.linalg.qr(rng.normal(size=(1200, 3)))[0].T
    model = fit_windows((rows + 0.01 * rng.normal(size=rows.shape)).reshape(400, 12, 100))
    assert model.n_main == 3
    np.testing.assert_allclose(model.reconstructed(rows), rows, atol=0.1)
