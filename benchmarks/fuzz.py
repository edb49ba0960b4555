"""Damaged input of every kind: none may hang, take much memory, write elsewhere, or end in anything but our own errors.

    python -m benchmarks.fuzz [--inputs 100000] [--only csv,artifact] [--seed 0] [--out benchmarks/results/fuzz.json]

Sound files are damaged at random, by bytes and, where that would only ever meet a checksum or a brace, by values. Each
is read as the estimators, the command and the server read theirs. A process of its own works for each kind, with an
address space that may grow by 1 GB and 10 seconds for each input; an audit hook sees what it opens and starts. Input
number i of a kind is the same in every run: a finding tells the numbers to make it again with, `reproduced` does so.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["KINDS", "Case", "Outcome", "damaged", "reproduced", "tried"]

SECONDS, BYTES = 10, 1 << 30
_SILENT = 60
"""After so many seconds without a sign a process is ended: it hangs where Python cannot interrupt it."""

Case = dict[str, bytes]
"""Files by their names."""


class Outcome(NamedTuple):
    """How an input ended."""

    kind: str
    """"read", the name of one of our errors, or "FOUND"."""
    what: str = ""


# -- sound input -------------------------------------------------------------------------------------------------------


def _numbers() -> Any:
    import numpy as np

    return np.random.default_rng(0).normal(size=(12, 3)).round(3)


def _table() -> Any:
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(0)
    columns = {
        "length": rng.normal(5, 2, 20).round(2),
        "is new": rng.random(20) < 0.3,
        "visits": rng.poisson(rng.gamma(1, 2, 20)),
        "kind": rng.choice(["x", "größer", "z, y"], 20),
        "day": np.datetime64("2020-01-01") + rng.integers(0, 900, 20),
    }
    return pa.table({name: pa.array(cells, mask=rng.random(20) < 0.1) for name, cells in columns.items()})


def _csv() -> list[Case]:
    import pyarrow.csv

    text = "a,b,c\n" + "".join(f"{x},{y},{z}\n" for x, y, z in _numbers())
    typed = io.BytesIO()
    pyarrow.csv.write_csv(_table(), typed)
    others = [text.replace(",", ";"), text.replace(",", "\t"), "\ufeff" + text.replace("\n", "\r\n"), text[6:]]
    quoted = 'a,"b ""c""",d\n"1","x\ny",2020-01-01\n"2","z",2020-01-02T10:00:00Z\n,,\n'
    return [{"rows.csv": content.encode()} for content in (text, *others, quoted)] + [{"rows.csv": typed.getvalue()}]


def _parquet() -> list[Case]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = pa.table(dict(zip("abc", _numbers().T, strict=True)))
    options: list[dict[str, Any]] = [
        {}, {"compression": "none", "use_dictionary": False}, {"compression": "zstd", "data_page_version": "2.0"},
        {"row_group_size": 5, "write_page_index": True, "compression": "gzip"},
    ]  # fmt: skip
    cases = []
    for table in (plain, _table(), plain.append_column("list", pa.array([[1.0], None] * 6))):
        for option in options:
            sink = io.BytesIO()
            pq.write_table(table, sink, **option)
            cases.append({"rows.parquet": sink.getvalue()})
    return cases


def _npy() -> list[Case]:
    import numpy as np

    rows = _numbers()
    cases = []
    for array in (
        rows,
        rows.astype(np.float32),
        np.asfortranarray(rows),
        rows.astype(">i2"),
        rows > 0,
        rows[..., None],
    ):
        for version in ((1, 0), (2, 0), (3, 0)):
            sink = io.BytesIO()
            np.lib.format.write_array(sink, array, version, allow_pickle=False)
            cases.append({"rows.npy": sink.getvalue()})
    return cases


def _npz() -> list[Case]:
    import numpy as np

    rows = _numbers()
    cases = []
    for save in (np.savez, np.savez_compressed):
        for arrays in ({"x": rows}, {"x": rows, "y": rows[:, 0] > 0}):
            sink = io.BytesIO()
            save(sink, **arrays)
            cases.append({"rows.npz": sink.getvalue()})
    return cases


