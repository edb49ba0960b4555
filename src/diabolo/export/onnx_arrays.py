"""Arrays whose arithmetic is written into a graph: what `estimators.scores` needs of NumPy, no more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .onnx_graph import Graph

__all__ = ["Arrays", "Value"]


@dataclass(frozen=True)
class Value:
    """An array of a graph."""

    graph: Graph
    name: str

    def __add__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "Add", self, other)

    def __truediv__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "Div", self, other)

    def astype(self, dtype: DTypeLike) -> Value:
        """Return it as another type."""
        return Value(self.graph, self.graph.cast(self.name, dtype))


@dataclass(frozen=True)
class Arrays:
    """NumPy's functions, over the values of a graph."""

    graph: Graph

    def isnan(self, x: Value) -> Value:
        """Whether cells are missing."""
        return _made(self.graph, "IsNaN", x)

    def where(self, which: Value, yes: Value | ArrayLike, no: Value | ArrayLike) -> Value:
        """Choose cell by cell."""
        return _made(self.graph, "Where", which, yes, no)

    def minimum(self, a: Value, b: Value | ArrayLike) -> Value:
        """Return the lesser."""
        return _made(self.graph, "Min", a, b)

    def maximum(self, a: Value, b: Value | ArrayLike) -> Value:
        """Return the greater."""
        return _made(self.graph, "Max", a, b)

    def sqrt(self, x: Value) -> Value:
        """Return the root."""
        return _made(self.graph, "Sqrt", x)

    def sum(self, x: Value, axis: int) -> Value:
        """Return the sum along an axis."""
        return Value(self.graph, self.graph.node("ReduceSum", x.name, np.array([axis]), keepdims=0))


def _made(graph: Graph, op: str, *given: Value | ArrayLike) -> Value:
    return Value(graph, graph.node(op, *(one.name if isinstance(one, Value) else np.asarray(one) for one in given)))
