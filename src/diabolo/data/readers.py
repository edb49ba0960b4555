"""Files in, arrays out: CSV, Parquet, .npy, .npz and folders of images.

Everything becomes a `Table`: rows of numbers, and the names of the columns where the file has them. What cannot be
used as it is raises `InvalidData`, which says what, where and the mend.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import InvalidData
from . import sql
from .arrays import choose_array, load_array, read_array
from .images import IMAGES, MOST_PIXELS, Images
from .parquet import read_parquet
from .tables import Table, Wanted, numeric, numeric_columns, refuse_twins, require_columns, require_the_same, rows_of
from .text import read_csv

__all__ = [
    "MOST_PIXELS",
    "Images",
    "Table",
    "Wanted",
    "files_in",
    "kind_of",
    "labels",
    "numeric",
    "numeric_columns",
    "read",
    "refuse_twins",
    "rows_of",
]


def read(
    where: str | os.PathLike[str],
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    key: str | None = None,
    wanted: Wanted = "auto",
) -> Table:
    """Read a file, a folder or a glob of files as one table.

    Parameters
    ----------
    where : path
        A .csv, .parquet, .npy or .npz file; a folder or a glob of such files, all of one kind, taken in the order of
        their names; or a folder or glob of images of one size, whose pixels become columns in [0, 1].
    columns, exclude : sequences of str
        The columns to take (default: all), and those to leave out.
    key : str or None
        Which array of an .npz file; needed if there are several.
    wanted : Wanted, default="auto"
        Whether tables have a schema.

    Raises
    ------
    InvalidData
        If nothing is there, a file cannot be read, columns are not numbers, or files do not match.
    """
    files = files_in(os.fspath(where))
    kinds = {kind_of(file) for file in files}
    if len(kinds) > 1:
        raise InvalidData(f"{where} holds files of several kinds ({', '.join(sorted(kinds))}). Name those of one kind.")
    (kind,) = kinds
    if kind == "images":
        images = Images.at(files)
        return Table(images.rows(), images=images).select(columns, exclude)
    if kind in (".npy", ".npz"):
        return _stack([read_array(file, key) for file in files], files).select(columns, exclude)
    table = _stack_arrow([_READERS[kind](file) for file in files], files)
    if table.num_rows == 0:
        raise InvalidData(f"{where} has no rows.")
    return rows_of(table, str(where), columns, exclude, wanted)


def labels(where: str, name: str) -> list[Any]:
    """One column of tables or of an answer, or one array of .npz files, whatever it holds.

    Raises
    ------
    InvalidData
        If nothing is there, or there is no such column.
    """
    if sql.is_query(where):
        tables = [pa.Table.from_batches([batch]) for batch in sql.answer(where)]
    else:
        tables = [_table_with(file, name) for file in files_in(where)]
    found: list[Any] = []
    for table in tables:
        require_columns((name,), table.column_names)
        found += table.column(name).to_pylist()
    return found


def _table_with(file: Path, name: str) -> pa.Table:
    """A file's columns, or if it is quicker that one only."""
    kind = kind_of(file)
    if kind in _READERS:
        return _READERS[kind](file)
    if kind == ".npz":
        with load_array(file) as arrays:
            require_columns((name,), arrays.files)
            found = choose_array(arrays, file, name)
        if found.ndim != 1:
            raise InvalidData(f"{file}: {name} has shape {found.shape}; one value for each row is needed.")
        return pa.table({name: found})
    raise InvalidData(f"{file} has no columns with names: there is no {name}.")


def files_in(where: str) -> list[Path]:
    """The files that a path, a folder or a pattern names, in the order of their names."""
    path = Path(where)
    try:
        if path.is_file():
            return [path]
        is_folder = bool(where) and path.is_dir()
        found = sorted(path.iterdir()) if is_folder else sorted(map(Path, glob.glob(where, recursive=True)))  # noqa: PTH207
        files = [file for file in found if file.is_file() and not file.name.startswith(".")]
    except OSError as error:
        raise InvalidData(f"{where[:200]} cannot be read: {error.strerror}.") from error
    if files:
        return files
    if not is_folder:
        raise InvalidData(f"{where}: no such file, folder or pattern.")
    if not found:
        raise InvalidData(f"{where} is an empty folder.")
    raise InvalidData(f"{where} holds {found[0].name}, but no file of data. Name the folder that holds the files.")


def kind_of(file: Path) -> str:
    """A file's suffix, if it can be read; "images" for all kinds of them."""
    suffix = file.suffix.lower()
    if suffix in IMAGES:
        return "images"
    if suffix in (*_READERS, ".npy", ".npz"):
        return suffix
    readable = ", ".join((*_READERS, ".npy", ".npz"))
    raise InvalidData(f"{file} is not of a kind that can be read: {readable}, or images ({', '.join(IMAGES)}).")


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}


def _stack(tables: list[Table], files: list[Path]) -> Table:
    for table, file in zip(tables, files, strict=True):
        if table.rows.shape[1] != tables[0].rows.shape[1]:
            raise InvalidData(
                f"{file} has {table.rows.shape[1]} columns, but {files[0].name} has {tables[0].rows.shape[1]}."
            )
    return Table(np.concatenate([table.rows for table in tables]))


def _stack_arrow(tables: list[pa.Table], files: list[Path]) -> pa.Table:
    names = tables[0].column_names
    for table, file in zip(tables, files, strict=True):
        refuse_twins(table.column_names, str(file))
        require_the_same(table.column_names, names, file, files[0])
    try:
        return pa.concat_tables([table.select(names) for table in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise InvalidData(f"{files[0]} and the files beside it do not hold the same: {error}.") from error
