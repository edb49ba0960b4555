"""Input columns of an estimator: validate rows, and convert results to the type of the input.

`InputSpec.learn` opens the rows of a fit and returns an `InputSpec`, which reads every later table with the same
columns. An `InputSpec` is immutable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pyarrow.dataset

from ..data.blocks import BlockReader, open_store
from ..data.containers import Container
from ..data.file_options import FileOptions
from ..data.frames import collected, joined, to_arrow
from ..data.readers import SchemaSpec, Table
from ..data.schema import Schema
from ..data.types import Frame, RowsLike
from ..engine.progress import Bar
from ..errors import InvalidData
from .columns import InputColumns
from .validation import FLOATS, flattened, refuse_huge, stand_in, valid_labels, validated

__all__ = ["InputSpec", "Opened"]

_FILES = str | os.PathLike | pyarrow.dataset.Dataset
_ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class Opened:
    """The rows of a fit, and their columns."""

    input: InputSpec
    rows: np.ndarray | BlockReader
    n_rows: int
    fingerprint: str | None = None
    """The hash of the rows, if already known."""


@dataclass(frozen=True, eq=False)
class InputSpec(InputColumns):
    """The input columns of a fit, with the methods that read rows and convert results."""

    @classmethod
    def learn(cls, owner: str, X: RowsLike, wanted: SchemaSpec = None, *, any_shape: bool = False) -> Opened:
        """Open the rows of a fit; with ``any_shape``, also an array of more than two axes, as rows (n, d).

        Raises
        ------
        InvalidData
            If there are fewer than 2 rows, a cell is not a number or infinite, or the schema names columns but ``X``
            has no column names.
        """
        flat, row_shape = flattened(X)
        if any_shape and row_shape is not None:
            opened = cls.learn(owner, flat, wanted)
            return replace(opened, input=replace(opened.input, row_shape=row_shape))
        is_array = type(X) is np.ndarray
        container = None if is_array else Container.of(X)
        found = None if is_array else open_store(X, wanted=wanted)
        schema: Schema | None = getattr(found, "schema", None)
        images = getattr(found, "images", None)
        shape = None if images is None else images.shape
        if schema is not None:
            assert found is not None
            spec = cls(owner, len(schema.names), tuple(schema.names), schema, shape, container=container)
            if isinstance(found, BlockReader):
                return Opened(spec, found, found.n_rows)
            if len(found.rows) < 2:
                raise InvalidData(f"The table has {len(found.rows)} row(s); at least 2 are needed. Give more rows.")
            return Opened(spec, refuse_huge(found.rows, spec.name_of), len(found.rows))
        if isinstance(wanted, Mapping) and wanted and getattr(found, "names", None) is None:
            raise InvalidData(f"schema names {next(iter(wanted))}, but X has no names of columns. Give a table.")
        if isinstance(found, BlockReader):
            spec = cls._of(*validated(owner, _first_rows(found)), shape)
            return Opened(spec._with_cells(container, found.iter_chunks()), found, found.n_rows)
        columns, rows = validated(owner, X if found is None else found.as_input(), ensure_min_samples=2)
        spec = cls._of(columns, rows, shape)
        return Opened(spec._with_cells(container, [rows]), rows, len(rows))

    def _with_cells(self, container: Container | None, pieces: Iterator[np.ndarray] | list[np.ndarray]) -> InputSpec:
        """Return a copy that describes the cells of a table of plain numbers."""
        names = self.names if container is None else container.names
        return self if names is None else replace(self, cells=Schema.of_numbers(names, pieces), container=container)

    @classmethod
    def of_labelled(cls, owner: str, X: RowsLike, y: object, wanted: SchemaSpec = None) -> tuple[Any, ...]:
        """Read labelled rows into memory; return the columns, the rows and the labels.

        Raises
        ------
        InvalidData
            If there are fewer than 2 rows, a cell is not a number or infinite, or a row has no label.
        """
        if y is None:
            raise InvalidData(f"{owner} requires y to be passed, but the target y is None. Give one label per row.")
        opened = cls.learn(owner, X, wanted)
        rows = opened.rows.table().rows if isinstance(opened.rows, BlockReader) else opened.rows
        return opened.input, refuse_huge(rows, opened.input.name_of), valid_labels(y, rows)

    @classmethod
    def _of(cls, columns: Any, rows: np.ndarray, shape: tuple[int, ...] | None) -> InputSpec:
        names = getattr(columns, "feature_names_in_", None)
        return cls(columns.__class__.__name__, rows.shape[1], None if names is None else tuple(names), None, shape)

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
        X = self._flat(X)
        self._check_labels(X)
        fitted = stand_in(self.owner)()
        fitted.n_features_in_ = self.n_features
        if self.names is not None:
            fitted.feature_names_in_ = np.array(self.names, dtype=object)
        rows: np.ndarray = validated(fitted, X, first=first, reset=False)[1]
        self.refuse_missing(rows, first)
        return rows

    def _flat(self, X: RowsLike) -> RowsLike:
        """Return X as rows (n, d), if it is an array of rows of the shape of the fit's."""
        flat, shape = flattened(X)
        if shape in (None, self.row_shape):
            return flat
        known = self.row_shape or (self.n_features,)
        raise InvalidData(
            f"X has rows of shape {shape}, but this {self.owner} was fitted to rows of shape {known}. Give the same."
        )

    def _check_labels(self, X: RowsLike) -> None:
        """Check that labels which are not texts, and thus no names for scikit-learn, are those of the fit.

        Raises
        ------
        InvalidData
            If they are not, or in another order.
        """
        if self.names is not None or self.container is None or (given := Container.of(X)) is None:
            return
        if given.labels != self.container.labels:
            raise InvalidData(
                f"The columns of X are {', '.join(given.names[:8])}, but {self.owner} was fitted to the columns "
                f"{', '.join(self.container.names[:8])}. Give the same columns in the same order."
            )

    def source(
        self, X: RowsLike, key: str | None = None, options: FileOptions | None = None, *, whole: bool = False
    ) -> BlockReader | Table | None:
        """Open rows from any source with the columns of the fit, selected by name; None for an array or a data frame.

        Parameters
        ----------
        X : rows as for `fit`
        key, options
            As in `diabolo.data.readers.read`.
        whole : bool, default=False
            Whether the other columns of a file are needed as well.

        Raises
        ------
        InvalidData
            If the rows cannot be read, or a column is missing.
        """
        is_file = isinstance(X, _FILES)
        if is_file and whole and self.schema is None and self.cells is not None and not _is_array_file(X):
            return open_store(X, key=key, wanted=self.cells, options=options)
        names = self.names if is_file and self.schema is None else None
        opened = open_store(X, names or (), key=key, wanted=self.schema, options=options, is_fitted=True)
        if (images := getattr(opened, "images", None)) is not None:
            images.require_shape(self.image_shape)
        return opened

    def open(self, X: RowsLike) -> BlockReader | np.ndarray:
        """Open rows from any source, with the columns of the fit; rows of a `BlockReader` are not checked yet.

        Raises
        ------
        InvalidData
            As `read`, or if a table is needed and ``X`` is not a table.
        """
        X = self._flat(collected(X))
        opened = self.source(X)
        if self.schema is None:
            if isinstance(opened, BlockReader):
                self.read(_first_rows(opened))
                return opened
            return self.read(X) if opened is None else self.read(opened.as_input(), opened.first)
        opened = self._require_table(opened)
        if isinstance(opened, BlockReader):
            return opened
        self.refuse_missing(opened.rows, opened.first)
        return refuse_huge(opened.rows, self.name_of, opened.first)

    def _require_table(self, opened: BlockReader | Table | None) -> BlockReader | Table:
        assert self.schema is not None
        if opened is None or opened.schema is None:
            raise InvalidData(
                f"This {self.owner} was fitted to a table with columns {', '.join(self.schema.names[:8])}"
                f"{', …' if len(self.schema.names) > 8 else ''}. Give it a data frame, an Arrow table or a file."
            )
        return opened

    def rows(self, X: RowsLike) -> np.ndarray:
        """Read rows from any source into memory; raises as `open`."""
        if not isinstance(opened := self._opened(X), BlockReader):
            return opened
        rows: np.ndarray = opened.table().rows
        self.refuse_missing(rows)
        return rows

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

    def map_cells(
        self, X: RowsLike, op: Callable[[np.ndarray, int], Any], show_progress: bool = False
    ) -> tuple[Any, Frame]:
        """As `map`; also return the cells of the columns, unchanged, in the container of X."""
        form, X = Container.of(X), collected(X)
        found, given = [], []
        for piece in self.tables(X, show_progress):
            found.append(op(piece.rows, piece.first))
            given.append(piece.rows if piece.given is None else piece.given.select(list(self.names_in(form))))
        return jax.tree.map(lambda *some: np.concatenate(some), *found), self._joined(given, form, X)

    def fill(self, X: RowsLike, found: Callable[[np.ndarray, int], np.ndarray], show_progress: bool = False) -> Frame:
        """Return X with its missing cells filled by ``found``, a function of rows and the number of the first row.

        A table has all columns of the fit's table, in their order; columns that the model does not use are unchanged.
        """
        form, X = Container.of(X), collected(X)
        pieces = []
        for piece in self.tables(X, show_progress):
            filled = np.where(np.isnan(piece.rows), found(piece.rows, piece.first), piece.rows).astype(piece.rows.dtype)
            if piece.given is not None:
                filled = self._form(form).fill_missing(piece.given, filled, is_part=form is None)
            pieces.append(filled)
        return self._joined(pieces, form, X)

    def fill_bounds(
        self, X: RowsLike, ends: Callable[[np.ndarray, int], tuple[np.ndarray, ...]], show_progress: bool = False
    ) -> tuple[Frame, Frame]:
        """Return X twice, with the lower and the upper bounds by ``ends`` in place of missing cells."""
        form, X = Container.of(X), collected(X)
        sides: tuple[list[Any], list[Any]] = [], []
        for piece in self.tables(X, show_progress):
            for i, bounds in enumerate(ends(piece.rows, piece.first)):
                filled = np.where(np.isnan(piece.rows), bounds, piece.rows).astype(piece.rows.dtype)
                if piece.given is not None:
                    filled = self._form(form).fill_bounds(piece.given, filled, upper=i == 1)
                sides[i].append(filled)
        low, high = (self._joined(pieces, form, X) for pieces in sides)
        return low, high

    def convert(
        self, rows: np.ndarray, X: RowsLike | None = None, *, given: np.ndarray | None = None, has_index: bool = True
    ) -> Frame:
        """Return rows in the user's units and in the container of ``X``; without it, in the container of the fit.

        Parameters
        ----------
        rows : (n, width)
        X : rows as for `fit`, or None
        given : (1, width) or None
            An encoded row from `row_of`, whose known cells all rows get, exactly.
        has_index : bool, default=True
            Whether a pandas data frame gets the index of ``X``, whose rows it then has.
        """
        rows = rows if given is None else np.where(np.isnan(given), rows, given)
        form = self.container if X is None else Container.of(X)
        is_table = self.cells is not None if X is None else form is not None or self._is_table_file(X)
        if self.schema is None and not is_table:
            return self.shaped(rows, X)
        columns = self._form(form)
        table = columns.decode(rows) if given is None else columns.with_given(columns.decode(rows), given)
        return table if form is None else form.build(table, X if has_index else None)

    def convert_codes(self, rows: np.ndarray, Z: RowsLike) -> Frame:
        """Return decoded codes in the container of the codes; without one, an array, or a table of the fit's."""
        given = Container.of(Z)
        if given is None:
            return self.shaped(rows) if self.schema is None else self.convert(rows)
        form, table = self.container, self._form(self.container).decode(rows)
        if form is None or form.library != given.library:
            form = Container(given.library, tuple(table.column_names), (None,) * table.num_columns)
        return replace(form, is_lazy=given.is_lazy).build(table, Z)

    def _form(self, container: Container | None) -> Schema:
        """Return the columns of results, named as in a container."""
        if self.schema is not None:
            return self.schema
        names = self.names_in(container)
        form = self.cells or Schema.of_numbers(names, [np.full((1, self.n_features), 0.5)])
        return form.renamed(names)

    def _is_table_file(self, X: RowsLike) -> bool:
        """Return whether rows that are not in a container are of a table, with the names of the fit."""
        if isinstance(X, Table | BlockReader):
            return X.names is not None
        return self.names is not None and isinstance(X, _FILES) and not _is_array_file(X)

    def tables(self, X: RowsLike, show_progress: bool = False) -> Iterator[Table]:
        """Yield checked rows in chunks, with their cells as given, if they are of a table."""
        if self._is_plain(X := self._flat(X)):
            yield Table(X)  # type: ignore[arg-type]
            return
        opened = self.source(X, whole=True)
        if self.schema is None and opened is None:
            yield Table(self.read(X), given=to_arrow(X))
            return
        if isinstance(opened, Table) and opened.given is None and self.schema is None:
            given = None if opened.names is None else opened.as_arrow()
            yield Table(self.read(opened.as_input(), opened.first), first=opened.first, given=given)
            return
        opened = opened if self.schema is None else self._require_table(opened)
        if not isinstance(opened, BlockReader):
            assert opened is not None
            self._check(opened)
            yield opened
            return
        if opened.schema is None:
            self.read(_first_rows(opened))
        with Bar(f"{self.owner} reading", opened.n_rows, show_progress) as bar:
            for piece in opened.tables(whole=True):
                self._check(piece)
                is_complete = piece.given is not None or piece.names is None
                yield piece if is_complete else replace(piece, given=piece.as_arrow())
                opened.free()
                bar.show(piece.first + len(piece.rows))

    def _check(self, piece: Table) -> None:
        self.refuse_missing(piece.rows, piece.first)
        refuse_huge(piece.rows, self.name_of, piece.first)

    def shaped(self, rows: np.ndarray, X: RowsLike | None = None) -> np.ndarray:
        """Return rows in the shape of the fit's; those for an ``X`` of shape (n, d) have this shape."""
        shape = self.row_shape if X is None else flattened(X)[1]
        return rows if shape is None else rows.reshape(len(rows), *shape)

    def _joined(self, pieces: list[Any], form: Container | None, X: RowsLike) -> Frame:
        """Join chunks of a result, and convert them to a container."""
        if isinstance(pieces[0], np.ndarray):
            return self.shaped(np.concatenate(pieces), X)
        table = joined(pieces)
        return table if form is None else form.build(table, X)

    def _opened(self, X: RowsLike) -> BlockReader | np.ndarray:
        return X if self._is_plain(X) else self.open(X)  # type: ignore[return-value]

    def _is_plain(self, X: RowsLike) -> bool:
        """Return whether X needs no validation by scikit-learn, which for one row takes longer than the model."""
        if type(X) is not np.ndarray or X.dtype not in FLOATS or X.ndim != 2 or self.names is not None:
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return len(X) > 0 and X.shape[1] == self.n_features and bool(np.isfinite(X.sum(dtype=np.float32)))


def _first_rows(store: BlockReader) -> RowsLike:
    """Return a few rows with their column names, to check the columns."""
    return Table(store.read_checked(0)[:2], store.names).as_input()


def _is_array_file(X: RowsLike) -> bool:
    return isinstance(X, str | os.PathLike) and os.fspath(X).lower().endswith(_ARRAYS)
