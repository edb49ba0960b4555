"""Bad input, as docs/errors.md lists it: each row is made and refused, in Python and by the command, in its words."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image

import diabolo
from diabolo import errors, parts
from diabolo.errors import DiaboloError

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1:]
    for cells in (
        [cell.strip() for cell in line.strip("|\n").split("|")] for line in PAGE.splitlines() if line[:1] == "|"
    )
    if len(cells) == 4 and cells[0] != "what is wrong" and not set(cells[0]) <= set("-")
}

GOOD = np.random.default_rng(0).normal(size=(30, 4))
NAMES = ["a", "b", "c", "d"]


def changed(row, column, value):
    rows = GOOD.copy()
    rows[row, column] = value
    return rows


def named(rows, names=NAMES):
    return pa.table({name: rows[:, i] for i, name in enumerate(names[: rows.shape[1]])})


def written(folder, rows):
    if isinstance(rows, pa.Table):
        pa.csv.write_csv(rows, folder / "rows.csv")
        return "rows.csv"
    np.save(folder / "rows.npy", rows, allow_pickle=True)
    return "rows.npy"


def basic(**parameters):
    return diabolo.BasicAutoencoder(**{"n_latent": 2, "max_epochs": 1, "random_state": 0} | parameters)


# What is given to `fit`; or, of a model that was fitted to good rows, to `transform`.
GIVEN = {
    "an infinite number": lambda: changed(2, 1, np.inf),
    "a number beyond 32 bits": lambda: changed(2, 1, 1e300),
    "no row": lambda: GOOD[:0],
    "one row": lambda: GOOD[:1],
    "no column": lambda: GOOD[:, :0],
    "a vector": lambda: GOOD[:, 0],
    "words among numbers": lambda: pa.table({"a": ["1", "2", "oops"] * 10, "b": [str(i) for i in range(30)]}),
    "complex numbers": lambda: GOOD.astype(complex),
    "objects": lambda: np.array([[{}, 1.0], [2.0, 3.0], [1.0, 1.0]], dtype=object),
}
ASKED = {
    "another width than in `fit`": (lambda: GOOD, lambda: GOOD[:, :3]),
    "other names than in `fit`": (lambda: named(GOOD), lambda: named(GOOD, ["a", "b", "c", "z"])),
    "missing cells, none in `fit`": (lambda: GOOD, lambda: changed(2, 1, np.nan)),
}


def ragged(folder):
    (folder / "bad.csv").write_text("a,b\n1,2\n3\n4,5,6\n")
    return "bad.csv"


def other_encoding(folder):
    (folder / "bad.csv").write_bytes("größe,b\n1,2\n3,4\n".encode("latin-1"))
    return "bad.csv"


def truncated(folder):
    pa.parquet.write_table(named(GOOD), folder / "bad.parquet")
    content = (folder / "bad.parquet").read_bytes()
    (folder / "bad.parquet").write_bytes(content[: len(content) // 2])
    return "bad.parquet"


def of_pickles(folder):
    np.save(folder / "bad.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    return "bad.npy"


def images(folder, sizes):
    (folder / "images").mkdir()
    for i, size in enumerate(sizes):
        Image.new("L", size).save(folder / "images" / f"{i}.png")
    return "images"


def broken_image(folder):
    images(folder, [(4, 4), (4, 4)])
    (folder / "images" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    return "images"


def other_kind(folder):
    (folder / "rows.docx").write_text("")
    return "rows.docx"


def empty_folder(folder):
    (folder / "nothing").mkdir()
    return "nothing"


FILES = {
    "no such file": lambda folder: "nowhere.csv",
    "an empty folder": empty_folder,
    "a file of another kind": other_kind,
    "a CSV with ragged rows": ragged,
    "a CSV in another encoding": other_encoding,
    "a truncated Parquet file": truncated,
    "a .npy file of pickles": of_pickles,
    "a broken image": broken_image,
    "images of differing sizes": lambda folder: images(folder, [(4, 4), (4, 5)]),
}
PARAMETERS = {
    "a wrong type": (lambda: basic(n_latent="two"), ("-m", "basic", "-s", "n_latent=two")),
    "out of range": (lambda: basic(learning_rate=-1.0), ("-m", "basic", "-s", "learning_rate=-1.0")),
    "an unknown word": (lambda: basic(activation="rellu"), ("-m", "basic", "-s", "activation=rellu")),
    "a misspelt name": (lambda: basic(n_latnet=2), ("-m", "basic", "-s", "n_latnet=2")),
    "parts that contradict each other": (
        lambda: diabolo.Autoencoder(latent=parts.DiagonalGaussian(2), penalties=(parts.KLSparsity(),)),
        ("-m", "autoencoder", "-s", 'latent={"part": "DiagonalGaussian"}', "-s", 'penalties=[{"part": "KLSparsity"}]'),
    ),
    "a part out of its range": (
        lambda: diabolo.Autoencoder(corruption=parts.Masking(2.0)),
        ("-m", "autoencoder", "-s", 'corruption={"part": "Masking", "p": 2.0}'),
    ),
    "below 0 for a Bernoulli, unscaled": (
        lambda: diabolo.VariationalAutoencoder(likelihood="bernoulli", scaling=None),
        ("-m", "variational", "-s", "likelihood=bernoulli", "-s", "scaling=none"),
    ),
}


def test_every_row_of_the_page_is_tried():
    assert set(ROWS) == {*GIVEN, *ASKED, *FILES, *PARAMETERS}


def holds(message, told):
    """Whether a message has the words; several ways of saying it are apart by a semicolon."""
    return any(words.strip().lower() in message.lower() for words in told.split(";"))


def refused(what, act):
    kind, words = ROWS[what][0], ROWS[what][1]
    name = re.search(r"`(\w+)`", kind).group(1)
    expected = getattr(errors, name, None) or TypeError
    with pytest.raises(expected) as caught:
        act()
    assert isinstance(caught.value, DiaboloError) or name == "TypeError"
    assert holds(str(caught.value), words), str(caught.value)


def refused_by_the_command(what, run, folder, arguments):
    before = sorted(folder.rglob("*"))
    status, _, err = run(*arguments)
    assert status == 2, err
    assert holds(err, ROWS[what][2]), err
    assert len(err.strip().splitlines()) == 1
    assert sorted(folder.rglob("*")) == before, "a file was left behind"


@pytest.mark.parametrize("what", GIVEN)
def test_rows_that_cannot_be_learned_from_are_refused(what):
    refused(what, lambda: basic().fit(GIVEN[what]()))


def test_a_number_beyond_32_bits_is_found_among_missing_cells_and_named():
    rows = changed(2, 1, 1e300)
    rows[0, 0] = np.nan
    with pytest.raises(errors.InvalidData, match=r"Row 3, column b holds 1e\+300"):
        basic().fit(named(rows).to_pandas())
    model = basic().fit(GOOD)
    for asked in (changed(2, 1, 1e300), changed(2, 1, 1e300)[2:3]):
        with pytest.raises(errors.InvalidData, match="column 1 holds"):
            model.transform(asked)


@pytest.mark.parametrize("what", ASKED)
def test_rows_that_a_model_cannot_be_asked_about_are_refused(what):
    fitted, asked = ASKED[what]
    model = basic().fit(fitted())
    for method in ("transform", "reconstruct", "score_samples"):
        refused(what, lambda method=method: getattr(model, method)(asked()))


@pytest.mark.parametrize("what", FILES)
def test_files_that_cannot_be_read_are_refused(what, tmp_path):
    where = FILES[what](tmp_path)
    refused(what, lambda: basic().fit(str(tmp_path / where)))


@pytest.mark.parametrize("what", PARAMETERS)
def test_parameters_that_cannot_be_are_refused(what):
    refused(what, lambda: PARAMETERS[what][0]().fit(GOOD))


@pytest.mark.parametrize("what", [*GIVEN, *FILES])
@pytest.mark.parametrize("command", ["fit", "score"])
def test_the_command_refuses_them_in_one_line_and_leaves_nothing(what, command, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = FILES[what](tmp_path) if what in FILES else written(tmp_path, GIVEN[what]())
    if command == "fit":
        refused_by_the_command(what, run, tmp_path, ("fit", where, "-m", "basic", "-o", "run"))
    elif what != "one row":  # which can be scored
        basic().fit(named(GOOD) if where.endswith((".csv", ".parquet")) else GOOD).save(tmp_path / "model")
        status, _, err = run("score", "model", where, "-o", "scores.csv")
        assert status == 2, err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "scores.csv").exists()


@pytest.mark.parametrize("what", ASKED)
def test_the_command_refuses_rows_that_it_cannot_be_asked_about(what, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted, asked = ASKED[what]
    basic().fit(fitted()).save(tmp_path / "model")
    where = written(tmp_path, asked())
    refused_by_the_command(what, run, tmp_path, ("transform", "model", where, "-o", "codes.csv"))


@pytest.mark.parametrize("what", PARAMETERS)
def test_the_command_refuses_parameters_that_cannot_be(what, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "rows.npy", GOOD)
    refused_by_the_command(what, run, tmp_path, ("fit", "rows.npy", *PARAMETERS[what][1], "-o", "run"))
