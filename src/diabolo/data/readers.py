"""Readers of files: CSV, Parquet, .npy, .npz, sheets, JSON Lines and folders of images.

The result is a `Table`: rows of numbers, and the names of the columns if the file has them. Data that cannot be used
raises `InvalidData`, whose message says what is wrong, where, and what to do.
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
from .file_options import FileOptions, split_options
from .images import IMAGES, MOST_PIXELS, Images
from .parquet import read_parquet
from .records import read_json_lines
from .schema import Schema
from .sheets import read_sheet
from .sniffing import COMPRESSED
from .tables import (
    SchemaSpec,
    Table,
    check_unique_names,
    numeric,
    numeric_columns,
    require_columns,
    require_the_same,
    rows_of,
)
from .text import open_text, read_text

__all__ = [
    "MOST_PIXELS",
    "Images",
    "SchemaSpec",
    "Table",
    "check_unique_names",
    "files_in",
    "input_files",
    "kind_of",
    "labels",
    "numeric",
    "numeric_columns",
    "read",
    "read_arrow",
    "require_columns",
    "rows_of",
    "suffix_of",
]


def read(
    where: str | os.PathLike[str],
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    key: str | None = None,
    wanted: SchemaSpec = "auto",
    options: FileOptions | None = None,
) -> Table:
    """Read a file, a folder or a glob of files as one table.

    Parameters
    ----------
    where : path
        A .csv, .tsv, .txt, .jsonl, .xlsx, .parquet, .npy or .npz file, where text files may be compressed (.csv.gz); a
        folder or a glob of such files, all of one kind, read in the order of their names; or a folder or glob of images
        of one size, whose pixels become columns in [0, 1].
    columns, exclude : sequences of str
        The columns to read (default: all), and the columns to omit.
    key : str or None
        The name of the array in an .npz file; needed if there are several.
    wanted : SchemaSpec, default="auto"
        The schema of tables, or how to infer it.
    options : FileOptions or None
        The options of text files.

    Raises
    ------
    InvalidData
        If there is no such file, a file cannot be read, columns are not numbers, or files do not match.
    """
    files = files_in(os.fspath(where))
    kinds = {kind_of(file) for file in files}
    if len(kinds) > 1:
        raise InvalidData(f"{where} holds files of several kinds ({', '.join(sorted(kinds))}). Name files of one kind.")
    (kind,) = kinds
    if kind == "images":
        images = Images.at(files)
        return Table(images.rows(), images=images).select(columns, exclude)
    if kind in (".npy", ".npz"):
        return _stack([read_array(file, key) for file in files], files).select(columns, exclude)
    wanted, in_schema = split_options(wanted)
    if kind == ".csv":
        tables = open_text(files, columns, exclude, wanted, in_schema.updated(options or FileOptions()))
        return read_text(tables, str(where), columns, exclude, wanted)
    return rows_of(read_arrow(files, wanted), str(where), columns, exclude, wanted)


def read_arrow(files: Sequence[Path], wanted: SchemaSpec) -> pa.Table | None:
    """Read files of one kind as an Arrow table; return None if the columns of that kind of file have no types."""
    if (reader := _READERS.get(kind_of(files[0]))) is None:
        return None
    known = wanted if isinstance(wanted, Schema) else None
    return _stack_arrow([reader(file, known) for file in files], list(files))


def labels(where: str, name: str) -> list[Any]:
    """Read one column of tables or of a query's result, or one array of .npz files, with values of any type.

    Raises
    ------
    InvalidData
        If there is no such file or no such column.
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
    """Read a file's columns, or only the named one if that is faster."""
    kind = kind_of(file)
    if kind == ".csv":
        return open_text([file]).table()
    if kind in _READERS:
        return _READERS[kind](file, None)
    if kind == ".npz":
        with load_array(file) as arrays:
            require_columns((name,), arrays.files)
            found = choose_array(arrays, file, name)
        if found.ndim != 1:
            raise InvalidData(f"{file}: the array {name} has shape {found.shape}. Give one value for each row.")
        return pa.table({name: found})
    raise InvalidData(f"{file}: there is no column {name}, since this kind of file has no column names.")


def files_in(where: str) -> list[Path]:
    """Return the files of a path, a folder or a pattern, in the order of their names."""
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


def input_files(where: str) -> list[Path]:
    """Return the files that DATA on the command line is read from: also those in a query, and standard input's.

    Raises
    ------
    InvalidData
        If no file, folder or pattern has this name.
    """
    if where == "-":
        return [Path("/dev/stdin")]  # where the system has it: the file that the shell redirects
    return sql.find_files(where) if sql.is_query(where) else files_in(where)


def kind_of(file: Path) -> str:
    """Return a file's kind: a suffix, where ".csv" stands for all text files of tables, or "images"."""
    suffix = file.suffix.lower()
    if suffix in COMPRESSED and (inner := Path(file.stem).suffix.lower()) in (*_TEXT, ".jsonl", ".ndjson"):
        suffix = inner
    if suffix in IMAGES:
        return "images"
    for kind, suffixes in _KINDS.items():
        if suffix in suffixes:
            return kind
    readable = ", ".join(suffix for suffixes in _KINDS.values() for suffix in suffixes)
    raise InvalidData(f"{file} is not of a kind that can be read: {readable}, or images ({', '.join(IMAGES)}).")


def suffix_of(start: bytes) -> str:
    """Return the suffix of the kind of file that starts with these bytes."""
    marks = {
        b"PAR1": ".parquet",
        b"\x93NUMPY": ".npy",
        b"\x1f\x8b": ".csv.gz",
        b"BZh": ".csv.bz2",
        b"(\xb5/\xfd": ".csv.zst",
    }
    found = next((suffix for mark, suffix in marks.items() if start.startswith(mark)), None)
    if found is None and start.startswith(b"PK"):
        found = ".xlsx" if b"xl/" in start or b"[Content_Types]" in start else ".npz"
    return found or (".jsonl" if start.lstrip().startswith(b"{") else ".csv")


_TEXT = (".csv", ".tsv", ".tab", ".txt")
_KINDS: dict[str, tuple[str, ...]] = {
    ".csv": _TEXT,
    ".parquet": (".parquet",),
    ".jsonl": (".jsonl", ".ndjson"),
    ".xlsx": (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
    ".npy": (".npy",),
    ".npz": (".npz",),
}
_READERS: dict[str, Callable[[Path, Schema | None], pa.Table]] = {
    ".parquet": read_parquet,
    ".jsonl": read_json_lines,
    ".xlsx": read_sheet,
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
        check_unique_names(table.column_names, str(file))
        require_the_same(table.column_names, names, file, files[0])
    try:
        return pa.concat_tables([table.select(names) for table in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise InvalidData(f"{files[0]} and the other files have columns of different types: {error}.") from error
