"""The schema of model.json, and the only code that checks it.

A form describes a JSON value:

- a type: a value of this type;
- a list of one form: a list of values of this form;
- a dict: an object with these entries; an entry whose name ends in "?" is optional, and "*" is the form of all others;
- a set: one of its texts;
- a tuple: a value of any of its forms;
- a range: an integer in the range;
- `ANYTHING`: any JSON value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn

from ..data.schema import KINDS
from ..data.types import Json

__all__ = ["ManifestError", "check", "check_head"]

ANYTHING = object
_NUMBER = (int, float)
_COUNT = range(2**53)
_NOTHING = type(None)
_KINDS = frozenset(KINDS)

_COLUMN = {
    "name": str,
    "kind": _KINDS,
    "type": str,
    "low?": (*_NUMBER, _NOTHING),
    "high?": (*_NUMBER, _NOTHING),
    "whole?": bool,
    "categories?": [str],
    "why?": str,
    "notation?": str,
    "missing?": [str],
    "options?": str,
}
_CONTAINER = {
    "library": frozenset({"pandas", "polars", "arrow"}),
    "labels": [ANYTHING],
    "types": [ANYTHING],
    "levels": [ANYTHING],
}
_TABLE = {
    "schema?": ([_COLUMN], _NOTHING),
    "cells?": ([_COLUMN], _NOTHING),
    "container?": (_CONTAINER, _NOTHING),
    "image_shape?": ([int], _NOTHING),
    "row_shape?": ([_COUNT], _NOTHING),
    "seed": int,
    "missing": bool,
}
_EVALUATION = {
    "rows": str,
    "n_rows": _COUNT,
    "explained_variance": _NUMBER,
    "pca_explained_variance": (*_NUMBER, _NOTHING),
}
_ALONE = {
    "evaluation_?": (_EVALUATION, _NOTHING),
    "n_features_in_": _COUNT,
    "n_samples_": _COUNT,
    "history_": {"*": [_NUMBER]},
    "best_epoch_": _COUNT,
    "n_epochs_": _COUNT,
    "data_fingerprint_": str,
    "scaling": str,
    **_TABLE,
    "*": ANYTHING,
}
_TOGETHER = {"n_features_in_": _COUNT, "n_samples_": _COUNT, "data_fingerprint_": str, **_TABLE, "*": ANYTHING}
_COMMON = {"estimator": str, "parameters": {"*": ANYTHING}, "feature_names": ([str], _NOTHING)}
_PROBE = {"n_rows": _COUNT, "fingerprint": str, "threads?": (int, _NOTHING)}
_ONE = {**_COMMON, "fitted": _ALONE, "probe?": _PROBE, "*": ANYTHING}
_SEVERAL = {**_COMMON, "fitted": _TOGETHER, "groups": _COUNT, "members": [_ONE], "*": ANYTHING}

_HEAD = {"format_version": _COUNT, "versions": {"*": str}, "*": ANYTHING}


class ManifestError(ValueError):
    """A value in the manifest is invalid; the message has its place and the value."""


def check_head(manifest: Json) -> None:
    """Check the entries that every format has: the format version and the package versions.

    Raises
    ------
    ManifestError
        If an entry is missing or invalid.
    """
    _check(manifest, _HEAD, "")


def check(manifest: Json) -> None:
    """Check that a manifest matches the schema, and that its numbers are consistent.

    Raises
    ------
    ManifestError
        If an entry is missing, unknown or invalid, or two numbers contradict each other.
    """
    _check(manifest, _SEVERAL if "members" in manifest else _ONE, "")
    for one in manifest.get("members", [manifest]):
        fitted = one["fitted"]
        lengths = {len(curve) for curve in fitted["history_"].values()}
        if len(lengths) > 1 or not lengths <= {fitted["n_epochs_"]}:
            raise ManifestError(
                f"history_ has curves of {', '.join(map(str, sorted(lengths)))} epochs, but n_epochs_ is "
                f"{fitted['n_epochs_']}"
            )
        if not 0 <= fitted["best_epoch_"] <= fitted["n_epochs_"]:
            raise ManifestError(f"best_epoch_ is {fitted['best_epoch_']}, but n_epochs_ is {fitted['n_epochs_']}")
    if "members" in manifest:
        n, groups = len(manifest["members"]), manifest["groups"]
        if not 0 < groups <= max(n, 1) or n % groups:
            raise ManifestError(f"there are {n} networks, which cannot be divided into {groups} groups")


def _check(value: object, form: object, where: str) -> None:
    if form is ANYTHING:
        return
    if isinstance(form, tuple):
        kinds = [one for one in form if isinstance(one, type)]
        others = [one for one in form if not isinstance(one, type)]
        if type(value) in kinds and (type(value) is not float or math.isfinite(value)):
            return
        if not others:
            _refuse(value, where)
        _check(value, others[0], where)
    elif isinstance(form, range | frozenset):
        if type(value) is not (int if isinstance(form, range) else str) or value not in form:
            _refuse(value, where)
    elif isinstance(form, list):
        if type(value) is not list:
            _refuse(value, where)
        for i, item in enumerate(value):
            _check(item, form[0], f"{where}[{i}]")
    elif isinstance(form, dict):
        _check_object(value, form, where)
    elif type(value) is not form:
        _refuse(value, where)


def _check_object(value: object, form: Mapping[str, object], where: str) -> None:
    if type(value) is not dict:
        _refuse(value, where)
    known = {name.rstrip("?"): (inner, name.endswith("?")) for name, inner in form.items() if name != "*"}
    if absent := [name for name, (_, may_be_absent) in known.items() if name not in value and not may_be_absent]:
        raise ManifestError(f"there is no {absent[0]} in {where or 'it'}")
    for name, item in value.items():
        inner, _ = known.get(name, (form.get("*"), True))
        if inner is None:
            raise ManifestError(f"{where} has an unknown entry {name[:40]!r}")
        _check(item, inner, f"{where}.{name[:40]}" if where else name[:40])


def _refuse(value: object, where: str) -> NoReturn:
    kinds = {dict: "an object", list: "a list", str: f"the text {str(value)[:20]!r}", _NOTHING: "null"}
    raise ManifestError(f"{where} is {kinds.get(type(value), str(value)[:20])}, which is invalid")
