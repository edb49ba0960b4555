"""`diabolo serve` under load: answers per second, how long they take, and bad requests meanwhile.

    python -m benchmarks.serving [--seconds 30] [--out benchmarks/results/serving.json]

Needs wrk (Debian: apt-get install wrk), which sends the same request again on so many connections. For each line a
server is started, and wrk runs for so long; in the line "among bad ones" malformed, oversized and slow requests are
sent at the same time, by clients of their own, and each must be refused. At the end SIGTERM, under load: whoever was
let in must be answered.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import machine

LINES = (
    # name, model, rows a request, connections, bad ones beside
    ("one row", "variational", 1, 16, False),
    ("one row, one connection", "variational", 1, 1, False),
    ("100 rows", "variational", 100, 16, False),
    ("one row, more connections than may wait", "variational", 1, 100, False),
    ("one row, deterministic", "basic", 1, 16, False),
    ("one row, among bad ones", "variational", 1, 16, True),
)
_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = io.open("{body}", "rb"):read("*a")
"""


def fitted(folder: Path) -> dict[str, Path]:
    """Models of wines, saved; and requests."""
    from sklearn.datasets import load_wine

    import diabolo

    frame = load_wine(as_frame=True).data
    kinds = {"variational": diabolo.VariationalAutoencoder(n_latent=3), "basic": diabolo.BasicAutoencoder(n_latent=3)}
    for name, model in kinds.items():
        model.set_params(max_epochs=20, random_state=0).fit(frame).save(folder / name)
    for n_rows in {rows for _, _, rows, _, _ in LINES}:
        body = json.dumps(
            {"rows": frame.sample(n_rows, random_state=0, replace=n_rows > len(frame)).to_dict("records")}
        )
        (folder / f"{n_rows}.json").write_text(body)
        (folder / f"{n_rows}.lua").write_text(_LUA.format(body=folder / f"{n_rows}.json"))
    return {name: folder / name for name in kinds}


@contextmanager
def served(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own, once it listens."""
    command = [sys.executable, "-m", "diabolo", "serve", str(run), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if "answers on" not in line:
        raise SystemExit(process.communicate()[1])
    try:
        yield process, line.split("answers on ")[1].split(";")[0]
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def loaded(address: str, lua: Path, connections: int, seconds: float) -> dict[str, Any]:
    """What wrk says."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "30s", "-s", str(lua)]
    told = subprocess.run([*command, f"{address}/score"], capture_output=True, text=True, check=True).stdout

    def found(pattern: str, default: str = "0") -> str:
        match = re.search(pattern, told)
        return match[1] if match else default

    def milliseconds(text: str) -> float:
        number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
        return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]

    return {
        "requests": int(found(r"(\d+) requests in")),
        "per_second": float(found(r"Requests/sec:\s+([\d.]+)")),
        "p50_ms": milliseconds(found(r"50%\s+(\S+)")),
        "p99_ms": milliseconds(found(r"99%\s+(\S+)")),
        "refused": int(found(r"Non-2xx or 3xx responses: (\d+)")),
        "socket_errors": found(r"Socket errors: (.*)", "none"),
    }


# -- bad requests ------------------------------------------------------------------------------------------------------

_CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"
_HEAD = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"


def _said(address: str, pieces: list[bytes], pause: float = 0.0) -> str:
    """What is said to some bytes: the status, or that the connection was closed."""
    host, port = address.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            answer = b""
            while b"\r\n" not in answer and (more := connection.recv(4096)):
                answer += more
        return answer.split(b"\r\n")[0].decode(errors="replace")[9:] or "closed"
    except (ConnectionError, TimeoutError) as error:
        return "closed" if isinstance(error, ConnectionError) else "no answer"


def _with_body(body: bytes) -> list[bytes]:
    return [_HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body]


BAD = {
    "malformed HTTP": (lambda address: _said(address, [os.urandom(300) + b"\r\n\r\n"]), ("400 Bad Request", "closed")),
    "malformed JSON": (lambda address: _said(address, _with_body(b'{"rows": [')), ("400 Bad Request",)),
    "rows that are none": (
        lambda address: _said(address, _with_body(b'{"rows": [{"ash": 1}]}')),
        ("422 Unprocessable Content", "422 Unprocessable Entity", "422"),
    ),
    "oversized": (
        lambda address: _said(address, [_HEAD + b"Content-Length: 99999999\r\n\r\n", b"x" * 65536]),
        ("413 Content Too Large", "413 Request Entity Too Large", "closed"),
    ),
    "oversized, in chunks": (
        lambda address: _said(address, [_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[_CHUNK] * 40]),
        ("413 Content Too Large", "413 Request Entity Too Large", "closed"),
    ),
    "slow body": (
        lambda address: _said(address, [_HEAD + b"Content-Length: 1000\r\n\r\n", b'{"rows"']),
        ("408 Request Timeout",),
    ),
    "slow head": (lambda address: _said(address, [_HEAD[:50]]), ("closed",)),
}  # fmt: skip


def pestered(address: str, seconds: float) -> dict[str, dict[str, int]]:
    """Bad requests of every kind, again and again, each by a client of its own: what was said to them."""
    said: dict[str, Counter[str]] = {name: Counter() for name in BAD}
    end = time.monotonic() + seconds

    def client(name: str) -> None:
        while time.monotonic() < end:
            said[name][BAD[name][0](address)] += 1
            time.sleep(0.05)

    clients = [threading.Thread(target=client, args=(name,)) for name in BAD]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return {name: dict(counts) for name, counts in said.items()}


def stopped_under_load(run: Path, folder: Path) -> dict[str, Any]:
    """SIGTERM while 16 clients ask: those that were let in are answered, the others are not let in."""
    body = (folder / "1.json").read_bytes()
    said: Counter[str] = Counter()
    with served(run) as (process, address):
        done = threading.Event()

        def client() -> None:
            while not done.is_set():
                said[_said(address, _with_body(body))] += 1

        clients = [threading.Thread(target=client) for _ in range(16)]
        for one in clients:
            one.start()
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        status = process.wait(60)
        seconds = time.monotonic() - started
        done.set()
        for one in clients:
            one.join()
        errors = process.stderr.read() if process.stderr else ""
    return {"status": status, "seconds": round(seconds, 2), "said": dict(said), "stderr": errors}


def main() -> None:
    """All lines, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    told: dict[str, Any] = {"machine": machine.describe(), "seconds": given.seconds, "lines": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runs = fitted(folder)
        for name, model, n_rows, connections, is_among_bad in LINES:
            options = ["--timeout", "2", "--max-body", "1"] if is_among_bad else []
            with served(runs[model], *options) as (process, address):
                with ThreadPoolExecutor(1) as pool:
                    pest = pool.submit(pestered, address, given.seconds) if is_among_bad else None
                    load = loaded(address, folder / f"{n_rows}.lua", connections, given.seconds)
                line: dict[str, Any] = {
                    "line": name,
                    "rows": n_rows,
                    "connections": connections,
                    "load": machine.load(),
                }
                line |= load
                if pest is not None:
                    line["bad"] = bad = pest.result()
                    wrong = {k: v for k, v in bad.items() if not v or set(v) - set(BAD[k][1])}
                    line["bad_not_refused"] = wrong
                peak = Path(f"/proc/{process.pid}/status").read_text()
                line["peak_mb"] = int(re.search(r"VmHWM:\s+(\d+)", peak)[1]) // 1024  # type: ignore[index]
            told["lines"].append(line)
            print(json.dumps(line), flush=True)
        told["sigterm"] = stopped_under_load(runs["variational"], folder)
        print(json.dumps(told["sigterm"]))
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
