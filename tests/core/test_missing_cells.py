"""Missing cells in the formula: only known ones count, against the exact marginals of a linear model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import examples
from diabolo import parts
from diabolo.core.layers import Dense, MLPModule
from diabolo.core.model import Model, loss
from diabolo.engine import inference
from formula import EVERYONE, KEY, SIGMA, B, D, K, N, W, array, built, linear_gaussian, value_of

# -- missing cells: known ones only, log p(x_known) -------------------------------------------------------------------

HOLES = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]], bool)


@pytest.fixture(scope="module")
def holed(rows):
    return array(np.where(HOLES, np.nan, rows))


def told(model):
    """The same model, whose encoder has as many weights of 0 for which cells are missing."""
    first, *others = model.weights.encoder.layers
    wider = Dense(array(np.vstack([first.weight, np.zeros_like(first.weight)])), first.bias)
    encoder = MLPModule((wider, *others), model.weights.encoder.activation, model.weights.encoder.output_activation)
    weights = type(model.weights)(encoder, model.weights.decoder, model.weights.likelihood)
    return Model(model.recipe.replace(missing="mask"), weights)


@pytest.mark.parametrize("recipe", examples.RECIPES.values(), ids=examples.RECIPES)
def test_where_nothing_is_missing_the_formula_is_the_same(recipe, x):
    model = built(recipe)
    (one, terms), (other, others) = value_of(model, x), value_of(told(model), x)
    assert one == pytest.approx(other, rel=1e-6)
    assert terms == pytest.approx(others, rel=1e-6)


def test_the_encoder_reads_zeros_and_which_cells_are_missing(holed):
    recipe = parts.Recipe(missing="mask")
    shown = np.asarray(jax.jit(recipe.encoder_input)(holed))
    np.testing.assert_array_equal(shown[:, :D], np.where(HOLES, 0, holed))
    np.testing.assert_array_equal(shown[:, D:], HOLES)
    assert Model.build(recipe, D, 0).weights.encoder.layers[0].weight.shape[0] == 2 * D


def test_an_encoder_of_counts_reads_zeros_too(holed):
    recipe = parts.Recipe(missing="mask", likelihood=parts.NegativeBinomial())
    shown = np.asarray(jax.jit(recipe.encoder_input)(np.abs(holed)))
    np.testing.assert_allclose(shown[:, :D], np.where(HOLES, 0, np.log1p(np.abs(holed))), rtol=1e-6)


def test_log_p_of_known_cells_is_the_exact_marginal(rows, holed):
    """The decoder's marginal density of any cells is a normal; the posterior of all cells only proposes."""
    model = told(linear_gaussian(widen=2.0))
    estimate = inference.map_rows(inference.log_densities, model, np.asarray(holed), 20_000)
    covariance = W.T @ W + SIGMA**2 * np.eye(D)
    for row, holes, found in zip(rows, HOLES, estimate, strict=True):
        known = ~holes
        if not known.any():
            exact = 0.0
        else:
            exact = stats.multivariate_normal(B[known], covariance[np.ix_(known, known)]).logpdf(row[known])
        assert found == pytest.approx(exact, abs=0.05)


def conditional(row, known):
    """Mean and covariance of the other cells, given those that are known."""
    covariance = W.T @ W + SIGMA**2 * np.eye(D)
    slope = covariance[np.ix_(~known, known)] @ np.linalg.pinv(covariance[np.ix_(known, known)])
    spread = covariance[np.ix_(~known, ~known)] - slope @ covariance[np.ix_(known, ~known)]
    return B[~known] + slope @ (row[known] - B[known]), spread


def test_missing_cells_are_expected_where_the_exact_conditional_mean_is(rows, holed):
    model = told(linear_gaussian(widen=2.0))
    found = inference.map_rows(inference.impute_mean, model, np.asarray(holed), 20_000)
    for row, holes, mean in zip(rows, HOLES, found, strict=True):
        np.testing.assert_allclose(mean[holes], conditional(row, ~holes)[0], atol=0.06)


