"""Export of a fitted estimator to ONNX, for predictions without Python.

Each file computes one operation, from rows in the user's units to results in the user's units: scaling, and the
encoding of a table's columns, are part of the graph. Inputs and outputs have 32 bits if these hold the digits of the
columns (`precision`), otherwise 64; the network computes in 32. Before the files are written, their results in ONNX
Runtime are compared with Python's.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from .. import __version__, outputs
from ..core.model import Model
from ..data.blocks import BlockReader, open_store
from ..data.cells import as_text
from ..data.frames import to_arrow
from ..data.types import Frame, RowsLike
from ..engine import inference, jaxpr
from ..engine.inference import Noise
from ..errors import ExportError, InvalidParameter, MissingDependencyError, UnsupportedOperationError
from ..estimators import scores
from ..estimators.anomaly_detector import AnomalyDetector
from ..estimators.arguments import check_arguments
from ..estimators.base import BaseAutoencoder
from ..estimators.classifier import AutoencoderClassifier
from ..estimators.imputer import AutoencoderImputer
from ..estimators.predictions import like_those_seen, named, predictors
from ..estimators.predictor import N_CODES, N_DRAWS, Predictor
from ..estimators.trainable import Saveable, require_fitted
from ..estimators.validation import flattened
from . import precision
from .onnx_arrays import Arrays, Value
from .onnx_graph import Graph
from .onnx_rows import add_imputed, add_outputs, in_units, indicators, listed, padded, rows_of, scaled

__all__ = ["Exported", "export_onnx"]

_ABOUT = "export.json"
_N_CHECKED = 1000
_AT_A_TIME = 50
_CLOSE, _CLOSE_ESTIMATE = 1e-5, 1e-3
"""Allowed difference of ONNX Runtime, relative to the largest number. In an estimate of log p(x) errors accumulate."""
_FIXED = Noise(0, 0)
_NO_FILES = {
    "AutoencoderGenerator": "it draws random numbers, which ONNX cannot do reproducibly. Save it with save(), and call "
    "sample of diabolo.load(path), or `diabolo sample RUN`.",
    "SeriesDetector": "it scores the windows of a series, not single rows. Save it with save(), and score rows as they "
    "come with diabolo.load(path).stream(), or files with `diabolo detect RUN DATA`.",
}
"""Why an estimator is not exported, and what to do instead."""


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
    estimator: Saveable,
    path: str | os.PathLike[str],
    X: RowsLike | None = None,
    *,
    dtype: str = "auto",
    force: bool = False,
) -> Exported:
    """Write a folder of ONNX files that compute what ``estimator`` does, for any number of rows.

    The files of an autoencoder are ``encoder.onnx``, ``decoder.onnx``, ``reconstruct.onnx`` and ``score.onnx``; of a
    classifier ``classify.onnx``; of an anomaly detector ``score.onnx`` (the higher, the more unusual the row); of an
    imputer ``impute.onnx``. The input is ``X``, (n, d), NaN for a missing cell. For a table with a schema there is one
    input (n, 1) for each column, with the column's name: strings for categories, "" for a missing cell; and numbers for
    all other kinds, dates as days since 1970 (UTC). ``export.json``, the metadata and the doc strings of the files
    describe all inputs and outputs, with their types.

    Parameters
    ----------
    estimator : fitted estimator
        An autoencoder, a classifier, a detector or an imputer.
    path : path
        The folder to write.
    X : array-like of shape (n, d), or rows as for `fit`; default=None
        Rows on which ONNX Runtime is compared with Python; the first 1,000 are used. None: 1,000 rows drawn from the
        ranges and categories of the training data.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Type of the numbers of all inputs and outputs. "auto": float32 if rounding a number to 32 bits moves it by at
        most 1e-5 of its column's scale, which is the case unless a column is far from 0 compared with its spread (more
        than 168 standard deviations), if all counts and whole numbers are below 2²⁴, and if the results agree with
        Python's on rows of 64 bits; otherwise float64. "float32": the results are compared with Python's on rows
        rounded to 32 bits. Inside the graph, numbers in the user's units have 64 bits in any case, so that nothing but
        this rounding is lost.
    force : bool, default=False
        Whether to replace an existing export. A folder that holds anything else is never replaced.

    Returns
    -------
    Exported
        The names of the files, and how far their results differ from Python's.

    Raises
    ------
    MissingExtra
        Without the extra ``onnx``.
    NotCovered
        If a network uses an operation of JAX without an equivalent in ONNX, or the estimator draws random numbers.
    ExportError
        If ONNX Runtime differs from Python by more than 1e-5 of the largest number (1e-3 for a log-density). Nothing
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
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"ONNX needs the extra `onnx`: pip install 'diabolo[onnx]' ({error}).") from error
    check_arguments(path=path, force=force, dtype=dtype)
    require_fitted(estimator)
    if (why := _NO_FILES.get(type(estimator).__name__)) is not None:
        raise UnsupportedOperationError(f"{type(estimator).__name__} has no ONNX file: {why}")
    folder = Path(path)
    if folder.exists() and not force:
        raise InvalidParameter(f"{folder} exists already. Choose another name, or replace it with force (--force).")
    try:
        outputs.check_replaceable(folder, _is_export)
    except outputs.NotOurs as error:
        raise InvalidParameter(
            f"{folder} holds something other than an export of diabolo, so it is not replaced. Choose another name."
        ) from error
    rows = _checked_on(estimator, X)
    single = dtype == "float32" or (dtype == "auto" and precision.is_enough(estimator))
    compared = _compared(estimator, rows, np.float32 if single else np.float64, rounded=dtype == "float32")
    if dtype == "auto" and single and compared.too_far:
        compared = _compared(estimator, rows, np.float64)
    for name, (far, allowed) in compared.too_far.items():
        raise ExportError(
            f"ONNX Runtime differs from Python by {far:.2g} in {name}; {allowed:g} is allowed. Nothing is written."
        )
    about = {"files": list(compared.contents), "differences": compared.differences, "graphs": compared.described}
    contents = compared.contents | {
        _ABOUT: json.dumps(about | _metadata(estimator, ""), indent=1, ensure_ascii=False).encode()
    }
    _write(folder, contents)
    return Exported(tuple(contents), compared.differences)


