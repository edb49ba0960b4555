"""Between a fitted estimator and its artefact: what is written down, and how it is put together again."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import jax_config
from ..core import component
from ..core.model import Model
from ..data.scaler import Scaler
from ..data.schema import Schema
from ..errors import ArtifactError, ForkError, InvalidPlacement
from .reference_outputs import Probe

__all__ = ["pack", "parameters", "unpack", "upgraded"]

_FITTED = ("n_features_in_", "n_samples_", "history_", "best_epoch_", "n_epochs_", "data_fingerprint_")


def parameters(estimator: Any) -> dict[str, Any]:
    """An estimator's parameters as JSON."""
    return {name: _to_json(estimator, value) for name, value in estimator._given().items()}


def pack(estimator: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The manifest, which is JSON, and the arrays of a fitted estimator, or of one that holds fitted ones."""
    told, fitted, arrays = (_members if hasattr(estimator, "estimators_") else _model)(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    fitted |= {name: getattr(estimator, name) for name in estimator._fitted_json}
    fitted |= _columns(estimator) | {"seed": estimator._seed, "missing": estimator._missing}
    arrays |= {name: np.asarray(getattr(estimator, name)) for name in estimator._fitted_arrays}
    manifest = {
        "estimator": type(estimator).__name__,
        "parameters": parameters(estimator),
        "fitted": fitted,
        "feature_names": None if names is None else list(names),
    }
    return manifest | told, arrays


Pieces = tuple[dict[str, Any], dict[str, Any], dict[str, np.ndarray]]
"""What the manifest says besides, what it says is fitted, and arrays."""


def _model(estimator: Any) -> Pieces:
    leaves, _ = jax.tree_util.tree_flatten_with_path(estimator.model_)
    arrays = {_name(at): np.asarray(leaf) for at, leaf in leaves if _is_array(leaf)}
    arrays |= {"scaler.offset": estimator.scaler_.offset, "scaler.scale": estimator.scaler_.scale}
    fitted = {name: getattr(estimator, name) for name in _FITTED}
    told = {}
    if (probe := getattr(estimator, "_probe", None)) is not None:
        told = {"probe": {"n_rows": probe.n_rows, "fingerprint": probe.fingerprint, "threads": probe.threads}}
        arrays |= {"probe.codes": probe.codes, "probe.scores": probe.scores}
    return told, fitted | {"scaling": estimator.scaler_.kind}, arrays


def _members(estimator: Any) -> Pieces:
    """Groups of equal size: each one's manifest and arrays, numbered."""
    packed = [pack(member) for group in estimator.estimators_ for member in group]
    arrays = {f"{i}.{name}": array for i, (_, some) in enumerate(packed) for name, array in some.items()}
    told = {"groups": len(estimator.estimators_), "members": [manifest for manifest, _ in packed]}
    return told, {"n_features_in_": estimator.n_features_in_}, arrays


_SINCE = "floor'].value"
"""The end of the names of arrays that earlier formats have not."""
_SINCE_FORMAT = 3
_LEARNED_GAUSSIAN = {"part": "LearnedGaussian", "floor": 1e-3}
"""What "learned_gaussian" stood for in earlier formats."""
Classes = Mapping[str, Any]
"""The estimators and parts that may be made of what is read, by name."""


def upgraded(classes: Classes, manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of any earlier format as this one's: what was not written then has the value that it had."""
    if manifest["format_version"] >= _SINCE_FORMAT:
        return manifest
    members = {}
    if "members" in manifest:
        members = {"members": [_upgraded(classes, member) for member in manifest["members"]]}
    return _upgraded(classes, manifest) | members


def _upgraded(classes: Classes, manifest: dict[str, Any]) -> dict[str, Any]:
    parameters = _former(classes, manifest["estimator"], manifest["parameters"])
    since = {"evaluation_": None, "sparsity_weight_": parameters.get("sparsity_weight")}
    return manifest | {"parameters": parameters, "fitted": since | manifest["fitted"], "is_former": True}


def _former(classes: Classes, name: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters of an estimator, and of those within, as they were understood then."""
    inner = {
        key: value | {"parameters": _former(classes, value["estimator"], value["parameters"])}
        for key, value in parameters.items()
        if isinstance(value, dict) and isinstance(value.get("parameters"), dict) and "estimator" in value
    }
    then = getattr(classes.get(name) if isinstance(name, str) else None, "_former", {})
    absent = {key: component.to_json(value) for key, value in then.items() if parameters.get(key) is None}
    named = {"likelihood": _LEARNED_GAUSSIAN} if parameters.get("likelihood") == "learned_gaussian" else {}
    return parameters | absent | named | inner


def unpack(classes: Classes, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `pack`, with these classes and no others.

    Raises
    ------
    ArtifactError
        If there is no such estimator, parameters are unknown to this version, or the arrays do not fit them.
    """
    cls = _class(classes, manifest["estimator"])
    try:
        return _unpack(cls, classes, manifest, arrays)
    except (ArtifactError, ForkError, InvalidPlacement):
        raise
    except KeyError as error:
        raise ArtifactError(f"The saved {cls.__name__} is incomplete: there is no {error} in it.") from error
    except Exception as error:  # whatever it is, it comes of what stands in the file
        raise ArtifactError(f"The saved {cls.__name__} does not fit this version of diabolo: {error}") from error


def _columns(estimator: Any) -> dict[str, Any]:
    """What is known of a table's columns."""
    if not hasattr(estimator, "schema_"):
        return {}
    schema = None if estimator.schema_ is None else estimator.schema_.to_json()
    return {"schema": schema, "image_shape": estimator.image_shape_}


def _class(classes: Classes, name: Any) -> Any:
    if not isinstance(name, str) or not hasattr(classes.get(name), "fit"):
        raise ArtifactError(
            f"The saved model holds a {name}, which is not among diabolo's estimators. "
            "Is it your own? Give its class: load(path, classes=[...])."
        )
    return classes[name]


def _made(cls: Any, classes: Classes, parameters: dict[str, Any]) -> Any:
    """The unfitted estimator."""
    if unknown := sorted(set(parameters) - set(inspect.signature(cls).parameters)):
        raise ArtifactError(f"The saved {cls.__name__} has parameters this version does not know: {unknown}.")
    given = {}
    for name, value in parameters.items():
        if isinstance(value, dict) and "estimator" in value:
            given[name] = _made(_class(classes, value["estimator"]), classes, value["parameters"])
        else:
            given[name] = component.from_json(value, classes)
    return cls(**given)


@jax_config.standard()
def _unpack(cls: Any, classes: Classes, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    estimator = _made(cls, classes, manifest["parameters"])
    estimator._validate_params()
    fitted, members = manifest["fitted"], manifest.get("members")
    for name in (*(_FITTED if members is None else ("n_features_in_",)), *cls._fitted_json):
        setattr(estimator, name, fitted[name])
    if manifest["feature_names"] is not None:
        estimator.feature_names_in_ = np.asarray(manifest["feature_names"], dtype=object)
    for name in cls._fitted_arrays:
        setattr(estimator, name, _stored(name, arrays))
    estimator._seed, estimator._missing = fitted["seed"], fitted["missing"]
    if "schema" in inspect.signature(cls).parameters:
        estimator.schema_ = None if fitted["schema"] is None else Schema.from_json(fitted["schema"])
        estimator.image_shape_ = None if fitted["image_shape"] is None else tuple(fitted["image_shape"])
    if members is not None:
        some = [unpack(classes, member, _numbered(arrays, i)) for i, member in enumerate(members)]
        each = len(some) // manifest["groups"]
        estimator.estimators_ = [some[i : i + each] for i in range(0, len(some), each)]
        return estimator
    estimator.scaler_ = Scaler(fitted["scaling"], _stored("scaler.offset", arrays), _stored("scaler.scale", arrays))
    width = estimator._width
    if {np.shape(estimator.scaler_.offset), np.shape(estimator.scaler_.scale)} != {(width,)}:
        raise ArtifactError(f"The saved arrays do not fit the saved parameters: rows have {width} numbers.")
    bounds = jnp.zeros(width)
    recipe = estimator._formula().bind(bounds, bounds)
    if (probe := manifest.get("probe")) is not None:
        kept = (_stored("probe.codes", arrays), _stored("probe.scores", arrays))
        estimator._probe = Probe(probe["n_rows"], probe["fingerprint"], *kept, probe.get("threads"))
    room = _Room(sum(array.size for array in arrays.values()))
    estimator.model_ = _filled(Model.build(recipe, width, room), arrays, bool(manifest.get("is_former")))
    return estimator


class _Room(np.random.Generator):
    """Draws no more numbers than a file holds, lest parameters that do not fit it ask for all memory there is."""

    def __init__(self, n_numbers: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._left = n_numbers

    def _take(self, size: Any) -> None:
        self._left -= math.prod(size if isinstance(size, tuple) else (size or 1,))
        if self._left < 0:
            raise ArtifactError("The saved arrays do not fit the saved parameters: these ask for more weights.")

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        self._take(size)
        return super().uniform(low, high, size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        self._take(size)
        return super().normal(loc, scale, size)

    def standard_normal(self, size: Any = None, *some: Any, **more: Any) -> Any:
        self._take(size)
        return super().standard_normal(size, *some, **more)


def _to_json(estimator: Any, value: Any) -> Any:
    if hasattr(value, "_given"):  # an estimator within another
        return {"estimator": type(value).__name__, "parameters": parameters(value)}
    if isinstance(value, np.random.RandomState):  # the seed that was drawn from it
        return estimator._seed
    return component.to_json(value.item() if isinstance(value, np.generic) else value)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _name(at: Any) -> str:
    return f"model{jax.tree_util.keystr(at)}"


def _numbered(arrays: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    """Those of one member."""
    start = f"{i}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _stored(name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if name not in arrays:
        raise ArtifactError(f"The saved arrays do not fit the saved parameters: there is no {name}.")
    return arrays[name]


def _filled(model: Model, arrays: dict[str, np.ndarray], is_former: bool = False) -> Model:
    """The model with its arrays replaced by those stored under their names."""

    def stored(at: Any, leaf: Any) -> Any:
        if not _is_array(leaf):
            return leaf
        if is_former and _name(at).endswith(_SINCE) and _name(at) not in arrays:
            return leaf
        array = _stored(_name(at), arrays)
        if array.shape != leaf.shape:
            raise ArtifactError(
                f"The saved arrays do not fit the saved parameters: {_name(at)} should have shape {leaf.shape}, "
                f"it has {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ArtifactError(f"{_name(at)} holds numbers that are not finite. Train the model again.")
        return jax.device_put(array)

    leaves, tree = jax.tree_util.tree_flatten_with_path(model)
    filled: Model = jax.tree_util.tree_unflatten(tree, [stored(at, leaf) for at, leaf in leaves])
    return filled
