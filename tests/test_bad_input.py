"""Bad input, as docs/errors.md lists it: each row is made and refused, in Python and by the command, in its words."""

import json
import re
import struct
import warnings
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
from diabolo import errors, parts
from diabolo.data import blocks
from diabolo.errors import DiaboloError
from diabolo.persistence import files

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")


def tables(page):
    """The tables of a page, in their order, each with its rows by their first cells."""
    found, inside = [], False
    for line in page.splitlines():
        is_row = line[:1] == "|"
        if is_row and not inside:
            found.append({})
        elif is_row and not set(line) <= set("|-"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            assert name not in found[-1], name
            found[-1][name] = cells
        inside = is_row
    return found


ROWS, CALLS, FILES, PARAMETERS, SETTINGS, MODELS, WRITING, REQUESTS, TRAININGS, RESULTS = tables(PAGE)

GOOD = np.random.default_rng(0).normal(size=(30, 4))
NAMES = ["a", "b", "c", "d"]
LABELS = [0, 1] * 15
FAR = 2**60 + np.arange(120).reshape(30, 4)
SMALL = {"n_latent": 2, "max_epochs": 1, "random_state": 0}


def changed(row, column, value):
    rows = GOOD.copy()
    rows[row, column] = value
    return rows


def named(rows, names=NAMES):
    return pa.table({name: rows[:, i] for i, name in enumerate(names[: rows.shape[1]])})


def twins():
    return pa.Table.from_arrays([pa.array(GOOD[:, 0]), pa.array(GOOD[:, 1])], names=["a", "a"])


def basic(**parameters):
    return diabolo.BasicAutoencoder(**SMALL | parameters)


@pytest.fixture(scope="module")
def fitted():
    return basic().fit(GOOD)


@pytest.fixture(scope="module")
def fitted_by_name():
    return basic().fit(named(GOOD))


@pytest.fixture(scope="module")
def variational():
    return diabolo.VariationalAutoencoder(hidden_layer_sizes=8, **SMALL).fit(GOOD)


# -- what is looked for -----------------------------------------------------------------------------------------------


def holds(message, told):
    """Whether a message has the words; several ways of saying it are apart by a semicolon."""
    return any(words.strip().lower() in message.lower() for words in told.split(";"))


def refused(row, act):
    """That it is, as a row of the page says."""
    kind, words = row[0], row[1]
    name = re.search(r"`(\w+)`", kind).group(1)
    with pytest.raises(getattr(errors, name, None) or TypeError) as caught:
        act()
    assert isinstance(caught.value, DiaboloError) or name == "TypeError"
    assert holds(str(caught.value), words), str(caught.value)


def refused_by_the_command(words, run, folder, arguments):
    before = sorted(folder.rglob("*"))
    status, _, err = run(*arguments)
    assert status == 2, err
    assert holds(err, words), err
    assert len(err.strip().splitlines()) == 1
    assert sorted(folder.rglob("*")) == before, "a file was left behind"


# -- rows -------------------------------------------------------------------------------------------------------------

GIVEN = {
    "an infinite number": lambda: changed(2, 1, np.inf),
    "a number that is minus infinity": lambda: changed(2, 1, -np.inf),
    "a number beyond 32 bits": lambda: changed(2, 1, 1e300),
    "no row": lambda: GOOD[:0],
    "one row": lambda: GOOD[:1],
    "no column": lambda: GOOD[:, :0],
    "a vector": lambda: GOOD[:, 0],
    "words among numbers": lambda: pa.table({"a": ["1", "2", "oops"] * 10, "b": [str(i) for i in range(30)]}),
    "complex numbers": lambda: GOOD.astype(complex),
    "objects": lambda: np.array([[{}, 1.0], [2.0, 3.0], [1.0, 1.0]], dtype=object),
    "dates in an array": lambda: np.full((30, 2), "2020-01-01", "datetime64[D]"),
    "a mask": lambda: np.ma.masked_array(GOOD, GOOD > 1),
    "rows of differing lengths": lambda: [[1.0, 2.0], [3.0], [4.0, 5.0]],
    "no known cell": lambda: np.full((30, 4), np.nan),
    "two columns of one name": twins,
    "names that are not texts": lambda: pd.DataFrame(GOOD, columns=["a", 1, "b", 2]),
    "whole numbers beyond 2⁵³ that differ by little": lambda: FAR,
}
IN_FILES = [what for what, row in ROWS.items() if row[2] != "not a file's"]
CAN_BE_SCORED = ("one row", "whole numbers beyond 2⁵³ that differ by little")
WAYS_IN = {
    **{name: getattr(diabolo, name) for name in diabolo.__all__ if name.endswith(("Autoencoder", "Detector"))},
    "AutoencoderGenerator": diabolo.AutoencoderGenerator,
    "AutoencoderImputer": diabolo.AutoencoderImputer,
    "AutoencoderClassifier": lambda: diabolo.AutoencoderClassifier(basic()),
}


def test_every_row_of_the_page_is_tried():
    assert list(ROWS) == list(GIVEN)
    assert list(CALLS) == list(SOME)
    assert list(FILES) == list(BAD_FILES)
    assert list(PARAMETERS) == list(SET)
    assert list(SETTINGS) == list(TOML)
    assert list(MODELS) == list(DAMAGE)
    assert list(WRITING) == list(WRITTEN)
    assert list(RESULTS) == [what for what, _ in ACCEPTED]


def test_every_estimator_is_tried():
    assert set(WAYS_IN) == {name for name in diabolo.__all__ if isinstance(getattr(diabolo, name), type)}


@pytest.mark.parametrize("what", GIVEN)
@pytest.mark.parametrize("name", WAYS_IN)
def test_rows_that_cannot_be_learned_from_are_refused_by_every_estimator(name, what):
    rows, estimator = GIVEN[what](), WAYS_IN[name]()
    n_rows = rows.num_rows if isinstance(rows, pa.Table) else len(rows)
    given = (rows, LABELS[:n_rows]) if name == "AutoencoderClassifier" else (rows,)
    refused(ROWS[what], lambda: estimator.fit(*given))


@pytest.mark.parametrize("what", GIVEN)
def test_rows_that_cannot_be_learned_from_are_refused_by_a_sweep(what):
    refused(ROWS[what], lambda: diabolo.sweep(basic(), {"learning_rate": [1e-3]}, GIVEN[what]()))


def test_a_number_beyond_32_bits_is_found_among_missing_cells_and_named(fitted):
    rows = changed(2, 1, 1e300)
    rows[0, 0] = np.nan
    with pytest.raises(errors.InvalidData, match=r"Row 3, column b holds 1e\+300"):
        basic().fit(named(rows).to_pandas())
    for asked in (changed(2, 1, 1e300), changed(2, 1, 1e300)[2:3]):
        with pytest.raises(errors.InvalidData, match="column 1 holds"):
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
    "another width than in `fit`": asked_of("fitted", lambda: GOOD[:, :3]),
    "other names than in `fit`": asked_of("fitted_by_name", lambda: named(GOOD, ["a", "b", "c", "z"])),
    "names in another order than in `fit`": (asked_of("fitted_by_name", lambda: named(GOOD, NAMES[::-1]))[0], None),
    "missing cells, none in `fit`": asked_of("fitted", lambda: changed(2, 1, np.nan)),
    "an array, of a model of a table": asked_of("fitted_to_table", lambda: GOOD[:, :2]),
    "below 0 for a Bernoulli, unscaled": fit_of(
        lambda: GOOD,
        "likelihood=bernoulli",
        "scaling=none",
        model="VariationalAutoencoder",
        likelihood="bernoulli",
        scaling=None,
    ),
    "whole numbers beyond 2²⁴ that differ by little, unscaled": fit_of(
        lambda: FAR - 2**60 + 2**26, "scaling=none", scaling=None
    ),
    "a sparse matrix of complex numbers": (lambda request: basic().fit(sparse(GOOD.astype(complex))), None),
    "a sparse matrix without columns": (lambda request: basic().fit(sparse((4, 0))), None),
    "sparse rows for a classifier": classified(sparse(GOOD), LABELS),
    "sparse codes": codes(sparse(GOOD[:, :2])),
    "codes of another width": codes(GOOD),
    "labels of another number": classified(GOOD, LABELS[:10]),
    "no labels": classified(GOOD, None),
    "a missing label": classified(GOOD, [0.0, np.nan] * 15),
    "labels of several types": classified(GOOD, ["a", None] * 15),
    "numbers for labels": classified(GOOD, GOOD[:, 0]),
    "rows to judge by without labels": classified(GOOD, LABELS, X_val=GOOD),
    "labels to judge by of another number": classified(GOOD, LABELS, X_val=GOOD, y_val=[0, 1]),
    "a schema for an array": fit_of(lambda: GOOD, 'schema={"a": "count"}', schema={"a": "count"}),
    "a schema that names no column": fit_of(lambda: named(GOOD), 'schema={"aa": "count"}', schema={"aa": "count"}),
    "a schema that names no kind": fit_of(lambda: named(GOOD), 'schema={"a": "cuont"}', schema={"a": "cuont"}),
    "a number so far off that 32 bits cannot tell": scored(lambda: changed(2, 1, 1e37)),
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


def without_width(folder):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 0, 4, 8, 0, 0, 0, 0)
    (folder / "0.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return "0.png"


def folder_of(name):
    def make(folder):
        (folder / name).mkdir(parents=True)
        return name.split("/")[0]

    return make


LINES = "".join(f"{i * 7 % 11},{i * i % 7}\n" for i in range(30))
BAD_FILES = {
    "no such file": lambda folder: "nowhere.csv",
    "a link to nothing": link("bad.csv", "nowhere"),
    "an empty folder": folder_of("nothing"),
    "a folder of folders": folder_of("outer/inner"),
    "a folder of files of other kinds": together("papers", file("papers/thesis.docx", "")),
    "a folder of several kinds": together("both", file("both/a.csv", "a\n1\n"), file("both/b.parquet", "")),
    "a file of another kind": file("rows.docx", ""),
    "a file that the system does not read": link("bad.csv", "/proc/self/mem"),
    "a name that is too long": lambda folder: "a" * 5000 + ".csv",
    "an empty CSV": file("bad.csv", ""),
    "a CSV of names alone": file("bad.csv", "a,b\n"),
    "a CSV with ragged rows": file("bad.csv", "a,b\n1,2\n3\n4,5,6\n"),
    "a CSV in an encoding that cannot be found": file("bad.csv", "이름,b\n1,2\n3,4\n".encode("cp949")),
    "a CSV with another encoding in its midst": file("bad.csv", b"a,b\n" + b"1,2\n" * 20_000 + b"2,\xb0\xa1\xb3\xaa\n"),
    "a CSV whose numbers may mean two things": file("bad.csv", "a;b\n" + "1,234;2\n5,678;3\n" * 9),
    "a CSV whose dates may mean two things": file("bad.csv", "a,b\n" + "01/02/2024,2\n03/04/2024,3\n" * 9),
    "a CSV with a word among numbers": file("bad.csv", "a,b\n1,2\n2,3\n3,4\nlots,4\n"),
    "a CSV with two columns of one name": file("bad.csv", "a,a\n" + LINES),
    "a CSV with a column without a name": file("bad.csv", "a,\n" + LINES),
    "CSVs of other columns": together("both", file("both/1.csv", "a,b\n1,2\n"), file("both/2.csv", "a,c\n3,4\n")),
    "CSVs of other types": together("both", file("both/1.csv", "a,b\n1,2\n"), file("both/2.csv", "a,b\n1,x\n")),
    "a truncated Parquet file": truncated("bad.parquet", lambda path: pa.parquet.write_table(named(GOOD), path)),
    "a Parquet file whose texts are none": of("bad.parquet", no_texts),
    "a Parquet file with two columns of one name": of(
        "bad.parquet", lambda path: pa.parquet.write_table(twins(), path)
    ),
    "a .npy file of pickles": of("bad.npy", pickles),
    "a truncated .npy file": truncated("bad.npy", lambda path: np.save(path, GOOD)),
    "a .npz file of pickles": of("bad.npz", pickles),
    "a truncated .npz file": truncated("bad.npz", lambda path: np.savez(path, GOOD)),
    "a .npz file of several arrays": of("bad.npz", lambda path: np.savez(path, a=GOOD, b=GOOD)),
    "a broken image": together("images", images((4, 4)), file("images/x.png", b"\x89PNG\r\n\x1a\nand no more")),
    "half an image": half_an_image,
    "an image without width": without_width,
    "an image of too many pixels": images((6000, 6000), (6000, 6000)),
    "images of differing sizes": images((4, 4), (4, 5)),
    "images grey and in colour": together("images", images((4, 4)), images((4, 4), mode="RGB")),
}


@pytest.fixture(autouse=True)
def _only_where_there_is_proc(request):
    if "system does not" in request.node.name and not Path("/proc/self/mem").exists():
        pytest.skip("a file that even root cannot read is of Linux")


@pytest.mark.parametrize("what", BAD_FILES)
def test_files_that_cannot_be_read_are_refused(what, tmp_path):
    where = BAD_FILES[what](tmp_path)
    refused(FILES[what], lambda: basic().fit(str(tmp_path / where)))


@pytest.mark.parametrize("what", [*IN_FILES, *FILES])
@pytest.mark.parametrize("command", ["fit", "score"])
def test_the_command_refuses_them_in_one_line_and_leaves_nothing(
    what, command, run, tmp_path, monkeypatch, fitted, fitted_by_name
):
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
        what for what, row in CALLS.items() if row[2].startswith("not ")
    }