def test_draws_of_missing_cells_have_the_exact_conditional_mean_and_covariance(rows, holed):
    model = told(linear_gaussian(widen=2.0))
    many = np.repeat(np.asarray(holed)[1:4], 2_700, axis=0)  # 8,100 rows are computed as 8,192, by one program
    draws = inference.map_rows(inference.impute_draw, model, many, 300, seed=1).reshape(3, -1, D)
    for row, holes, drawn in zip(rows[1:4], HOLES[1:4], draws, strict=True):
        mean, covariance = conditional(row, ~holes)
        np.testing.assert_allclose(drawn[:, holes].mean(axis=0), mean, atol=0.08)
        np.testing.assert_allclose(np.cov(drawn[:, holes].T), covariance, atol=0.12)


def test_codes_weighed_by_known_cells_are_drawn_from_the_exact_posterior(rows):
    """p(z | x_known) of a linear-Gaussian model, by weights of draws from the prior."""
    model, row = linear_gaussian(), np.where(HOLES[1], np.nan, rows[1])
    z = np.random.default_rng(0).normal(size=(200_000, K))
    beside = np.hstack([z, np.broadcast_to(row, (len(z), D))]).astype(np.float32)
    log_w = inference.map_rows(inference.log_likelihood_at, model, beside).astype(np.float64)
    weights = np.exp(log_w - log_w.max())
    weights /= weights.sum()
    known = ~HOLES[1]
    precision = np.eye(K) + W[:, known] @ W[:, known].T / SIGMA**2
    mean = np.linalg.solve(precision, W[:, known] @ (row[known] - B[known]) / SIGMA**2)
    np.testing.assert_allclose(weights @ z, mean, atol=0.02)
    np.testing.assert_allclose(np.cov(z.T, aweights=weights), np.linalg.inv(precision), atol=0.02)


LIKELIHOODS = [part for _, part in examples.all_parts("likelihood") if not isinstance(part, parts.ColumnwiseLikelihood)]
MIXED = parts.ColumnwiseLikelihood((parts.NegativeBinomial(), parts.Bernoulli(), parts.LearnedGaussian()), (1, 1, 2))


@jax.jit
def of_cells(model, cells, holed):
    """log p of each cell, log p of the known ones, and the gradient of the loss."""

    def of(weights):
        return loss(Model(model.recipe, weights), holed, KEY, jnp.ones(()), EVERYONE)[0]

    z = model.code(holed)
    return model.decode(z).log_prob(cells), model.log_likelihood(holed, z), jax.grad(of)(model.weights)


@pytest.mark.parametrize("likelihood", [*LIKELIHOODS, MIXED], ids=repr)
def test_missing_cells_neither_count_nor_spoil_the_gradient(likelihood):
    cells = np.random.default_rng(8).integers(0, 2, (N, D)).astype(np.float32)
    holed = np.where(HOLES, np.float32(np.nan), cells)
    model = built(parts.Recipe(latent=parts.Deterministic(K), likelihood=likelihood, missing="mask"))
    each, log_p, gradient = of_cells(model, cells, holed)
    np.testing.assert_allclose(log_p, np.where(HOLES, 0, each).sum(-1), rtol=1e-5, atol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


corrupted = jax.jit(lambda recipe, rows: recipe.corrupted(KEY, rows))


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("corruption")])
def test_what_is_missing_stays_missing_when_the_rest_is_corrupted(part, holed):
    recipe = parts.Recipe(corruption=part, missing="mask").fit_bounds(array(np.zeros(D)), array(np.ones(D)))
    noisy = np.asarray(corrupted(recipe, holed))
    assert np.isnan(noisy)[HOLES].all()
    if part.produces_missing:
        return
    np.testing.assert_array_equal(np.isnan(noisy), HOLES)
    without = np.asarray(corrupted(recipe.replace(missing="error"), np.nan_to_num(holed)))
    np.testing.assert_array_equal(noisy[~HOLES], without[~HOLES])
