"""Export of a fitted estimator to ONNX, for predictions without Python.

Each file computes one operation, from rows in the user's units to results in the user's units: scaling, and the
encoding of a table's columns, are part of the graph. Inputs and outputs have 64 bits; the network computes in 32.
Before the files are written, their results in ONNX Runtime are compared with Python's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .. import __version__, outputs
from ..core import layers
from ..core.model import Model
from ..data.blocks import BlockReader, open_store
from ..data.scaler import Scaler
from ..data.schema import Column
from ..data.types import Frame, RowsLike
from ..engine import inference, jaxpr
from ..engine.inference import Noise
from ..errors import ExportError, InvalidParameter, MissingDependencyError, UnsupportedOperationError
from ..estimators import scores
from ..estimators.anomaly_detector import AnomalyDetector
from ..estimators.base import BaseAutoencoder
from ..estimators.classifier import AutoencoderClassifier
from ..estimators.imputer import AutoencoderImputer
from ..estimators.predictions import in_order, like_those_seen, named, predictors
from ..estimators.predictor import N_CODES, N_DRAWS, Predictor
from ..estimators.trainable import Saveable
from .onnx_arrays import Arrays, Value
from .onnx_graph import Graph

__all__ = ["Exported", "export_onnx"]

_ABOUT = "export.json"
_N_CHECKED = 1000
_AT_A_TIME = 50
_CLOSE, _CLOSE_ESTIMATE = 1e-5, 1e-3
"""Allowed difference of ONNX Runtime, relative to the largest number. In an estimate of log p(x) errors accumulate."""
_FIXED = Noise(0, 0)


class Exported(NamedTuple):
    """The result of an export.

    Attributes
    ----------
    files : tuple of str
    differences : dict of str to float
        For each file and output, the largest difference between ONNX Runtime and Python, relative to the largest
        number of the output; for texts and booleans, the share of cells that differ.
    """

    files: tuple[str, ...]
    differences: dict[str, float]

    def __str__(self) -> str:
        width = max(map(len, self.differences))
        return "\n".join(f"{name:<{width}}  {far:.1e}" for name, far in self.differences.items())


class _Question(NamedTuple):
    """One file: the graph, and the function that computes the same in Python."""

    graph: Graph
    asked: Callable[[Frame], dict[str, Frame]]
    of_codes: bool = False


def export_onnx(
    estimator: Saveable, path: str | os.PathLike[str], X: RowsLike | None = None, *, force: bool = False
) -> Exported:
    """Write a folder of ONNX files that compute what ``estimator`` does, for any number of rows.

    The files of an autoencoder are ``encoder.onnx``, ``decoder.onnx``, ``reconstruct.onnx`` and ``score.onnx``; of a
    classifier ``classify.onnx``; of an anomaly detector ``score.onnx`` (the higher, the more unusual the row; 1 is the
    median of normal rows); of an imputer ``impute.onnx``. The input is ``X``, (n, d) with 64 bits, NaN for a missing
    cell. For a table with a schema there is one input (n, 1) for each column, with the column's name: strings for
    categories, "" for a missing cell; and 64-bit numbers for all other kinds, dates as days since 1970 (UTC).
    ``export.json`` and the metadata of the files describe them.

    Parameters
    ----------
    estimator : fitted estimator
    path : path
        The folder to write.
    X : array-like of shape (n, d), or rows as for `fit`; default=None
        Rows on which ONNX Runtime is compared with Python; the first 1,000 are used. None: 1,000 rows drawn from the
        ranges and categories of the training data.
    force : bool, default=False
        Whether to replace an existing export. A folder that holds anything else is never replaced.

    Raises
    ------
    MissingExtra
        Without the extra ``onnx``.
    NotCovered
        If a network uses an operation of JAX without an equivalent in ONNX, or the estimator draws random numbers.
    ExportError
        If ONNX Runtime differs from Python by more than 1e-5 of the largest number (1e-4 for a log-density). Nothing
        is written.
    InvalidParameter
        If the folder exists; with ``force``, if it holds something other than an export.

    Examples
    --------
    >>> import tempfile, diabolo
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> model = diabolo.BasicAutoencoder(max_epochs=1, random_state=0).fit(X)
    >>> diabolo.export_onnx(model, tempfile.mkdtemp() + "/iris", X).files
    ('encoder.onnx', 'decoder.onnx', 'reconstruct.onnx', 'score.onnx', 'export.json')
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(f"ONNX needs the extra `onnx`: pip install 'diabolo[onnx]' ({error}).") from error
    check_is_fitted(estimator)
    folder = Path(path)
    if folder.exists() and not force:
        raise InvalidParameter(f"{folder} exists already. Choose another name, or replace it with force (--force).")
    try:
        outputs.check_replaceable(folder, _is_export)
    except outputs.NotOurs as error:
        raise InvalidParameter(
            f"{folder} holds something other than an export of diabolo, so it is not replaced. Choose another name."
        ) from error
    questions = _questions(estimator)
    rows = _checked_on(estimator, X)
    given_rows = named(estimator, rows)
    codes = estimator.transform(given_rows) if isinstance(estimator, BaseAutoencoder) else None
    differences, contents = {}, {}
    for name, question in questions.items():
        contents[f"{name}.onnx"] = question.graph.model(_metadata(estimator, name)).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(contents[f"{name}.onnx"], options, ["CPUExecutionProvider"])
        given = {"Z": np.asarray(codes, np.float64)} if question.of_codes else _fed(estimator, rows)
        found = _run(session, given)
        for output, expected in question.asked(codes if question.of_codes else given_rows).items():
            differences[f"{name}.onnx {output}"] = _far(found[output], expected)
    for name, far in differences.items():
        allowed = _CLOSE_ESTIMATE if name.endswith("log_density") else _CLOSE
        if not far < allowed:
            raise ExportError(
                f"ONNX Runtime differs from Python by {far:.2g} in {name}; {allowed:g} is allowed. Nothing is written."
            )
    about = {"files": list(contents), "differences": differences, **_metadata(estimator, "")}
    contents[_ABOUT] = json.dumps(about, indent=1, ensure_ascii=False).encode()
    _write(folder, contents)
    return Exported(tuple(contents), differences)


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write all files, or none."""
    try:
        with outputs.write_folder(folder, _is_export) as made:
            for name, content in contents.items():
                (made / name).write_bytes(content)
    except OSError as error:
        raise InvalidParameter(f"{folder} cannot be written: {error.strerror}. Choose another name.") from error


def _is_export(folder: Path) -> bool:
    """Return whether a folder is an export that holds no other files."""
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
        return "diabolo" in about and outputs.names_in(folder) == {*about["files"], _ABOUT}
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _metadata(estimator: Saveable, question: str) -> dict[str, str]:
    return {
        "diabolo": __version__,
        "estimator": type(estimator).__name__,
        "question": question,
        "features": json.dumps([str(name) for name in estimator.input_.labels], ensure_ascii=False),
        "inputs": "rows" if estimator.input_.schema is None else "columns",
        "data_fingerprint": estimator.data_fingerprint_,
    }


# -- operations -------------------------------------------------------------------------------------------------------


def _questions(estimator: Saveable) -> dict[str, _Question]:
    if isinstance(estimator, BaseAutoencoder):
        return {
            "encoder": _encoder(estimator),
            "decoder": _decoder(estimator),
            "reconstruct": _reconstruct(estimator),
            "score": _score(estimator),
        }
    if isinstance(estimator, AutoencoderClassifier):
        return {"classify": _classify(estimator)}
    if isinstance(estimator, AnomalyDetector):
        return {"score": _anomaly_score(estimator)}
    if isinstance(estimator, AutoencoderImputer):
        return {"impute": _impute(estimator)}
    raise UnsupportedOperationError(
        f"a {type(estimator).__name__} draws random numbers, which ONNX cannot do reproducibly"
    )


def _encoder(model: BaseAutoencoder) -> _Question:
    graph = Graph("encoder")
    codes = _computed(
        graph, model.predictor_, lambda one, x: one.code(x), _scaled(graph, model.scaler_, _rows(graph, model))
    )
    graph.output("codes", graph.cast(codes, np.float64), np.float64, ("n", model.predictor_.n_codes))
    return _Question(graph, lambda X: {"codes": model.transform(X)})


def _decoder(model: BaseAutoencoder) -> _Question:
    graph = Graph("decoder")
    codes = graph.input("Z", np.float64, ("n", model.predictor_.n_codes))
    found = _computed(
        graph,
        model.predictor_,
        lambda one, z: one.decode(z).mean,
        graph.cast(codes, np.float32),
        model.predictor_.n_codes,
    )
    _add_outputs(graph, model, _in_units(graph, model.scaler_, found))
    return _Question(graph, lambda Z: _columns(model, model.inverse_transform(Z)), of_codes=True)


def _reconstruct(model: BaseAutoencoder) -> _Question:
    graph = Graph("reconstruct")
    found = _computed(
        graph, model.predictor_, lambda one, x: one.reconstruct(x), _scaled(graph, model.scaler_, _rows(graph, model))
    )
    _add_outputs(graph, model, _in_units(graph, model.scaler_, found))
    return _Question(graph, lambda X: _columns(model, model.reconstruct(X)))


def _score(model: BaseAutoencoder) -> _Question:
    graph = Graph("score")

    def score(one: Model, x: Array) -> Array:
        if one.recipe.latent.stochastic:
            return inference.log_densities(one, x, _FIXED, N_DRAWS)
        return inference.log_likelihood(one, x, _FIXED)

    rows = _rows(graph, model)
    density = graph.cast(_computed(graph, model.predictor_, score, _scaled(graph, model.scaler_, rows)), np.float64)
    if not model.model_.recipe.likelihood.discrete:
        volume = np.log(model.scaler_.scale)[None]
        counted = graph.node("Where", graph.node("IsNaN", rows), np.float64(0), volume)
        density = graph.node("Sub", density, graph.node("ReduceSum", counted, np.array([1]), keepdims=0))
    graph.output("log_density", density, np.float64, ("n",))
    return _Question(graph, lambda X: {"log_density": model.score_samples(X)})


def _classify(model: AutoencoderClassifier) -> _Question:
    graph = Graph("classify")
    found = _computed(
        graph, model.predictor_, lambda one, x: one.reconstruct(x), _scaled(graph, model.scaler_, _rows(graph, model))
    )
    wide = graph.cast(found, np.float64)
    shares = graph.node("Div", wide, graph.node("ReduceSum", wide, np.array([1]), keepdims=1))
    labels = model.classes_
    labels = labels.astype(str if labels.dtype.kind in "UO" else labels.dtype)
    kind = str if labels.dtype.kind == "U" else labels.dtype
    best = graph.node("Gather", labels, graph.node("ArgMax", shares, axis=1, keepdims=0))
    graph.output("label", best, kind, ("n",))
    graph.output("probabilities", shares, np.float64, ("n", len(labels)))
    return _Question(graph, lambda X: {"label": model.predict(X), "probabilities": model.predict_proba(X)})


def _anomaly_score(model: AnomalyDetector) -> _Question:
    graph = Graph("score")
    node, xp, rows = graph.node, Arrays(graph), Value(graph, _rows(graph, model))
    width, of_networks = model.input_.width, []

    def off(one: Model, x: Array) -> Array:
        return inference.deviances(one, x, _FIXED)[1][:, :width]

    for judge in model.judges_:
        n_read = judge.predictor.input.width
        padded = [_padded(graph, some.name, n_read - width) for some in (scores.seen_by(xp, rows, judge.span), rows)]
        both = node("Concat", *(_scaled(graph, judge.predictor.scaler, some) for some in padded), axis=1)
        deviance = Value(graph, _computed(graph, judge.predictor, off, both, 2 * n_read))
        relative = scores.relative_deviance(xp, deviance, judge.column_scale[None])
        of_networks.append(scores.anomaly_scores(xp, relative, rows) / np.float64(judge.scale))
    score, ordinary = scores.mean_score(of_networks).name, model.calibration_scores_
    below = graph.cast(
        node("Less", ordinary[None].astype(np.float64), node("Unsqueeze", score, np.array([1]))), np.float64
    )
    n_above = node("Sub", np.float64(1 + len(ordinary)), node("ReduceSum", below, np.array([1]), keepdims=0))
    graph.output("score", score, np.float64, ("n",))
    graph.output("p_value", node("Div", n_above, np.float64(len(ordinary) + 1)), np.float64, ("n",))
    graph.output("flagged", node("Less", np.float64(-model.offset_), score), np.bool_, ("n",))

    # P-values and flags are step functions of the score, so only the score is compared.
    return _Question(graph, lambda X: {"score": -model.score_samples(X)})


def _impute(model: AutoencoderImputer) -> _Question:
    graph = Graph("impute")
    node, rows = graph.node, _rows(graph, model)
    span = np.asarray(model.range_, np.float64)

    def expected(one: Model, x: Array) -> Array:
        if one.recipe.latent.stochastic:
            return inference.impute_mean(one, x, _FIXED, N_CODES)
        return one.reconstruct(x)

    each = []
    for member in predictors(model):
        found = _computed(graph, member, expected, _scaled(graph, member.scaler, rows))
        each.append(Value(graph, _in_units(graph, member.scaler, found)))
    mean = scores.imputed(Arrays(graph), each, span).name
    _add_outputs(graph, model, node("Where", node("IsNaN", rows), mean, rows))
    return _Question(graph, lambda X: _columns(model, model.transform(X)))


# -- rows in, rows out ------------------------------------------------------------------------------------------------


def _computed(
    graph: Graph, member: Predictor, op: Callable[[Model, Array], Array], rows: str, width: int | None = None
) -> str:
    """Add the operation ``op`` of a model, on rows in scaled units, to the graph."""
    model = member.model
    mark = jaxpr.placeholder_batch_size(model)
    shape = (mark, member.input.width if width is None else width)
    token = layers.UNROLLED.set(True)
    try:
        program = jaxpr.program(lambda x: op(model, x), shape, mark)
    finally:
        layers.UNROLLED.reset(token)
    return graph.carried_out(program, rows)


def _scaled(graph: Graph, scaler: Scaler, rows: str) -> str:
    """Convert rows to scaled units, 32 bits."""
    if scaler.kind != "none":
        rows = graph.node("Div", graph.node("Sub", rows, scaler.offset[None]), scaler.scale[None])
    return graph.cast(rows, np.float32)


def _in_units(graph: Graph, scaler: Scaler, found: str) -> str:
    """Convert rows to the user's units, 64 bits."""
    wide = graph.cast(found, np.float64)
    return graph.node("Add", graph.node("Mul", wide, scaler.scale[None]), scaler.offset[None])


