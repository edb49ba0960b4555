"""Do two commits of the library say the same, to the bit?

`python -m benchmarks.bits take FILE` fits the five systems and the jobs, and writes a digest of each result;
`python -m benchmarks.bits compare FILE FILE` names those that differ. Only public names are used, so that the script
runs before and after a change of the house: `PYTHONPATH=former/src python -m benchmarks.bits take former.json`.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from safetensors.numpy import load_file
from sklearn.datasets import load_digits, load_iris, load_wine

import diabolo
from diabolo.export.onnx import export_onnx

__all__ = ["compare", "take"]


def _digest(value: Any) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()[:16]
    if hasattr(value, "to_pydict"):
        value = np.array([list(column) for column in value.to_pydict().values()], dtype=object).astype(str)
    array = np.ascontiguousarray(value)
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def _numbers(node: Any) -> Iterator[str]:
    """The data of a page's charts, in order: numbers and packed arrays, no words and no layout."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "bdata":
                yield value
            elif key not in ("layout", "template"):
                yield from _numbers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _numbers(value)
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield repr(node)


def _page(page: str) -> bytes:
    packed = re.search(r'id="bundle">([^<]*)</script>', page)
    assert packed is not None, "the report carries no bundle"
    return "\n".join(_numbers(json.loads(gzip.decompress(base64.b64decode(packed[1]))))).encode()


def _results() -> Iterator[tuple[str, Any]]:
    X = load_digits().data[:600].astype(np.float32)
    table = load_wine().data
    short: dict[str, Any] = {"max_epochs": 6, "random_state": 0}
    for name, estimator, rows in (
        ("basic", diabolo.BasicAutoencoder(n_latent=8, random_state=0), X),
        ("basic nonlinear", diabolo.BasicAutoencoder(n_latent=8, activation="tanh", **short), X),
        ("stacked", diabolo.StackedAutoencoder(n_latent=8, **short), X),
        ("sparse", diabolo.SparseAutoencoder(**short), X),
        ("denoising", diabolo.DenoisingAutoencoder(**short), X),
        ("variational", diabolo.VariationalAutoencoder(n_latent=4, **short), X),
        ("variational, table, default", diabolo.VariationalAutoencoder(random_state=0), table),
    ):
        estimator.fit(rows)
        yield f"{name}: history", json.dumps(estimator.history_, sort_keys=True).encode()
        yield f"{name}: reconstruct", estimator.reconstruct(rows)
        yield f"{name}: transform", estimator.transform(rows)
        yield f"{name}: score_samples", estimator.score_samples(rows)
        if hasattr(estimator, "sample"):
            yield f"{name}: sample", estimator.sample(20, random_state=1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            estimator.save(path)
            for file in sorted(path.glob("*.safetensors")):
                weights = load_file(file)
                yield f"{name}: {file.stem}", "".join(sorted(map(_digest, weights.values()))).encode()
            yield f"{name}: loaded", diabolo.load(path).score_samples(rows)
        if name in ("stacked", "variational"):
            yield f"{name}: report", _page(estimator.report(rows))
            with tempfile.TemporaryDirectory() as folder:
                export_onnx(estimator, Path(folder) / "onnx", rows, dtype="float64")
                for path in sorted((Path(folder) / "onnx").glob("*.onnx")):
                    session = onnxruntime.InferenceSession(path)
                    entry = session.get_inputs()[0]
                    width = entry.shape[1] if isinstance(entry.shape[1], int) else rows.shape[1]
                    given = np.linspace(0, 1, 32 * width).reshape(32, width)
                    fed = {i.name: np.asarray(given, np.float64) for i in session.get_inputs() if len(i.shape) == 2}
                    if len(fed) == len(session.get_inputs()):
                        for put, value in zip(session.get_outputs(), session.run(None, fed), strict=True):
                            yield f"{name}: onnx {path.stem} {put.name}", value

    iris = load_iris().data
    detector = diabolo.AnomalyDetector(random_state=0).fit(iris)
    yield "detector: scores", detector.score_samples(iris)
    yield "detector: p-values", detector.p_values(iris)
    yield "detector: predict", detector.predict(iris)
    holes = np.where(np.random.default_rng(0).random(iris.shape) < 0.2, np.nan, iris)
    imputer = diabolo.AutoencoderImputer(random_state=0)
    yield "imputer", imputer.fit_transform(holes)
    generator = diabolo.AutoencoderGenerator(random_state=0).fit(iris)
    yield "generator", generator.sample(50, random_state=3)


def take(out: Path) -> None:
    """Fit, and write the digests."""
    warnings.simplefilter("ignore")
    found = {}
    for name, value in _results():
        found[name] = _digest(value)
        print(f"{time.process_time():7.1f} s  {found[name]}  {name}", file=sys.stderr)
    out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def compare(former: Path, present: Path) -> list[str]:
    """The names of what differs, or is in one alone."""
    a, b = (json.loads(path.read_text(encoding="utf-8")) for path in (former, present))
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bits", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("take").add_argument("out", type=Path)
    both = commands.add_parser("compare")
    both.add_argument("former", type=Path)
    both.add_argument("present", type=Path)
    given = parser.parse_args()
    if given.command == "take":
        take(given.out)
    elif differing := compare(given.former, given.present):
        raise SystemExit("\n".join(["These differ:", *differing]))
    else:
        print("The same, to the bit.")


if __name__ == "__main__":
    main()
