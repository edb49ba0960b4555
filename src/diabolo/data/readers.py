"""Files in, arrays out: CSV, Parquet, .npy, .npz and folders of images.

Everything becomes a `Table`: rows of numbers, and the names of the columns where the file has them. What cannot be
used as it is raises `InvalidData`, which says what, where and the mend.
"""

from __future__ import annotations

import glob
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ..errors import InvalidData
from . import sql
from .schema import Overrides, Schema, as_floats, is_a_number, is_numeric

__all__ = [
    "Table",
    "Wanted",
    "files_in",
    "kind_of",
    "load_array",
    "numeric",
    "numeric_columns",
    "open_csv",
    "read",
    "refuse_twins",
    "rows_of",
    "texts_are_texts",
    "unreadable_as",
    "wants_schema",
    "which_columns",
]

Wanted = Schema | Overrides | str | None
"""Whether a table's columns are read by a schema: one that is known; one to be inferred, with these overrides; "auto",
one to be inferred if not all columns are numbers; None, columns must be numbers and are taken as they are."""

_GREY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
MOST_PIXELS = 1 << 25
"""Of an image, a colour's three counted each: a few bytes may say that there are many more."""
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


@dataclass(frozen=True)
class Images:
    """Files that are images of one size: (height, width), or (height, width, 3) if they have colours."""

    files: tuple[Path, ...]
    shape: tuple[int, ...]

    @classmethod
    def at(cls, files: Sequence[Path]) -> Images:
        """These files; the size is the first one's.

        Raises
        ------
        InvalidData
            If the first is not an image.
        """
        return cls(tuple(files), _pixels(files[0]).shape)

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Some of them as rows of numbers in [0, 1], float32.

        Raises
        ------
        InvalidData
            If one is not an image, or of another size.
        """
        files = self.files[start:stop]
        found = np.empty((len(files), *self.shape), np.uint8)
        for i, file in enumerate(files):
            pixels = _pixels(file)
            if pixels.shape != self.shape:
                raise InvalidData(
                    f"{file} is {_size(pixels.shape)}, but {self.files[0].name} is {_size(self.shape)}. "
                    "Bring all to one size."
                )
            found[i] = pixels
        return found.reshape(len(files), -1).astype(np.float32) / 255


@dataclass(frozen=True)
class Table:
    """Rows of numbers, (n, d), float32 or float64, and the columns' names, if there are any.

    With a schema the rows are encoded, and each number has the name of the column that it belongs to.
    """

    rows: np.ndarray
    names: tuple[str, ...] | None = None
    schema: Schema | None = None
    images: Images | None = None
    """Where the rows come from, if they are images."""
    first: int = 0
    """The number of the first row, if these are part of more."""
    given: pa.Table | None = None
    """The columns as they were given, those that are not used among them, if there is a schema."""

    def select(self, columns: Sequence[str] = (), exclude: Sequence[str] = ()) -> Table:
        """The columns named (all, if none are), in that order, without those excluded.

        Columns without names are counted from 0.

        Raises
        ------
        InvalidData
            If a name is not a column's, or nothing is left.
        """
        if not columns and not exclude:
            return self
        names = self.names or tuple(map(str, range(self.rows.shape[1])))
        _require_columns((*columns, *exclude), names)
        chosen = [name for name in (columns or names) if name not in exclude]
        if not chosen:
            raise InvalidData("No column is left to learn from.")
        rows = self.rows[:, [names.index(name) for name in chosen]]
        return Table(rows, tuple(chosen) if self.names else None)

    def head(self) -> Table:
        """All of it: a store's is its first rows."""
        return self

    def as_input(self) -> Any:
        """What an estimator is given: the array, or an Arrow table where columns have names for it to learn."""
        return self.rows if self.names is None else self.as_arrow()

    def as_arrow(self) -> pa.Table:
        """An Arrow table, whose columns are x0, x1, … if they have no names."""
        names = self.names or tuple(f"x{i}" for i in range(self.rows.shape[1]))
        return pa.table({name: self.rows[:, i] for i, name in enumerate(names)})


def refuse_twins(names: Sequence[Any], where: str) -> None:
    """Columns are found by their names, so each must have one of its own.

    Raises
    ------
    InvalidData
        If two have the same.
    """
    if twins := [str(name) or "no name" for name, count in Counter(names).items() if count > 1]:
        raise InvalidData(
            f"{where}: several columns are named {', '.join(twins[:8])}. Rename all but one, or drop them."
        )


def _require_columns(wanted: Sequence[str], names: Sequence[str]) -> None:
    if unknown := [name for name in wanted if name not in names]:
        shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
        raise InvalidData(f"There is no column named {', '.join(unknown)}. The columns are: {shown}.")


