"""Rows that the tests of the formula share."""

import numpy as np
import pytest

from formula import SIGMA, B, D, K, N, W, array


@pytest.fixture(scope="module")
def x():
    return array(np.random.default_rng(1).uniform(0.05, 0.95, (N, D)))


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(6)
    return rng.normal(size=(N, K)) @ W + B + SIGMA * rng.normal(size=(N, D))
