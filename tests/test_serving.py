"""A model behind HTTP says what it says in Python, to the bit; what is not a request for that is refused."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_wine
from starlette.testclient import TestClient

import diabolo
from diabolo.errors import InvalidParameter, MissingExtra, UsageError
from diabolo.estimators import predictions
from diabolo.serving import Limits, create_app
from diabolo.serving.bounds import Bounds
from diabolo.serving.codec import ARROW, JSON, InvalidData, Wire

X, Y = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).data
FEW = {"max_epochs": 1, "random_state": 0}


def vae():
    return diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,), **FEW)


def table(holes=True, n=60):
    rng = np.random.default_rng(0)
    columns = {
        "length": rng.normal(5, 2, n).round(2),
        "is new": rng.random(n) < 0.3,
        "kind": rng.choice(["x", "größer", "z, y"], n),
        "day": np.datetime64("2020-01-01") + rng.integers(0, 900, n),
        "at": np.datetime64("2020-01-01T00:00:00", "s") + rng.integers(0, 10**8, n).astype("timedelta64[s]"),
        "flag": rng.integers(0, 2, n),
    }
    empty = {name: rng.random(n) < 0.1 if holes else None for name in columns}
    return pa.table({name: pa.array(cells, mask=empty[name]) for name, cells in columns.items()})


MODELS = {
    "numbers": (lambda: vae().fit(X), X),
    "names": (lambda: diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(FRAME), pa.Table.from_pandas(FRAME)),
    "a table": (lambda: vae().fit(table()), table()),
    "a table without missing cells": (lambda: vae().fit(table(holes=False)), table(holes=False)),
    "missing numbers": (lambda: vae().fit(np.where(X > 500, np.nan, X)), np.where(X > 500, np.nan, X)),
    "a detector": (
        lambda: diabolo.AnomalyDetector(vae(), false_alarm_rate=0.1, random_state=0).fit(table()),
        table(),
    ),
    "an imputer": (lambda: diabolo.AutoencoderImputer(vae(), random_state=0).fit(table()), table()),
    "a classifier": (
        lambda: diabolo.AutoencoderClassifier(vae(), **FEW).fit(FRAME, np.array(["a", "b", "c"])[Y]),
        pa.Table.from_pandas(FRAME),
    ),
    "numbers for labels": (lambda: diabolo.AutoencoderClassifier(vae(), **FEW).fit(X, Y), X),
}
_made = {}


def made(name):
    """A fitted model, once, and rows."""
    if name not in _made:
        import warnings

        with warnings.catch_warnings(action="ignore"):
            _made[name] = MODELS[name][0]()
    return _made[name], MODELS[name][1][:40]


def client(name="numbers", limits=None, **more):
    return TestClient(create_app(made(name)[0], limits, **more))


def as_json(rows):
    if isinstance(rows, np.ndarray):
        return [[None if np.isnan(cell) else cell for cell in row] for row in rows.tolist()]
    moments = [name for name in rows.column_names if pa.types.is_temporal(rows[name].type)]
    told = rows.to_pylist()
    return [{k: v.isoformat() if k in moments and v is not None else v for k, v in row.items()} for row in told]


def as_arrow(rows):
    if isinstance(rows, np.ndarray):
        rows = pa.table({f"x{i}": column for i, column in enumerate(rows.T)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


def cells(answer):
    """An answer's cells in Python, columns in their order."""
    told = answer if isinstance(answer, pa.Table) else answer.as_arrow()
    return [[v.isoformat() if hasattr(v, "isoformat") else v for v in column.to_pylist()] for column in told.columns]


def every_question():
    return [
        *((name, what) for name in ("numbers", "names", "a table without missing cells", "a table", "missing numbers")
          for what in ("transform", "reconstruct", "score")),
        ("a table", "impute"), ("missing numbers", "impute"),
        ("a detector", "score"), ("an imputer", "impute"), ("a classifier", "classify"),
        ("numbers for labels", "classify"),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "what"), every_question())
