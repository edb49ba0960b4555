"""Laws of interfaces: Python, a copy, a saved model, the command, the server and ONNX give the same answers."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from hypothesis import strategies as st
from sklearn.base import clone

import diabolo
from diabolo.estimators.predictions import questions as served

from .law import DIGITS, Law, near, require, same
from .of_input import in_blocks, written
from .of_rows import seeds
from .subjects import Answers, Subject, asked, columns_of, drawn_from, holes

__all__ = ["LAWS"]

_COPIES = {
    "pickle": lambda subject: pickle.loads(pickle.dumps(subject.model)),
    "deepcopy": lambda subject: copy.deepcopy(subject.model),
    "saved": lambda subject: diabolo.load(subject.saved),
    "saved twice": lambda subject: _saved_again(subject),  # noqa: PLW0108  defined below
}


def _saved_again(subject: Subject) -> Any:
    diabolo.load(subject.saved).save(subject.folder / "again")
    return diabolo.load(subject.folder / "again")


def _drawn(subject: Subject, seed: int, n: int) -> Any:
    return subject.spread(np.random.default_rng(seed), n, 0.5)


def _copied(subject: Subject, case: Any) -> None:
    seed, n, name = case
    other = subject.once(name, lambda: _COPIES[name](subject))
    if subject.name.startswith("generator"):
        same(drawn_from(other, seed), drawn_from(subject.model, seed))
        return
    rows = _drawn(subject, seed, n)
    same(asked(other, rows), asked(subject.model, rows))


def _cloned(subject: Subject, case: Any) -> None:
    before = repr(subject.model)
    other = clone(subject.model)
    assert not any(name.endswith("_") and not name.startswith("_") for name in vars(other)), vars(other).keys()
    assert repr(other) == repr(subject.make()) == before


# -- command ----------------------------------------------------------------------------------------------------------


def _command(*words: str) -> str:
    """Run the command in this process; return what it prints."""
    from diabolo.cli import app

    out = io.StringIO()
    with mock.patch.object(sys, "argv", ["diabolo", *words]), contextlib.redirect_stdout(out):
        try:
            app.main()
        except SystemExit as end:
            require(not end.code, f"status {end.code}")
    return out.getvalue()


def _by_command(subject: Subject, case: Any) -> None:
    seed, n, form = case
    suffix, _, path = form.partition(" ")
    rows = _drawn(subject, seed, n)
    data = written(rows, subject.folder, suffix)
    with contextlib.redirect_stderr(io.StringIO()), in_blocks() if path else contextlib.nullcontext():
        for what, ask in served(subject.model).items():
            if what == "classify":
                continue  # not a command
            command = "detect" if isinstance(subject.model, diabolo.AnomalyDetector) else what
            out = str(subject.folder / "out.parquet")
            _command(command, str(subject.saved), data, "-o", out, "-f")
            table = pa.parquet.read_table(out)
            found = columns_of(what, table.drop_columns("row") if "row" in table.column_names else table)
            expected = columns_of(what, _as_table(ask(subject.model, rows)))
            if path:
                near(found, expected, subject)
            else:
                same(found, expected)


def _as_table(answer: Any) -> pa.Table:
    return answer if isinstance(answer, pa.Table) else answer.as_arrow()


# -- server -----------------------------------------------------------------------------------------------------------


def _client(subject: Subject) -> Any:
    from starlette.testclient import TestClient

    from diabolo.serving import create_app

    return subject.once("client", lambda: TestClient(create_app(subject.model)))


def _json_rows(rows: Any) -> Any:
    if isinstance(rows, np.ndarray):
        return [[None if np.isnan(cell) else cell for cell in row] for row in rows.tolist()]
    return json.loads(json.dumps(rows.to_pylist(), default=str))


def _stream(rows: Any) -> bytes:
    table = rows if isinstance(rows, pa.Table) else pa.table({f"x{i}": cells for i, cells in enumerate(rows.T)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=7)
    return bytes(sink.getvalue())


def _by_server(subject: Subject, case: Any) -> None:
    seed, n, body = case
    rows, arrow = _drawn(subject, seed, n), "application/vnd.apache.arrow.stream"
    for what, ask in served(subject.model).items():
        headers = {"Content-Type": "application/json" if body == "JSON" else arrow, "Accept": arrow}
        content = json.dumps({"rows": _json_rows(rows)}).encode() if body == "JSON" else _stream(rows)
        told = _client(subject).post(f"/{what}", content=content, headers=headers)
        assert told.status_code == 200, told.text
        found = columns_of(what, pa.ipc.open_stream(told.content).read_all())
        same(found, columns_of(what, _as_table(ask(subject.model, rows))))


# -- ONNX -------------------------------------------------------------------------------------------------------------


def _sessions(subject: Subject) -> dict[str, Any]:
    import onnxruntime

    def made() -> dict[str, Any]:
        folder = Path(subject.folder / "onnx")
        diabolo.export_onnx(subject.model, folder)
        return {file.stem: onnxruntime.InferenceSession(str(file)) for file in sorted(folder.glob("*.onnx"))}

    return subject.once("sessions", made)


def _by_onnx(subject: Subject, case: Any) -> None:
    seed, n, _ = case
    rows = _drawn(subject, seed, n)
    expected = asked(subject.model, rows)
    for graph, session in _sessions(subject).items():
        inputs = session.get_inputs()
        if [one.name for one in inputs] != ["X"]:
            continue  # the decoder, whose rows are codes
        kind = np.float32 if inputs[0].type == "tensor(float)" else np.float64
        values = session.run(None, {"X": rows.astype(kind)})
        outputs = dict(zip((one.name for one in session.get_outputs()), values, strict=True))
        near(*_comparable(graph, outputs, expected), subject, 1e-3 if kind == np.float32 else DIGITS)


def _comparable(graph: str, outputs: dict[str, np.ndarray], expected: Answers) -> tuple[Answers, Answers]:
    """Return what a graph says, and what Python says, by the names of Python's answers."""
    found: Answers = {}
    for output, question, sign in (
        ("codes", "transform", 1), ("rows", "transform" if graph == "impute" and "reconstruct 0" not in expected else
         "impute" if graph == "impute" else "reconstruct", 1), ("log_density", "score_samples", 1),
        ("score", "score_samples", -1), ("probabilities", "predict_proba", 1),
    ):  # fmt: skip
        if output in outputs:
            values = np.asarray(outputs[output], float)
            found |= columns_of(
                question, sign * (values[:, 0] if question == "score_samples" and values.ndim > 1 else values)
            )
    assert found, f"{graph} has {', '.join(outputs)}"
    return {name: expected[name] for name in found}, found


