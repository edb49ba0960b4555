"""The benchmark of default settings: sets, peers and bounds are as documented, and no test row reaches a fit."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from benchmarks.first_contact import __main__ as command
from benchmarks.first_contact import child, examples, page, peers, promises, runs, sets, tables
from benchmarks.published import __main__ as published
from benchmarks.published import page as results
from scipy import stats
from sklearn.decomposition import PCA, FactorAnalysis

ROOT = Path(__file__).parents[2]


# -- sets -------------------------------------------------------------------------------------------------------------


def test_sets_of_scikit_learn_are_read_in_the_users_units():
    shapes = {name: one.load(None).shape for name, one in sets.SETS.items() if not one.needs_data}
    assert shapes == {
        "breast_cancer": (569, 30),
        "diabetes": (442, 10),
        "digits": (1797, 64),
        "iris": (150, 4),
        "wine": (178, 13),
    }
    assert sets.SETS["digits"].load(None).max() == 16
    assert sets.SETS["diabetes"].load(None)[:, 0].max() == 79  # years


@pytest.mark.parametrize("name", ["adbench_shuttle", "banknote", "ecg5000", "letter", "nab_cpu", "sc_mixology"])
def test_sets_of_the_data_folder_have_at_most_ten_thousand_rows(name, data_dir):
    rows = sets.SETS[name].load(data_dir)
    expected = {"adbench_shuttle": (10_000, 9), "banknote": (1372, 4), "ecg5000": (5000, 140)}
    expected |= {"letter": (10_000, 16), "nab_cpu": (376, 48), "sc_mixology": (992, 1000)}
    assert rows.shape == expected[name]
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, sets.SETS[name].load(data_dir))


def test_a_series_is_cut_into_windows_that_do_not_overlap(tmp_path):
    (tmp_path / "nab").mkdir()
    lines = ["timestamp,value", *(f"2014-04-01 {i},{i}" for i in range(100))]
    (tmp_path / "nab" / "cpu_utilization_asg_misconfiguration.csv").write_text("\n".join(lines))
    np.testing.assert_array_equal(sets.SETS["nab_cpu"].load(tmp_path), np.arange(96).reshape(2, 48))


def test_halves_alternate_in_alphabetical_order():
    names = list(sets.SETS)
    assert names == sorted(names)
    assert len(names) == 33
    halves = [sets.half_of(name) for name in names]
    assert halves == [sets.HALVES[i % 2] for i in range(len(names))]


def test_a_quarter_is_held_out_by_the_seed():
    rows = np.arange(40.0)[:, None]
    train, test = sets.split(rows, 1)
    assert (len(train), len(test)) == (30, 10)
    assert sorted(np.concatenate([train, test]).ravel()) == list(range(40))
    np.testing.assert_array_equal(sets.split(rows, 1)[1], test)
    assert (sets.split(rows, 2)[1] != test).any()


def test_the_code_is_a_third_of_the_columns_and_never_as_wide_as_the_rows_rank():
    assert [sets.latent_size(100, d) for d in (2, 4, 9, 24, 64)] == [1, 1, 3, 8, 8]
    assert sets.latent_size(5, 64) == 4


def test_constant_and_repeated_columns_are_found():
    rng = np.random.default_rng(0)
    real = rng.normal(size=200)
    columns = {
        "real": real,
        "constant": np.ones(200),
        "few values": np.round(real),
        "often zero": np.where(np.arange(200) < 50, 0.0, real),
    }
    train = np.stack(list(columns.values()), axis=1)
    assert sets.varying(train).tolist() == [True, False, True, True]
    assert sets.repeated(train).tolist() == [False, True, True, True]


# -- peers ------------------------------------------------------------------------------------------------------------


def _correlated(n_rows, n_columns=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, n_columns)) + 0.3 * rng.normal(size=(n_rows, n_columns))


def test_components_give_the_error_of_scikit_learns_pca():
    train, test = _correlated(60), _correlated(20, seed=1)
    pca = PCA(2, svd_solver="full").fit(train)
    expected = np.square(test - pca.inverse_transform(pca.transform(test))).sum()
    assert peers.Components(train).error(test, 2) == pytest.approx(expected)


def test_the_best_truncated_pca_is_that_of_trying_all():
    train, test = _correlated(60), _correlated(20, seed=1)
    noisy = test + 0.5 * np.random.default_rng(2).normal(size=test.shape)
    errors = []
    for k in range(1, 6):
        pca = PCA(k, svd_solver="full").fit(train)
        errors.append(np.square(test - pca.inverse_transform(pca.transform(noisy))).sum())
    k, error = peers.Components(train).best_truncation(noisy, test)
    assert k == 1 + int(np.argmin(errors))
    assert error == pytest.approx(min(errors))
    assert peers.Components(train).best_truncation(test, test) == (5, pytest.approx(0, abs=1e-9))


def test_densities_are_in_the_users_units():
    train, test = _correlated(300, 3) * [1, 10, 0.01] + [0, 5, 0], _correlated(100, 3, seed=1) * [1, 10, 0.01]
    law = stats.multivariate_normal(train.mean(axis=0), np.cov(train.T, bias=True))
    found = peers.densities(train, test, 0)
    assert found["gaussian"] == pytest.approx(law.logpdf(test).mean(), rel=1e-3)
    assert set(found) == {"gaussian", "mixture", "factors", "n_factors"}
    assert found["n_factors"] in (1, 2)


@pytest.mark.parametrize("n_rows", [8, 200])
def test_factor_analysis_of_few_rows_is_that_of_many(n_rows):
    train, test = _correlated(n_rows), _correlated(50, seed=1)
    plain = FactorAnalysis(2, svd_method="lapack").fit(train)
    found = peers.factor_analysis(train, 2)
    assert found.n_iter_ == plain.n_iter_
    assert found.score(test) == pytest.approx(plain.score(test), abs=1e-8)


def test_a_kernel_density_comes_near_the_truth():
    rows = np.random.default_rng(0).normal(size=(600, 1))
    found, bandwidth = peers.kernel_density(rows[:400], rows[400:])
    assert found == pytest.approx(stats.norm.logpdf(rows[400:]).mean(), abs=0.05)
    assert 0.1 < bandwidth < 0.8


def test_two_blobs_do_not_overlap():
    rows = examples.blobs(500, 0)
    assert (np.abs(rows[:, 0]) > 1).all()
    assert rows.std(axis=0) == pytest.approx([2, 0.2], rel=0.1)


# -- fits -------------------------------------------------------------------------------------------------------------


class _Ours:
    """All systems in one: reconstructs the training mean, and remembers what it was fitted to."""

    seen: list = []  # noqa: RUF012
    corruption = "gaussian"

    def __init__(self, name, **parameters):
        self.parameters = {"name": name} | parameters
        self.scaler_ = self

    def fit(self, X):
        self.seen.append(X)
        self.mean = X.mean(axis=0)
        return self

    def apply(self, rows):
        return rows.astype(np.float32)

    def reconstruct(self, rows):
        return np.broadcast_to(self.mean, rows.shape)

    denoise = reconstruct

    def corrupt(self, rows, random_state):
        return rows + np.random.default_rng(random_state).normal(size=rows.shape)

    def transform(self, rows):
        return np.full((len(rows), 3), 0.07)

    def score_samples(self, rows):
        return np.zeros(len(rows))


@pytest.fixture
def ours(monkeypatch):
    monkeypatch.setattr(_Ours, "seen", [])
    monkeypatch.setattr(child, "_ours", _Ours)
    return _Ours


def test_no_part_fits_a_test_row(ours, monkeypatch):
    shown = []
    monkeypatch.setattr(child, "densities", lambda train, test, seed: shown.append(train) or {"gaussian": 0.0})
    components = child.Components
    monkeypatch.setattr(child, "Components", lambda train: shown.append(train) or components(train))
    rows = np.random.default_rng(0).normal(size=(80, 6))
    about = child.Context(rows, 0)
    for part in child.PARTS.values():
        part(about)
    assert len(ours.seen) == 7  # three systems, three corruptions, and a density; the others are the same fits
    for fitted in (*ours.seen, *shown):
        np.testing.assert_allclose(fitted, about.train, rtol=1e-6)


def test_the_figures_of_parts_are_their_closed_forms(ours):
    rows = np.random.default_rng(0).normal(size=(80, 6))
    about = child.Context(rows, 0)
    lost = np.square(about.test - about.train.mean(axis=0)).sum()
    found = child.stacked(about)
    assert found["ratio"] == pytest.approx(found["raw ratio"], rel=1e-4)
    assert found["raw ratio"] == pytest.approx(lost / peers.Components(about.train).error(about.test, 2))
    found = child.sparse(about)
    assert found["gap, test rows"] == pytest.approx(0.02)
    assert found["explained variance"] == pytest.approx(1 - lost / np.square(about.test - about.test.mean(0)).sum())
    assert found["sparsity weight"] is None
    noise = np.square(np.random.default_rng(1).normal(size=about.test.shape)).sum()
    assert child.denoising("gaussian", about)["ratio"] == pytest.approx(lost / noise, rel=1e-4)
    assert about.fits[0]["seconds"] >= 0
    assert ours.seen[0] is about.train


def test_only_k_and_the_seed_are_given(monkeypatch):
    given = {}
    monkeypatch.setattr(
        child, "_ours", lambda name, **p: given.setdefault((name, p.get("corruption")), p) and _Ours(name)
    )
    about = child.Context(np.random.default_rng(0).normal(size=(80, 6)), 3)
    for part in child.PARTS.values():
        part(about)
    for (name, _), parameters in given.items():
        latent = {"n_latent": 2} if name in ("BasicAutoencoder", "StackedAutoencoder") else {}
        assert {k: v for k, v in parameters.items() if k != "corruption"} == latent | {"random_state": 3}


def test_a_fit_that_fails_gives_its_error_and_the_others_go_on(ours, monkeypatch):
    def fails(self, X):
        raise ValueError("too hard")

    monkeypatch.setitem(child.PARTS, "basic", lambda about: about.fit("basic", type("F", (), {"fit": fails})()))
    found = child.answer({"set": "iris", "seed": 0, "data": "", "parts": ["basic", "sparse"]})["parts"]
    assert found["basic"]["error"] == "ValueError: too hard"
    assert found["basic"]["fits"][0]["seconds"] >= 0
    assert "figures" in found["sparse"]


def test_wide_sets_and_tables_leave_parts_out():
    image, table = sets.SETS["mnist"], sets.SETS["iris"]
    assert {child.system_of(part) for part in child.parts_of(image, 784)} == set(child.SYSTEMS) - {"variational"}
    assert "denoising, user's units" in child.parts_of(image, 784)
    assert "denoising, user's units" not in child.parts_of(table, 4)
    assert "peers" in child.parts_of(table, 4)


def test_a_run_saves_its_answers_and_measures_nothing_twice(tmp_path, capsys, monkeypatch):
    """The one true fit: PCA's subspace of iris, in a process of its own."""
    words = ["--sets", "iris", "--only", "basic", "--seeds", "0", "--work", str(tmp_path), "--out", str(tmp_path / "o")]
    assert command.main(words) == 0
    first = json.loads((tmp_path / "o").read_text(encoding="utf-8"))
    line = first["runs"]["now"]["iris"]["0"]["basic"]
    assert 0.9 < line["figures"]["ratio"] < 1.01
    assert line["fits"][0]["seconds"] > 0
    assert first["sets"]["iris"] == {
        **{"kind": "table", "half": "chosen on", "rows": 150, "columns": 4},
        **{"constant": 0, "repeated": first["sets"]["iris"]["repeated"]},
    }
    monkeypatch.setattr(runs, "ask", lambda *_: pytest.fail("it has been measured"))
    assert command.main(words) == 0
    assert json.loads((tmp_path / "o").read_text(encoding="utf-8"))["runs"] == first["runs"]
    assert capsys.readouterr().out.count("basic: error / PCA") == 4  # a table and the summary, twice


