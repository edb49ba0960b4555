"""Conversion of a JAX function to data that can be executed without Python.

`program` traces a function and records its steps; everything that does not depend on the argument is computed at
tracing time. ``report/runtime.js`` executes the steps in a page, `onnx_graph` writes them as ONNX. Any network, also
your own, is supported if its steps are among `OPS`: products, convolutions, arithmetic, activations, reductions, and
rearrangements.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from .. import jax_config
from ..core.layers import UNROLLED
from ..errors import UnsupportedOperationError

__all__ = ["OPS", "Program", "Step", "placeholder_batch_size", "program"]

_UNARY = (
    "abs", "ceil", "cos", "erf", "erfc", "exp", "exp2", "expm1", "floor", "is_finite", "log", "log1p", "logistic",
    "lgamma", "neg", "not", "round", "rsqrt", "sign", "sin", "sqrt", "square", "tan", "tanh",
)  # fmt: skip
_BINARY = (
    "add",
    "and",
    "atan2",
    "div",
    "eq",
    "ge",
    "gt",
    "le",
    "lt",
    "max",
    "min",
    "mul",
    "ne",
    "or",
    "pow",
    "rem",
    "sub",
)
_SAME = ("copy", "copy_p", "stop_gradient", "reduce_precision", "optimization_barrier")
_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
_RESHAPES = ("reshape", "squeeze", "expand_dims")
_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_LOOPS = ("scan", "while", "cond")
_EXPANDED = ("argmax", "argmin", "cumsum")
"""Recorded as steps of other kinds."""
OPS = (
    *_UNARY, *_BINARY, *_SAME, *_REDUCTIONS, *_RESHAPES, *_EXPANDED, "broadcast_in_dim", "clamp", "concatenate",
    "conv_general_dilated", "convert_element_type", "dot_general", "gather", "integer_pow", "pad", "rev", "select_n",
    "slice", "split", "transpose",
)  # fmt: skip
"""The JAX primitives that may depend on the argument."""


def _broadcast(x: np.ndarray, *, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: object) -> np.ndarray:
    added = tuple(set(range(len(shape))) - set(broadcast_dimensions))
    return np.broadcast_to(np.expand_dims(x, added), shape)


_FOLDED: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.abs, "add": np.add, "broadcast_in_dim": _broadcast, "div": np.divide, "mul": np.multiply,
    "neg": np.negative, "sub": np.subtract,
}  # fmt: skip
"""Primitives of which NumPy gives the same bits for 32-bit floats, and JAX would compile a program for each shape.

