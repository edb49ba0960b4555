"""What every replaceable part has in common: it is a value.

A part is a frozen dataclass of hyper-parameters: hashable, comparable, JSON both ways, and a JAX pytree whose
*numbers* are leaves. Structure (sizes, names, counts) decides which program is compiled; numbers (a noise level, a
weight, a rate) are arguments of that program. Changing β or σ therefore compiles nothing, and a sweep over them is
one `vmap`.
"""

from __future__ import annotations

import dataclasses
import inspect
import numbers
import warnings
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import former_names
from ..errors import InvalidParameter, InvalidPart, UnknownPart, suggest

__all__ = [
    "Component",
    "Interval",
    "Registered",
    "choice_field",
    "component_field",
    "component_tuple_field",
    "float_field",
    "from_json",
    "give_plain_keys",
    "inner_parameters",
    "int_field",
    "int_tuple_field",
    "list_components",
    "register",
    "require_number",
    "to_json",
    "with_parameter",
]

_REGISTRY: dict[str, type] = {}
"""Every part, and every estimator of diabolo, by name."""

T = TypeVar("T")


def register(cls: type) -> None:
    """Enter a class under its name, so that saved models find it.

    Raises
    ------
    InvalidPart
        If another class has this name; the same one may be defined again.
    """
    other = _REGISTRY.get(cls.__name__)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise InvalidPart(
            f"There is already a class named {cls.__name__} (in {other.__module__}); "
            "saved models find classes by name, so give this one another."
        )
    _REGISTRY[cls.__name__] = cls


class Registered(Mapping[str, type[T]]):
    """The registered classes below a base class, by name: a view, which grows as classes are defined."""

    def __init__(self, base: type[T]) -> None:
        self._base = base

    def __getitem__(self, name: str) -> type[T]:
        if not self._has(cls := _REGISTRY[name]):
            raise KeyError(name)
        return cls

    def __iter__(self) -> Iterator[str]:
        return (name for name, cls in sorted(_REGISTRY.items()) if self._has(cls))

    def _has(self, cls: type) -> bool:
        return issubclass(cls, self._base) and cls is not self._base

    def __len__(self) -> int:
        return sum(1 for _ in self)


