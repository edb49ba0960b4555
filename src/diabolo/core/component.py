"""The base class of every replaceable component, and the declaration of its hyper-parameters.

A component is a frozen dataclass of hyper-parameters: hashable, comparable, convertible to and from JSON, and a JAX
pytree whose *numbers* are leaves. Structure (sizes, names, counts) decides which program is compiled; numbers (a noise
level, a weight, a rate) are arguments of that program. A change of β or σ therefore compiles nothing, and a sweep over
their values is one `vmap`.
"""

from __future__ import annotations

import dataclasses
import inspect
import numbers
import warnings
from abc import ABCMeta
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ClassVar, Self, TypeAlias, TypeGuard, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey
from jaxtyping import PyTree

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
"""All components, and all estimators of diabolo, by name."""

T = TypeVar("T")
_Structure: TypeAlias = tuple[tuple[str, Hashable], ...]
"""The fields of a component that are no leaves, by name."""
_Aux: TypeAlias = tuple[tuple[str, ...], _Structure]
"""What JAX compares of two components: the names of the branches, and the structure."""


def register(cls: type) -> None:
    """Register a class under its name, so that saved models find it.

    Raises
    ------
    InvalidPart
        If another class has this name. The same class may be defined again.
    """
    other = _REGISTRY.get(cls.__name__)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise InvalidPart(
            f"A class named {cls.__name__} already exists in {other.__module__}. "
            "Saved models find classes by name: rename the new class."
        )
    _REGISTRY[cls.__name__] = cls