# -- reading ----------------------------------------------------------------------------------------------------------


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
        return _stack([_read_array(file, key) for file in files], files).select(columns, exclude)
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
        _require_columns((name,), table.column_names)
        found += table.column(name).to_pylist()
    return found


def _table_with(file: Path, name: str) -> pa.Table:
    """A file's columns, or if it is quicker that one only."""
    kind = kind_of(file)
    if kind in _READERS:
        return _READERS[kind](file)
    if kind == ".npz":
        with load_array(file) as arrays:
            _require_columns((name,), arrays.files)
            found = _chosen(arrays, file, name)
        if found.ndim != 1:
            raise InvalidData(f"{file}: {name} has shape {found.shape}; one value for each row is needed.")
        return pa.table({name: found})
    raise InvalidData(f"{file} has no columns with names: there is no {name}.")


def rows_of(
    table: pa.Table, where: str, columns: Sequence[str] = (), exclude: Sequence[str] = (), wanted: Wanted = "auto"
) -> Table:
    """An Arrow table's columns as rows of numbers.

    Raises
    ------
    InvalidData
        If a column is not there, none is left, or they are not as wanted.
    """
    if isinstance(wanted, Schema):
        return Table(wanted.encode(table), wanted.owners, wanted, given=table)
    names = which_columns(table.schema, columns, exclude)
    if (overrides := wants_schema(table.schema, names, wanted)) is not None:
        schema = Schema.infer([table.select(list(names))], overrides)
        return Table(schema.encode(table), schema.owners, schema, given=table)
    names = numeric_columns(table.schema, where, columns, exclude)
    return Table(numeric(table.select(list(names))), names)


def wants_schema(schema: pa.Schema, names: Sequence[str], wanted: Wanted) -> Overrides | None:
    """What to infer a schema with; None, if these columns need none."""
    if wanted == "auto":
        return None if all(_is_plain(schema.field(name).type) for name in names) else {}
    return wanted if isinstance(wanted, Mapping) else None


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


@contextmanager
def unreadable_as(where: Any, kind: str) -> Iterator[None]:
    """What Arrow says of a file that it cannot read, as our error."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{where} cannot be read as {kind}: {error}.") from error


def texts_are_texts(table: pa.Table) -> pa.Table:
    """The table; Parquet's readers take any bytes for UTF-8.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a text is none.
    """
    for column in table.columns:
        if not is_numeric(column.type):
            column.validate(full=True)
    return table


def _csv_dialect(file: Path) -> dict[str, Any]:
    """The options that Arrow needs: the delimiter, and whether the first line names the columns."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            first = stream.readline().rstrip("\n")
    except UnicodeDecodeError as error:
        raise InvalidData(f"{file} is not UTF-8 text: {error}. Convert it first.") from error
    except OSError as error:
        raise InvalidData(f"{file} cannot be read: {error.strerror}.") from error
    if not first.strip():
        raise InvalidData(f"{file} has no first line to take columns from.")
    delimiter = max(",;\t", key=first.count)
    headless = all(is_a_number(cell.strip('"')) for cell in first.split(delimiter))
    return {
        "convert_options": pa.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
        "read_options": pa.csv.ReadOptions(autogenerate_column_names=headless),
        "parse_options": pa.csv.ParseOptions(delimiter=delimiter),
    }


def _read_csv(file: Path) -> pa.Table:
    dialect = _csv_dialect(file)
    with unreadable_as(file, "CSV"):
        return _refuse_bytes(pa.csv.read_csv(file, **dialect), file)


def open_csv(file: Path) -> Any:
    """A CSV file as a stream of record batches."""
    return _refuse_bytes(pa.csv.open_csv(file, **_csv_dialect(file)), file)


def _refuse_bytes(read: Any, file: Path) -> Any:
    """What was read of a CSV file; Arrow takes texts of another encoding for columns of bytes."""
    for field in read.schema:
        if pa.types.is_binary(field.type):
            raise InvalidData(f"{file} is not UTF-8 text in column {field.name}. Convert it first.")
    return read


def _read_parquet(file: Path) -> pa.Table:
    with unreadable_as(file, "Parquet"):
        refuse_twins(pa.parquet.read_schema(file).names, str(file))
        return texts_are_texts(pa.parquet.read_table(file))


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


def load_array(file: Path, mmap_mode: Any = None) -> Any:
    """What `numpy.load` gives, pickles refused."""
    with _unreadable_as_numbers(file):
        if file.suffix.lower() == ".npz":
            zipfile.ZipFile(file).close()  # NumPy would not close one that it cannot read
        return np.load(file, mmap_mode=mmap_mode, allow_pickle=False)


