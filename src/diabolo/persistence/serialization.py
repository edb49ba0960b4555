"""Serialization: convert a fitted estimator to a manifest and arrays, and back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import PyTree

from .. import former_names, jax_config
from ..core import component
from ..core.model import Model, Recipe
from ..core.optimizers import is_transformation
from ..data.containers import Container
from ..data.scaler import Scaler
from ..data.schema import Schema
from ..data.types import Json
from ..errors import ArtifactError, ForkError, InvalidPlacement
from .reference_outputs import ReferenceOutputs

__all__ = ["Found", "Stored", "from_artifact", "parameters", "to_artifact", "upgraded"]


@runtime_checkable
class Parametrised(Protocol):
    """An object with named parameters, like scikit-learn's estimators."""

    def get_params(self, deep: bool = True) -> Json:
        """Return the parameters."""


@dataclass(frozen=True)
class Stored:
    """The content of a saved model, before it is written."""

    estimator: str
    """The name of the estimator's class."""
    parameters: Json
    """The parameters as JSON, see `parameters`."""
    fitted: Json
    """The fitted attributes as JSON."""
    feature_names: list[str] | None
    arrays: dict[str, np.ndarray]
    model: Model | None = None
    scaler: Scaler | None = None
    probe: ReferenceOutputs | None = None
    groups: tuple[tuple[Stored, ...], ...] = ()
    """The fitted networks of an ensemble, in groups of equal size."""


