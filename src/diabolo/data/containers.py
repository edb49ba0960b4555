"""The container of a table: its library, labels and types, in which results are returned.

A result is computed as an Arrow table. `Container.build` converts it to the library of the user's table, with its
labels, and with its types where they can hold the result.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pyarrow as pa

from .cells import arrow_type, unpacked
from .types import Frame, RowsLike

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["Container", "is_lazy", "is_pandas", "text_of"]

_SCALARS = (str, int, float, bool)


def _is_instance(rows: object, library: str, *names: str) -> bool:
    """Return whether an object is of a class of a library, which need not be imported."""
    module = sys.modules.get(library)
    return module is not None and isinstance(rows, tuple(getattr(module, name) for name in names))


def is_pandas(rows: object) -> TypeGuard[pd.DataFrame]:
    """Return whether an object is a data frame of pandas."""
    return _is_instance(rows, "pandas", "DataFrame")


def is_lazy(rows: object) -> TypeGuard[pl.LazyFrame]:
    """Return whether an object is a lazy frame of polars."""
    return _is_instance(rows, "polars", "LazyFrame")


def _is_eager(rows: object) -> TypeGuard[pl.DataFrame]:
    return _is_instance(rows, "polars", "DataFrame")


def text_of(label: Hashable) -> str:
    """Return the name of the column with this label.

    >>> text_of("age"), text_of(3), text_of(("a", 1))
    ('age', '3', "('a', '1')")
    """
    return str(tuple(map(text_of, label))) if isinstance(label, tuple) else str(label)


@dataclass(frozen=True)
class Container:
    """The library, the labels and the types of a table.

    Parameters
    ----------
    library : {"pandas", "polars", "arrow"}
    labels : tuple
        The labels of the columns: texts, integers or tuples.
    types : tuple
        The type of each column in its library; or its description, from `to_json`.
    levels : tuple
        pandas: the names of the levels of the labels.
    is_lazy : bool
        Whether the table is a lazy frame of polars.
    """

    library: str
    labels: tuple[Hashable, ...]
    types: tuple[Any, ...]
    levels: tuple[Hashable, ...] = (None,)
    is_lazy: bool = False

    @classmethod
    def of(cls, rows: RowsLike) -> Container | None:
        """Return the container of a table in memory; None for anything else."""
        if is_pandas(rows):
            return cls("pandas", tuple(rows.columns), tuple(rows.dtypes), tuple(rows.columns.names))
        if is_lazy(rows) or _is_eager(rows):
            kinds = rows.collect_schema()
            return cls("polars", tuple(kinds), tuple(kinds.values()), is_lazy=is_lazy(rows))
        if isinstance(rows, pa.Table | pa.RecordBatch | pa.RecordBatchReader):
            return cls("arrow", tuple(rows.schema.names), tuple(rows.schema.types))
        if hasattr(rows, "__arrow_c_stream__") and hasattr(rows, "columns"):
            labels = tuple(rows.columns)
            return cls("arrow", labels, (None,) * len(labels))
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: the labels as texts."""
        return tuple(map(text_of, self.labels))

    def labels_of(self, names: Sequence[str]) -> tuple[Hashable, ...]:
        """Return the labels of columns; a name that is not in the table is its own label."""
        known = dict(zip(self.names, self.labels, strict=True))
        return tuple(known.get(name, name) for name in names)

    def build(self, table: pa.Table, like: RowsLike | None = None) -> Frame:
        """Convert an Arrow table to this library, with the labels and types of the columns of the same names.

        Without the library, for example on another machine, the result is the Arrow table.

        Parameters
        ----------
        table : pa.Table
        like : table or None
            The user's table, whose index a pandas data frame gets.
        """
        table = table.replace_schema_metadata(None)
        kinds = dict(zip(self.names, self.types, strict=True))
        wanted = [kinds.get(name) for name in table.column_names]
        if self.library == "arrow" or (module := _imported(self.library)) is None:
            columns = [_as_arrow(cells, kind) for cells, kind in zip(table.columns, wanted, strict=True)]
            return pa.table(columns, names=table.column_names)
        if self.library == "polars":
            series = zip(module.DataFrame(table), wanted, strict=True)
            frame = module.DataFrame([_as_polars(module, cells, kind) for cells, kind in series])
            return frame.lazy() if self.is_lazy else frame
        frame = table.to_pandas()
        for name, kind in zip(table.column_names, wanted, strict=True):
            if (cells := _as_pandas(module, frame[name], kind)) is not None:
                frame[name] = cells
        frame.columns = self._axis(module, table.column_names)
        return frame.set_axis(like.index) if is_pandas(like) else frame

    def _axis(self, pandas: ModuleType, names: Sequence[str]) -> pd.Index:
        """Return the labels of these columns as an index of pandas."""
        labels = list(self.labels_of(names))
        if len(self.levels) > 1 and all(isinstance(label, tuple) for label in labels):
            return pandas.MultiIndex.from_tuples(labels, names=self.levels)
        return pandas.Index(labels, name=self.levels[0], tupleize_cols=False)

    # -- saved models -------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, object]:
        """Return a description in JSON, for `from_json`; a label of another type becomes a text."""
        return {
            "library": self.library,
            "labels": [_label_to_json(label) for label in self.labels],
            "types": [_type_to_json(kind) for kind in self.types],
            "levels": [level if isinstance(level, _SCALARS) else None for level in self.levels],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Container:
        """Create a container from the result of `to_json`."""
        labels = tuple(map(_label_from_json, found["labels"]))
        return cls(found["library"], labels, tuple(found["types"]), tuple(found["levels"]))


def _imported(library: str) -> ModuleType | None:
    try:
        return importlib.import_module(library)
    except ImportError:
        return None


# -- types in each library --------------------------------------------------------------------------------------------


def _as_arrow(cells: pa.ChunkedArray, kind: object) -> pa.ChunkedArray:
    if isinstance(kind, str):
        with suppress(ValueError):
            kind = pa.dictionary(pa.int32(), pa.string()) if kind == "dictionary" else arrow_type(kind)
    if not isinstance(kind, pa.DataType) or kind == cells.type:
        return cells
    try:
        return unpacked(cells).cast(kind)  # raises if a cell does not fit
    except pa.ArrowException:
        return cells


def _as_polars(polars: ModuleType, cells: pl.Series, kind: Any) -> pl.Series:
    if isinstance(kind, Mapping):
        kind = polars.Enum(kind["categories"])
    elif isinstance(kind, str):
        kind = polars.Categorical if kind == "categorical" else None
    if kind is None or kind == cells.dtype:
        return cells
    try:
        found = cells.cast(kind)
        is_same = _are_floats(cells.dtype.is_float(), kind.is_float()) or found.cast(cells.dtype).equals(cells)
    except polars.exceptions.PolarsError:
        return cells
    return found if is_same else cells


def _as_pandas(pandas: ModuleType, cells: pd.Series, kind: object) -> pd.Series | None:
    """Return cells with this type; None if they have it already, or it cannot hold them."""
    if isinstance(kind, Mapping):
        kind = pandas.CategoricalDtype(kind["categories"], kind["ordered"])
    elif isinstance(kind, str):
        with suppress(TypeError, ValueError):
            kind = pandas.api.types.pandas_dtype(kind)
    if kind is None or isinstance(kind, str) or kind == cells.dtype:
        return None
    if isinstance(kind, pandas.CategoricalDtype) and kind.categories is not None:
        more = cells.dropna()
        more = more[~more.isin(kind.categories)].unique().tolist()
        kind = pandas.CategoricalDtype([*kind.categories, *more], kind.ordered)
    is_float = pandas.api.types.is_float_dtype
    try:
        with np.errstate(invalid="ignore"):  # a number that the type cannot hold, which the comparison finds
            found = cells.astype(kind)
        if _are_floats(is_float(cells.dtype), is_float(kind)):
            return found
        same = found.isna() == cells.isna()
        is_same = bool(same.all()) and bool((found.astype(cells.dtype) == cells)[cells.notna()].all())
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        return None
    return found if is_same else None


def _are_floats(is_float: bool, wanted_is_float: bool) -> bool:
    """Return whether a conversion rounds floats to floats, which is not a change of the cell."""
    return is_float and wanted_is_float


# -- JSON -------------------------------------------------------------------------------------------------------------


def _label_to_json(label: Hashable) -> object:
    if isinstance(label, tuple):
        return list(map(_label_to_json, label))
    label = label.item() if hasattr(label, "item") and not isinstance(label, _SCALARS) else label
    return label if isinstance(label, _SCALARS) else text_of(label)


def _label_from_json(label: object) -> Hashable:
    return tuple(map(_label_from_json, label)) if isinstance(label, list) else label


def _type_to_json(kind: Any) -> object:
    """Return the description of a type: a text, or the categories of a type that has them."""
    if kind is None or isinstance(kind, str | Mapping):
        return kind
    if isinstance(kind, pa.DataType):
        return "dictionary" if pa.types.is_dictionary(kind) else str(kind)
    if _is_instance(kind, "polars", "Enum"):
        return {"categories": kind.categories.to_list(), "ordered": True}
    if type(kind).__module__.partition(".")[0] == "polars":
        return "categorical" if _is_instance(kind, "polars", "Categorical") else None
    categories = getattr(kind, "categories", None)
    if categories is None:
        return str(kind)
    values = categories.tolist()
    is_plain = all(isinstance(value, _SCALARS) for value in values)
    return {"categories": values, "ordered": bool(kind.ordered)} if is_plain else None
