"""Anomaly detection: a false-alarm rate that is kept, scores that repeat, reasons that add up, in any table."""

import copy
import io
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import ShuffleSplit, StratifiedKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import diabolo
from diabolo import AnomalyDetector, BasicAutoencoder, VariationalAutoencoder
from diabolo.data import blocks
from diabolo.errors import ArtifactError
from diabolo.estimators import detector_fit

ALL_STEPS = detector_fit._STEPS
FEW = ("-s", "estimator=single", "-s", "calibration=0.2")
UNTRAINED = BasicAutoencoder(n_latent=1, max_epochs=0, validation_fraction=None)
"""What holds for any network holds for one that has learned nothing, and such a one is made in no time."""


def normal_rows(n, d=4, seed=0):
    """Rows of a plane, and noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ np.random.default_rng(0).normal(size=(2, d)) + 0.1 * rng.normal(size=(n, d))


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """A quarter of a network's training: enough for rows as simple as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_fit, "_STEPS", 75)
        yield


@pytest.fixture(scope="module")
def trained():
    return AnomalyDetector(random_state=0).fit(normal_rows(600))


@pytest.fixture(scope="module")
def wine():
    """A table with words, yes and no, dates and an empty cell."""
    frame = load_wine(as_frame=True).data.iloc[:, :4].copy()
    frame["origin"] = np.array(["north", "south", "west"])[load_wine().target]
    frame["sweet"] = frame["alcohol"] > 13
    frame["bottled"] = pd.Timestamp("2001-01-01") + pd.to_timedelta(np.arange(len(frame)) * 7 % 100, unit="D")
    frame.loc[3, "ash"] = np.nan
    return frame


@pytest.fixture(scope="module")
def of_wine(wine):
    return AnomalyDetector("single", random_state=0).fit(wine)


