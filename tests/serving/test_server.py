"""`diabolo serve` as its user meets it: real sockets, signals, tokens."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress

import pytest

import diabolo
from diabolo.errors import MissingDependencyError
from diabolo.serving.codec import JSON
from served_models import (
    X,
    made,
    vae,
)

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
    address = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert address, line + process.stderr.read()
    return process, address[0]


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "phases"), [("missing numbers", "examples,coverage"), ("a table", "coverage,fuzzing")]
)
def test_schemathesis_finds_nothing(name, phases, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis comes with the extra dev; make lowest does without")
    made(name)[0].save(tmp_path / "run")
    process, address = begin(tmp_path / "run", "--max-rows", "50")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--max-examples", "8"]
    done = subprocess.run(
        [*command, "--phases", phases, "--seed", "0", "--no-color", "--warnings", "off"],
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
        refused("token", saved, "--host", host)
    refused("none", saved, "--token-file", tmp_path / "none")
    (tmp_path / "empty").touch()
    refused("empty", saved, "--token-file", tmp_path / "empty")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(str(taken.getsockname()[1]), saved, "--port", taken.getsockname()[1])
    refused("--max-body", saved, "--max-body", "0")
    refused("--timeout", saved, "--timeout", "-1")
    refused(tmp_path.name, tmp_path)
    diabolo.AutoencoderGenerator(vae(), random_state=0).fit(X).save(tmp_path / "generator")
    refused("AutoencoderGenerator", tmp_path / "generator")


def test_without_the_extra_it_says_so(saved, run, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("diabolo.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(MissingDependencyError, match=r"diabolo\[serve\]"):
        __import__("diabolo.serving")
    status, _, err = run("serve", saved)
    assert status == 2
    assert "diabolo[serve]" in err