def test_an_answer_is_pythons_to_the_bit(name, what):
    model, rows = made(name)
    expected = predictions.questions(model)[what](model, rows)
    ask = client(name)
    told = ask.post(f"/{what}", json={"rows": as_json(rows)})
    assert told.status_code == 200, told.text
    found = told.json()["rows"]
    columns = list(map(list, zip(*(row.values() if isinstance(row, dict) else row for row in found), strict=True)))
    for column, values in zip(columns, cells(expected), strict=True):
        for one, two in zip(column, values, strict=True):
            same = one == two or (isinstance(one, str) and one.removesuffix("+00:00") == two)
            assert same or (one is None and np.isnan(two))
    of_arrow = ask.post(
        f"/{what}", content=as_arrow(rows), headers={"Content-Type": ARROW, "Accept": f"text/html;q=0.1, {ARROW}"}
    )
    assert of_arrow.status_code == 200, of_arrow.text
    assert of_arrow.headers["content-type"] == ARROW
    streamed = pa.ipc.open_stream(of_arrow.content).read_all()
    assert cells(streamed) == cells(expected)


def test_every_question_is_tried():
    assert {(name, what) for name in MODELS for what in predictions.questions(made(name)[0])} == set(every_question())


def test_what_only_draws_is_not_served():
    generator = diabolo.AutoencoderGenerator(vae(), random_state=0).fit(X)
    with pytest.raises(UsageError, match="AutoencoderGenerator"):
        create_app(generator)


def test_a_detectors_rows_say_why():
    model, rows = made("a detector")
    told = client("a detector").post("/score", json={"rows": as_json(rows)}).json()["rows"]
    assert list(told[0]) == ["score", "p_value", "flagged", "column_1", "column_2", "column_3"]
    assert [row["flagged"] for row in told] == (model.predict(rows) == -1).tolist()


def test_columns_that_are_not_used_are_not_looked_at():
    model, rows = made("names")
    rows = rows.append_column("id", pa.array([f"row {i}" for i in range(len(rows))]))
    for body in ({"json": {"rows": as_json(rows)}}, {"content": as_arrow(rows), "headers": {"Content-Type": ARROW}}):
        told = client("names").post("/score", **body).json()["rows"]
        assert [row["log_density"] for row in told] == model.score_samples(rows.drop_columns("id")).tolist()


# -- what is refused --------------------------------------------------------------------------------------------------


def row(**changes):
    return {"length": 1, "is new": True, "kind": "x", "day": "2020-02-03", "at": "2020-02-03T04:05:06Z", "flag": 1} | (
        changes
    )


def bodies():
    def ask(rows):
        return json.dumps({"rows": rows})

    without = {name: cell for name, cell in row().items() if name != "kind"}
    return {
        "no JSON": ("[", 400, "not JSON"),
        "no bytes": ("", 400, "not JSON"),
        "not UTF-8": (b'{"rows": ["\xff"]}', 400, "not JSON"),
        "NaN": ('{"rows": [{"length": NaN}]}', 400, "null is a missing cell"),
        "nested without end": ("[" * 100_000, 422, "more lists, objects or values"),
        "a number without end": ('{"rows": [' + "9" * 5000 + "]}", 400, "not JSON"),
        "a list": ("[]", 422, 'with a list of rows: {"rows": [...]}'),
        "no rows": (ask([]), 422, "no rows"),
        "rows that are none": (ask({}), 422, "list of rows"),
        "an entry more": ('{"rows": [], "row": 1}', 422, "an entry 'row'. Did you mean rows?"),
        "a list for a row": (ask([row(), [1, 2]]), 422, "Row 2 must be an object by the columns' names; got [1, 2]"),
        "a number for a row": (ask([5]), 422, "Row 1 must be an object"),
        "a column that lacks": (ask([row(), without]), 422, "Row 2 has no kind, but length, is new"),
        "a word for a number": (ask([row(length="x")]), 422, 'Row 1, column length must be a number; got "x"'),
        "truth for a number": (ask([row(length=True)]), 422, "column length must be a number; got true"),
        "a number for truth": (ask([row(**{"is new": 1})]), 422, "column is new must be true or false; got 1"),
        "a number for a word": (ask([row(kind=3)]), 422, "column kind must be a text; got 3"),
        "half a letter": (ask([row(kind="\ud800")]), 422, "Column kind"),
        "no date": (ask([row(day="yesterday")]), 422, "column day must be a date such as 2024-05-31"),
        "a day that there is not": (ask([row(day="2021-02-29")]), 422, "column day must be a date"),
        "a moment for a day": (ask([row(day="2021-02-28T00:00:00Z")]), 422, "column day must be a date"),
        "a day before all others": (ask([row(day="0000-01-01")]), 422, "column day must be a date"),
        "no moment": (ask([row(at="noon")]), 422, "column at must be a date and time"),
        "a number beyond 32 bits": (ask([row(), row(length=1e300)]), 422, "Row 2, column length must be between"),
        "a number beyond 64 bits": (ask([row(length=10**400)]), 422, "Column length"),
        "a missing cell, none in fit": (ask([row(), row(length=None)]), 422, "first in row 2, column length"),
        "too many rows": (ask([row()] * 101), 422, "There are 101 rows; at most 100"),
    }


