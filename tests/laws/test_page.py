"""The page of robustness says what is recorded, and names tests that exist."""

import json
from pathlib import Path

import pytest
from benchmarks.laws import page
from benchmarks.laws.lines import LINES
from benchmarks.laws.table import KNOWN, LAWS, pairs

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_results_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert page.PAGE.read_text(encoding="utf-8") == page.text(page.RESULTS, page.FUZZ)


def test_what_is_recorded_are_laws_that_there_are():
    found = json.loads((ROOT / page.RESULTS).read_text(encoding="utf-8"))["laws"]
    there_are = {(law.name, subject.name) for subject, law in pairs()}
    assert {(law, subject) for law, subjects in found.items() for subject in subjects} <= there_are


@pytest.mark.parametrize("line", [line for line in LINES if line.tests], ids=lambda line: line.name)
def test_every_test_that_the_page_names_exists(line):
    for name in line.tests:
        file, test = name.split("::")
        assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"), name


def test_known_failures_are_of_laws_and_estimators_that_there_are():
    there_are = {(law.name, subject.name) for subject, law in pairs()}
    assert all((known.law, subject) in there_are for known in KNOWN for subject in known.subjects)


def test_the_page_tells_of_a_law_that_fails(tmp_path):
    name = next(iter(LAWS))
    told = {
        "date": "2026-01-01",
        "seed": 0,
        "machine": {"cpu": "a processor", "versions": {"jax": "1"}},
        "laws": {name: {"basic": {"cases": 7, "failure": "AssertionError: no"}}},
    }
    (tmp_path / "laws.json").write_text(json.dumps(told))
    made = page.text(tmp_path / "laws.json", tmp_path / "fuzz.json")
    assert "| 7 | **fails: basic** |" in made
    assert "Damaged input" not in made
