"""A saved model is read back to the bit, from JSON and safetensors alone; and it is written whole or not at all."""

import json
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
from diabolo import parts
from diabolo.errors import ArtifactError
from diabolo.estimators.autoencoders import Autoencoder, BasicAutoencoder, SparseAutoencoder, StackedAutoencoder
from diabolo.estimators.loading import load
from diabolo.persistence import files

SMALL = examples.SMALL
every_estimator = pytest.mark.parametrize("name", examples.ESTIMATORS)


@pytest.fixture
def saved(fitted, tmp_path):
    """A saved model and its folder."""
    path = tmp_path / "model.diabolo"
    fitted["BasicAutoencoder"].save(path)
    return path


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
    loaded, before = load(tmp_path / "m"), inference.programs.n_programs()
    loaded.transform(table)
    assert inference.programs.n_programs() == before


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
    with pytest.raises(ValueError, match="feature names"):
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
    with pytest.raises(ArtifactError):
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
    with pytest.raises(ArtifactError):
        files.write(path, {"parameters": {"f": object()}}, {})
    assert everything_in(tmp_path) == before
    assert path.exists() == existing


def test_a_disk_that_fails_half_way_leaves_the_older_model(fitted, saved, monkeypatch):
    before = everything_in(saved.parent)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ArtifactError):
        fitted["SparseAutoencoder"].save(saved)
    assert everything_in(saved.parent) == before


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
    found, then = model.score_samples(rows)[:8], np.array(json.loads(told.read_text())["scores"])
    how = {"atol": 0.5} if hasattr(model, "sample") else {"rtol": 1e-5}  # log p is estimated, by other draws since
    np.testing.assert_allclose(found, then, **how)