def test_the_page_of_errors_lists_what_is_refused():
    page = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
    section = page.split("## Requests to the server\n")[1].split("\n## ")[0]
    listed = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    tried = [(what, status, words) for what, (_, status, words) in (bodies() | ARROWS).items()]
    assert [row[:3] for row in listed[2:]] == [[what, str(status), words] for what, status, words in tried]


@pytest.mark.parametrize("what", bodies())
def test_bodies_that_are_refused(what):
    body, status, words = bodies()[what]
    ask = client("a table without missing cells", Limits(rows=100))
    for path in ("transform", "score"):
        told = ask.post(f"/{path}", content=body, headers={"Content-Type": "application/json; charset=utf-8"})
        assert told.status_code == status, told.text
        assert told.headers["content-type"] == "application/problem+json"
        assert words in told.json()["detail"]
        assert told.json()["status"] == status


LISTS = {
    "an object for a row": ([{"a": 1}], "Row 1 must be a list of 13 numbers"),
    "a short row": ([[1.0] * 13, [1.0] * 12], "Row 2 must be a list of 13 numbers; got a list of 12"),
    "a word": ([[1.0] * 12 + ["x"]], 'Row 1, column 12 must be a number; got "x"'),
    "truth": ([[1.0] * 12 + [True]], "Row 1, column 12 must be a number; got true"),
    "infinity": ([[1.0] * 12 + [1e300]], "Row 1, column 12 must be between"),
    "a huge whole number": ([[1] * 12 + [10**400]], "Column 12:"),
    "nothing": ([[1.0] * 12 + [None]], "missing cells"),
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_that_are_refused(what):
    rows, words = LISTS[what]
    told = client().post("/score", json={"rows": rows})
    assert told.status_code == 422
    assert words in told.json()["detail"]


def written(rows, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


NAMED = pa.Table.from_pandas(FRAME)[:20]


def with_column(cells):
    return NAMED.set_column(0, "alcohol", cells)


ARROWS = {
    "Arrow: no bytes": (b"", 400, "no stream of Arrow"),
    "Arrow: noise": (bytes(range(256)) * 20, 400, "no stream of Arrow"),
    "Arrow: half": (as_arrow(NAMED)[:-1500], 400, "no stream of Arrow"),
    "Arrow: a file of Arrow": (b"ARROW1\0\0" + as_arrow(NAMED), 400, "no stream of Arrow"),
    "Arrow: compressed": (written(NAMED, compression="zstd"), 400, "compressed"),
    "Arrow: compressed otherwise": (written(NAMED, compression="lz4"), 400, "compressed"),
    "Arrow: no rows": (as_arrow(NAMED[:0]), 422, "no rows"),
    "Arrow: too many rows": (as_arrow(pa.concat_tables([NAMED] * 6)), 422, "at most 100"),
    "Arrow: rows of nothing": (as_arrow(pa.table({"a": pa.nulls(10**9)})), 422, "1,000,000,000 rows"),
    "Arrow: a column that lacks": (as_arrow(NAMED.drop_columns("hue")), 422, "one column named hue"),
    "Arrow: a column twice": (as_arrow(NAMED.append_column("hue", NAMED["hue"])), 422, "one column named hue"),
    "Arrow: words": (as_arrow(with_column(pa.array(["x"] * 20))), 422, "not numbers"),
    "Arrow: lists": (as_arrow(with_column(pa.array([[1.0]] * 20))), 422, "A cell must be"),
    "Arrow: infinity": (as_arrow(with_column(pa.array([np.inf] * 20))), 422, "infinity"),
    "Arrow: missing cells": (as_arrow(with_column(pa.nulls(20, pa.float64()))), 422, "missing cells"),
}


@pytest.mark.parametrize("what", ARROWS)
def test_arrow_that_is_refused(what):
    body, status, words = ARROWS[what]
    told = client("names", Limits(rows=100)).post("/score", content=body, headers={"Content-Type": ARROW})
    assert told.status_code == status, told.text
    assert words in told.json()["detail"], told.text


@pytest.mark.parametrize("seed", range(4))
def test_arrow_with_wrong_bytes_is_read_or_refused(seed):
    rng, sound = np.random.default_rng(seed), as_arrow(table(n=20))
    wire = Wire(made("a table")[0], Bounds(100))
    for _ in range(250):
        body = bytearray(sound)
        for at in rng.integers(len(body), size=rng.integers(1, 4)):
            body[at] = rng.integers(256)
        try:
            assert len(wire.read(ARROW, bytes(body))) <= 100
        except InvalidData:
            continue


def test_other_methods_types_and_paths_are_refused():
    ask = client()
    assert ask.get("/score").status_code == 405
    assert ask.get("/score").headers["allow"] == "POST"
    assert ask.post("/healthz").status_code == 405
    assert ask.post("/nope").status_code == 404
    assert ask.post("/impute", json={}).status_code == 404
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""):
        told = ask.post("/score", content=b"1,2", headers={"Content-Type": kind})
        assert told.status_code == 415
        assert JSON in told.headers["accept"]
    rows = {"rows": X[:1].tolist()}
    assert ask.post("/score", json=rows, headers={"Accept": "text/html"}).status_code == 406
    for accepted in ("*/*", "application/*", "text/html, application/json;q=0.5"):
        assert ask.post("/score", json=rows, headers={"Accept": accepted}).headers["content-type"] == JSON


def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not():
    ask = client(limits=Limits(body_bytes=1000))
    body = json.dumps({"rows": X.tolist()}).encode()
    told = ask.post("/score", content=body, headers={"Content-Type": JSON})
    assert told.status_code == 413
    assert "more than 1,000 bytes" in told.json()["detail"]
    pieces = (body[i : i + 100] for i in range(0, len(body), 100))
    assert ask.post("/score", content=pieces, headers={"Content-Type": JSON}).status_code == 413
    assert ask.post("/score", json={"rows": X[:2].tolist()}).status_code == 200


@pytest.mark.parametrize("value", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["body_bytes", "rows", "requests", "seconds"])
def test_limits_that_allow_nothing_are_refused(name, value):
    with pytest.raises(InvalidParameter, match=name):
        Limits(**{name: value})


def test_a_fault_of_the_server_shows_nothing_of_it(monkeypatch):
    model, _ = made("numbers")
    ask = TestClient(create_app(model), raise_server_exceptions=False)
    monkeypatch.setattr(type(model), "score_samples", lambda *_: 1 / 0)
    told = ask.post("/score", json={"rows": X[:2].tolist()})
    assert told.status_code == 500
    assert "ZeroDivisionError" in told.json()["detail"]
    assert "Traceback" not in told.text


# -- who may ask ------------------------------------------------------------------------------------------------------


def test_a_token_is_asked_for():
    ask = client(token="open sesame")
    rows = {"rows": X[:1].tolist()}

    def status(told=None):
        return ask.post("/score", json=rows, headers={} if told is None else {"Authorization": told}).status_code

    def basic(text):
        return "Basic " + base64.b64encode(text.encode()).decode()

    assert status("Bearer open sesame") == status("bearer open sesame") == 200
    assert status(basic("anyone:open sesame")) == 200
    wrong = ["Bearer open", "Bearer", "open sesame", basic("open sesame:"), "Basic open sesame", "Basic =", "Digest x"]
    assert {status(), *map(status, wrong)} == {401}
    assert "Bearer" in ask.post("/score", json=rows).headers["www-authenticate"]
    assert ask.get("/openapi.json").status_code == ask.get("/docs").status_code == ask.get("/nope").status_code == 401
    assert ask.get("/healthz").json()["status"] == "ok"


# -- many at once -----------------------------------------------------------------------------------------------------


def together(model, requests, limits=None):
    """Requests at once: their statuses, what was said, and how often the model was asked."""
    calls = []
    told = model.score_samples

    def counted(rows):
        calls.append(len(rows))
        time.sleep(0.02)
        return told(rows)

    async def all_of_them():
        transport = httpx.ASGITransport(create_app(model, limits))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as ask:
            return await asyncio.gather(*(ask.post("/score", json={"rows": rows}) for rows in requests))

    model.score_samples = counted
    try:
        found = asyncio.run(all_of_them())
    finally:
        del model.score_samples
    return found, calls


def test_requests_that_wait_are_answered_together_with_the_same_bits():
    model, _ = made("numbers")
    requests = [X[i : i + 1 + i % 5].tolist() for i in range(60)]
    found, calls = together(model, requests)
    for rows, told in zip(requests, found, strict=True):
        assert [row["log_density"] for row in told.json()["rows"]] == model.score_samples(np.array(rows)).tolist()
    assert sum(calls) - 2 == sum(map(len, requests))  # the two of the page's example
    assert len(calls) < 20
    assert max(calls) <= 32


def test_a_request_that_is_refused_does_no_harm_to_those_beside_it():
    model, _ = made("numbers")
    holes = [[None] * 13]
    found, _ = together(model, [X[:1].tolist(), X[:2].tolist(), holes, X[2:4].tolist(), holes])
    assert [told.status_code for told in found] == [200, 200, 422, 200, 422]
    assert "first in row 1," in found[4].json()["detail"]


def test_more_requests_than_may_be_under_way_are_told_to_come_again():
    model, _ = made("numbers")
    found, _ = together(model, [X[:1].tolist()] * 12, Limits(requests=5))
    statuses = [told.status_code for told in found]
    assert statuses.count(200) == 5
    assert statuses.count(503) == 7
    assert found[statuses.index(503)].headers["retry-after"] == "1"


def test_a_reader_who_takes_no_answer_holds_nothing():
    app = create_app(made("numbers")[0], Limits(requests=1, seconds=0.1))
    body = json.dumps({"rows": X[:1].tolist()}).encode()
    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "root_path": "",
             "headers": [(b"content-type", JSON.encode())]}  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def never(message):
        await asyncio.Event().wait()

    async def ask():
        await app(scope, receive, never)
        told = []

        async def kept(message):
            told.append(message)

        await app(scope, receive, kept)
        return told[0]["status"]

    assert asyncio.run(ask()) == 200