# -- parameters -------------------------------------------------------------------------------------------------------

SET = {
    "a wrong type": (lambda: basic(n_latent="two"), ("-m", "basic", "-s", "n_latent=two")),
    "out of range": (lambda: basic(learning_rate=-1.0), ("-m", "basic", "-s", "learning_rate=-1.0")),
    "not a number": (lambda: basic(learning_rate=np.nan), ("-m", "basic", "-s", "learning_rate=NaN")),
    "an unknown word": (lambda: basic(activation="rellu"), ("-m", "basic", "-s", "activation=rellu")),
    "a misspelt name": (lambda: basic(n_latnet=2), ("-m", "basic", "-s", "n_latnet=2")),
    "a misspelt name, set later": (lambda: basic().set_params(n_latnet=2), ("-m", "basic", "-s", "n_latnet=2")),
    "more units than there is memory for": (
        lambda: diabolo.StackedAutoencoder(hidden_layer_sizes=(2**31 - 1, 2**31 - 1)),
        ("-m", "stacked", "-s", "hidden_layer_sizes=2147483647,2147483647"),
    ),
    "a field of a part that is a word": (
        lambda: basic().set_params(optimizer__b1=0.5),
        ("-m", "basic", "-s", "optimizer__b1=0.5"),
    ),
    "parts that contradict each other": (
        lambda: diabolo.Autoencoder(latent=parts.DiagonalGaussian(2), penalties=(parts.KLSparsity(),)),
        ("-m", "autoencoder", "-s", 'latent={"part": "DiagonalGaussian"}', "-s", 'penalties=[{"part": "KLSparsity"}]'),
    ),
    "an objective that the latent cannot serve": (
        lambda: diabolo.Autoencoder(objective="elbo"),
        ("-m", "autoencoder", "-s", "objective=elbo"),
    ),
    "a part out of its range": (
        lambda: diabolo.Autoencoder(corruption=parts.Masking(2.0)),
        ("-m", "autoencoder", "-s", 'corruption={"part": "Masking", "p": 2.0}'),
    ),
    "an image that is not the rows' shape": (
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
    with pytest.raises(errors.InvalidParameter, match="one of diabolo's autoencoders"):
        diabolo.sweep(WAYS_IN["AutoencoderClassifier"](), {"learning_rate": [1.0]}, GOOD)


@pytest.mark.parametrize("more", [{"random_state": "x"}, {"given": [1]}, {"given": {0: np.inf}}, {"given": {9: 1.0}}])
def test_samples_that_cannot_be_are_refused(more, variational):
    with pytest.raises(DiaboloError):
        variational.sample(2, **more)


BASE = 'data = "rows.npy"\nmodel = "basic"\n'
TOML = {
    "no TOML": "data = ",
    "a folder in its place": None,
    "a misspelt option": 'data = "rows.npy"\nmodle = "basic"',
    "a misspelt table": BASE + "[parameter]\nn_latent = 2",
    "a misspelt parameter": BASE + "[parameters]\nn_latnet = 2",
    "a misspelt part": BASE + '[parameters]\noptimizer = {part = "Adm"}',
    "a misspelt field of a part": BASE + '[parameters]\noptimizer = {part = "Adam", bb1 = 0.5}',
    "a number for a text": 'data = 5\nmodel = "basic"',
    "a text for a number": BASE + 'seed = "x"',
    "a number for a table": BASE + "parameters = 3",
    "numbers for names": BASE + "columns = [1, 2]",
    "a text for a parameter that is a number": BASE + '[parameters]\nmax_epochs = "many"',
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


def with_arrays(change):
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
    "half a manifest": in_place_of(MANIFEST, lambda path, content: path.write_bytes(content[:200])),
    "a manifest that is not text": in_place_of(MANIFEST, lambda path, _: path.write_bytes(b"\xff\xfe\x00")),
    "a manifest of another program": in_place_of(MANIFEST, lambda path, _: path.write_text('{"hello": 1}')),
    "a manifest that lacks an entry": edited(lambda manifest: manifest.pop("fitted")),
    "an entry of another type": edited(lambda manifest: manifest.update(parameters=[])),
    "a newer format": edited(lambda manifest: manifest.update(format_version=99)),
    "half the arrays": in_place_of(ARRAYS, lambda path, content: path.write_bytes(content[:-20])),
    "a bit that flipped": in_place_of(
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
    "weights that are not numbers": with_arrays(lambda array: array * np.nan),
    "more weights than there are": edited(lambda manifest: manifest["parameters"].update(n_latent=10**9)),
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
    return "transform", "model", "long.npy", "-o", "codes.csv"


FIT, TRANSFORM = ("fit", "rows.npy", "-m", "basic", "-q", "-o"), ("transform", "model", "rows.npy", "-o")
WRITTEN = {
    "a RUN that is there": lambda folder: (*FIT, "model"),
    "a folder that is no RUN, with `--force`": lambda folder: (*FIT, folder_of("thesis")(folder), "--force"),
    "a file in place of RUN's folder": lambda folder: (*FIT, "rows.npy/run"),
    "an output of no known kind": lambda folder: (*TRANSFORM, "codes.xlsx"),
    "an output in no folder": lambda folder: (*TRANSFORM, "nowhere/codes.csv"),
    "an output in a file": lambda folder: (*TRANSFORM, "rows.npy/codes.csv"),
    "an output that is a folder": lambda folder: (*TRANSFORM, folder_of("codes.csv")(folder)),
    "an output that the system does not write": lambda folder: (*TRANSFORM, "/proc/codes.csv"),
    "a row in the midst that cannot be used": bad_in_the_midst,
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


def test_a_folder_that_has_the_temporary_name_is_left_alone(run, tmp_path, fitted):
    np.save(tmp_path / "rows.npy", GOOD)
    fitted.save(tmp_path / "model")
    (tmp_path / ".codes.csv.part").mkdir()
    words = ("transform", tmp_path / "model", tmp_path / "rows.npy", "-o", tmp_path / "codes.csv")
    refused_by_the_command("cannot be written: Is a directory", run, tmp_path, words)


# -- trainings --------------------------------------------------------------------------------------------------------

WILD = changed(2, 1, 1e25)
LONG = {"max_epochs": 600, "validation_fraction": None, "batch_size": 8}


def trained(rows=GOOD, **parameters):
    with pytest.warns() as told:
        basic(**LONG | parameters).fit(rows)
    raise told[0].message


def trained_variational():
    with pytest.warns() as told:
        diabolo.VariationalAutoencoder(hidden_layer_sizes=8, **SMALL | LONG | {"beta": 1e4, "init": "random"}).fit(GOOD)
    raise told[0].message


TRAINED = {
    "the loss is no number": lambda: basic(learning_rate=1e30, optimizer="sgd", max_epochs=9).fit(GOOD),
    "and a column has values far beyond the others": lambda: basic(scaling=None, init="random").fit(WILD),
    "and σ has become very small": lambda: basic(likelihood=parts.Gaussian(1e-25), validation_fraction=None).fit(GOOD),
    "the loss rises again and stays a number": lambda: trained(
        learning_rate=10.0, optimizer="muon", learning_rate_schedule="constant"
    ),
    "nothing was learned": lambda: trained(learning_rate=1e-9, init="random"),
    "the code says nothing of the row": trained_variational,
}


@pytest.mark.parametrize("what", TRAININGS)
def test_trainings_that_go_wrong_say_why(what):
    kind, words = TRAININGS[what]
    with pytest.raises(getattr(errors, kind.strip("`"))) as caught:
        TRAINED[what]()
    assert holds(str(caught.value), words), str(caught.value)


def test_a_learned_sigma_that_collapses_is_named_as_the_cause():
    """Columns that are told exactly draw σ towards its floor, which is as good as none here."""
    likelihood = parts.Mixed((parts.LearnedGaussian(floor=1e-44),), (4,))
    model = basic(likelihood=likelihood, learning_rate=1.0, optimizer="sgd", validation_fraction=None, max_epochs=400)
    with pytest.raises(errors.TrainingDiverged, match="σ of column 0 was .* Give it a floor"):
        model.fit(np.ones((30, 4)))


def test_the_floor_of_sigma_holds_where_columns_are_told_exactly():
    model = basic(likelihood="learned_gaussian", learning_rate=0.1, max_epochs=400, validation_fraction=None)
    model.fit(np.ones((30, 4)))
    assert np.isfinite(model.history_["loss"]).all()
    np.testing.assert_array_equal(model.reconstruct(np.ones((2, 4))), 1)


# -- what is not refused ----------------------------------------------------------------------------------------------


def constant_column(tmp_path):
    rows = changed(slice(None), 1, 1e15 / 3)
    np.testing.assert_array_equal(basic().fit(rows).reconstruct(rows)[:, 1].round(-1), np.round(rows[:, 1], -1))


def only_constant_columns(tmp_path):
    np.testing.assert_array_equal(basic().fit(np.full((30, 4), 0.1)).reconstruct(np.full((30, 4), 0.1)), 0.1)


def unknown_column(tmp_path):
    rows = changed(slice(None), 1, np.nan)
    assert np.isfinite(basic().fit(rows).reconstruct(rows)).all()
    (tmp_path / "rows.csv").write_text("a,b,c\n" + "".join(f"{i * 7 % 11},,{i * i % 7}\n" for i in range(30)))
    assert list(basic().fit(tmp_path / "rows.csv").feature_names_in_) == ["a", "c"]


def missing_cells(tmp_path):
    rows = changed(2, 1, np.nan)
    assert np.isfinite(basic().fit(rows).score_samples(rows)).all()


def one_column(tmp_path):
    assert basic().fit_transform(GOOD[:, :1]).shape == (30, 2)


def wide_code(tmp_path):
    assert basic(n_latent=9).fit_transform(GOOD).shape == (30, 9)


def large_batch(tmp_path):
    model = basic(batch_size=10**6).fit(GOOD)
    np.testing.assert_array_equal(model.transform(GOOD), basic(batch_size=32).fit(GOOD).transform(GOOD))


def large_whole_numbers(tmp_path):
    rows = FAR - 2**60
    near, far = basic().fit_transform(rows), basic().fit_transform(rows + 2**40)
    np.testing.assert_allclose(near, far, atol=1e-5)


def other_order(tmp_path):
    pa.csv.write_csv(named(GOOD), tmp_path / "rows.csv")
    pa.csv.write_csv(named(GOOD).select(NAMES[::-1]), tmp_path / "reversed.csv")
    model = basic().fit(tmp_path / "rows.csv")
    assert (model.transform(tmp_path / "reversed.csv") == model.transform(tmp_path / "rows.csv")).all()


def joined_by_name(tmp_path):
    pa.csv.write_csv(named(GOOD[:15]), tmp_path / "1.csv")
    pa.csv.write_csv(named(GOOD[15:]).select(NAMES[::-1]), tmp_path / "2.csv")
    np.testing.assert_array_equal(basic().fit_transform(str(tmp_path / "*.csv")), basic().fit_transform(named(GOOD)))


def byte_order_mark(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbfa,b\n" + LINES.encode())
    assert list(basic().fit(tmp_path / "rows.csv").feature_names_in_) == ["a", "b"]


def other_notation(tmp_path):
    text = "größe;b\n" + "".join(f"{i % 7},5;{i % 5}\n" for i in range(30))
    for encoding in ("utf-16", "cp1252"):
        (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
        with pytest.warns(errors.NotationWarning):
            assert list(basic().fit(tmp_path / "rows.csv").feature_names_in_) == ["größe", "b"]


def number_of_the_row(tmp_path):
    with pytest.warns(errors.IdColumnWarning):
        assert list(basic().fit(named(GOOD).append_column("id", [range(30)])).feature_names_in_) == NAMES


def without_names(tmp_path):
    model = basic().fit(named(GOOD))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert (model.transform(GOOD) == model.transform(named(GOOD))).all()


def sparse_matrix(tmp_path):
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix):
        assert (basic().fit_transform(kind(GOOD)) == basic().fit_transform(GOOD)).all()


def one_class(tmp_path):
    model = diabolo.AutoencoderClassifier(basic(), max_epochs=1, random_state=0).fit(GOOD, ["yes"] * 30)
    assert set(model.predict(GOOD)) == {"yes"}
    assert (model.predict_proba(GOOD) == 1).all()


def numbers_as_texts(tmp_path):
    assert (basic().fit_transform(GOOD.astype(str)) == basic().fit_transform(GOOD)).all()


def booleans(tmp_path):
    assert (basic().fit_transform(GOOD > 0) == basic().fit_transform((GOOD > 0).astype(float))).all()


ACCEPTED = list(
    zip(
        RESULTS,
        [
            constant_column,
            only_constant_columns,
            unknown_column,
            missing_cells,
            one_column,
            wide_code,
            large_batch,
            large_whole_numbers,
            other_order,
            joined_by_name,
            byte_order_mark,
            other_notation,
            number_of_the_row,
            without_names,
            sparse_matrix,
            one_class,
            numbers_as_texts,
            booleans,
        ],
        strict=True,
    )
)


@pytest.mark.parametrize(("what", "happens"), ACCEPTED, ids=[what for what, _ in ACCEPTED])
def test_what_is_not_refused_does_what_the_page_says(what, happens, tmp_path):
    with warnings.catch_warnings():
        happens(tmp_path)


def test_parquet_files_of_other_orders_are_read_by_name_however_large(tmp_path, monkeypatch):
    """Even if the order is that of the first and of the last, and not of those between."""
    for i, names in enumerate((NAMES, NAMES[::-1], NAMES)):
        pa.parquet.write_table(named(GOOD[10 * i : 10 * i + 10]).select(names), tmp_path / f"{i}.parquet")
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 4 * 4 * 16)
    np.testing.assert_array_equal(blocks.open_store(str(tmp_path)).table().rows, GOOD)


def test_csv_files_of_other_orders_are_read_by_name_however_large(tmp_path, monkeypatch):
    for i, names in enumerate((NAMES, NAMES[::-1])):
        pa.csv.write_csv(named(GOOD[15 * i : 15 * i + 15]).select(names), tmp_path / f"{i}.csv")
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 64)
    np.testing.assert_array_equal(blocks.open_store(str(tmp_path)).table().rows, GOOD)
