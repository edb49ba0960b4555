"""Densities are densities: normalised, equal to SciPy's, sampled as they say."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

import examples
from diabolo import parts
from diabolo.core.activations import softplus
from diabolo.core.distributions import (
    Bernoulli,
    Categorical,
    Dirac,
    Joint,
    NegativeBinomial,
    Normal,
    ZeroInflated,
)
from formula import N_DRAWS, STANDARD_ERRORS, deviance, log_prob, normal, sample

NORMALS = {
    "standard": ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
    "narrow and wide": ([3.0, 0.0, -20.0], [0.01, 1.0, 30.0]),
    "shared scale": ([-1.0, 0.0, 2.5], [0.5]),
}
LOGITS = [-30.0, -3.0, -0.1, 0.0, 0.1, 3.0, 30.0]

every_normal = pytest.mark.parametrize(("loc", "scale"), NORMALS.values(), ids=NORMALS)


def integral(distribution, loc, scale):
    """∫ p(x) dx per coordinate, by the trapezoid rule over ± 12 standard deviations."""
    grid = np.linspace(-12, 12, 4001)[:, None] * np.asarray(scale) + np.asarray(loc)
    density = np.exp(np.asarray(log_prob(distribution, grid.astype(np.float32)), np.float64))
    return integrate.trapezoid(density, grid, axis=0)


# -- normal -----------------------------------------------------------------------------------------------------------


@every_normal
def test_a_normal_integrates_to_one(loc, scale):
    np.testing.assert_allclose(integral(normal(loc, scale), loc, scale), 1.0, rtol=1e-4)


@every_normal
def test_a_normal_is_scipys(loc, scale):
    x = np.linspace(-5, 5, 101)[:, None] * np.asarray(scale) + np.asarray(loc)
    ours = log_prob(normal(loc, scale), x.astype(np.float32))
    np.testing.assert_allclose(ours, stats.norm.logpdf(x, loc, scale), rtol=2e-4, atol=2e-4)


@every_normal
def test_draws_of_a_normal_have_its_moments(loc, scale):
    draws = np.asarray(sample(normal(loc, scale), jax.random.key(1), (N_DRAWS,)), np.float64)
    assert draws.shape == (N_DRAWS, len(loc))
    error = np.asarray(scale) / math.sqrt(N_DRAWS)
    assert np.all(np.abs(draws.mean(axis=0) - loc) < STANDARD_ERRORS * error)
    assert np.all(np.abs(draws.var(axis=0) / np.square(scale) - 1) < STANDARD_ERRORS * math.sqrt(2 / N_DRAWS))


def test_draws_of_different_coordinates_are_independent():
    draws = np.asarray(sample(normal([0.0] * 3, [1.0] * 3), jax.random.key(2), (N_DRAWS,)))
    off_diagonal = np.corrcoef(draws.T)[np.triu_indices(3, 1)]
    assert np.all(np.abs(off_diagonal) < STANDARD_ERRORS / math.sqrt(N_DRAWS))


def test_a_draw_is_the_mean_plus_the_scale_times_noise_that_knows_neither():
    key = jax.random.key(3)
    noise = np.asarray(sample(normal([0.0] * 3, [1.0] * 3), key))
    draw = sample(normal([1.0, -2.0, 0.0], [0.5, 3.0, 1.0]), key)
    np.testing.assert_allclose(draw, np.array([1.0, -2.0, 0.0]) + np.array([0.5, 3.0, 1.0]) * noise, rtol=1e-6)


def test_gradients_pass_through_a_draw_to_mean_and_scale():
    key = jax.random.key(4)

    def total(loc, scale):
        return Normal(loc, scale).sample(key).sum()

    by_loc, by_scale = jax.jit(jax.grad(total, argnums=(0, 1)))(jnp.zeros(3), jnp.ones(3))
    np.testing.assert_array_equal(by_loc, 1.0)
    np.testing.assert_allclose(by_scale, sample(normal([0.0] * 3, [1.0] * 3), key), rtol=1e-6)


@every_normal
def test_the_mean_of_a_normal_is_its_location(loc, scale):
    np.testing.assert_array_equal(normal(loc, scale).mean, np.asarray(loc, np.float32))


# -- Bernoulli --------------------------------------------------------------------------------------------------------


def of_bernoullis():
    """Log-probabilities of 0 and of 1, a row for each of the logits."""
    logits = jnp.asarray(LOGITS)[:, None]
    return np.asarray(log_prob(Bernoulli(logits), jnp.array([0.0, 1.0])), np.float64)


def test_a_bernoulli_sums_to_one():
    np.testing.assert_allclose(np.exp(of_bernoullis()).sum(axis=1), 1.0, rtol=1e-6)


def test_a_bernoulli_is_scipys():
    logits = np.array(LOGITS)
    np.testing.assert_allclose(of_bernoullis().T, special.log_expit([-logits, logits]), rtol=1e-5, atol=1e-12)
    near = abs(logits) < 10
    theirs = stats.bernoulli.logpmf([[0], [1]], special.expit(logits[near]))
    np.testing.assert_allclose(of_bernoullis()[near].T, theirs, rtol=1e-5)


def test_a_certain_bernoulli_stays_finite_with_a_finite_gradient():
    x = jnp.array([0.0, 0.5, 1.0])

    def of(logits):
        values = Bernoulli(logits).log_prob(x)
        return values.sum(), values

    gradient, values = jax.jit(jax.grad(of, has_aux=True))(jnp.array([[-500.0] * 3, [500.0] * 3]))
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()


def test_the_softplus_is_right_to_a_few_units_in_the_last_place():
    x = np.linspace(-87, 87, 100_001, dtype=np.float32)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(softplus)))(x)
    np.testing.assert_allclose(values, np.logaddexp(0, x.astype(np.float64)), rtol=4e-7)
    np.testing.assert_allclose(slopes, special.expit(x.astype(np.float64)), rtol=4e-7)


def test_the_softplus_of_extremes():
    x = np.array([-np.inf, -200, 200, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(jax.jit(softplus)(x), [0, 0, 200, np.inf, np.nan])


def test_a_bernoulli_of_grey_values_is_the_cross_entropy():
    x, logits = np.array([0.1, 0.5, 0.9]), np.array([-1.0, 0.3, 2.0])
    p = special.expit(logits)
    ours = log_prob(Bernoulli(jnp.asarray(logits, jnp.float32)), x.astype(np.float32))
    np.testing.assert_allclose(ours, x * np.log(p) + (1 - x) * np.log(1 - p), rtol=1e-5)


def test_draws_of_a_bernoulli_are_zeros_and_ones_at_its_rate():
    bernoulli = Bernoulli(jnp.array([-3.0, 0.0, 2.0]))
    draws = np.asarray(sample(bernoulli, jax.random.key(5), (N_DRAWS,)))
    p = special.expit([-3.0, 0.0, 2.0])
    assert draws.dtype == np.float32
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert np.all(np.abs(draws.mean(axis=0) - p) < STANDARD_ERRORS * np.sqrt(p * (1 - p) / N_DRAWS))
    np.testing.assert_allclose(bernoulli.mean, p, rtol=1e-5)


# -- negative binomial ------------------------------------------------------------------------------------------------

COUNTS = {
    "few": (0.3, 0.5),
    "some": (5.0, 2.0),
    "many": (1e6, 3.0),
    "almost Poisson": (2.0, 1e6),
    "hardly ever, then many": (1e5, 0.01),
}
every_count = pytest.mark.parametrize(("mean", "r"), COUNTS.values(), ids=COUNTS)


def negative_binomial(mean, r):
    return NegativeBinomial(jnp.asarray(np.log([mean]), jnp.float32), jnp.asarray([r], jnp.float32))


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1))
def slope_of_counts(log_mean, r, x):
    return NegativeBinomial(log_mean, r).log_prob(x).sum()


@every_count
def test_a_negative_binomial_is_scipys(mean, r):
    likely = stats.nbinom.ppf(np.linspace(0.001, 0.999, 300), r, r / (r + mean))[:, None]
    ours = log_prob(negative_binomial(mean, r), likely.astype(np.float32))
    np.testing.assert_allclose(ours, stats.nbinom.logpmf(likely, r, r / (r + mean)), atol=1e-4)


@every_count
def test_the_slope_of_a_negative_binomial_stays_finite(mean, r):
    x = np.array([0.0, 1.0, np.round(mean), np.round(10 * mean)])
    by_log_mean, by_r = slope_of_counts(*(np.float32(one) for one in (np.full(4, np.log(mean)), np.full(4, r), x)))
    np.testing.assert_allclose(by_log_mean, (x - mean) * r / (r + mean), rtol=1e-4, atol=1e-4)
    assert np.isfinite(by_r).all()


@every_count
def test_draws_of_a_negative_binomial_are_whole_and_have_its_moments(mean, r):
    distribution = negative_binomial(mean, r)
    draws = np.asarray(sample(distribution, jax.random.key(5), (N_DRAWS,)), np.float64)
    variance = mean + mean**2 / r
    np.testing.assert_array_equal(draws, np.round(draws))
    assert draws.min() >= 0
    np.testing.assert_allclose(distribution.mean, mean, rtol=1e-5)
    assert abs(draws.mean() - mean) < STANDARD_ERRORS * math.sqrt(variance / N_DRAWS)
    skewness_of_square = stats.nbinom.stats(r, r / (r + mean), moments="k") + 2
    spread_of_variance = variance * math.sqrt(skewness_of_square / N_DRAWS)
    assert abs(draws.var() - variance) < STANDARD_ERRORS * spread_of_variance


# -- blocks side by side ----------------------------------------------------------------------------------------------


def test_a_joint_says_of_each_block_what_the_block_says():
    blocks = Normal(jnp.ones((4, 2)), jnp.ones(2)), Bernoulli(jnp.full((4, 1), 0.3))
    joint = Joint(blocks)
    draws = np.asarray(sample(joint, jax.random.key(0), (1000,)))
    assert draws.shape == (1000, 4, 3)
    assert set(np.unique(draws[..., 2])) == {0.0, 1.0}
    np.testing.assert_array_equal(joint.mean, np.hstack([block.mean for block in blocks]))
    each = [log_prob(blocks[0], draws[..., :2]), log_prob(blocks[1], draws[..., 2:])]
    np.testing.assert_array_equal(log_prob(joint, draws), np.concatenate(each, axis=-1))
    first, second = draws[..., 0].ravel(), draws[..., 2].ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < STANDARD_ERRORS / math.sqrt(4000)


# -- Dirac ------------------------------------------------------------------------------------------------------------


def test_a_dirac_is_always_its_value():
    value = jnp.array([[1.0, -2.0], [0.0, 3.0]])
    dirac = Dirac(value)
    draws = dirac.sample(jax.random.key(0), (3,))
    assert draws.shape == (3, 2, 2)
    np.testing.assert_array_equal(draws, np.broadcast_to(value, (3, 2, 2)))
    np.testing.assert_array_equal(dirac.mean, value)


def test_a_dirac_has_all_its_mass_at_its_value():
    assert Dirac(jnp.zeros(2)).log_prob(jnp.array([0.0, 1e-3])).tolist() == [math.inf, -math.inf]


# -- all of them ------------------------------------------------------------------------------------------------------

DISTRIBUTIONS = {
    "normal": Normal(jnp.zeros((4, 3)), jnp.ones((4, 3))),
    "bernoulli": Bernoulli(jnp.zeros((4, 3))),
    "negative binomial": NegativeBinomial(jnp.zeros((4, 3)), jnp.ones(3)),
    "joint": Joint((Normal(jnp.zeros((4, 1)), jnp.ones(1)), Bernoulli(jnp.zeros((4, 2))))),
    "dirac": Dirac(jnp.zeros((4, 3))),
}
every_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)


@every_distribution
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_draws_have_the_sample_axes_before_the_batch(distribution, shape):
    draws = jax.eval_shape(lambda: distribution.sample(jax.random.key(0), shape))
    assert draws.shape == (*shape, 4, 3)
    assert jax.eval_shape(log_prob, distribution, draws).shape == draws.shape


BY_MEAN = {
    "normal": (lambda mean: Normal(mean, jnp.full(1, 0.7)), [-2.0, 0.0, 3.0], np.linspace(-4, 5, 9001)),
    "bernoulli": (lambda mean: Bernoulli(jnp.log(mean / (1 - mean))), [0.0, 0.3, 1.0], np.linspace(0, 1, 9003)[1:-1]),
    "negative binomial": (
        lambda mean: NegativeBinomial(jnp.log(mean), jnp.full(1, 2.5)),
        [0.0, 1.0, 7.0],
        np.geomspace(1e-6, 40, 9001),
    ),
}


@pytest.mark.parametrize("kind", BY_MEAN)
def test_the_deviance_is_twice_what_the_best_mean_would_add(kind):
    of_mean, cells, means = BY_MEAN[kind]
    distribution = jax.jit(of_mean)(means.astype(np.float32)[:, None])
    x = np.array(cells, np.float32)
    log_p, found = np.asarray(log_prob(distribution, x)), np.asarray(deviance(distribution, x))
    np.testing.assert_allclose(found, 2 * (log_p.max(axis=0) - log_p), rtol=1e-3, atol=2e-3)
    assert found.min() > -1e-5


def test_the_deviance_of_categories_sums_to_twice_the_surprise():
    categorical = Categorical(jnp.array([[0.2, -1.0, 3.0], [0.0, 5.0, 0.0]]))
    x = np.eye(3, dtype=np.float32)[[2, 0]]
    surprise = -np.asarray(log_prob(categorical, x)).sum(-1)
    np.testing.assert_allclose(np.asarray(deviance(categorical, x)).sum(-1), 2 * surprise, rtol=1e-6)


def test_the_deviance_of_blocks_is_each_ones():
    joint = Joint((Normal(jnp.ones((4, 2)), jnp.full(2, 0.5)), Bernoulli(jnp.full((4, 1), 0.3))))
    each = [deviance(block, x) for block, x in zip(joint.blocks, (jnp.zeros((4, 2)), jnp.ones((4, 1))), strict=True)]
    np.testing.assert_array_equal(deviance(joint, jnp.array([[0.0, 0.0, 1.0]] * 4)), np.hstack(each))


def test_the_deviance_is_a_squared_error_unless_refined():
    np.testing.assert_array_equal(Dirac(jnp.array([1.0, 2.0])).deviance(jnp.array([3.0, 2.0])), [4.0, 0.0])


@every_distribution
def test_the_same_key_draws_the_same_bits(distribution):
    one, two = (np.asarray(sample(distribution, jax.random.key(7), (3,))) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", [name for name in DISTRIBUTIONS if name != "dirac"])
def test_another_key_draws_others(name):
    one, two = (np.asarray(sample(DISTRIBUTIONS[name], jax.random.key(k), (3,))) for k in (1, 2))
    assert np.any(one != two)


# -- the densities that parts make ------------------------------------------------------------------------------------


def test_a_categorical_is_the_log_of_the_softmax():
    logits, classes = np.array([[-1.0, 0.0, 2.0], [300.0, 0.0, -300.0]]), np.array([2, 1])
    log_p = np.asarray(log_prob(Categorical(jnp.asarray(logits, jnp.float32)), np.eye(3)[classes])).sum(-1)
    np.testing.assert_allclose(log_p, special.log_softmax(logits, axis=1)[np.arange(2), classes], rtol=1e-6)


def blocks_of(density):
    """A density's blocks, and the columns that each tells."""
    start = 0
    for block in density.blocks if isinstance(density, Joint) else (density,):
        stop = start + block.mean.shape[-1]
        yield block, slice(start, stop)
        start = stop


