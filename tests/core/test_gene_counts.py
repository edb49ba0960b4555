"""Counts of genes: negative binomials with and without further zeros, given batch and size factor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from diabolo import VariationalAutoencoder, parts
from diabolo.core.distributions import NegativeBinomial, ZeroInflated, _log_ways
from diabolo.core.model import Model
from diabolo.errors import InvalidPart
from formula import log_prob, sample

WHOLE = parts.GeneCounts(n_batches=2, size_factor="last", family="zinb", dispersion="gene-batch")


def test_the_number_of_ways_is_that_of_gamma_functions_over_twelve_decades():
    r = np.geomspace(1e-6, 1e6, 49, dtype=np.float32)[:, None]
    x = np.concatenate([np.arange(6), np.round(np.geomspace(10, 1e6, 40))]).astype(np.float32)
    exact = -special.betaln(r.astype(float), x + 1.0) - np.log(x.astype(float) + r)
    derivative = special.digamma(x + r.astype(float)) - special.digamma(r.astype(float))
    x, r = jnp.asarray(x), jnp.asarray(r)
    found = np.asarray(jax.jit(_log_ways)(x, r))
    assert (np.abs(found - exact) <= 2e-6 * np.maximum(1, np.abs(exact))).all()
    slope = np.asarray(jax.jit(jax.grad(lambda r: _log_ways(x, r).sum()))(jnp.broadcast_to(r, (49, 46))))
    np.testing.assert_allclose(slope, derivative, rtol=1e-5)


@pytest.mark.parametrize("share", [1e-6, 0.3, 1 - 1e-6])
@pytest.mark.parametrize(("mean", "r"), [(0.2, 0.5), (3.0, 2.0), (40.0, 0.1)])
def test_a_zero_inflated_distribution_sums_to_one_and_has_its_moments(share, mean, r):
    x = np.arange(0, 6000, dtype=np.float32)[:, None]
    given = np.log(mean), r, special.logit(share)
    log_mean, concentration, logits = (jnp.asarray([one], jnp.float32) for one in given)
    p = ZeroInflated(NegativeBinomial(log_mean, concentration), logits)
    mass = np.exp(np.asarray(log_prob(p, x), np.float64))
    expected = (1 - share) * stats.nbinom.pmf(x, r, r / (r + mean)) + share * (x == 0)
    np.testing.assert_allclose(mass, expected, rtol=2e-4, atol=1e-9)
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    assert float(p.mean[0]) == pytest.approx(float((mass * x).sum()), rel=1e-3)
    drawn = np.asarray(sample(p, jax.random.key(0), (20_000,)), np.float64)
    spread = np.sqrt((mass * (x - (1 - share) * mean) ** 2).sum())
    assert abs(drawn.mean() - (1 - share) * mean) < 5 * spread / np.sqrt(20_000) + 1e-9
    assert abs((drawn == 0).mean() - mass[0]) < 0.02


def test_slopes_are_finite_over_twelve_decades():
    x, log_mean, r = (jnp.asarray(one.ravel(), jnp.float32) for one in np.meshgrid(
        [0, 1, 100, 1e6], np.log(np.geomspace(1e-6, 1e6, 13)), np.geomspace(1e-6, 1e6, 13)
    ))  # fmt: skip

    def total(log_mean, r, logits):
        return ZeroInflated(NegativeBinomial(log_mean, r), logits).log_prob(x).sum()

    slopes_of = jax.jit(jax.grad(total, (0, 1, 2)))
    for logit in (-30.0, 0.0, 30.0):
        slopes = slopes_of(log_mean, r, jnp.full_like(r, logit))
        assert all(np.isfinite(slope).all() for slope in slopes)


def test_the_size_factor_multiplies_the_mean_and_the_batch_selects_the_concentration():
    own = {"concentration": jnp.asarray([[0.0, 1.0], [2.0, 3.0]])}
    rows = jnp.asarray([[0.0, 4.0, 1.0, 0.0, 1.0], [0.0, 4.0, 0.0, 1.0, 3.0]])
    eta = jnp.asarray([[0.5, -0.5, -30.0, -30.0]] * 2)

    @jax.jit
    def given(eta, own, rows):
        p = WHOLE.given(eta, own, rows)
        return p.mean, p.log_prob(rows)

    mean, log_p = (np.asarray(one)[:, :2] for one in given(eta, own, rows))
    np.testing.assert_allclose(mean, np.exp([0.5, -0.5]) * np.array([[1], [3]]), rtol=1e-5)
    r = np.log1p(np.exp([[0.0, 1.0], [2.0, 3.0]])) + 1e-3
    expected = stats.nbinom.logpmf([[0, 4]] * 2, r, r / (r + mean.astype(float)))
    np.testing.assert_allclose(log_p, expected, rtol=1e-4)


def test_only_the_likelihood_reads_the_size_factor():
    """Rows that differ in s have the same η, and a row of padding has no NaN."""
    recipe = parts.Recipe(
        likelihood=WHOLE, latent=parts.DiagonalGaussian(2), objective=parts.ELBO(), condition=(3, 4, 5)
    )
    model = Model.build(recipe, 6, 0)
    rows = jnp.asarray([[1.0, 2, 0, 1, 0, 1], [1.0, 2, 0, 1, 0, 10], [0.0, 0, 0, 0, 0, 0]])

    @jax.jit
    def read(rows):
        return model.given(rows).decode(jnp.zeros((3, 2))).mean, model.encoded(rows)

    mean, codes = map(np.asarray, read(rows))
    np.testing.assert_allclose(mean[1, :3], 10 * mean[0, :3], rtol=1e-5)
    assert np.isfinite(mean).all()
    assert np.isfinite(codes).all()
    np.testing.assert_array_equal(mean[:, 3:], rows[:, 3:])


def test_the_encoder_reads_the_logarithm_of_counts_per_size():
    read = np.asarray(jax.jit(WHOLE.transform_input)(np.float32([[3, 8, 0, 1, 2]])))
    np.testing.assert_allclose(read, [[*np.log1p([1.5, 4.0]), 0, 1, np.log(2)]], rtol=1e-6)


def test_dispersion_by_batch_needs_batches_and_rows_need_genes():
    with pytest.raises(InvalidPart, match="n_batches"):
        parts.GeneCounts(dispersion="gene-batch").build(3)
    with pytest.raises(InvalidPart, match="genes"):
        WHOLE.n_genes(3)


def test_a_size_factor_must_be_positive():
    X = np.random.default_rng(0).poisson(2.0, (30, 4)).astype(float)
    X[3, 3] = 0
    model = VariationalAutoencoder(
        n_latent=1, likelihood=parts.GeneCounts(size_factor="last"), condition=3, max_epochs=0, random_state=0
    )
    with pytest.raises(ValueError, match="above 0"):
        model.fit(X)
    X[:, 3] = 0.5  # not a whole number
    model.fit(X)
    with pytest.raises(ValueError, match="above 0"):
        model.transform(np.array([[1.0, 2, 3, 0]]))
