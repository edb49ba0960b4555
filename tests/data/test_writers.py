"""Arrays out: every kind of file that is written, piece by piece, whole or not at all."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from diabolo.data import readers, writers
from diabolo.errors import InvalidData

ROWS = np.array([[1.0, 2.5, 0.0], [3.0, -4.0, 1.0], [5.0, 1e-9, 0.0]])
NAMES = ("a", "b", "c")
every_kind = pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.npy"])


@every_kind
@pytest.mark.parametrize("n_pieces", [1, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_written_is_read_back_to_the_bit(name, n_pieces, dtype, tmp_path):
    with writers.open_sink(str(tmp_path / name)) as sink:
        for piece in np.array_split(ROWS.astype(dtype), n_pieces):
            assert not (tmp_path / name).exists()
            sink.add(readers.Table(piece, NAMES))
    table = readers.read(tmp_path / name)
    np.testing.assert_array_equal(table.rows.astype(dtype), ROWS.astype(dtype))
    assert table.names == (None if name.endswith("npy") else NAMES)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.endswith("npy"):
        assert np.load(tmp_path / name).dtype == dtype


@pytest.mark.parametrize("n_pieces", [1, 2])
def test_a_table_of_all_kinds_is_written_in_pieces(n_pieces, tmp_path):
    table = pa.table({"t": ["x", None, "ü, y"], "b": [True, False, None], "n": [1, None, 3]})
    for name in ("out.parquet", "out.csv"):
        with writers.open_sink(str(tmp_path / name)) as sink:
            for i in range(0, 3, 3 // n_pieces):
                sink.add(table[i : i + 3 // n_pieces])
    assert pa.parquet.read_table(tmp_path / "out.parquet").equals(table)
    assert (tmp_path / "out.csv").read_text() == 't,b,n\n"x",true,1\n,false,\n"ü, y",,3\n'
    with pytest.raises(InvalidData, match=r"\bt\b"):
        writers.write(str(tmp_path / "out.npy"), table)
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("colours", [(), (3,)])
@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_folder_of_images_is_written_back_under_the_same_names(colours, suffix, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4, *colours), np.uint8)
    (tmp_path / "in").mkdir()
    for name, one in zip("cabde", pixels, strict=True):
        Image.fromarray(one).save(tmp_path / "in" / f"{name}{suffix}")
    table = readers.read(tmp_path / "in")
    assert table.images.shape == (6, 4, *colours)
    assert table.rows.shape == (5, 24 * (3 if colours else 1))
    with writers.open_sink(str(tmp_path / "out"), table.images) as sink:
        for piece in np.array_split(table.rows, 2):
            sink.add(readers.Table(piece))
    again = readers.read(tmp_path / "out")
    assert [file.name for file in again.images.files] == [file.name for file in table.images.files]
    np.testing.assert_array_equal(again.rows, table.rows)


def test_images_of_sixteen_bits_keep_their_range(tmp_path):
    Image.fromarray(np.array([[0, 65535], [32768, 256]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(readers.read(tmp_path).rows, np.array([[0, 255, 128, 1]], np.float32) / 255)


def test_csv_quotes_only_names_that_need_it(tmp_path):
    writers.write(str(tmp_path / "t.csv"), readers.Table(ROWS[:, :2], ("plain", 'a "b", c')))
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == 'plain,"a ""b"", c"'
    assert readers.read(tmp_path / "t.csv").names == ("plain", 'a "b", c')


def test_an_output_that_cannot_be_is_refused_before_any_work(tmp_path):
    for images in (False, True):
        with pytest.raises(InvalidData, match=r"\.csv, \.parquet, \.npy"):
            writers.check_output(str(tmp_path / "out.xlsx"), images=images)
        with pytest.raises(InvalidData, match="no"):
            writers.check_output(str(tmp_path / "no" / "out.csv"), images=images)
    with pytest.raises(InvalidData):
        writers.check_output(str(tmp_path / "out"))
    with pytest.raises(InvalidData):
        writers.check_output(str(tmp_path), images=True)


@every_kind
def test_a_file_that_is_there_is_left_whole(name, tmp_path):
    target = tmp_path / name
    writers.write(str(target), readers.Table(ROWS, NAMES))
    before = target.read_bytes()
    with pytest.raises(InvalidData), writers.open_sink(str(target)):
        raise AssertionError("what is there is replaced")
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_folder_of_images_is_not_there(tmp_path):
    images = readers.Images((tmp_path / "a.png", tmp_path / "b.png"), (1, 2))
    with pytest.raises(InvalidData, match="No space left"), writers.open_sink(str(tmp_path / "out"), images) as sink:  # noqa: PT012
        sink.add(readers.Table(np.zeros((1, 2))))
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