# -- what is said of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_openapi_says_what_there_is_and_its_examples_are_true(name):
    ask = client(name)
    about = ask.get("/openapi.json").json()
    assert about["openapi"] == "3.1.0"
    posts = {path: methods["post"] for path, methods in about["paths"].items() if "post" in methods}
    assert {path[1:] for path in posts} == set(predictions.questions(made(name)[0]))
    for path, told in posts.items():
        answer = ask.post(path, json=told["requestBody"]["content"][JSON]["example"])
        assert answer.status_code == 200, answer.text
        expected = told["responses"]["200"]["content"][JSON]
        assert len(answer.json()["rows"]) == len(expected["example"]["rows"]) == 2
        if "required" in expected["schema"]["properties"]["rows"]["items"]:
            assert list(answer.json()["rows"][0]) == expected["schema"]["properties"]["rows"]["items"]["required"]


def test_the_page_shows_every_question_and_column_and_loads_nothing():
    ask = client("a table")
    assert ask.get("/", follow_redirects=False).headers["location"] == "docs"
    told = ask.get("/")
    assert told.url.path == "/docs"
    for words in ("POST /transform", "POST /impute", "is new", "größer", "openapi.json"):
        assert words in told.text
    assert "http" not in told.text.replace("http-equiv", "")
    assert "default-src 'none'" in told.headers["content-security-policy"]