class Registered(Mapping[str, type[T]]):
    """A view of the registered subclasses of a base class, by name. It grows as classes are defined."""

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
    """A range of numbers in mathematical notation, for example ``Interval("(0, 1]")``.

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


def float_field(default: T, within: str = "(-inf, inf)") -> T:
    """Declare a field for a real number: a leaf of the component's pytree, whose change needs no compilation.

    The field may also hold an array (a value fitted to data, or a tracer), and None if None is the default.
    """
    return dataclasses.field(default=default, metadata={"number": True, "within": Interval(within)})


_COUNTS = f"[1, {2**31 - 1}]"
"""The default range of counts. Larger counts fit in no memory, or take forever to run."""


def int_field(default: T, within: str = _COUNTS) -> T:
    """Declare a field for a whole number. It is structure: a change compiles a new program."""
    return dataclasses.field(default=default, metadata={"whole": True, "within": Interval(within)})


def int_tuple_field(default: object = dataclasses.MISSING, within: str = _COUNTS, lengths: tuple[int, ...] = ()) -> Any:
    """Declare a field for a tuple of whole numbers, of any length or of ``lengths``. Required if it has no default."""
    return dataclasses.field(
        default=default, metadata={"wholes": True, "each within": Interval(within), "lengths": lengths}
    )


def choice_field(default: str, options: Iterable[str]) -> str:
    """Declare a field for one of a few names."""
    return dataclasses.field(default=default, metadata={"options": tuple(options)})


def component_field(base: type[Component], default: T) -> T:
    """Declare a field for one component of the role that ``base`` defines."""
    return dataclasses.field(default=default, metadata={"base": base})


def component_tuple_field(base: type[Component], default: tuple[T, ...] = ()) -> tuple[T, ...]:
    """Declare a field for a tuple of any number of components of one role."""
    return dataclasses.field(default=default, metadata={"each": base})


def _is_number(field: dataclasses.Field[object]) -> bool:
    return bool(field.metadata.get("number")) or field.type in (float, "float")


def _is_real(value: object) -> TypeGuard[float]:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def require_number(name: str, value: object, within: str) -> None:
    """Check that a method's argument is a number within a range.

    Raises
    ------
    InvalidParameter
        If ``value`` is not a number in ``within``.
    """
    if not _is_real(value) or value not in Interval(within):
        raise InvalidParameter(f"{name} must be a number in {within}; got {value!r}.")


def _is_array(value: object) -> bool:
    return isinstance(value, jax.Array | np.ndarray)


def _plain(field: dataclasses.Field[object], value: object) -> object:
    """Convert NumPy scalars to Python scalars, lists to tuples, and whole numbers to float in a float field."""
    if field.metadata.get("wholes") and isinstance(value, np.ndarray | list | tuple):
        return tuple(item.item() if isinstance(item, np.generic) else item for item in value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list):
        return tuple(value)
    return float(value) if _is_number(field) and _is_real(value) else value


def _check(owner: str, field: dataclasses.Field[object], value: object) -> None:
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
        and len(value) in (meta["lengths"] or (len(value),))
        and all(type(item) is int and item in meta["each within"] for item in value)
    ):
        count = f"{' or '.join(map(str, meta['lengths']))} ".lstrip()
        within = meta["each within"].text
        raise InvalidPart(f"{where} must be a tuple of {count}whole numbers in {within}; got {value!r}.")
    if "base" in meta and not isinstance(value, meta["base"]):
        raise InvalidPart(f"{where} must be a {meta['base'].__name__}; got {value!r}.")
    if "each" in meta:
        if not isinstance(value, tuple):
            raise InvalidPart(f"{where} must be a tuple of components; got {value!r}.")
        for i, item in enumerate(value):
            if not isinstance(item, meta["each"]):
                raise InvalidPart(f"{where}[{i}] must be a {meta['each'].__name__}; got {item!r}.")


# -- the base class ---------------------------------------------------------------------------------------------------


class _PartType(ABCMeta):
    """The metaclass of components. It rejects dataclasses that are not frozen."""

    def __setattr__(cls, name: str, value: object) -> None:
        if name == "__dataclass_params__" and not getattr(value, "frozen", False):
            if _REGISTRY.get(cls.__name__) is cls:
                del _REGISTRY[cls.__name__]
            raise InvalidPart(f"{cls.__name__} is not a frozen dataclass. Write @dataclass(frozen=True) above it.")
        super().__setattr__(name, value)


@dataclass(frozen=True)
class Component(metaclass=_PartType):
    """The base class of every replaceable component of the formula.

    ``class Corruption(Component, role="corruption")`` defines a role and is abstract. Every subclass of it is a
    component, is registered by name (see `list_components`) and must be a frozen dataclass. Fields annotated ``float``
    are numbers; other fields are structure. `float_field`, `int_field`, `int_tuple_field`, `choice_field`,
    `component_field` and `component_tuple_field` declare the values that a field may hold. The values are checked when
    the component is created.
    """

    role: ClassVar[str]

    def __init_subclass__(cls, role: str | None = None) -> None:
        super().__init_subclass__()
        if role is not None:
            cls.role = role
            return
        if not hasattr(cls, "role"):
            raise InvalidPart(f"{cls.__name__} has no role. Derive it from a class with a role: Corruption, …")
        for former, now in former_names.HOOKS.items():
            if former in vars(cls) and now not in vars(cls) and hasattr(cls, now):
                warnings.warn(
                    f"{cls.__name__}.{former} is now named {now}. Rename it.",
                    FutureWarning,
                    stacklevel=2,
                )
                setattr(cls, now, vars(cls)[former])
        register(cls)
        give_plain_keys(cls)
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, partial(_unflatten, cls), _flatten)

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        fields = {field.name for field in dataclasses.fields(cls)}
        for one in cls.__mro__:
            for name, kind in vars(one).get("__annotations__", {}).items() if issubclass(one, Component) else ():
                if name not in fields and "ClassVar" not in str(kind):
                    action = "Write @dataclass(frozen=True) above it."
                    raise InvalidPart(f"{one.__name__} declares {name!r}, but is not a dataclass. {action}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _plain(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            _check(type(self).__name__, field, value)

    def replace(self, **changes: object) -> Self:
        """Return a copy with other values.

        ``a__b`` is field ``b`` of the component in field ``a``; ``a__0__b`` is field ``b`` of the first component in
        the tuple ``a``.

        >>> from diabolo.core.corruptions import Masking
        >>> Masking(0.1).replace(p=0.5)
        Masking(p=0.5)
        """
        names = {field.name for field in dataclasses.fields(self)}
        direct: dict[str, object] = {}
        for key in sorted(changes, key=lambda key: key.count("__")):  # a new component first, then its fields
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

    # scikit-learn's protocols: nested parameters are listed, and an immutable value needs no copy.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the hyper-parameters by name; with ``deep``, also those of nested components, as ``a__b``."""
        out: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = out[field.name] = getattr(self, field.name)
            if deep:
                out |= inner_parameters(field.name, value)
        return out

    def __sklearn_clone__(self) -> Self:
        return self


def inner_parameters(name: str, value: object) -> dict[str, object]:
    """Return the parameters of the component in field ``a`` as ``a__b``, or of a tuple of components as ``a__0__b``."""
    if isinstance(value, Component):
        return {f"{name}__{inner}": inner_value for inner, inner_value in value.get_params().items()}
    if not isinstance(value, tuple | list) or not all(isinstance(one, Component) for one in value):
        return {}
    found: dict[str, object] = {}
    for i, one in enumerate(value):
        found |= {f"{name}__{i}": one} | inner_parameters(f"{name}__{i}", one)
    return found


