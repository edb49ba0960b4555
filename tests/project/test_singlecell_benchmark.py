"""The benchmark of single cells: its scores, and the table of the page, which is the recorded one."""

import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from benchmarks.singlecell import methods
from benchmarks.singlecell.__main__ import report
from benchmarks.singlecell.scores import batch_mixing, scores

ROOT = Path(__file__).parents[2]


def test_mixing_is_1_without_batch_effects_and_0_if_batches_are_apart():
    rng = np.random.default_rng(0)
    line, batch = rng.integers(2, size=600), rng.integers(3, size=600)
    codes = rng.normal(size=(600, 4)) + 20 * line[:, None]
    assert batch_mixing(codes, line, batch) == pytest.approx(1, abs=0.03)
    found = scores(codes, line, batch)
    assert found["ari"] == 1
    assert found["silhouette"] > 0.8
    assert batch_mixing(codes + 1000 * batch[:, None], line, batch) == 0


def test_a_fifth_of_the_cells_is_held_out():
    train, test = methods.held_out(100, 1)
    assert (len(train), len(test)) == (80, 20)
    np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(100))
    assert (methods.held_out(100, 2)[1] != test).any()


def test_the_table_of_the_page_is_the_recorded_one():
    found = json.loads((ROOT / "benchmarks" / "results" / "singlecell.json").read_text())["found"]
    page = (ROOT / "docs" / "singlecell.md").read_text()
    rows = page.split("| | ARI |")[1].split("\n\n")[0].splitlines()[2:]
    table = {name.strip(): [cell.strip() for cell in cells] for _, name, *cells, _ in (row.split("|") for row in rows)}
    assert set(table) == set(found)
    for name, runs in found.items():
        for cell, (key, digits) in zip(
            table[name],
            {"ari": 3, "silhouette": 3, "mixing": 3, "nll": 1, "cpu_seconds": 1}.items(),
            strict=True,
        ):
            values = [run[key] for run in runs if key in run]
            assert cell == (f"{fmean(values):.{digits}f}" if values else ""), (name, key)
    ours, peers = found["diabolo"], [runs for name, runs in found.items() if name.startswith("scvi")]
    for runs in peers:
        for one, other in zip(ours, runs, strict=True):
            assert one["nll"] < other["nll"]
            assert one["cpu_seconds"] < other["cpu_seconds"]
    assert "diabolo" in report(found)
