"""A request is bounded by what it becomes: refused, in little memory, whatever its own length."""

import gzip
import io
import json
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pyarrow as pa
import pytest

import diabolo
from diabolo.data.cells import unpacked
from diabolo.errors import InvalidData
from diabolo.serving import Limits, create_app
from diabolo.serving.bounds import BodyTooLong, Bounds, gunzip
from diabolo.serving.codec import ARROW, JSON, Wire
from helpers import over

testclient = pytest.importorskip("starlette.testclient")

RNG = np.random.default_rng(0)
TABLE = pa.table({"length": RNG.normal(size=40), "kind": RNG.choice(["x", "y"], 40)})
FEW = {"max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def table_model():
    with warnings.catch_warnings(action="ignore"):
        return diabolo.VariationalAutoencoder(n_latent=2, **FEW).fit(TABLE)


@pytest.fixture(scope="module")
def array_model():
    return diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(RNG.normal(size=(40, 3)))


def arrow(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def asked(model, body, kind=JSON, limits=None, path="/score", **headers):
    client = testclient.TestClient(create_app(model, limits), raise_server_exceptions=False)
    return client.post(path, content=body, headers={"Content-Type": kind, **headers})


def kinds(cells):
    return pa.table({"length": np.zeros(len(cells)), "kind": cells})


ODD = {
    "lists": pa.array([["x"], None]),
    "structs": pa.array([{"a": 1}, None]),
    "maps": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    "list views": pa.array([["x"], None], pa.list_view(pa.string())),
    "fixed lists": pa.array([[1.0], [2.0]], pa.list_(pa.float64(), 1)),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["x"])),
    "dictionaries of lists": pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([["x"]])),
    "unions": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array(["x", "y"]), pa.array([1, 2])]),
}


@pytest.mark.parametrize("name", ODD)
def test_a_cell_of_several_values_is_refused(name, table_model):
    assert asked(table_model, arrow(kinds(ODD[name])), ARROW).status_code == 422


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_texts_of_every_type_are_read_and_counted(kind, table_model):
    cells = pa.array(["x", None, "y" * 30], kind)
    assert asked(table_model, arrow(kinds(cells)), ARROW).status_code in (200, 422)  # 422: nothing missing was seen
    assert asked(table_model, arrow(kinds(cells[2:])), ARROW).status_code == 200
    bounds = Bounds(text_bytes=30)
    bounds.check_arrow(kinds(cells[1:]))
    for more in (cells, pa.chunked_array([cells[2:], cells[2:]])):
        with pytest.raises(InvalidData):
            bounds.check_arrow(kinds(more))


def test_one_long_text_many_times_is_refused(table_model):
    """200 kB that would become 2 GB, by a dictionary or by views of one piece of memory."""
    long, n = "x" * 200_000, 10_000
    dictionary = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([long]))
    one = pa.array([long], pa.string_view()).buffers()
    views = pa.Array.from_buffers(pa.string_view(), n, [None, pa.py_buffer(one[1].to_pybytes()[:16] * n), one[2]])
    for cells in (dictionary, views):
        body = arrow(kinds(cells))
        assert len(body) < 500_000
        assert asked(table_model, body, ARROW).status_code == 422


def hidden(wrap):
    """Return texts with a view of far memory behind a missing one: Arrow's own check does not look at it."""
    buffers = pa.array(["x", None, "x"], pa.string_view()).buffers()
    views = np.frombuffer(buffers[1], np.int32).reshape(-1, 4).copy()
    views[1] = -65_536, 127, 0, 0
    return wrap(pa.Array.from_buffers(pa.string_view(), 3, [buffers[0], pa.py_buffer(views), *buffers[2:]]))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda cells: cells,
        lambda cells: cells[1:],
        lambda cells: pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), cells),
    ],
    ids=["texts", "a slice", "a dictionary"],
)
def test_what_lies_behind_a_missing_text_is_not_read(wrap, table_model):
    wire = Wire(table_model, Bounds())
    read = wire.read(ARROW, arrow(kinds(hidden(wrap))))
    assert unpacked(read["kind"]).to_pylist()[-2:] == [None, "x"]


def test_rows_of_nothing_are_bounded_by_the_numbers_that_they_become(table_model):
    body = arrow(pa.table({"length": pa.nulls(90_000), "kind": pa.nulls(90_000)}))
    assert len(body) < 2_000
    assert asked(table_model, body, ARROW, Limits(numbers=100_000)).status_code == 422


