"""The benchmark of waits: each figure comes from a job that exists, and the page says what was recorded."""

import json

import pytest
from benchmarks.felt import __main__ as felt
from benchmarks.felt import child, lines, page
from benchmarks.published import __main__ as published
from benchmarks.published import page as results

RECORDED = {
    "date": "2026-11-29",
    "load": 0.5,
    "repeats": 3,
    "machine": {"usable_cores": 2, "cpu": "one", "versions": {"jax": "0.10.2", "scikit-learn": "1.9.1"}},
    "lines": {
        "slow": {
            "must": 1.5,
            "unit": "s",
            "ours": [{"seconds": s, "cpu": 2 * s} for s in (1.0, 9.0, 2.0)],
            "others": {"peer": [{"seconds": 3.0, "cpu": 3.0}]},
        },
        "never slower": {"must": None, "unit": "s", "ours": [], "others": {"one": [{"seconds": 1.0, "cpu": 1.0}]}},
        "memory": {"must": 1.0, "unit": "MB", "ours": [{"megabytes": 0.25}], "others": {}},
    },
}


def test_every_figure_is_of_a_job_and_every_job_has_lines():
    needed = {job[0] for job, _ in lines.jobs(list(lines.LINES.values()))}
    assert needed == set(child.JOBS)


def test_tables_are_medians():
    assert page.table(RECORDED["lines"])[1:] == [
        ["slow", "≤ 1.5", "2.00 (4.00)", "peer 3.00 (3.00)"],
        ["never slower", "≤ that of one", "–", "one 1.00 (1.00)"],
        ["memory", "≤ 1", "0.2 MB", ""],
    ]


def test_the_page_has_a_section_of_the_record(tmp_path):
    file = tmp_path / "felt.json"
    file.write_text(json.dumps(RECORDED))
    without, whole = (results.text(published.RESULTS, waits=of) for of in (tmp_path / "none.json", file))
    assert whole.startswith(without)
    assert "| slow | ≤ 1.5 | 2.00 (4.00) | peer 3.00 (3.00) |" in whole.removeprefix(without)


@pytest.mark.slow
def test_a_line_is_measured_in_processes_of_their_own(capsys, tmp_path):
    assert felt.main(["--quick", "--only", "fit again: basic", "--out", str(tmp_path / "felt.json")]) == 0
    assert "fit again: basic" in capsys.readouterr().out
    line = json.loads((tmp_path / "felt.json").read_text())["lines"]["fit again: basic"]
    assert line["ours"][0]["loss"] > 0
    assert line["others"]["MLPRegressor"][0]["seconds"] > 0


def test_no_line_has_these_words(capsys):
    assert felt.main(["--only", "no such line"]) == 2
    assert "no such line" in capsys.readouterr().err
