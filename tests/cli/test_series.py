"""The commands for series: learn from a file with times, write the alarms of another."""

import csv

import numpy as np
import pandas as pd
import pytest

import diabolo
from diabolo import SeriesDetector


def table(seed, site=None):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"when": pd.date_range("2024-03-01", periods=600, freq="15min")})
    rows["load"] = (np.sin(np.arange(600) * 2 * np.pi / 20) + 0.1 * rng.normal(size=600)).round(4)
    rows["heat"] = (20 + rng.normal(size=600)).round(3)
    return rows if site is None else rows.assign(site=site)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    table(0).to_csv(folder / "old.csv", index=False)
    new = table(1)
    new.loc[300:309, "load"] += 3
    new.to_csv(folder / "new.csv", index=False)
    pd.concat([table(0, "a"), table(2, "b")]).sample(frac=1, random_state=0).to_csv(folder / "two.csv", index=False)
    SeriesDetector(time="when", window=40, random_state=0).fit(folder / "old.csv").save(folder / "run")
    return folder


@pytest.fixture
def folder(files, monkeypatch):
    monkeypatch.chdir(files)
    return files


def test_a_file_is_learned_from_and_another_has_its_alarms_written(folder, run):
    status, said, errors = run("fit", "old.csv", "-m", "series", "--time", "when", "-s", "window=40", "-o", "again")
    assert (status, errors) == (0, "")
    assert "600 rows × 2 channels" in said
    assert "windows of 40 steps of 900 s" in said
    assert run("detect", "again", "new.csv", "-o", "alarms.csv") == (0, "", "")
    with (folder / "alarms.csv").open() as lines:
        (alarm,) = csv.DictReader(lines)
    assert list(alarm) == ["start", "end", "peak", "score", "p_value", "channel"]
    assert alarm["channel"] == "load"
    assert alarm["start"] == "2024-03-04 03:00:00"
    assert alarm["end"] == "2024-03-04 05:15:00"
    python = diabolo.load("again").alarms(pd.read_csv("new.csv", parse_dates=["when"]))
    assert float(alarm["score"]) == pytest.approx(python.score[0])


def test_columns_keys_and_rates_are_options(folder, run):
    words = (
        "fit",
        "two.csv",
        "-m",
        "timeseries",
        "--time",
        "when",
        "--key",
        "site",
        "--columns",
        "load",
        "-o",
        "keyed",
    )
    status, said, _ = run(*words, "-s", "window=40")
    assert status == 0
    assert "1,200 rows × 1 channel " in said
    assert diabolo.load("keyed").get_params()["key"] == ("site",) or diabolo.load("keyed").key == ["site"]
    status, said, _ = run("detect", "keyed", "two.csv", "--false-alarm-rate", "0.9")
    assert said.splitlines()[0] == "site,start,end,peak,score,p_value,channel"
    assert len(said.splitlines()) > 1
    status, said, _ = run("detect", "run", "new.csv", "--false-alarm-rate", "1e-12")
    assert said.splitlines() == ["start,end,peak,score,p_value,channel"]


def test_rows_of_a_series_without_times_are_counted_from_one(folder, run):
    values = pd.read_csv("new.csv")["load"].to_numpy()
    np.save("new.npy", values)
    np.save("old.npy", pd.read_csv("old.csv")["load"].to_numpy())
    assert run("fit", "old.npy", "-m", "series", "-s", "window=40", "-o", "plain")[0] == 0
    lines = run("detect", "plain", "new.npy")[1].splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("301,310,")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("fit old.csv -m anomaly --time when -o x", "--time"),
        ("fit old.csv -m series --time noon -o x", "noon"),
        ("fit old.csv -m series --time when --columns cold -o x", "cold"),
        ("fit old.csv -m series -o x", "when"),
        ("export run --onnx x", "SeriesDetector"),
        ("score run new.csv", "detect"),
        ("report run --image-shape 2x2", "SeriesDetector"),
        ("serve run", "SeriesDetector"),
    ],
)
def test_wrong_uses_are_one_line(words, named, folder, run):
    status, said, errors = run(*words.split())
    assert (status, said) == (2, "")
    assert named in errors
    assert len(errors.splitlines()) == 1


def test_info_and_models_describe_it(folder, run):
    assert "SeriesDetector" in run("info", "run")[1]
    assert "time = none" in run("models", "series")[1]
