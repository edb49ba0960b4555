"""No score is NaN: a row that cannot be is −∞ or the strangest, in Python, from the command and from the server."""

import functools
import io
import json
import warnings

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest
from starlette.testclient import TestClient

import diabolo
from diabolo.errors import InvalidData
from diabolo.estimators import detector_fit
from diabolo.serving import create_app
from helpers import over

RNG = np.random.default_rng(0)
FEW = {"max_epochs": 20, "random_state": 0}
GREY = RNG.random((120, 4))
COUNTS = RNG.poisson(RNG.gamma(1, 5, (120, 4))).astype(float)
TABLE = pd.DataFrame(
    {
        "visits": RNG.poisson(RNG.gamma(1, 5, 200)),
        "length": RNG.normal(size=200),
        "kind": RNG.choice(["a", "b"], 200),
        "is_new": RNG.random(200) < 0.4,
    }
)
EXTREMES = (-1.0, -0.5, 1.5, 2.5, 1e9, 1e30, -1e30, 3e38)
STRANGE = {"visits": (-3, 2.5, 1e30, -1e30), "length": (1e30, -3e38), "kind": ("zzz",)}


def vae(likelihood, **more):
    return diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,), likelihood=likelihood, **FEW | more)


@functools.cache
def detector(likelihood):
    estimator = diabolo.AnomalyDetector(vae(likelihood), false_alarm_rate=0.1, calibration=0.2, random_state=0)
    return estimator.fit(COUNTS if likelihood == "count" else GREY)


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """A quarter of a network's training: no score is NaN, whatever it has learned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_fit, "_STEPS", 75)
        yield


@pytest.fixture(scope="module")
def of_table():
    with warnings.catch_warnings(action="ignore"):
        return diabolo.AnomalyDetector("single", false_alarm_rate=0.1, random_state=0).fit(TABLE)


UNSCALED = {"bernoulli": ("bernoulli", GREY), "count": ("count", COUNTS)}


@over("likelihood, rows", UNSCALED | {"learned_gaussian": ("learned_gaussian", GREY)})
def test_a_detector_flags_what_cannot_be_and_gives_no_nan(likelihood, rows):
    fitted = detector(likelihood)
    for value in EXTREMES:
        row = rows[:1].copy()
        row[0, 1] = value
        found = fitted.score_samples(row), fitted.p_values(row), fitted.decision_function(row)
        assert np.isfinite(found).all(), value
        is_possible = {"bernoulli": 0 <= value <= 1, "count": value >= 0 and value == round(value)}
        if not is_possible.get(likelihood, abs(value) < 100):
            assert fitted.predict(row) == [-1], value
        why = fitted.explain(row)
        assert np.isfinite(why.contributions).all(), value
        np.testing.assert_allclose(why.contributions.sum(axis=1), why.scores)


@over("likelihood, rows", UNSCALED)
def test_a_density_is_minus_infinity_for_what_cannot_be(likelihood, rows):
    network = detector(likelihood).estimators_[0][0]
    for fitted in (network, diabolo.BasicAutoencoder(likelihood=likelihood, scaling=None, **FEW).fit(rows)):
        usual = fitted.score_samples(rows[:32]).min()
        for value in (-1.0, 2.5):
            row = rows[:1].copy()
            row[0, 1] = value
            try:
                found = fitted.score_samples(row)
            except InvalidData:
                continue
            assert found[0] < usual
            assert not np.isnan(found[0])


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, some in STRANGE.items() for value in some])
def test_python_the_command_and_the_server_agree(column, value, of_table, run, tmp_path):
    row = TABLE[:3].assign(**{column: TABLE[column].astype(object)})
    row.loc[1, column] = value
    row = row.assign(**{column: pd.array(row[column].tolist())}) if column == "kind" else row.astype({column: float})
    p_values = of_table.p_values(row)
    assert not np.isnan(p_values).any()
    assert of_table.predict(row)[1] == -1

    client = TestClient(create_app(of_table))
    told = client.post("/score", json={"rows": json.loads(row.to_json(orient="records"))})
    assert told.status_code == 200, told.text
    assert [one["p_value"] for one in told.json()["rows"]] == p_values.tolist()
    assert told.json()["rows"][1]["flagged"]

    of_table.save(tmp_path / "run")
    row.to_csv(tmp_path / "new.csv", index=False)
    status, _, err = run("detect", tmp_path / "run", tmp_path / "new.csv", "-o", tmp_path / "found.csv")
    assert status == 0, err
    found = pyarrow.csv.read_csv(io.BytesIO((tmp_path / "found.csv").read_bytes())).to_pandas()
    np.testing.assert_allclose(found["p_value"], p_values)
    assert found["flagged"][1]


def test_rows_that_are_all_predicted_exactly_have_scores_as_well():
    words = pd.DataFrame({"a": ["x", "y", "z"] * 20, "b": ["u", "v", "w"] * 20})
    fitted = diabolo.AnomalyDetector("single", false_alarm_rate=0.1, random_state=0).fit(words)
    strange = pd.DataFrame({"a": ["x", "x"], "b": ["u", "other"]})
    found = fitted.score_samples(strange)
    assert np.isfinite(found).all()
    assert found[1] < found[0]
    assert np.isfinite(fitted.explain(strange).contributions).all()