@dataclass(frozen=True)
class Found:
    """The content of a saved model, after it is read; values are checked on access."""

    estimator: str
    fitted: Json
    feature_names: list[str] | None
    arrays: dict[str, np.ndarray]
    probe: ReferenceOutputs | None = None
    groups: tuple[tuple[Any, ...], ...] = ()
    """The fitted networks of an ensemble."""
    is_former: bool = False
    """Whether the saved model has an earlier format."""

    def value(self, name: str) -> Any:
        """Return a fitted attribute saved as JSON, already checked by `manifest`."""
        return self.fitted[name]

    def array(self, name: str) -> np.ndarray:
        """Return a fitted attribute saved as an array."""
        return _stored(name, self.arrays)

    @property
    def schema(self) -> Schema | None:
        """The kinds of the columns of a table; None if all columns are plain numbers."""
        schema = self.fitted.get("schema")
        return None if schema is None else Schema.from_json(schema)

    @property
    def cells(self) -> Schema | None:
        """The columns of a table of plain numbers, for results."""
        cells = self.fitted.get("cells")
        return None if cells is None else Schema.from_json(cells)

    @property
    def container(self) -> Container | None:
        """The container of the table of the fit."""
        container = self.fitted.get("container")
        return None if container is None else Container.from_json(container)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of the images, if the rows were read from image files."""
        shape = self.fitted.get("image_shape")
        return None if shape is None else tuple(shape)

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """The shape of a row, if the fit was to an array of more than two axes."""
        shape = self.fitted.get("row_shape")
        return None if shape is None else tuple(shape)

    def scaler(self, width: int) -> Scaler:
        """Return the scaling of rows with ``width`` features."""
        scaler = Scaler(self.fitted["scaling"], self.array("scaler.offset"), self.array("scaler.scale"))
        if {np.shape(scaler.offset), np.shape(scaler.scale)} != {(width,)}:
            raise ArtifactError(f"The saved arrays do not fit the saved parameters: rows have {width} features.")
        return scaler

    def model(self, recipe: Recipe, width: int) -> Model:
        """Return the model of a recipe, with the saved arrays."""
        room = _Room(sum(array.size for array in self.arrays.values()))
        return _filled(Model.build(recipe, width, room), self.arrays, self.is_former)


def parameters(estimator: Parametrised, seed: int | None = None) -> Json:
    """Return the parameters of an estimator as JSON; a `RandomState` is replaced by the seed drawn from it."""
    return {name: _to_json(value, seed) for name, value in estimator.get_params(deep=False).items()}


def to_artifact(stored: Stored) -> tuple[Json, dict[str, np.ndarray]]:
    """Return the manifest and the arrays of a fitted estimator."""
    entries, fitted, arrays = _within(stored) if stored.groups else _model(stored)
    manifest = {
        "estimator": stored.estimator,
        "parameters": stored.parameters,
        "fitted": stored.fitted | fitted,
        "feature_names": stored.feature_names,
    }
    return manifest | entries, arrays | stored.arrays


Pieces = tuple[Json, Json, dict[str, np.ndarray]]
"""Additional entries of the manifest, additional fitted attributes, and arrays."""


def _model(stored: Stored) -> Pieces:
    assert stored.scaler is not None
    leaves, _ = jax.tree_util.tree_flatten_with_path(stored.model)
    arrays = {_name(at): np.asarray(leaf) for at, leaf in leaves if _is_array(leaf)}
    arrays |= {"scaler.offset": stored.scaler.offset, "scaler.scale": stored.scaler.scale}
    entries = {}
    if (probe := stored.probe) is not None:
        entries = {"probe": {"n_rows": probe.n_rows, "fingerprint": probe.fingerprint, "threads": probe.threads}}
        arrays |= {"probe.codes": probe.codes, "probe.scores": probe.scores}
    return entries, {"scaling": stored.scaler.kind}, arrays


def _within(stored: Stored) -> Pieces:
    """Return the manifests and the arrays of an ensemble's networks; array names start with the network's number."""
    packed = [to_artifact(member) for group in stored.groups for member in group]
    arrays = {f"{i}.{name}": array for i, (_, some) in enumerate(packed) for name, array in some.items()}
    return {"groups": len(stored.groups), "members": [manifest for manifest, _ in packed]}, {}, arrays


_SINCE = "floor'].value"
"""End of the names of arrays that earlier formats do not have."""
_SINCE_FORMAT = 3
_LEARNED_GAUSSIAN = {"part": "LearnedGaussian", "floor": 1e-3}
"""Meaning of "learned_gaussian" in earlier formats."""
Classes = Mapping[str, type]
"""The estimator and component classes that may be created from a saved model, by name."""


def upgraded(classes: Classes, manifest: Json) -> Json:
    """Convert a manifest of an earlier format to the present format; new entries get the values in use then."""
    if manifest["format_version"] >= _SINCE_FORMAT:
        return manifest
    members = {}
    if "members" in manifest:
        members = {"members": [_upgraded(classes, member) for member in manifest["members"]]}
    return _upgraded(classes, manifest) | members


def _upgraded(classes: Classes, manifest: Json) -> Json:
    parameters = _former(classes, manifest["estimator"], manifest["parameters"])
    since = {"evaluation_": None, "sparsity_weight_": parameters.get("sparsity_weight")}
    return manifest | {"parameters": parameters, "fitted": since | manifest["fitted"], "is_former": True}


def _former(classes: Classes, name: object, parameters: Json) -> Json:
    """Return the parameters of an estimator, and of nested ones, with their meaning in the earlier format."""
    inner = {
        key: value | {"parameters": _former(classes, value["estimator"], value["parameters"])}
        for key, value in parameters.items()
        if isinstance(value, dict) and isinstance(value.get("parameters"), dict) and "estimator" in value
    }
    then = getattr(classes.get(name) if isinstance(name, str) else None, "_former", {})
    absent = {key: component.to_json(value) for key, value in then.items() if parameters.get(key) is None}
    named = {"likelihood": _LEARNED_GAUSSIAN} if parameters.get("likelihood") == "learned_gaussian" else {}
    return parameters | absent | named | inner


Restore = Callable[[Any, Found], None]
"""A function that sets the fitted attributes of an unfitted estimator."""


def from_artifact(classes: Classes, manifest: Json, arrays: dict[str, np.ndarray], restore: Restore) -> Any:
    """Create a fitted estimator from a manifest and arrays, with the given classes only.

    The inverse of `to_artifact`.

    Raises
    ------
    ArtifactError
        If the estimator or a parameter is unknown, or the arrays do not fit the parameters.
    """
    cls = _class(classes, manifest["estimator"])
    try:
        with jax_config.standard():
            estimator = _made(cls, classes, manifest["parameters"])
            restore(estimator, _found(cls, classes, manifest, arrays, restore))
        return estimator
    except (ArtifactError, ForkError, InvalidPlacement):
        raise
    except KeyError as error:
        raise ArtifactError(
            f"The saved {cls.__name__} is incomplete: there is no {error} in it. Save it again."
        ) from error
    except Exception as error:  # any error here is caused by the content of the files
        raise ArtifactError(f"The saved {cls.__name__} does not fit this version of diabolo: {error}") from error


def _found(cls: type, classes: Classes, manifest: Json, arrays: dict[str, np.ndarray], restore: Restore) -> Found:
    kept: ReferenceOutputs | None = None
    groups: tuple[tuple[Any, ...], ...] = ()
    if (probe := manifest.get("probe")) is not None:
        said = _stored("probe.codes", arrays), _stored("probe.scores", arrays)
        kept = ReferenceOutputs(probe["n_rows"], probe["fingerprint"], *said, probe.get("threads"))
    if (members := manifest.get("members")) is not None:
        some = [from_artifact(classes, member, _numbered(arrays, i), restore) for i, member in enumerate(members)]
        each = len(some) // manifest["groups"]
        groups = tuple(tuple(some[i * each : (i + 1) * each]) for i in range(manifest["groups"]))
    is_former = bool(manifest.get("is_former"))
    return Found(cls.__name__, manifest["fitted"], manifest["feature_names"], arrays, kept, groups, is_former)


def _class(classes: Classes, name: object) -> type:
    if not isinstance(name, str) or not hasattr(classes.get(name), "fit"):
        raise ArtifactError(
            f"The saved model holds a {name}, which is not an estimator of diabolo. "
            "If it is a custom class, give it: load(path, classes=[...])."
        )
    return classes[name]


def _made(cls: type, classes: Classes, parameters: Json) -> Any:
    """Create the unfitted estimator."""
    if unknown := sorted(set(parameters) - set(inspect.signature(cls).parameters)):
        raise ArtifactError(f"The saved {cls.__name__} has parameters this version does not know: {unknown}.")
    given = {}
    for name, value in parameters.items():
        if isinstance(value, dict) and "estimator" in value:
            given[name] = _made(_class(classes, value["estimator"]), classes, value["parameters"])
        else:
            given[name] = component.from_json(value, classes)
    return cls(**given)


class _Room(np.random.Generator):
    """A generator that draws at most as many numbers as the file holds, so that wrong parameters cannot fill memory."""

    def __init__(self, n_numbers: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._left = n_numbers

    def _take(self, size: object) -> None:
        self._left -= math.prod(size if isinstance(size, tuple) else (size or 1,))
        if self._left < 0:
            raise ArtifactError("The saved arrays do not fit the saved parameters: the parameters need more weights.")

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        self._take(size)
        return super().uniform(low, high, size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        self._take(size)
        return super().normal(loc, scale, size)

    def standard_normal(self, size: Any = None, *some: Any, **more: Any) -> Any:
        self._take(size)
        return super().standard_normal(size, *some, **more)


def _to_json(value: object, seed: int | None) -> object:
    if type(value).__name__ == "FrozenEstimator" and hasattr(value, "estimator"):  # saved as the estimator
        value = value.estimator
    if isinstance(value, Parametrised) and hasattr(value, "fit"):  # an estimator within another
        return {"estimator": type(value).__name__, "parameters": parameters(value)}
    if is_transformation(value):  # functions, which cannot be saved
        return None
    if isinstance(value, np.random.RandomState) and seed is not None:
        return seed
    return component.to_json(value.item() if isinstance(value, np.generic) else value)


def _is_array(leaf: object) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _name(at: tuple[Hashable, ...]) -> str:
    return f"model{jax.tree_util.keystr(at)}"


def _numbered(arrays: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    """Return the arrays of one network of an ensemble."""
    start = f"{i}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _stored(name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    name = name if name in arrays else former_names.ARRAYS.get(name, name)
    if name not in arrays:
        raise ArtifactError(f"The saved arrays do not fit the saved parameters: there is no {name}.")
    return arrays[name]


def _filled(model: Model, arrays: dict[str, np.ndarray], is_former: bool = False) -> Model:
    """Return the model with its arrays replaced by the saved arrays of the same names."""

    def stored(at: tuple[Hashable, ...], leaf: PyTree) -> PyTree:
        if not _is_array(leaf):
            return leaf
        if is_former and _name(at).endswith(_SINCE) and _name(at) not in arrays:
            return leaf
        array = _stored(_name(at), arrays)
        if array.shape != leaf.shape:
            raise ArtifactError(
                f"The saved arrays do not fit the saved parameters: {_name(at)} must have shape {leaf.shape}; "
                f"got {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ArtifactError(f"{_name(at)} holds numbers that are not finite. Train the model again.")
        return jax.device_put(array)

    leaves, tree = jax.tree_util.tree_flatten_with_path(model)
    filled: Model = jax.tree_util.tree_unflatten(tree, [stored(at, leaf) for at, leaf in leaves])
    return filled
