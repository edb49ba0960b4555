"""Reports of imputers, generators, classifiers and detectors of series: numbers, findings, pages, the command."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from typer.testing import CliRunner

from diabolo import (
    AutoencoderClassifier,
    AutoencoderGenerator,
    AutoencoderImputer,
    SeriesDetector,
    StackedAutoencoder,
    VariationalAutoencoder,
    load,
)
from diabolo.cli.app import app
from diabolo.displays.report import Report
from diabolo.errors import InvalidData
from diabolo.report import classifiers, generators, imputers, series
from helpers import over

RNG = np.random.default_rng(0)


def table(n, seed, shift=0.0):
    """Rows with a column that follows from another one, an independent one, a category, and a date."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return pd.DataFrame(
        {
            "a": a,
            "double": 2 * a + 0.1 * rng.normal(size=n) + shift,
            "alone": rng.normal(size=n),
            "side": np.where(a > 0, "right", "left"),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.rint(50 * rng.uniform(size=n)), unit="D"),
        }
    )


@pytest.fixture(scope="module")
def imputer():
    holes = table(200, 0)
    holes.loc[::9, "alone"] = np.nan
    return AutoencoderImputer(random_state=0).fit(holes)


@pytest.fixture(scope="module")
def generator():
    tiny = VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,), max_epochs=20)
    return AutoencoderGenerator(tiny, random_state=0).fit(table(200, 0))


@pytest.fixture(scope="module")
def classifier():
    X = RNG.normal(size=(240, 4)).astype(np.float32)
    y = np.where(X[:, 0] + X[:, 1] > 0, "up", "down")
    sae = StackedAutoencoder(hidden_layer_sizes=(8,), n_latent=4, max_epochs=5)
    return AutoencoderClassifier(sae, max_epochs=40, random_state=0).fit(X, y)