def test_names_are_no_markup():
    frame = FRAME.rename(columns={"hue": "<script>alert(1)</script>"})
    page = TestClient(create_app(diabolo.BasicAutoencoder(**FEW).fit(frame), name="<b>")).get("/docs").text
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert" in page


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "wine"
    made("numbers")[0].save(folder)
    return folder


def begin(saved, *options, **environment):
    """`diabolo serve`, once it listens: the process and its address."""
    command = [sys.executable, "-m", "diabolo", "serve", saved, "--port", "0", *options]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    line = process.stdout.readline()
    assert "answers on http://127.0.0.1:" in line, line + process.stderr.read()
    return process, line.split("answers on ")[1].split(";")[0]


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def asked(address, rows=2, path="/score", **more):
    """Scores, or the status of a refusal."""
    body = json.dumps({"rows": X[:rows].tolist()}).encode()
    request = urllib.request.Request(address + path, body, {"Content-Type": JSON, **more})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return [row["log_density"] for row in json.load(answer)["rows"]]
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def connected(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def all_of(connection):
    """What is said until the other side closes."""
    said = b""
    with suppress(ConnectionResetError):  # it has left unread what was too long
        while piece := connection.recv(65536):
            said += piece
    return said


def test_good_requests_go_on_while_bad_ones_are_refused(saved):
    expected = made("numbers")[0].score_samples(X[:2]).tolist()
    process, address = begin(saved, "--timeout", "1.5", "--max-body", "0.01")
    head = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with ExitStack() as many:
        many.callback(process.send_signal, signal.SIGINT)
        half_a_head, half_a_body, silent, noise, long_head = (many.enter_context(connected(address)) for _ in range(5))
        half_a_head.sendall(head[:40])
        half_a_body.sendall(head + b'Content-Length: 1000\r\n\r\n{"rows')
        noise.sendall(os.urandom(500) + b"\r\n\r\n")
        long_head.sendall(head + b"X: " + b"y" * 200_000)
        assert asked(address, 178) == 413
        found = [asked(address) for _ in range(20)]
        assert all(one == expected for one in found)
        assert b"400 Bad Request" in all_of(noise)
        assert b"400 Bad Request" in all_of(long_head)
        assert b"408 Request Timeout" in all_of(half_a_body)
        assert all_of(half_a_head) == all_of(silent) == b""
        assert asked(address) == expected
    assert ended(process) == (0, "")


def test_sigterm_finishes_what_is_held(saved):
    process, address = begin(saved)
    body = json.dumps({"rows": X.tolist()}).encode()
    with connected(address) as half:
        answer = _answered_in_the_end(process, address, half, body)
    assert b"200 OK" in answer
    assert answer.count(b"log_density") == len(X)
    assert ended(process) == (0, "")


def _answered_in_the_end(process, address, half, body):
    """What is said to a request whose second half comes after SIGTERM."""
    half.sendall(
        b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body[:100]
    )
    assert len(asked(address)) == 2  # so that the server has met the half
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connected(address).close()
        except OSError:
            break
        time.sleep(0.05)
    half.sendall(body[100:])
    return all_of(half)


@pytest.mark.parametrize(
    ("name", "phases"), [("missing numbers", "examples,coverage"), ("a table", "coverage,fuzzing")]
)
def test_schemathesis_finds_nothing(name, phases, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis comes with the extra dev; make lowest does without")
    made(name)[0].save(tmp_path / "run")
    process, address = begin(tmp_path / "run", "--max-rows", "50")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--max-examples", "8"]
    done = subprocess.run(
        [*command, "--seed", "0", "--no-color", "--warnings", "off"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    process.terminate()
    assert done.returncode == 0, done.stdout + done.stderr
    assert ended(process) == (0, "")


def test_a_token_of_the_command(saved, tmp_path):
    (tmp_path / "token").write_text("from a file\n")
    process, address = begin(saved, "--token-file", tmp_path / "token", DIABOLO_TOKEN="from the environment")
    try:
        assert asked(address, Authorization="Bearer from the environment") == 401
        assert len(asked(address, Authorization="Bearer from a file")) == 2
    finally:
        process.terminate()
    assert ended(process)[0] == 0


def test_the_command_refuses(saved, tmp_path, run, monkeypatch):
    monkeypatch.delenv("DIABOLO_TOKEN", raising=False)

    def refused(words, *options):
        status, out, err = run("serve", *options)
        assert (status, out) == (2, "")
        assert words in err
        assert len(err.splitlines()) == 1

    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        refused("a token is needed", saved, "--host", host)
    refused("cannot be read", saved, "--token-file", tmp_path / "none")
    (tmp_path / "empty").touch()
    refused("must hold a token", saved, "--token-file", tmp_path / "empty")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused("cannot be listened on: Address already in use", saved, "--port", taken.getsockname()[1])
    refused("--max-body", saved, "--max-body", "0")
    refused("--timeout", saved, "--timeout", "-1")
    refused("not a saved model", tmp_path)
    diabolo.AutoencoderGenerator(vae(), random_state=0).fit(X).save(tmp_path / "generator")
    refused("is not served", tmp_path / "generator")


def test_without_the_extra_it_says_so(saved, run, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("diabolo.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(MissingExtra, match=r"diabolo\[serve\]"):
        __import__("diabolo.serving")
    status, _, err = run("serve", saved)
    assert status == 2
    assert "pip install 'diabolo[serve]'" in err