# -- declaring hyper-parameters ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A range of numbers in mathematical notation: ``Interval("(0, 1]")``.

    >>> 0.0 in Interval("(0, 1]"), 1.0 in Interval("(0, 1]")
    (False, True)
    """

    text: str

    @property
    def bounds(self) -> tuple[float, float]:
        low, high = self.text[1:-1].split(",")
        return float(low), float(high)

    def __contains__(self, value: float) -> bool:
        low, high = self.bounds
        above = value >= low if self.text[0] == "[" else value > low
        below = value <= high if self.text[-1] == "]" else value < high
        return above and below


def float_field(default: Any, within: str = "(-inf, inf)") -> Any:
    """A field that holds a real number: a leaf of the part's pytree, never a reason to compile again.

    It may also hold an array (what a part has learned from data, or a tracer), and None if that is the default.
    """
    return dataclasses.field(default=default, metadata={"number": True, "within": Interval(within)})


_COUNTS = f"[1, {2**31 - 1}]"
"""Beyond it, nothing that is counted fits in memory or ends."""


def int_field(default: int, within: str = _COUNTS) -> Any:
    """A field that holds a whole number: structure, part of what is compiled."""
    return dataclasses.field(default=default, metadata={"whole": True, "within": Interval(within)})


def int_tuple_field(default: Any = dataclasses.MISSING, within: str = _COUNTS, length: int | None = None) -> Any:
    """A field that holds whole numbers, as a tuple: any number of them, or ``length``. Required without a default."""
    return dataclasses.field(
        default=default, metadata={"wholes": True, "each within": Interval(within), "length": length}
    )


def choice_field(default: str, options: Mapping[str, Any] | tuple[str, ...]) -> Any:
    """A field that holds one of a few names."""
    return dataclasses.field(default=default, metadata={"options": tuple(options)})


def component_field(base: type[Component], default: Any) -> Any:
    """A field that holds a part of the role that ``base`` opens."""
    return dataclasses.field(default=default, metadata={"base": base})


def component_tuple_field(base: type[Component], default: tuple[Any, ...] = ()) -> Any:
    """A field that holds any number of parts of one role, as a tuple."""
    return dataclasses.field(default=default, metadata={"each": base})


def _is_number(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("number")) or field.type in (float, "float")


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def require_number(name: str, value: Any, within: str) -> None:
    """Refuse what is no number of a range, given to a method.

    Raises
    ------
    InvalidParameter
        If it is none.
    """
    if not _is_real(value) or value not in Interval(within):
        raise InvalidParameter(f"{name} must be a number in {within}; got {value!r}.")


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray)


def _plain(field: dataclasses.Field[Any], value: Any) -> Any:
    """NumPy's scalars as Python's, lists as tuples, whole numbers as real ones where a real one belongs."""
    if field.metadata.get("wholes") and isinstance(value, np.ndarray | list | tuple):
        return tuple(item.item() if isinstance(item, np.generic) else item for item in value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list):
        return tuple(value)
    return float(value) if _is_number(field) and _is_real(value) else value


def _check(owner: str, field: dataclasses.Field[Any], value: Any) -> None:
    meta, where = field.metadata, f"{owner}.{field.name}"
    if "options" in meta and value not in meta["options"]:
        raise InvalidPart(f"{where} must be one of {', '.join(map(repr, meta['options']))}; got {value!r}.")
    if "within" in meta:
        fits = isinstance(value, int) if meta.get("whole") else isinstance(value, float)
        is_learned = meta.get("number") and (_is_array(value) or (value is None and field.default is None))
        if not is_learned and (isinstance(value, bool) or not fits or value not in meta["within"]):
            kind = "a whole number" if meta.get("whole") else "a number"
            raise InvalidPart(f"{where} must be {kind} in {meta['within'].text}; got {value!r}.")
    if meta.get("wholes") and not (
        isinstance(value, tuple)
        and meta["length"] in (None, len(value))
        and all(type(item) is int and item in meta["each within"] for item in value)
    ):
        count = "" if meta["length"] is None else f"{meta['length']} "
        within = meta["each within"].text
        raise InvalidPart(f"{where} must be a tuple of {count}whole numbers in {within}; got {value!r}.")
    if "base" in meta and not isinstance(value, meta["base"]):
        raise InvalidPart(f"{where} must be a {meta['base'].__name__}; got {value!r}.")
    if "each" in meta:
        if not isinstance(value, tuple):
            raise InvalidPart(f"{where} must be a tuple of parts; got {value!r}.")
        for i, item in enumerate(value):
            if not isinstance(item, meta["each"]):
                raise InvalidPart(f"{where}[{i}] must be a {meta['each'].__name__}; got {item!r}.")


# -- the base class ---------------------------------------------------------------------------------------------------


class _PartType(ABCMeta):
    """The type of parts: refuses one that is made a dataclass that can be changed."""

    def __setattr__(cls, name: str, value: Any) -> None:
        if name == "__dataclass_params__" and not value.frozen:
            if _REGISTRY.get(cls.__name__) is cls:
                del _REGISTRY[cls.__name__]
            raise InvalidPart(f"{cls.__name__} can be changed once it is made. Write @dataclass(frozen=True) above it.")
        super().__setattr__(name, value)


@dataclass(frozen=True)
class Component(metaclass=_PartType):
    """Base of every replaceable part of the formula.

    ``class Corruption(Component, role="corruption")`` opens a role and is abstract; every class below it is a part, is
    entered in one table (see `list_components`) and must be a frozen dataclass.
    Fields annotated ``float`` are numbers; other fields are structure. `float_field`, `int_field`,
    `int_tuple_field`, `choice_field`, `component_field`
    and `component_tuple_field` declare what a field may hold, which is checked when the part is made.
    """

    role: ClassVar[str]

    def __init_subclass__(cls, role: str | None = None) -> None:
        super().__init_subclass__()
        if role is not None:
            cls.role = role
            return
        if not hasattr(cls, "role"):
            raise InvalidPart(f"{cls.__name__} has no role: derive it from Corruption, Likelihood or another of them.")
        for former, now in former_names.HOOKS.items():
            if former in vars(cls) and now not in vars(cls) and hasattr(cls, now):
                warnings.warn(f"{cls.__name__}.{former} is now called {now}. Rename it.", FutureWarning, stacklevel=2)
                setattr(cls, now, vars(cls)[former])
        register(cls)
        give_plain_keys(cls)
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, partial(_unflatten, cls), _flatten)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        fields = {field.name for field in dataclasses.fields(cls)}
        for one in cls.__mro__:
            for name, kind in vars(one).get("__annotations__", {}).items() if issubclass(one, Component) else ():
                if name not in fields and "ClassVar" not in str(kind):
                    mend = "Write @dataclass(frozen=True) above it."
                    raise InvalidPart(f"{one.__name__} declares {name!r}, but is no dataclass. {mend}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _plain(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            _check(type(self).__name__, field, value)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values; ``a__b`` reaches field ``b`` of the part in field ``a``, ``a__0__b`` of its first.

        >>> from diabolo.core.corruptions import Masking
        >>> Masking(0.1).replace(p=0.5)
        Masking(p=0.5)
        """
        names = {field.name for field in dataclasses.fields(self)}
        direct: dict[str, Any] = {}
        for key in sorted(changes, key=lambda key: key.count("__")):  # a new part first, then its fields
            value = changes[key]
            name, _, rest = key.partition("__")
            if name not in names:
                raise InvalidPart(
                    f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(sorted(names)) or 'none'}."
                )
            if not rest:
                direct[name] = value
                continue
            direct[name] = with_parameter(
                f"{type(self).__name__}.{name}", direct.get(name, getattr(self, name)), rest, value
            )
        return dataclasses.replace(self, **direct)

    # scikit-learn's protocols, by name only: nested parameters are listed, and a value needs no copy.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The hyper-parameters by name; with ``deep`` also those of parts within, as ``a__b``."""
        out: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = out[field.name] = getattr(self, field.name)
            if deep:
                out |= inner_parameters(field.name, value)
        return out

    def __sklearn_clone__(self) -> Self:
        return self