# -- promises and page ------------------------------------------------------------------------------------------------


def _parts(ratio, **others):
    figures = {"basic": {"ratio": ratio}, "sparse": {"explained variance": 0.9}} | others
    fit = {"fit": "basic", "seconds": 1.0, "cpu_seconds": 2.0, "warnings": ["NoImprovement"]}
    return {part: {"figures": found, "fits": [fit], "run": "r"} for part, found in figures.items()}


def _found():
    """Two sets of each half; the last one fails on the basic system."""
    names = ("adbench_WBC", "adbench_cardio", "iris", "digits")
    about = {"rows": 90, "columns": 4, "constant": 0, "repeated": 1}
    peer = {"gaussian": -4.0, "factors": -8.0, "mixture": -2.0, "columns": 4}
    density = {"variational": {"score": -4.04, "columns": 4}, "peers": peer}
    now = {name: {"0": _parts(1.0, **density), "1": _parts(1.004, **density)} for name in names}
    now["digits"]["1"]["basic"] = {"error": "TrainingDiverged: at step 3", "fits": [], "run": "r"}
    now[child.EXAMPLES] = {"0": {"readme": {"figures": {"score": 76.0}, "fits": []}}}
    former = {name: {"0": _parts(1.2), "1": _parts(1.2)} for name in names}
    return {
        "seeds": [0, 1],
        "jobs": 1,
        "libraries": {"now": "a", "former": "b"},
        "sets": {n: about | {"kind": sets.SETS[n].kind, "half": sets.half_of(n)} for n in names},
        "runs": {"now": now, "former": former},
    }


