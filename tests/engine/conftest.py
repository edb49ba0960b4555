"""Rows that the tests of the engine share."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rows(table):
    return ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)


@pytest.fixture(scope="module")
def away(rows):
    """Rows whose last 16 are of another kind than those trained on: training soon hurts."""
    return np.concatenate([rows[:64], -3 * rows[64:] + 2])
