"""Parameters, settings, saved models and outputs that cannot be, as docs/errors.md lists them: all stays as it was."""

import json

import numpy as np
import pytest

import diabolo
from diabolo import errors, parts
from diabolo.data import blocks
from diabolo.errors import DiaboloError
from diabolo.persistence import files
from errors_page import (
    GOOD,
    MODELS,
    PARAMETERS,
    SETTINGS,
    SMALL,
    WAYS_IN,
    WRITING,
    basic,
    folder_of,
    refused,
    refused_by_the_command,
)


@pytest.fixture(scope="module")
def fitted():
    return basic().fit(GOOD)


@pytest.fixture(scope="module")
def variational():
    return diabolo.VariationalAutoencoder(hidden_layer_sizes=8, **SMALL).fit(GOOD)


def test_every_row_of_the_page_is_tried():
    assert list(PARAMETERS) == list(SET)
    assert list(SETTINGS) == list(TOML)
    assert list(MODELS) == list(DAMAGE)
    assert list(WRITING) == list(WRITTEN)


# -- parameters -------------------------------------------------------------------------------------------------------

SET = {
    "a wrong type": (lambda: basic(n_latent="two"), ("-m", "basic", "-s", "n_latent=two")),
    "out of range": (lambda: basic(learning_rate=-1.0), ("-m", "basic", "-s", "learning_rate=-1.0")),
    "not a number": (lambda: basic(learning_rate=np.nan), ("-m", "basic", "-s", "learning_rate=NaN")),
    "an unknown value": (lambda: basic(activation="rellu"), ("-m", "basic", "-s", "activation=rellu")),
    "a misspelt name": (lambda: basic(n_latnet=2), ("-m", "basic", "-s", "n_latnet=2")),
    "a misspelt name, in `set_params`": (lambda: basic().set_params(n_latnet=2), ("-m", "basic", "-s", "n_latnet=2")),
    "more units than fit in memory": (
        lambda: diabolo.StackedAutoencoder(hidden_layer_sizes=(2**31 - 1, 2**31 - 1)),
        ("-m", "stacked", "-s", "hidden_layer_sizes=2147483647,2147483647"),
    ),
    "a field of a part given by name": (
        lambda: basic().set_params(optimizer__b1=0.5),
        ("-m", "basic", "-s", "optimizer__b1=0.5"),
    ),
    "early stopping without validation rows": (
        lambda: basic(early_stopping=True, validation_fraction=None),
        ("-m", "basic", "-s", "early_stopping=true", "-s", "validation_fraction=none"),
    ),
    "parts that do not fit together": (
        lambda: diabolo.Autoencoder(latent=parts.DiagonalGaussian(2), penalties=(parts.KLSparsity(),)),
        ("-m", "autoencoder", "-s", 'latent={"part": "DiagonalGaussian"}', "-s", 'penalties=[{"part": "KLSparsity"}]'),
    ),
    "an objective that needs another latent": (
        lambda: diabolo.Autoencoder(objective="elbo"),
        ("-m", "autoencoder", "-s", "objective=elbo"),
    ),
    "a parameter of a part out of range": (
        lambda: diabolo.Autoencoder(corruption=parts.Masking(2.0)),
        ("-m", "autoencoder", "-s", 'corruption={"part": "Masking", "p": 2.0}'),
    ),
    "an image shape other than that of the rows": (
        lambda: diabolo.Autoencoder(encoder=parts.Convolutional((5, 5, 1))),
        ("-m", "autoencoder", "-s", 'encoder={"part": "Convolutional", "shape": [5, 5, 1]}'),
    ),
}


@pytest.mark.parametrize("what", SET)
def test_parameters_that_cannot_be_are_refused(what):
    refused(PARAMETERS[what], lambda: SET[what][0]().fit(GOOD))


@pytest.mark.parametrize("what", SET)
def test_the_command_refuses_parameters_that_cannot_be(what, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "rows.npy", GOOD)
    refused_by_the_command(PARAMETERS[what][2], run, tmp_path, ("fit", "rows.npy", *SET[what][1], "-o", "run"))


@pytest.mark.parametrize("grid", [5, {"n_latent": 2}, {"n_latent": []}, [], {"n_latnet": [2]}, {"optimizer__b1": [0]}])
def test_a_grid_that_cannot_be_is_refused(grid):
    with pytest.raises(errors.InvalidParameter):
        diabolo.sweep(basic(), grid, GOOD)


