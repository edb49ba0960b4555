"""Input columns of an estimator: validate rows, and convert results to the type of the input.

`InputSpec.learn` opens the rows of a fit and returns an `InputSpec`, which reads every later table with the same
columns. An `InputSpec` is immutable.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.dataset
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from ..data.blocks import BlockReader, open_store
from ..data.readers import SchemaSpec, Table, check_unique_names
from ..data.schema import Schema
from ..data.types import Frame, Name, RowsLike
from ..engine.progress import Bar
from ..errors import InvalidData, InvalidType

__all__ = ["FLOATS", "InputSpec", "Opened", "to_input_type"]

FLOATS = [np.float64, np.float32]
_CELLS: dict[str, object] = {"dtype": FLOATS, "ensure_all_finite": "allow-nan", "order": "C"}
"""Checks of scikit-learn for rows: floating-point numbers, with NaN for missing cells, row by row: sums of columns in
another order would round differently."""

_FILES = str | os.PathLike | pyarrow.dataset.Dataset


@dataclass(frozen=True)
class Opened:
    """The rows of a fit, and their columns."""

    input: InputSpec
    rows: np.ndarray | BlockReader
    n_rows: int
    fingerprint: str | None = None
    """The hash of the rows, if already known."""


@dataclass(frozen=True, eq=False)
class InputSpec:
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
    """

    owner: str
    n_features: int
    names: tuple[str, ...] | None = None
    schema: Schema | None = None
    image_shape: tuple[int, ...] | None = None
    allow_missing: bool = False
    width: int = field(init=False)
    """Number of features of an encoded row."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.n_features if self.schema is None else self.schema.width)

    @classmethod
    def learn(cls, owner: str, X: RowsLike, wanted: SchemaSpec = None) -> Opened:
        """Open the rows of a fit.

        Raises
        ------
        InvalidData
            If there are fewer than 2 rows, a cell is not a number or infinite, or the schema names columns but ``X``
            has no column names.
        """
        found = open_store(X, wanted=wanted)
        schema: Schema | None = getattr(found, "schema", None)
        images = getattr(found, "images", None)
        shape = None if images is None else images.shape
        if schema is not None:
            assert found is not None
            spec = cls(owner, len(schema.names), tuple(schema.names), schema, shape)
            if isinstance(found, BlockReader):
                return Opened(spec, found, found.n_rows)
            if len(found.rows) < 2:
                raise InvalidData(f"The table has {len(found.rows)} row(s); at least 2 are needed. Give more rows.")
            return Opened(spec, _refuse_huge(found.rows, spec.name_of), len(found.rows))
        if isinstance(wanted, Mapping) and wanted and getattr(found, "names", None) is None:
            raise InvalidData(f"schema names {next(iter(wanted))}, but X has no names of columns. Give a table.")
        if isinstance(found, BlockReader):
            return Opened(cls._of(*_validated(owner, _first_rows(found)), shape), found, found.n_rows)
        columns, rows = _validated(owner, X if found is None else found.as_input(), ensure_min_samples=2)
        spec = cls._of(columns, rows, shape)
        return Opened(spec, _refuse_huge(rows, spec.name_of), len(rows))

    @classmethod
    def of_labelled(cls, owner: str, X: RowsLike, y: object) -> tuple[InputSpec, np.ndarray, np.ndarray]:
        """Read labelled rows in memory; return the columns, the rows and the labels.

        Raises
        ------
        InvalidData
            If there are fewer than 2 rows, a cell is not a number or infinite, or a row has no label.
        """
        if y is None:
            raise InvalidData(f"{owner} requires y to be passed, but the target y is None. Give one label per row.")
        columns, (rows, labels) = _validated(owner, X, y, ensure_min_samples=2)
        return cls._of(columns, rows, None), rows, labels

    @classmethod
    def _of(cls, columns: Any, rows: np.ndarray, shape: tuple[int, ...] | None) -> InputSpec:
        names = getattr(columns, "feature_names_in_", None)
        return cls(columns.__class__.__name__, rows.shape[1], None if names is None else tuple(names), None, shape)

    # -- the columns --------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> Sequence[Name]:
        """The names of the columns, or their numbers if there are no names."""
        return range(self.n_features) if self.names is None else self.names

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

    # -- reading rows -------------------------------------------------------------------------------------------------

    def refuse_missing(self, rows: np.ndarray, first: int = 0) -> None:
        """Check that there are no missing cells, unless the model allows them.

        Raises
        ------
        InvalidData
            If a cell is missing and the model does not allow missing cells.
        """
        if not self.allow_missing and (holes := np.isnan(rows)).any():
            row, column = np.argwhere(holes)[0]
            raise InvalidData(
                f"X has missing cells, the first in row {first + row + 1}, column {self.name_of(column)}, but this "
                f"{self.owner} was fitted to rows without missing cells. Fit it to rows with missing cells or with the "
                "corruption MaskCells(), or fill the cells first."
            )

    def read(self, X: RowsLike, first: int = 0) -> np.ndarray:
        """Read rows in memory with numeric columns.

        Raises
        ------
        InvalidData
            If a cell is not a number or infinite, or the columns differ from the columns of the fit.
        """
        fitted = _stand_in(self.owner)()
        fitted.n_features_in_ = self.n_features
        if self.names is not None:
            fitted.feature_names_in_ = np.array(self.names, dtype=object)
        rows: np.ndarray = _validated(fitted, X, reset=False)[1]
        self.refuse_missing(rows, first)
        return _refuse_huge(rows, self.name_of, first)

    def open(self, X: RowsLike) -> BlockReader | np.ndarray:
        """Open rows from any source, with the columns of the fit; rows of a `BlockReader` are not checked yet.

        Raises
        ------
        InvalidData
            As `read`, or if a table is needed and ``X`` is not a table.
        """
        by_name = isinstance(X, _FILES) and self.schema is None
        opened = open_store(X, self.names or () if by_name else (), wanted=self.schema)
        if (images := getattr(opened, "images", None)) is not None:
            images.require_shape(self.image_shape)
        if self.schema is None:
            if isinstance(opened, BlockReader):
                self.read(_first_rows(opened))
                return opened
            return self.read(X) if opened is None else self.read(opened.as_input(), opened.first)
        if opened is None or opened.schema is None:
            raise InvalidData(
                f"This {self.owner} was fitted to a table with columns {', '.join(self.schema.names[:8])}"
                f"{', …' if len(self.schema.names) > 8 else ''}. Give it a data frame, an Arrow table or a file."
            )
        if isinstance(opened, BlockReader):
            return opened
        self.refuse_missing(opened.rows, opened.first)
        return _refuse_huge(opened.rows, self.name_of, opened.first)

    def rows(self, X: RowsLike) -> np.ndarray:
        """Read rows from any source into memory; raises as `open`."""
        opened = self._opened(X)
        if not isinstance(opened, BlockReader):
            return opened
        rows: np.ndarray = opened.table().rows
        self.refuse_missing(rows)
        return rows

    def row_of(self, given: Mapping[Name, object]) -> np.ndarray:
        """Return an encoded row, (1, width), with the given values; the other cells are missing.

        Raises
        ------
        InvalidData
            If ``given`` names an unknown column, or a value that the column cannot have.
        """
        if not isinstance(given, Mapping):
            raise InvalidType(f"given must be a dict from column names to values; got {given!r}.")
        names = list(self.labels)
        if unknown := [name for name in given if name not in names]:
            raise InvalidData(
                f"There is no column named {', '.join(map(str, unknown))}. The columns are: "
                f"{', '.join(map(str, names[:12]))}{', …' if len(names) > 12 else ''}."
            )
        if self.schema is not None:
            return self.schema.encode(self.schema.row({str(name): value for name, value in given.items()}))
        row = np.full((1, len(names)), np.nan)
        for name, value in given.items():
            if not isinstance(value, numbers.Real) or not abs(float(value)) <= np.finfo(np.float32).max:
                raise InvalidData(f"Column {name} cannot be {value!r}. It is a finite 32-bit number.")
            row[0, names.index(name)] = value
        return row

    # -- converting results -------------------------------------------------------------------------------------------

    def map(self, X: RowsLike, op: Callable[[np.ndarray, int], Any], show_progress: bool = False) -> Any:
        """Apply ``op`` to the rows and the number of the first row; chunk by chunk for a `BlockReader`."""
        opened = self._opened(X)
        if not isinstance(opened, BlockReader):
            return op(opened, 0)
        pieces, first = [], 0
        with Bar(f"{self.owner} reading", opened.n_rows, show_progress) as bar:
            for rows in opened.iter_chunks():
                self.refuse_missing(rows, first)
                pieces.append(op(rows, first))
                first += len(rows)
                opened.free()
                bar.show(first)
        return jax.tree.map(lambda *some: np.concatenate(some), *pieces)

    def fill(self, X: RowsLike, found: Callable[[np.ndarray, int], np.ndarray], show_progress: bool = False) -> Frame:
        """Return X with its missing cells filled by ``found``, a function of rows and the number of the first row."""

        def filled(rows: np.ndarray, first: int) -> np.ndarray:
            return np.where(np.isnan(rows), found(rows, first), rows).astype(rows.dtype)

        if self.schema is None:
            return self.map(X, filled, show_progress)
        opened: Any = open_store(X, wanted=self.schema)
        pieces = []
        for piece in opened.tables(whole=True) if isinstance(opened, BlockReader) else (opened,):
            self.refuse_missing(piece.rows, piece.first)
            _refuse_huge(piece.rows, self.name_of, piece.first)
            pieces.append(self.schema.fill_missing(piece.given, filled(piece.rows, piece.first)))
        return to_input_type(pa.concat_tables(pieces), X)

    def convert(self, rows: np.ndarray, X: RowsLike | None = None) -> Frame:
        """Return rows in the user's units; with a schema, as a table of the same type as ``X``."""
        return rows if self.schema is None else to_input_type(self.schema.decode(rows), X)

    def _opened(self, X: RowsLike) -> BlockReader | np.ndarray:
        return X if self._is_plain(X) else self.open(X)  # type: ignore[return-value]

    def _is_plain(self, X: RowsLike) -> bool:
        """Return whether X needs no validation by scikit-learn, which for one row takes longer than the model."""
        if type(X) is not np.ndarray or X.dtype not in FLOATS or X.ndim != 2 or self.names is not None:
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return len(X) > 0 and X.shape[1] == self.n_features and bool(np.isfinite(X.sum(dtype=np.float32)))


