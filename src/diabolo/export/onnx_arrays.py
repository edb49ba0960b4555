"""Arrays whose arithmetic adds nodes to a graph: the part of NumPy that `estimators.scores` needs."""

from __future__ import annotations

from collections.abc import Sequence
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
    size: int = 0
    """The size of the last axis, after `Arrays.reshape`."""

    def __add__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "Add", self, other)

    def __sub__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "Sub", self, other)

    def __mul__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "Mul", self, other)

    def __matmul__(self, other: Value | ArrayLike) -> Value:
        return _made(self.graph, "MatMul", self, other)

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

    def exp(self, x: Value) -> Value:
        """Return the exponential."""
        return _made(self.graph, "Exp", x)

    def log(self, x: Value) -> Value:
        """Return the natural logarithm."""
        return _made(self.graph, "Log", x)

    def less_equal(self, a: Value, b: Value | ArrayLike) -> Value:
        """Return whether a ≤ b, element by element."""
        return _made(self.graph, "LessOrEqual", a, b)

    def take(self, x: Value, places: np.ndarray, axis: int) -> Value:
        """Return the elements at these places of an axis."""
        return Value(self.graph, self.graph.node("Gather", x.name, places.astype(np.int64), axis=axis))

    def min(self, x: Value, axis: int) -> Value:
        """Return the minimum along an axis."""
        return Value(self.graph, self.graph.node("ReduceMin", x.name, np.array([axis]), keepdims=0))

    def max(self, x: Value, axis: int) -> Value:
        """Return the maximum along an axis."""
        return Value(self.graph, self.graph.node("ReduceMax", x.name, np.array([axis]), keepdims=0))

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Change the shape; -1 is the axis of the rows."""
        return Value(self.graph, self.graph.node("Reshape", x.name, np.array(shape, np.int64)), shape[-1])

    @property
    def linalg(self) -> LinearAlgebra:
        """Functions of NumPy's module of this name."""
        return LinearAlgebra(self.graph)

    def sum(self, x: Value, axis: int) -> Value:
        """Return the sum along an axis."""
        return Value(self.graph, self.graph.node("ReduceSum", x.name, np.array([axis]), keepdims=0))


@dataclass(frozen=True)
class LinearAlgebra:
    """NumPy's linear algebra for the values of a graph."""

    graph: Graph

    def solve(self, a: Value, b: Value) -> Value:
        """Solve a·x = b for x, (n, k, 1), with symmetric positive definite matrices a, (n, k, k).

        The method is Gauss-Jordan elimination, each step at once for all rows; such matrices need no pivots.
        """
        node = self.graph.node
        both, k = node("Concat", a.name, b.name, axis=2), a.size
        for i in range(k):
            at = np.array([i]), np.array([i + 1])
            row = node("Slice", both, *at, np.array([1]))
            row = node("Div", row, node("Slice", row, *at, np.array([2])))
            column = node("Sub", node("Slice", both, *at, np.array([2])), np.eye(k)[None, :, i : i + 1])
            both = node("Sub", both, node("MatMul", column, row))
        return Value(self.graph, node("Slice", both, np.array([k]), np.array([k + 1]), np.array([2])))


def _made(graph: Graph, op: str, *given: Value | ArrayLike) -> Value:
    return Value(graph, graph.node(op, *(one.name if isinstance(one, Value) else np.asarray(one) for one in given)))
