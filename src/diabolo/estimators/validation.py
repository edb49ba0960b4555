"""Checks of rows of numbers: scikit-learn's, on a stand-in with the estimator's name, and the range of 32 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d, validate_data

from ..data.containers import text_of
from ..data.readers import check_unique_names
from ..data.types import Name
from ..errors import InvalidData, InvalidType

__all__ = ["FLOATS", "flattened", "places_among", "refuse_huge", "stand_in", "valid_labels", "validated"]

FLOATS = [np.float64, np.float32]
_CELLS: dict[str, object] = {"dtype": FLOATS, "ensure_all_finite": "allow-nan", "order": "C"}
"""Checks of scikit-learn for rows: floating-point numbers, with NaN for missing cells, row by row: sums of columns in
another order would round differently."""


def flattened(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Return an array of shape (n, …) as rows (n, d), with the shape of a row; (n, d) and other rows with None.

    >>> rows, shape = flattened(np.zeros((5, 20, 3)))
    >>> rows.shape, shape
    ((5, 60), (20, 3))
    """
    if not isinstance(X, np.ndarray | jax.Array) or isinstance(X, np.memmap) or X.ndim < 3:
        return X, None
    return X.reshape(len(X), prod(X.shape[1:])), X.shape[1:]


@cache
def stand_in(owner: str) -> type[BaseEstimator]:
    """Return a class with this name, on which scikit-learn stores the columns, and which its messages name."""
    return type(owner, (BaseEstimator,), {})


def validated(columns: Any, *given: Any, first: int = 0, **checks: Any) -> tuple[Any, Any]:
    """Validate rows with scikit-learn's `validate_data`; return the object with the columns, and the valid rows.

    Parameters
    ----------
    columns : str or object
        The name of an estimator, or an object with the columns of a fit.
    *given
        The rows, and for a classifier the labels.
    first : int, default=0
        The number of the first row, for messages.
    **checks
        More options of `validate_data`.

    Raises
    ------
    InvalidData
        If a cell is not a number or not finite in 32 bits, there are too few rows, or the columns differ from the
        columns of the fit; with scikit-learn's message.
    """
    columns = stand_in(columns)() if isinstance(columns, str) else columns
    X = given[0]
    names = getattr(X, "column_names", None) or getattr(X, "columns", ())
    if np.iterable(names) and list(names):
        check_unique_names(list(names), "X")
    if np.ma.is_masked(X):
        raise InvalidData("X is a masked array; its mask would be ignored. Give X.filled(numpy.nan).")
    if getattr(getattr(X, "dtype", None), "kind", "") in ("M", "m"):
        raise InvalidData(f"X is an array of {X.dtype}. Give a data frame, which may have date columns, or numbers.")
    try:
        found = validate_data(columns, *given, **_CELLS, **checks)
    except TypeError as error:
        raise InvalidType(str(error)) from error
    except ValueError as error:
        raise InvalidData(str(error) + _in_order(columns, names)) from error
    rows = found[0] if isinstance(found, tuple) else found
    labels = getattr(columns, "feature_names_in_", range(rows.shape[1]))
    refuse_huge(rows, labels.__getitem__, first)
    return columns, found


def _in_order(columns: Any, names: Any) -> str:
    """Return how to select the columns, if X has all of them, but others as well, or another order."""
    known = getattr(columns, "feature_names_in_", None)
    is_there = known is not None and np.iterable(names) and set(known) <= set(names) and list(known) != list(names)
    return "Give X[list(estimator.feature_names_in_)]." if is_there else ""


def refuse_huge(rows: np.ndarray, name_of: Callable[[int], Name], first: int = 0) -> np.ndarray:
    """Return the rows unchanged if all known cells are finite as 32-bit numbers, the type of the networks' input.

    Raises
    ------
    InvalidData
        If a cell is not finite as a 32-bit number.
    """
    if rows.dtype == np.float64:
        with np.errstate(over="ignore"):
            huge = np.isinf(rows.astype(np.float32))
        if huge.any():
            row, column = np.argwhere(huge)[0]
            raise InvalidData(
                f"Row {first + row + 1}, column {name_of(column)} holds {rows[row, column]:g}, which is not a finite "
                "32-bit number. Use another unit for the column, or drop such rows first."
            )
    return rows


def valid_labels(y: object, rows: np.ndarray) -> np.ndarray:
    """Return the labels of rows, (n,).

    Raises
    ------
    InvalidData
        If there is not one label per row, or labels are missing.
    """
    try:
        labels: np.ndarray = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(rows, labels)
    except (ValueError, TypeError) as error:
        raise InvalidData(str(error)) from error
    return labels


def places_among(names: Sequence[Name], *labels: Sequence[Name]) -> list[int]:
    """Return the positions of columns by their labels; the first kind of label that has a name decides.

    Raises
    ------
    InvalidData
        If there is no such column.
    """
    known: dict[Name, int] = {}
    for kind in reversed(labels):
        known |= {label: i for i, label in enumerate(kind)}
    if unknown := [name for name in names if name not in known]:
        texts = list(map(text_of, labels[0]))
        raise InvalidData(
            f"There is no column named {', '.join(map(text_of, unknown))}. The columns are: "
            f"{', '.join(texts[:12])}{', …' if len(texts) > 12 else ''}."
        )
    return [known[name] for name in names]
