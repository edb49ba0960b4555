"""The views of a detector: each against a computation by hand, and what they see together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

import diabolo
from diabolo import AnomalyDetector
from diabolo.estimators import detector_fit, scores
from diabolo.estimators.views import VIEWS, Tail, Views, units_of, usual_rows

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 4)) @ RNG.normal(size=(4, 4)) + 5
STRANGE = VIEWS[1:]


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """A quarter of a network's training: what is tried here is what is seen besides it, and the rate of any network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_fit, "_STEPS", 75)
        yield


def views_of(rows, usual=None):
    usual = np.ones(len(rows), bool) if usual is None else usual
    return Views.fit(rows, usual, units_of(rows, "auto", None), np.random.default_rng(1))


def test_the_nearest_row_is_another_row_also_for_a_training_row():
    views = views_of(ROWS)
    standard = np.arcsinh((ROWS - views.center) / views.unit)
    distances = np.linalg.norm(standard[:, None] - standard[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert_allclose(np.exp(views.strangeness(ROWS)[:, 0]), distances.min(axis=1), rtol=1e-4)
    new = ROWS + 0.1
    distances = np.linalg.norm(np.arcsinh((new - views.center) / views.unit)[:, None] - standard[None], axis=2)
    assert_allclose(np.exp(views.strangeness(new)[:, 0]), distances.min(axis=1), rtol=1e-4)


def test_repeated_rows_are_not_strange():
    views = views_of(np.repeat(ROWS[:20], 5, axis=0))
    assert (views.strangeness(ROWS[:20])[:, 0] < views.strangeness(ROWS[20:])[:, 0].min() - 3).all()


def test_distances_with_missing_cells_are_of_the_known_cells():
    rows = ROWS.copy()
    rows[::3, 1] = np.nan
    views = views_of(rows)
    new = np.array([[5.0, np.nan, 4.0, 6.0], [5.0, 3.0, np.nan, np.nan]])
    standard, memory = np.arcsinh((new - views.center) / views.unit), views.memory.astype(float)
    off = (standard[:, None] - memory[None]) ** 2
    by_hand = np.sqrt(np.nanmean(off, axis=2) * 4).min(axis=1)
    assert_allclose(np.exp(views.strangeness(new)[:, 0]), by_hand, rtol=1e-4)
    assert np.isfinite(views.strangeness(np.full((1, 4), np.nan))).all()


def test_a_cell_is_compared_with_its_regression_on_the_others():
    views = views_of(ROWS)
    standard = (ROWS - views.center) / views.unit
    ridge = 0.01 * standard.var(axis=0).mean()
    for j in range(4):
        target, others = standard[:, j], np.delete(standard, j, axis=1)
        gram = np.cov(standard.T) + ridge * np.eye(4)
        slopes = np.linalg.solve(np.delete(np.delete(gram, j, 0), j, 1), np.delete(gram[:, j], j))
        residual = np.abs(target - target.mean() - (others - others.mean(axis=0)) @ slopes)
        assert_allclose(views.cells(standard)[:, j], residual / np.median(residual), rtol=0.01, atol=0.01)


def test_the_covariance_gives_the_mahalanobis_distance():
    views = views_of(ROWS)
    standard = (ROWS - views.center) / views.unit
    off = standard - standard.mean(axis=0)
    by_hand = np.sqrt(np.einsum("ij,jk,ik->i", off, np.linalg.inv(np.cov(standard.T)), off))
    assert_allclose(np.exp(views.strangeness(ROWS)[:, STRANGE.index("covariance")]), by_hand, rtol=1e-3)


def test_the_shares_of_every_view_sum_to_one():
    rows = ROWS.copy()
    rows[0, 0] = np.nan
    shares = views_of(rows).shares(rows[:10])
    assert shares.shape == (len(STRANGE), 10, 4)
    assert_allclose(shares.sum(axis=2), 1)
    assert (shares[:, 0, 0] == 0).all()


@pytest.mark.parametrize("contaminated", [False, True])
def test_a_tail_tells_how_often_a_value_is_reached(contaminated):
    values = np.log(RNG.pareto(2, 4000) + 1)  # P(value > v) = exp(−2v)
    tail = Tail.fit(values, contaminated=contaminated)
    at = np.array([0.2, 0.5, 1.0, 2.0, 3.0])
    assert_allclose(scores.surprise(np, at, tail), 2 * at, rtol=0.15)
    ordered = scores.surprise(np, np.linspace(-1, 9, 500), tail)
    assert (np.diff(ordered) >= 0).all()
    assert (np.diff(ordered[250:]) > 0).all()


def test_the_highest_values_hardly_change_the_tail_of_contaminated_values():
    values = np.log(RNG.pareto(2, 1000) + 1)
    moved = np.where(values > np.quantile(values, 0.96), 10 * values, values)  # fewer than half of the excesses
    tails = [Tail.fit(some, contaminated=True).rate for some in (values, moved)]
    assert_allclose(*tails, rtol=0.1)
    assert Tail.fit(moved).rate < Tail.fit(values).rate / 5


@pytest.mark.parametrize("n_alike", [0, 30, 150])
def test_the_tail_of_contaminated_values_is_never_longer(n_alike):
    values = np.r_[RNG.exponential(size=1000), np.full(n_alike, 9.0) + 0.1 * RNG.normal(size=n_alike)]
    assert Tail.fit(values, contaminated=True).rate >= Tail.fit(values).rate


@pytest.mark.parametrize("contaminated", [False, True])
@pytest.mark.parametrize("values", [np.zeros(50), np.array([1.0, 2.0]), np.r_[np.zeros(49), 1.0]])
def test_a_tail_of_few_distinct_values_is_finite(values, contaminated):
    found = scores.surprise(np, np.array([-5.0, 0.0, 1.0, 50.0]), Tail.fit(values, contaminated=contaminated))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()


def test_surprises_are_combined_as_a_weighted_harmonic_mean_of_frequencies():
    p = np.array([[0.2, 0.01, 1e-30], [0.5, 0.5, 1.0]])
    found = scores.combined(np, list(-np.log(p)), (3.0, 1.0))
    assert_allclose(found, -np.log(4 / (3 / p[0] + 1 / p[1])))


def test_the_usual_rows_leave_out_a_small_group():
    group = RNG.normal(size=(30, 4)) * 0.05 + 12
    usual = usual_rows(np.vstack([ROWS, group]), units_of(ROWS, "auto", None), np.random.default_rng(0))
    assert usual.sum() == int(0.6 * 330)
    assert not usual[300:].any()


# -- what the views see together --------------------------------------------------------------------------------------


def gap(n, d, rng):
    is_high = rng.random(n) < 0.5
    heaps = np.where(is_high, rng.normal(60, 2, n), rng.normal(2, 0.2, n))
    return np.column_stack([heaps, rng.normal(size=(n, d - 1))])


def shell(n, d, rng):
    found = rng.normal(size=(n, d))
    return found / np.linalg.norm(found, axis=1, keepdims=True) * rng.normal(1, 0.05, (n, 1))


@pytest.mark.parametrize("d", [1, 4, 10])
def test_a_reading_between_two_heaps_is_unusual(d):
    rng = np.random.default_rng(d)
    between = np.column_stack([rng.uniform(15, 45, 100), rng.normal(size=(100, d - 1))])
    assert auroc(gap(600, d, rng), gap(100, d, rng), between) >= 0.95


@pytest.mark.parametrize("d", [2, 5, 10])
def test_the_middle_of_a_hollow_shell_is_unusual(d):
    rng = np.random.default_rng(d)
    assert auroc(shell(1000, d, rng), shell(100, d, rng), rng.normal(0, 0.05, (100, d))) >= 0.95


def auroc(rows, normal, anomalous):
    detector = AnomalyDetector("single", random_state=0).fit(rows)
    found = detector.score_samples(np.vstack([normal, anomalous]))
    return roc_auc_score(np.r_[np.ones(len(normal)), np.zeros(len(anomalous))], found)


def test_a_small_group_is_anomalous_if_the_rows_may_be_contaminated():
    group = RNG.normal(size=(12, 4)) * 0.05 + 9
    rows, labels = np.vstack([ROWS, group]), np.r_[np.ones(300), np.zeros(12)]
    both = [AnomalyDetector("single", contaminated=c, random_state=0).fit(rows) for c in (False, True)]
    normal, mixed = (roc_auc_score(labels, one.score_samples(rows)) for one in both)
    assert mixed > 0.99
    assert mixed > normal


@pytest.mark.parametrize("contaminated", [False, True])
def test_the_spoilt_cell_is_named_first(contaminated):
    X = load_breast_cancer().data
    rng = np.random.default_rng(0)
    spoilt, place = X[1::4].copy(), rng.integers(0, 30, len(X[1::4]))
    spoilt[np.arange(len(spoilt)), place] += 6 * X.std(axis=0)[place]
    detector = AnomalyDetector("single", contaminated=contaminated, random_state=0).fit(X[::2])
    why = detector.explain(spoilt)
    assert (why.top_features(1)[:, 0] == place).mean() >= 0.95
    assert_allclose(why.contributions.sum(axis=1), why.scores)


def test_the_false_alarm_rate_holds_with_categories_that_are_new():
    """Of a column with a long tail, a tenth of new rows have a category that no row of the fit has."""

    def rows(rng, n):
        kinds = np.minimum(rng.zipf(1.5, n), 2_000)
        return pd.DataFrame({"x": rng.normal(size=n), "kind": [f"k{kind}" for kind in kinds]})

    rng = np.random.default_rng(2)
    detector = AnomalyDetector(false_alarm_rate=0.05, random_state=0).fit(rows(rng, 600))
    new = rows(rng, 2_000)
    listed = next(column for column in detector.schema_.columns if column.name == "kind").categories
    is_new, flagged = ~new["kind"].isin(listed).to_numpy(), detector.predict(new) == -1
    assert 0.05 < is_new.mean() < 0.25
    assert flagged.mean() < 0.05
    assert flagged[is_new].mean() < 0.2  # which is not an anomaly by itself, where it is usual


@pytest.mark.parametrize("options", [{}, {"contaminated": True}, {"calibration": 0.2}])
def test_the_false_alarm_rate_holds(options):
    rng = np.random.default_rng(3)
    rates = []
    for seed in range(4):
        rows = np.exp(rng.normal(size=(1600, 3)) @ rng.normal(size=(3, 3)) / 2)  # heavy tails
        detector = AnomalyDetector("single", false_alarm_rate=0.05, random_state=seed, **options).fit(rows[:600])
        rates.append((detector.predict(rows[600:]) == -1).mean())
    assert np.mean(rates) < 0.05 + 2 * np.sqrt(0.05 / (0.2 * 600 * 4))  # 120 calibration rows or more, four times


def test_a_saved_detector_scores_alike_and_an_earlier_one_by_its_networks(tmp_path):
    detector = AnomalyDetector("single", contaminated=True, random_state=0).fit(ROWS)
    detector.save(tmp_path / "model")
    loaded = diabolo.load(tmp_path / "model")
    assert (loaded.score_samples(ROWS) == detector.score_samples(ROWS)).all()
    loaded.set_params(contaminated=False)  # is of the next fit
    assert (loaded.score_samples(ROWS) == detector.score_samples(ROWS)).all()
    loaded.tails_ = loaded.views_ = loaded.weights_ = ()  # as of a model saved before 0.2
    networks = scores.mean_score([judge.scores(ROWS) for judge in detector.judges_])
    assert_allclose(-loaded.score_samples(ROWS), networks)
    assert_allclose(loaded.explain(ROWS).scores, networks)