def _images() -> list[Case]:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    cases: list[Case] = []
    for words in ("png L", "png RGB", "png P", "png I;16", "jpg RGB", "gif P", "bmp RGB", "tif L", "tiff RGB",
                  "webp RGB", "pgm L", "ppm RGB"):  # fmt: skip
        name, mode = words.split()
        case = {}
        for i in range(2):
            image = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
            image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
            sink = io.BytesIO()
            image.save(sink, {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(name, name.upper()))
            case[f"{i}.{name}"] = sink.getvalue()
        cases.append(case)
    return cases


def _artifact() -> list[Case]:
    import diabolo

    few: dict[str, Any] = {"max_epochs": 0, "random_state": 0}  # the weights as drawn: nothing is compiled
    rows = _numbers()
    vae = diabolo.VariationalAutoencoder(n_latent=2, max_epochs=1, random_state=0)
    loud = diabolo.parts.Chain((diabolo.parts.Masking(0.1), diabolo.parts.GaussianNoise(0.1)))
    with warnings.catch_warnings(action="ignore"):
        models = [
            vae.fit(_table()),
            diabolo.SparseAutoencoder(**few).fit(rows),
            diabolo.StackedAutoencoder(hidden_layer_sizes=(4,), pretrain="layerwise", pretrain_epochs=1, **few).fit(
                rows
            ),
            diabolo.DenoisingAutoencoder(corruption=loud, optimizer=diabolo.parts.Muon(), **few).fit(rows),
            diabolo.AnomalyDetector(diabolo.BasicAutoencoder(**few), false_alarm_rate=0.2, random_state=0).fit(rows),
            diabolo.AutoencoderClassifier(diabolo.BasicAutoencoder(**few), **few).fit(rows, [0, 1, 2] * 4),
        ]
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for i, model in enumerate(models):
            model.save(f"{folder}/{i}", **({"reference_data": rows} if i in (1, 2) else {}))
            cases.append({file.name: file.read_bytes() for file in sorted(Path(folder, str(i)).iterdir())})
    return cases


def _config() -> list[Case]:
    texts = (
        'data = "rows.csv"\nmodel = "variational"\nout = "run"\nseed = 3\ncolumns = ["a", "b"]\n[parameters]\n'
        'n_latent = 8\nhidden_layer_sizes = [64, 32]\nbeta = {part = "LinearWarmup", epochs = 10}\n',
        'model = "denoising"\nexclude = "c"\nkey = "x"\n[schema]\nvisits = "count"\n'
        'kind = {kind = "category", categories = ["x", "y"]}\n[parameters.corruption]\npart = "Chain"\n'
        'steps = [{part = "Masking", p = 0.1}, {part = "GaussianNoise", sigma = 0.2}]\n',
        'model = "sparse"\n[parameters]\ntarget_activation = 0.05\nlearning_rate = 1e-3\n'
        'optimizer = {part = "Adam", b1 = 0.8}\n',
        'model = "anomaly"\n[parameters]\nestimator = "single"\nfalse_alarm_rate = 0.02\ncalibration = 5\n'
        'scaling = "minmax"\n',
    )
    return [{"run.toml": text.encode()} for text in texts]


def _json_request() -> list[Case]:
    rows = json.loads(_table().to_pandas().to_json(orient="records", date_format="iso"))
    for row in rows:
        row["day"] = row["day"] and row["day"][:10]
    cases = [{"body": json.dumps({"rows": rows[:n]}, ensure_ascii=False).encode()} for n in (1, 3)]
    halves = [rows[0] | {"kind": "\ud800"}, rows[0] | {"kind": ["x"], "\udfff": {}}]
    whole = ["[[],[],[]]", "[{},{}]", json.dumps(halves), "[" + ",".join(["[]"] * 100_000) + "]"]
    return cases + [{"body": f'{{"rows": {told}}}'.encode()} for told in whole]


def _arrow_request() -> list[Case]:
    import pyarrow as pa

    dictionaries = _table().set_column(3, "kind", _table()["kind"].dictionary_encode())
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), pa.array(["x" * 200_000]))
    others = {
        "views": pa.array(["x", None] * 10, pa.string_view()),
        "lists": pa.array([["x"], None] * 10),
        "structs": pa.array([{"x": 1}, None] * 10),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([20], pa.int32()), pa.array(["x"])),
        "nulls": pa.nulls(20),
    }
    cases = []
    for table in (
        _table(),
        dictionaries,
        pa.concat_tables([_table(), _table()[:3]]),
        *(_table().set_column(3, "kind", cells) for cells in others.values()),
        pa.table({name: long if name == "kind" else pa.nulls(1000) for name in _table().column_names}),
    ):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table, 8)
        cases.append({"body": sink.getvalue()})
    return cases