def mass(block, log_prob, d):
    """Σ or ∫ of the density over all that its d columns can hold: one number, or one for each column."""
    if isinstance(block, Categorical):
        return np.exp(log_prob(np.eye(d)).sum(-1)).sum()
    if isinstance(block, Bernoulli):
        return np.exp(log_prob(np.array([[0.0] * d, [1.0] * d]))).sum(axis=0)
    if isinstance(block, NegativeBinomial | ZeroInflated):
        return np.exp(log_prob(np.repeat(np.arange(3000.0)[:, None], d, axis=1))).sum(axis=0)
    grid = np.linspace(-15, 15, 30_001)[:, None]
    return integrate.trapezoid(np.exp(log_prob(np.repeat(grid, d, axis=1))), grid, axis=0)


@functools.cache
def density_of(part):
    """A density of three columns that a likelihood makes."""
    return jax.jit(part)(np.linspace(-1.0, 2.0, part.n_outputs(3), dtype=np.float32), part.build(3))


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("likelihood")])
def test_every_likelihood_is_normalised(part):
    density = density_of(part)
    for block, columns in blocks_of(density):

        def of_columns(x, columns=columns):
            rows = np.zeros((len(x), 3), np.float32)
            rows[:, columns] = x
            return np.asarray(log_prob(density, rows), np.float64)[:, columns]

        np.testing.assert_allclose(mass(block, of_columns, columns.stop - columns.start), 1.0, rtol=1e-3)


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("likelihood")])
def test_every_likelihoods_mean_is_the_mean_of_its_draws(part):
    density = density_of(part)
    draws = np.asarray(sample(density, jax.random.key(0), (N_DRAWS,)), np.float64)
    error = draws.std(axis=0) / math.sqrt(N_DRAWS)
    assert np.all(np.abs(draws.mean(axis=0) - density.mean) < STANDARD_ERRORS * error)


