"""The examples: each runs as a person would run it, says its figures, and leaves a picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_runs_says_its_figures_and_leaves_a_picture(script, tmp_path):
    command = [sys.executable, "-W", "error", str(script), "--quick", "--out", "picture.png"]
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)
    assert not done.stderr
    pixels = np.asarray(Image.open(tmp_path / "picture.png").convert("L"), float)
    assert min(pixels.shape) >= 200
    assert pixels.std() > 5
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_there_are_examples_and_the_documentation_names_them():
    assert len(EXAMPLES) == 5
    page = (Path(__file__).parents[2] / "docs" / "examples.md").read_text()
    assert all(f"examples/{file.name}" in page for file in EXAMPLES)
