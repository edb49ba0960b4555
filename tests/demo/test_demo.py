"""The demo: it ends well, shows every picture, and its figures keep what the README promises."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from diabolo import demo
from diabolo.errors import UsageError

PICTURES = {"reconstructions", "curves", "denoising", "latent", "sparse", "samples"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "page"
    # As a user runs it: conftest.py has the programs of this process compiled for a short life.
    kept = {k: value for k, value in os.environ.items() if k not in ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")}
    command = [sys.executable, "-m", "diabolo", "demo", "--out", str(out), "--seed", "0"]
    subprocess.run(command, env=kept, check=True)
    return out


@pytest.fixture(scope="module")
def results(shown):
    return json.loads((shown / "results.json").read_text())


@pytest.mark.slow
def test_the_page_shows_every_picture_and_needs_no_network(shown):
    page = (shown / "index.html").read_text()
    for name in PICTURES:
        assert f'src="pictures/{name}.png"' in page
        with Image.open(shown / "pictures" / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("L").getcolors(1 << 20)) > 16  # something is drawn
    assert "http" not in page


@pytest.mark.slow
def test_the_stacked_one_beats_pca_of_the_same_width(results):
    stacked = results["reconstruction"]["stacked"]
    assert stacked["code"] == 8
    assert stacked["squared_error"] < 0.6 * stacked["pca_squared_error"]
    assert stacked["explained_variance"] > stacked["pca_explained_variance"] + 0.1


@pytest.mark.slow
def test_the_basic_one_is_pca(results):
    basic = results["reconstruction"]["basic"]
    assert basic["squared_error"] == pytest.approx(basic["pca_squared_error"], rel=0.02)


@pytest.mark.slow
def test_every_denoiser_gains_at_least_four_decibels(results):
    assert set(results["denoising"]) == {"gaussian", "salt_and_pepper", "masking"}
    for noise in results["denoising"].values():
        assert noise["psnr_after"] > noise["psnr_before"] + 4


@pytest.mark.slow
def test_the_sparse_one_is_sparse_and_faithful(results):
    assert results["sparse"]["mean_abs_difference"] < 0.02
    assert results["sparse"]["mean_abs_difference_held_out"] < 0.02
    assert results["reconstruction"]["sparse"]["explained_variance"] > 0.9


@pytest.mark.slow
def test_the_variational_one_uses_its_units_and_its_bounds_are_in_order(results):
    assert results["variational"]["active_units"] >= 6
    assert results["variational"]["log_p"] > results["variational"]["elbo"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError):
        demo.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
