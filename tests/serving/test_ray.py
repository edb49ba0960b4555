"""Scoring on Ray: a real one, on this machine."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from diabolo import VariationalAutoencoder
from diabolo.errors import UsageError
from diabolo.serving.ray import Scorer, _ray, score_with_ray


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    """A saved model, files to score, and their scores on this machine."""
    folder = tmp_path_factory.mktemp("scoring")
    frame = pd.DataFrame(table, columns=list("abcdef"))
    model = VariationalAutoencoder(hidden_layer_sizes=(4,), max_epochs=3, random_state=0).fit(frame)
    model.save(folder / "run")
    many = pd.concat([frame + i / 10 for i in range(40)], ignore_index=True)[list("fabcde")]  # in another order
    (folder / "rows").mkdir()
    for i in range(4):
        part = pa.Table.from_pandas(many[i * 800 : (i + 1) * 800], preserve_index=False)
        pa.parquet.write_table(part.append_column("note", [["x"] * 800]), folder / "rows" / f"{i}.parquet")
    return folder, model.score_samples(many[list("abcdef")])


def test_a_scorer_takes_the_models_columns_from_a_batch(run):
    folder, expected = run
    batch = pa.parquet.read_table(folder / "rows" / "0.parquet")
    scored = Scorer(folder / "run")(batch)
    assert scored.column_names == ["log_density"]
    np.testing.assert_allclose(scored["log_density"].to_numpy(), expected[:800], rtol=1e-6)
    assert Scorer(folder / "run")(batch[:0]).num_rows == 0


@pytest.mark.slow
def test_ray_scores_a_folder_to_a_folder_as_one_machine_does(run, tmp_path):
    folder, expected = run
    command = [sys.executable, "-m", "diabolo", "score", str(folder / "run"), str(folder / "rows")]
    command += ["-o", str(tmp_path / "scores"), "--engine", "ray"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    scores = pa.parquet.read_table(tmp_path / "scores")
    assert scores.column_names == ["log_density"]
    np.testing.assert_allclose(scores["log_density"].to_numpy(), expected, rtol=1e-5)


def test_ray_says_nothing_on_standard_output_and_stops_only_if_it_was_started(capsys):
    def says(words):
        return lambda *_, **__: print(words)

    for running, said in ((False, "starts\nscores\nstops\n"), (True, "scores\n")):
        cluster = SimpleNamespace(is_initialized=lambda r=running: r, init=says("starts"), shutdown=says("stops"))
        with _ray(cluster):
            print("scores")
        assert tuple(capsys.readouterr()) == ("", said)


def test_what_ray_cannot_do_is_refused_before_it_starts(run, tmp_path):
    folder, _ = run
    with pytest.raises(UsageError):
        score_with_ray(folder / "run", str(folder / "rows"), tmp_path)
    np.save(tmp_path / "rows.npy", np.ones((3, 6)))
    with pytest.raises(UsageError, match=r"\.npy"):
        score_with_ray(folder / "run", str(tmp_path / "rows.npy"), tmp_path / "out")


def test_without_ray_it_is_said_how_to_get_it(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"diabolo\[ray\]"):
        score_with_ray(run[0] / "run", str(run[0] / "rows"), tmp_path / "out")
