"""Columns of a fit: their names, their kinds, and the features of an encoded row that belong to each."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.containers import Container
from ..data.schema import Schema
from ..data.types import Name, RowsLike
from ..errors import InvalidData, InvalidType
from .validation import places_among

__all__ = ["InputColumns"]


@dataclass(frozen=True, eq=False)
class InputColumns:
    """The input columns of a fit.

    Parameters
    ----------
    owner : str
        The name of the estimator's class, for messages.
    n_features : int
        The number of columns of the input.
    names : tuple of str or None
        The names of the columns, if they have names.
    schema : Schema or None
        The kinds of the columns of a table; None if all columns are plain numbers.
    image_shape : tuple of int or None
        (height, width) or (height, width, 3) if the rows were read from image files.
    allow_missing : bool
        Whether rows may have missing cells: the rows of the fit had some, or a corruption masked some.
    cells : Schema or None
        The columns of a table of plain numbers, for results: which of them are integers. None: rows are an array, or
        `schema` says it.
    container : Container or None
        The container of the table of the fit; None if it was an array or a file.
    row_shape : tuple of int or None
        The shape of a row, if the fit was to an array of more than two axes: for series (length, channels).
    """

    owner: str
    n_features: int
    names: tuple[str, ...] | None = None
    schema: Schema | None = None
    image_shape: tuple[int, ...] | None = None
    allow_missing: bool = False
    cells: Schema | None = None
    container: Container | None = None
    row_shape: tuple[int, ...] | None = None
    width: int = field(init=False)
    """Number of features of an encoded row."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.n_features if self.schema is None else self.schema.width)

    @property
    def labels(self) -> Sequence[Name]:
        """The names of the columns, or their numbers if there are no names."""
        return range(self.n_features) if self.names is None else self.names

    @property
    def user_labels(self) -> tuple[Any, ...]:
        """The labels of the columns in the user's table: texts, integers or tuples; numbers if rows are an array."""
        return self._labels_in(self.container)

    def labels_in(self, X: RowsLike) -> tuple[Any, ...]:
        """Return the labels of the columns used, in the table ``X``."""
        return self._labels_in(Container.of(X))

    def _labels_in(self, form: Container | None) -> tuple[Any, ...]:
        return tuple(self.labels) if form is None else form.labels_of(self.names_in(form))

    def names_in(self, container: Container | None) -> tuple[str, ...]:
        """Return the names of the columns used, in a container; plain numbers have the same positions in each."""
        if self.schema is not None:
            return self.schema.names
        return tuple(map(str, self.labels)) if container is None else container.names

    @property
    def all_names(self) -> tuple[str, ...] | None:
        """The names of all columns of the fit's table, also of those that the model does not use."""
        form = self.schema or self.cells
        return None if form is None else tuple(column.name for column in form.columns)

    @property
    def column_of_feature(self) -> Sequence[Name]:
        """The name, or number, of the column of each feature of an encoded row."""
        return self.labels if self.schema is None else self.schema.column_of_feature

    @property
    def is_ordered(self) -> np.ndarray:
        """(width,), whether each feature is ordered: numbers, dates and counts."""
        if self.schema is None:
            return np.ones(self.width, bool)
        ordered = {column.name for column in self.schema.used if column.has_order}
        return np.array([name in ordered for name in self.schema.column_of_feature])

    def name_of(self, place: int) -> Name:
        """Return the column of the feature at a position of an encoded row."""
        return self.column_of_feature[place]

    def places_of(self, names: Sequence[Name]) -> list[int]:
        """Return the positions of columns, by the user's labels or by their names; raises as `places_among`."""
        return places_among(names, self.user_labels, self.labels)

    def row_of(self, given: Mapping[Name, object]) -> np.ndarray:
        """Return an encoded row, (1, width), with the given values; the other cells are missing.

        Raises
        ------
        InvalidData
            If ``given`` names an unknown column, or a value that the column cannot have.
        """
        if not isinstance(given, Mapping):
            raise InvalidType(f"given must be a dict from column names to values; got {given!r}.")
        known = dict(zip(given, self.places_of([*given]), strict=True))
        if self.schema is not None:
            cells = {self.schema.names[known[name]]: value for name, value in given.items()}
            return self.schema.encode(self.schema.row(cells))
        row = np.full((1, self.n_features), np.nan)
        for name, value in given.items():
            number = float(value) if isinstance(value, numbers.Real | np.bool_) else np.nan
            if not abs(number) <= np.finfo(np.float32).max:
                raise InvalidData(f"Column {name} cannot be {value!r}. It is a finite 32-bit number.")
            row[0, known[name]] = number
        return row
