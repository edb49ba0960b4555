"""The Kullback-Leibler divergence: of normals, of what has no closed form, and of two rates."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from diabolo.core.distributions import kl_bernoulli
from formula import N_DRAWS, STANDARD_ERRORS, Laplace, kl, log_prob, normal, sample

finite = st.floats(-5, 5, width=32)
scales = st.floats(0.0625, 8, width=32)
reproducible = settings(max_examples=60, deadline=None, derandomize=True, database=None)

# -- normals ----------------------------------------------------------------------------------------------------------

PAIRS = {
    "shifted": ((1.0, 1.0), (0.0, 1.0)),
    "narrow in wide": ((0.0, 0.1), (0.0, 1.0)),
    "wide in narrow": ((0.5, 2.0), (0.0, 1.0)),
    "both moved": ((-1.0, 0.7), (2.0, 1.5)),
}


@pytest.mark.parametrize(("q", "p"), PAIRS.values(), ids=PAIRS)
def test_the_kl_of_two_normals_is_what_monte_carlo_says(q, p):
    q_, p_ = normal([q[0]] * 3, [q[1]] * 3), normal([p[0]] * 3, [p[1]] * 3)
    z = sample(q_, jax.random.key(6), (N_DRAWS,))
    closed = float(kl(q_, p_, z)[0])
    each = np.asarray(log_prob(q_, z), np.float64) - np.asarray(log_prob(p_, z), np.float64)
    assert abs(each.mean() - closed) < STANDARD_ERRORS * each.std() / math.sqrt(each.size)


@pytest.mark.parametrize(("q", "p"), PAIRS.values(), ids=PAIRS)
def test_the_kl_of_two_normals_is_the_textbooks(q, p):
    closed = float(kl(normal([q[0]], [q[1]]), normal([p[0]], [p[1]]), jnp.zeros(1))[0])
    textbook = math.log(p[1] / q[1]) + (q[1] ** 2 + (q[0] - p[0]) ** 2) / (2 * p[1] ** 2) - 0.5
    assert math.isclose(closed, textbook, rel_tol=1e-5)


@reproducible
@given(finite, scales, finite, scales)
def test_the_kl_of_two_normals_is_never_negative(m, s, n, t):
    closed = float(kl(normal([m], [s]), normal([n], [t]), jnp.zeros(1))[0])
    assert closed >= -1e-6


@reproducible
@given(finite, scales)
def test_the_kl_of_a_normal_from_itself_is_exactly_zero(m, s):
    assert float(kl(normal([m], [s]), normal([m], [s]), jnp.zeros(1))[0]) == 0.0


@reproducible
@given(finite, scales, st.floats(0.25, 2), st.booleans())
def test_the_kl_of_two_different_normals_is_positive(m, s, by, move):
    other = normal([m + by * s], [s]) if move else normal([m], [s * (1 + by)])
    assert float(kl(normal([m], [s]), other, jnp.zeros(1))[0]) > 1e-3


def test_the_kl_is_per_coordinate():
    q = normal([0.0, 1.0], [1.0, 1.0])
    np.testing.assert_allclose(kl(q, normal([0.0, 0.0], [1.0, 1.0]), jnp.zeros(2)), [0.0, 0.5], rtol=1e-6)


def test_without_a_closed_form_the_kl_is_estimated_at_the_given_draws():
    q, p = Laplace(jnp.zeros(3), jnp.ones(3)), normal([0.0] * 3, [1.0] * 3)
    z = sample(q, jax.random.key(8), (N_DRAWS,))
    each = np.asarray(kl(q, p, z), np.float64)
    assert each.shape == (N_DRAWS, 3)
    np.testing.assert_allclose(each, log_prob(q, z) - log_prob(p, z), rtol=1e-5, atol=1e-6)
    exact = 0.5 * math.log(2 * math.pi) + 1.0 - (1 + math.log(2))  # E[z²]/2 = 1 for Laplace(0, 1)
    assert np.all(np.abs(each.mean(axis=0) - exact) < STANDARD_ERRORS * each.std(axis=0) / math.sqrt(N_DRAWS))


# -- two rates --------------------------------------------------------------------------------------------------------

RATES = [1e-4, 0.05, 0.3, 0.5, 0.9, 0.999]


def test_kl_bernoulli_is_scipys():
    rho, rho_hat = np.meshgrid(RATES, RATES)
    theirs = special.rel_entr(rho, rho_hat) + special.rel_entr(1 - rho, 1 - rho_hat)
    with jax.enable_x64(True):
        ours = np.asarray(jax.jit(kl_bernoulli)(rho, rho_hat))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert np.all(ours >= 0)
    np.testing.assert_array_equal(ours < 1e-12, rho == rho_hat)
    single = jax.jit(kl_bernoulli)(rho.astype(np.float32), rho_hat.astype(np.float32))
    np.testing.assert_allclose(single, theirs, rtol=1e-3, atol=1e-5)


def test_kl_bernoullis_gradient_is_that_of_finite_differences():
    rho, rho_hat = np.meshgrid([0.05, 0.5, 0.9], [0.01, 0.3, 0.8])
    step = 1e-6
    with jax.enable_x64(True):
        exact = np.asarray(jax.jit(jax.grad(lambda r: kl_bernoulli(jnp.asarray(rho), r).sum()))(rho_hat))
        after, before = (np.asarray(jax.jit(kl_bernoulli)(rho, rho_hat + by)) for by in (step, -step))
    np.testing.assert_allclose(exact, (after - before) / (2 * step), rtol=1e-6)
    np.testing.assert_allclose(exact, -rho / rho_hat + (1 - rho) / (1 - rho_hat), rtol=1e-9)