def _padded(graph: Graph, rows: str, n_more: int) -> str:
    """Append ``n_more`` columns of zeros to rows."""
    return graph.node("Concat", rows, graph.repeated(np.zeros((1, n_more))), axis=1) if n_more else rows


def _rows(graph: Graph, model: Saveable) -> str:
    """Add the inputs, and encode them as rows of numbers, (n, width), 64 bits: `Schema.encode` in ONNX."""
    schema = model.input_.schema
    if schema is None:
        return graph.input("X", np.float64, ("n", model.n_features_in_))
    given = {c.name: graph.input(c.name, _kind(c), ("n", 1)) for c in schema.used}
    pieces = [_encoded(graph, column, given[column.name]) for column, _ in in_order(schema)]
    return graph.node("Concat", *pieces, axis=1)


def _kind(column: Column) -> type:
    return str if column.kind == "category" else np.float64


def _encoded(graph: Graph, column: Column, cells: str) -> str:
    if column.kind != "category":
        return cells
    node = graph.node
    same = graph.cast(node("Equal", cells, np.array([column.categories], dtype=object)), np.float64)
    other = node("Sub", np.float64(1), node("ReduceSum", same, np.array([1]), keepdims=1))
    unknown = node("Equal", cells, np.array([[""]], dtype=object))
    return node("Where", unknown, np.float64(np.nan), node("Concat", same, other, axis=1))