def to_input_type(table: pa.Table, X: object) -> Frame:
    """Convert an Arrow table to a data frame of the same library as X; without one, keep the Arrow table."""
    given = type(X).__module__.partition(".")[0]
    if given == "pandas":
        return table.to_pandas().set_axis(X.index)  # type: ignore[attr-defined]
    return type(X)(table) if given == "polars" else table  # type: ignore[call-arg]


@cache
def _stand_in(owner: str) -> type[BaseEstimator]:
    """Return a class with this name, on which scikit-learn stores the columns, and which its messages name."""
    return type(owner, (BaseEstimator,), {})


def _validated(columns: Any, *given: Any, **checks: Any) -> tuple[Any, Any]:
    """Validate rows with scikit-learn's `validate_data`; return the object with the columns, and the valid rows.

    Raises
    ------
    InvalidData
        If a cell is not a number or infinite, there are too few rows, or the columns differ from the columns of the
        fit; with scikit-learn's message.
    """
    columns = _stand_in(columns)() if isinstance(columns, str) else columns
    X = given[0]
    names = getattr(X, "column_names", None) or getattr(X, "columns", ())
    if np.iterable(names) and list(names):
        check_unique_names(list(names), "X")
    if np.ma.is_masked(X):
        raise InvalidData("X is a masked array; its mask would be ignored. Give X.filled(numpy.nan).")
    if getattr(getattr(X, "dtype", None), "kind", "") in ("M", "m"):
        raise InvalidData(f"X is an array of {X.dtype}. Give a data frame, which may have date columns, or numbers.")
    try:
        return columns, validate_data(columns, *given, **_CELLS, **checks)
    except TypeError as error:
        raise InvalidType(str(error)) from error
    except ValueError as error:
        raise InvalidData(str(error)) from error


def _first_rows(store: BlockReader) -> RowsLike:
    """Return a few rows with their column names, to check the columns."""
    return Table(store.read_checked(0)[:2], store.names).as_input()


def _refuse_huge(rows: np.ndarray, name_of: Callable[[int], Name], first: int = 0) -> np.ndarray:
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