@pytest.mark.parametrize("more", [{"callback": 5}, {"checkpoint_every": "often"}, {"checkpoint_every": -1.0}])
def test_options_of_fit_that_cannot_be_are_refused(more):
    with pytest.raises(errors.InvalidParameter, match=next(iter(more))):
        basic().fit(GOOD, **more)


def test_only_an_autoencoder_is_swept():
    with pytest.raises(errors.InvalidParameter):
        diabolo.sweep(WAYS_IN["AutoencoderClassifier"](), {"learning_rate": [1.0]}, GOOD)


@pytest.mark.parametrize("more", [{"random_state": "x"}, {"given": [1]}, {"given": {0: np.inf}}, {"given": {9: 1.0}}])
def test_samples_that_cannot_be_are_refused(more, variational):
    with pytest.raises(DiaboloError):
        variational.sample(2, **more)


BASE = 'data = "rows.npy"\nmodel = "basic"\n'
TOML = {
    "a file that is not TOML": "data = ",
    "a folder in place of the file": None,
    "a misspelt option": 'data = "rows.npy"\nmodle = "basic"',
    "a misspelt table": BASE + "[parameter]\nn_latent = 2",
    "a misspelt parameter": BASE + "[parameters]\nn_latnet = 2",
    "a misspelt part": BASE + '[parameters]\noptimizer = {part = "Adm"}',
    "a misspelt parameter of a part": BASE + '[parameters]\noptimizer = {part = "Adam", bb1 = 0.5}',
    "a number in place of a string": 'data = 5\nmodel = "basic"',
    "a string in place of a number": BASE + 'seed = "x"',
    "a number in place of a table": BASE + "parameters = 3",
    "numbers in place of names": BASE + "columns = [1, 2]",
    "a string for a numeric parameter": BASE + '[parameters]\nmax_epochs = "many"',
}


@pytest.mark.parametrize("what", TOML)
def test_settings_in_a_file_that_cannot_be_are_refused(what, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "rows.npy", GOOD)
    if TOML[what] is None:
        (tmp_path / "run.toml").mkdir()
    else:
        (tmp_path / "run.toml").write_text(TOML[what])
    refused_by_the_command(SETTINGS[what][0], run, tmp_path, ("fit", "--config", "run.toml", "-o", "run"))


# -- saved models -----------------------------------------------------------------------------------------------------


def edited(change):
    """The manifest, changed in place."""

    def make(path):
        manifest = json.loads((path / "model.json").read_text())
        change(manifest)
        (path / "model.json").write_text(json.dumps(manifest))

    return make


def combine(change):
    """Other arrays, with the checksum that they have."""

    def make(path):
        manifest, arrays = files.read(path)
        files.write(path, manifest, {name: change(array) for name, array in arrays.items()})

    return make


def in_place_of(name, put):
    def make(path):
        content = (path / name).read_bytes()
        (path / name).unlink()
        put(path / name, content)

    return make


def linked(path, content):
    (path.parent.parent / "elsewhere").write_bytes(content)
    path.symlink_to("../elsewhere")


def replaced(path):
    for inside in path.iterdir():
        inside.unlink()
    path.rmdir()
    path.write_text("three years of work")


