"""A sample of rows: in order, without repeats, as many as asked; taken from blocks as from an array."""

import numpy as np
import pytest

from diabolo.data.blocks import ArrayReader
from diabolo.data.sampling import sample_positions, take_rows


@pytest.mark.parametrize("most", [1, 7, 50, 51, 900])
def test_positions_ascend_and_are_as_many_as_asked(most):
    chosen = sample_positions(50, most, np.random.default_rng(3))
    assert len(chosen) == min(50, most)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < 50


def test_every_row_is_as_likely():
    rng, counts = np.random.default_rng(0), np.zeros(20)
    for _ in range(4000):
        counts[sample_positions(20, 5, rng)] += 1
    assert np.abs(counts / 4000 - 0.25).max() < 0.03


def test_rows_of_blocks_are_those_of_the_array():
    rows = np.arange(3000.0).reshape(1000, 3)
    store, passed = ArrayReader(rows), []
    chosen = sample_positions(1000, 40, np.random.default_rng(1))
    found = take_rows(store, chosen, lambda some, first: passed.append((first, len(some))))
    np.testing.assert_array_equal(found, rows[chosen])
    assert sum(n for _, n in passed) == 1000
    assert passed[0][0] == 0
