"""The way of the user's rows into numbers: which columns there are, and the same ones again whenever rows come.

Everything that is fitted to rows has this in common, whatever is done with them then.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.dataset
from sklearn.utils.validation import check_is_fitted, validate_data

from ..data.blocks import Store, open_store
from ..data.readers import Table, refuse_twins
from ..data.schema import Schema
from ..engine.progress import Bar
from ..errors import InvalidData, InvalidType

__all__ = ["CELLS", "FLOATS", "Columns", "Tables", "of_kind", "validated"]

FLOATS = [np.float64, np.float32]
CELLS: dict[str, Any] = {"dtype": FLOATS, "ensure_all_finite": "allow-nan"}
"""What rows may hold: numbers, and NaN for cells that are missing."""

_FILES = str | os.PathLike | pyarrow.dataset.Dataset


def validated(estimator: Any, *given: Any, **checks: Any) -> Any:
    """What scikit-learn's `validate_data` gives; what it refuses is refused in its words, as one of our errors.

    Raises
    ------
    InvalidData
        If the rows are no numbers, infinite, too few, or not of the columns that were fitted.
    """
    X = given[0]
    names = getattr(X, "column_names", None) or getattr(X, "columns", ())
    refuse_twins(list(names) if np.iterable(names) else (), "X")
    if np.ma.is_masked(X):
        raise InvalidData("X is a masked array, whose mask would not be seen. Give X.filled(numpy.nan).")
    if getattr(getattr(X, "dtype", None), "kind", "") in ("M", "m"):
        raise InvalidData(f"X is an array of {X.dtype}. Give a data frame, whose columns may be dates, or numbers.")
    try:
        return validate_data(estimator, *given, **checks)
    except TypeError as error:
        raise InvalidType(str(error)) from error
    except ValueError as error:
        raise InvalidData(str(error)) from error


def refuse_huge(rows: np.ndarray, name_of: Callable[[int], Any], first: int = 0) -> np.ndarray:
    """The rows, if all known cells are 32-bit numbers, as networks read them."""
    if rows.dtype == np.float64:
        with np.errstate(over="ignore"):
            huge = np.isinf(rows.astype(np.float32))
        if huge.any():
            row, column = np.argwhere(huge)[0]
            raise InvalidData(
                f"Row {first + row + 1}, column {name_of(column)} holds {rows[row, column]:g}, which is not a finite "
                "32-bit number. Give the column in another unit, or drop such rows first."
            )
    return rows


class Columns:
    """Knows the columns of arrays and of data frames of numbers."""

    n_features_in_: int

    @property
    def _speaks(self) -> bool:
        """Whether to show how far a reading is."""
        return False

    _missing = False  # not annotated, so not a parameter
    """Whether rows may have missing cells: those that were fitted had some, or a corruption hid some."""

    @property
    def _width(self) -> int:
        """How many numbers a row is."""
        return int(self.n_features_in_)

    def _read(self, X: Any, first: int = 0) -> np.ndarray:
        """Rows of the columns that were fitted."""
        rows: np.ndarray = validated(self, X, **CELLS, reset=False)
        self._refuse_holes(rows, first)
        return refuse_huge(rows, self._name_of, first)

    def _refuse_holes(self, rows: np.ndarray, first: int = 0) -> None:
        """Missing cells, unless there were some in training."""
        if not self._missing and (holes := np.isnan(rows)).any():
            row, column = np.argwhere(holes)[0]
            where = f"row {first + row + 1}, column {self._name_of(column)}"
            raise InvalidData(
                f"X has missing cells, the first in {where}, but the rows that "
                f"this {type(self).__name__} was fitted to had none. Fit it to rows with missing cells, or with the "
                "corruption Missing(), or fill them."
            )

    def _name_of(self, place: int) -> Any:
        """The column that a number of a row belongs to."""
        return getattr(self, "feature_names_in_", range(self._width))[place]


class Tables(Columns):
    """Knows those of everything that rows may come from: files, tables with a schema, what is larger than memory."""

    schema: Any
    schema_: Schema | None
    image_shape_: tuple[int, ...] | None

    def _opened(self, X: Any) -> Any:
        """A store or an array, whose columns are now known."""
        rows: Any = open_store(X, wanted=self.schema)
        self.schema_ = getattr(rows, "schema", None)
        images = getattr(rows, "images", None)
        self.image_shape_ = None if images is None else images.shape
        if self.schema_ is not None:
            return self._met(rows)
        if isinstance(self.schema, Mapping) and self.schema and getattr(rows, "names", None) is None:
            raise InvalidData(
                f"The schema names {next(iter(self.schema))}, but X has no names of columns. Give a table."
            )
        if isinstance(rows, Store):
            self._meet(rows, reset=True)
        else:
            rows = X if rows is None else rows.as_input()
            rows = refuse_huge(validated(self, rows, **CELLS, ensure_min_samples=2), self._name_of)
        return rows

    def _met(self, given: Store | Table) -> Any:
        """Learn the columns of a table that is read by a schema; its store, or its rows."""
        assert self.schema_ is not None
        self.n_features_in_, self.feature_names_in_ = len(self.schema_.names), np.array(self.schema_.names, object)
        if isinstance(given, Store):
            return given
        if len(given.rows) < 2:
            raise InvalidData(f"The table has {len(given.rows)} row(s); at least 2 are needed.")
        return refuse_huge(given.rows, self._name_of)

    @property
    def _width(self) -> int:
        return super()._width if self.schema_ is None else self.schema_.width

    def _meet(self, store: Store, *, reset: bool) -> None:
        """Learn the columns of a store, or see that they are those known."""
        validated(self, Table(store.checked(0)[:2], store.names).as_input(), **CELLS, reset=reset)

    def _rows(self, X: Any) -> np.ndarray:
        """Rows in memory, of the columns that were fitted."""
        opened = X if self._is_plain(X) else self._opened_again(X)
        if isinstance(opened, Store):
            opened = opened.table().rows
            self._refuse_holes(opened)
        return opened

    def _opened_again(self, X: Any) -> Store | np.ndarray:
        """A store or an array of the columns that were fitted."""
        by_name = isinstance(X, _FILES) and self.schema_ is None
        opened = open_store(X, tuple(getattr(self, "feature_names_in_", ())) if by_name else (), wanted=self.schema_)
        if (images := getattr(opened, "images", None)) is not None:
            images.require_shape(self.image_shape_)
        if self.schema_ is None:
            if isinstance(opened, Store):
                self._meet(opened, reset=False)
                return opened
            return self._read(X) if opened is None else self._read(opened.as_input(), opened.first)
        if opened is None or opened.schema is None:
            raise InvalidData(
                f"This {type(self).__name__} was fitted to a table with columns {', '.join(self.schema_.names[:8])}"
                f"{', …' if len(self.schema_.names) > 8 else ''}. Give it a data frame, an Arrow table or a file."
            )
        if isinstance(opened, Store):
            return opened
        self._refuse_holes(opened.rows, opened.first)
        return refuse_huge(opened.rows, self._name_of, opened.first)

    def _name_of(self, place: int) -> Any:
        return super()._name_of(place) if self.schema_ is None else self.schema_.owners[place]

    def _told(self, rows: np.ndarray, X: Any = None) -> Any:
        """Rows in the user's units; of a table, a table of the kind that was given."""
        if self.schema_ is None:
            return rows
        return of_kind(self.schema_.decode(rows), X)

    def _filled(self, X: Any, found: Callable[[np.ndarray, int], np.ndarray]) -> Any:
        """X with missing cells as ``found`` has them, in the user's units, of rows and the first one's number."""

        def filled(rows: np.ndarray, first: int) -> np.ndarray:
            return np.where(np.isnan(rows), found(rows, first), rows).astype(rows.dtype)

        if self.schema_ is None:
            return self._mapped(X, filled)
        check_is_fitted(self)
        opened: Any = open_store(X, wanted=self.schema_)
        pieces = []
        for piece in opened.tables(whole=True) if isinstance(opened, Store) else (opened,):
            self._refuse_holes(piece.rows, piece.first)
            refuse_huge(piece.rows, self._name_of, piece.first)
            pieces.append(self.schema_.filled(piece.given, filled(piece.rows, piece.first)))
        return of_kind(pa.concat_tables(pieces), X)

    def _row_of(self, given: Mapping[Any, Any]) -> np.ndarray:
        """A row, (1, n), of which only some columns are known."""
        if not isinstance(given, Mapping):
            raise InvalidType(f"given must say values by the names of columns, as a dict; got {given!r}.")
        names = list(getattr(self, "feature_names_in_", range(self.n_features_in_)))
        if unknown := [name for name in given if name not in names]:
            raise InvalidData(
                f"There is no column named {', '.join(map(str, unknown))}. The columns are: "
                f"{', '.join(map(str, names[:12]))}{', …' if len(names) > 12 else ''}."
            )
        if self.schema_ is not None:
            return self.schema_.encode(self.schema_.row(given))
        row = np.full((1, len(names)), np.nan)
        for name, value in given.items():
            if not isinstance(value, numbers.Real) or not abs(float(value)) <= np.finfo(np.float32).max:
                raise InvalidData(f"{name} is never {value!r}. It is a finite 32-bit number.")
            row[0, names.index(name)] = value
        return row

    def _is_plain(self, X: Any) -> bool:
        """Whether scikit-learn would find nothing to do or to say: for one row, asking takes longer than the model."""
        if type(X) is not np.ndarray or X.dtype not in FLOATS or X.ndim != 2 or hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return len(X) > 0 and X.shape[1] == self.n_features_in_ and bool(np.isfinite(X.sum(dtype=np.float32)))

    def _mapped(self, X: Any, op: Callable[[np.ndarray, int], Any]) -> Any:
        """What ``op`` makes of rows and the first one's number; of rows that do not fit in memory, span by span."""
        check_is_fitted(self)
        opened = X if self._is_plain(X) else self._opened_again(X)
        if not isinstance(opened, Store):
            return op(opened, 0)
        pieces, first = [], 0
        with Bar(f"{type(self).__name__} reading", opened.n_rows, self._speaks) as bar:
            for rows in opened.spans():
                self._refuse_holes(rows, first)
                pieces.append(op(rows, first))
                first += len(rows)
                opened.release()
                bar.show(first)
        return jax.tree.map(lambda *some: np.concatenate(some), *pieces)


def of_kind(table: pa.Table, X: Any) -> Any:
    """An Arrow table as a frame of the library that X is of."""
    given = type(X).__module__.partition(".")[0]
    if given == "pandas":
        return table.to_pandas().set_axis(X.index)
    return type(X)(table) if given == "polars" else table