def _add_outputs(graph: Graph, model: Saveable, rows: str) -> None:
    """Decode rows as the graph's outputs: `Schema.decode` in ONNX."""
    schema = model.input_.schema
    if schema is None:
        graph.output("rows", rows, np.float64, ("n", model.n_features_in_))
        return
    places = schema.column_slices
    for column in schema.used:
        place = places[column.name]
        ends = [np.array([number]) for number in (place.start, place.stop - (column.kind == "category"), 1)]
        cells = graph.node("Slice", rows, *ends)
        graph.output(f"{column.name}_told", _decoded(graph, column, cells), _kind(column), ("n", 1))


def _decoded(graph: Graph, column: Column, cells: str) -> str:
    node = graph.node
    if column.kind == "category":
        return node("Gather", np.array(column.categories, dtype=object), node("ArgMax", cells, axis=1, keepdims=1))
    if column.kind == "boolean":
        return graph.cast(node("GreaterOrEqual", cells, np.float64(0.5)), np.float64)
    if column.low is not None and column.high is not None:
        cells = node("Min", node("Max", cells, np.float64(column.low)), np.float64(column.high))
    return node("Round", cells) if column.kind == "count" or column.whole else cells


# -- the check --------------------------------------------------------------------------------------------------------


def _checked_on(model: Saveable, X: RowsLike | None) -> Frame:
    """Return the rows to compare on: the first rows of ``X``, or rows drawn like the training data."""
    schema = model.input_.schema
    if X is not None:
        opened: Any = open_store(X, wanted=schema) if isinstance(model, BaseAutoencoder) or schema else None
        rows = next(iter(opened.tables())) if isinstance(opened, BlockReader) else opened
        if schema is not None:
            return schema.decode(rows.rows[:_N_CHECKED])
        return np.asarray(X if rows is None else rows.rows, np.float64)[:_N_CHECKED]
    return like_those_seen(model, _N_CHECKED)