def _speaks(subject: Subject) -> bool:
    return not subject.name.startswith("generator")


def _cases(*names: str, most: int = 30) -> Any:
    return lambda subject: st.tuples(seeds, st.integers(1, most), st.sampled_from(names))


LAWS = (
    Law(
        "copies and saved models",
        "To the bit: a pickled, copied, saved and loaded estimator has the same numbers and programs.",
        "interfaces",
        _cases(*_COPIES),
        _copied,
    ),
    Law(
        "a clone",
        "Exactly: a clone has the parameters, and nothing of the fit.",
        "interfaces",
        lambda subject: st.just(None),
        _cloned,
        few=1,
        many=1,
    ),
    Law(
        "Python and the command",
        "To the bit: the command writes what Python returns; files in blocks to 1e-5 (1e-3 for estimates of log p).",
        "interfaces",
        _cases(".csv", ".parquet", ".jsonl", ".csv in blocks", ".parquet in blocks"),
        _by_command,
        lambda subject: _speaks(subject) and subject.is_table,
        few=3,
        many=60,
    ),
    Law(
        "Python and the server",
        "To the bit: JSON and Arrow bodies give what Python gives.",
        "interfaces",
        _cases("JSON", "Arrow"),
        _by_server,
        _speaks,
        few=4,
        many=150,
    ),
    Law(
        "Python and ONNX",
        "To 1e-5 (1e-3 for estimates of log p): another runtime adds in another order.",
        "interfaces",
        _cases("X", most=40),
        _by_onnx,
        lambda subject: _speaks(subject) and not subject.is_table and subject.draw is not holes,
        many=100,
        is_slow=True,
    ),
)