def inner_parameters(name: str, value: Any) -> dict[str, Any]:
    """The parameters of a part in field ``a``, as ``a__b``, or of each of several parts, as ``a__0__b``."""
    if isinstance(value, Component):
        return {f"{name}__{inner}": its for inner, its in value.get_params().items()}
    if not isinstance(value, tuple | list) or not all(isinstance(one, Component) for one in value):
        return {}
    found: dict[str, Any] = {}
    for i, one in enumerate(value):
        found |= {f"{name}__{i}": one} | inner_parameters(f"{name}__{i}", one)
    return found


def with_parameter(where: str, holder: Any, path: str, value: Any) -> Any:
    """A part, or a tuple of parts, in which one parameter is another: ``b`` of a part, ``0`` or ``0__b`` of several.

    Raises
    ------
    InvalidPart
        If ``holder``, which is at ``where``, has no such parameter.
    """
    if isinstance(holder, Component):
        return holder.replace(**{path: value})
    first, _, rest = path.partition("__")
    if isinstance(holder, tuple | list) and first.isdecimal() and int(first) < len(holder):
        at = int(first)
        one = with_parameter(f"{where}[{at}]", holder[at], rest, value) if rest else value
        return (*holder[:at], one, *holder[at + 1 :])
    raise InvalidPart(f"{where} is {holder!r}, which has no parameter {path!r}.")


# -- keys of users' own parts -----------------------------------------------------------------------------------------