class _Compared(NamedTuple):
    """The files in one type of numbers, and how far their results are from Python's."""

    contents: dict[str, bytes]
    differences: dict[str, float]
    described: dict[str, dict[str, list[dict[str, object]]]]
    """The inputs and the outputs of each file."""

    @property
    def too_far(self) -> dict[str, tuple[float, float]]:
        """The differences that are not allowed, each with the largest one that is."""
        each = {name: _CLOSE_ESTIMATE if name.endswith("log_density") else _CLOSE for name in self.differences}
        return {name: (far, each[name]) for name, far in self.differences.items() if not far < each[name]}


def _compared(estimator: Saveable, rows: Frame, real: type, *, rounded: bool = False) -> _Compared:
    """Build all files, and compare them with Python on rows, which Python may also read ``rounded``."""
    import onnxruntime

    found = _Compared({}, {}, {})
    fed = {name: _as_real(values, real) for name, values in _fed(estimator, rows).items()}
    # Files of numbers give the means, as Python does for arrays; for tables it rounds columns of integers.
    given_rows = _as_real(rows, real) if rounded and isinstance(rows, np.ndarray) else rows
    codes = None
    if isinstance(estimator, BaseAutoencoder):
        codes = np.asarray(estimator.transform(named(estimator, given_rows)), np.float64)
    for name, question in _questions(estimator, real).items():
        file = f"{name}.onnx"
        found.contents[file] = question.graph.model(_metadata(estimator, name)).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(found.contents[file], options, ["CPUExecutionProvider"])
        results = _run(session, {"Z": np.asarray(codes, real)} if question.of_codes else fed)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # arrays have no names of columns
            asked = question.asked(codes if question.of_codes else given_rows)
        for output, expected in asked.items():
            found.differences[f"{file} {output}"] = _far(results[output], expected)
        found.described[file] = {
            "inputs": [{"name": one.name, "type": one.type, "shape": one.shape} for one in session.get_inputs()],
            "outputs": [{"name": one.name, "type": one.type, "shape": one.shape} for one in session.get_outputs()],
        }
    return found


def _as_real(values: np.ndarray, real: type) -> np.ndarray:
    return values.astype(real) if values.dtype.kind == "f" else values


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


def _questions(estimator: Saveable, real: type) -> dict[str, _Question]:
    if isinstance(estimator, BaseAutoencoder):
        return {
            "encoder": _encoder(estimator, real),
            # The decoder of a model with a condition reads more than a code.
            **({} if estimator.model_.recipe.condition else {"decoder": _decoder(estimator, real)}),
            "reconstruct": _reconstruct(estimator, real),
            "score": _score(estimator, real),
        }
    if isinstance(estimator, AutoencoderClassifier):
        return {"classify": _classify(estimator, real)}
    if isinstance(estimator, AnomalyDetector):
        return {"score": _anomaly_score(estimator, real)}
    assert isinstance(estimator, AutoencoderImputer), type(estimator)
    return {"impute": _impute(estimator, real)}


