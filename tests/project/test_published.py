"""The published results: every row runs, a stopped one goes on, and the page says what was really recorded."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from benchmarks.published import __main__ as command
from benchmarks.published import page
from benchmarks.published.gabor import explained
from benchmarks.published.record import Bound
from benchmarks.published.rows import ROWS
from benchmarks.published.study import Study, written

from diabolo import AutoencoderClassifier, BasicAutoencoder, parts

ROOT = Path(__file__).parents[2]
BY_HAND = ("annealing", "iwae", "denoise-digits")
"""The rows that take longest, only with `-m large`: they are run whole when they are recorded."""
DATA = os.environ.get("DIABOLO_DATA")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_page_is_what_the_results_say():
    assert page.PAGE.read_text(encoding="utf-8") == page.text(command.RESULTS)


def test_whatever_is_recorded_was_run_whole_and_for_a_row_that_there_is():
    for file in command.RESULTS.glob("*.json"):
        line = json.loads(file.read_text(encoding="utf-8"))
        assert line["name"] == file.stem
        assert line["protocol"] == ROWS[file.stem].protocol
        assert all(len(figure["each"]) in (1, len(line["seeds"])) for figure in line["figures"].values())


@pytest.mark.filterwarnings("ignore:lbfgs failed", "ignore:β reaches its final value")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.large if name in BY_HAND else pytest.mark.slow) for name in ROWS]
)
def test_every_row_runs(name, tmp_path, capsys):
    if ROWS[name].needs_data and DATA is None:
        pytest.skip("DIABOLO_DATA is not set")
    arguments = [name, "--quick", "--seeds", "0", "--work", str(tmp_path / "work"), "--out", str(tmp_path), "--keep"]
    assert command.main(arguments) in (0, 1)
    line = json.loads(capsys.readouterr().out)
    assert {"name", "protocol", "seeds", "value", "published", "control", "seconds"} <= set(line)
    assert all(np.isfinite(figure["mean"]) for figure in line["figures"].values())
    assert json.loads((tmp_path / f"{name}.json").read_text())["figures"] == line["figures"]
    assert f"## {name}" in page.text(tmp_path)


def test_a_row_that_was_stopped_goes_on_and_does_nothing_twice(tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=(60, 4))
    fitted = []

    def measure(model):
        fitted.append(model.random_state)
        if fitted == [0, 1]:
            raise KeyboardInterrupt
        return {"error": float(np.square(rows - model.reconstruct(rows)).mean())}

    def figures():
        study = Study("row", None, tmp_path, (0, 1))
        return study.trials(lambda seed: BasicAutoencoder(max_epochs=2, random_state=seed), rows, measure)[0], study

    with pytest.raises(KeyboardInterrupt):
        figures()
    found, study = figures()
    assert fitted == [0, 1, 1]
    again, _ = figures()
    assert again == found
    assert fitted == [0, 1, 1]
    assert len(found["error"]) == 2
    assert study.seconds > 0
    assert "row: seed-1: error" in capsys.readouterr().err


def test_a_bound_is_held_against_the_mean():
    assert Bound("x", 2.0).check({"x": [1.0, 3.0]})["met"]
    assert not Bound("x", 2.0).check({"x": [1.0, 3.2]})["met"]
    assert Bound("x", 2.0, at_most=False).check({"x": [1.0, 3.0]})["met"]


def test_settings_are_written_as_one_would_write_them():
    model = AutoencoderClassifier(BasicAutoencoder(n_latent=3), corruption=parts.Masking(0.1), max_epochs=2)
    namespace = vars(parts) | {"BasicAutoencoder": BasicAutoencoder, "AutoencoderClassifier": AutoencoderClassifier}
    again = eval(written(model), namespace)
    assert written(again) == written(model)
    assert again.corruption == model.corruption
    assert "batch_size" not in written(model)


def test_without_data_one_is_told_where_to_say_where_they_are(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("DIABOLO_DATA", raising=False)
    assert command.main(["hinton"]) == 2
    assert command.main(["hinton", "--data", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("Give --data DIR, or set DIABOLO_DATA") == 2


def test_a_gabor_function_explains_itself_and_not_what_fills_the_patch_or_is_noise():
    y, x = np.mgrid[:12, :12] - 5.5
    u = x * np.cos(0.6) + y * np.sin(0.6)
    gabor = np.exp(-(u**2) / 6 - (y * np.cos(0.6) - x * np.sin(0.6)) ** 2 / 8) * np.cos(1.5 * u + 0.4)
    assert explained(gabor + 3) > 0.98
    assert explained(np.cos(1.5 * u)) < 0.6
    assert explained(np.random.default_rng(0).normal(size=(12, 12))) < 0.4