ARRAYS, MANIFEST = "arrays.safetensors", "model.json"
DAMAGE = {
    "no folder": lambda path: path.rename(path.with_name("elsewhere")),
    "a file in place of the folder": replaced,
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "no arrays": lambda path: (path / ARRAYS).unlink(),
    "a truncated manifest": in_place_of(MANIFEST, lambda path, content: path.write_bytes(content[:200])),
    "a manifest that is not text": in_place_of(MANIFEST, lambda path, _: path.write_bytes(b"\xff\xfe\x00")),
    "a manifest of another program": in_place_of(MANIFEST, lambda path, _: path.write_text('{"hello": 1}')),
    "a manifest without a required entry": edited(lambda manifest: manifest.pop("fitted")),
    "an entry of another type": edited(lambda manifest: manifest.update(parameters=[])),
    "a newer format": edited(lambda manifest: manifest.update(format_version=99)),
    "truncated arrays": in_place_of(ARRAYS, lambda path, content: path.write_bytes(content[:-20])),
    "a flipped bit": in_place_of(
        ARRAYS, lambda path, content: path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ),
    "a wrong checksum": edited(lambda manifest: manifest.update(checksums={ARRAYS: "sha256:0"})),
    "a link in place of a file": in_place_of(ARRAYS, linked),
    "a folder in place of a file": in_place_of(ARRAYS, lambda path, _: path.mkdir()),
    "a pickle in place of a file": in_place_of(MANIFEST, lambda path, _: path.write_bytes(b"\x80\x05N.")),
    "an unknown class": edited(lambda manifest: manifest.update(estimator="Nope")),
    "an unknown part": edited(lambda manifest: manifest["parameters"].update(optimizer={"part": "Nope"})),
    "an unknown parameter": edited(lambda manifest: manifest["parameters"].update(nope=1)),
    "a parameter out of range": edited(lambda manifest: manifest["parameters"].update(n_latent=0)),
    "weights of another shape": edited(lambda manifest: manifest["parameters"].update(n_latent=3)),
    "weights that are not finite": combine(lambda array: array * np.nan),
    "more weights than the model has": edited(lambda manifest: manifest["parameters"].update(n_latent=10**9)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_saved_models_that_cannot_be_read_are_refused(what, run, tmp_path, monkeypatch, fitted):
    monkeypatch.chdir(tmp_path)
    fitted.save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", GOOD)
    DAMAGE[what](tmp_path / "model")
    words = MODELS[what][0]
    refused(["`ArtifactError`", words], lambda: diabolo.load(tmp_path / "model"))
    refused_by_the_command(words, run, tmp_path, ("transform", "model", "rows.npy", "-o", "codes.csv"))
    if run("info", "model")[0]:
        refused_by_the_command(words, run, tmp_path, ("info", "model"))


# -- writing ----------------------------------------------------------------------------------------------------------


def bad_in_the_midst(folder):
    rows = np.tile(GOOD, (100, 1))
    rows[2500, 1] = 1e300
    np.save(folder / "long.npy", rows)
    (folder / "codes.csv").write_text("of yesterday")
    return "transform", "model", "long.npy", "-o", "codes.csv", "--force"


def with_notes(folder):
    (folder / "model" / "notes.txt").write_text("mine")
    return *FIT, "model", "--force"


FIT, TRANSFORM = ("fit", "rows.npy", "-m", "basic", "-q", "-o"), ("transform", "model", "rows.npy", "-o")
WRITTEN = {
    "RUN exists": lambda folder: (*FIT, "model"),
    "a folder that is not a RUN, with `--force`": lambda folder: (*FIT, folder_of("thesis")(folder), "--force"),
    "a RUN with other files in it, with `--force`": with_notes,
    "an output that exists (an older report is replaced)": lambda folder: (*TRANSFORM, "rows.npy"),
    "DATA itself as the output, with `--force`": lambda folder: (*TRANSFORM, "rows.npy", "--force"),
    "`export --onnx DIR --force` with a folder that is not an export": lambda folder: (
        *("export", "model", "--onnx"),
        *(folder_of("thesis/chapter")(folder), "--force"),
    ),
    "a file in place of RUN's folder": lambda folder: (*FIT, "rows.npy/run"),
    "an output of an unknown kind": lambda folder: (*TRANSFORM, "codes.xlsx"),
    "an output in a folder that does not exist": lambda folder: (*TRANSFORM, "nowhere/codes.csv"),
    "an output below a file": lambda folder: (*TRANSFORM, "rows.npy/codes.csv"),
    "an output that is a folder": lambda folder: (*TRANSFORM, folder_of("codes.csv")(folder)),
    "an output that cannot be written": lambda folder: (*TRANSFORM, "/proc/codes.csv"),
    "a later row that cannot be used": bad_in_the_midst,
}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_cannot_be_written_leaves_all_as_it_was(what, run, tmp_path, monkeypatch, fitted):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
    fitted.save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", GOOD)
    arguments = WRITTEN[what](tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused_by_the_command(WRITING[what][1], run, tmp_path, arguments)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_full_disk_is_told_in_one_line(run, tmp_path, fitted, monkeypatch):
    np.save(tmp_path / "rows.npy", GOOD)
    fitted.save(tmp_path / "model")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diabolo.data.writers._Csv.add", full)
    words = ("transform", tmp_path / "model", tmp_path / "rows.npy", "-o", tmp_path / "codes.csv")
    refused_by_the_command("cannot be written: No space left on device", run, tmp_path, words)
