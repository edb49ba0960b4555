"""Calibration on blocks: folds that keep a distance, p-values that are exact where they can be."""

import numpy as np
import pytest

from diabolo.engine.block_calibration import MaximaTail, block_maxima, cluster_maxima, folds_of, tail_length


def tail_of(maxima):
    """The tail of maxima none of which is a neighbour of another."""
    return MaximaTail(maxima, np.sort(maxima)[-tail_length(len(maxima)) :])


def test_folds_cover_all_steps_and_training_windows_keep_their_distance():
    folds = folds_of(1000, 30)
    assert [fold.low for fold in folds] == [0, 200, 400, 600, 800]
    assert folds[-1].high == 1000
    starts = np.arange(971)
    for fold in folds:
        chosen = starts[fold.is_training(starts, 30)]
        steps = chosen[:, None] + np.arange(30)
        assert len(chosen)
        assert not ((steps > fold.low - 30) & (steps < fold.high + 30)).any()
        assert fold.inside(150, 100) == (max(0, fold.low - 150), min(100, fold.high - 150))


@pytest.mark.parametrize(("n", "expected"), [(60, 2), (100, 3), (10_000, 5)])
def test_short_series_have_fewer_folds(n, expected):
    assert len(folds_of(n, 10)) == expected


def test_maxima_are_of_whole_blocks_with_half_of_their_steps_scored():
    scores = np.array([1, 5, 2, np.nan, np.nan, 8, 7, np.nan, 3, 9.0])
    np.testing.assert_array_equal(list(block_maxima(scores, 3)), [5, np.nan, 7])


def test_neighbouring_blocks_in_the_tail_are_one_cluster():
    quiet = np.linspace(1, 2, 20)
    stretches = [np.array([*quiet[:10], 7, 9, 3, 1]), np.array([4, np.nan, 5, *quiet[10:]])]
    assert tail_length(26) == 5
    assert list(cluster_maxima(stretches)) == [9, 4, 5]
    assert len(cluster_maxima([np.ones(9)])) == 0


@pytest.mark.parametrize("n", [2, 3, 12, 40, 400])
@pytest.mark.parametrize("rate", [1e-12, 0.001, 0.01, 0.05, 0.2, 0.5, 0.9])
def test_the_threshold_is_where_the_p_value_falls_to_the_rate(n, rate):
    tail = tail_of(np.random.default_rng(n).lognormal(size=n))
    threshold = tail.threshold(rate)
    around = threshold * np.array([0.5, 1 - 1e-9, 1, 1 + 1e-9, 2])
    if threshold > 1e300:  # no score is as high
        return
    np.testing.assert_array_equal(tail.p_values(around) <= rate, around >= threshold)


def test_p_values_fall_with_the_score_and_stay_positive():
    tail = tail_of(np.random.default_rng(0).lognormal(size=30))
    p = tail.p_values(np.geomspace(1e-300, 1e9, 500))
    assert (np.diff(p) <= 0).all()
    assert p[0] == 1
    assert p[-1] > 0
    assert tail.p_values(np.zeros(1)) == 1


@pytest.mark.parametrize("n", [8, 30, 200])
def test_p_values_of_a_power_law_are_those_asked(n):
    """For maxima with an exponential tail of their logarithms, exactly: also far beyond 1 / (n + 1)."""
    rng = np.random.default_rng(n)
    draws = np.exp(rng.exponential(size=(4000, n + 1)))
    p = np.array([tail_of(row[:-1]).p_values(row[-1:])[0] for row in draws])
    for rate in (0.003, 0.01, 0.05, 0.3):
        assert (p <= rate).mean() <= rate + 3 * np.sqrt(rate / len(p))
        if rate < 0.1:
            assert (p <= rate).mean() >= rate * 0.7 - 3 * np.sqrt(rate / len(p))


def test_p_values_of_lighter_tails_are_too_large_rather_than_too_small():
    draws = 5 + np.random.default_rng(0).normal(size=(4000, 31))
    p = np.array([tail_of(row[:-1]).p_values(row[-1:])[0] for row in draws])
    assert (p <= 0.01).mean() <= 0.012


def test_equal_maxima_flag_nothing_like_them_and_everything_far_above():
    tail = tail_of(np.ones(20))
    assert tail.p_values(np.array([1.0]))[0] == 1
    assert tail.p_values(np.array([1.01]))[0] > 0.05
    assert tail.p_values(np.array([3.0]))[0] < 1e-3
