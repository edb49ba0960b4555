"""Models of every kind that is served, each made once, and rows as requests carry them."""

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_wine
from starlette.testclient import TestClient

import diabolo
from diabolo.serving import create_app

X, Y = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).data
FEW = {"max_epochs": 0, "init": "random", "random_state": 0}


def vae():
    return diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,), **FEW)


def table(holes=True, n=60):
    rng = np.random.default_rng(0)
    columns = {
        "length": rng.normal(5, 2, n).round(2),
        "is new": rng.random(n) < 0.3,
        "kind": rng.choice(["x", "größer", "z, y"], n),
        "day": np.datetime64("2020-01-01") + rng.integers(0, 900, n),
        # Moments that are all different would be the time of each row, which is left out.
        "at": rng.choice(np.datetime64("2020-01-01", "s") + rng.integers(0, 10**8, 20).astype("timedelta64[s]"), n),
        "flag": rng.integers(0, 2, n),
    }
    empty = {name: rng.random(n) < 0.1 if holes else None for name in columns}
    return pa.table({name: pa.array(cells, mask=empty[name]) for name, cells in columns.items()})


def classifier():
    return diabolo.AutoencoderClassifier(vae(), max_epochs=1, random_state=0)


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
        lambda: classifier().fit(FRAME, np.array(["a", "b", "c"])[Y]),
        pa.Table.from_pandas(FRAME),
    ),
    "numbers for labels": (lambda: classifier().fit(X, Y), X),
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