def test_a_promise_is_held_against_the_mean_over_seeds_and_a_failed_fit_does_not_meet_it():
    one = next(v for v in promises.verdicts(_found()) if v.promise.name == "basic: error / PCA")
    assert one.met == {"adbench_WBC": True, "adbench_cardio": True, "iris": True, "digits": False}
    assert [one.count(half) for half in (None, *sets.HALVES)] == [(3, 4), (2, 2), (1, 2)]
    assert not one.holds
    assert one.worst == "digits"


def test_a_share_of_the_sets_is_enough_where_it_is_promised():
    promise = promises.Promise("x", promises.figure("x", "y"), "<", 1.0, share=0.9)
    values = {str(i): [0.5] for i in range(19)}
    assert promises.Verdict(promise, values | {"a": [2.0], "b": [2.0]}).holds
    assert not promises.Verdict(promise, values | {"a": [2.0], "b": [2.0], "c": [2.0]}).holds
    assert promises.Promise("x", promise.value, "≤", 1.0, slack=5e-4).is_met([1.0004])
    assert not promises.Promise("x", promise.value, "≤", 1.0).is_met([math.nan])


def test_densities_are_compared_in_nats_a_column():
    values = {v.promise.name: v.values["iris"] for v in promises.verdicts(_found()) if "variational" in v.promise.name}
    assert list(values.values()) == [pytest.approx([-0.01] * 2), pytest.approx([-0.51] * 2)]
    same = _parts(1.0, variational={"score": -4.0, "columns": 4}, peers={"gaussian": -4.0, "columns": 4})
    same["peers"]["figures"] |= {"factors": -5.0, "mixture": -6.0}
    same |= {"variational, no repeated values": same["variational"]}
    same |= {"peers, no repeated values": {"figures": {"same": 1.0}, "fits": []}}
    assert promises.densities(same, repeated=False) == promises.densities(same, repeated=True)


