"""Rows that the tests of the formula share."""

import jax.numpy as jnp
import numpy as np
import pytest

from formula import SIGMA, B, D, K, N, W


@pytest.fixture(scope="module")
def x():
    return jnp.asarray(np.random.default_rng(1).uniform(0.05, 0.95, (N, D)), jnp.float32)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(6)
    return rng.normal(size=(N, K)) @ W + B + SIGMA * rng.normal(size=(N, D))
