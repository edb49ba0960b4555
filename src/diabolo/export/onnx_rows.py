"""The inputs and outputs of ONNX graphs: rows of numbers, or a table's columns, in the user's units."""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np

from ..data.scaler import Scaler
from ..data.schema import Column
from ..data.types import Frame, Name
from ..estimators.imputer import AutoencoderImputer
from ..estimators.predictions import in_order
from ..estimators.trainable import Saveable
from .onnx_graph import Graph

__all__ = ["add_imputed", "add_outputs", "in_units", "indicators", "listed", "padded", "rows_of", "scaled"]

_SHOWN = 100
"""Largest number of names in a doc string; the metadata has all."""


def listed(names: Iterable[object]) -> str:
    """Return names as a text for a doc string."""
    texts = list(map(str, names))
    return ", ".join(texts[:_SHOWN]) + ", …" * (len(texts) > _SHOWN)


def scaled(graph: Graph, scaler: Scaler, rows: str) -> str:
    """Convert rows to scaled units, 32 bits."""
    if scaler.kind != "none":
        rows = graph.node("Div", graph.node("Sub", rows, scaler.offset[None]), scaler.scale[None])
    return graph.cast(rows, np.float32)


def in_units(graph: Graph, scaler: Scaler, found: str) -> str:
    """Convert rows to the user's units, 64 bits."""
    wide = graph.cast(found, np.float64)
    return graph.node("Add", graph.node("Mul", wide, scaler.scale[None]), scaler.offset[None])


def padded(graph: Graph, rows: str, n_more: int) -> str:
    """Append ``n_more`` columns of zeros to rows."""
    return graph.node("Concat", rows, graph.repeated(np.zeros((1, n_more))), axis=1) if n_more else rows


def rows_of(graph: Graph, model: Saveable) -> str:
    """Add the inputs, and encode them as rows of numbers, (n, width), 64 bits: `Schema.encode` in ONNX."""
    schema = model.input_.schema
    if schema is None:
        return graph.input("X", np.float64, ("n", model.n_features_in_), _rows_text(model))
    given = {c.name: graph.input(c.name, kind_of(c), ("n", 1), _cells_text(model, c)) for c in schema.used}
    pieces = [_encoded(graph, column, given[column.name]) for column, _ in in_order(schema)]
    return graph.node("Concat", *pieces, axis=1)


def _rows_text(model: Saveable) -> str:
    missing = "NaN for a missing cell" if model.input_.allow_missing else "no missing cells"
    return f"columns {listed(model.input_.labels)}; {missing}"


def _cells_text(model: Saveable, column: Column) -> str:
    """Return the meaning of a column's input, with the form of a missing cell."""
    meaning = {"date": "date in days since 1970 (UTC)", "boolean": "boolean, 0 or 1"}.get(column.kind, column.kind)
    if not model.input_.allow_missing:
        return f"{meaning}; no missing cells"
    return f"{meaning}; {'an empty text' if column.kind == 'category' else 'NaN'} for a missing cell"


def kind_of(column: Column) -> type:
    return str if column.kind == "category" else np.float64


def _encoded(graph: Graph, column: Column, cells: str) -> str:
    if column.kind != "category":
        return cells
    node = graph.node
    same = graph.cast(node("Equal", cells, np.array([column.categories], dtype=object)), np.float64)
    other = node("Sub", np.float64(1), node("ReduceSum", same, np.array([1]), keepdims=1))
    unknown = node("Equal", cells, np.array([[""]], dtype=object))
    return node("Where", unknown, np.float64(np.nan), node("Concat", same, other, axis=1))


def add_outputs(graph: Graph, model: Saveable, rows: str, only: Container[Name] | None = None) -> None:
    """Decode rows as the graph's outputs: `Schema.decode` in ONNX."""
    schema = model.input_.schema
    if schema is None:
        graph.output("rows", rows, np.float64, ("n", model.n_features_in_), _rows_text(model))
        return
    places = schema.column_slices
    for column in (one for one in schema.used if only is None or one.name in only):
        place = places[column.name]
        ends = [np.array([number]) for number in (place.start, place.stop - (column.kind == "category"), 1)]
        cells = graph.node("Slice", rows, *ends)
        graph.output(f"{column.name}_told", _decoded(graph, column, cells), kind_of(column), ("n", 1), column.kind)


def _decoded(graph: Graph, column: Column, cells: str) -> str:
    node = graph.node
    if column.kind == "category":
        return node("Gather", np.array(column.categories, dtype=object), node("ArgMax", cells, axis=1, keepdims=1))
    if column.kind == "boolean":
        return graph.cast(node("GreaterOrEqual", cells, np.float64(0.5)), np.float64)
    if column.low is not None and column.high is not None:
        cells = node("Min", node("Max", cells, np.float64(column.low)), np.float64(column.high))
    return node("Round", cells) if column.kind == "count" or column.whole else cells


# -- an imputer's columns ---------------------------------------------------------------------------------------------


def add_imputed(graph: Graph, model: AutoencoderImputer, rows: str, is_missing: str) -> None:
    """Add the columns of `AutoencoderImputer.transform` as outputs, from filled rows."""
    kept, indicated = model.columns_out
    missing = [
        graph.cast(graph.node("Gather", is_missing, np.array([place]), axis=1), np.float64)
        for place in indicated.values()
    ]
    if model.input_.schema is None:
        pieces = [graph.node("Gather", rows, np.array(list(kept.values())), axis=1), *missing]
        text = f"columns {listed(model.get_feature_names_out())}"
        graph.output(
            "rows", graph.node("Concat", *pieces, axis=1), np.float64, ("n", len(pieces) - 1 + len(kept)), text
        )
        return
    add_outputs(graph, model, rows, kept)
    for name, cells in zip(indicated, missing, strict=True):
        graph.output(f"missingindicator_{name}_told", cells, np.float64, ("n", 1), "1 for a missing cell")


def indicators(model: AutoencoderImputer, X: Frame) -> dict[str, Frame]:
    """Return the indicators of a table's missing cells by the names of the graph's outputs."""
    if model.input_.schema is None:
        return {}
    rows = model.input_.rows(X)
    return {
        f"missingindicator_{name}_told": np.isnan(rows[:, [place]]).astype(np.float64)
        for name, place in model.columns_out[1].items()
    }
