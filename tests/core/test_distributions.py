"""Densities are densities: normalised, equal to SciPy's, sampled as they say; KL is the KL."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array
from scipy import integrate, special, stats

import examples
from diabolo import parts
from diabolo.core.activations import softplus
from diabolo.core.distributions import (
    Bernoulli,
    Categorical,
    Dirac,
    Distribution,
    Joint,
    NegativeBinomial,
    Normal,
    ZeroInflated,
    kl_bernoulli,
    kl_divergence,
)

N_DRAWS = 40_000
STANDARD_ERRORS = 4.5

finite = st.floats(-5, 5, width=32)
scales = st.floats(0.0625, 8, width=32)
reproducible = settings(max_examples=60, deadline=None, derandomize=True, database=None)

NORMALS = {
    "standard": ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
    "narrow and wide": ([3.0, 0.0, -20.0], [0.01, 1.0, 30.0]),
    "shared scale": ([-1.0, 0.0, 2.5], [0.5]),
}
LOGITS = [-30.0, -3.0, -0.1, 0.0, 0.1, 3.0, 30.0]

every_normal = pytest.mark.parametrize(("loc", "scale"), NORMALS.values(), ids=NORMALS)


def normal(loc, scale):
    return Normal(jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32))


def integral(distribution, loc, scale):
    """∫ p(x) dx per coordinate, by the trapezoid rule over ± 12 standard deviations."""
    grid = np.linspace(-12, 12, 4001)[:, None] * np.asarray(scale) + np.asarray(loc)
    density = np.exp(np.asarray(distribution.log_prob(jnp.asarray(grid, jnp.float32)), np.float64))
    return integrate.trapezoid(density, grid, axis=0)


# -- normal -----------------------------------------------------------------------------------------------------------


@every_normal
def test_a_normal_integrates_to_one(loc, scale):
    np.testing.assert_allclose(integral(normal(loc, scale), loc, scale), 1.0, rtol=1e-4)


@every_normal
def test_a_normal_is_scipys(loc, scale):
    x = np.linspace(-5, 5, 101)[:, None] * np.asarray(scale) + np.asarray(loc)
    ours = normal(loc, scale).log_prob(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(ours, stats.norm.logpdf(x, loc, scale), rtol=2e-4, atol=2e-4)


@every_normal
def test_draws_of_a_normal_have_its_moments(loc, scale):
    draws = np.asarray(normal(loc, scale).sample(jax.random.key(1), (N_DRAWS,)), np.float64)
    assert draws.shape == (N_DRAWS, len(loc))
    error = np.asarray(scale) / math.sqrt(N_DRAWS)
    assert np.all(np.abs(draws.mean(axis=0) - loc) < STANDARD_ERRORS * error)
    assert np.all(np.abs(draws.var(axis=0) / np.square(scale) - 1) < STANDARD_ERRORS * math.sqrt(2 / N_DRAWS))


def test_draws_of_different_coordinates_are_independent():
    draws = np.asarray(normal([0.0] * 3, [1.0] * 3).sample(jax.random.key(2), (N_DRAWS,)))
    off_diagonal = np.corrcoef(draws.T)[np.triu_indices(3, 1)]
    assert np.all(np.abs(off_diagonal) < STANDARD_ERRORS / math.sqrt(N_DRAWS))


def test_a_draw_is_the_mean_plus_the_scale_times_noise_that_knows_neither():
    key = jax.random.key(3)
    noise = normal([0.0] * 3, [1.0] * 3).sample(key)
    draw = normal([1.0, -2.0, 0.0], [0.5, 3.0, 1.0]).sample(key)
    np.testing.assert_allclose(draw, np.array([1.0, -2.0, 0.0]) + np.array([0.5, 3.0, 1.0]) * noise, rtol=1e-6)


def test_gradients_pass_through_a_draw_to_mean_and_scale():
    key = jax.random.key(4)

    def total(loc, scale):
        return Normal(loc, scale).sample(key).sum()

    by_loc, by_scale = jax.grad(total, argnums=(0, 1))(jnp.zeros(3), jnp.ones(3))
    np.testing.assert_array_equal(by_loc, 1.0)
    np.testing.assert_allclose(by_scale, normal([0.0] * 3, [1.0] * 3).sample(key), rtol=1e-6)


@every_normal
def test_the_mean_of_a_normal_is_its_location(loc, scale):
    np.testing.assert_array_equal(normal(loc, scale).mean, np.asarray(loc, np.float32))


# -- Bernoulli --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logit", LOGITS)
def test_a_bernoulli_sums_to_one(logit):
    both = Bernoulli(jnp.full(2, logit)).log_prob(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(np.exp(np.asarray(both, np.float64)).sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("x", [0, 1])
def test_a_bernoulli_is_scipys(logit, x):
    ours = float(Bernoulli(jnp.array([logit])).log_prob(jnp.array([float(x)]))[0])
    theirs = special.log_expit(logit if x else -logit)
    assert math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-12)
    if abs(logit) < 10:
        assert math.isclose(ours, stats.bernoulli.logpmf(x, special.expit(logit)), rel_tol=1e-5)


@pytest.mark.parametrize("logit", [-500.0, 500.0])
@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
def test_a_certain_bernoulli_stays_finite_with_a_finite_gradient(logit, x):
    value, gradient = jax.value_and_grad(lambda eta: Bernoulli(eta).log_prob(jnp.array([x])).sum())(jnp.array([logit]))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_the_softplus_is_right_to_a_few_units_in_the_last_place():
    x = np.linspace(-87, 87, 100_001, dtype=np.float32)
    np.testing.assert_allclose(softplus(x), np.logaddexp(0, x.astype(np.float64)), rtol=4e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(softplus))(x), special.expit(x.astype(np.float64)), rtol=4e-7)


@pytest.mark.parametrize(("x", "expected"), [(-np.inf, 0), (-200, 0), (200, 200), (np.inf, np.inf), (np.nan, np.nan)])
def test_the_softplus_of_extremes(x, expected):
    np.testing.assert_array_equal(softplus(jnp.float32(x)), expected)


def test_a_bernoulli_of_grey_values_is_the_cross_entropy():
    x, logits = np.array([0.1, 0.5, 0.9]), np.array([-1.0, 0.3, 2.0])
    p = special.expit(logits)
    ours = Bernoulli(jnp.asarray(logits, jnp.float32)).log_prob(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(ours, x * np.log(p) + (1 - x) * np.log(1 - p), rtol=1e-5)


def test_draws_of_a_bernoulli_are_zeros_and_ones_at_its_rate():
    bernoulli = Bernoulli(jnp.array([-3.0, 0.0, 2.0]))
    draws = np.asarray(bernoulli.sample(jax.random.key(5), (N_DRAWS,)))
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
    return NegativeBinomial(jnp.log(jnp.full(1, mean)), jnp.full(1, r))


@every_count
def test_a_negative_binomial_is_scipys(mean, r):
    likely = np.unique(stats.nbinom.ppf(np.linspace(0.001, 0.999, 300), r, r / (r + mean)))[:, None]
    ours = jax.jit(lambda x: negative_binomial(mean, r).log_prob(x))(likely.astype(np.float32))
    np.testing.assert_allclose(ours, stats.nbinom.logpmf(likely, r, r / (r + mean)), atol=1e-4)


@every_count
def test_the_slope_of_a_negative_binomial_stays_finite(mean, r):
    x = np.array([0.0, 1.0, np.round(mean), np.round(10 * mean)])

    def log_prob(log_mean, r):
        return NegativeBinomial(log_mean, r).log_prob(jnp.asarray(x, jnp.float32)).sum()

    by_log_mean, by_r = jax.jit(jax.grad(log_prob, (0, 1)))(jnp.log(jnp.full(4, mean)), jnp.full(4, r))
    np.testing.assert_allclose(by_log_mean, (x - mean) * r / (r + mean), rtol=1e-4, atol=1e-4)
    assert np.isfinite(by_r).all()


@every_count
def test_draws_of_a_negative_binomial_are_whole_and_have_its_moments(mean, r):
    distribution = negative_binomial(mean, r)
    draws = np.asarray(distribution.sample(jax.random.key(5), (N_DRAWS,)), np.float64)
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
    draws = joint.sample(jax.random.key(0), (1000,))
    assert draws.shape == (1000, 4, 3)
    assert set(np.unique(draws[..., 2])) == {0.0, 1.0}
    np.testing.assert_array_equal(joint.mean, np.hstack([block.mean for block in blocks]))
    each = [blocks[0].log_prob(draws[..., :2]), blocks[1].log_prob(draws[..., 2:])]
    np.testing.assert_array_equal(joint.log_prob(draws), np.concatenate(each, axis=-1))
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
    assert jax.eval_shape(partial(distribution.log_prob), draws).shape == draws.shape


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
    means = jnp.asarray(means, jnp.float32)[:, None]
    for cell in cells:
        x = jnp.array([cell])
        log_p, deviance = of_mean(means).log_prob(x), of_mean(means).deviance(x)
        np.testing.assert_allclose(deviance, 2 * (log_p.max() - log_p), rtol=1e-3, atol=2e-3)
        assert deviance.min() > -1e-5


def test_the_deviance_of_categories_sums_to_twice_the_surprise():
    logits = jnp.array([[0.2, -1.0, 3.0], [0.0, 5.0, 0.0]])
    x = jnp.eye(3)[jnp.array([2, 0])]
    surprise = -Categorical(logits).log_prob(x).sum(-1)
    np.testing.assert_allclose(Categorical(logits).deviance(x).sum(-1), 2 * surprise, rtol=1e-6)


def test_the_deviance_of_blocks_is_each_ones():
    joint = Joint((Normal(jnp.ones((4, 2)), jnp.full(2, 0.5)), Bernoulli(jnp.full((4, 1), 0.3))))
    each = [block.deviance(x) for block, x in zip(joint.blocks, (jnp.zeros((4, 2)), jnp.ones((4, 1))), strict=True)]
    np.testing.assert_array_equal(joint.deviance(jnp.array([[0.0, 0.0, 1.0]] * 4)), np.hstack(each))


def test_the_deviance_is_a_squared_error_unless_refined():
    np.testing.assert_array_equal(Dirac(jnp.array([1.0, 2.0])).deviance(jnp.array([3.0, 2.0])), [4.0, 0.0])


@every_distribution
def test_the_same_key_draws_the_same_bits(distribution):
    one, two = (np.asarray(distribution.sample(jax.random.key(7), (3,))) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", [name for name in DISTRIBUTIONS if name != "dirac"])
def test_another_key_draws_others(name):
    one, two = (np.asarray(DISTRIBUTIONS[name].sample(jax.random.key(k), (3,))) for k in (1, 2))
    assert np.any(one != two)


# -- the densities that parts make ------------------------------------------------------------------------------------


def test_a_categorical_is_the_log_of_the_softmax():
    logits, classes = np.array([[-1.0, 0.0, 2.0], [300.0, 0.0, -300.0]]), np.array([2, 1])
    log_p = Categorical(jnp.asarray(logits, jnp.float32)).log_prob(jnp.eye(3)[classes]).sum(-1)
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


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("likelihood")])
def test_every_likelihood_is_normalised(part):
    density = part(jnp.linspace(-1.0, 2.0, part.n_outputs(3)), part.build(3))
    compiled = jax.jit(partial(density.log_prob))
    for block, columns in blocks_of(density):

        def log_prob(x, columns=columns):
            rows = np.zeros((len(x), 3), np.float32)
            rows[:, columns] = x
            return np.asarray(compiled(rows), np.float64)[:, columns]

        np.testing.assert_allclose(mass(block, log_prob, columns.stop - columns.start), 1.0, rtol=1e-3)


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("likelihood")])
def test_every_likelihoods_mean_is_the_mean_of_its_draws(part):
    density = part(jnp.linspace(-1.0, 2.0, part.n_outputs(3)), part.build(3))
    draws = np.asarray(jax.jit(lambda key: density.sample(key, (N_DRAWS,)))(jax.random.key(0)), np.float64)
    error = draws.std(axis=0) / math.sqrt(N_DRAWS)
    assert np.all(np.abs(draws.mean(axis=0) - density.mean) < STANDARD_ERRORS * error)


def test_sigma_by_row_stays_within_a_factor_of_e_and_above_the_floor():
    part = parts.HeteroscedasticGaussian(floor=0.2)
    delta = jnp.array([[-1e9], [0.0], [1e9]])
    scale = part(jnp.hstack([jnp.zeros((3, 1)), delta]), part.build(1)).scale[:, 0]
    np.testing.assert_allclose(scale, 0.2 + 0.8 * np.exp([-1, 0, 1]), rtol=1e-5)


def owns_weights(part):
    return bool(part.build(np.random.default_rng(0), 3, 3))


@pytest.mark.parametrize(
    "part", [pytest.param(p, id=name) for name, p in examples.all_parts("prior") if not owns_weights(p)]
)
def test_every_prior_is_normalised_over_each_coordinate(part):
    prior = part(2)
    grid = np.linspace(-15, 15, 30_001)[:, None]
    log_density = prior.log_prob(jnp.asarray(np.broadcast_to(grid, (len(grid), 2)), jnp.float32))
    np.testing.assert_allclose(
        integrate.trapezoid(np.exp(np.asarray(log_density, np.float64)), grid, axis=0), 1.0, rtol=1e-3
    )
    assert prior.sample(jax.random.key(0), (5,)).shape == (5, 2)


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("latent")])
def test_every_latent_gives_one_posterior_for_each_row(part):
    h = jnp.asarray(np.linspace(-2, 2, 5 * part.n_outputs), jnp.float32).reshape(5, part.n_outputs)
    posterior = part.posterior(h, part.build(np.random.default_rng(0), 3, part.n_latent))
    draws = np.asarray(jax.jit(lambda key: posterior.sample(key, (1000,)))(jax.random.key(0)), np.float64)
    assert posterior.mean.shape == (5, part.n_latent)
    assert draws.shape == (1000, 5, part.n_latent)
    assert part.stochastic == bool(np.any(draws[0] != draws[1]))
    error = draws.std(axis=0) / math.sqrt(len(draws))
    # The mean of a level that depends on another is that given the other's mean.
    n = part.n_bottom if isinstance(part, parts.TwoLevel) else part.n_latent
    off = np.abs(draws.mean(axis=0) - np.asarray(posterior.mean))
    assert np.all((off <= STANDARD_ERRORS * error + 1e-6)[:, :n])
    if part.in_unit_interval:
        assert np.all((posterior.mean > 0) & (posterior.mean < 1))


@pytest.mark.parametrize("s", [-1000.0, -50.0, 0.0, 50.0, 1000.0])
def test_the_posteriors_scale_neither_overflows_nor_reaches_zero(s):
    latent = examples.PARTS["DiagonalGaussian"][1]
    scale = latent(jnp.array([[0.0, s]])).scale
    gradient = jax.grad(lambda h: jnp.log(latent(h).scale).sum())(jnp.array([[0.0, s]]))
    assert 0 < float(scale[0, 0]) < 1e4
    assert np.isfinite(gradient).all()


# -- Kullback-Leibler -------------------------------------------------------------------------------------------------

PAIRS = {
    "shifted": ((1.0, 1.0), (0.0, 1.0)),
    "narrow in wide": ((0.0, 0.1), (0.0, 1.0)),
    "wide in narrow": ((0.5, 2.0), (0.0, 1.0)),
    "both moved": ((-1.0, 0.7), (2.0, 1.5)),
}


@pytest.mark.parametrize(("q", "p"), PAIRS.values(), ids=PAIRS)
def test_the_kl_of_two_normals_is_what_monte_carlo_says(q, p):
    q_, p_ = normal([q[0]] * 3, [q[1]] * 3), normal([p[0]] * 3, [p[1]] * 3)
    z = q_.sample(jax.random.key(6), (N_DRAWS,))
    closed = float(kl_divergence(q_, p_, z)[0])
    each = np.asarray(q_.log_prob(z) - p_.log_prob(z), np.float64)
    assert abs(each.mean() - closed) < STANDARD_ERRORS * each.std() / math.sqrt(each.size)


@pytest.mark.parametrize(("q", "p"), PAIRS.values(), ids=PAIRS)
def test_the_kl_of_two_normals_is_the_textbooks(q, p):
    closed = float(kl_divergence(normal([q[0]], [q[1]]), normal([p[0]], [p[1]]), jnp.zeros(1))[0])
    textbook = math.log(p[1] / q[1]) + (q[1] ** 2 + (q[0] - p[0]) ** 2) / (2 * p[1] ** 2) - 0.5
    assert math.isclose(closed, textbook, rel_tol=1e-5)


@reproducible
@given(finite, scales, finite, scales)
def test_the_kl_of_two_normals_is_never_negative(m, s, n, t):
    closed = float(kl_divergence(normal([m], [s]), normal([n], [t]), jnp.zeros(1))[0])
    assert closed >= -1e-6


@reproducible
@given(finite, scales)
def test_the_kl_of_a_normal_from_itself_is_exactly_zero(m, s):
    assert float(kl_divergence(normal([m], [s]), normal([m], [s]), jnp.zeros(1))[0]) == 0.0


@reproducible
@given(finite, scales, st.floats(0.25, 2), st.booleans())
def test_the_kl_of_two_different_normals_is_positive(m, s, by, move):
    other = normal([m + by * s], [s]) if move else normal([m], [s * (1 + by)])
    assert float(kl_divergence(normal([m], [s]), other, jnp.zeros(1))[0]) > 1e-3


def test_the_kl_is_per_coordinate():
    q = normal([0.0, 1.0], [1.0, 1.0])
    np.testing.assert_allclose(kl_divergence(q, normal([0.0, 0.0], [1.0, 1.0]), jnp.zeros(2)), [0.0, 0.5], rtol=1e-6)


class Laplace(Distribution):
    """A distribution that has no closed-form KL here."""

    loc: Array
    scale: Array

    @property
    def mean(self):
        return self.loc

    def log_prob(self, x):
        return -jnp.abs(x - self.loc) / self.scale - jnp.log(2 * self.scale)

    def sample(self, key, shape=()):
        return self.loc + self.scale * jax.random.laplace(key, shape + jnp.shape(self.loc))


def test_without_a_closed_form_the_kl_is_estimated_at_the_given_draws():
    q, p = Laplace(jnp.zeros(3), jnp.ones(3)), normal([0.0] * 3, [1.0] * 3)
    z = q.sample(jax.random.key(8), (N_DRAWS,))
    each = np.asarray(kl_divergence(q, p, z), np.float64)
    assert each.shape == (N_DRAWS, 3)
    np.testing.assert_allclose(each, q.log_prob(z) - p.log_prob(z), rtol=1e-5, atol=1e-6)
    exact = 0.5 * math.log(2 * math.pi) + 1.0 - (1 + math.log(2))  # E[z²]/2 = 1 for Laplace(0, 1)
    assert np.all(np.abs(each.mean(axis=0) - exact) < STANDARD_ERRORS * each.std(axis=0) / math.sqrt(N_DRAWS))


# -- Kullback-Leibler of two rates ------------------------------------------------------------------------------------

RATES = [1e-4, 0.05, 0.3, 0.5, 0.9, 0.999]


@pytest.mark.parametrize("rho", RATES)
@pytest.mark.parametrize("rho_hat", RATES)
def test_kl_bernoulli_is_scipys(rho, rho_hat):
    theirs = special.rel_entr(rho, rho_hat) + special.rel_entr(1 - rho, 1 - rho_hat)
    with jax.enable_x64(True):
        ours = float(kl_bernoulli(jnp.asarray(rho), jnp.asarray(rho_hat)))
        assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)
        assert ours >= 0
        assert (ours < 1e-12) == (rho == rho_hat)
    single = float(kl_bernoulli(jnp.asarray(rho), jnp.asarray(rho_hat)))
    assert math.isclose(single, theirs, rel_tol=1e-3, abs_tol=1e-5)


@pytest.mark.parametrize("rho", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("rho_hat", [0.01, 0.3, 0.8])
def test_kl_bernoullis_gradient_is_that_of_finite_differences(rho, rho_hat):
    with jax.enable_x64(True):

        def f(r):
            return kl_bernoulli(jnp.asarray(rho), r)

        exact = float(jax.grad(f)(jnp.asarray(rho_hat)))
        step = 1e-6
        by_differences = float(f(jnp.asarray(rho_hat + step)) - f(jnp.asarray(rho_hat - step))) / (2 * step)
    assert math.isclose(exact, by_differences, rel_tol=1e-6)
    assert math.isclose(exact, -rho / rho_hat + (1 - rho) / (1 - rho_hat), rel_tol=1e-9)
