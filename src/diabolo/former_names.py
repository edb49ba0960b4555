"""Former names of components, errors and methods, with their present names.

Saved models of earlier formats, imports and custom components may use the former names. Use in Python code gives a
`FutureWarning`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["ARRAYS", "ERRORS", "HOOKS", "PARTS", "former_method", "lookup", "warn_of_former"]

PARTS = {
    "Code": "Deterministic",
    "Count": "NegativeBinomial",
    "Missing": "MaskCells",
    "Mixed": "ColumnwiseLikelihood",
    "OneOf": "RandomChoice",
}
"""Component classes, also in saved models."""

IN_PARTS = PARTS | {
    "Draws": "PosteriorSamples",
    "PerRow": "Vmap",
    "choice": "choice_field",
    "holds": "component_field",
    "holds_many": "component_tuple_field",
    "number": "float_field",
    "registered": "list_components",
    "whole": "int_field",
    "wholes": "int_tuple_field",
}
"""All former names in `diabolo.parts`."""

ERRORS = {
    "DamagedCheckpoint": "DamagedCheckpointWarning",
    "LossRose": "LossIncreasedWarning",
    "MissingExtra": "MissingDependencyError",
    "NoImprovement": "NoImprovementWarning",
    "NotCovered": "UnsupportedOperationError",
    "PoorFit": "PoorFitWarning",
    "PosteriorCollapse": "PosteriorCollapseWarning",
    "Retried": "RetriedWarning",
}

HOOKS = {
    "annealing": "kl_schedule",
    "bearers": "select_gradient_samples",
    "bind": "fit_bounds",
    "cells": "expand_mask",
    "hides": "produces_missing",
    "mirrored": "reversed",
    "n_bearers": "n_gradient_samples",
    "settled_after": "warmup_end",
    "shown": "transform_input",
    "times": "scale_level",
}
"""Methods that a custom component may define."""

ARRAYS = {"conformal_scores_": "calibration_errors_"}
"""Present names of fitted arrays, with their former names in saved models."""


def lookup(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module, which finds former names and gives a `FutureWarning`.

    >>> import diabolo.parts
    >>> with warnings.catch_warnings(action="ignore"):
    ...     diabolo.parts.Count is diabolo.parts.NegativeBinomial
    True
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_of_former(module, name, names[name])
        return getattr(sys.modules[module], names[name])

    return find


_FORMER_METHOD = """Return the result of `{present}`, whose former name this is; deprecated.

    Parameters
    ----------
    *given, **named : object
        The arguments of `{present}`.

    Returns
    -------
    object
        The result of `{present}`.
    """


def former_method(former: str, present: str) -> Callable[..., Any]:
    """Return a method with the former name of another, which gives a `FutureWarning`."""

    def call(self: Any, *given: Any, **named: Any) -> Any:
        warn_of_former(type(self).__name__, former, present)
        return getattr(self, present)(*given, **named)

    call.__name__, call.__doc__ = former, _FORMER_METHOD.format(present=present)
    return call


def warn_of_former(owner: str, former: str, present: str) -> None:
    """Give a `FutureWarning` that a former name was used."""
    message = f"{owner}.{former} is deprecated and will be removed in the next release: use {present}."
    warnings.warn(message, FutureWarning, stacklevel=3)
