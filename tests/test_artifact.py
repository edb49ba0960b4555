"""A saved model is read back to the bit, from JSON and safetensors alone; whatever else lies there is safe."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from safetensors.numpy import load_file
from sklearn.base import clone

import diabolo
import examples
from diabolo import jax_config, parts
from diabolo.errors import ArtifactError, InvalidParameter, UnknownPart
from diabolo.estimators.autoencoders import Autoencoder, BasicAutoencoder, SparseAutoencoder, StackedAutoencoder
from diabolo.estimators.trainable import load
from diabolo.persistence import files

SMALL = examples.SMALL
every_estimator = pytest.mark.parametrize("name", examples.ESTIMATORS)


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


def outputs(estimator, rows):
    codes = estimator.transform(rows)
    yield "transform", codes
    yield "inverse_transform", estimator.inverse_transform(codes)
    yield "reconstruct", estimator.reconstruct(rows)
    yield "score_samples", estimator.score_samples(rows)
    yield "corrupt", estimator.corrupt(rows)
    if hasattr(estimator, "sample"):
        yield "sample", estimator.sample(5, random_state=0)
        yield "elbo", estimator.elbo(rows)
        yield "log_likelihood", estimator.log_likelihood(rows, n_samples=8)
        yield "kl", estimator.kl(rows)


# -- there and back ---------------------------------------------------------------------------------------------------


@every_estimator
def test_every_output_of_a_loaded_model_is_equal_to_the_bit(name, fitted, table, tmp_path):
    fitted[name].save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert type(loaded) is type(fitted[name])
    for (what, one), (_, two) in zip(outputs(fitted[name], table), outputs(loaded, table), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=what)
        assert one.dtype == two.dtype


@every_estimator
def test_a_loaded_model_has_the_same_parameters_and_fitted_attributes(name, fitted, tmp_path):
    estimator = fitted[name]
    estimator.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.get_params() == estimator.get_params()
    assert repr(loaded) == repr(estimator)
    assert loaded.history_ == estimator.history_
    for attribute in ("n_features_in_", "best_epoch_", "n_epochs_", "data_fingerprint_"):
        assert getattr(loaded, attribute) == getattr(estimator, attribute)
        assert type(getattr(loaded, attribute)) is type(getattr(estimator, attribute))
    missing = {attribute for attribute in vars(estimator) if attribute.endswith("_")} - set(vars(loaded))
    assert not missing - {"pretrain_history_"}, missing


@every_estimator
def test_a_loaded_models_recipe_and_weights_are_the_same_tree(name, fitted, tmp_path):
    fitted[name].save(tmp_path / "m")
    one, two = fitted[name].model_, load(tmp_path / "m").model_
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


@every_estimator
def test_a_loaded_model_compiles_nothing_new(name, fitted, table, tmp_path):
    from diabolo.engine import inference

    fitted[name].transform(table)
    fitted[name].save(tmp_path / "m")
    loaded, before = load(tmp_path / "m"), inference._program._cache_size()
    loaded.transform(table)
    assert inference._program._cache_size() == before


@every_estimator
def test_a_loaded_model_can_be_fitted_again(name, fitted, table, tmp_path):
    fitted[name].save(tmp_path / "m")
    again = clone(load(tmp_path / "m")).fit(table)
    np.testing.assert_array_equal(again.transform(table), fitted[name].transform(table))


def test_saving_a_loaded_model_gives_the_same_files(saved, tmp_path):
    load(saved).save(tmp_path / "again")
    for file in ("model.json", "arrays.safetensors"):
        assert (saved / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


@every_estimator
def test_saving_twice_gives_identical_files(name, fitted, tmp_path):
    for folder in ("a", "b"):
        fitted[name].save(tmp_path / folder)
    for file in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_load_is_public_and_takes_strings(saved):
    assert diabolo.load is load
    assert isinstance(diabolo.load(str(saved)), BasicAutoencoder)


def test_feature_names_are_kept(table, tmp_path):
    frame = pd.DataFrame(table, columns=["größe", "b", "c", "d", "e", 'with "quotes"'])
    estimator = BasicAutoencoder(**SMALL).fit(frame)
    estimator.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert list(loaded.feature_names_in_) == list(frame.columns)
    assert loaded.feature_names_in_.dtype == object
    np.testing.assert_array_equal(loaded.transform(frame), estimator.transform(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.transform(frame.rename(columns={"b": "z"}))


def test_without_names_none_are_kept(saved):
    assert not hasattr(load(saved), "feature_names_in_")


def test_what_a_subclass_reports_is_kept(fitted, tmp_path):
    estimator = fitted["SparseAutoencoder"]
    estimator.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert isinstance(loaded, SparseAutoencoder)
    np.testing.assert_array_equal(loaded.mean_activation_, estimator.mean_activation_)
    assert loaded.mean_activation_.dtype == estimator.mean_activation_.dtype


def test_the_curves_of_pre_training_are_kept(table, tmp_path):
    estimator = StackedAutoencoder(
        hidden_layer_sizes=(8, 4), activation="tanh", pretrain="layerwise", pretrain_epochs=30, **SMALL
    ).fit(table)
    estimator.save(tmp_path / "m")
    assert load(tmp_path / "m").pretrain_history_ == estimator.pretrain_history_


def test_learned_bounds_of_a_corruption_are_kept(fitted, tmp_path):
    """The free example has salt and pepper in a chain, with bounds that `fit` has learned."""
    fitted["Autoencoder"].save(tmp_path / "m")
    one, two = (e.model_.recipe.corruption.steps[0] for e in (fitted["Autoencoder"], load(tmp_path / "m")))
    np.testing.assert_array_equal(one.low, two.low)
    np.testing.assert_array_equal(one.high, two.high)
    assert np.all(one.low < one.high)


@pytest.mark.parametrize(
    "parameters",
    [
        {"random_state": np.random.RandomState(0)},
        {"random_state": None},
        {"random_state": np.int64(5)},
        {"learning_rate": np.float64(0.01)},
        {"learning_rate": np.float32(0.01)},
        {"n_latent": np.int32(2)},
        {"early_stopping": np.bool_(False)},
        {"scaling": None, "validation_fraction": None},
    ],
    ids=lambda parameters: "-".join(f"{name}={type(value).__name__}" for name, value in parameters.items()),
)
def test_parameters_of_numpys_types_are_saved(parameters, table, tmp_path):
    estimator = BasicAutoencoder(**SMALL | parameters).fit(table)
    estimator.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.transform(table), estimator.transform(table))
    for parameter, value in parameters.items():
        if not isinstance(value, np.random.RandomState):
            assert getattr(loaded, parameter) == value


@pytest.mark.parametrize("sizes", [[4, 3], (4, 3), np.array([4, 3]), (np.int64(4), np.int32(3))], ids=repr)
def test_hidden_layers_given_as_any_sequence_are_saved(sizes, fitted, table, tmp_path):
    estimator = clone(examples.ESTIMATORS["StackedAutoencoder"]).set_params(hidden_layer_sizes=sizes).fit(table)
    estimator.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").transform(table), fitted["StackedAutoencoder"].transform(table))


def test_penalties_given_as_a_list_are_saved(table, tmp_path):
    estimator = Autoencoder(encoder=parts.MLP(()), penalties=[parts.L1(0.1)], **SMALL).fit(table)
    estimator.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert tuple(loaded.penalties) == (parts.L1(0.1),)
    np.testing.assert_array_equal(loaded.transform(table), estimator.transform(table))


# -- what lies on disk ------------------------------------------------------------------------------------------------


@every_estimator
def test_a_saved_model_is_json_and_safetensors_and_nothing_else(name, fitted, tmp_path):
    fitted[name].save(tmp_path / "m.diabolo")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["arrays.safetensors", "m.diabolo", "model.json"]
    json.loads((tmp_path / "m.diabolo" / "model.json").read_text(encoding="utf-8"))
    arrays = load_file(tmp_path / "m.diabolo" / "arrays.safetensors")
    assert all(array.dtype.kind == "f" for array in arrays.values())


@every_estimator
def test_the_manifest_says_what_the_model_is(name, fitted, tmp_path):
    fitted[name].save(tmp_path / "m")
    manifest = files.read_manifest(tmp_path / "m")
    assert manifest["format"] == "diabolo"
    assert manifest["format_version"] == files.FORMAT_VERSION == 3
    assert {"diabolo", "jax", "equinox", "optax", "numpy", "scikit-learn"} <= set(manifest["versions"])
    assert manifest["estimator"] == name
    assert set(manifest["parameters"]) == set(fitted[name].get_params(deep=False))
    assert manifest["feature_names"] is None
    assert manifest["fitted"]["data_fingerprint_"] == fitted[name].data_fingerprint_
    assert manifest["fitted"]["history_"] == fitted[name].history_


def test_the_fingerprint_knows_every_bit_shape_and_type(table):
    base = files.fingerprint(table)
    nudged = table.copy()
    nudged[3, 2] = np.nextafter(nudged[3, 2], np.inf)
    others = [nudged, table[::-1], table.T, table.astype(np.float32), table[:-1]]
    assert len({base, *map(files.fingerprint, others)}) == 6
    assert files.fingerprint(np.asfortranarray(table)) == base


# -- damage -----------------------------------------------------------------------------------------------------------

DAMAGE = {
    "no folder": (shutil.rmtree, "is not a saved model: there is no model.json"),
    "an empty folder": (lambda p: [f.unlink() for f in p.iterdir()], "there is no model.json"),
    "a file": (lambda p: [shutil.rmtree(p), p.write_text("x")], "there is no model.json"),
    "no manifest": (lambda p: (p / "model.json").unlink(), "there is no model.json"),
    "no arrays": (lambda p: (p / "arrays.safetensors").unlink(), "incomplete: there is no arrays.safetensors"),
    "half a manifest": (lambda p: (p / "model.json").write_text((p / "model.json").read_text()[:200]), "damaged"),
    "no text": (lambda p: (p / "model.json").write_bytes(b"\xff\xfe\x00"), "damaged"),
    "half the arrays": (
        lambda p: (p / "arrays.safetensors").write_bytes((p / "arrays.safetensors").read_bytes()[:-20]),
        "damaged",
    ),
    "no bytes of arrays": (lambda p: (p / "arrays.safetensors").write_bytes(b""), "damaged"),
    "other JSON": (lambda p: (p / "model.json").write_text('{"hello": 1}'), "not written by diabolo"),
    "a JSON list": (lambda p: (p / "model.json").write_text("[1, 2]"), "not written by diabolo"),
    "a newer format": (
        lambda p: edit(p, lambda m: m.update(format_version=99, versions={"diabolo": "9.9"})),
        "has format version 99, this diabolo reads up to 3.*9.9: install",
    ),
    "an unknown estimator": (lambda p: edit(p, lambda m: m.update(estimator="Nope")), "holds a Nope"),
    "an unknown parameter": (lambda p: edit(p, lambda m: m["parameters"].update(nope=1)), "does not know.*nope"),
    "a value out of range": (lambda p: edit(p, lambda m: m["parameters"].update(activation="nope")), "nope"),
    "another width": (lambda p: edit(p, lambda m: m["parameters"].update(n_latent=3)), "do not fit"),
    "other layers": (lambda p: edit(p, lambda m: m["fitted"].update(n_features_in_=5)), "do not fit"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_not_a_whole_saved_model_is_refused_with_a_reason(what, saved):
    damage, message = DAMAGE[what]
    damage(saved)
    with pytest.raises(ArtifactError, match=message) as caught:
        load(saved)
    assert isinstance(caught.value, ValueError)
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
    with pytest.raises(UnknownPart, match=r"'FromElsewhere'.*Give its class"):
        load(tmp_path / "m")


# -- writing over something -------------------------------------------------------------------------------------------


def everything_in(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def make_folder(path):
    path.mkdir()
    (path / "thesis.txt").write_text("three years of work")


def make_folder_with_another_programs_model(path):
    make_folder(path)
    (path / "model.json").write_text('{"hello": 1}')


def make_folder_with_a_broken_manifest(path):
    make_folder(path)
    (path / "model.json").write_text("not JSON at all")


FOREIGN = {
    "a folder": make_folder,
    "a file": lambda path: path.write_text("three years of work"),
    "a folder with a model.json of another program": make_folder_with_another_programs_model,
    "a folder with a model.json that is no JSON": make_folder_with_a_broken_manifest,
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_a_saved_model_is_never_written_over(what, fitted, tmp_path):
    path = tmp_path / "precious"
    FOREIGN[what](path)
    before = everything_in(tmp_path)
    with pytest.raises(ArtifactError, match="is not a saved model, so it is not overwritten. Choose another name"):
        fitted["BasicAutoencoder"].save(path)
    assert everything_in(tmp_path) == before


def test_an_older_model_is_replaced_and_nothing_is_left_behind(fitted, table, saved):
    fitted["SparseAutoencoder"].save(saved)
    assert [file.name for file in saved.parent.iterdir()] == ["model.diabolo"]
    assert sorted(file.name for file in saved.iterdir()) == ["arrays.safetensors", "model.json"]
    np.testing.assert_array_equal(load(saved).transform(table), fitted["SparseAutoencoder"].transform(table))


def test_missing_parents_are_made(fitted, tmp_path):
    fitted["BasicAutoencoder"].save(tmp_path / "a" / "b" / "m")
    assert load(tmp_path / "a" / "b" / "m").n_features_in_ == 6


@pytest.mark.parametrize("existing", [True, False])
def test_a_parameter_that_is_not_json_is_refused_and_nothing_is_written(existing, fitted, tmp_path):
    path = tmp_path / "m"
    if existing:
        fitted["BasicAutoencoder"].save(path)
    before = everything_in(tmp_path)
    with pytest.raises(ArtifactError, match="cannot be written as JSON"):
        files.write(path, {"parameters": {"f": object()}}, {})
    assert everything_in(tmp_path) == before
    assert path.exists() == existing


def test_a_disk_that_fails_half_way_leaves_the_older_model(fitted, saved, monkeypatch):
    before = everything_in(saved.parent)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ArtifactError, match="cannot be written: No space left on device"):
        fitted["SparseAutoencoder"].save(saved)
    assert everything_in(saved.parent) == before


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
    with pytest.raises(ArtifactError, match="damaged"):
        load(saved)
    assert not (tmp_path / "sign").exists()


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_out_of_the_folder_is_not_followed(name, absolute, saved, tmp_path):
    (saved / name).rename(tmp_path / name)
    (saved / name).symlink_to(tmp_path / name if absolute else f"../{name}")
    with pytest.raises(ArtifactError, match="is a link"):
        load(saved)


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused(name, saved):
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(ArtifactError, match="is not a file"):
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
    with pytest.raises(ArtifactError, match="damaged"):
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


# -- former versions --------------------------------------------------------------------------------------------------

FORMER = sorted(Path(__file__).parent.glob("artifacts/v*/*.json"))


@pytest.mark.parametrize("told", FORMER, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_what_a_former_version_wrote_is_read(told):
    model = load(told.with_suffix(""))
    rows = np.random.default_rng(0).normal(size=(60, 3))
    if told.stem == "table":
        rows = pa.table(
            {
                "age": [20 + i % 40 for i in range(60)],
                "plan": ["free" if i % 3 else "paid" for i in range(60)],
                "size": [None if i % 17 == 0 else float(i % 11) / 3 for i in range(60)],
            }
        )
    np.testing.assert_allclose(model.score_samples(rows)[:8], json.loads(told.read_text())["scores"], rtol=1e-5)


# -- the same bits elsewhere ------------------------------------------------------------------------------------------


@every_estimator
def test_a_saved_model_is_verified_by_its_rows(name, fitted, table, tmp_path):
    fitted[name].save(tmp_path / "m", probe=table)
    loaded = load(tmp_path / "m")
    found = loaded.verify(table)
    n_threads = jax_config.n_threads()
    assert found == (min(64, len(table)), True, 0.0, 0.0, n_threads, n_threads)
    assert "gives the stored bits" in str(found)
    loaded.save(tmp_path / "again")  # it is kept
    assert load(tmp_path / "again").verify(table).same_bits


def test_other_weights_do_not_give_the_stored_bits(fitted, table, tmp_path):
    fitted["BasicAutoencoder"].save(tmp_path / "m", probe=table)
    manifest, arrays = files.read(tmp_path / "m")
    name = "model.weights.encoder.layers[0].weight"
    arrays[name] = np.nextafter(arrays[name], np.float32(9))
    files.write(tmp_path / "m", manifest, arrays)
    found = load(tmp_path / "m").verify(table)
    assert not found.same_bits
    assert 0 < found.code_difference < 1e-4
    assert "does not give the stored bits" in str(found)


def test_a_model_is_verified_only_by_the_rows_that_it_was_saved_with(fitted, table, tmp_path):
    model = BasicAutoencoder(max_epochs=1, random_state=0).fit(table)
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="without rows"):
        load(tmp_path / "m").verify(table)
    model.save(tmp_path / "m", probe=table)
    with pytest.raises(ValueError, match="not the rows"):
        load(tmp_path / "m").verify(table[::-1])


def test_the_command_verifies_across_processes_and_thread_counts(table, tmp_path):
    np.save(tmp_path / "rows.npy", table)

    def run(*arguments, **environment):
        command = [sys.executable, "-m", "diabolo", *arguments]
        given = os.environ | environment
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=given, check=False)

    done = run("fit", "rows.npy", "-m", "variational", "-o", "run", "-s", "max_epochs=2", "-q")
    assert done.returncode == 0, done.stderr
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    for environment in ({}, {"XLA_FLAGS": flags}):
        done = run("info", "run", "--verify", "rows.npy", **environment)
        assert done.returncode == 0, done.stderr
        assert "this machine gives the stored bits for all" in done.stdout
    np.save(tmp_path / "others.npy", table + 1)
    done = run("info", "run", "--verify", "others.npy")
    assert done.returncode == 2
    assert "not the rows" in done.stderr


ONE_CORE = (
    "import os, sys; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1]); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are chosen so on Linux only")
def test_with_one_number_of_threads_the_same_bits_are_fitted_on_any_number_of_cores(tmp_path):
    """A network whose weights do depend on it: see benchmarks/notes."""
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random((512, 784)).astype(np.float32))
    diabolo_on = {"all": [], "one": [sys.executable, "-c", ONE_CORE]}

    def run(cores, *arguments, **environment):
        command = [*diabolo_on[cores], sys.executable, "-m", "diabolo", *arguments]
        given = os.environ | environment
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=given, check=False)

    settings = ("-s", "max_epochs=1", "-s", "hidden_layer_sizes=512", "-s", "n_latent=20")
    for cores in diabolo_on:
        fit = ("fit", "rows.npy", "-m", "variational", "-o", cores, *settings, "-q")
        done = run(cores, *fit, DIABOLO_THREADS="2")
        assert done.returncode == 0, done.stderr
    all_cores, one_core = ((tmp_path / cores / "arrays.safetensors").read_bytes() for cores in diabolo_on)
    assert all_cores == one_core
    done = run("one", "info", "all", "--verify", "rows.npy")
    assert "gives the stored bits" in done.stdout, done.stdout + done.stderr


def test_bits_that_differ_by_the_number_of_threads_are_told_so(fitted, table, tmp_path, monkeypatch):
    fitted["BasicAutoencoder"].save(tmp_path / "m", probe=table)
    manifest, arrays = files.read(tmp_path / "m")
    manifest["probe"]["threads"] = 77
    arrays["probe.scores"] = arrays["probe.scores"] + 1
    files.write(tmp_path / "m", manifest, arrays)
    assert "stored with 77 threads, here are" in str(load(tmp_path / "m").verify(table))
    assert "DIABOLO_THREADS=77" in str(load(tmp_path / "m").verify(table))


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", ""])
def test_a_number_of_threads_that_is_none_is_refused(threads, monkeypatch):
    monkeypatch.setenv("DIABOLO_THREADS", threads)
    with pytest.raises(InvalidParameter, match="DIABOLO_THREADS must be a whole number"):
        jax_config.configure()