def test_the_report_tells_of_now_and_formerly():
    found = _found()
    text = tables.report(found)
    summary = [line for line in text.splitlines() if line.startswith("basic: error / PCA")][-1]
    assert "3 of 4" in summary
    assert "digits failed" in summary
    assert summary.endswith("0 of 4")
    assert "README's example: nats" in text
    seconds = {line[0]: line[1:] for line in tables.seconds_table(found)}
    assert seconds["all"][-2:] == seconds["basic"][-2:]
    assert found["runs"]["now"]["digits"]["1"]["basic"]["fits"] == []


def test_seconds_of_different_runs_are_not_compared():
    found = _found()
    for by_seed in found["runs"]["former"].values():
        for parts in by_seed.values():
            parts["sparse"]["run"] = "another"
    seconds = {line[0]: line[1:] for line in tables.seconds_table(found)}
    assert float(seconds["basic"][0]) == 7  # the basic system of four sets and two seeds, but for the fit that failed


def test_the_section_is_made_from_what_is_saved(tmp_path):
    file = tmp_path / "first_contact.json"
    assert page.section(file) == ""
    page.save(file, _found())
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved["runs"] == _found()["runs"]
    assert {"date", "machine", "load"} <= set(saved)
    section = page.section(file)
    assert section.startswith("## First contact: default settings\n")
    assert re.search(r"\| digits \| held back \| image \| [12] \| \*\*failed\*\* \|", section)
    assert r"\|ρ̂ − ρ\|" not in section  # not measured
    assert "| README's example: nats | 76.00 |" in section


def test_the_section_stands_in_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    page.save(tmp_path / "first_contact.json", _found())
    without = results.text(published.RESULTS, tmp_path / "none.json")
    whole = results.text(published.RESULTS, tmp_path / "first_contact.json")
    section = page.section(tmp_path / "first_contact.json")
    assert whole.count(section) == 1
    assert whole.replace("\n" + section, "", 1) == without
