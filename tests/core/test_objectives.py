"""Objectives against their equations, and the order ELBO ≤ IWAE(k) ≤ log p(x) where log p(x) is known."""

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from diabolo import parts
from diabolo.core import recipes
from diabolo.core.distributions import Normal
from diabolo.core.model import Model, loss
from diabolo.core.objectives import PosteriorSamples
from diabolo.engine import inference
from formula import (
    EVERYONE,
    KEY,
    D,
    K,
    N,
    W,
    built,
    dense,
    exact_log_p,
    forward,
    gap,
    linear_gaussian,
)

# -- variational: −ELBO = E[−log p(x|z)] + β KL, z = μ + σ ⊙ ε ---------------------------------------------------------

EPSILON = np.random.default_rng(4).normal(size=(3, N, K))


@pytest.fixture
def value_of_known_noise(monkeypatch):
    """`value_of`, in which every normal draw is the first of EPSILON, whatever the key."""

    def normal(key, shape=(), dtype=jnp.float32):
        assert shape[1:] == EPSILON.shape[1:]
        return jnp.asarray(EPSILON[: shape[0]], dtype)

    monkeypatch.setattr(jax.random, "normal", normal)

    def value(model, x, beta):
        total, terms = _of_known_noise(model, x, np.float32(beta))
        return float(total), {name: float(term) for name, term in terms.items()}

    return value


# Programs of these tests only, since others draw.
_of_known_noise = jax.jit(lambda model, x, beta: loss(model, x, KEY, beta, EVERYONE))


def posterior(model, x):
    mu, s = np.split(forward(model.weights.encoder, x), 2, axis=1)
    return mu, np.logaddexp(0, s) + 1e-6


def kl_to_standard_normal(mu, sigma):
    return 0.5 * (mu**2 + sigma**2 - 1 - 2 * np.log(sigma))


def minus_log_likelihood(model, x, z):
    """(s, n): −log p(x | z), by SciPy."""
    eta, part, clean = forward(model.weights.decoder, z), model.recipe.likelihood, np.asarray(x, np.float64)
    factor = 1.0
    if isinstance(part, parts.HeteroscedasticGaussian):
        eta, delta = np.split(eta, 2, axis=-1)
        factor = np.exp(np.tanh(delta))
    if isinstance(part, parts.Bernoulli):
        return -(clean * special.log_expit(eta) + (1 - clean) * special.log_expit(-eta)).sum(-1)
    if isinstance(part, parts.LearnedGaussian):
        sigma = np.logaddexp(0, np.asarray(model.weights.likelihood["spread"], np.float64)) * factor + part.floor
    else:
        sigma = part.sigma
    return -stats.norm.logpdf(clean, eta, sigma).sum(-1)


every_likelihood = pytest.mark.parametrize(
    "likelihood",
    [
        parts.Gaussian(),
        parts.Gaussian(0.2),
        parts.LearnedGaussian(),
        parts.HeteroscedasticGaussian(0.01),
        parts.Bernoulli(),
    ],
    ids=repr,
)


@every_likelihood
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_samples", [1, 3])
def test_the_elbo_is_the_lectures(likelihood, beta, n_samples, x, value_of_known_noise):
    model = built(recipes.variational(K, hidden=(4,), likelihood=likelihood, n_samples=n_samples, skip=False))
    mu, sigma = posterior(model, x)
    rec = minus_log_likelihood(model, x, mu + sigma * EPSILON[:n_samples]).mean(axis=0)
    kl = kl_to_standard_normal(mu, sigma).sum(axis=1)
    total, terms = value_of_known_noise(model, x, beta)
    assert total == pytest.approx((rec + beta * kl).mean(), rel=2e-5)
    assert terms["reconstruction"] == pytest.approx(rec.mean(), rel=2e-5)
    assert terms["kl"] == pytest.approx(kl.mean(), rel=2e-5)


@every_likelihood
@pytest.mark.parametrize("n_samples", [1, 3])
def test_the_importance_weighted_bound_is_the_papers(likelihood, n_samples, x, value_of_known_noise):
    recipe = recipes.variational(K, hidden=(4,), likelihood=likelihood, skip=False)
    model = built(recipe.replace(objective=parts.ImportanceWeighted(n_samples)))
    mu, sigma = posterior(model, x)
    z = mu + sigma * EPSILON[:n_samples]
    log_w = -minus_log_likelihood(model, x, z) + stats.norm.logpdf(z).sum(-1) - stats.norm.logpdf(z, mu, sigma).sum(-1)
    expected = -(special.logsumexp(log_w, axis=0) - math.log(n_samples)).mean()
    total, terms = value_of_known_noise(model, x, 0.0)
    assert total == pytest.approx(expected, rel=2e-5)
    assert terms["reconstruction"] + terms["kl"] == pytest.approx(-log_w.mean(), rel=2e-5)


