"""The deviance of counts, over 12 decades, against 45 digits."""

from decimal import Decimal, getcontext

import jax.numpy as jnp
import numpy as np
import pytest

import diabolo
from diabolo.core.distributions import NegativeBinomial
from formula import deviance


def exact(x, m, r):
    getcontext().prec = 45
    x, m, r = (Decimal(float(value)) for value in (x, m, r))
    own = x * (x / m).ln() if x > 0 else Decimal(0)
    return float(2 * (own - (x + r) * ((x + r) / (m + r)).ln()))


def drawn(n, seed):
    """Counts from 0 to 10¹², means near them and far, concentrations from 10⁻³ to 10⁶; all as 32 bits have them."""
    rng = np.random.default_rng(seed)
    x = np.rint(10 ** rng.uniform(0, 12, n)).astype(np.float32)
    x[::10] = 0
    near = 1 + rng.choice([-1, 1], n) * 10 ** rng.uniform(-5, -0.5, n)
    ratio = np.where(rng.random(n) < 0.5, near, 10 ** rng.uniform(-8, 8, n))
    log_mean = np.log(np.maximum(x, 1) * ratio).astype(np.float32)
    return x, log_mean, (10 ** rng.uniform(-3, 6, n)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_the_deviance_of_counts_is_right_over_twelve_decades(seed):
    x, log_mean, r = drawn(300, seed)
    found = np.asarray(deviance(NegativeBinomial(jnp.asarray(log_mean), jnp.asarray(r)), x))
    mean = np.asarray(jnp.exp(jnp.asarray(log_mean)), np.float64)
    expected = np.array([exact(*of) for of in zip(x, mean, r, strict=True)])
    nudged = np.array([exact(a, b * (1 + 2e-7), c) for a, b, c in zip(x, mean, r, strict=True)])
    assert (np.abs(found - expected) <= 1e-5 * expected + 3 * np.abs(nudged - expected) + 1e-6).all()
    assert (found >= 0).all()


def test_the_issue_s_number():
    p = NegativeBinomial(jnp.asarray([np.log(1.05e7)]), jnp.asarray([1.0]))
    assert float(deviance(p, jnp.asarray([1e7]))[0]) == pytest.approx(exact(1e7, 1.05e7, 1), rel=1e-3)


def test_the_deviance_is_never_nan():
    values = np.array([0, 1, 7, 1e6, 1e12, 1e30, 3e38], np.float32)
    logs = np.array([-200, -80, -5, 0, 5, 40, 88, 500], np.float32)
    scales = np.array([1e-3, 1, 1e6, 1e12], np.float32)
    x, log_mean, r = (jnp.asarray(one.ravel()) for one in np.meshgrid(values, logs, scales))
    found = np.asarray(deviance(NegativeBinomial(log_mean, r), x))
    assert not np.isnan(found).any()
    assert (found >= 0).all()
    assert deviance(NegativeBinomial(jnp.zeros(1), jnp.ones(1)), -np.ones(1, np.float32))[0] == np.inf


def test_it_is_0_at_the_mean():
    x = jnp.asarray(np.array([1, 10, 1e3, 1e6, 1e9, 1e12], np.float32))
    for r in (1e-3, 1.0, 1e6):
        found = np.asarray(deviance(NegativeBinomial(jnp.log(x), jnp.full(6, r)), x))
        assert (found <= 1e-5 * max(1.0, r)).all()


def test_a_detector_of_large_counts_gives_numbers_and_finds_a_planted_anomaly():
    import pyarrow as pa

    rng = np.random.default_rng(0)
    size = rng.lognormal(10, 1, 300)
    table = {"visits": rng.poisson(size), "sales": rng.poisson(3 * size), "x": rng.normal(size=300)}
    detector = diabolo.AnomalyDetector("single", random_state=0).fit(pa.table(table))
    odd = {name: cells.copy() for name, cells in table.items()}
    odd["sales"][5] = odd["sales"][5] * 1000
    scores = detector.score_samples(pa.table(odd))
    assert np.isfinite(detector.score_samples(pa.table(table))).all()
    assert np.isfinite(scores).all()
    assert scores.argmin() == 5
