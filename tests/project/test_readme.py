"""README.md is true: its commands run, its figures are those recorded; and its Korean translation stays in step."""

import json
import re
import shlex
from pathlib import Path
from statistics import fmean

import pytest

from diabolo import datasets
from diabolo.estimators import autoencoders, generator, imputer, trainable
from helpers import train_briefly

ROOT = Path(__file__).parents[2]
ENGLISH, KOREAN = (ROOT / name for name in ("README.md", "README.ko.md"))


def text(page):
    found = page.read_text(encoding="utf-8")
    return re.sub(r"\[(?:English|한국어)\]\(README(?:\.ko)?\.md\)\n", "", found)  # each names the other


def without_code(page):
    return re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)


SAME = {
    "headings": lambda page: re.findall(r"^(#+) ", without_code(page), flags=re.MULTILINE),
    "code": lambda page: re.findall(r"```.*?```", text(page), flags=re.DOTALL),
    "links": lambda page: re.findall(r"\]\(([^)]+)\)", without_code(page)),
    "tables": lambda page: [line.count("|") for line in without_code(page).splitlines() if line.startswith("|")],
    "names": lambda page: sorted(re.findall(r"`([^`]+)`", without_code(page))),
    "points": lambda page: len(re.findall(r"^- ", without_code(page), flags=re.MULTILINE)),
    "formulas": lambda page: [row.split("|")[-2].strip() for row in text(page).splitlines() if "‖²" in row],
}


@pytest.mark.parametrize("what", SAME)
def test_both_languages_have_the_same(what):
    found = SAME[what]
    assert found(ENGLISH)
    assert found(ENGLISH) == found(KOREAN)


def test_each_leads_to_the_other():
    assert "(README.ko.md)" in ENGLISH.read_text(encoding="utf-8")
    assert "(README.md)" in KOREAN.read_text(encoding="utf-8")


def test_the_translation_is_korean():
    prose = without_code(KOREAN)
    assert len(re.findall(r"[가-힣]", prose)) > 800


# -- what it says is true ---------------------------------------------------------------------------------------------


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", text(ENGLISH), flags=re.DOTALL)


def test_the_examples_run_and_the_first_finds_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    first, *others = blocks("python")
    exec(compile(first, "README", "exec"), scope)
    train_briefly(monkeypatch)
    exec(compile("\n".join(others), "README", "exec"), scope)
    faulty = datasets.load_pump(subset="new").target > 0
    flagged = scope["flagged"]
    found = [flagged[faulty].sum(), faulty.sum(), flagged[~faulty].sum(), (~faulty).sum()]
    said = re.search(r"(\d+) of (\d+) faults, (\d+) of (\d+) other rows", first)
    assert [int(one) for one in said.groups()] == found
    assert scope["columns"].shape == (flagged.sum(), 3)


@pytest.mark.slow
def test_every_command_runs_in_an_empty_directory(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for owner, name, few in (
        (trainable.TrainableEstimator, "_steps", 100),
        (autoencoders.DenoisingAutoencoder, "_steps", 100),
        (trainable, "_LEAST_EPOCHS", 1),
        (imputer, "_STEPS", (100, 100)),
        (generator, "_STEPS", 100),
        (generator, "_LEAST_EPOCHS", 1),
    ):
        monkeypatch.setattr(owner, name, few)
    install, commands = blocks("sh")
    assert install == "pip install .\n"
    lines = [shlex.split(line, comments=True) for line in commands.splitlines() if line]
    assert len(lines) > 10
    for program, *words in lines:
        assert program == "diabolo"
        status, out, err = run(*words)
        assert status == 0, (words, err)
        assert out or "-o" in words
    assert (tmp_path / "filled.csv").exists()
    assert len(list((tmp_path / "cleaned").iterdir())) == 60


def recorded(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def figures():
    """The figures of each row of the table of measurements, as recorded: diabolo's, and the others' in order."""
    found = recorded("anomaly")
    split, mixed, earlier = (
        {name: fmean(fmean(seeds) for seeds in sets.values()) for name, sets in found[protocol]["auroc"].items()}
        for protocol in ("split", "mixed", "earlier")
    )
    split |= earlier
    peers = ("KNN, k = 5", "PyOD AutoEncoder", "PCA", "PyOD VAE", "isolation forest")
    yield "anomaly", [split["diabolo"]], [split[name] for name in peers]
    peers = ("robust covariance", "isolation forest", "PCA", "KNN, k = 5", "local outlier factor")
    yield "anomaly", [mixed["diabolo, contaminated"]], [mixed[name] for name in peers]
    errors = {
        name: fmean(one["error"] for one in runs)
        for name, runs in recorded("imputation")["found"]["breast_wdbc"].items()
    }
    yield "imputation", [errors["diabolo"]], [errors[name] for name in ("IterativeImputer", "forests", "KNN", "mean")]
    digits = recorded("generation")["found"]["digits"]
    accuracy = {name: fmean(one["accuracy"] for one in runs) for name, runs in digits.items()}
    yield "generation", [accuracy["diabolo"]], [accuracy[name] for name in ("copula", "TVAE", "CTGAN")]
    fashion = recorded("retrieval")["found"]["Fashion-MNIST"]
    codes = {name: fmean(one["precision"] for one in sizes["16"]) for name, sizes in fashion["codes"].items()}
    yield "retrieval", [codes["diabolo"]], [fashion["pixels"], codes["PCA"], codes["UMAP"]]
    lines = recorded("speed")["lines"]
    for line, names in (("vae", ("PyTorch compiled", "PyOD", "pythae")), ("deep", ("PyTorch compiled",))):
        rows = {name: lines[line]["figures"][f"{name}, steady"]["median"] / 1000 for name in ("diabolo", *names)}
        yield f"speed --only {line}", [rows["diabolo"]], [rows[name] for name in names]
    nets = {name: one["median"] for name, one in lines["sweep"]["figures"].items()}
    yield "speed --only sweep", [nets["diabolo"]], [nets["PyTorch"]]


def test_the_figures_are_those_recorded():
    rows = [line.split("|") for line in text(ENGLISH).splitlines() if "python -m benchmarks." in line]
    assert len(rows) == len(list(figures()))
    for (_, _, ours, others, command, _), (name, own, peers) in zip(rows, figures(), strict=True):
        assert f"benchmarks.{name}" in command
        for cell, values in ((ours, own), (others, peers)):
            said = re.findall(r"(?<![\d-])\d+\.\d+", cell)
            assert said == [f"{value:.{len(one.split('.')[1])}f}" for one, value in zip(said, values, strict=True)], (
                name
            )
    table = recorded("imputation")["found"]["spam"]
    ours, forests = (fmean(one["error"] for one in table[name]) for name in ("diabolo", "forests"))
    assert f"{100 * (ours / forests - 1):.0f} %" in text(ENGLISH)
    sets = recorded("anomaly")["split"]["auroc"]
    worse = sum(fmean(sets["diabolo"][one]) <= fmean(sets["KNN, k = 5"][one]) for one in sets["diabolo"])
    assert f"nearest neighbours for anomalies on {worse} of the {len(sets['diabolo'])} sets" in text(ENGLISH)