def test_sigma_by_row_stays_within_a_factor_of_e_and_above_the_floor():
    part = parts.HeteroscedasticGaussian(floor=0.2)
    scale = jax.jit(part)(np.float32([[0, -1e9], [0, 0], [0, 1e9]]), part.build(1)).scale[:, 0]
    np.testing.assert_allclose(scale, 0.2 + 0.8 * np.exp([-1, 0, 1]), rtol=1e-5)


def owns_weights(part):
    return bool(part.build(np.random.default_rng(0), 3, 3))


@pytest.mark.parametrize(
    "part", [pytest.param(p, id=name) for name, p in examples.all_parts("prior") if not owns_weights(p)]
)
def test_every_prior_is_normalised_over_each_coordinate(part):
    prior = part(2)
    grid = np.linspace(-15, 15, 30_001)[:, None]
    log_density = log_prob(prior, np.repeat(grid, 2, axis=1).astype(np.float32))
    np.testing.assert_allclose(
        integrate.trapezoid(np.exp(np.asarray(log_density, np.float64)), grid, axis=0), 1.0, rtol=1e-3
    )
    assert sample(prior, jax.random.key(0), (5,)).shape == (5, 2)


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("latent")])
def test_every_latent_gives_one_posterior_for_each_row(part):
    h = np.linspace(-2, 2, 5 * part.n_outputs, dtype=np.float32).reshape(5, part.n_outputs)

    @jax.jit
    def found(h, own):
        posterior = part.posterior(h, own)
        return posterior.mean, posterior.sample(jax.random.key(0), (1000,))

    mean, draws = (
        np.asarray(one, np.float64) for one in found(h, part.build(np.random.default_rng(0), 3, part.n_latent))
    )
    assert mean.shape == (5, part.n_latent)
    assert draws.shape == (1000, 5, part.n_latent)
    assert part.stochastic == bool(np.any(draws[0] != draws[1]))
    error = draws.std(axis=0) / math.sqrt(len(draws))
    # The mean of a level that depends on another is that given the other's mean.
    n = part.n_bottom if isinstance(part, parts.TwoLevel) else part.n_latent
    off = np.abs(draws.mean(axis=0) - mean)
    assert np.all((off <= STANDARD_ERRORS * error + 1e-6)[:, :n])
    if part.in_unit_interval:
        assert np.all((mean > 0) & (mean < 1))


def test_the_posteriors_scale_neither_overflows_nor_reaches_zero():
    latent = examples.PARTS["DiagonalGaussian"][1]

    def of(h):
        scale = latent(h).scale
        return jnp.log(scale).sum(), scale

    h = np.array([[0.0, s] for s in (-1000, -50, 0, 50, 1000)], np.float32)
    gradient, scale = jax.jit(jax.grad(of, has_aux=True))(h)
    assert np.all((np.asarray(scale) > 0) & (np.asarray(scale) < 1e4))
    assert np.isfinite(gradient).all()