@parametrize_with_checks([AnomalyDetector(UNTRAINED, false_alarm_rate=0.2, calibration=0.3)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# -- the rate ---------------------------------------------------------------------------------------------------------


def alarms(n, calibration, *rates, fresh=50, repeats=200):
    """Of fresh ordinary rows, how many are flagged at each rate, for each of many draws of all rows."""
    found = []
    for seed in range(repeats):
        rows = normal_rows(n + fresh, seed=seed)
        detector = AnomalyDetector(UNTRAINED, false_alarm_rate=0.1, calibration=calibration, random_state=seed)
        detector.fit(rows[:n])
        found.append([(detector.set_params(false_alarm_rate=r).predict(rows[n:]) == -1).sum() for r in rates])
    return np.array(found).T, fresh


def test_a_share_held_out_keeps_the_rate_exactly():
    rates = 0.1, 0.04
    found, fresh = alarms(100, 0.5, *rates)
    for n_flagged, rate in zip(found, rates, strict=True):
        k, n_judging = int(rate * 51), 50
        one = stats.betabinom(fresh, k, n_judging + 1 - k)  # given the rows to compare with, binomial; over them, this
        assert one.mean() / fresh == pytest.approx(k / 51)
        assert k / 51 <= rate
        assert abs(n_flagged.mean() - one.mean()) < 3 * one.std() / np.sqrt(len(n_flagged))


def test_folds_keep_the_rate():
    (n_flagged,), fresh = alarms(60, 3, 0.1, repeats=100)
    spread = np.sqrt(stats.betabinom(fresh, 6, 55).var() / len(n_flagged))
    assert 0.03 < n_flagged.mean() / fresh < 0.1 + 3 * spread / fresh


def test_the_networks_themselves_keep_the_rate(trained):
    fresh = normal_rows(2000, seed=1)
    detector = copy.copy(trained).set_params(false_alarm_rate=0.05)
    n_flagged = (detector.predict(fresh) == -1).sum()
    k = int(0.05 * 121)
    low, high = stats.betabinom(len(fresh), k, 121 - k).ppf([0.001, 0.999])
    assert low <= n_flagged <= high


def test_p_values_of_ordinary_rows_are_uniform(trained):
    p = trained.p_values(normal_rows(2000, seed=1))
    n = len(trained.calibration_scores_)
    assert p.min() > 0
    assert p.max() <= 1
    assert np.allclose(p * (n + 1), np.round(p * (n + 1)))
    assert stats.kstest(p, "uniform").statistic < 1.63 * np.sqrt(1 / n + 1 / 2000)  # 1 % of a two-sample test


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_a_row_is_flagged_if_and_only_if_its_p_value_is_small(trained, rate):
    rows = np.vstack([normal_rows(300, seed=1), normal_rows(50, seed=2) + np.linspace(0, 2, 50)[:, None]])
    detector = copy.copy(trained).set_params(false_alarm_rate=rate)
    flagged = detector.predict(rows) == -1
    assert flagged.any()
    np.testing.assert_array_equal(flagged, detector.p_values(rows) <= rate)
    np.testing.assert_array_equal(flagged, detector.decision_function(rows) < 0)
    np.testing.assert_array_equal(detector.score_samples(rows), trained.score_samples(rows))


def test_rows_too_few_for_the_rate_are_told_and_nothing_is_flagged():
    with pytest.warns(UserWarning, match=r"20 .*0\.048"):
        detector = AnomalyDetector(UNTRAINED, false_alarm_rate=0.01, calibration=0.2, random_state=0).fit(
            normal_rows(100)
        )
    for rows in (normal_rows(100), 1e6 * normal_rows(5), 1e37 * normal_rows(5)):
        assert (detector.predict(rows) == 1).all()
        assert np.isfinite(detector.decision_function(rows)).all()
        assert detector.offset_ < detector.score_samples(rows).min()


def test_rows_too_few_for_the_rate_can_still_be_ranked():
    rows, labels = np.vstack([normal_rows(60), 5 + normal_rows(12)]), np.repeat([1, -1], [60, 12])
    with warnings.catch_warnings(action="ignore"):
        detector = AnomalyDetector(UNTRAINED, false_alarm_rate=0.001, random_state=0)
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
        ranked = cross_val_score(detector, rows, labels, cv=folds, scoring="roc_auc")
        detector.fit(rows)
    assert np.isfinite(ranked).all()
    order = np.argsort(detector.score_samples(rows))
    np.testing.assert_array_equal(order, np.argsort(detector.decision_function(rows)))


def test_rows_that_were_seen_before_are_no_stranger_than_themselves():
    rows = np.repeat(normal_rows(20), 10, axis=0)  # each ten times: most of the rows kept apart were learned from, too
    detector = AnomalyDetector(UNTRAINED, false_alarm_rate=0.1, calibration=0.2, random_state=0).fit(rows)
    fresh = np.vstack([rows[::10], rows[::10][::-1]])  # alone and in another order
    each = np.array([detector.p_values(row[None])[0] for row in fresh])
    np.testing.assert_array_equal(detector.p_values(fresh), each)
    worst = fresh[[np.argmin(each)]]
    assert detector.p_values(worst)[0] == pytest.approx((1 + (rows == worst).all(axis=1)[_kept_apart(rows)].sum()) / 41)


def _kept_apart(rows):
    """Which rows a detector with random_state=0 and a fifth kept apart does not learn from."""
    seed = np.random.RandomState(0).randint(2**30)
    return next(ShuffleSplit(1, test_size=0.2, random_state=int(seed)).split(rows))[1]


@pytest.mark.parametrize(("n_rows", "n_folds", "n_judging"), [(120, 3, 120), (500, 1, 100)])
def test_few_rows_are_all_used_to_judge_by(n_rows, n_folds, n_judging):
    detector = AnomalyDetector(UNTRAINED, random_state=0).fit(normal_rows(n_rows))
    assert (len(detector.estimators_), len(detector.calibration_scores_)) == (n_folds, n_judging)


# -- the scores -------------------------------------------------------------------------------------------------------


def test_rows_off_the_plane_are_strange(trained):
    inside, outside = normal_rows(300, seed=1), normal_rows(300, seed=2)
    outside[:, 1] += np.where(np.arange(300) % 2, 1.5, -1.5)
    scores = -trained.score_samples(np.vstack([inside, outside]))
    assert roc_auc_score(np.repeat([0, 1], 300), scores) > 0.97
    assert 0.5 < np.median(scores[:300]) < 1.5
    assert (scores >= 0).all()


def test_an_unknown_digit_is_strange():
    X, y = load_digits(return_X_y=True)
    known = y != 8
    detector = AnomalyDetector(random_state=0).fit(X[known][:1200])
    rest = np.vstack([X[known][1200:], X[~known]])
    auroc = roc_auc_score(np.repeat([0, 1], [known.sum() - 1200, (~known).sum()]), -detector.score_samples(rest))
    assert auroc > 0.75


def test_two_fits_with_one_seed_agree_to_the_bit(trained):
    rows = normal_rows(50, seed=3)
    again = AnomalyDetector(random_state=0).fit(normal_rows(600))
    np.testing.assert_array_equal(trained.score_samples(rows), again.score_samples(rows))
    np.testing.assert_array_equal(trained.calibration_scores_, again.calibration_scores_)
    other = AnomalyDetector(random_state=1).fit(normal_rows(600))
    assert (trained.score_samples(rows) != other.score_samples(rows)).any()


def test_a_rows_score_depends_on_no_other_row(trained):
    rows = normal_rows(40, seed=4)
    together = trained.score_samples(rows)
    alone = np.concatenate([trained.score_samples(row[None]) for row in rows])
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_units_do_not_matter():
    rows, fresh = normal_rows(600), normal_rows(50, seed=1)
    units, zero = np.array([1e-3, 1.0, 1e3, 50.0]), np.array([0.0, 5.0, -1e4, 7.0])
    plain = AnomalyDetector("single", random_state=0).fit(rows).score_samples(fresh)
    other = AnomalyDetector("single", random_state=0).fit(rows * units + zero).score_samples(fresh * units + zero)
    np.testing.assert_allclose(plain, other, rtol=1e-3)


def test_a_constant_column_says_nothing_until_it_changes(monkeypatch):
    monkeypatch.setattr(detector_fit, "_STEPS", ALL_STEPS)
    rows = np.hstack([normal_rows(600), np.full((600, 1), 3.0)])
    detector = AnomalyDetector("single", random_state=0).fit(rows)
    why = detector.explain(np.vstack([rows[:20], rows[:20] + np.array([0, 0, 0, 0, 5.0])]))
    assert why.contributions[:20, 4].max() < 0.2 * why.scores[:20].min()
    assert (why.top_features(1)[20:, 0] == 4).all()


def test_columns_in_a_common_unit_are_weighed_as_they_are():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 4)) * [1, 1, 1, 0.01]
    shifted = rows[:100] + np.array([0, 0, 0, 0.1])  # ten standard deviations of a column that hardly varies
    each = AnomalyDetector("single", random_state=0).fit(rows)
    common = AnomalyDetector("single", scaling=None, random_state=0).fit(rows)
    assert (each.predict(shifted) == -1).mean() > 0.9
    assert (common.predict(shifted) == -1).mean() < 0.1


