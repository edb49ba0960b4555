"""The report of a detector: its numbers are the detector's, and it says what is amiss."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from diabolo import AnomalyDetector
from diabolo.cli.app import app

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(RNG.normal(size=(300, 3)) @ RNG.normal(size=(3, 3)), columns=["speed", "heat", "load"])
TABLE["kind"] = RNG.choice(["a", "b"], 300)
SPOILT = TABLE[:100].copy()
SPOILT.loc[4, "heat"] += 40.0
SPOILT.loc[7, "kind"] = None


@pytest.fixture(scope="module")
def detector():
    holes = TABLE.copy()
    holes.loc[::9, "kind"] = None
    return AnomalyDetector("single", false_alarm_rate=0.05, random_state=0).fit(holes)


def test_the_numbers_are_those_of_the_detector(detector):
    report = detector.report(SPOILT)
    e = report.data
    np.testing.assert_allclose(e.scores, -detector.score_samples(SPOILT))
    assert e.n_flagged == (detector.predict(SPOILT) == -1).sum()
    first = e.worst[0]
    assert (first.row, first.columns[0][0]) == (5, "heat")
    assert first.columns[0][1] == f"{SPOILT.loc[4, 'heat']:.4g}"
    assert sum(share for *_, share in first.columns) <= 1 + 1e-9
    assert "Most unusual rows" in report
    assert 'src="http' not in report
    assert len(report._repr_html_()) < 300_000


def test_without_rows_only_the_calibration_is_shown(detector, tmp_path):
    report = detector.report(path=tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == report
    assert report.data.scores is None
    assert "Most unusual rows" not in report


def test_rows_unlike_the_training_rows_are_a_finding_and_normal_rows_are_not(detector):
    assert not detector.report(TABLE).findings
    moved = TABLE.assign(speed=TABLE.speed + 30)
    assert [one.title for one in detector.report(moved).findings] == ["More alarms than normal rows would give"]


def test_too_few_calibration_rows_are_a_serious_finding(detector):
    changed = AnomalyDetector("single", false_alarm_rate=0.05, random_state=0)
    changed.__dict__.update(detector.__dict__, false_alarm_rate=1e-4)
    (found,) = changed.report(TABLE).findings
    assert found.serious
    assert changed.report(TABLE).data.n_flagged == 0


def test_the_command_writes_the_page(detector, tmp_path):
    detector.save(tmp_path / "run")
    SPOILT.to_csv(tmp_path / "rows.csv", index=False)
    given = ["report", str(tmp_path / "run"), str(tmp_path / "rows.csv"), "-o", str(tmp_path / "page.html")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "Most unusual rows" in (tmp_path / "page.html").read_text()
    refused = CliRunner().invoke(app, [*given, "--image-shape", "2x2"])
    assert refused.exit_code != 0
