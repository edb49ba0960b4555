"""What comes from a stranger, and what is damaged: refused before anything is made of it."""

import json
import os
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest

import examples
from diabolo.errors import ArtifactError, UnknownPart
from diabolo.estimators.loading import load
from diabolo.persistence import files

SMALL = examples.SMALL


@pytest.fixture
def saved(fitted, tmp_path):
    """A saved model and its folder."""
    path = tmp_path / "model.diabolo"
    fitted["BasicAutoencoder"].save(path)
    return path


def edit(path, change):
    """Change the manifest in place."""
    manifest = json.loads((path / "model.json").read_text())
    changed = change(manifest)
    (path / "model.json").write_text(json.dumps(manifest if changed is None else changed))


# -- damage -----------------------------------------------------------------------------------------------------------

DAMAGE = {
    "no folder": shutil.rmtree,
    "an empty folder": lambda p: [f.unlink() for f in p.iterdir()],
    "a file": lambda p: [shutil.rmtree(p), p.write_text("x")],
    "no manifest": lambda p: (p / "model.json").unlink(),
    "no arrays": lambda p: (p / "arrays.safetensors").unlink(),
    "half a manifest": lambda p: (p / "model.json").write_text((p / "model.json").read_text()[:200]),
    "no text": lambda p: (p / "model.json").write_bytes(b"\xff\xfe\x00"),
    "half the arrays": lambda p: (p / "arrays.safetensors").write_bytes((p / "arrays.safetensors").read_bytes()[:-20]),
    "no bytes of arrays": lambda p: (p / "arrays.safetensors").write_bytes(b""),
    "other JSON": lambda p: (p / "model.json").write_text('{"hello": 1}'),
    "a JSON list": lambda p: (p / "model.json").write_text("[1, 2]"),
    "a newer format": lambda p: edit(p, lambda m: m.update(format_version=99, versions={"diabolo": "9.9"})),
    "an unknown estimator": lambda p: edit(p, lambda m: m.update(estimator="Nope")),
    "an unknown parameter": lambda p: edit(p, lambda m: m["parameters"].update(nope=1)),
    "a value out of range": lambda p: edit(p, lambda m: m["parameters"].update(activation="nope")),
    "another width": lambda p: edit(p, lambda m: m["parameters"].update(n_latent=3)),
    "other layers": lambda p: edit(p, lambda m: m["fitted"].update(n_features_in_=5)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_not_a_whole_saved_model_is_refused_in_one_line_that_names_it(what, saved):
    DAMAGE[what](saved)
    with pytest.raises(ArtifactError) as caught:
        load(saved)
    assert isinstance(caught.value, ValueError)
    assert saved.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["format_version", "versions", "estimator", "parameters", "fitted", "feature_names"])
def test_a_manifest_that_lacks_an_entry_is_refused(key, saved):
    edit(saved, lambda m: {name: value for name, value in m.items() if name != key})
    with pytest.raises(ArtifactError, match=key):
        load(saved)


@pytest.mark.parametrize("key", ["history_", "n_features_in_", "seed", "scaling"])
def test_a_manifest_that_lacks_a_fitted_attribute_is_refused(key, saved):
    edit(saved, lambda m: m["fitted"].pop(key) and None)
    with pytest.raises(ArtifactError, match=key):
        load(saved)


@pytest.mark.parametrize("name", ["scaler.offset", "scaler.scale", "model.weights.encoder.layers[0].weight"])
def test_arrays_that_lack_one_are_refused(name, saved):
    manifest, arrays = files.read(saved)
    assert name in arrays
    files.write(saved, manifest, {key: array for key, array in arrays.items() if key != name})
    with pytest.raises(ArtifactError, match=name.replace("[", r"\[")):
        load(saved)


def test_a_part_of_a_later_version_is_refused(fitted, tmp_path):
    """A part that is known, with a field that is not."""
    fitted["Autoencoder"].save(tmp_path / "m")
    edit(tmp_path / "m", lambda m: m["parameters"]["latent"].update(from_the_future=1))
    with pytest.raises(ArtifactError, match="from_the_future"):
        load(tmp_path / "m")


def test_an_unknown_part_is_refused_by_name(fitted, tmp_path):
    fitted["Autoencoder"].save(tmp_path / "m")
    edit(tmp_path / "m", lambda m: m["parameters"].update(latent={"part": "FromElsewhere"}))
    with pytest.raises(UnknownPart, match="FromElsewhere"):
        load(tmp_path / "m")


# -- what comes from a stranger ---------------------------------------------------------------------------------------


class Trap:
    """A pickle that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def plant_pickles(folder, sign):
    (folder / "model.pkl").write_bytes(pickle.dumps(Trap(sign)))
    np.save(folder / "arrays.npy", np.array([Trap(sign)], dtype=object), allow_pickle=True)


def test_a_pickle_beside_the_model_is_never_opened(fitted, saved, table, tmp_path):
    plant_pickles(saved, tmp_path / "sign")
    np.testing.assert_array_equal(load(saved).transform(table), fitted["BasicAutoencoder"].transform(table))
    assert not (tmp_path / "sign").exists()


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
def test_a_pickle_in_place_of_a_file_is_refused(name, saved, tmp_path):
    (saved / name).write_bytes(pickle.dumps(Trap(tmp_path / "sign")))
    with pytest.raises(ArtifactError):
        load(saved)
    assert not (tmp_path / "sign").exists()


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_out_of_the_folder_is_not_followed(name, absolute, saved, tmp_path):
    (saved / name).rename(tmp_path / name)
    (saved / name).symlink_to(tmp_path / name if absolute else f"../{name}")
    with pytest.raises(ArtifactError):
        load(saved)


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused(name, saved):
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(ArtifactError):
        load(saved)


@pytest.mark.parametrize("value", ["../../etc/passwd", "/etc/passwd", "os.system", "diabolo.cli:main", "__import__"])
@pytest.mark.parametrize("key", ["estimator", "optimizer", "likelihood", "schema"])
def test_a_name_leads_nowhere(key, value, saved):
    edit(saved, lambda m: m.update({key: value}) if key == "estimator" else m["parameters"].update({key: value}))
    with pytest.raises(ArtifactError):
        load(saved)


def damaged_arrays(path, at):
    content = bytearray((path / "arrays.safetensors").read_bytes())
    content[at] ^= 1
    (path / "arrays.safetensors").write_bytes(bytes(content))


@pytest.mark.parametrize("at", [0, 40, -1, -100])
def test_one_bit_that_flipped_is_noticed(at, saved):
    damaged_arrays(saved, at)
    with pytest.raises(ArtifactError, match="checksum"):
        load(saved)


@pytest.mark.parametrize("told", [None, "sha256:0", {}, {"arrays.safetensors": None}, 5])
def test_a_wrong_checksum_is_refused(told, saved):
    edit(saved, lambda m: m.update(checksums=told))
    with pytest.raises(ArtifactError, match="checksum"):
        load(saved)


HUGE = {
    "features": lambda m: m["fitted"].update(n_features_in_=10**13),
    "code": lambda m: m["parameters"].update(n_latent=10**12),
    "rows": lambda m: m["fitted"].update(n_samples_=-1),
    "epochs": lambda m: m["fitted"].update(n_epochs_="many"),
    "history": lambda m: m["fitted"].update(history_=[1]),
    "layers": lambda m: m["parameters"].update(hidden_layer_sizes=[10**6, 10**6, 10**6]),
}


@pytest.mark.parametrize("what", HUGE)
def test_sizes_are_checked_before_anything_is_made_of_them(what, fitted, tmp_path):
    fitted["StackedAutoencoder"].save(tmp_path / "m")
    edit(tmp_path / "m", HUGE[what])
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError):
            load(tmp_path / "m")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_json_that_is_nested_without_end_is_refused(saved):
    (saved / "model.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError):
        load(saved)


@pytest.mark.parametrize("key", ["format_version", "versions", "estimator", "parameters", "fitted", "feature_names"])
@pytest.mark.parametrize("value", [True, 1.5, "text", [[]], {"a": 1}, -(10**30)])
def test_entries_of_another_type_are_refused(key, value, saved):
    before = json.loads((saved / "model.json").read_text())[key]
    if type(before) is type(value) or (key == "feature_names" and isinstance(value, list)):
        pytest.skip("of the type that is expected")
    edit(saved, lambda m: m.update({key: value}))
    with pytest.raises(ArtifactError):
        load(saved)
