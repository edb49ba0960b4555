"""The benchmarks of jobs: they read what they say they read, and their tables say what was found."""

import json

import numpy as np
import pytest
from benchmarks import anomaly, generation, imputation, retrieval
from benchmarks.series import __main__ as series
from benchmarks.series import nab, vus


@pytest.fixture
def folder(tmp_path):
    """Two sets in ADBench's form, the second of which has no anomaly that anyone could find."""
    rng = np.random.default_rng(0)
    tests = {}
    for number, (name, shift) in enumerate((("far", 9.0), ("near", 0.0)), start=1):
        X, y = rng.normal(size=(220, 3)) * [1, 10, 100], np.repeat([0, 1], [200, 20])
        X[200:] += shift * np.array([1, 10, 100])
        np.savez(tmp_path / f"{number}_{name}.npz", X=X, y=y)
        tests[name] = np.arange(180, 220)
    np.savez(tmp_path / anomaly.SPLIT, **tests)
    np.savez(tmp_path / "3_not_in_the_split.npz", X=X, y=y)
    return tmp_path


def test_the_sets_are_split_and_standardised_by_their_training_rows(folder):
    sets = {name: (train, test, y) for name, train, test, y in anomaly.tables(folder, "split", 0)}
    assert list(sets) == ["far", "near"]
    for train, test, y in sets.values():
        assert (train.shape, test.shape, y.sum()) == ((180, 3), (40, 3), 20)
        np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(train.std(axis=0), 1)


def test_half_of_the_normal_rows_are_learned_from_or_all_rows(folder):
    for _, train, test, y in anomaly.tables(folder, "half", 0):
        assert (len(train), len(test), y.sum()) == (100, 120, 20)
    for _, train, test, y in anomaly.tables(folder, "mixed", 0):
        assert train is test
        assert (len(train), y.sum()) == (220, 20)


@pytest.mark.parametrize(
    ("detector", "protocol"),
    [
        *((one, "split") for one in (anomaly.RIVAL, "isolation forest", "PCA", "local outlier factor", anomaly.FAST)),
        (anomaly.OURS, "half"),
        (anomaly.ROBUST, "mixed"),
        (anomaly.MIXED, "mixed"),
    ],
)
def test_every_detector_finds_what_is_far_and_not_what_is_not_there(detector, protocol, folder):
    found = anomaly.run_one(detector, folder, protocol, 0)
    assert found["auroc"]["far"] > 98
    assert 25 < found["auroc"]["near"] < 75
    assert found["precision"]["far"] > 70
    assert found["seconds"] > 0


def test_the_report_claims_no_more_than_the_sets_allow():
    sets = {f"set {i}": [90.0 + i % 3] for i in range(12)}
    found = {
        "auroc": {anomaly.OURS: {s: [v[0] + 0.5] for s, v in sets.items()}, anomaly.RIVAL: sets},
        "mean average precision": {one: [50.0] for one in (anomaly.OURS, anomaly.RIVAL, anomaly.TIMED, anomaly.MIXED)},
        "seconds": {anomaly.OURS: [8.0], anomaly.RIVAL: [1.0], anomaly.TIMED: [16.0], anomaly.MIXED: [9.0]},
        "seconds, programs compiled before": [2.0],
        "ECG5000": [0.99, 0.97],
    }
    found["auroc"] |= {anomaly.TIMED: sets, anomaly.MIXED: sets}
    text = anomaly.report(found)
    assert "+0.50 points, 95 % interval +0.50 to +0.50 over sets, better on 12 of 12" in text
    assert "(0.50 of it), 2.0 with compiled programs at hand (0.12)" in text
    assert "ECG5000, AUROC: 0.9800 (0.9900, 0.9700)" in text
    assert text.splitlines()[-1] == "diabolo mean AUROC 91.5"
    rng = np.random.default_rng(0)
    found["auroc"][anomaly.OURS] = {s: [v[0] + rng.normal()] for s, v in sets.items()}
    gap = anomaly.against(found, anomaly.OURS, anomaly.RIVAL)
    assert gap["low"] < 0 < gap["high"]
    assert gap["p"] > 0.05


# -- filling cells ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    """A table in the form of each: two columns that follow a third, and labels where there are some."""
    rng = np.random.default_rng(0)
    for protocol in imputation.TABLES.values():
        factor = rng.normal(size=(60, 1))
        rows = np.hstack([factor, 3 * factor + 5, -factor, rng.integers(2, size=(60, protocol.n_last))])
        header = ",".join(f"c{i}" for i in range(rows.shape[1]))
        np.savetxt(tmp_path / protocol.file, rows, delimiter=",", header=header, comments="")
    return tmp_path


