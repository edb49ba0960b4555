"""A Gaussian fitted to incomplete rows, against what is known in closed form."""

import numpy as np
import pytest

from diabolo.engine.gaussian import (
    SHRINKAGES,
    FactorGaussian,
    conditional_mean,
    conditional_variance,
    expected,
    fit_path,
    independent,
    missing_cells,
    refined,
)

RNG = np.random.default_rng(0)


def holed(rows, share=0.2, seed=1):
    return np.where(np.random.default_rng(seed).random(rows.shape) < share, np.nan, rows)


def covariance_of(model):
    return model.loadings.T @ model.loadings + np.diag(model.noise)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_expectation_and_the_variance_are_those_of_a_gaussian(k):
    model = FactorGaussian(RNG.normal(size=5), RNG.normal(size=(k, 5)), RNG.uniform(0.1, 2, 5))
    row = np.array([[1.0, np.nan, -2.0, np.nan, 0.5]])
    known, missing, covariance = [0, 2, 4], [1, 3], covariance_of(model)
    weight = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, missing)])
    expected = model.mean[missing] + (row[0, known] - model.mean[known]) @ weight
    np.testing.assert_allclose(conditional_mean(np, row, model)[0, missing], expected, rtol=1e-10)
    variance = covariance[np.ix_(missing, missing)] - covariance[np.ix_(missing, known)] @ weight
    np.testing.assert_allclose(conditional_variance(row, model)[0, missing], np.diag(variance), rtol=1e-10)


def test_a_row_without_known_cells_has_the_mean_and_the_columns_variance():
    model = FactorGaussian(RNG.normal(size=4), RNG.normal(size=(2, 4)), RNG.uniform(0.1, 2, 4))
    row = np.full((1, 4), np.nan)
    np.testing.assert_allclose(conditional_mean(np, row, model)[0], model.mean)
    np.testing.assert_allclose(conditional_variance(row, model)[0], np.diag(covariance_of(model)))