def give_plain_keys(cls: type) -> None:
    """Have a user's own class get JAX's own kind of key, with the same bits, wherever a method of ours has a ``key``.

    Ours is a kind that compiles faster (see `diabolo.engine.prng`), but `jax.random.poisson` refuses it.
    """
    if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return
    for name, method in list(vars(cls).items()):
        above = next((vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)), None)
        if inspect.isfunction(method) and inspect.isfunction(above) and "key" in inspect.signature(above).parameters:
            setattr(cls, name, _with_plain_keys(method))


def _with_plain_keys(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return method(*map(_plain_key, args), **{name: _plain_key(value) for name, value in kwargs.items()})

    return call


def _plain_key(value: Any) -> Any:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jax.random.key_data(value), impl="threefry2x32")
    return value


# -- the table --------------------------------------------------------------------------------------------------------


def list_components(role: str | None = None) -> dict[str, type[Component]]:
    """Every part that has been imported, by name; one role's only, where one is given.

    >>> import diabolo.core.corruptions
    >>> "Masking" in registered("corruption")
    True
    """
    return {name: cls for name, cls in Registered(Component).items() if role in (None, cls.role)}


# -- a part is a pytree -----------------------------------------------------------------------------------------------


def _is_branch(field: dataclasses.Field[Any], value: Any) -> bool:
    holds_parts = isinstance(value, Component) or (
        isinstance(value, tuple) and any(isinstance(v, Component) for v in value)
    )
    return holds_parts or _is_number(field)


def _split(part: Component) -> tuple[dict[str, Any], tuple[tuple[str, Any], ...]]:
    branches, structure = {}, []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if _is_branch(field, value):
            branches[field.name] = value
        else:
            structure.append((field.name, value))
    return branches, tuple(structure)


def _flatten(part: Component) -> tuple[tuple[Any, ...], Any]:
    branches, structure = _split(part)
    return tuple(branches.values()), (tuple(branches), structure)


def _flatten_with_keys(part: Component) -> tuple[tuple[tuple[Any, Any], ...], Any]:
    branches, structure = _split(part)
    keyed = tuple((jax.tree_util.GetAttrKey(name), value) for name, value in branches.items())
    return keyed, (tuple(branches), structure)


def _unflatten(cls: type[Component], aux: Any, children: Iterator[Any]) -> Component:
    # Not through __init__: the leaves may be tracers, arrays or placeholders, which no range check could read.
    names, structure = aux
    part = object.__new__(cls)
    for name, value in (*zip(names, children, strict=True), *structure):
        object.__setattr__(part, name, value)
    return part


# -- a part is JSON ---------------------------------------------------------------------------------------------------


def to_json(value: Any) -> Any:
    """A part, or a tuple or plain value that may hold parts, as JSON.

    >>> from diabolo.core.corruptions import Masking
    >>> to_json(Masking(0.25))
    {'part': 'Masking', 'p': 0.25}
    """
    if isinstance(value, Component):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"part": type(value).__name__, **fields}
    if isinstance(value, tuple | list | np.ndarray):
        return [to_json(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def from_json(value: Any, known: Mapping[str, type] | None = None) -> Any:
    """The inverse of `to_json`; lists come back as tuples.

    Parameters
    ----------
    value : JSON
    known : mapping of str to type, default=None
        The parts that may be made, by name; None: all that have been imported.

    Raises
    ------
    UnknownPart
        If a part is named that is not among them.
    InvalidPart
        If it has no such parameter, or not with this value.
    """
    if isinstance(value, dict) and "part" in value:
        parts, name = Registered(Component) if known is None else known, value["part"]
        cls = parts.get(name) if isinstance(name, str) else None
        if cls is None or not issubclass(cls, Component):
            mend = "Import the module that defines it" if known is None else "Give its class: load(path, classes=[...])"
            raise UnknownPart(f"There is no part named {name!r}. {suggest(name, parts)} Is it your own? {mend}.")
        given = {name: from_json(inner, known) for name, inner in value.items() if name != "part"}
        fields = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in fields:
                raise InvalidPart(f"{cls.__name__} has no parameter {name!r}. {suggest(name, fields)}")
        return cls(**given)
    if isinstance(value, list):
        return tuple(from_json(item, known) for item in value)
    return value