@pytest.mark.parametrize(
    "estimator", [BasicAutoencoder(n_latent=2, max_epochs=20), VariationalAutoencoder(n_latent=2, max_epochs=0)]
)
def test_any_autoencoder_will_do(estimator):
    detector = AnomalyDetector(estimator, false_alarm_rate=0.05, random_state=0).fit(normal_rows(600))
    assert type(detector.estimators_[0][0]) is type(estimator)
    assert not hasattr(estimator, "model_")
    outside = normal_rows(300, seed=2) + np.array([3.0, -3.0, 3.0, -3.0])
    assert (detector.predict(outside) == -1).mean() > 0.5


# -- reasons ----------------------------------------------------------------------------------------------------------


def test_contributions_add_up_to_the_score(trained, of_wine, wine):
    for detector, rows in ((trained, normal_rows(40, seed=5)), (of_wine, wine)):
        why = detector.explain(rows)
        np.testing.assert_allclose(why.contributions.sum(axis=1), why.scores, rtol=1e-6)
        np.testing.assert_allclose(why.scores, -detector.score_samples(rows), rtol=1e-6)
        assert (why.contributions >= 0).all()


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("value", [10.0, -1e6])
def test_the_cell_that_was_changed_is_named_and_what_was_expected_is_near_what_it_was(trained, column, value):
    rows = normal_rows(20, seed=6)
    changed = rows.copy()
    changed[:, column] = value
    why = trained.explain(changed)
    assert (why.top_features()[:, 0] == column).all()
    np.testing.assert_array_equal(why.observed, changed)
    others = [i for i in range(4) if i != column]
    assert np.abs(why.expected[:, others] - rows[:, others]).max() < 4 * rows.std()
    assert abs(why.expected[:, column]).max() < abs(value)