Only subnormal numbers differ, which XLA takes for 0.
"""
_TRUTHS = ("eq", "ge", "gt", "is_finite", "le", "lt", "ne")
_MARKS = (7919, 7907, 7901, 7883)


Step: TypeAlias = dict[str, Any]
"""One operation: ``op``, the numbers of its values, and its settings."""


class Program(NamedTuple):
    """The steps of a traced function.

    Attributes
    ----------
    steps : list of dict
        Each has ``op``, the numbers of its input values (``in``) and output values (``out``), and its settings.
    shapes : dict
        The shape of each value.
    kinds : dict
        The type of each value: "f" 32-bit floats, "b" truth values, "i" 32-bit whole numbers.
    constants : dict of int to array
        Values that do not depend on the argument.
    argument, result : int
        The numbers of the argument and of the result.
    rows : int
        A placeholder for the number of rows: a size that is a multiple of it stands for that multiple of the number of
        rows. 0: all sizes are fixed.
    """

    steps: list[Step]
    shapes: dict[int, tuple[int, ...]]
    kinds: dict[int, str]
    constants: dict[int, np.ndarray]
    argument: int
    result: int
    rows: int = 0

    @property
    def n_constants(self) -> int:
        """Number of constant numbers."""
        return sum(array.size for array in self.constants.values())


class _Value(NamedTuple):
    """A value that depends on the argument; only its shape and type are known."""

    number: int
    shape: tuple[int, ...]
    kind: str


Traced: TypeAlias = Any
"""A `_Value`, or an array that does not depend on the argument."""
Jaxpr: TypeAlias = Any
"""A traced function of JAX, its equations or variables, whose own types are incomplete."""
Shapes: TypeAlias = Sequence[tuple[int, ...]]
Params: TypeAlias = Mapping[str, Any]
"""The settings of a JAX primitive."""


def _constants(equation: Jaxpr, inputs: Sequence[Traced]) -> list[Traced]:
    """Return the results of an equation whose inputs do not depend on the argument."""
    folded = _FOLDED.get(equation.primitive.name)
    if folded is not None and all(variable.aval.dtype == np.float32 for variable in equation.invars):
        settings = equation.params if folded is _broadcast else {}
        with np.errstate(all="ignore"):  # as JAX, which says nothing of infinite numbers
            return [folded(*(np.asarray(value, np.float32) for value in inputs), **settings)]
    out = equation.primitive.bind(*inputs, **equation.params)
    return list(out) if equation.primitive.multiple_results else [out]


class _Writer:
    """A recorder of the steps of a traced function."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.steps: list[Step] = []
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.kinds: dict[int, str] = {}
        self.constants: dict[int, np.ndarray] = {}
        self._numbers: dict[int, tuple[int, Traced]] = {}

    def new(self, shape: Sequence[int], kind: str = "f") -> _Value:
        number = len(self.shapes)
        self.shapes[number], self.kinds[number] = tuple(shape), kind
        return _Value(number, tuple(shape), kind)

    def number(self, value: Traced) -> int:
        """Return the number of a value; store a constant array once."""
        if isinstance(value, _Value):
            return value.number
        known = self._numbers.get(id(value))
        if known is None:
            array: np.ndarray = np.asarray(value).astype(_TYPES[_kind(value)])
            made = self.new(array.shape, _kind(value))
            self.constants[made.number] = array
            known = self._numbers[id(value)] = made.number, value  # referenced, so that its id is not reused
        return known[0]

    def step(self, op: str, given: Sequence[Traced], shapes: Sequence[Sequence[int]], **settings: Any) -> list[_Value]:
        held = given[1] if op == "select_n" else given[0]
        kind = "b" if op in _TRUTHS else settings["kind"] if op == "convert" else _kind(held)
        made = [self.new([int(size) for size in shape], kind) for shape in shapes]
        settings = {name: list(map(int, v)) if isinstance(v, list) else v for name, v in settings.items()}
        numbers = {"in": [self.number(value) for value in given], "out": [value.number for value in made]}
        self.steps.append({"op": op, **numbers, **settings})
        return made

    def run(self, jaxpr: Jaxpr, constants: Sequence[Traced], given: Sequence[Traced]) -> list[Traced]:
        """Return the results of a traced function: arrays where they do not depend on the argument."""
        values: dict[Hashable, Traced] = dict(zip(jaxpr.constvars, constants, strict=True))
        values.update(zip(jaxpr.invars, given, strict=True))

        def read(atom: Jaxpr) -> Traced:
            return atom.val if hasattr(atom, "val") else values[atom]

        for equation in jaxpr.eqns:
            inputs = [read(atom) for atom in equation.invars]
            inner = next((equation.params[key] for key in _CALLS if key in equation.params), None)
            if inner is not None and equation.primitive.name not in _LOOPS:
                closed = hasattr(inner, "consts")
                outs = self.run(inner.jaxpr if closed else inner, inner.consts if closed else (), inputs)
            elif not (
                any(isinstance(value, _Value) for value in inputs)
                or any(self._is_of_rows(variable.aval.shape) for variable in equation.outvars)
            ):
                outs = _constants(equation, inputs)
            else:
                outs = self._equation(equation, inputs)
            values.update(zip(equation.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _is_of_rows(self, shape: Sequence[int]) -> bool:
        return bool(self._rows) and any(size and size % self._rows == 0 for size in shape)

    def _equation(self, equation: Jaxpr, inputs: list[Traced]) -> list[Traced]:
        op, params = equation.primitive.name, equation.params
        shapes = [variable.aval.shape for variable in equation.outvars]
        if op in _SAME:
            return inputs
        op = "add" if op == "add_any" else op  # the sum of derivatives
        if op in _UNARY or op in _BINARY or op in ("clamp", "select_n"):
            return list(self.step(op, [self._spread(value, shapes[0]) for value in inputs], shapes))
        if op in _RESHAPES:
            return list(self.step("reshape", inputs, shapes))
        special = getattr(self, f"_{op}", None)
        if special is not None:
            return list(special(inputs, shapes, params))
        if op in _REDUCTIONS:
            return list(self.step(op, inputs, shapes, axes=list(params["axes"])))
        raise UnsupportedOperationError(f"the JAX step {op!r} cannot be converted")

    # -- steps with settings ------------------------------------------------------------------------------------------

    def _integer_pow(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        return self.step("integer_pow", inputs, shapes, y=int(params["y"]))

    def _convert_element_type(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[Traced]:
        kind = _kind_of(params["new_dtype"])
        is_same = kind == _kind(inputs[0]) and kind != "i"
        return inputs if is_same else self.step("convert", inputs, shapes, kind=kind)

    def _broadcast_in_dim(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        return self.step("broadcast_in_dim", inputs[:1], shapes, axes=list(params["broadcast_dimensions"]))

    def _expanded(self, f: Callable[[jax.Array], jax.Array], x: Traced) -> list[Traced]:
        """Record a function in place of one primitive."""
        shape = x.shape if isinstance(x, _Value) else np.shape(x)
        closed = jax.make_jaxpr(f)(jax.ShapeDtypeStruct(shape, _TYPES[_kind(x)]))  # type: ignore[no-untyped-call]
        return self.run(closed.jaxpr, closed.consts, [x])

    def _cumsum(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[Traced]:
        axis, n = int(params["axis"]), shapes[0][params["axis"]]
        before = np.tri(n, dtype=np.float32).T if not params["reverse"] else np.tri(n, dtype=np.float32)
        return self._expanded(lambda x: jnp.moveaxis(jnp.moveaxis(x, axis, -1) @ before, -1, axis), inputs[0])

    def _argmin(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[Traced]:
        return self._first(inputs[0], int(params["axes"][0]), jnp.min)

    def _argmax(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[Traced]:
        return self._first(inputs[0], int(params["axes"][0]), jnp.max)

    def _first(self, x: _Value, axis: int, best: Callable[..., jax.Array]) -> list[Traced]:
        """Record the index of the first of the best values along an axis."""
        n = x.shape[axis]
        index = np.arange(n, dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(len(x.shape))])
        return self._expanded(lambda x: jnp.where(x == best(x, axis, keepdims=True), index, n).min(axis), x)

    def _gather(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        """Record a gather of whole slices along the first axis, by constant indices."""
        (x, which), how, n_axes = inputs, params["dimension_numbers"], len(inputs[0].shape)
        is_whole = tuple(params["slice_sizes"]) == (1, *x.shape[1:]) and tuple(how.start_index_map) == (0,)
        is_first = tuple(how.collapsed_slice_dims) == (0,) and tuple(how.offset_dims) == tuple(range(1, n_axes))
        if isinstance(which, _Value) or not (is_whole and is_first and not how.operand_batching_dims):
            raise UnsupportedOperationError(
                "a gather can be converted only for whole slices along the first axis, by constant indices"
            )
        return self.step("gather", [x, np.asarray(which).reshape(-1).astype(np.int32)], shapes)

    def _transpose(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        return self.step("transpose", inputs, shapes, axes=list(params["permutation"]))

    def _rev(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        return self.step("rev", inputs, shapes, axes=list(params["dimensions"]))

    def _concatenate(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        return self.step("concatenate", inputs, shapes, axis=int(params["dimension"]))

    def _slice(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        start = list(params["start_indices"])
        return self.step("slice", inputs, shapes, start=start, strides=list(params["strides"] or [1] * len(start)))

    def _split(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        pieces, at, axis = [], 0, int(params["axis"])
        for shape in shapes:
            start = [0] * len(shape)
            start[axis], at = at, at + shape[axis]
            pieces += self.step("slice", inputs, [shape], start=start, strides=[1] * len(shape))
        return pieces

    def _pad(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[_Value]:
        low, _, inside = zip(*params["padding_config"], strict=True)
        return self.step("pad", inputs, shapes, low=list(low), inside=list(inside))

    def _spread(self, value: Traced, shape: Sequence[int]) -> Traced:
        """Broadcast a value to a shape; a single number stays unchanged."""
        given = value.shape if isinstance(value, _Value) else np.shape(value)
        if given == tuple(shape) or np.prod(given, dtype=int) == 1 or self._rows:  # ONNX broadcasts
            return value
        if not isinstance(value, _Value):
            return np.broadcast_to(np.asarray(value), shape)
        return self.step("broadcast_in_dim", [value], [shape], axes=list(range(len(shape))))[0]

    def _moved(self, value: Traced, axes: Sequence[int], shape: Sequence[int] | None = None) -> Traced:
        """Transpose and optionally reshape a value; a constant is computed at once."""
        if not isinstance(value, _Value):
            moved = np.transpose(np.asarray(value), axes)
            return moved if shape is None else moved.reshape(shape)
        if list(axes) != sorted(axes):
            (value,) = self.step("transpose", [value], [[value.shape[a] for a in axes]], axes=[int(a) for a in axes])
        if shape is not None and tuple(shape) != value.shape:
            (value,) = self.step("reshape", [value], [shape])
        return value

    def _dot_general(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[Traced]:
        """Record a batch of matrix products, (b, m, k)·(b, k, n)."""
        (left, right), ((lc, rc), (lb, rb)) = inputs, params["dimension_numbers"]
        free = [[a for a in range(np.ndim(v) if not isinstance(v, _Value) else len(v.shape)) if a not in used]
                for v, used in ((left, (*lc, *lb)), (right, (*rc, *rb)))]  # fmt: skip
        sizes = [np.shape(v) if not isinstance(v, _Value) else v.shape for v in inputs]

        def size(of: int, axes: Sequence[int]) -> int:
            return int(np.prod([sizes[of][a] for a in axes], dtype=int))

        b, m, k, n = size(0, lb), size(0, free[0]), size(0, lc), size(1, free[1])
        made = self.step(
            "product",
            [
                self._moved(left, [*lb, *free[0], *lc], (b, m, k)),
                self._moved(right, [*rb, *rc, *free[1]], (b, k, n)),
            ],
            [(b, m, n)],
        )
        return [self._moved(made[0], range(3), shapes[0])]

    def _conv_general_dilated(self, inputs: list[Traced], shapes: Shapes, params: Params) -> list[Traced]:
        """Record a convolution of images, channels last."""
        order = params["dimension_numbers"]
        if len(order.lhs_spec) != 4 or params["batch_group_count"] != 1:
            raise UnsupportedOperationError("convolutions other than those of images cannot be converted")
        x, kernel = inputs
        (n, c, *space), (o, i, *window), out = order.lhs_spec, order.rhs_spec, order.out_spec
        shape = [shapes[0][out[0]], *(shapes[0][a] for a in out[2:]), shapes[0][out[1]]]
        made = self.step(
            "convolve",
            [self._moved(x, [n, *space, c]), self._moved(kernel, [*window, i, o])],
            [shape],
            strides=list(params["window_strides"]),
            low=[int(low) for low, _ in params["padding"]],
            spread=list(params["lhs_dilation"]),
            apart=list(params["rhs_dilation"]),
            groups=int(params["feature_group_count"]),
        )
        back = np.argsort([out[0], *out[2:], out[1]]).tolist()
        return [self._moved(made[0], back)]


_TYPES = {"f": np.float32, "b": np.bool_, "i": np.int32}


def _kind(value: Traced) -> str:
    return value.kind if isinstance(value, _Value) else _kind_of(getattr(value, "dtype", np.asarray(value).dtype))


def _kind_of(dtype: np.dtype) -> str:
    kind = np.dtype(dtype).kind if dtype != jnp.bfloat16 else "f"
    return "i" if kind == "u" else kind


def placeholder_batch_size(of: object) -> int:
    """Return a placeholder for the number of rows that is not a size of any array in a model."""
    sizes = {size for leaf in jax.tree.leaves(of) for size in np.shape(leaf)}
    return next(mark for mark in _MARKS if not any(size and size % mark == 0 for size in sizes))


def _needed(steps: list[Step], result: int) -> list[Step]:
    """Return the steps on which the result depends."""
    wanted, kept = {result}, []
    for step in reversed(steps):
        if wanted & set(step["out"]):
            wanted |= set(step["in"])
            kept.append(step)
    return kept[::-1]


@jax_config.standard()
def program(f: Callable[[jax.Array], jax.Array], shape: Sequence[int], rows: int = 0) -> Program:
    """Convert ``f`` to steps for a float32 array of the given shape; ``rows`` is the placeholder of the number of rows.

    Raises
    ------
    UnsupportedOperationError
        If a step that depends on the argument is not in `OPS`.

    Examples
    --------
    >>> found = program(lambda z: jnp.tanh(z @ jnp.ones((2, 3))), (1, 2))
    >>> [step["op"] for step in found.steps], found.n_constants
    (['reshape', 'product', 'reshape', 'tanh'], 6)
    """
    token = UNROLLED.set(True)
    try:
        closed = jax.make_jaxpr(f)(jax.ShapeDtypeStruct(tuple(shape), jnp.float32))  # type: ignore[no-untyped-call]
    finally:
        UNROLLED.reset(token)
    writer = _Writer(rows)
    argument = writer.new(shape)
    (found,) = writer.run(closed.jaxpr, closed.consts, [argument])
    result = writer.number(found)
    steps = _needed(writer.steps, result)
    used = {argument.number, result, *(n for step in steps for n in (*step["in"], *step["out"]))}
    return Program(
        steps,
        {n: shape for n, shape in writer.shapes.items() if n in used},
        {n: kind for n, kind in writer.kinds.items() if n in used},
        {n: array for n, array in writer.constants.items() if n in used},
        argument.number,
        result,
        rows,
    )
