"""ONNX graphs, written node by node, also from traced functions, for any number of rows.

`Graph` is a thin wrapper of the package ``onnx`` (extra ``onnx``). `Graph.carried_out` converts a program of
`engine.jaxpr.program` into nodes: one or a few for each step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..engine.jaxpr import Program, Step
from ..errors import UnsupportedOperationError

__all__ = ["OPSET", "Graph"]

OPSET = 20
"""The version of ONNX operators; ONNX Runtime supports it from version 1.17 on."""
_IR = 9

_SAME_NAME = {
    "abs": "Abs", "add": "Add", "and": "And", "ceil": "Ceil", "cos": "Cos", "div": "Div", "eq": "Equal", "erf": "Erf",
    "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "log": "Log",
    "logistic": "Sigmoid", "lt": "Less", "max": "Max", "min": "Min", "mul": "Mul", "neg": "Neg", "not": "Not",
    "or": "Or", "pow": "Pow", "product": "MatMul", "round": "Round",
    "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "sub": "Sub",
    "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
_REDUCTIONS = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin",
               "reduce_prod": "ReduceProd"}  # fmt: skip
_TYPES = {"f": np.float32, "b": np.bool_, "i": np.int32}
_SHIFT = 8
"""Shift of the argument of log Γ; from there on Stirling's series has an error of at most 3e-10."""

Shape = Sequence[int | str | None]


