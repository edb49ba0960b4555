"""The data sets that come with diabolo: what their docstrings say of them, and the files that `write` makes."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from PIL import Image

from diabolo import datasets, errors
from helpers import over

LOADERS = {name: getattr(datasets, f"load_{name}") for name in datasets.NAMES}


@over("load", LOADERS)
def test_a_loader_is_like_scikit_learns(load):
    bunch, again = load(), load()
    X, y = load(return_X_y=True)
    frames = load(as_frame=True)
    assert load.__doc__ == bunch.DESCR
    if isinstance(bunch.data, pa.Table):
        assert bunch.data.equals(again.data)
        assert X.equals(bunch.data)
        assert y.equals(bunch.target)
    else:
        np.testing.assert_array_equal(bunch.data, again.data)
        np.testing.assert_array_equal(X, bunch.data)
        np.testing.assert_array_equal(y, bunch.target)
        assert set(bunch.target) <= set(range(len(bunch.target_names)))
    assert list(frames.data.columns) == bunch.feature_names
    assert len(frames.frame) == len(frames.target)


@over("load", [datasets.load_pump, datasets.load_pulse])
def test_normal_rows_have_no_anomaly_and_a_tenth_of_new_rows_is_one(load):
    assert not load().target.any()
    assert (load(subset="new").target > 0).mean() == 0.1
    with pytest.raises(errors.InvalidParameter, match="subset"):
        load(subset="old")


def test_the_faults_of_the_pump_are_in_the_relations_of_its_columns():
    normal, new = datasets.load_pump().data, datasets.load_pump(subset="new")
    faulty = new.data[new.target > 0]
    outside = (faulty < normal.min(axis=0)) | (faulty > normal.max(axis=0))
    assert outside.any(axis=1).mean() < 0.25


def test_homes_differ_from_the_target_by_empty_cells_alone():
    data, complete = datasets.load_homes(return_X_y=True)
    assert complete.column_names == data.column_names
    for name in data.column_names:
        pairs = zip(data[name].to_pylist(), complete[name].to_pylist(), strict=True)
        assert all(cell is None or cell == true for cell, true in pairs)
        assert data[name].null_count / 800 == pytest.approx(0 if name == "kind" else 1 / 8, abs=0.03)


def test_noise_of_the_shapes_has_the_given_level():
    shapes = datasets.load_shapes()
    grey = (shapes.data > 0.5) & (shapes.data < 0.7)  # seldom clipped
    assert np.std((shapes.noisy - shapes.data)[grey]) == pytest.approx(0.2, rel=0.1)
    assert shapes.images.reshape(300, -1).tolist() == shapes.data.tolist()


def test_the_command_writes_what_the_loaders_give(run, tmp_path):
    for name in datasets.NAMES:
        status, out, err = run("datasets", name, "-o", tmp_path / name)
        assert (status, err) == (0, "")
        assert all((tmp_path / name).samefile(line.rsplit("/", 1)[0]) for line in out.splitlines())
    new = pa.csv.read_csv(tmp_path / "pump" / "new.csv")
    bunch = datasets.load_pump(subset="new")
    assert new.column_names == [*bunch.feature_names, "truth"]
    np.testing.assert_array_equal(np.stack([new[name] for name in bunch.feature_names], axis=1), bunch.data)
    gaps = pa.csv.read_csv(tmp_path / "homes" / "gaps.csv")
    assert gaps["area"].to_pylist() == datasets.load_homes().data["area"].to_pylist()
    images = sorted((tmp_path / "shapes" / "noisy").iterdir())
    assert images[1].name == "241-ring.png"
    pixels = np.stack([np.asarray(Image.open(path)).ravel() for path in images[:5]])
    np.testing.assert_allclose(pixels / 255, datasets.load_shapes().noisy[240:245])


def test_the_command_lists_them_and_replaces_nothing(run, tmp_path):
    status, out, _ = run("datasets")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[: len(LOADERS)]] == list(LOADERS)
    (tmp_path / "mine").write_text("mine")
    for words in (("pump", "-o", tmp_path), ("pimp", "-o", tmp_path / "new")):
        status, out, err = run("datasets", *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
