"""What the server says of itself is true: OpenAPI, its examples, and the page."""

import pytest
from starlette.testclient import TestClient

import diabolo
from diabolo.estimators import predictions
from diabolo.serving import create_app
from diabolo.serving.codec import JSON
from served_models import (
    FEW,
    FRAME,
    MODELS,
    client,
    made,
)

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