def _fed(model: Saveable, rows: Frame) -> dict[str, np.ndarray]:
    """Return rows as the inputs of the graphs."""
    schema = model.input_.schema
    if schema is None:
        return {"X": rows}
    given = {}
    for column in schema.used:
        cells = rows.column(column.name)
        if column.kind == "category":
            given[column.name] = np.array([text or "" for text in cells.to_pylist()], dtype=object)[:, None]
        else:
            given[column.name] = column.encode(cells)
    return given


def _columns(model: Saveable, found: Frame) -> dict[str, Frame]:
    """Return Python's results by the names of the graph's outputs."""
    schema = model.input_.schema
    if schema is None:
        return {"rows": found}
    return {f"{name}_told": cells for name, cells in _fed(model, found).items()}


def _run(session: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a session on a few rows at a time, since it holds all posterior samples of a batch in memory."""
    names = [output.name for output in session.get_outputs()]
    n_rows = len(next(iter(given.values())))
    pieces = [
        session.run(names, {name: values[i : i + _AT_A_TIME] for name, values in given.items()})
        for i in range(0, n_rows, _AT_A_TIME)
    ]
    return {name: np.concatenate([piece[i] for piece in pieces]) for i, name in enumerate(names)}


def _far(found: np.ndarray, expected: ArrayLike) -> float:
    expected = np.asarray(expected)
    if found.shape != expected.shape:
        return np.inf
    if expected.dtype.kind not in "fiu":
        return float((found != expected).mean())
    if (np.isnan(found) != np.isnan(expected)).any():
        return np.inf
    largest = np.nanmax(np.abs(expected), initial=np.finfo(np.float32).tiny)
    return float(np.nanmax(np.abs(found - expected), initial=0) / largest)