def _encoder(model: BaseAutoencoder, real: type) -> _Question:
    graph = Graph("encoder", real, "The code of each row.")
    codes = _computed(
        graph, model.predictor_, lambda one, x: one.code(x), scaled(graph, model.scaler_, rows_of(graph, model))
    )
    graph.output(
        "codes", graph.cast(codes, np.float64), np.float64, ("n", model.predictor_.n_codes), "one code per row"
    )
    return _Question(graph, lambda X: {"codes": model.transform(X)})


def _decoder(model: BaseAutoencoder, real: type) -> _Question:
    graph = Graph("decoder", real, "The row that each code stands for, in the units of the training data.")
    codes = graph.input("Z", np.float64, ("n", model.predictor_.n_codes), "one code per row")
    found = _computed(
        graph,
        model.predictor_,
        lambda one, z: one.decode(z).mean,
        graph.cast(codes, np.float32),
        model.predictor_.n_codes,
    )
    add_outputs(graph, model, in_units(graph, model.scaler_, found))
    return _Question(graph, lambda Z: _columns(model, model.inverse_transform(Z)), of_codes=True)


def _reconstruct(model: BaseAutoencoder, real: type) -> _Question:
    graph = Graph("reconstruct", real, "The reconstruction of each row, in the units of the training data.")
    found = _computed(
        graph, model.predictor_, lambda one, x: one.reconstruct(x), scaled(graph, model.scaler_, rows_of(graph, model))
    )
    add_outputs(graph, model, in_units(graph, model.scaler_, found))
    return _Question(graph, lambda X: _columns(model, model.reconstruct(X)))


def _score(model: BaseAutoencoder, real: type) -> _Question:
    graph = Graph("score", real, "The log-density of each row, in nats and in the units of the training data.")

    def score(one: Model, x: Array) -> Array:
        if one.recipe.latent.stochastic:
            return inference.log_densities(one, x, _FIXED, N_DRAWS)
        return inference.log_likelihood(one, x, _FIXED)

    rows = rows_of(graph, model)
    density = graph.cast(_computed(graph, model.predictor_, score, scaled(graph, model.scaler_, rows)), np.float64)
    if not model.model_.recipe.likelihood.discrete:
        volume = np.log(model.scaler_.scale)[None]
        counted = graph.node("Where", graph.node("IsNaN", rows), np.float64(0), volume)
        density = graph.node("Sub", density, graph.node("ReduceSum", counted, np.array([1]), keepdims=0))
    graph.output("log_density", density, np.float64, ("n",), "in nats; higher is more usual")
    return _Question(graph, lambda X: {"log_density": model.score_samples(X)})


def _classify(model: AutoencoderClassifier, real: type) -> _Question:
    graph = Graph("classify", real, "The most probable label of each row, and the probability of each label.")
    found = _computed(
        graph, model.predictor_, lambda one, x: one.reconstruct(x), scaled(graph, model.scaler_, rows_of(graph, model))
    )
    wide = graph.cast(found, np.float64)
    shares = graph.node("Div", wide, graph.node("ReduceSum", wide, np.array([1]), keepdims=1))
    labels = model.classes_
    labels = labels.astype(str if labels.dtype.kind in "UO" else labels.dtype)
    kind = str if labels.dtype.kind == "U" else labels.dtype
    best = graph.node("Gather", labels, graph.node("ArgMax", shares, axis=1, keepdims=0))
    graph.output("label", best, kind, ("n",), "the most probable label")
    order = f"in the order {listed(labels)}"
    graph.output("probabilities", shares, np.float64, ("n", len(labels)), order)
    return _Question(graph, lambda X: {"label": model.predict(X), "probabilities": model.predict_proba(X)})


