"""Checks of parameters and arguments: components by name, seeds, and the arguments of public methods.

An argument of one name has the same type and range in all methods.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sized

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import InvalidParameterError

from ..errors import InvalidParameter

__all__ = ["MAX_INT", "Refused", "Seed", "check_arguments", "check_page", "drawing", "seed_from"]

Seed = int | np.random.RandomState | None

MAX_INT = 2**31 - 1
"""Largest value of integer parameters: epochs, batch size, number of units, …"""


def _is_flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_integer(value: object, least: int, most: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= int(value) <= most


def _is_size(value: object) -> bool:
    return _is_integer(value, 1, MAX_INT)


def _is_seed(value: object) -> bool:
    return value is None or isinstance(value, np.random.RandomState) or _is_integer(value, 0, 2**32 - 1)


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _is_dtype(value: object) -> bool:
    return isinstance(value, str) and value in ("auto", "float32", "float64")


def _are_labels(value: object) -> bool:
    is_array = isinstance(value, Sized) or hasattr(value, "__array__")
    return is_array and not isinstance(value, str | bytes | Mapping | type) and getattr(value, "ndim", 1) > 0


def _are_numbers(value: object) -> bool:
    try:
        return np.asarray(value).dtype.kind in "fiu"
    except ValueError:
        return False


def _are_hosts(value: object) -> bool:
    """Return whether a value is None or a collection of names: a single text would accept each of its parts."""
    if value is None or isinstance(value, str | bytes | Mapping):
        return value is None
    return isinstance(value, Collection) and all(isinstance(one, str) for one in value)


_COUNT, _FLAG = ("an integer of at least 1", _is_size), ("True or False", _is_flag)
_ARGUMENTS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "checkpoint_dir": ("a path or None", lambda value: value is None or _is_path(value)),
    "classes": ("a list of classes", lambda value: isinstance(value, Iterable)),
    "coverage": ("a number in (0, 1)", lambda value: isinstance(value, float | np.floating) and 0 < float(value) < 1),
    "deep": _FLAG,
    "dtype": ('"auto", "float32" or "float64"', _is_dtype),
    "force": _FLAG,
    "given": ("a dict from column names to values, or None", lambda value: isinstance(value, Mapping | None)),
    "hosts": ("a collection of host names, or None", _are_hosts),
    "image_shape": ("(height, width), (height, width, 3) or None", lambda value: isinstance(value, tuple | None)),
    "name": ("a text", lambda value: isinstance(value, str)),
    "n_draws": ("an integer of at least 1, or None", lambda value: value is None or _is_size(value)),
    "n_samples": _COUNT,
    "n_steps": _COUNT,
    "noise": _FLAG,
    "path": ("a path", _is_path),
    "random_state": ("an integer from 0 to 2³² − 1, a NumPy RandomState or None", _is_seed),
    "resume": _FLAG,
    "scores": ("an array of numbers", _are_numbers),
    "title": ("a text", lambda value: isinstance(value, str)),
    "to": ("a dict from columns of the condition to values, or None", lambda value: isinstance(value, Mapping | None)),
    "token": ("a text or None", lambda value: isinstance(value, str | None)),
    "y": ("one label for each row, or None", lambda value: value is None or _are_labels(value)),
}
"""What each argument may be, in words and as a function."""


def check_arguments(**given: object) -> None:
    """Check arguments by name; ``y``, which most methods ignore, must at least be labels.

    Raises
    ------
    InvalidParameter
        If an argument has a wrong type or is out of range.

    Examples
    --------
    >>> check_arguments(resume=True, n_samples=3)
    >>> check_arguments(resume="no")
    Traceback (most recent call last):
    diabolo.errors.InvalidParameter: resume must be True or False; got 'no'.
    """
    for name, value in given.items():
        words, is_valid = _ARGUMENTS[name]
        if not is_valid(value):
            raise InvalidParameter(f"{name} must be {words}; got {reprlib.repr(value)}.")


def check_page(path: object, title: object) -> None:
    """Check the arguments of a report: a path or None, and a title."""
    check_arguments(title=title, **({} if path is None else {"path": path}))


def drawing(random_state: Seed) -> np.random.RandomState:
    """Return a NumPy random state for ``random_state``, in any form that scikit-learn accepts."""
    check_arguments(random_state=random_state)
    state: np.random.RandomState = check_random_state(random_state)
    return state


def seed_from(random_state: Seed) -> int:
    """Draw a seed from ``random_state``."""
    return int(drawing(random_state).randint(2**30))


class Refused(InvalidParameter, InvalidParameterError):  # type: ignore[misc]
    """An invalid parameter, for `except` clauses with diabolo's class and with scikit-learn's."""