@pytest.mark.parametrize("name", imputation.TABLES)
def test_a_share_of_the_cells_is_taken_out_of_tables_in_the_units_they_are_judged_in(name, tables):
    protocol, (whole, holes) = imputation.TABLES[name], imputation.task(tables, name, 0)
    assert whole.shape == (60, 3)
    assert abs(np.isnan(holes).mean() - protocol.share) < 0.15
    np.testing.assert_array_equal(holes[~np.isnan(holes)], whole[~np.isnan(holes)])
    if protocol.onto_unit:
        np.testing.assert_allclose((whole.min(axis=0), whole.max(axis=0)), ([0] * 3, [1] * 3), atol=1e-5)
    else:
        np.testing.assert_allclose((whole.mean(axis=0), whole.std(axis=0)), ([0] * 3, [1] * 3), atol=1e-12)


@pytest.mark.parametrize("method", [imputation.OURS, "mean", "KNN", "IterativeImputer"])
def test_every_imputer_is_judged_by_the_cells_that_were_taken_out(method, tables, monkeypatch):
    monkeypatch.setattr("diabolo.estimators.imputer._STEPS", (300, 300))
    found = imputation.measure(tables, "banknote", 0, method)
    assert found["seconds"] > 0
    assert (0.8 < found["error"] < 1.2) if method == "mean" else (found["error"] < 0.7)
    assert ("coverage" in found) == (method == imputation.OURS)


def test_the_report_of_imputers_compares_with_the_best_other():
    def runs(*errors):
        return [{"error": error, "seconds": 1.0, "coverage": 0.9} for error in errors]

    found = {"banknote": {imputation.OURS: runs(0.2, 0.4), "mean": runs(1.0, 1.0), "KNN": runs(0.5, 0.7)}}
    text = imputation.report(found)
    assert "0.3000 ± 0.1414" in text
    assert text.splitlines()[-1].split()[-1] == "0.500"
    assert "90.0%" in text


# -- searching --------------------------------------------------------------------------------------------------------


def test_precision_is_the_share_of_neighbours_of_the_same_class():
    known = np.arange(40.0)[:, None]
    classes = np.repeat([0, 1], 20)
    assert retrieval.precision(known, classes, np.array([[-5.0], [60.0]]), np.array([0, 0])) == 50
    assert retrieval.precision(known, classes, np.array([[19.6]]), np.array([1])) == 50


def test_codes_are_measured_and_told(monkeypatch):
    monkeypatch.setitem(retrieval.METHODS, retrieval.OURS, lambda k, seed: retrieval.PCA(k, random_state=seed))
    images = retrieval.digits()
    assert len(images.known) == 2 * len(images.asked)
    codes = {
        method: {str(k): [retrieval.measure(images, method, k, 0)] for k in retrieval.SIZES}
        for method in (retrieval.OURS, "PCA")
    }
    text = retrieval.report({"digits": {"pixels": retrieval.precision(*images), "codes": codes}})
    assert [line.split(":")[0] for line in text.splitlines()[1:]] == ["digits"] * 3
    assert 85 < codes["PCA"]["8"][0]["precision"] < codes["PCA"]["16"][0]["precision"] < 97


# -- new rows ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def few_trees(monkeypatch):
    from sklearn.ensemble import RandomForestClassifier

    monkeypatch.setattr(generation, "_forest", lambda seed: RandomForestClassifier(20, random_state=seed))


def test_who_repeats_rows_is_found_out_and_who_draws_from_the_law_is_not(few_trees, monkeypatch):
    rng = np.random.default_rng(0)

    def law(n):
        rows = generation.pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
        return rows.assign(**{generation.CLASS: np.where(rows["a"] + rows["b"] > 0, "yes", "no")})

    monkeypatch.setitem(generation.METHODS, "the law", lambda real, seed: law(len(real)))
    monkeypatch.setitem(
        generation.METHODS,
        "noise",
        lambda real, seed: law(len(real)).apply(lambda c: c * 3 if c.name != generation.CLASS else c),
    )
    table = law(600)
    found = {name: generation.measure(table, name, 0) for name in ("the law", "noise", "bootstrap")}
    assert found["bootstrap"]["distance"] == 0
    assert 0.85 < found["the law"]["distance"] < 1.15 < found["noise"]["distance"]
    assert found["the law"]["told apart"] < 62 < 80 < found["noise"]["told apart"]
    assert abs(found["the law"]["accuracy"] - found["the law"]["accuracy, real rows"]) < 6