def test_a_table_is_explained_in_its_own_words(of_wine, wine):
    strange = wine.iloc[:6].copy()
    strange.loc[0, "alcohol"] = 60.0
    strange.loc[1, "origin"] = "moon"
    strange.loc[2, "bottled"] = pd.Timestamp("2090-01-01")
    why = of_wine.explain(strange)
    assert why.columns == tuple(wine.columns)
    assert why.top_features(1)[:3, 0].tolist() == ["alcohol", "origin", "bottled"]
    assert of_wine.predict(strange)[:3].tolist() == [-1, -1, -1]
    assert list(why.expected.columns) == list(wine.columns)
    assert set(why.expected["origin"]) <= {"north", "south", "west"}
    assert why.expected["alcohol"].between(11, 15).all()


# -- rows of every kind -----------------------------------------------------------------------------------------------


def test_missing_cells_are_left_out(wine, of_wine):
    emptier = wine.copy()
    emptier.loc[10:20, "malic_acid"] = np.nan
    assert np.isfinite(of_wine.score_samples(emptier)).all()
    holes = normal_rows(300)
    holes[0, 0] = np.nan  # in one fold, and not in the others
    detector = AnomalyDetector("single", calibration=3, random_state=0).fit(holes)
    assert np.isfinite(detector.score_samples(holes)).all()
    with pytest.raises(ValueError, match="missing cells"):
        AnomalyDetector(UNTRAINED, false_alarm_rate=0.2, random_state=0).fit(normal_rows(50)).score_samples(holes)


def test_rows_larger_than_memory_are_drawn_from_to_learn_and_all_scored(monkeypatch, tmp_path):
    rows = normal_rows(4000).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 11)
    monkeypatch.setattr("diabolo.estimators.ensemble.CHUNK_BYTES", 1 << 14)
    detector = AnomalyDetector(UNTRAINED, false_alarm_rate=0.05, random_state=0).fit(str(tmp_path / "rows.npy"))
    assert detector.n_samples_ == 4000
    assert len(detector.calibration_scores_) == 205  # a fifth of the 1,024 that 16 kB hold
    np.testing.assert_allclose(detector.score_samples(str(tmp_path / "rows.npy")), detector.score_samples(rows), 1e-6)


@pytest.mark.parametrize("width", [3, 16, 17, pytest.param(70, marks=pytest.mark.slow)])
def test_tables_of_any_width_are_scored(width):
    rows = np.random.default_rng(0).normal(size=(200, width))
    detector = AnomalyDetector("single", false_alarm_rate=0.2, random_state=0).fit(rows)
    assert detector.explain(rows[:5]).contributions.shape == (5, width)
    assert (detector.predict(rows + 20) == -1).all()


# -- keeping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["trained", "of_wine"])
def test_a_saved_detector_says_the_same_to_the_bit(which, request, tmp_path, wine):
    detector = request.getfixturevalue(which)
    rows = wine if which == "of_wine" else normal_rows(20, seed=7)
    detector.save(tmp_path / "saved")
    again = diabolo.load(tmp_path / "saved")
    assert again.get_params() == detector.get_params()
    np.testing.assert_array_equal(again.p_values(rows), detector.p_values(rows))
    np.testing.assert_array_equal(again.score_samples(rows), detector.score_samples(rows))
    np.testing.assert_array_equal(again.explain(rows).contributions, detector.explain(rows).contributions)


