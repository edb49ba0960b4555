"""The report: what it is asked, what it measures, and the command that writes it."""

import base64
import gzip
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from sklearn.datasets import load_wine

import diabolo
from diabolo import parts
from diabolo.data.readers import labels
from diabolo.errors import InvalidData
from diabolo.estimators.base import BaseAutoencoder
from diabolo.report import collect, diagnostics, rows
from reported_models import FEW, MAKERS, X, Y, bundle, fitted, iris, page, rows_of

# -- the page ---------------------------------------------------------------------------------------------------------


OF_ITS_OWN_KIND = ("variational", "table", "denoising")
"""Reports of these show all that there is; the others' are looked at with `-m slow`."""


@pytest.mark.parametrize(
    "name", [name if name in OF_ITS_OWN_KIND else pytest.param(name, marks=pytest.mark.slow) for name in MAKERS]
)
def test_a_report_is_one_file_that_needs_nothing_else(name):
    html = page(name)
    assert len(html) < 15e6
    without_library = re.sub(r'id="library">[^<]*<', "", html)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*|@import|url\((?!data:)""", without_library)
    for section in ("findings", "learning", "rows", "features", "map", "explorer", "again"):
        assert f'<section id="{section}"' in html


def test_what_is_shown_follows_from_the_parts():
    titles = {name: set(re.findall(r"<h2>([^<]*)</h2>", page(name))) for name in MAKERS}
    assert {name for name in MAKERS if "Latent units" in titles[name]} == {"variational", "bernoulli", "table"}
    assert {name for name in MAKERS if "Sparse units" in titles[name]} == {"sparse"}
    assert {name for name in MAKERS if "Noise" in titles[name]} == {"denoising"}
    assert "Samples and interpolation" in titles["variational"]
    assert "Interpolation" in titles["basic"]


def test_two_reports_of_one_model_are_the_same():
    assert fitted("variational").report(X, Y, image_shape=(8, 8)) == page("variational")


def test_without_rows_there_are_the_learning_the_samples_and_the_explorer():
    html = fitted("variational").report()
    titles = re.findall(r"<h2>([^<]*)</h2>", html)
    assert titles == [
        "Findings", "Learning", "Latent explorer", "Samples and interpolation", "Reproducibility"
    ]  # fmt: skip


def test_the_map_can_be_coloured_by_any_column_and_by_a_label():
    found = bundle(page("table"))["map"]
    assert {"species", "petal width (cm)", "log p", "reconstruction error"} <= set(found["colors"])
    assert set(found["colors"]["species"]) == {"setosa", "versicolor", "virginica"}
    assert bundle(page("basic"))["map"]["colors"]["label"] == Y.tolist()


def test_columns_keep_their_own_colours_whatever_their_names_are():
    rows = np.random.default_rng(0).normal(size=(30, 3))
    frame = pd.DataFrame(rows, columns=["label", "log p", "reconstruction error"])
    model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(frame)
    colors = bundle(model.report(frame, np.arange(30)))["map"]["colors"]
    for i, name in enumerate(frame.columns):
        np.testing.assert_allclose(colors[name], rows[:, i], rtol=1e-3, atol=1e-3)
    assert list(range(30)) in colors.values()
    assert len(colors) == 6


def test_every_unit_of_a_sparse_code_is_shown_with_the_rows_that_it_answers_to():
    html = page("sparse")
    units = {int(unit) for unit in re.findall(r"unit (\d+), ρ̂", html)}
    assert units == set(range(1, 71))
    table = diabolo.SparseAutoencoder(n_hidden=20, **FEW).fit(load_wine(as_frame=True).data)
    found = table.report(load_wine(as_frame=True).data)
    assert "the other 8 units" in found
    assert set(re.findall(r"<tr><td>(\d+)</td><td>0\.\d{3}</td>", found)) == {str(unit) for unit in range(1, 21)}


def test_a_wide_table_can_be_coloured_by_all_of_its_columns():
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 50)), columns=[f"c{i}" for i in range(50)])
    model = diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(wide)
    found = bundle(model.report(wide))["map"]
    assert {f"c{i}" for i in range(50)} <= set(found["colors"])
    assert len(found["names"]) == len(found["rows"][0]) == 24


def test_rows_of_a_table_stand_over_their_reconstructions_in_its_units():
    section = re.search(r'<section id="rows".*?</section>', page("table"), flags=re.DOTALL)[0]
    cells = [re.findall(r"<t[hd]>([^<]*)", line) for line in section.split("<tr>")[1:]]
    names, *lines = cells
    assert [line[0].split(":")[0] for line in lines[::2]] == ["best", "best", "median", "median", "worst", "worst"]
    assert {line[0] for line in lines[1::2]} == {"reconstruction"}
    assert all(len(line) == len(names) for line in lines)


def test_the_map_holds_the_rows_as_the_user_gave_them():
    found = bundle(page("table"))["map"]
    first = iris().slice(0, 1).to_pylist()[0]
    assert dict(zip(found["names"], found["rows"][0], strict=True)) == {
        name: value if isinstance(value, str) else f"{value:g}" for name, value in first.items()
    }


def test_missing_cells_are_shown_as_missing(tmp_path):
    holes = np.random.default_rng(0).uniform(size=X.shape) < 0.1
    model = diabolo.BasicAutoencoder(n_latent=4, scaling=None, **FEW).fit(np.where(holes, np.nan, X))
    html = model.report(np.where(holes, np.nan, X))
    assert "NaN" not in gzip.decompress(base64.b64decode(re.search(r'id="bundle">([^<]*)<', html).group(1))).decode()


def test_rows_in_chunks_are_looked_at_here_and_there(tmp_path, monkeypatch):
    many = np.random.default_rng(0).normal(size=(7_000, 3)).astype(np.float32)
    monkeypatch.setattr("diabolo.data.blocks.CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr("diabolo.data.blocks.BLOCK_BYTES", 1 << 12)
    np.save(tmp_path / "rows.npy", many)
    model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(many)
    results = collect.collect(model, tmp_path / "rows.npy").results
    assert len(results.rows) == rows.MOST_ROWS
    assert results.n_given == len(many)
    np.testing.assert_array_equal(results.rows, many[results.numbers])


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("name", ["basic", "variational", "table"])
def test_a_few_rows_will_do(name, n):
    rows = rows_of(name)[:n] if name != "table" else iris(n)
    html = fitted(name).report(rows, image_shape=None if name == "table" else (8, 8))
    assert f" {n} row{'s' * (n > 1)}" in html
    assert len(bundle(html)["map"]["numbers"]) == n


def test_labels_can_be_a_column_an_array_or_an_answer(tmp_path):
    np.savez(tmp_path / "rows.npz", X=X, y=Y, wide=X[:, :2])
    assert labels(str(tmp_path / "rows.npz"), "y") == Y.tolist()
    for name in ("z", "wide"):
        with pytest.raises(InvalidData, match=name):
            labels(str(tmp_path / "rows.npz"), name)
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(InvalidData):
        labels(str(tmp_path / "rows.npy"), "y")
    table = iris()
    for at, part in enumerate((table.slice(0, 70), table.slice(70))):
        pa.csv.write_csv(part, tmp_path / f"{at}.csv")
    wanted = table["species"].to_pylist()
    assert labels(str(tmp_path / "*.csv"), "species") == wanted
    assert labels(f"SELECT species FROM '{tmp_path}/*.csv'", "species") == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": [1, 2]}, "y"),
        ({"image_shape": (7, 8)}, "image_shape"),
        ({"image_shape": (8, 4, 2)}, "image_shape"),
    ],
)
def test_what_does_not_suit_the_rows_is_refused(given, message):
    with pytest.raises(InvalidData, match=message):
        fitted("basic").report(X, **given)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(InvalidData, match="nowhere"):
        fitted("basic").report(path=tmp_path / "nowhere" / "report.html")
    assert not list(tmp_path.iterdir())


# -- what is measured -------------------------------------------------------------------------------------------------


def test_the_evidence_is_what_the_estimator_says():
    model = fitted("variational")
    results = collect.collect(model, X).results
    np.testing.assert_allclose(results.scores, model.score_samples(X), rtol=1e-5)
    np.testing.assert_allclose(results.kl, model.kl(X), rtol=1e-5)
    np.testing.assert_allclose(results.codes, model.transform(X), rtol=1e-5)
    reconstructions = model.reconstruct(X)
    np.testing.assert_allclose(results.errors, np.square(X - reconstructions).mean(axis=1), rtol=1e-4)
    assert results.explained == pytest.approx(diabolo.metrics.explained_variance(X, reconstructions), abs=1e-5)


def test_the_error_of_a_denoiser_grows_with_the_noise_and_its_own_level_is_among_them():
    found = collect.collect(fitted("denoising"), X).results.noise
    assert found.before[0] == 0
    assert list(found.before) == sorted(found.before)
    at = found.factors.index(1.0)
    assert found.before[at] == pytest.approx(fitted("denoising").model_.recipe.corruption.sigma ** 2, rel=0.05)
    assert found.after[-1] > found.after[0]


CORRUPTIONS = [
    parts.GaussianNoise(0.2),
    parts.SaltAndPepper(0.2, 0.0, 1.0),
    parts.Masking(0.2),
    parts.MaskCells(0.2),
    parts.Chain((parts.GaussianNoise(0.2), parts.Masking(0.2))),
    parts.RandomChoice((parts.GaussianNoise(0.2), parts.Masking(0.2))),
]


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=repr)
def test_a_corruption_times_a_factor(corruption):
    rows = jnp.full((200, 50), 0.5)

    def harm(part):
        noisy = part(jax.random.key(0), rows)
        return float(jnp.where(jnp.isnan(noisy), 1.0, jnp.abs(noisy - rows)).mean())

    assert harm(corruption.scale_level(0.0)) == 0
    assert harm(corruption.scale_level(1.0)) == harm(corruption)
    assert harm(corruption.scale_level(0.5)) < harm(corruption) < harm(corruption.scale_level(2.0))


def test_no_corruption_has_no_level():
    assert parts.NoCorruption().scale_level(2.0) is None


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_what_is_amiss(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted("table").save("run")
    pa.csv.write_csv(iris().append_column("bed", pa.array(["a", "b", "c"] * 50)), "iris.csv")
    status, out, err = run("report", "run", "iris.csv", "--color", "bed", "-o", "page.html")
    assert status == 0, err
    assert "the report is page.html" in out
    assert set(bundle((tmp_path / "page.html").read_text())["map"]["colors"]["label"]) == {"a", "b", "c"}
    findings = diagnostics.diagnose(collect.collect(fitted("table"), iris()))
    assert all(finding.evidence in out for finding in findings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "iris.csv", "--color", "nope"), "nope"),
        (("run", "--color", "species"), "--color"),
        (("run", "iris.csv", "--image-shape", "8"), "HEIGHTxWIDTH"),
        (("run", "iris.csv", "--image-shape", "8x9"), "image_shape"),
        (("run", "iris.csv", "-o", "nowhere/page.html"), "cannot be written"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(arguments, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted("table").save("run")
    pa.csv.write_csv(iris(), "iris.csv")
    status, _, err = run("report", *arguments)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("*.html"))


def test_every_autoencoder_has_a_report():
    assert BaseAutoencoder.report.__doc__
