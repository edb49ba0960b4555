"""`serve`: a fitted 784-512-20 network reads rows, few and many at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
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
_LEAST_SECONDS, _MOST_SECONDS = 0.2, 20.0

Reader = Callable[[np.ndarray], Any]


def serve(context: Context) -> Line:
    """Codes and scores: a deterministic code, ReLU, squared error, so that all three do the same work.

    PyOD's network is 784-512-20-512-784 too, with ReLU on its code. onnxruntime runs our weights.
    """
    train, _ = rows.images(context.data)
    sizes = context.pick(_SIZES, _SIZES[:3])
    line = Line("serve", {"network": (784, 512, 20), "row counts": sizes})
    model = _fitted(train[:1280])
    readers = gather(line, {name: partial(build, model, train[:1280]) for name, build in _BUILDERS.items()})
    for n in sizes:
        runs = {name: partial(_rows_per_second, reader, train[:n]) for name, reader in readers.items()}
        for name, values in by_turns(runs, context.repeats).items():
            line.add(f"{name}, {n}", "rows/s", values)
        line.compare(
            f"transform, {n:,} rows", f"diabolo, code, {n}", f"onnxruntime, code, {n}", 1.0, peer="onnxruntime"
        )
        scores = f"score_samples, {n:,} rows", f"diabolo, score, {n}"
        line.compare(*scores, f"onnxruntime, score, {n}", 1.0, peer="onnxruntime")
        line.compare(*scores, f"PyOD, score, {n}", 10.0, peer="PyOD")
    with tempfile.TemporaryDirectory() as cache:
        line.add("programs", "", [run("programs", cache=Path(cache))["programs"]])
    line.bound("programs compiled for 100 row counts", "programs", 8)
    _same_answers(line, readers, train[:100])
    return line


def _fitted(train: np.ndarray) -> Any:
    from diabolo import StackedAutoencoder

    model = StackedAutoencoder(
        n_latent=20, hidden_layer_sizes=(512,), activation="relu", scaling=None, max_epochs=1, random_state=0
    )
    return model.fit(train)


def _layers(module: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in module.layers]


def _ort_code(model: Any, train: np.ndarray) -> Reader:
    session = peer("onnx_graph").session(_layers(model.model_.weights.encoder))
    return lambda X: session.run(None, {"x": X})[0]


def _ort_score(model: Any, train: np.ndarray) -> Reader:
    weights = model.model_.weights
    session = peer("onnx_graph").session(_layers(weights.encoder), _layers(weights.decoder))
    return lambda X: session.run(None, {"x": X})[0]


def _pyod_score(model: Any, train: np.ndarray) -> Reader:
    return peer("pyod_detectors").plain(train, (512, 20)).decision_function


_BUILDERS: dict[str, Callable[[Any, np.ndarray], Reader]] = {
    "diabolo, code": lambda model, train: model.transform,
    "onnxruntime, code": _ort_code,
    "diabolo, score": lambda model, train: model.score_samples,
    "onnxruntime, score": _ort_score,
    "PyOD, score": _pyod_score,
}


def _rows_per_second(reader: Reader, X: np.ndarray) -> float:
    """As many calls as fill a fifth of a second, after one that is not counted."""
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


def _same_answers(line: Line, readers: dict[str, Reader], X: np.ndarray) -> None:
    """Ours and onnxruntime's must be one network's."""
    if "onnxruntime, code" not in readers:
        return
    codes = np.abs(readers["diabolo, code"](X) - readers["onnxruntime, code"](X)).max()
    # log p = −‖x − x̂‖² − (d/2)·log π with the default σ² = ½
    errors = -readers["diabolo, score"](X) - X.shape[1] / 2 * np.log(np.pi)
    scores = np.abs(errors - readers["onnxruntime, score"](X)).max()
    line.notes.append(f"largest difference from onnxruntime: codes {codes:.1e}, squared errors {scores:.1e}")