def test_a_detector_with_an_estimator_of_its_own_is_saved_with_it(tmp_path):
    detector = AnomalyDetector(UNTRAINED, false_alarm_rate=0.2, random_state=0).fit(normal_rows(50))
    detector.save(tmp_path / "saved")
    again = diabolo.load(tmp_path / "saved")
    assert again.estimator.get_params() == UNTRAINED.get_params()
    np.testing.assert_array_equal(again.score_samples(normal_rows(9)), detector.score_samples(normal_rows(9)))


def test_a_damaged_detector_is_refused(tmp_path):
    AnomalyDetector(UNTRAINED, false_alarm_rate=0.2, random_state=0).fit(normal_rows(50)).save(tmp_path / "saved")
    file = tmp_path / "saved" / "model.json"
    file.write_text(file.read_text().replace('"groups"', '"grups"'))
    with pytest.raises(ArtifactError, match="groups"):
        diabolo.load(tmp_path / "saved")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimator": "both"}, "estimator"),
        ({"false_alarm_rate": 0.0}, "false_alarm_rate"),
        ({"calibration": 1}, "calibration"),
        ({"calibration": 1.5}, "calibration"),
        ({"scaling": "max"}, "scaling"),
    ],
)
def test_parameters_out_of_range_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        AnomalyDetector(**parameters).fit(normal_rows(50))


def test_a_clone_is_unfitted_and_equal():
    detector = AnomalyDetector(UNTRAINED, false_alarm_rate=0.2, random_state=0)
    assert clone(detector).get_params().keys() == detector.get_params().keys()
    assert repr(clone(detector)) == repr(detector)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_flags_and_says_why(tmp_path, wine, run):
    wine.to_csv(tmp_path / "wine.csv", index=False)
    strange = wine.copy()
    strange.loc[5, "ash"] = 40.0
    strange.to_csv(tmp_path / "new.csv", index=False)
    status, out, _ = run("fit", tmp_path / "wine.csv", "--model", "anomaly", "-o", tmp_path / "saved")
    assert status == 0
    assert "178" in out
    assert run("info", tmp_path / "saved")[1].count("DenoisingAutoencoder") == 1
    status, out, _ = run("detect", tmp_path / "saved", tmp_path / "new.csv")
    found = pd.read_csv(io.StringIO(out))
    assert (status, len(found), list(found.columns[:4])) == (0, 178, ["row", "score", "p_value", "flagged"])
    assert found.loc[5, ["row", "flagged", "column_1"]].tolist() == [6, True, "ash"]
    assert (found["flagged"] == (found["p_value"] <= 0.01)).all()
    words = ("--only-flagged", "--false-alarm-rate", "0.2", "-o", tmp_path / "few.parquet")
    assert run("detect", tmp_path / "saved", tmp_path / "new.csv", *words)[0] == 0
    few = pd.read_parquet(tmp_path / "few.parquet")
    assert few["flagged"].all()
    assert len(few) == (found["p_value"] <= 0.2).sum() > found["flagged"].sum()


@pytest.mark.filterwarnings("always:Only 10")
def test_each_command_refuses_a_run_of_the_other_kind(tmp_path, run):
    rows = normal_rows(50)
    np.save(tmp_path / "rows.npy", rows)
    with warnings.catch_warnings(action="ignore"):
        AnomalyDetector(UNTRAINED, random_state=0).fit(rows).save(tmp_path / "detector")
    clone(UNTRAINED).fit(rows).save(tmp_path / "basic")
    for verb in ("score", "transform", "reconstruct", "impute"):
        status, _, err = run(verb, tmp_path / "detector", tmp_path / "rows.npy")
        assert (status, "diabolo detect" in err) == (2, True)
    status, _, err = run("fit", tmp_path / "rows.npy", "-m", "anomaly", "-o", tmp_path / "few", *FEW)
    assert (status, "10" in err, err.count("\n")) == (0, True, 1)
    status, _, err = run("detect", tmp_path / "basic", tmp_path / "rows.npy")
    assert (status, "--model anomaly" in err) == (2, True)
    words = ("--false-alarm-rate", "2")
    assert run("detect", tmp_path / "detector", tmp_path / "rows.npy", *words)[0] == 2
    assert run("fit", tmp_path / "rows.npy", "-m", "anomaly", "-o", tmp_path / "x", "--resume")[0] == 2