def _anomaly_score(model: AnomalyDetector, real: type) -> _Question:
    graph = Graph("score", real, "The anomaly score of each row, in nats: about one normal row in exp(score) has it.")
    node, xp, rows = graph.node, Arrays(graph), Value(graph, rows_of(graph, model))
    width, of_networks = model.input_.width, []

    def off(one: Model, x: Array) -> Array:
        return inference.deviances(one, x, _FIXED)[1][:, :width]

    for judge in model.judges_:
        n_read = judge.predictor.input.width
        both_padded = [
            padded(graph, some.name, n_read - width) for some in (scores.seen_by(xp, rows, judge.span), rows)
        ]
        both = node("Concat", *(scaled(graph, judge.predictor.scaler, some) for some in both_padded), axis=1)
        deviance = Value(graph, _computed(graph, judge.predictor, off, both, 2 * n_read))
        relative = scores.relative_deviance(xp, deviance, judge.column_scale[None])
        of_networks.append(scores.network_scores(xp, relative, rows, judge.scale))
    mean = scores.mean_score(of_networks)
    if model.tails_:
        each = [scores.strangeness(xp, rows, view) for view in model.views_]
        by_view = [scores.log_score(xp, mean), *map(scores.mean_score, zip(*each, strict=True))]
        surprises = [scores.surprise(xp, one, tail) for one, tail in zip(by_view, model.tails_, strict=True)]
        mean = scores.combined(xp, surprises, model.weights_)
    score, ordinary = mean.name, model.calibration_scores_
    below = graph.cast(
        node("Less", ordinary[None].astype(np.float64), node("Unsqueeze", score, np.array([1]))), np.float64
    )
    n_above = node("Sub", np.float64(1 + len(ordinary)), node("ReduceSum", below, np.array([1]), keepdims=0))
    graph.output("score", score, np.float64, ("n",), "higher is more unusual")
    p_value = node("Div", n_above, np.float64(len(ordinary) + 1))
    graph.output("p_value", p_value, np.float64, ("n",), "how often a normal row has at least this score")
    graph.output(
        "flagged", node("Less", np.float64(-model.offset_), score), np.bool_, ("n",), "whether the row is an alarm"
    )

    # P-values and flags are step functions of the score, so only the score is compared.
    return _Question(graph, lambda X: {"score": -model.score_samples(X)})


def _impute(model: AutoencoderImputer, real: type) -> _Question:
    graph = Graph("impute", real, "The rows with their missing cells filled.")
    node, rows = graph.node, rows_of(graph, model)
    span = np.asarray(model.range_, np.float64)

    def expected(one: Model, x: Array) -> Array:
        if one.recipe.latent.stochastic:
            return inference.impute_mean(one, x, _FIXED, N_CODES)
        return one.reconstruct(x)

    each = []
    for member in predictors(model):
        found = _computed(graph, member, expected, scaled(graph, member.scaler, rows))
        each.append(Value(graph, in_units(graph, member.scaler, found)))
    mean = scores.imputed(Arrays(graph), Value(graph, rows), each, model.blend_, span).name
    is_missing = node("IsNaN", rows)
    add_imputed(graph, model, node("Where", is_missing, mean, rows), is_missing)
    return _Question(graph, lambda X: _columns(model, model.transform(X)) | indicators(model, X))


# -- rows in, rows out ------------------------------------------------------------------------------------------------


def _computed(
    graph: Graph, member: Predictor, op: Callable[[Model, Array], Array], rows: str, width: int | None = None
) -> str:
    """Add the operation ``op`` of a model, on rows in scaled units, to the graph."""
    model = member.model
    mark = jaxpr.placeholder_batch_size(model)
    shape = (mark, member.input.width if width is None else width)
    return graph.carried_out(jaxpr.program(lambda x: op(model, x), shape, mark), rows)


# -- the check --------------------------------------------------------------------------------------------------------


def _checked_on(model: Saveable, X: RowsLike | None) -> Frame:
    """Return the rows to compare on: the first rows of ``X``, or rows drawn like the training data."""
    schema = model.input_.schema
    if X is not None:
        opened: Any = open_store(X, wanted=schema) if isinstance(model, BaseAutoencoder) or schema else None
        rows = next(iter(opened.tables())) if isinstance(opened, BlockReader) else opened
        if schema is not None:
            return schema.decode(rows.rows[:_N_CHECKED])
        return flattened(np.asarray(X if rows is None else rows.rows, np.float64)[:_N_CHECKED])[0]
    return like_those_seen(model, _N_CHECKED)


def _fed(model: Saveable, rows: Frame) -> dict[str, np.ndarray]:
    """Return rows as the inputs of the graphs."""
    schema = model.input_.schema
    if schema is None:
        return {"X": rows}
    given = {}
    for column in (one for one in schema.used if one.name in rows.column_names):
        cells = rows.column(column.name)
        if column.kind == "category":
            texts = as_text(cells).fill_null("").to_pylist()
            given[column.name] = np.array(texts, dtype=object)[:, None]
        else:
            given[column.name] = column.encode(cells)
    return given


def _columns(model: Saveable, found: Frame) -> dict[str, Frame]:
    """Return Python's results by the names of the graph's outputs."""
    schema = model.input_.schema
    if schema is None:
        return {"rows": flattened(found)[0]}
    table = to_arrow(found)  # codes of a data frame's model become a data frame
    return {f"{name}_told": cells for name, cells in _fed(model, found if table is None else table).items()}


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