_UNREADABLE = (
    *(ValueError, TypeError, OSError, EOFError, OverflowError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error),
    RuntimeError,  # of zip files with a password, or of a later version
    MemoryError,  # if it says that it holds more than there is room for
)


@contextmanager
def _unreadable_as_numbers(file: Path) -> Iterator[None]:
    """What NumPy says of a file that it cannot read, as our error; of a .npz file it reads each array when asked."""
    try:
        yield
    except _UNREADABLE as error:
        raise InvalidData(f"{file} cannot be read as a NumPy file of plain numbers: {error}.") from error


def _chosen(arrays: Any, file: Path, key: str | None) -> np.ndarray:
    """One array of a .npz file."""
    keys = arrays.files
    if key is None and len(keys) != 1:
        holds = f"several arrays ({', '.join(keys)}). Choose one with --key" if keys else "no array"
        raise InvalidData(f"{file} holds {holds}.")
    if key is not None and key not in keys:
        raise InvalidData(f"{file} has no array named {key}; it has {', '.join(keys)}.")
    with _unreadable_as_numbers(file):
        found: np.ndarray = arrays[key or keys[0]]
        if not isinstance(found, np.ndarray):  # NumPy hands out bytes where there is no header
            raise ValueError(f"{key or keys[0]} is no array")
    return found


def _read_array(file: Path, key: str | None) -> Table:
    loaded = load_array(file)
    if isinstance(loaded, np.lib.npyio.NpzFile):
        with loaded as arrays:
            loaded = _chosen(arrays, file, key)
    if loaded.ndim < 2 or loaded.dtype.kind not in "fiub":
        raise InvalidData(
            f"{file} holds an array of shape {loaded.shape} and type {loaded.dtype}; "
            "rows of numbers are needed, (n, d)."
        )
    if not len(loaded):
        raise InvalidData(f"{file} has no rows.")
    rows = loaded.reshape(len(loaded), int(np.prod(loaded.shape[1:])))
    return Table(rows if rows.dtype == np.float32 else rows.astype(np.float64))


def _pixels(file: Path) -> np.ndarray:
    """An image's bytes, (height, width) or (height, width, 3)."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            n_numbers = picture.width * picture.height * (1 if picture.mode in _GREY else 3)
            if n_numbers > MOST_PIXELS:
                raise ValueError(f"it has {n_numbers:,} numbers, more than {MOST_PIXELS:,}; cut it, or make it smaller")
            if picture.mode.startswith("I;16"):
                return (np.asarray(picture) >> 8).astype(np.uint8)
            return np.asarray(picture.convert("L" if picture.mode in _GREY else "RGB"))
    except Exception as error:  # readers of damaged images raise whatever it is that they stumble over
        raise InvalidData(f"{file} cannot be read as an image: {error}.") from error


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]} {'colour' if len(shape) > 2 else 'grey'}"


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


def require_the_same(names: Sequence[str], first: Sequence[str], file: Path, first_file: Path) -> None:
    """That two files have the same columns, in whatever order.

    Raises
    ------
    InvalidData
        If they have not.
    """
    if differing := sorted(set(names) ^ set(first)):
        raise InvalidData(f"{file} and {first_file.name} do not have the same columns: {', '.join(differing)}.")


def which_columns(schema: pa.Schema, columns: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns to take."""
    _require_columns((*columns, *exclude), schema.names)
    names = tuple(name for name in (columns or schema.names) if name not in exclude)
    if not names:
        raise InvalidData("No column is left to learn from.")
    if "" in names:
        raise InvalidData(f"Column {schema.names.index('') + 1} has no name. Give it one, or take it out.")
    return names


def numeric_columns(
    schema: pa.Schema, where: str, columns: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[str, ...]:
    """The columns to take, all of them numbers."""
    names = which_columns(schema, columns, exclude)
    if words := [name for name in names if not is_numeric(schema.field(name).type)]:
        shown = ", ".join(f"{name} ({schema.field(name).type})" for name in words[:8])
        raise InvalidData(
            f"{where}: {len(words)} of {len(names)} columns are not numbers: {shown}{', …' if len(words) > 8 else ''}. "
            f"Leave them out with --exclude {','.join(words[:8])}, or encode them first."
        )
    return names


def numeric(table: pa.Table) -> np.ndarray:
    """The table's cells, empty ones as NaN: float32 if all columns are, else float64."""
    single = all(pa.types.is_float32(kind) for kind in table.schema.types)
    columns = np.empty((table.num_columns, table.num_rows), np.float32 if single else np.float64)
    for i, column in enumerate(table.columns):
        columns[i] = (column if single else as_floats(column)).to_numpy()
    return np.ascontiguousarray(columns.T)


def _is_plain(kind: pa.DataType) -> bool:
    return is_numeric(kind) and not pa.types.is_boolean(kind)