def signal(n, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    base = np.sin(t * 2 * np.pi / 24)
    return pd.DataFrame(
        {
            "at": pd.date_range("2026-01-01", periods=n, freq="h"),
            "one": base + 0.1 * rng.normal(size=n),
            "two": -2 * base + 0.1 * rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def detector():
    return SeriesDetector(time="at", window=24).fit(signal(1200))


# -- imputers ---------------------------------------------------------------------------------------------------------


def test_each_known_cell_is_hidden_once_and_errors_are_in_the_users_units(imputer):
    rows = table(150, 1)
    rows.loc[:9, "alone"] = np.nan
    e = imputer.report(rows).data
    by_name = {one.name: one for one in e.columns}
    assert len(by_name["a"].truth) == 150
    assert (len(by_name["alone"].truth), by_name["alone"].n_missing) == (140, 10)
    np.testing.assert_array_equal(np.sort(by_name["a"].truth), np.sort(rows["a"]))
    assert by_name["double"].mean == pytest.approx(rows["double"].std(), rel=0.1)
    assert by_name["day"].mean == pytest.approx(rows["day"].dt.day_of_year.std(), rel=0.1)
    assert by_name["side"].mean == pytest.approx(
        min((rows["side"] == "left").mean(), (rows["side"] == "right").mean()), abs=0.1
    )
    # "a" follows from "double", and where that is hidden as well, in a tenth of the rows, from "side" only.
    of_double = np.var(rows["a"] - LinearRegression().fit(rows[["double"]], rows["a"]).predict(rows[["double"]]))
    of_side = rows.groupby("side")["a"].var(ddof=0).mean()
    assert by_name["a"].error == pytest.approx(np.sqrt(0.9 * of_double + 0.1 * of_side), rel=0.3)
    assert by_name["a"].explained(by_name["a"].error) > 0.9
    assert abs(by_name["alone"].explained(by_name["alone"].error)) < 0.1
    assert by_name["side"].error < 0.15


def test_intervals_of_the_report_are_those_of_the_imputer(imputer):
    rows = table(150, 1)
    e = imputer.report(rows).data
    assert 0.8 < e.coverage(0.9) < 0.97
    one = next(one for one in e.columns if one.name == "a")
    hidden = rows.assign(a=np.nan)
    low, high = imputer.prediction_intervals(hidden, 0.9)
    assert one.width == pytest.approx(float(np.median(high["a"] - low["a"])), rel=0.25)


def test_rows_of_another_kind_are_a_finding_of_an_imputer(imputer):
    assert not imputer.report(table(150, 1)).findings
    moved = {one.title for one in imputer.report(table(150, 1, shift=20)).findings}
    assert moved == {"Intervals too narrow", "Worse than the mean"}


# -- generators -------------------------------------------------------------------------------------------------------


def test_distances_are_those_of_kolmogorov_and_of_total_variation(generator):
    from scipy.stats import ks_2samp, spearmanr

    rows = table(150, 1)
    e = generator.report(rows).data
    new = generator.sample(150, random_state=0)
    by_name = {one.name: one for one in e.columns}
    assert by_name["a"].distance == pytest.approx(ks_2samp(rows["a"], new["a"]).statistic)
    share = (rows["side"] == "left").mean() - (new["side"] == "left").mean()
    assert by_name["side"].distance == pytest.approx(abs(share))
    at = [e.names.index("a"), e.names.index("double")]
    assert e.correlations[0][at[0], at[1]] == pytest.approx(spearmanr(rows["a"], rows["double"]).statistic)
    assert [one.distance for one in e.columns] == sorted((one.distance for one in e.columns), reverse=True)


@pytest.mark.slow
def test_real_rows_of_the_same_kind_would_have_no_finding_and_copies_have():
    class Repeats:
        """What returns rows that are given to it."""

        def __init__(self, generator, rows):
            self.input_, self.n_samples_, self.rows = generator.input_, generator.n_samples_, rows

        def sample(self, n, *, random_state=None):
            return self.rows[:n]

    columns = AutoencoderGenerator(VariationalAutoencoder(n_latent=1, max_epochs=1), random_state=0).fit(table(60, 0))
    real = table(400, 1)
    fresh = generators.collect(Repeats(columns, table(400, 2)), real)
    assert not generators.diagnose(fresh)
    assert 0.4 < fresh.auroc < 0.6
    assert 0.8 < fresh.ratio < 1.25
    copied = generators.collect(Repeats(columns, real), real)
    assert [one.title for one in generators.diagnose(copied)] == ["Copies of real rows"]
    mixed = real.assign(double=real["double"].sample(frac=1, random_state=0).to_numpy())
    found = {one.title for one in generators.diagnose(generators.collect(Repeats(columns, mixed), real))}
    assert found == {"Different dependence", "Easily recognised"}
    moved = {
        one.title
        for one in generators.diagnose(generators.collect(Repeats(columns, real.assign(a=real["a"] + 1)), real))
    }
    assert "Different distribution" in moved


# -- classifiers ------------------------------------------------------------------------------------------------------


def test_a_classifiers_numbers_are_scikit_learns(classifier):
    from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

    X = RNG.normal(size=(150, 4)).astype(np.float32)
    y = np.where(X[:, 0] + X[:, 1] > 0, "up", "down")
    r = classifier.report(X, y).data.results
    assert r.accuracy == accuracy_score(y, classifier.predict(X))
    np.testing.assert_array_equal(r.confusion, confusion_matrix(y, classifier.predict(X)))
    assert r.log_loss == pytest.approx(log_loss(y, classifier.predict_proba(X)), rel=1e-4)
    assert r.majority == max((y == "up").mean(), (y == "down").mean())
    assert r.calibration[2].sum() == 150


def test_labels_that_say_nothing_are_serious_and_unknown_ones_are_named(classifier):
    X = RNG.normal(size=(150, 4)).astype(np.float32)
    random = np.random.default_rng(5).choice(["up", "down"], 150)
    titles = {one.title for one in classifier.report(X, random).findings}
    assert {"No better than the most frequent label", "Overconfidence"} <= titles
    y = np.where(X[:, 0] + X[:, 1] > 0, "up", "down").astype(object)
    y[:10] = "sideways"
    found = classifier.report(X, y)
    assert "Unknown labels" in {one.title for one in found.findings}
    assert found.data.results.confusion[2].sum() == 10


def test_rows_and_labels_belong_together(classifier):
    with pytest.raises(InvalidData, match="y"):
        classifier.report(np.zeros((3, 4), np.float32))
    with pytest.raises(InvalidData, match="y"):
        classifier.report(np.zeros((3, 4), np.float32), ["up"])


# -- series -----------------------------------------------------------------------------------------------------------


def test_the_report_of_a_series_has_its_alarms_scores_and_expectation(detector):
    rows = signal(600, 1)
    rows.loc[300:311, "two"] += 3.0
    mixed = rows.sample(frac=1, random_state=0)
    e = detector.report(mixed).data
    np.testing.assert_allclose(e.scores, -detector.score_samples(mixed))
    np.testing.assert_allclose(e.expected, np.asarray(detector.explain(mixed).expected))
    assert list(e.stretches[0].at) == sorted(e.stretches[0].at)
    assert e.alarms[0].channel == 1
    assert 290 <= e.alarms[0].first <= 300 <= e.alarms[0].last <= 320
    assert len(e.alarms) == len(detector.alarms(mixed))


def test_series_of_keys_are_shown_apart():
    rows = pd.concat([signal(400, i).assign(well=name) for i, name in enumerate("ab")])
    found = SeriesDetector(time="at", key="well", window=24).fit(rows)
    spoilt = rows.reset_index(drop=True)
    spoilt.loc[600:615, "one"] += 4
    e = found.report(spoilt).data
    assert [one.name for one in e.stretches] == ["well a", "well b"]
    assert e.shown[0] == e.alarms[0].stretch == 1
    arrays = found.__class__(window=24).fit([signal(400, i)[["one"]].to_numpy() for i in range(2)])
    assert [one.name for one in arrays.report([np.sin(np.arange(200.0)), np.zeros(100)]).data.stretches] == [
        "series 0",
        "series 1",
    ]


def test_normal_series_have_no_more_alarms_than_expected(detector):
    titles = {one.title for one in detector.report(signal(600, 3)).findings}
    assert titles == {"Threshold beyond the calibration"}
    moved = signal(600, 3).assign(one=lambda rows: rows["one"] * 3)
    assert "More alarms than normal series would give" in {one.title for one in detector.report(moved).findings}


# -- all --------------------------------------------------------------------------------------------------------------


def _cases(request):
    X = RNG.normal(size=(60, 4)).astype(np.float32)
    y = np.where(X[:, 0] + X[:, 1] > 0, "up", "down")
    return {
        "imputer": (imputers, (table(60, 4),)),
        "generator": (generators, (table(60, 4),)),
        "classifier": (classifiers, (X, y)),
        "detector": (series, (signal(300, 2),)),
    }


@pytest.mark.parametrize("name", ["imputer", "generator", "classifier", "detector"])
def test_every_report_is_one_file_shows_itself_and_has_a_title(name, request, tmp_path):
    estimator = request.getfixturevalue(name)
    given = _cases(request)[name][1]
    whole = estimator.report(*given, title="the run", path=tmp_path / "page.html")
    assert isinstance(whole, Report)
    assert (tmp_path / "page.html").read_text() == whole == estimator.report(*given, title="the run")
    assert "<h1>the run</h1>" in whole
    assert 'src="http' not in whole
    assert len(whole._repr_html_()) < 400_000
    alone = estimator.report()
    assert f"<h1>{type(estimator).__name__}</h1>" in alone
    assert not alone.data.columns if hasattr(alone.data, "columns") else True


@pytest.mark.slow
def test_the_command_writes_every_report(imputer, generator, classifier, detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"x{i}" for i in range(4)]
    labelled = pd.DataFrame(RNG.normal(size=(60, 4)), columns=names)
    labelled["way"] = np.where(labelled.x0 + labelled.x1 > 0, "up", "down")
    table(60, 4).to_csv("rows.csv", index=False)
    signal(300, 2).to_csv("series.csv", index=False)
    labelled.to_csv("labelled.csv", index=False)
    sae = StackedAutoencoder(hidden_layer_sizes=(4,), n_latent=2, max_epochs=1)
    named = AutoencoderClassifier(sae, max_epochs=2, random_state=0).fit(labelled[names], labelled["way"])
    for model, data, more in (
        (imputer, "rows.csv", ()),
        (generator, "rows.csv", ()),
        (named, "labelled.csv", ("--label", "way")),
        (detector, "series.csv", ()),
    ):
        model.save("run")
        done = CliRunner().invoke(app, ["report", "run", data, "-o", "page.html", *more])
        assert done.exit_code == 0, done.output
        assert "not used" not in done.output
        assert "<h1>run</h1>" in (tmp_path / "page.html").read_text()
        assert type(load("run")) is type(model)


@over("name", ["imputer", "generator", "detector"])
def test_summaries_name_the_parts(name, request):
    estimator = request.getfixturevalue(name)
    found = estimator.summary()
    assert str(found).startswith(type(estimator).__name__)
    assert f"{estimator.n_samples_:,}" in str(found)
    assert found._repr_html_().count("<tr>") == len(found._rows())
