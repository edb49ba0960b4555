"""Arrays whose arithmetic adds nodes to a graph: the part of NumPy that `estimators.scores` needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .onnx_graph import Graph

__all__ = ["Arrays", "Value"]


@dataclass(frozen=True)
class Value:
    """An array that a graph computes."""

    graph: Graph
    name: str

    def __add__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "Add", self, other)

    def __truediv__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "Div", self, other)

    def astype(self, dtype: DTypeLike) -> Value:
        """Convert to another type."""
        return Value(self.graph, self.graph.cast(self.name, dtype))


@dataclass(frozen=True)
class Arrays:
    """NumPy functions for the values of a graph."""

    graph: Graph

    def isnan(self, x: Value) -> Value:
        """Return whether each element is NaN."""
        return _made(self.graph, "IsNaN", x)

    def where(self, which: Value, yes: Value | ArrayLike, no: Value | ArrayLike) -> Value:
        """Choose from ``yes`` or ``no``, element by element."""
        return _made(self.graph, "Where", which, yes, no)

    def minimum(self, a: Value, b: Value | ArrayLike) -> Value:
        """Return the element-wise minimum."""
        return _made(self.graph, "Min", a, b)

    def maximum(self, a: Value, b: Value | ArrayLike) -> Value:
        """Return the element-wise maximum."""
        return _made(self.graph, "Max", a, b)

    def sqrt(self, x: Value) -> Value:
        """Return the square root."""
        return _made(self.graph, "Sqrt", x)

    def sum(self, x: Value, axis: int) -> Value:
        """Return the sum along an axis."""
        return Value(self.graph, self.graph.node("ReduceSum", x.name, np.array([axis]), keepdims=0))


def _made(graph: Graph, op: str, *given: Value | ArrayLike) -> Value:
    return Value(graph, graph.node(op, *(one.name if isinstance(one, Value) else np.asarray(one) for one in given)))