@pytest.mark.usefixtures("value_of_known_noise")
def test_gradients_reach_mu_and_sigma_through_the_draw(x):
    model = built(recipes.variational(K, hidden=(4,), likelihood=parts.Gaussian(), skip=False))

    def reconstruction(mu, sigma):
        z = Normal(mu, sigma).sample(KEY, (1,))
        return -model.decode(z).log_prob(x).sum(-1).mean()

    by_mu, by_sigma = jax.jit(jax.grad(reconstruction, argnums=(0, 1)))(*map(np.float32, posterior(model, x)))
    np.testing.assert_allclose(by_sigma, by_mu * EPSILON[0], rtol=1e-4, atol=1e-7)
    assert np.all(np.asarray(by_mu) != 0)


def test_different_rows_and_draws_get_different_noise():
    model = built(recipes.variational(K, hidden=(4,), skip=False))
    z = jax.jit(lambda model, x: model.encode(x).sample(KEY, (3,)))(model, np.zeros((N, D), np.float32))
    z = np.reshape(z, (-1, K))
    assert len(np.unique(z, axis=0)) == 3 * N


def test_corruption_and_code_draw_from_different_keys():
    recipe = recipes.variational(D, hidden=(), skip=False).replace(
        corruption=parts.GaussianNoise(1.0), decoder=parts.MLP(())
    )
    keys = []

    @dataclass(frozen=True)
    class Spy(parts.Corruption):
        def __call__(self, key, x):
            keys.append(jax.random.normal(key, (N, D)))
            return x

    @dataclass(frozen=True)
    class SpiedGaussian(parts.DiagonalGaussian):
        def __call__(self, h):
            q = super().__call__(h)

            class Spied(Normal):
                def sample(self, key, shape=()):
                    keys.append(jax.random.normal(key, (N, D)))
                    return super().sample(key, shape)

            return Spied(q.loc, q.scale)

    model = Model.build(recipe.replace(corruption=Spy(), latent=SpiedGaussian(D)), D, 0)
    one, two = jax.jit(lambda x: (loss(model, x, KEY, jnp.ones(()), EVERYONE), keys)[1])(np.zeros((N, D), np.float32))
    assert abs(np.corrcoef(np.ravel(one), np.ravel(two))[0, 1]) < 0.9


# -- ELBO ≤ IWAE(k) ≤ log p(x), where log p(x) is known ----------------------------------------------------------------


def test_the_rows_of_the_linear_gaussian_decoder_are_orthogonal():
    assert W[0] @ W[1] == 0


def bound_and_estimate(model, rows, n_samples, seed=0):
    return [
        inference.map_rows(op, model, rows, n_samples, seed=seed) for op in (inference.elbos, inference.log_densities)
    ]


@pytest.mark.parametrize("n_samples", [1, 16])
def test_with_the_exact_posterior_bound_estimate_and_log_p_agree(n_samples, rows):
    elbo, estimate = bound_and_estimate(linear_gaussian(), rows, n_samples)
    np.testing.assert_allclose(elbo, exact_log_p(rows), atol=2e-4)
    np.testing.assert_allclose(estimate, exact_log_p(rows), atol=2e-4)


def test_with_a_wrong_posterior_the_estimate_rises_with_the_draws_to_the_exact_log_p(rows):
    model, exact = linear_gaussian(shift=0.3, widen=1.5), exact_log_p(rows)
    means = []
    for n_samples, n_seeds in ((1, 20), (16, 20), (4096, 5)):
        draws = [bound_and_estimate(model, rows, n_samples, seed) for seed in range(n_seeds)]
        elbo, estimate = (np.mean([draw[i] for draw in draws], axis=0) for i in (0, 1))
        means.append(estimate.mean())
        assert np.all(elbo < exact)
        assert np.all(elbo <= estimate + 1e-5)
    assert means == sorted(means)
    assert means[1] - means[0] > 0.1
    np.testing.assert_allclose(estimate, exact, atol=0.01)
    np.testing.assert_allclose(elbo, exact - gap(rows, 0.3, 1.5), atol=0.05)


def test_an_encoder_that_is_far_off_costs_the_bound_and_not_the_estimate(rows):
    elbo, estimate = bound_and_estimate(linear_gaussian(shift=30.0), rows, 64)
    assert np.all(elbo < exact_log_p(rows) - 1_000)
    np.testing.assert_allclose(estimate, exact_log_p(rows), atol=0.8)  # log 2, as half of the draws are of no use


