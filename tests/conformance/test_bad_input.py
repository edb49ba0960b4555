"""Bad rows, calls and files, as docs/errors.md lists them: each is made and refused, in Python and by the command."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.sparse
from PIL import Image

import diabolo
from diabolo import errors
from diabolo.errors import DiaboloError
from errors_page import (
    CALLS,
    FILES,
    GOOD,
    LABELS,
    LINES,
    MAX_ABS_SCALED,
    NAMES,
    ROWS,
    SMALL,
    WAYS_IN,
    basic,
    changed,
    folder_of,
    named,
    refused,
    refused_by_the_command,
    twins,
)
from helpers import over


@pytest.fixture(scope="module")
def fitted():
    return basic().fit(GOOD)


@pytest.fixture(scope="module")
def fitted_by_name():
    return basic().fit(named(GOOD))


@pytest.fixture(scope="module")
def variational():
    return diabolo.VariationalAutoencoder(hidden_layer_sizes=8, **SMALL).fit(GOOD)


# -- rows -------------------------------------------------------------------------------------------------------------

GIVEN = {
    "an infinite number": lambda: changed(2, 1, np.inf),
    "a number that is minus infinity": lambda: changed(2, 1, -np.inf),
    "a number beyond 32 bits": lambda: changed(2, 1, 1e300),
    "no row": lambda: GOOD[:0],
    "one row": lambda: GOOD[:1],
    "no column": lambda: GOOD[:, :0],
    "a one-dimensional array": lambda: GOOD[:, 0],
    "text among numbers": lambda: pa.table({"a": ["1", "2", "oops"] * 10, "b": [str(i) for i in range(30)]}),
    "complex numbers": lambda: GOOD.astype(complex),
    "an array of objects": lambda: np.array([[{}, 1.0], [2.0, 3.0], [1.0, 1.0]], dtype=object),
    "dates in an array": lambda: np.full((30, 2), "2020-01-01", "datetime64[D]"),
    "a masked array": lambda: np.ma.masked_array(GOOD, GOOD > 1),
    "rows of different lengths": lambda: [[1.0, 2.0], [3.0], [4.0, 5.0]],
    "only missing cells": lambda: np.full((30, 4), np.nan),
    "two columns with the same name": twins,
    "column names that are not strings": lambda: pd.DataFrame(GOOD, columns=["a", 1, "b", 2]),
    "integers above 2⁵³ that differ by little": lambda: MAX_ABS_SCALED,
}
IN_FILES = [what for what, row in ROWS.items() if row[2] != "–"]
CAN_BE_SCORED = ("one row", "integers above 2⁵³ that differ by little")


def test_every_row_of_the_page_is_tried():
    assert list(ROWS) == list(GIVEN)
    assert list(CALLS) == list(SOME)
    assert list(FILES) == list(BAD_FILES)


OTHER = ("BatchedSearchCV", "SeriesDetector")
"""Rows of a series may be a vector, and their order matters: `test_series_detector` has what it refuses. A search of an
autoencoder is below."""


def test_every_estimator_is_tried():
    assert set(WAYS_IN) == {
        name
        for name in diabolo.__all__
        if isinstance(getattr(diabolo, name), type) and name not in OTHER and not name.endswith("Display")
    }


@over("what", list(GIVEN))
@over("name", list(WAYS_IN))
def test_rows_that_cannot_be_learned_from_are_refused_by_every_estimator(name, what):
    rows, estimator = GIVEN[what](), WAYS_IN[name]()
    n_rows = rows.num_rows if isinstance(rows, pa.Table) else len(rows)
    given = (rows, LABELS[:n_rows]) if name == "AutoencoderClassifier" else (rows,)
    refused(ROWS[what], lambda: estimator.fit(*given))


@over("what", list(GIVEN))
def test_rows_that_cannot_be_learned_from_are_refused_by_a_sweep(what):
    refused(ROWS[what], lambda: diabolo.sweep(basic(), {"learning_rate": [1e-3]}, GIVEN[what]()))


@over("what", list(GIVEN))
def test_rows_that_cannot_be_learned_from_are_refused_by_a_search(what):
    search = diabolo.BatchedSearchCV(basic(), {"learning_rate": [1e-3]}, cv=2)
    refused(ROWS[what], lambda: search.fit(GIVEN[what]()))


def test_a_number_beyond_32_bits_is_found_among_missing_cells_and_named(fitted):
    rows = changed(2, 1, 1e300)
    rows[0, 0] = np.nan
    with pytest.raises(errors.InvalidData, match=r"3, column b .*1e\+300"):
        basic().fit(named(rows).to_pandas())
    for asked in (changed(2, 1, 1e300), changed(2, 1, 1e300)[2:3]):
        with pytest.raises(errors.InvalidData, match="column 1"):
            fitted.transform(asked)


def written(folder, rows):
    if isinstance(rows, pa.Table):
        pa.csv.write_csv(rows, folder / "rows.csv")
        return "rows.csv"
    np.save(folder / "rows.npy", rows, allow_pickle=True)
    return "rows.npy"


# -- some calls -------------------------------------------------------------------------------------------------------


def asked_of(name, rows):
    """All that can be asked of a fitted model, in Python; and `diabolo transform`."""

    def act(request):
        model = request.getfixturevalue(name)
        for method in ("reconstruct", "score_samples", "transform"):
            with pytest.raises(DiaboloError) as caught:
                getattr(model, method)(rows())
        raise caught.value

    def command(folder, request):
        request.getfixturevalue(name).save(folder / "model")
        return "transform", "model", written(folder, rows()), "-o", "codes.csv"

    return act, command


def scored(rows):
    def command(folder, request):
        request.getfixturevalue("fitted").save(folder / "model")
        return "score", "model", written(folder, rows()), "-o", "scores.csv"

    return (lambda request: request.getfixturevalue("fitted").score_samples(rows())), command


def fit_of(rows, *settings, model="basic", **parameters):
    """`fit` with these parameters, and `diabolo fit`."""
    make = basic if model == "basic" else WAYS_IN[model]
    kinds = {"AnomalyDetector": "anomaly", "VariationalAutoencoder": "variational"}

    def command(folder, request):
        words = [word for setting in settings for word in ("-s", setting)]
        return "fit", written(folder, rows()), "-m", kinds.get(model, model), "-o", "run", *words

    return (lambda request: make(**parameters).fit(rows())), command


def classified(rows, labels, **more):
    return (lambda request: WAYS_IN["AutoencoderClassifier"]().fit(rows, labels, **more)), None


def given_in(name, value):
    """A value that new rows shall have."""

    def act(request):
        request.getfixturevalue(name).sample(3, given={0: value})

    def command(folder, request):
        request.getfixturevalue(name).save(folder / "model")
        return "sample", "model", "-g", f"0={value}"

    return act, command


def codes(Z):
    return (lambda request: request.getfixturevalue("fitted").inverse_transform(Z)), None


sparse = scipy.sparse.csr_matrix
SOME = {
    "another number of columns than in `fit`": asked_of("fitted", lambda: GOOD[:, :3]),
    "other column names than in `fit`": asked_of("fitted_by_name", lambda: named(GOOD, ["a", "b", "c", "z"])),
    "column names in another order than in `fit`": (
        asked_of("fitted_by_name", lambda: named(GOOD, NAMES[::-1]))[0],
        None,
    ),
    "missing cells, without any in `fit`": asked_of("fitted", lambda: changed(2, 1, np.nan)),
    "an array, for a model fitted to a table": asked_of("fitted_to_table", lambda: GOOD[:, :2]),
    "numbers below 0 for a Bernoulli likelihood, unscaled": fit_of(
        lambda: GOOD,
        "likelihood=bernoulli",
        "scaling=none",
        model="VariationalAutoencoder",
        likelihood="bernoulli",
        scaling=None,
    ),
    "integers above 2²⁴ that differ by little, unscaled": fit_of(
        lambda: MAX_ABS_SCALED - 2**60 + 2**26, "scaling=none", scaling=None
    ),
    "a sparse matrix of complex numbers": (lambda request: basic().fit(sparse(GOOD.astype(complex))), None),
    "a sparse matrix without columns": (lambda request: basic().fit(sparse((4, 0))), None),
    "sparse codes": codes(sparse(GOOD[:, :2])),
    "codes with another number of columns": codes(GOOD),
    "another number of labels than rows": classified(GOOD, LABELS[:10]),
    "no labels": classified(GOOD, None),
    "a missing label": classified(GOOD, [0.0, np.nan] * 15),
    "labels of several types": classified(GOOD, ["a", None] * 15),
    "continuous numbers as labels": classified(GOOD, GOOD[:, 0]),
    "validation rows without labels": classified(GOOD, LABELS, X_val=GOOD),
    "another number of validation labels than rows": classified(GOOD, LABELS, X_val=GOOD, y_val=[0, 1]),
    "a schema for an array": fit_of(lambda: GOOD, 'schema={"a": "count"}', schema={"a": "count"}),
    "a schema with an unknown column": fit_of(lambda: named(GOOD), 'schema={"aa": "count"}', schema={"aa": "count"}),
    "a schema with an unknown kind": fit_of(lambda: named(GOOD), 'schema={"a": "cuont"}', schema={"a": "cuont"}),
    "a number too far from the rows of `fit` for 32 bits": scored(lambda: changed(2, 1, 1e37)),
    "a value that a column cannot have": given_in("variational", "x"),
    "more folds than rows": fit_of(
        lambda: GOOD, "calibration=31", "estimator=single", model="AnomalyDetector", estimator="single", calibration=31
    ),
}


@pytest.fixture(scope="module")
def fitted_to_table():
    return basic().fit(pa.table({"a": LABELS, "b": ["u", "v"] * 15}))


@pytest.mark.filterwarnings("ignore:'where' used without 'out'")
@pytest.mark.parametrize("what", SOME)
def test_calls_with_what_they_cannot_use_are_refused(what, request):
    refused(CALLS[what], lambda: SOME[what][0](request))


# -- files ------------------------------------------------------------------------------------------------------------


def file(name, content):
    def make(folder):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return make


def together(where, *made):
    def make(folder):
        for one in made:
            one(folder)
        return where

    return make


def truncated(name, write, share=0.5):
    def make(folder):
        write(folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])
        return name

    return make


def of(name, write):
    return truncated(name, write, 1)


def pickles(path):
    save = np.savez if path.suffix == ".npz" else np.save
    save(path, np.array([{}, {}], dtype=object), allow_pickle=True)


def no_texts(path):
    pa.parquet.write_table(pa.table({"a": ["größe", "b"] * 15}), path, compression="none")
    path.write_bytes(path.read_bytes().replace("ö".encode(), b"\xf6\xf6"))


def link(name, to):
    def make(folder):
        (folder / name).symlink_to(to)
        return name

    return make


def images(*sizes, mode="L"):
    def make(folder):
        (folder / "images").mkdir(exist_ok=True)
        for i, size in enumerate(sizes):
            pixels = np.random.default_rng(i).integers(256, size=size[::-1], dtype=np.uint8)  # which do not compress
            Image.fromarray(pixels).convert(mode).save(folder / "images" / f"{mode}{i}.png")
        return "images"

    return make


def half_an_image(folder):
    images((64, 64), (64, 64))(folder)
    image = folder / "images" / "L1.png"
    image.write_bytes(image.read_bytes()[:2000])
    return "images"


def header(width, height):
    """A grey image's header, with no pixel behind it: a large image in a few bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD_FILES = {
    "no such file": lambda folder: "nowhere.csv",
    "a broken link": link("bad.csv", "nowhere"),
    "an empty folder": folder_of("nothing"),
    "a folder with folders only": folder_of("outer/inner"),
    "a folder with files of other kinds": together("papers", file("papers/thesis.docx", "")),
    "a folder with files of several kinds": together("both", file("both/a.csv", "a\n1\n"), file("both/b.parquet", "")),
    "a file of another kind": file("rows.docx", ""),
    "a file that cannot be read": link("bad.csv", "/proc/self/mem"),
    "a name that is too long": lambda folder: "a" * 5000 + ".csv",
    "an empty CSV": file("bad.csv", ""),
    "a CSV with a header only": file("bad.csv", "a,b\n"),
    "a CSV with ragged rows": file("bad.csv", "a,b\n1,2\n3\n4,5,6\n"),
    "a CSV in an unknown encoding": file("bad.csv", "이름,b\n1,2\n3,4\n".encode("cp949")),
    "a CSV whose encoding changes": file("bad.csv", b"a,b\n" + b"1,2\n" * 20_000 + b"2,\xb0\xa1\xb3\xaa\n"),
    "a CSV with ambiguous numbers": file("bad.csv", "a;b\n" + "1,234;2\n5,678;3\n" * 9),
    "a CSV with ambiguous dates": file("bad.csv", "a,b\n" + "01/02/2024,2\n03/04/2024,3\n" * 9),
    "a CSV with text among numbers": file("bad.csv", "a,b\n1,2\n2,3\n3,4\nlots,4\n"),
    "a CSV with two columns with the same name": file("bad.csv", "a,a\n" + LINES),
    "a CSV with a column without a name": file("bad.csv", "a,\n" + LINES),
    "CSV files with different columns": together(
        "both", file("both/1.csv", "a,b\n1,2\n"), file("both/2.csv", "a,c\n3,4\n")
    ),
    "CSV files with different types": together(
        "both", file("both/1.csv", "a,b\n1,2\n"), file("both/2.csv", "a,b\n1,x\n")
    ),
    "a truncated Parquet file": truncated("bad.parquet", lambda path: pa.parquet.write_table(named(GOOD), path)),
    "a Parquet file with invalid UTF-8": of("bad.parquet", no_texts),
    "a Parquet file with two columns with the same name": of(
        "bad.parquet", lambda path: pa.parquet.write_table(twins(), path)
    ),
    "a .npy file with pickled objects": of("bad.npy", pickles),
    "a truncated .npy file": truncated("bad.npy", lambda path: np.save(path, GOOD)),
    "a .npz file with pickled objects": of("bad.npz", pickles),
    "a truncated .npz file": truncated("bad.npz", lambda path: np.savez(path, GOOD)),
    "a .npz file with several arrays": of("bad.npz", lambda path: np.savez(path, a=GOOD, b=GOOD)),
    "a broken image": together("images", images((4, 4)), file("images/x.png", b"\x89PNG\r\n\x1a\nand no more")),
    "a truncated image": half_an_image,
    "an image without width": file("0.png", header(0, 4)),
    "an image with too many pixels": file("0.png", header(6000, 6000)),
    "images of different sizes": images((4, 4), (4, 5)),
    "grey and colour images together": together("images", images((4, 4)), images((4, 4), mode="RGB")),
}