# -- how it is read ----------------------------------------------------------------------------------------------------


def _read_rows(folder: Path) -> None:
    from diabolo.data.blocks import BlockReader, open_store

    files = sorted(folder.iterdir())
    opened: Any = open_store(files[0] if len(files) == 1 else folder)
    for piece in opened.tables() if isinstance(opened, BlockReader) else (opened,):
        if piece.rows.dtype.kind != "f" or piece.rows.ndim != 2:
            raise AssertionError(f"rows of {piece.rows.dtype}, {piece.rows.shape}")


def _read_artifact(folder: Path) -> None:
    import diabolo
    from diabolo.cli import inspect
    from diabolo.persistence import files as artifact

    inspect.describe_manifest(artifact.read_manifest(folder))
    model = diabolo.load(folder)
    if model.input_.width < 100:
        repr(model)
        model.get_params()


def _read_config(folder: Path) -> None:
    from diabolo.cli.options import make_estimator, read_config

    options = read_config(folder / "run.toml")
    make_estimator(options.get("model", "basic"), options.get("parameters", {}))._validate_params()


_wire: list[Any] = []


def _read_request(kind: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        if not _wire:
            import diabolo
            from diabolo.serving.bounds import Bounds
            from diabolo.serving.codec import Wire

            with warnings.catch_warnings(action="ignore"):
                model = diabolo.VariationalAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(_table())
            _wire.extend((Wire(model, Bounds(1000)), model))
        wire, model = _wire
        rows = wire.read(kind, (folder / "body").read_bytes())
        wire.write(kind, model.schema_.decode(model.input_.open(rows)))

    return read


class _Kind(NamedTuple):
    sound: Callable[[], list[Case]]
    read: Callable[[Path], None]
    tokens: tuple[bytes, ...]
    share: int
    """Of all inputs, in proportion."""


_NUMBERS = (b"-1", b"0", b"1e999", b"-1e-999", b"9" * 40, b"nan", b"inf", b"1.5", b"4294967296", b"9223372036854775808")
_WORDS = (
    b"\\ud800",
    b"[],",
    b"",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'""',
    b"\xff\xfe",
    b"\x00",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
)
KINDS: dict[str, _Kind] = {
    "csv": _Kind(_csv, _read_rows, (b",", b'"', b"\n", b"\r", b";", b"\t", b"2020-01-01", b"true", *_NUMBERS), 16),
    "parquet": _Kind(_parquet, _read_rows, (b"PAR1", b"ARROW:schema", b"\x15\x00", b"\x19"), 16),
    "npy": _Kind(_npy, _read_rows, (b"'|O'", b"'<f8'", b"True", b"(", b",", b"\x93NUMPY", *_NUMBERS), 10),
    "npz": _Kind(_npz, _read_rows, (b"PK\x03\x04", b"PK\x01\x02", b"../../x.npy", b"'|O'", *_NUMBERS), 10),
    "images": _Kind(_images, _read_rows, (b"IHDR", b"IDAT", b"\xff\xd8", b"GIF89a", b"RIFF", b"MM\x00*"), 14),
    "artifact": _Kind(_artifact, _read_artifact, (b'"part"', b"F64", b"../..", b"/etc/passwd", *_NUMBERS, *_WORDS), 14),
    "config": _Kind(_config, _read_config, (b"=", b"[", b"]", b"{", b'"""', b"part", *_NUMBERS, *_WORDS), 8),
    "json request": _Kind(_json_request, _read_request("application/json"), (*_NUMBERS, *_WORDS), 6),
    "arrow request": _Kind(
        _arrow_request, _read_request("application/vnd.apache.arrow.stream"), (b"\xff\xff\xff\xff", b"\x0c\x00"), 6
    ),
}


# -- damage ------------------------------------------------------------------------------------------------------------

_WORTH = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**62,
    2**63 - 1,
    2**64 - 1,
)