many_rows_loss = lambda model, x: loss(model, x, KEY, jnp.ones(()), jnp.ones(len(x)))[0]  # noqa: E731
many_rows_value = jax.jit(many_rows_loss)
OBJECTIVES = (parts.ELBO(), parts.ImportanceWeighted(1), parts.ImportanceWeighted(20))


def expected_value(model, rows):
    """The formula's mean over noise: of each row, many copies."""
    return float(many_rows_value(model, np.tile(rows, (2000, 1)).astype(np.float32)))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_with_the_exact_posterior_every_objective_is_minus_log_p(objective, rows):
    # The ELBO's KL is in closed form, so that only its reconstruction term is random.
    error = 0.05 if objective == parts.ELBO() else 1e-4
    value = expected_value(linear_gaussian(objective=objective), rows)
    assert value == pytest.approx(-exact_log_p(rows).mean(), abs=error)


def test_with_a_wrong_posterior_the_objectives_are_ordered(rows):
    elbo, one, twenty = (expected_value(linear_gaussian(0.3, 1.5, objective), rows) for objective in OBJECTIVES)
    exact = -exact_log_p(rows).mean()
    assert elbo == pytest.approx(exact + gap(rows, 0.3, 1.5), abs=0.05)
    assert one == pytest.approx(elbo, abs=0.05), "one draw of the importance-weighted bound is the ELBO"
    assert one - twenty > 0.1
    assert twenty > exact


def test_the_gradient_that_a_few_draws_bear_is_the_same_in_expectation(rows):
    x = np.tile(rows, (40_000, 1)).astype(np.float32)
    models = [linear_gaussian(0.3, 1.5, parts.ImportanceWeighted(8, bearing)) for bearing in (0, 1, 3)]

    @jax.jit
    def by_all(weights, x):
        """In one program, which draws once."""
        return [jax.value_and_grad(lambda w, m=m: many_rows_loss(Model(m.recipe, w), x))(weights) for m in models]

    (value, gradient), *others = by_all(models[0].weights, x)
    for other, few in others:
        assert float(other) == pytest.approx(float(value), rel=1e-6)
        for some, every in zip(jax.tree.leaves(few), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(some, every, atol=0.03)
            assert np.abs(every).max() > 0.1


def test_one_importance_weight_is_the_elbo_exactly_where_the_kl_is_estimated(rows):
    """With the log q − log p form of the KL, −log w is the ELBO draw by draw."""

    @jax.jit
    def found(model, x):
        q = model.encode(x)
        z = q.sample(KEY, (1,))
        log_likelihood = model.decode(z).log_prob(x).sum(-1)
        draws = PosteriorSamples(log_likelihood, z, q, model.prior)
        by_hand = -(log_likelihood + (model.prior.log_prob(z) - q.log_prob(z)).sum(-1))[0]
        return parts.ImportanceWeighted(1)(draws, jnp.ones(())), by_hand, -draws.log_weights()[0]

    iw, by_hand, by_weights = jax.device_get(found(linear_gaussian(0.3, 1.5), np.float32(rows)))
    np.testing.assert_allclose(iw.loss, by_hand, rtol=1e-5)
    np.testing.assert_allclose(iw.loss, by_weights, rtol=1e-5)
    np.testing.assert_allclose(iw.parts["reconstruction"] + iw.parts["kl"], iw.loss, rtol=1e-5)


def test_the_elbo_is_never_above_the_estimate_for_any_model(x):
    model = built(recipes.variational(K, hidden=(4,), likelihood=parts.Bernoulli(), skip=False))
    elbo, estimate = bound_and_estimate(model, np.asarray(x), 256)
    assert np.all(elbo <= estimate + 0.02)


def test_a_discrete_likelihoods_probabilities_sum_to_one_over_all_rows():
    """Σₓ p(x) = 1 over all 2⁴ binary rows, with p(x) estimated by importance weighting from a wide posterior."""
    recipe = recipes.variational(1, hidden=(4,), likelihood=parts.Bernoulli(), skip=False).replace(
        encoder=parts.MLP(())
    )
    weights = built(recipe).weights
    model = Model(recipe, type(weights)(dense(np.zeros((D, 2)), [0.0, 1.0]), weights.decoder, {}))
    rows = np.array(list(itertools.product([0.0, 1.0], repeat=D)))
    log_p = inference.map_rows(inference.log_densities, model, rows, 4096)
    assert np.exp(log_p.astype(np.float64)).sum() == pytest.approx(1.0, abs=0.02)