def test_whole_rows_give_their_mean_and_their_shrunk_covariance():
    rows = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 3))
    for shrinkage, model in zip(SHRINKAGES, fit_path(rows), strict=True):
        covariance = np.cov(rows.T, bias=True)
        shrunk = (1 - shrinkage) * covariance + shrinkage * np.diag(np.diag(covariance))
        np.testing.assert_allclose(model.mean, rows.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(covariance_of(model), shrunk, atol=1e-9)


def test_the_likelihood_of_the_known_cells_is_the_highest_without_shrinkage():
    """Expectation maximisation converges to a stationary point: no step in any direction is better."""
    rows = holed(RNG.normal(size=(80, 3)) @ np.array([[1.0, 0.8, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]))
    *_, model = fit_path(rows)

    def log_likelihood(mean, covariance):
        total = 0.0
        for row in rows:
            known = ~np.isnan(row)
            part, away = covariance[np.ix_(known, known)], row[known] - mean[known]
            total -= 0.5 * (np.linalg.slogdet(part)[1] + away @ np.linalg.solve(part, away))
        return total

    best = log_likelihood(model.mean, covariance_of(model))
    for _ in range(20):
        change = RNG.normal(size=(3, 3)) * 0.05
        assert log_likelihood(model.mean, covariance_of(model) + change + change.T) < best + 0.01
        assert log_likelihood(model.mean + RNG.normal(size=3) * 0.1, covariance_of(model)) < best


@pytest.mark.parametrize("n", [12, 30, 200])
def test_rows_of_low_rank_are_known_exactly(n):
    whole = RNG.normal(size=(n, 2)) @ RNG.normal(size=(2, 8))
    rows = holed(whole, 0.1)
    *_, model = fit_path(rows)
    assert np.abs(conditional_mean(np, rows, model) - whole)[np.isnan(rows)].max() < 0.1


def test_more_columns_than_factors_and_more_rows_than_are_used():
    whole = RNG.normal(size=(1500, 3)) @ RNG.normal(size=(3, 80)) + 0.1 * RNG.normal(size=(1500, 80))
    rows = holed(whole)
    model = next(model for shrinkage, model in zip(SHRINKAGES, fit_path(rows), strict=True) if shrinkage == 0.01)
    for one in (model, refined(rows, model, 0.01)):
        error = np.square(conditional_mean(np, rows, one) - whole)[np.isnan(rows)].mean()
        assert error < 0.02  # the noise has 0.01, the columns 3


@pytest.mark.parametrize("rows", [np.full((3, 2), np.nan), np.zeros((4, 3)), np.array([[1.0, np.nan], [np.nan, 2.0]])])
def test_columns_without_spread_have_finite_results(rows):
    for model in fit_path(rows):
        assert np.isfinite(conditional_mean(np, rows, model)).all()
        assert (conditional_variance(rows, model) > 0).all()


def test_units_and_offsets_follow():
    model = FactorGaussian(np.zeros(2), np.array([[1.0, 0.5]]), np.ones(2))
    scaled, row = model.in_units(np.array([3.0, -1.0]), np.array([10.0, 0.1])), np.array([[np.nan, 0.2]])
    found = conditional_mean(np, row * [10.0, 0.1] + [3.0, -1.0], scaled)
    np.testing.assert_allclose(found, conditional_mean(np, row, model) * [10.0, 0.1] + [3.0, -1.0])
    np.testing.assert_array_equal(conditional_mean(np, row, independent(2)), np.zeros((1, 2)))


@pytest.mark.parametrize("n_rows", [1, 7, 8, 17, 33])
def test_the_bits_of_a_row_do_not_depend_on_the_other_rows(n_rows):
    """Of a matrix product they do: its last rows are computed otherwise, if they fill no group."""
    rng = np.random.default_rng(n_rows)
    model = FactorGaussian(rng.normal(size=13), rng.normal(size=(5, 13)), rng.uniform(0.5, 1, 13))
    rows = np.where(rng.random((n_rows, 13)) < 0.3, np.nan, rng.normal(size=(n_rows, 13)))
    order = rng.permutation(n_rows)
    for answer in (lambda rows: conditional_mean(np, rows, model), lambda rows: conditional_variance(rows, model)):
        found = answer(rows)
        np.testing.assert_array_equal(answer(rows[order]), found[order])
        np.testing.assert_array_equal(answer(rows[-1:]), found[-1:])


@pytest.mark.parametrize("d", [1, 6, 70, 200])
def test_missing_cells_have_the_expectation_and_the_variance_that_the_factors_give(d):
    rng = np.random.default_rng(d)
    model = FactorGaussian(rng.normal(size=d), rng.normal(size=(min(d, 4), d)), rng.uniform(1e-6, 1, d))
    rows = np.where(rng.random((40, d)) < 0.4, np.nan, rng.normal(size=(40, d)))
    missing = np.isnan(rows)
    mean, variance = expected(rows, model)
    np.testing.assert_allclose(mean[missing], conditional_mean(np, rows, model)[missing], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(variance[missing], conditional_variance(rows, model)[missing], rtol=1e-6, atol=1e-8)


def test_the_covariance_of_missing_cells_is_that_of_a_gaussian():
    rng = np.random.default_rng(0)
    model = FactorGaussian(rng.normal(size=6), rng.normal(size=(3, 6)), rng.uniform(0.1, 1, 6))
    rows = np.where(rng.random((30, 6)) < 0.4, np.nan, rng.normal(size=(30, 6)))
    covariance, n_found = covariance_of(model), 0
    for some in missing_cells(rows, model):
        for feature, found in zip(some.feature, some.covariance, strict=True):
            known = np.setdiff1d(np.arange(6), feature)
            across = covariance[np.ix_(feature, known)]
            rest = across @ np.linalg.solve(covariance[np.ix_(known, known)], across.T)
            np.testing.assert_allclose(found, covariance[np.ix_(feature, feature)] - rest, atol=1e-10)
            n_found += len(feature)
    assert n_found == np.isnan(rows).sum()
