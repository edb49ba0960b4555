"""`diabolo compare`: the figures of both models, and their differences."""

import json

import numpy as np
import pytest

import diabolo
from diabolo import datasets
from diabolo.metrics import explained_variance
from diabolo.report.compare import compare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    datasets.write("pump", folder / "pump")
    normal = folder / "pump" / "normal.csv"
    for n in (2, 4):
        diabolo.BasicAutoencoder(n_latent=n).fit(normal).save(folder / f"basic{n}")
    diabolo.VariationalAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(normal).save(folder / "vae")
    diabolo.AnomalyDetector("single", random_state=0).fit(normal).save(folder / "watch")
    return folder


def test_the_figures_are_those_of_the_models(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, err = run("compare", "basic2", "basic4", "pump/normal.csv", "--json")
    assert (status, err) == (0, "")
    found, frame = json.loads(out), datasets.load_pump(as_frame=True).data
    X = frame.to_numpy()
    for side, n in (("first", 2), ("second", 4)):
        model = diabolo.load(f"basic{n}")
        back = np.stack([column.to_numpy() for column in model.reconstruct("pump/normal.csv").columns], axis=1)
        for j, name in enumerate(model.feature_names_in_):
            lost = 1 - explained_variance(X[:, [j]], back[:, [j]])
            assert found[side]["lost_by_column"][name] == pytest.approx(lost, abs=2e-3)
        assert found[side]["lost"] == pytest.approx(np.mean(list(found[side]["lost_by_column"].values())))
        assert found[side]["log_density"] == pytest.approx(model.score("pump/normal.csv"), rel=1e-5)
    assert found["lost_difference"][0] == pytest.approx(found["second"]["lost"] - found["first"]["lost"])
    differences = diabolo.load("basic4").score_samples(frame) - diabolo.load("basic2").score_samples(frame)
    error = differences.std(ddof=1) / np.sqrt(len(X))
    assert found["log_density_difference"] == pytest.approx([differences.mean(), error], rel=1e-3)


def test_the_table_names_both_and_a_model_does_not_differ_from_itself(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, _ = run("compare", "basic2", "basic2", "pump/new.csv")
    assert status == 0
    assert out.count("+0.0 points") == 8
    assert "+0 ± 0 points" in out
    head = out.splitlines()[1].split()
    assert head == ["basic2", "basic2", "difference"]


def test_log_densities_of_rows_and_of_rows_given_codes_are_not_compared(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    _, out, _ = run("compare", "basic2", "vae", "pump/new.csv")
    lines = [line.split() for line in out.splitlines()]
    assert ["not", "comparable"] in [line[-2:] for line in lines]
    assert json.loads(run("compare", "basic2", "vae", "pump/new.csv", "--json")[1])["log_density_difference"] is None


def test_missing_cells_and_other_columns():
    gaps = datasets.load_homes().data
    few = {"n_latent": 2, "max_epochs": 1}
    models = [diabolo.BasicAutoencoder(random_state=seed, **few).fit(gaps) for seed in (0, 1)]
    found = compare(tuple(models), (gaps, gaps))
    assert all(np.isfinite(found.lost_difference + found.log_density_difference))
    fewer = gaps.drop_columns(["sold"])
    other = diabolo.BasicAutoencoder(random_state=0, **few).fit(fewer)
    found = compare((models[0], other), (gaps, fewer))
    assert found.lost_difference is None
    assert found.log_density_difference is None
    assert "sold" in str(found)


def test_what_cannot_be_compared_is_said_in_one_line(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, err = run("compare", "basic2", "watch", "pump/new.csv")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "watch" in err