TRIED_FILES = [what for what in BAD_FILES if "system does not" not in what or Path("/proc/self/mem").exists()]
"""A file that even root cannot read is of Linux."""


def a_folder_for(what, command, tmp_path):
    folder = tmp_path / f"{command}, {[*IN_FILES, *FILES].index(what)}"
    folder.mkdir()
    return folder


@over("what", TRIED_FILES)
def test_files_that_cannot_be_read_are_refused(what, tmp_path):
    folder = a_folder_for(what, "read", tmp_path)
    where = BAD_FILES[what](folder)
    refused(FILES[what], lambda: basic().fit(str(folder / where)))


@over("what", [*IN_FILES, *TRIED_FILES])
@over("command", ["fit", "score"])
def test_the_command_refuses_them_in_one_line_and_leaves_nothing(
    what, command, run, tmp_path, monkeypatch, fitted, fitted_by_name
):
    tmp_path = a_folder_for(what, command, tmp_path)
    monkeypatch.chdir(tmp_path)
    where = BAD_FILES[what](tmp_path) if what in FILES else written(tmp_path, GIVEN[what]())
    if command == "fit":
        words = (FILES.get(what) or ROWS[what])[2]
        refused_by_the_command(words, run, tmp_path, ("fit", where, "-m", "basic", "-o", "run"))
    elif what not in CAN_BE_SCORED:
        (fitted_by_name if where.endswith((".csv", ".parquet")) else fitted).save(tmp_path / "model")
        refused_by_the_command("", run, tmp_path, ("score", "model", where, "-o", "scores.csv"))


@pytest.mark.parametrize("what", [what for what, (_, command) in SOME.items() if command])
def test_the_command_refuses_what_it_cannot_use(what, run, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    refused_by_the_command(CALLS[what][2], run, tmp_path, SOME[what][1](tmp_path, request))


def test_what_the_page_calls_no_file_s_is_what_the_command_is_not_tried_with():
    assert {what for what, (_, command) in SOME.items() if not command} == {
        what for what, row in CALLS.items() if row[2].startswith(("–", "no error"))
    }
