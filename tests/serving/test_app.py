"""A model behind HTTP says what it says in Python, to the bit; what is not a request for that is refused."""

import asyncio
import base64
import json
import time
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import diabolo
from diabolo.errors import InvalidParameter, UsageError
from diabolo.estimators import predictions
from diabolo.serving import Limits, create_app
from diabolo.serving.bounds import Bounds
from diabolo.serving.codec import ARROW, JSON, InvalidData, Wire
from helpers import over
from served_models import (
    FRAME,
    MODELS,
    X,
    as_arrow,
    as_json,
    cells,
    client,
    every_question,
    made,
    table,
    vae,
)

# -- answers ----------------------------------------------------------------------------------------------------------


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
        "a body that is not JSON": ("[", 400),
        "an empty body": ("", 400),
        "a body that is not UTF-8": (b'{"rows": ["\xff"]}', 400),
        "NaN": ('{"rows": [{"length": NaN}]}', 400),
        "very deep nesting": ("[" * 100_000, 422),
        "a number with very many digits": ('{"rows": [' + "9" * 5000 + "]}", 400),
        "a list": ("[]", 422),
        "no rows": (ask([]), 422),
        "rows that are not a list": (ask({}), 422),
        "an unknown entry": ('{"rows": [], "row": 1}', 422),
        "a list in place of a row": (ask([row(), [1, 2]]), 422),
        "a number in place of a row": (ask([5]), 422),
        "a missing column": (ask([row(), without]), 422),
        "text in place of a number": (ask([row(length="x")]), 422),
        "a boolean in place of a number": (ask([row(length=True)]), 422),
        "a number in place of a boolean": (ask([row(**{"is new": 1})]), 422),
        "a number in place of text": (ask([row(kind=3)]), 422),
        "half of a surrogate pair": (ask([row(kind="\ud800")]), 422),
        "text that is not a date": (ask([row(day="yesterday")]), 422),
        "a date that does not exist": (ask([row(day="2021-02-29")]), 422),
        "a date and time in place of a date": (ask([row(day="2021-02-28T00:00:00Z")]), 422),
        "a date before the year 1": (ask([row(day="0000-01-01")]), 422),
        "text that is not a date and time": (ask([row(at="noon")]), 422),
        "a number beyond 32 bits": (ask([row(), row(length=1e300)]), 422),
        "a number beyond 64 bits": (ask([row(length=10**400)]), 422),
        "a missing cell, without any in `fit`": (ask([row(), row(length=None)]), 422),
        "too many rows": (ask([row()] * 101), 422),
    }


PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Requests to the server\n")[1].split("\n## ")[0]
LISTED = [[cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line[:1] == "|"][2:]
WORDS = {what: words for what, _, words, *_ in LISTED}
"""What the page of errors says that each is refused with."""


def test_the_page_of_errors_lists_what_is_refused():
    tried = [[what, str(status)] for what, (_, status) in (bodies() | ARROWS).items()]
    assert [row[:2] for row in LISTED] == tried


@over("what", bodies().keys())
def test_bodies_that_are_refused(what):
    body, status = bodies()[what]
    ask = client("a table without missing cells", Limits(rows=100))
    for path in ("transform", "score"):
        told = ask.post(f"/{path}", content=body, headers={"Content-Type": "application/json; charset=utf-8"})
        assert told.status_code == status, told.text
        assert told.headers["content-type"] == "application/problem+json"
        assert WORDS[what] in told.json()["detail"]
        assert told.json()["status"] == status


LISTS = {
    "an object for a row": ([{"a": 1}], "Row 1"),
    "a short row": ([[1.0] * 13, [1.0] * 12], "Row 2"),
    "a word": ([[1.0] * 12 + ["x"]], "Row 1, column 12"),
    "truth": ([[1.0] * 12 + [True]], "Row 1, column 12"),
    "infinity": ([[1.0] * 12 + [1e300]], "Row 1, column 12"),
    "a huge whole number": ([[1] * 12 + [10**400]], "Column 12"),
    "nothing": ([[1.0] * 12 + [None]], "row 1"),
}


@over("rows, place", LISTS)
def test_lists_that_are_refused(rows, place):
    told = client().post("/score", json={"rows": rows})
    assert told.status_code == 422
    assert place.lower() in told.json()["detail"].lower()


def written(rows, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


NAMED = pa.Table.from_pandas(FRAME)[:20]


def with_column(cells):
    return NAMED.set_column(0, "alcohol", cells)


ARROWS = {
    "Arrow: an empty body": (b"", 400),
    "Arrow: random bytes": (bytes(range(256)) * 20, 400),
    "Arrow: a truncated stream": (as_arrow(NAMED)[:-1500], 400),
    "Arrow: the file format": (b"ARROW1\0\0" + as_arrow(NAMED), 400),
    "Arrow: compressed": (written(NAMED, compression="zstd"), 400),
    "Arrow: compressed by another method": (written(NAMED, compression="lz4"), 400),
    "Arrow: no rows": (as_arrow(NAMED[:0]), 422),
    "Arrow: too many rows": (as_arrow(pa.concat_tables([NAMED] * 6)), 422),
    "Arrow: rows without columns": (as_arrow(pa.table({"a": pa.nulls(10**9)})), 422),
    "Arrow: a missing column": (as_arrow(NAMED.drop_columns("hue")), 422),
    "Arrow: a column twice": (as_arrow(NAMED.append_column("hue", NAMED["hue"])), 422),
    "Arrow: text in place of numbers": (as_arrow(with_column(pa.array(["x"] * 20))), 422),
    "Arrow: lists": (as_arrow(with_column(pa.array([[1.0]] * 20))), 422),
    "Arrow: infinity": (as_arrow(with_column(pa.array([np.inf] * 20))), 422),
    "Arrow: missing cells": (as_arrow(with_column(pa.nulls(20, pa.float64()))), 422),
}


@over("what", ARROWS.keys())
def test_arrow_that_is_refused(what):
    body, status = ARROWS[what]
    told = client("names", Limits(rows=100)).post("/score", content=body, headers={"Content-Type": ARROW})
    assert told.status_code == status, told.text
    assert WORDS[what] in told.json()["detail"], told.text


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
    assert "1,000" in told.json()["detail"]
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
    assert "row 1" in found[4].json()["detail"]


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