class Graph:
    """A graph under construction, whose values are referred to by name.

    Parameters
    ----------
    name : str
        The name of the graph.
    real : dtype, default=float64
        The type of the numbers of inputs and outputs. Inside, numbers in the user's units have 64 bits.
    doc : str, default=""
        What the graph computes, for its doc string.
    """

    def __init__(self, name: str, real: DTypeLike = np.float64, doc: str = "") -> None:
        self._name, self._real, self._doc = name, np.dtype(real), doc
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._n_rows = ""

    # -- building ----------------------------------------------------------------------------------------------------

    def input(self, name: str, dtype: DTypeLike, shape: Shape, doc: str = "") -> str:
        """Add an input, and return its value; the first axis of the first input is that of the rows.

        An input of 64-bit numbers has the type ``real`` outside of the graph.
        """
        from onnx import helper

        outside = self._outside(dtype)
        self._inputs.append(helper.make_tensor_value_info(name, _onnx_type(outside), list(shape), doc))
        if not self._n_rows:
            self._n_rows = self.node("Shape", name, start=0, end=1)
        return name if outside == dtype else self.cast(name, dtype)

    def output(self, name: str, value: str, dtype: DTypeLike, shape: Shape, doc: str = "") -> None:
        """Add an output with this name; 64-bit numbers have the type ``real`` outside of the graph."""
        from onnx import helper

        outside = self._outside(dtype)
        value = value if outside == dtype else self.cast(value, outside)
        self._nodes.append(helper.make_node("Identity", [value], [name], f"/{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, _onnx_type(outside), list(shape), doc))

    def _outside(self, dtype: DTypeLike) -> DTypeLike:
        return self._real if dtype is np.float64 else dtype

    def node(self, op: str, *given: str | ArrayLike, **settings: object) -> str:
        """Add a node, whose inputs are names or arrays, and return the name of its output."""
        from onnx import helper

        names = [value if isinstance(value, str) else self.constant(value) for value in given]
        made = f"/{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, names, [made], made, **settings))  # optimisers need node names
        return made

    def constant(self, array: ArrayLike) -> str:
        """Add an array, once even if it is used often, and return its name."""
        from onnx import helper, numpy_helper

        array = np.asarray(array)
        key = (array.dtype.str, array.shape, "\0".join(array.ravel()).encode() if _is_text(array) else array.tobytes())
        if key not in self._known:
            name = self._known[key] = f"#{len(self._known)}"
            if _is_text(array):
                texts = [text.encode() for text in array.ravel()]
                self._constants[name] = helper.make_tensor(name, _onnx_type(str), array.shape, texts)
            else:
                self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return self._known[key]

    def cast(self, value: str, dtype: DTypeLike) -> str:
        """Convert a value to another type."""
        return self.node("Cast", value, to=_onnx_type(dtype))

    def repeated(self, row: np.ndarray) -> str:
        """Repeat a constant row, (1, …), for each row of the input."""
        return self.node("Expand", row, self._shape((-1, *row.shape[1:]), -1))

    def model(self, metadata: Mapping[str, str]) -> Any:
        """Return the complete model, checked by ``onnx.checker``."""
        import onnx
        from onnx import helper

        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, constants, self._doc)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR, producer_name="diabolo", doc_string=self._doc
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model

    # -- a traced function -------------------------------------------------------------------------------------------

    def carried_out(self, program: Program, argument: str) -> str:
        """Add a traced function, applied to ``argument``, float32, and return the name of its result.

        Raises
        ------
        NotCovered
            If a step has no equivalent in ONNX.
        """
        return _Steps(self, program).carried_out(argument)

    def _shape(self, shape: Sequence[int], rows: int) -> Any:
        """Return a shape as a value; a size that is k times ``rows`` becomes k times the number of rows."""
        if not any(_is_of(size, rows) for size in shape):
            return np.array(shape, np.int64)
        pieces: list[Any] = []
        for size in shape:
            times = size // rows if _is_of(size, rows) else 0
            if times > 1:
                pieces.append(self.node("Mul", self._n_rows, np.array([times], np.int64)))
            else:
                pieces.append(self._n_rows if times else np.array([size], np.int64))
        return self.node("Concat", *pieces, axis=0)


class _Steps:
    """The conversion of a program's steps into nodes of a graph."""

    def __init__(self, graph: Graph, program: Program) -> None:
        self._graph, self._program = graph, program
        self._node, self._values = graph.node, dict[int, str]()

    def carried_out(self, argument: str) -> str:
        program = self._program
        self._values[program.argument] = argument
        for step in program.steps:
            op = step["op"]
            given = [self._value(number) for number in step["in"]]
            if op in _SAME_NAME:
                made = self._node(_SAME_NAME[op], *given)
            elif (write := getattr(self, f"_{op}", None)) is not None:
                made = write(step, *given)
            elif op in _REDUCTIONS:
                axes = np.array(step["axes"], np.int64)
                made = self._node(_REDUCTIONS[op], *given, axes, keepdims=0)
            else:
                raise UnsupportedOperationError(f"the operation {op!r} of JAX has no conversion to ONNX")
            self._values[step["out"][0]] = made
        return self._value(program.result)

    def _value(self, number: int) -> str:
        if number not in self._values:
            self._values[number] = self._graph.constant(self._program.constants[number])
        return self._values[number]

    def _sizes(self, number: int) -> tuple[int, ...]:
        return self._program.shapes[number]

    # -- arithmetic ---------------------------------------------------------------------------------------------------

    def _ne(self, step: Step, a: str, b: str) -> str:
        return self._node("Not", self._node("Equal", a, b))

    def _square(self, step: Step, x: str) -> str:
        return self._node("Mul", x, x)

    def _rsqrt(self, step: Step, x: str) -> str:
        return self._node("Reciprocal", self._node("Sqrt", x))

    def _exp2(self, step: Step, x: str) -> str:
        return self._node("Pow", np.float32(2), x)

    def _erfc(self, step: Step, x: str) -> str:
        return self._node("Sub", np.float32(1), self._node("Erf", x))

    def _is_finite(self, step: Step, x: str) -> str:
        return self._node("Not", self._node("Or", self._node("IsNaN", x), self._node("IsInf", x)))

    def _rem(self, step: Step, a: str, b: str) -> str:
        return self._node("Mod", a, b, fmod=1)

    def _integer_pow(self, step: Step, x: str) -> str:
        return self._node("Pow", x, np.float32(step["y"]))

    def _clamp(self, step: Step, low: str, x: str, high: str) -> str:
        return self._node("Min", self._node("Max", x, low), high)

    def _select_n(self, step: Step, which: str, no: str, *yes: str) -> str:
        if len(yes) != 1 or self._program.kinds[step["in"][0]] != "b":
            raise UnsupportedOperationError("a choice among more than two values has no conversion to ONNX")
        return self._node("Where", which, *yes, no)

    def _convert(self, step: Step, x: str) -> str:
        return self._graph.cast(x, _TYPES[step["kind"]])

    # ONNX has no log1p and expm1: 64 bits keep the precision near 0.

    def _log1p(self, step: Step, x: str) -> str:
        wide = self._graph.cast(x, np.float64)
        return self._graph.cast(self._node("Log", self._node("Add", wide, np.float64(1))), np.float32)

    def _expm1(self, step: Step, x: str) -> str:
        wide = self._node("Exp", self._graph.cast(x, np.float64))
        return self._graph.cast(self._node("Sub", wide, np.float64(1)), np.float32)

    def _lgamma(self, step: Step, x: str) -> str:
        """Compute log Γ(x), x > 0: log Γ(x + 8) by Stirling's series, minus the logarithm of x·(x + 1)···(x + 7)."""
        node, wide = self._node, self._graph.cast(x, np.float64)
        below = wide
        for i in range(1, _SHIFT):
            below = node("Mul", below, node("Add", wide, np.float64(i)))
        up = node("Add", wide, np.float64(_SHIFT))
        inverse = node("Reciprocal", up)
        square = node("Mul", inverse, inverse)
        series: Any = np.float64(1 / 1260)
        for term in (-1 / 360, 1 / 12):
            series = node("Add", node("Mul", series, square), np.float64(term))
        main = node("Mul", node("Sub", up, np.float64(0.5)), node("Log", up))
        whole = node("Add", node("Sub", main, up), node("Mul", series, inverse))
        found = node("Sub", node("Add", whole, np.float64(0.5 * math.log(2 * math.pi))), node("Log", below))
        return self._graph.cast(found, np.float32)

    # -- shapes and positions -----------------------------------------------------------------------------------------

    def _reshape(self, step: Step, x: str) -> str:
        return self._shaped(x, self._sizes(step["out"][0]))

    def _shaped(self, x: str, shape: Sequence[int]) -> str:
        sizes = [-1 if _is_of(size, self._program.rows) else size for size in shape]
        if sizes.count(-1) > 1:
            raise UnsupportedOperationError("an array with the rows on two axes has no conversion to ONNX")
        return self._node("Reshape", x, np.array(sizes, np.int64))

    def _broadcast_in_dim(self, step: Step, x: str) -> str:
        given, shape = self._sizes(step["in"][0]), self._sizes(step["out"][0])
        expanded = [1] * len(shape)
        for axis, size in zip(step["axes"], given, strict=True):
            expanded[axis] = size
        if tuple(expanded) != given:
            x = self._shaped(x, expanded)
        return x if tuple(expanded) == shape else self._node("Expand", x, self._graph._shape(shape, self._program.rows))

    def _transpose(self, step: Step, x: str) -> str:
        return self._node("Transpose", x, perm=step["axes"])

    def _gather(self, step: Step, x: str, which: str) -> str:
        return self._node("Gather", x, which, axis=0)

    def _concatenate(self, step: Step, *some: str) -> str:
        return self._node("Concat", *some, axis=step["axis"])

    def _rev(self, step: Step, x: str) -> str:
        n = len(step["axes"])
        far = np.iinfo(np.int64)
        starts, ends, back = np.full(n, -1), np.full(n, far.min + 1), np.full(n, -1)
        return self._node("Slice", x, starts, ends, np.array(step["axes"], np.int64), back)

    def _slice(self, step: Step, x: str) -> str:
        given, shape = self._sizes(step["in"][0]), self._sizes(step["out"][0])
        axes = [i for i, size in enumerate(shape) if size != given[i]]
        if any(_is_of(given[i], self._program.rows) for i in axes):
            raise UnsupportedOperationError("a selection of rows has no conversion to ONNX")
        start, stride = (np.array([step[name][i] for i in axes], np.int64) for name in ("start", "strides"))
        end = start + (np.array([shape[i] for i in axes], np.int64) - 1) * stride + 1
        return self._node("Slice", x, start, end, np.array(axes, np.int64), stride) if axes else x

    def _pad(self, step: Step, x: str, value: str) -> str:
        given, shape = self._sizes(step["in"][0]), self._sizes(step["out"][0])
        x, spread = self._spread(x, given, step["inside"], value)
        low = step["low"]
        high = [s - g - before for s, g, before in zip(shape, spread, low, strict=True)]
        if any(b or a for b, a, size in zip(low, high, given, strict=True) if _is_of(size, self._program.rows)):
            raise UnsupportedOperationError("padding with more rows has no conversion to ONNX")
        return (
            self._node("Pad", x, np.array([*low, *high], np.int64), self._shaped(value, ()))
            if any((*low, *high))
            else x
        )

    def _spread(self, x: str, shape: Sequence[int], inside: Sequence[int], value: str) -> tuple[str, tuple[int, ...]]:
        """Insert ``inside`` values between neighbours along each axis; return the result and its shape."""
        shape = list(shape)
        for axis, more in enumerate(inside):
            if not more:
                continue
            apart = [*shape[: axis + 1], 1, *shape[axis + 1 :]]
            pads = [0] * (2 * len(apart))
            pads[len(apart) + axis + 1] = more
            x = self._node("Pad", self._shaped(x, apart), np.array(pads, np.int64), self._shaped(value, ()))
            size = shape[axis] * (1 + more)
            x = self._shaped(x, [*shape[:axis], size, *shape[axis + 1 :]])
            shape[axis] = size - more
            ends = [np.array([number], np.int64) for number in (0, shape[axis], axis)]
            x = self._node("Slice", x, *ends)
        return x, tuple(shape)

    def _convolve(self, step: Step, x: str, kernel: str) -> str:
        """Convolve; channels are the last axis in JAX, and the second one in ONNX."""
        given, size, shape = (self._sizes(number) for number in (*step["in"], step["out"][0]))
        x, given = self._spread(x, given, [0, *(s - 1 for s in step["spread"]), 0], self._graph.constant(np.float32(0)))
        window = [(k - 1) * a + 1 for k, a in zip(size[:2], step["apart"], strict=True)]
        low = list(step["low"])
        high = [
            (o - 1) * s + w - g - before
            for o, s, w, g, before in zip(shape[1:3], step["strides"], window, given[1:3], low, strict=True)
        ]
        x = self._node("Transpose", x, perm=[0, 3, 1, 2])
        if min(*low, *high) < 0:
            x = self._node("Pad", x, np.array([0, 0, *low, 0, 0, *high], np.int64))
            low, high = [0, 0], [0, 0]
        found = self._node(
            "Conv",
            x,
            self._node("Transpose", kernel, perm=[3, 2, 0, 1]),
            strides=step["strides"],
            pads=[*low, *high],
            dilations=step["apart"],
            group=step["groups"],
        )
        return self._node("Transpose", found, perm=[0, 2, 3, 1])


def _is_of(size: int, rows: int) -> bool:
    return bool(rows) and size != 0 and size % rows == 0 and (rows > 0 or size == rows)


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "UO"


def _onnx_type(dtype: DTypeLike) -> int:
    from onnx import TensorProto, helper

    return int(TensorProto.STRING if dtype is str else helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
