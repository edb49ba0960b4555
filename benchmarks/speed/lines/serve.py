"""`serve`: a fitted network reads rows, few and many at a time: one of images, and one of a table."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import rows
from ..children import run
from ..context import Context, by_turns, gather
from ..peers import peer
from ..record import Line

__all__ = ["serve"]

_SIZES = (1, 100, 10_000, 60_000)
_NETWORKS = {"images": (784, 512, 20), "table": (21, 64, 32)}
_LEAST_SECONDS, _MOST_SECONDS, _PAUSE = 0.2, 20.0, 0.3

Reader = Callable[[np.ndarray], Any]


def serve(context: Context) -> Line:
    """Codes and scores: a deterministic code, ReLU, squared error, so that all three do the same work.

    PyOD's networks have the same sizes, with ReLU on their codes. onnxruntime runs our weights.
    """
    sizes = context.pick(_SIZES, _SIZES[:3])
    line = Line("serve", {"networks": _NETWORKS, "row counts": sizes})
    few = rows.table(context.data)
    given = {"images": rows.images(context.data)[0], "table": np.resize(few, (max(sizes), few.shape[1]))}
    for kind, X in given.items():
        _serve(line, context, kind, X, sizes)
    with tempfile.TemporaryDirectory() as cache:
        line.add("programs", "", [run("programs", cache=Path(cache))["programs"]])
    line.bound("programs compiled for 100 row counts", "programs", 8)
    return line


def _serve(line: Line, context: Context, kind: str, X: np.ndarray, sizes: Sequence[int]) -> None:
    hidden = _NETWORKS[kind][1:]
    model = _fitted(X[:1280], hidden)
    builders = {name: partial(build, model, X[:1280], hidden) for name, build in _BUILDERS.items()}
    readers = gather(line, builders)
    for n in sizes:
        runs = {name: partial(_rows_per_second, reader, X[:n]) for name, reader in readers.items()}
        for name, values in by_turns(runs, context.repeats).items():
            line.add(f"{kind}, {name}, {n}", "rows/s", values)
        for what, ours, peer_of, target in (
            ("transform", "code", "onnxruntime, code", 1.0),
            ("score_samples", "score", "onnxruntime, score", 1.0),
            ("score_samples", "score", "PyOD, score", 10.0),
        ):
            line.compare(
                f"{kind}: {what}, {n:,} rows",
                f"{kind}, diabolo, {ours}, {n}",
                f"{kind}, {peer_of}, {n}",
                target,
                peer=peer_of.partition(",")[0],
            )
    _same_answers(line, kind, readers, X[:100])


def _fitted(train: np.ndarray, hidden: Sequence[int]) -> Any:
    from diabolo import StackedAutoencoder

    *before, n_latent = hidden
    model = StackedAutoencoder(
        n_latent=n_latent,
        hidden_layer_sizes=tuple(before),
        activation="relu",
        scaling=None,
        max_epochs=1,
        random_state=0,
    )
    return model.fit(train)


def _layers(module: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in module.layers]


def _ort_code(model: Any, train: np.ndarray, hidden: Sequence[int]) -> Reader:
    session = peer("onnx_graph").session(_layers(model.model_.weights.encoder))
    return lambda X: session.run(None, {"x": X})[0]


def _ort_score(model: Any, train: np.ndarray, hidden: Sequence[int]) -> Reader:
    weights = model.model_.weights
    session = peer("onnx_graph").session(_layers(weights.encoder), _layers(weights.decoder))
    return lambda X: session.run(None, {"x": X})[0]


def _pyod_score(model: Any, train: np.ndarray, hidden: Sequence[int]) -> Reader:
    return peer("pyod_detectors").plain(train, hidden).decision_function


_BUILDERS: dict[str, Callable[[Any, np.ndarray, Sequence[int]], Reader]] = {
    "diabolo, code": lambda model, train, hidden: model.transform,
    "onnxruntime, code": _ort_code,
    "diabolo, score": lambda model, train, hidden: model.score_samples,
    "onnxruntime, score": _ort_score,
    "PyOD, score": _pyod_score,
}


def _rows_per_second(reader: Reader, X: np.ndarray) -> float:
    """As many calls as fill a fifth of a second, after one that is not counted.

    Threads of the side before go on turning for a while, waiting for more work: they are given time to go to sleep.
    """
    time.sleep(_PAUSE)
    once = _timed(reader, X, 1)
    if once > _MOST_SECONDS:  # a second call would not tell more
        return len(X) / once
    calls = max(1, int(_LEAST_SECONDS / once))
    return calls * len(X) / _timed(reader, X, calls)


def _timed(reader: Reader, X: np.ndarray, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        reader(X)
    return time.perf_counter() - started


def _same_answers(line: Line, kind: str, readers: dict[str, Reader], X: np.ndarray) -> None:
    """Ours and onnxruntime's must be one network's."""
    if "onnxruntime, code" not in readers:
        return
    codes = np.abs(readers["diabolo, code"](X) - readers["onnxruntime, code"](X)).max()
    # log p = −‖x − x̂‖² − (d/2)·log π with the default σ² = ½
    errors = -readers["diabolo, score"](X) - X.shape[1] / 2 * np.log(np.pi)
    scores = np.abs(errors - readers["onnxruntime, score"](X)).max()
    line.notes.append(f"{kind}: largest difference from onnxruntime: codes {codes:.1e}, squared errors {scores:.1e}")