def with_parameter(where: str, holder: object, path: str, value: object) -> object:
    """Return a copy of a component, or of a tuple of components, with one parameter changed.

    ``path`` is ``b`` in a component, and ``0`` or ``0__b`` in a tuple.

    Raises
    ------
    InvalidPart
        If ``holder``, whose name is ``where``, has no such parameter.
    """
    if isinstance(holder, Component):
        return holder.replace(**{path: value})
    first, _, rest = path.partition("__")
    if isinstance(holder, tuple | list) and first.isdecimal() and int(first) < len(holder):
        at = int(first)
        one = with_parameter(f"{where}[{at}]", holder[at], rest, value) if rest else value
        return (*holder[:at], one, *holder[at + 1 :])
    raise InvalidPart(f"{where} is {holder!r}, which has no parameter {path!r}.")


# -- keys of users' own components ------------------------------------------------------------------------------------


def give_plain_keys(cls: type) -> None:
    """Pass JAX's default kind of key, with the same bits, to the methods of a user's own class that take a ``key``.

    diabolo's keys are of a kind that compiles faster (see `diabolo.engine.prng`), but `jax.random.poisson` rejects it.
    """
    if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return
    for name, method in list(vars(cls).items()):
        above = next((vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)), None)
        if inspect.isfunction(method) and inspect.isfunction(above) and "key" in inspect.signature(above).parameters:
            setattr(cls, name, _with_plain_keys(method))


def _with_plain_keys(method: Callable[..., T]) -> Callable[..., T]:
    @wraps(method)
    def call(*args: object, **kwargs: object) -> T:
        return method(*map(_plain_key, args), **{name: _plain_key(value) for name, value in kwargs.items()})

    return call


def _plain_key(value: object) -> object:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jax.random.key_data(value), impl="threefry2x32")
    return value


# -- the registry -----------------------------------------------------------------------------------------------------


def list_components(role: str | None = None) -> dict[str, type[Component]]:
    """Return all imported components by name, or only those of one role.

    >>> import diabolo.core.corruptions
    >>> "Masking" in list_components("corruption")
    True
    """
    return {name: cls for name, cls in Registered(Component).items() if role in (None, cls.role)}


# -- components as pytrees --------------------------------------------------------------------------------------------


def _is_branch(field: dataclasses.Field[object], value: object) -> bool:
    holds_parts = isinstance(value, Component) or (
        isinstance(value, tuple) and any(isinstance(v, Component) for v in value)
    )
    return holds_parts or _is_number(field)


def _split(part: Component) -> tuple[dict[str, PyTree], _Structure]:
    branches: dict[str, PyTree] = {}
    structure: list[tuple[str, Hashable]] = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if _is_branch(field, value):
            branches[field.name] = value
        else:
            structure.append((field.name, value))
    return branches, tuple(structure)


def _flatten(part: Component) -> tuple[tuple[PyTree, ...], _Aux]:
    branches, structure = _split(part)
    return tuple(branches.values()), (tuple(branches), structure)


def _flatten_with_keys(part: Component) -> tuple[tuple[tuple[GetAttrKey, PyTree], ...], _Aux]:
    branches, structure = _split(part)
    keyed = tuple((GetAttrKey(name), value) for name, value in branches.items())
    return keyed, (tuple(branches), structure)


def _unflatten(cls: type[Component], aux: _Aux, children: Iterable[PyTree]) -> Component:
    # Not through __init__: leaves may be tracers, arrays or placeholders, whose range cannot be checked.
    names, structure = aux
    part = object.__new__(cls)
    for name, value in (*zip(names, children, strict=True), *structure):
        object.__setattr__(part, name, value)
    return part


# -- components as JSON -----------------------------------------------------------------------------------------------


def to_json(value: object) -> object:
    """Convert a component, a tuple or a plain value to JSON; tuples may hold components.

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


def from_json(value: object, known: Mapping[str, type] | None = None) -> object:
    """Convert JSON back to a value: the inverse of `to_json`. Lists become tuples.

    Parameters
    ----------
    value : JSON
    known : mapping of str to type, default=None
        The components that may be created, by name. None: all imported components.

    Raises
    ------
    UnknownPart
        If the JSON names a component that is not in ``known``.
    InvalidPart
        If a component has no parameter of a given name, or rejects its value.
    """
    if isinstance(value, dict) and "part" in value:
        parts, name = Registered(Component) if known is None else known, value["part"]
        cls = parts.get(name) if isinstance(name, str) else None
        if cls is None or not issubclass(cls, Component):
            own = "import the module that defines it" if known is None else "pass its class: load(path, classes=[...])"
            raise UnknownPart(f"No component is named {name!r}. {suggest(name, parts)} If it is your own, {own}.")
        given = {name: from_json(inner, known) for name, inner in value.items() if name != "part"}
        fields = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in fields:
                raise InvalidPart(f"{cls.__name__} has no parameter {name!r}. {suggest(name, fields)}")
        return cls(**given)
    if isinstance(value, list):
        return tuple(from_json(item, known) for item in value)
    return value