def test_lists_are_counted_before_they_are_made(array_model):
    """16 MB of them, in a process that may grow by less than the lists would take."""
    code = """
import resource, warnings
import numpy as np, diabolo
from diabolo.errors import InvalidData
from diabolo.serving.bounds import BodyTooLong, Bounds, gunzip
from diabolo.serving.codec import JSON, Wire
rows = np.random.default_rng(0).normal(size=(40, 3))
model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(rows)
wire = Wire(model, Bounds())
pieces = (b"[],", b"{},", b'"ab",', b'{"a":[]},')
bodies = [b'{"rows":[' + piece * (16_000_000 // len(piece)) + b"[]]}" for piece in pieces]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for body in bodies:
    try:
        wire.read(JSON, body)
        raise SystemExit("read")
    except InvalidData:
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def test_brackets_and_commas_within_texts_are_no_values(table_model):
    rows = [{"length": 1.0, "kind": '[{,\\"' * 50_000}, {"length": 2.0, "kind": "x"}]
    wire = Wire(table_model, Bounds(rows=10))
    assert wire.read(JSON, json.dumps({"rows": rows}).encode()).num_rows == 2


def test_as_many_rows_as_may_be_are_read_and_one_more_is_not(array_model):
    wire = Wire(array_model, Bounds(rows=50))
    assert len(wire.read(JSON, json.dumps({"rows": [[1.0, 2.0, 3.0]] * 50}).encode())) == 50
    with pytest.raises(InvalidData):
        wire.read(JSON, json.dumps({"rows": [[1.0, 2.0, 3.0]] * 51}).encode())


HALVES = (
    '{"rows": [{"length": 1, "kind": "\\ud800"}]}',
    '{"rows": [{"length": 1, "\\ud800": "x"}]}',
    '{"rows": [{"length": "\\udfff", "kind": "x"}]}',
    '{"rows": [["\\ud800"]]}',
    '{"rows": "\\ud800"}',
    '{"\\ud800": []}',
    '{"rows": [{"length": [1], "kind": {}}]}',
)


@pytest.mark.parametrize("body", HALVES)
def test_half_a_surrogate_pair_is_a_fault_of_the_request(body, table_model, array_model):
    for model in (table_model, array_model):
        answer = asked(model, body.encode())
        assert answer.status_code in (400, 422)
        assert answer.json()["status"] == answer.status_code


# -- whose name it is asked in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200), ("LOCALHOST", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example:80", 421), ("", 421),
        ("evil.example:localhost", 421),
    ],
)  # fmt: skip
def test_a_name_that_is_not_its_own_is_refused(host, status, array_model):
    app = create_app(array_model, hosts=("localhost", "127.0.0.1", "::1"))
    client = testclient.TestClient(app)
    for path in ("/healthz", "/openapi.json", "/docs"):
        assert client.get(path, headers={"Host": host}).status_code == status
    answer = client.post("/score", json={"rows": [[1.0, 2.0, 3.0]]}, headers={"Host": host})
    assert answer.status_code == status


def test_without_names_any_is_taken(array_model):
    assert testclient.TestClient(create_app(array_model)).get("/healthz").status_code == 200


# -- gzip -------------------------------------------------------------------------------------------------------------

ROWS = json.dumps({"rows": RNG.normal(size=(20, 3)).tolist()}).encode()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity, gzip"])
def test_a_body_of_gzip_is_the_same_request(coding, array_model):
    plain = asked(array_model, ROWS)
    packed = asked(array_model, gzip.compress(ROWS), **{"Content-Encoding": coding})
    assert (plain.status_code, packed.status_code) == (200, 200)
    assert packed.json() == plain.json()


def test_arrow_may_be_gzip_as_well(table_model):
    plain = asked(table_model, arrow(TABLE), ARROW)
    packed = asked(table_model, gzip.compress(arrow(TABLE)), ARROW, **{"Content-Encoding": "gzip"})
    assert packed.json() == plain.json()


def test_a_body_that_is_not_compressed_may_say_so(array_model):
    assert asked(array_model, ROWS, **{"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "nonsense"])
def test_any_other_coding_is_refused_and_the_answer_says_which_are_read(coding, array_model):
    told = asked(array_model, gzip.compress(ROWS), **{"Content-Encoding": coding})
    assert told.status_code == 415
    assert told.headers["accept-encoding"] == "gzip, identity"


PACKED = gzip.compress(ROWS)
NO_GZIP = {
    "plain": ROWS,
    "nothing": b"",
    "half": PACKED[:-20],
    "without its checksum": PACKED[:-8],
    "a wrong checksum": PACKED[:-8] + b"\0" * 8,
    "two streams": PACKED + PACKED,
    "many empty streams": gzip.compress(b"") * 100_000,
    "more behind it": PACKED + b"x",
    "only a head": PACKED[:10],
}


@over("body", NO_GZIP)
def test_what_is_not_one_stream_of_gzip_is_refused(array_model, body):
    told = asked(array_model, body, **{"Content-Encoding": "gzip"})
    assert told.status_code == 400
    assert "gzip" in told.json()["detail"]


@pytest.mark.parametrize("n_bytes", [1001, 10**6, 200 * 2**20])
def test_a_body_is_bounded_by_what_it_becomes(n_bytes, array_model):
    packed = gzip.compress(b" " * n_bytes)
    limits = Limits(body_bytes=max(1000, len(packed)))
    told = asked(array_model, packed, limits=limits, **{"Content-Encoding": "gzip"})
    assert told.status_code == 413
    assert "decompressed" in told.json()["detail"]


def test_decompression_stops_at_the_limit():
    packed = gzip.compress(b" " * (200 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLong):
            gunzip(packed, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert gunzip(gzip.compress(b"x" * 1000), 1000) == b"x" * 1000