@pytest.mark.parametrize("method", [pytest.param(generation.OURS, marks=pytest.mark.slow), "copula"])
def test_generators_make_rows_of_the_same_columns(method, few_trees):
    real = generation.tumours().sample(200, random_state=0)
    new = generation.METHODS[method](real, 0)
    assert (len(new), list(new.columns)) == (200, list(real.columns))
    assert set(new[generation.CLASS]) <= {"malignant", "benign"}
    assert np.isfinite(new.drop(columns=generation.CLASS).to_numpy(float)).all()


def test_the_report_of_generators_begins_with_what_real_rows_are_worth():
    run = {"accuracy": 90.0, "accuracy, real rows": 95.0, "told apart": 60.0, "distance": 1.0, "seconds": 1.0}
    lines = generation.report({"tumours": {generation.OURS: [run], "copula": [run]}}).splitlines()
    assert lines[1].split() == ["tumours:", "real", "rows", "95.00", "50.00", "1.00"]
    assert len(lines) == 4


def test_vus_pr_of_a_perfect_and_of_a_useless_score():
    is_anomaly = np.zeros(1000, int)
    is_anomaly[[*range(200, 240), *range(700, 720)]] = 1
    assert vus.vus_pr(is_anomaly, is_anomaly + np.linspace(0, 1e-3, 1000), 0) > 0.95
    assert vus.vus_pr(is_anomaly, np.random.default_rng(0).normal(size=1000), 20) < 0.2
    assert vus.buffer_of(np.sin(np.arange(1000) * 2 * np.pi / 40)) == 40


def test_nab_scores_null_perfect_late_and_false_alarms():
    is_anomaly = np.zeros(1000, int)
    is_anomaly[[*range(400, 440), *range(700, 720)]] = 1
    gains = nab.gains_of(is_anomaly)
    of = lambda *alarms: nab.nab_score([gains], [np.isin(np.arange(1000), alarms).astype(float)])  # noqa: E731
    assert of() == of(100) == 0  # no alarm, or in the rows before the first that is scored
    assert of(400, 700) == pytest.approx(100)
    assert of(400) == pytest.approx(50)
    late = (2 / (1 + np.exp(-5 / 40)) - 1) / (2 / (1 + np.exp(-5)) - 1)  # at the last row of the window
    assert of(439) == pytest.approx(25 * (1 + late))
    assert of(300, 400, 700) == pytest.approx(100 - 0.11 * 100 / 4)
    assert of(400, 440, 700) == pytest.approx(100 - 0.11 * 25 * (1 - 2 / (1 + np.exp(5 / 39))))
    assert of(400, 401, 402, 700) == pytest.approx(100)
    assert nab.nab_score([gains, gains], [is_anomaly, 0.0 * is_anomaly]) == pytest.approx(50)


def test_the_highest_row_of_each_event_is_its_alarm():
    assert nab.peaks_of(np.array([1, 3, 2, 0, 0, 5, 4.0]), 2).tolist() == [0, 3, 0, 0, 0, 5, 0]
    assert nab.peaks_of(np.array([2, 2, 2, 2, 0, 0, 0, 2.0]), 2).tolist() == [2, 0, 0, 0, 0, 0, 0, 2]


def test_series_are_read_with_their_labels_and_halves(tmp_path):
    for name in "abc":
        rows = "\n".join(f"2020-01-01 {i:02d}:00:00,{i}" for i in range(24))
        (tmp_path / f"{name}.csv").write_text(f"timestamp,value\n{rows}\n")
    (tmp_path / series.LABELS).write_text(
        json.dumps(
            {
                "a.csv": [["2020-01-01 03:00:00", "2020-01-01 05:00:00"]],
                "b.csv": [],
                "c.csv": [["2020-01-01 20:00:00", "2020-01-02"]],
            }
        )
    )
    found = list(series.series(tmp_path))
    assert [(name, chose, labels.sum()) for name, chose, _, labels in found] == [("a", True, 3), ("c", True, 4)]


def test_planted_events_are_where_they_are_said_to_be():
    values, events = series.rides(0)
    assert len(values) == series.DAY * series.DAYS
    assert min(low for low, _ in events.values()) >= series.QUIET * series.DAY
    low, high = events["a storm"]
    week = 7 * series.DAY
    assert values[low : high + 1].mean() < 0.5 * values[low - week : high + 1 - week].mean()
