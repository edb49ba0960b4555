"""Data larger than memory at full size, with `pytest -m large`; the figures are in benchmarks/results/large.json."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.large
def test_eight_gigabytes_train_within_one_and_a_half(tmp_path):
    out = tmp_path / "large.json"
    command = [sys.executable, "-m", "benchmarks.large", "--folder", str(tmp_path), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    found = json.loads(out.read_text())
    assert max(found[kind]["peak GB"] for kind in (".npy", "Parquet")) <= 1.5
    inside, streamed = found["in memory, before"], found["the same rows from .npy"]
    for loss in ("loss", "validation_loss"):
        assert streamed[loss] == pytest.approx(inside[loss], rel=5e-3)