def _damage_bytes(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """One to a few changes."""
    body = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        n = len(body)
        at = rng.randrange(n + 1)
        span = rng.choice((1, 1, 2, 4, 8, 16, 64))
        act = rng.randrange(9)
        if act == 0 and n:
            body[min(at, n - 1)] ^= 1 << rng.randrange(8)
        elif act == 1 and n:
            body[min(at, n - 1)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif act == 2:
            del body[at : at + span]
        elif act == 3:
            body[at:at] = rng.choice(tokens)
        elif act == 4:
            token = rng.choice(tokens)
            body[at : at + len(token)] = token
        elif act == 5:
            body[at:at] = body[at : at + span] * rng.choice((1, 2, 50))
        elif act == 6:
            size = rng.choice((1, 2, 4, 8))
            packed = struct.pack("<Q", rng.choice(_WORTH))[:size]
            body[at : at + size] = packed if rng.random() < 0.7 else packed[::-1]
        elif act == 7:
            del body[at:]
        else:
            start = rng.randrange(len(other) + 1)
            body[at : at + span] = other[start : start + rng.choice((span, 4 * span))]
    return bytes(body)


_VALUES = (
    None, True, False, 0, -1, 1, 2, 3, 10**6, 10**13, 10**30, -(10**30), 0.5, -0.5, 1e300, 1e-300, "", "x", "none",
    "auto",
    "../../etc/passwd", [], [1], [[]], ["x"], {}, {"part": "Masking"}, {"part": "Nope"}, {"part": 5}, {"part": []},
    {"estimator": "BasicAutoencoder", "parameters": {}}, {"estimator": 5}, [{}], [None] * 3,
)  # fmt: skip


def _damage_values(rng: random.Random, value: Any) -> Any:
    """One value of a JSON, wherever it is, is another, or gone, or twice."""
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        items: Any = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        for key, item in items:
            places.append((inner, key))
            walk(item)

    walk(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        inner, key = rng.choice(places)
        act = rng.randrange(4)
        if isinstance(inner, dict):
            if act == 0:
                inner.pop(key, None)
            elif act == 1 and key in inner:
                inner[rng.choice(("part", "x", "", str(key) + "_"))] = inner.pop(key)
            else:
                inner[key] = json.loads(json.dumps(rng.choice(_VALUES)))
        elif key < len(inner):
            if act == 0:
                del inner[key]
            else:
                inner[key] = json.loads(json.dumps(rng.choice(_VALUES)))
    return value


def _damage_within(rng: random.Random, content: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """A zip file, one of whose members is damaged, and packed again."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        members = {info: packed.read(info) for info in packed.infolist()}
    chosen = rng.choice(list(members))
    members[chosen] = _damage_bytes(rng, members[chosen], members[chosen], tokens)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        for info, body in members.items():
            packed.writestr(info, body)
    return sink.getvalue()


def damaged(kind: str, sound: list[Case], seed: int, number: int) -> Case:
    """Input number so-and-so of a kind."""
    rng = random.Random(f"{kind} {seed} {number}")
    case = dict(rng.choice(sound))
    other = rng.choice(list(rng.choice(sound).values()))
    name = rng.choice(list(case))
    by_value = name.endswith("model.json") or (kind == "json request" and rng.random() < 0.5)
    if by_value and rng.random() < 0.8:
        case[name] = json.dumps(_damage_values(rng, json.loads(case[name]))).encode()
    elif kind == "npz" and rng.random() < 0.6:  # else few would come past the checksum
        case[name] = _damage_within(rng, case[name], KINDS["npy"].tokens)
    else:
        case[name] = _damage_bytes(rng, case[name], other, KINDS[kind].tokens)
    if kind == "artifact" and name != "model.json" and rng.random() < 0.8:  # else none would come past the checksum
        told = json.loads(case["model.json"])
        told["checksums"][name] = f"sha256:{hashlib.sha256(case[name]).hexdigest()}"
        case["model.json"] = json.dumps(told).encode()
    return case


# -- trying it ---------------------------------------------------------------------------------------------------------

_WATCHED = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind",
            "pickle.find_class", "ctypes.dlopen", "os.symlink", "os.link", "os.chmod", "os.truncate")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "shutil.rmtree", "shutil.move")


class _Watch:
    """Sees what a process opens for writing, removes and starts; outside of one folder that is a finding."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: Any) -> None:
        if self.folder is None:
            return
        if event in _WATCHED:
            self.seen.append(f"{event} {str(arguments)[:200]}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._look(event, path)
        elif event in _CHANGES and not (event == "shutil.rmtree" and len(arguments) > 2):
            self._look(event, arguments[0])

    def _look(self, event: str, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            where = os.path.realpath(os.fsdecode(path))
            if self.folder is not None and not where.startswith(self.folder):
                self.seen.append(f"{event} {where}")


class _TooLong(BaseException):
    """Ten seconds have passed."""


def _late(*_: Any) -> None:
    raise _TooLong


def tried(kind: str, case: Case, folder: Path, watch: _Watch | None = None) -> Outcome:
    """Read one input in an empty folder, and say how that ended."""
    from diabolo.errors import DiaboloError

    inside = folder / "in"
    inside.mkdir()
    for name, content in case.items():
        (inside / name).write_bytes(content)
    if watch is not None:
        watch.folder, watch.seen = os.path.realpath(folder), []
    try:
        with warnings.catch_warnings(action="ignore"):
            KINDS[kind].read(inside)
        outcome = Outcome("read")
    except DiaboloError as error:
        name = type(error).__name__
        outcome = Outcome(name) if str(error).strip() else Outcome("FOUND", f"{name} without words")
    except _TooLong:
        outcome = Outcome("FOUND", f"takes more than {SECONDS} s: {_where()}")
    except MemoryError:
        outcome = Outcome("FOUND", f"takes more than {BYTES >> 20} MB: {_where()}")
    except Exception as error:
        outcome = Outcome("FOUND", f"{type(error).__name__}: {str(error)[:120]}: {_where()}")
    finally:
        if watch is not None:
            watch.folder = None
    if watch is not None and watch.seen:
        outcome = Outcome("FOUND", "; ".join(sorted(set(watch.seen)))[:300])
    if {file.name: file.read_bytes() for file in inside.iterdir()} != case:
        outcome = Outcome("FOUND", "its files are not as they were")
    shutil.rmtree(inside)
    return outcome


def _where() -> str:
    """Our own last line on the way to the error."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [frame for frame in frames if "diabolo/" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}"


def reproduced(kind: str, seed: int, number: int, folder: Path) -> Outcome:
    """An input of a former run, read once more."""
    return tried(kind, damaged(kind, KINDS[kind].sound(), seed, number), folder)


def _work(kind: str, seed: int, first: int, last: int, folder: Path) -> None:
    """Try some, one after the other, and print how each ended."""
    sound = KINDS[kind].sound()
    for case in sound:
        outcome = tried(kind, case, folder)  # all is imported, and compiled, before it is watched
        if outcome.kind not in ("read", "InvalidData"):  # as several arrays are, or a column of lists
            print(json.dumps(["sound", *outcome]), flush=True)
    print(json.dumps(["ready"]), flush=True)
    watch = _Watch()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, size + BYTES))
    signal.signal(signal.SIGALRM, _late)
    for number in range(first, last):
        case = damaged(kind, sound, seed, number)
        started = time.monotonic()
        signal.alarm(SECONDS)
        try:
            outcome = tried(kind, case, folder, watch)
        except _TooLong:
            outcome = Outcome("FOUND", f"takes more than {SECONDS} s")
        signal.alarm(0)
        left = [file.name for file in folder.iterdir()]
        if left and outcome.kind != "FOUND":
            outcome = Outcome("FOUND", f"left behind: {left[:3]}")
        for name in left:
            shutil.rmtree(folder / name, ignore_errors=True)
        print(json.dumps([number, *outcome, round(time.monotonic() - started, 3)]), flush=True)


def _outcomes(kind: str, seed: int, n_inputs: int) -> Iterator[tuple[int, Outcome, float]]:
    """Of all inputs of a kind; a process that dies or is silent is a finding, and the next one goes on."""
    number = 0
    while number < n_inputs:
        with tempfile.TemporaryDirectory(prefix="diabolo-fuzz-") as folder:
            environment = os.environ | {
                "TMPDIR": folder,
                "ARROW_DEFAULT_MEMORY_POOL": "system",
                "JAX_PLATFORMS": "cpu",
                "DIABOLO_CACHE": "off",
            }
            command = [
                sys.executable,
                "-m",
                "benchmarks.fuzz",
                "--work",
                kind,
                str(seed),
                str(number),
                str(n_inputs),
                folder,
            ]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
            assert process.stdout is not None
            os.set_blocking(process.stdout.fileno(), False)
            pending, heard, is_ready = b"", time.monotonic(), False
            while True:
                piece = process.stdout.read()
                if piece:
                    heard = time.monotonic()
                    *lines, pending = (pending + piece).split(b"\n")
                    for line in lines:
                        at, *outcome = json.loads(line)
                        if at == "ready":
                            is_ready = True
                            continue
                        kind_of, what, *seconds = outcome
                        if at == "sound":
                            raise SystemExit(f"{kind}: a sound input is not read: {kind_of} {what}")
                        number = at + 1
                        yield at, Outcome(kind_of, what), seconds[0]
                elif process.poll() is not None:
                    break
                elif time.monotonic() - heard > _SILENT and is_ready:
                    process.kill()
                    process.wait()
                    break
                time.sleep(0.02)
            if number < n_inputs:
                last = (process.stderr.read() if process.stderr else b"").decode(errors="replace").strip().splitlines()
                silent = process.returncode == -signal.SIGKILL
                what = f"silent for {_SILENT} s" if silent else f"died with {process.returncode}: {last[-1:]}"
                yield number, Outcome("FOUND", what), _SILENT if silent else 0.0
                number += 1


def main() -> None:
    """Try all kinds, and keep what was found."""
    from . import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="of all kinds together")
    parser.add_argument("--only", default=",".join(KINDS), metavar="KINDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where inputs that were findings go")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        kind, seed, first, last, folder = given.work
        _work(kind, int(seed), int(first), int(last), Path(folder))
        return
    chosen = given.only.split(",")
    whole = sum(KINDS[kind].share for kind in chosen)
    told: dict[str, Any] = {"inputs": 0, "seed": given.seed, "machine": machine.describe(), "kinds": {}}
    for kind in chosen:
        n_inputs = -(-given.inputs * KINDS[kind].share // whole)
        counts: Counter[str] = Counter()
        found: dict[str, list[int]] = {}
        slowest = 0.0
        for number, outcome, seconds in _outcomes(kind, given.seed, n_inputs):
            counts[outcome.kind] += 1
            slowest = max(slowest, seconds)
            if outcome.kind == "FOUND":
                found.setdefault(outcome.what, []).append(number)
            if sys.stderr.isatty() and number % 100 == 0:
                print(f"\r{kind}: {number:,} of {n_inputs:,}", end="", file=sys.stderr)
        told["inputs"] += n_inputs
        told["kinds"][kind] = {
            "inputs": n_inputs,
            "outcomes": dict(counts.most_common()),
            "slowest_s": slowest,
            "findings": [{"what": what, "times": len(at), "first": at[0]} for what, at in found.items()],
        }
        print(f"\r{kind}: {n_inputs:,} inputs, slowest {slowest:.2f} s: {dict(counts.most_common())}", flush=True)
        for what, at in found.items():
            print(f"  {len(at)} × {what}, the first is number {at[0]}", flush=True)
            if given.keep:
                given.keep.mkdir(parents=True, exist_ok=True)
                case = damaged(kind, KINDS[kind].sound(), given.seed, at[0])
                packed = {name: base64.b64encode(content).decode() for name, content in case.items()}
                (given.keep / f"{kind.replace(' ', '-')}-{at[0]}.json").write_text(json.dumps(packed))
        if given.out:
            given.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
