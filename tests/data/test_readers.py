"""Files in, arrays out: every kind that is read, every way it can be wrong."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diabolo.data import readers
from diabolo.errors import InvalidData

ROWS = np.array([[1.0, 2.5, 0.0], [3.0, -4.0, 1.0], [5.0, 1e-9, 0.0]])
NAMES = ("a", "b", "c")


@pytest.fixture
def frame():
    return pd.DataFrame(ROWS, columns=list(NAMES))


def _csv(frame, path, sep=","):
    frame.to_csv(path, index=False, sep=sep)


WRITERS = {
    "t.csv": _csv,
    "semicolons.csv": lambda f, p: _csv(f, p, ";"),
    "tabs.tsv": lambda f, p: _csv(f, p, "\t"),
    "bom.csv": lambda f, p: f.to_csv(p, index=False, encoding="utf-8-sig"),
    "t.parquet": lambda f, p: f.to_parquet(p),
    "mixed_types.parquet": lambda f, p: f.astype({"a": "int32", "b": "float32", "c": "bool"}).to_parquet(p),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_with_names_is_read(name, frame, tmp_path):
    WRITERS[name](frame, tmp_path / name)
    table = readers.read(tmp_path / name)
    assert table.names == NAMES
    np.testing.assert_allclose(table.rows, ROWS, rtol=1e-6)


def test_a_csv_without_a_header_keeps_its_first_row(tmp_path):
    np.savetxt(tmp_path / "t.csv", ROWS, delimiter=",")
    np.testing.assert_allclose(readers.read(tmp_path / "t.csv").rows, ROWS)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8", "bool"])
def test_an_array_is_read_and_keeps_float32(dtype, tmp_path):
    rows = np.arange(24).reshape(4, 2, 3).astype(dtype)
    np.save(tmp_path / "x.npy", rows)
    table = readers.read(tmp_path / "x.npy")
    assert table.names is None
    assert table.rows.dtype == (np.float32 if dtype == "float32" else np.float64)
    np.testing.assert_array_equal(table.rows, rows.reshape(4, 6))


def test_an_archive_needs_a_key_only_if_it_holds_several_arrays(tmp_path):
    np.savez(tmp_path / "one.npz", X=ROWS)
    np.savez(tmp_path / "two.npz", X=ROWS, y=np.arange(3))
    np.testing.assert_array_equal(readers.read(tmp_path / "one.npz").rows, ROWS)
    np.testing.assert_array_equal(readers.read(tmp_path / "two.npz", key="X").rows, ROWS)
    with pytest.raises(InvalidData, match="X, y.*--key"):
        readers.read(tmp_path / "two.npz")
    with pytest.raises(InvalidData, match="Z.*X, y"):
        readers.read(tmp_path / "two.npz", key="Z")


@pytest.mark.parametrize("how", ["folder", "glob"])
def test_many_files_are_one_table_in_the_order_of_their_names(how, frame, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    frame.iloc[:1].to_parquet(folder / "0.parquet")
    frame.iloc[1:].to_parquet(folder / "1.parquet")
    (folder / ".hidden").write_text("not data")
    where = folder if how == "folder" else f"{folder}/*.parquet"
    np.testing.assert_array_equal(readers.read(where).rows, ROWS)


@pytest.mark.parametrize(("mode", "width"), [("L", 12), ("RGB", 36), ("1", 12)])
def test_a_folder_of_images_becomes_pixels_in_the_unit_interval(mode, width, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3), dtype=np.uint8)
    for i in range(3):
        Image.fromarray(pixels).convert(mode).save(tmp_path / f"{i}.png")
    rows = readers.read(tmp_path).rows
    assert rows.shape == (3, width)
    assert rows.min() >= 0
    assert rows.max() <= 1
    if mode == "L":
        np.testing.assert_allclose(rows[0], pixels.ravel() / 255, rtol=1e-6)


def test_columns_are_chosen_and_excluded_by_name_or_number(frame, tmp_path):
    frame.to_parquet(tmp_path / "t.parquet")
    np.save(tmp_path / "x.npy", ROWS)
    assert readers.read(tmp_path / "t.parquet", columns=["c", "a"]).names == ("c", "a")
    assert readers.read(tmp_path / "t.parquet", exclude=["b"]).names == ("a", "c")
    np.testing.assert_array_equal(readers.read(tmp_path / "x.npy", exclude=["1"]).rows, ROWS[:, [0, 2]])
    with pytest.raises(InvalidData, match="z.*a, b, c"):
        readers.read(tmp_path / "t.parquet", columns=["a", "z"])
    with pytest.raises(InvalidData):
        readers.read(tmp_path / "t.parquet", exclude=["a", "b", "c"])


def _write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


BAD_FILES = {
    "words.csv": "id,x\nr1,1\nr2,2\n",
    "ragged.csv": "x,y\n1,2\n3\n",
    "empty.csv": "",
    "headonly.csv": "x,y\n",
    "korean.csv": "이름,나이\n홍길동,1\n".encode("cp949"),
    "bad.parquet": "no parquet",
    "bad.npy": "no numpy",
    "bad.png": "no image",
    "what.xlsx": "?",
    "what.doc": "?",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_by_name(name, tmp_path):
    _write(tmp_path / name, BAD_FILES[name])
    with pytest.raises(InvalidData, match=name):
        readers.read(tmp_path / name, wanted=None)


def test_what_is_not_there_or_does_not_match_is_refused(frame, tmp_path):
    with pytest.raises(InvalidData, match="nowhere"):
        readers.read(tmp_path / "nowhere.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidData, match="empty"):
        readers.read(tmp_path / "empty")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    _csv(frame, mixed / "a.csv")
    np.save(mixed / "b.npy", ROWS)
    with pytest.raises(InvalidData, match="mixed"):
        readers.read(mixed)
    _csv(frame.drop(columns="b"), tmp_path / "p1.csv")
    _csv(frame, tmp_path / "p2.csv")
    with pytest.raises(InvalidData, match=r"\bb\b"):
        readers.read(f"{tmp_path}/p*.csv")
    Image.new("L", (3, 4)).save(tmp_path / "a.png")
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(InvalidData, match=r"b\.png.*a\.png"):
        readers.read(f"{tmp_path}/*.png")
    np.save(tmp_path / "flat.npy", np.arange(3.0))
    with pytest.raises(InvalidData, match=r"\(3,\)"):
        readers.read(tmp_path / "flat.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidData, match="objects"):
        readers.read(tmp_path / "objects.npy")
