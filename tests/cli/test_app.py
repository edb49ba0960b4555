"""The command line as its user meets it: what it writes, what it says, how it ends."""

import io
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine

import diabolo
from diabolo.cli import options
from diabolo.data import blocks, readers

SMALL = ("-s", "max_epochs=2", "-s", "batch_size=64")


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    frame = load_wine(as_frame=True).frame
    frame.insert(0, "id", [f"bottle {i}" for i in range(len(frame))])
    path = tmp_path_factory.mktemp("wine") / "wine.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(wine, tmp_path_factory):
    """A saved variational model, made by the command itself."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    words = ["fit", wine, "-m", "variational", "-o", out, "--exclude", "id,target", "-s", "n_latent=3", *SMALL]
    done = subprocess.run(
        [sys.executable, "-m", "diabolo", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar on a pipe
    assert re.search("178 .*13 ", done.stdout)
    return out


@pytest.mark.parametrize("model", [name for name, kind in options.MODELS.items() if kind not in options.MADE_FOR])
def test_every_autoencoder_fits_from_a_csv(model, wine, run, tmp_path):
    status, out, err = run("fit", wine, "-m", model, "-o", tmp_path / "r", "--exclude", "id,target", "-q", *SMALL)
    assert (status, out, err) == (0, "", "")
    model = diabolo.load(tmp_path / "r")
    assert model.get_params()["max_epochs"] == 2
    assert list(model.feature_names_in_)[:2] == ["alcohol", "malic_acid"]


def test_a_table_as_it_is_becomes_a_model_and_new_rows_of_the_same_columns(run, tmp_path):
    iris = load_iris(as_frame=True).frame
    iris["target"] = load_iris().target_names[iris["target"]]
    iris.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    iris.loc[::7, "petal_width"] = np.nan
    iris["tag"], iris["box"] = [f"plant {i}" for i in range(150)], np.arange(150) % 3
    iris.to_csv(tmp_path / "iris.csv", index=False)
    (tmp_path / "columns.toml").write_text('box = "category"\n')
    words = ("fit", tmp_path / "iris.csv", "-m", "variational", "--schema", tmp_path / "columns.toml", *SMALL)
    status, out, err = run(*words, "-o", tmp_path / "run")
    assert (status, err) == (0, "")
    assert re.search(r"^species +category .*setosa, versicolor, virginica$", out, re.MULTILINE)
    assert re.search(r"^tag +ignore ", out, re.MULTILINE)
    assert re.search(r"scaling standard", out)
    assert re.search(r"-?[0-9.]+%", out)
    status, out, _ = run("sample", tmp_path / "run", "-n", 20)
    drawn = pd.read_csv(io.StringIO(out))
    assert drawn.columns.tolist() == [*iris.columns.drop("tag")]
    assert set(drawn["species"]) <= set(load_iris().target_names)
    assert drawn["box"].isin([0, 1, 2]).all()
    words = ("sample", tmp_path / "run", "-n", 4, "-g", "species=setosa", "--given", "petal_length=1.5")
    drawn = pd.read_csv(io.StringIO(run(*words)[1]))
    assert (drawn["species"] == "setosa").all()
    assert (drawn["petal_length"] == 1.5).all()
    status, _, err = run("sample", tmp_path / "run", "-g", "species=rose")
    assert (status, err.count("\n")) == (2, 1)
    assert re.search("rose.*setosa, versicolor, virginica", err)
    status, out, _ = run("reconstruct", tmp_path / "run", tmp_path / "iris.csv", "-o", tmp_path / "again.parquet")
    assert pd.read_parquet(tmp_path / "again.parquet").isna().to_numpy().sum() == 0
    status, out, err = run("reconstruct", tmp_path / "run", tmp_path / "iris.csv", "-o", tmp_path / "again.npy")
    assert status == 2
    assert "species" in err
    assert run("impute", tmp_path / "run", tmp_path / "iris.csv", "-o", tmp_path / "whole.csv") == (0, "", "")
    whole = pd.read_csv(tmp_path / "whole.csv")
    assert whole["petal_width"].notna().all()
    assert whole.drop(columns="petal_width").equals(pd.read_csv(tmp_path / "iris.csv").drop(columns="petal_width"))
    status, out, _ = run("info", tmp_path / "run")
    assert re.search(r"^ +box +category .*0, 1, 2$", out, re.MULTILINE)


@pytest.mark.slow
def test_filled_cells_come_with_intervals(run, tmp_path):
    bunch = load_iris(as_frame=True)
    whole = bunch.data.set_axis(["a", "b", "c", "d"], axis=1).assign(species=bunch.target_names[bunch.target])
    holes = whole.mask(np.random.default_rng(0).random(whole.shape) < 0.2)
    holes.to_csv(tmp_path / "holes.csv", index=False)
    words = ("fit", tmp_path / "holes.csv", "-m", "imputer", "-s", "estimator=single", "-o", tmp_path / "run")
    assert run(*words)[0] == 0
    status, out, err = run("impute", tmp_path / "run", tmp_path / "holes.csv", "--interval", 0.9)
    assert (status, err) == (0, "")
    found = pd.read_csv(io.StringIO(out))
    assert found.columns.tolist() == [*whole.columns, *(f"{name}_{end}" for name in "abcd" for end in ("low", "high"))]
    alone = pd.read_csv(io.StringIO(run("impute", tmp_path / "run", tmp_path / "holes.csv")[1]))
    pd.testing.assert_frame_equal(alone, found[whole.columns])
    low, high = (found[[f"{name}_{end}" for name in "abcd"]].to_numpy() for end in ("low", "high"))
    cells, missing = whole[[*"abcd"]].to_numpy(), holes[[*"abcd"]].isna().to_numpy()
    assert (low == high)[~missing].all()
    assert ((low <= cells) & (cells <= high))[missing].mean() > 0.8
    found.to_csv(tmp_path / "again.csv", index=False)
    status, _, err = run("impute", tmp_path / "run", tmp_path / "again.csv", "--interval", 0.9)
    assert (status, "a_low" in err) == (2, True)
    assert run("impute", tmp_path / "run", tmp_path / "holes.csv", "--interval", 1)[0] == 2


def test_a_folder_of_images_becomes_one_of_images_again(run, tmp_path, monkeypatch):
    from PIL import Image

    (tmp_path / "digits").mkdir()
    for i, digit in enumerate(load_digits().images[:100]):
        Image.fromarray((255 / 16 * digit).astype(np.uint8)).save(tmp_path / "digits" / f"{i:03}.png")
    words = (
        "fit",
        tmp_path / "digits",
        "-m",
        "variational",
        "-s",
        "likelihood=bernoulli",
        "-s",
        "scaling=none",
        *SMALL,
    )
    assert run(*words, "-o", tmp_path / "run")[0] == 0
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 4 * 64 * 30)  # so that it is done piece by piece
    assert run("reconstruct", tmp_path / "run", tmp_path / "digits", "-o", tmp_path / "again") == (0, "", "")
    again, model = readers.read(tmp_path / "again"), diabolo.load(tmp_path / "run")
    assert [file.name for file in again.images.files] == [f"{i:03}.png" for i in range(100)]
    np.testing.assert_allclose(again.rows, model.reconstruct(tmp_path / "digits"), atol=0.5 / 255 + 1e-6)
    assert run("sample", tmp_path / "run", "-n", 12, "-o", tmp_path / "new", "--means")[0] == 0
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [f"{i:02}.png" for i in range(1, 13)]
    assert readers.read(tmp_path / "new").images.shape == (8, 8)
    status, _, _ = run("denoise", tmp_path / "run", tmp_path / "digits", "-o", tmp_path / "cleaned")
    assert (status, (tmp_path / "cleaned").exists()) == (2, False)
    status, _, err = run("score", tmp_path / "run", tmp_path / "digits", "-o", tmp_path / "scores")
    assert status == 2
    assert ".csv" in err
    status, _, err = run("reconstruct", tmp_path / "run", tmp_path / "digits", "-o", tmp_path / "again")
    assert status == 2
    assert "again" in err


def test_denoised_images_come_back_under_their_names(tmp_path, run):
    from PIL import Image

    (tmp_path / "digits").mkdir()
    for i, digit in enumerate(load_digits().images[:40]):
        Image.fromarray((255 / 16 * digit).astype(np.uint8)).save(tmp_path / "digits" / f"{i:02}.png")
    words = ("fit", tmp_path / "digits", "-m", "denoising", "-s", "corruption=masking", *SMALL)
    assert run(*words, "-o", tmp_path / "run")[0] == 0
    assert run("denoise", tmp_path / "run", tmp_path / "digits", "-o", tmp_path / "cleaned") == (0, "", "")
    cleaned, model = readers.read(tmp_path / "cleaned"), diabolo.load(tmp_path / "run")
    assert [file.name for file in cleaned.images.files] == [f"{i:02}.png" for i in range(40)]
    expected = np.clip(model.denoise(tmp_path / "digits"), 0, 1)
    np.testing.assert_allclose(cleaned.rows, expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("command", ["transform", "reconstruct", "score"])
def test_outputs_equal_the_estimators(command, suffix, fitted, wine, run, tmp_path):
    status, out, _ = run(command, fitted, wine, "-o", tmp_path / f"out{suffix}")
    assert (status, out) == (0, "")
    model = diabolo.load(fitted)
    X = load_wine().data
    call = getattr(model, "score_samples" if command == "score" else command)
    expected = np.asarray(call(pd.DataFrame(X, columns=model.feature_names_in_))).reshape(len(X), -1)
    got = diabolo.data.readers.read(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(got.rows, expected)
    if suffix != ".npy":
        names = {"transform": [f"variationalautoencoder{i}" for i in range(3)], "score": ["log_density"]}
        assert list(got.names) == names.get(command, list(model.feature_names_in_))


def test_output_goes_to_standard_output_as_csv(fitted, wine, run):
    status, out, err = run("score", fitted, wine)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "log_density"
    assert len(lines) == 179
    assert run("score", fitted, wine, "-o", "-")[1] == out


def test_samples_follow_their_seed(fitted, run):
    first, again, other = (run("sample", fitted, "-n", 4, "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again != other
    assert len(first.splitlines()) == 5
    assert run("sample", fitted, "-n", 4, "--seed", 1, "--means")[1] != first


def test_info_tells_and_json_is_the_manifest(fitted, run):
    status, out, _ = run("info", fitted)
    assert status == 0
    for words in ("VariationalAutoencoder", "178", "alcohol", "n_latent", "validation_loss", "jax"):
        assert words in out
    assert json.loads(run("info", fitted, "--json")[1])["parameters"]["n_latent"] == 3


def test_two_runs_with_one_seed_are_equal_to_the_bit(wine, run, tmp_path):
    for name in ("a", "b"):
        run("fit", wine, "-m", "basic", "-o", tmp_path / name, "--exclude", "id,target", "--seed", 7, "-q", *SMALL)
    for file in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_config_file_gives_any_option_and_the_command_line_wins(wine, run, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        f'''data = "{wine}"
model = "denoising"
exclude = ["id", "target"]
seed = 3
[parameters]
max_epochs = 2
batch_size = 64
n_latent = 2
hidden_layer_sizes = [16, 8]
corruption = {{ part = "Chain", steps = [{{ part = "Masking", p = 0.2 }}, {{ part = "GaussianNoise", sigma = 0.1 }}] }}
'''
    )
    assert run("fit", "-c", config, "-o", tmp_path / "r", "-s", "n_latent=5", "-q")[0] == 0
    model = diabolo.load(tmp_path / "r")
    assert model.n_latent == 5
    assert model.random_state == 3
    assert model.hidden_layer_sizes == (16, 8)
    assert [type(step).__name__ for step in model.corruption.steps] == ["Masking", "GaussianNoise"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=8", 8), ("a=0.5", 0.5), ("a=true", True), ("a=None", None), ("a=none", None), ("a=linear", "linear"),
        ("a=64,32", (64, 32)), ("a=[64, 32]", (64, 32)), ("a=x=y", "x=y"), ("a=", ""),
    ],
)  # fmt: skip
def test_settings_are_read_as_what_they_look_like(text, value):
    assert options.parse_setting(text) == ("a", value)


BAD_CALLS = {
    "no such data": ("fit {tmp}/no.csv -m basic -o {tmp}/r", "no.csv"),
    "words in columns": ("fit {wine} -m basic -o {tmp}/r -s schema=none", "id"),
    "no schema file": ("fit {wine} -m basic -o {tmp}/r --schema {tmp}/no.toml", "no.toml"),
    "a schema of no column": ("fit {wine} -m basic -o {tmp}/r --schema {nope}", "nope"),
    "no model": ("fit {wine} -o {tmp}/r", "--model"),
    "no out": ("fit {wine} -m basic", "--out"),
    "no data": ("fit -m basic -o {tmp}/r", "DATA"),
    "a model misspelt": ("fit {wine} -m variatonal -o {tmp}/r", "variational"),
    "a parameter misspelt": ("fit {wine} -m basic -o {tmp}/r -s n_latnt=3", r"n_latent\b"),
    "a parameter out of range": ("fit {wine} -m basic -o {tmp}/r --exclude id -s n_latent=0", "n_latent"),
    "a setting without =": ("fit {wine} -m basic -o {tmp}/r -s n_latent", "NAME=VALUE"),
    "an unknown column": ("fit {wine} -m basic -o {tmp}/r --columns alcohool", "alcohool"),
    "no config": ("fit {wine} -c {tmp}/no.toml -o {tmp}/r", "no.toml"),
    "no run": ("score {tmp}/no {wine}", "/no"),
    "an output of no kind": ("score {fitted} {wine} -o {tmp}/r.xlsx", r"\.csv"),
    "a missing column": ("score {fitted} {tmp}/narrow.csv", "column"),
    "an existing run": ("fit {wine} -m basic -o {fitted} --exclude id", "--force"),
    "samples of a code": ("sample {basic}", "BasicAutoencoder|variational"),
    "an unknown command": ("frobnicate", "frobnicate"),
    "an unknown option": ("fit --frobnicate", "frobnicate"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_one_clear_line_status_2_and_nothing_written(name, fitted, wine, run, tmp_path):
    words, message = BAD_CALLS[name]
    if "{basic}" in words:
        run("fit", wine, "-m", "basic", "-o", tmp_path / "basic", "--exclude", "id", "-q", *SMALL)
    pd.DataFrame({"alcohol": [1.0, 2.0]}).to_csv(tmp_path / "narrow.csv", index=False)
    nope = tmp_path / "nope.toml"
    nope.write_text('nope = "count"')
    before = sorted(tmp_path.iterdir())
    places = {"tmp": tmp_path, "wine": wine, "fitted": fitted, "basic": tmp_path / "basic", "nope": nope}
    status, out, err = run(*words.format(**places).split())
    assert status == 2
    assert out == ""
    assert re.search(message, err), err
    if name not in ("an unknown command", "an unknown option"):  # those are the parser's own, with its box
        assert err.startswith("diabolo: ")
        assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_force_replaces_an_older_run(wine, run, tmp_path):
    words = ("fit", wine, "-o", tmp_path / "r", "--exclude", "id", "-q", *SMALL)
    assert run(*words, "-m", "basic")[0] == 0
    assert run(*words, "-m", "sparse", "--force")[0] == 0
    assert type(diabolo.load(tmp_path / "r")).__name__ == "SparseAutoencoder"


def test_extra_columns_in_new_data_are_left_aside(fitted, wine, run, tmp_path):
    frame = pd.read_csv(wine)
    frame[frame.columns[::-1]].to_csv(tmp_path / "reversed.csv", index=False)
    assert run("score", fitted, tmp_path / "reversed.csv")[1] == run("score", fitted, wine)[1]


def test_a_closed_pipe_ends_quietly(fitted, wine):
    command = f"{sys.executable} -m diabolo score {fitted} {wine} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "log_density\n")
    assert done.stderr.count("\n") == 1  # the columns that the model does not use


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; sys.argv = ['diabolo', '--help']\n"
        "from diabolo.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'jax', 'sklearn', 'numpy', 'pyarrow', 'matplotlib', 'equinox'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in (
        "demo",
        "fit",
        "transform",
        "reconstruct",
        "denoise",
        "impute",
        "score",
        "detect",
        "sample",
        "info",
    ):
        assert command in done.stdout


def test_version(run):
    assert run("--version")[:2] == (0, f"diabolo {diabolo.__version__}\n")


def test_empty_cells_are_missing_ones(run, tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n" + "".join(f"{i},{2 * i if i % 5 else ''}\n" for i in range(60)))
    fit = (
        "fit",
        tmp_path / "rows.csv",
        "-o",
        tmp_path / "run",
        "-m",
        "basic",
        "-s",
        "max_epochs=3",
        "-s",
        "n_latent=1",
    )
    assert run(*fit)[0] == 0
    status, out, _ = run("score", tmp_path / "run", tmp_path / "rows.csv")
    assert status == 0
    assert np.isfinite(np.array(out.split()[1:], float)).all()
