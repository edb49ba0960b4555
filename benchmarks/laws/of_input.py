"""Laws of input: the same cells mean the same in every container, type, order of columns and choice of categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
from hypothesis import strategies as st
from scipy import sparse

from diabolo.data import blocks
from diabolo.engine import loader
from diabolo.errors import DiaboloError

from .law import Law, near, require, same
from .of_rows import seeds
from .subjects import Subject, asked, columns_of, questions, rows_at

__all__ = ["LAWS", "OF_ARRAYS", "OF_TABLES", "in_blocks", "written"]

Form = Callable[[Any, Path], Any]


@contextmanager
def in_blocks() -> Iterator[None]:
    """Read tables of more than a few hundred bytes in blocks, as if they did not fit in memory."""
    with (
        mock.patch.object(blocks, "CHUNK_BYTES", 512),
        mock.patch.object(loader, "CHUNK_BYTES", 512),
        mock.patch.object(blocks, "BLOCK_BYTES", 128),
    ):
        yield


def written(rows: Any, folder: Path, suffix: str) -> str:
    """Write rows to a file by another library than the one that reads it, as far as there is one; return its path."""
    path = folder / f"rows{suffix}"
    if suffix == ".npy":
        np.save(path, rows)
    elif suffix == ".npz":
        np.savez(path, rows)
    elif suffix == ".parquet":
        pa.parquet.write_table(rows, path, row_group_size=7)
    elif suffix == ".jsonl":
        lines = (json.dumps(row, default=str, ensure_ascii=False) for row in rows.to_pylist())
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        separator = "\t" if suffix == ".tsv" else ","
        rows.to_pandas().to_csv(path, index=False, sep=separator)
    return str(path)


def _query(rows: Any, folder: Path) -> str:
    return f"SELECT * FROM '{written(rows, folder, '.parquet')}'"


def _memory_map(rows: Any, folder: Path) -> Any:
    return np.load(written(rows, folder, ".npy"), mmap_mode="r")


def _strided(rows: Any, folder: Path) -> Any:
    wide = np.zeros((2 * len(rows), 2 * rows.shape[1]))
    wide[::2, ::2] = rows
    return wide[::2, ::2]


OF_ARRAYS: dict[str, Form] = {
    "Fortran order": lambda rows, _: np.asfortranarray(rows),
    "strided": _strided,
    "list of lists": lambda rows, _: rows.tolist(),
    "objects": lambda rows, _: rows.astype(object),
    ".npy": lambda rows, folder: written(rows, folder, ".npy"),
    ".npz": lambda rows, folder: written(rows, folder, ".npz"),
    "memory map": _memory_map,
    "sparse": lambda rows, _: sparse.csr_matrix(rows),
    "chunks": lambda rows, _: iter(np.array_split(rows, 2)),
    "big endian": lambda rows, _: rows.astype(">f8"),
    "read only": lambda rows, _: _read_only(rows),
}
OF_TABLES: dict[str, Form] = {
    "pandas": lambda rows, _: rows.to_pandas(),
    "pandas with Arrow's types": lambda rows, _: rows.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas with nullable types": lambda rows, _: rows.to_pandas().convert_dtypes(),
    "pandas with another index": lambda rows, _: rows.to_pandas().set_axis(np.arange(len(rows))[::-1] * 3),
    "polars": lambda rows, _: pl.from_arrow(rows),
    "Arrow in chunks": lambda rows, _: pa.concat_tables([rows[:3], rows[3:]]),
    "Arrow dictionaries": lambda rows, _: _dictionaries(rows),
    "a record batch": lambda rows, _: rows.combine_chunks().to_batches()[0],
    "a data set": lambda rows, folder: pa.dataset.dataset(written(rows, folder, ".parquet")),
    "Parquet": lambda rows, folder: written(rows, folder, ".parquet"),
    "CSV": lambda rows, folder: written(rows, folder, ".csv"),
    "CSV, packed": lambda rows, folder: written(rows, folder, ".csv.gz"),
    "TSV": lambda rows, folder: written(rows, folder, ".tsv"),
    "JSON Lines": lambda rows, folder: written(rows, folder, ".jsonl"),
    "a query": _query,
}


def _read_only(rows: np.ndarray) -> np.ndarray:
    copied = rows.copy()
    copied.setflags(write=False)
    return copied


def _dictionaries(rows: pa.Table) -> pa.Table:
    for i, column in enumerate(rows.columns):
        if pa.types.is_string(column.type):
            rows = rows.set_column(i, rows.column_names[i], column.dictionary_encode())
    return rows


def _forms(subject: Subject) -> dict[str, Form]:
    return OF_TABLES if subject.is_table else OF_ARRAYS


def _drawn(subject: Subject, seed: int, n: int) -> Any:
    return subject.spread(np.random.default_rng(seed), n, 0.0)


def _contained(subject: Subject, case: Any) -> None:
    seed, n, name = case
    rows = _drawn(subject, seed, n)
    same(asked(subject.model, _again(_forms(subject)[name], rows, subject)), asked(subject.model, rows))


def _again(form: Form, rows: Any, subject: Subject) -> Callable[[], Any]:
    """Make the container anew for each question, since some can be read only once."""
    return lambda: form(rows, subject.folder)


def _by_blocks(subject: Subject, case: Any) -> None:
    seed, n, name = case
    rows = _drawn(subject, seed, n)
    with in_blocks():
        found = asked(subject.model, _again(_forms(subject)[name], rows, subject))
    near(found, asked(subject.model, rows), subject)


def _typed(subject: Subject, case: Any) -> None:
    seed, n, kind = case
    whole = np.round(np.clip(_drawn(subject, seed, n), 0, 100)) % 2 if kind == "?" else None
    rows = np.round(np.clip(_drawn(subject, seed, n), 0, 100)) if whole is None else whole
    rows = np.nan_to_num(rows)
    same(asked(subject.model, rows.astype(kind)), asked(subject.model, rows))


def _half_width(subject: Subject, case: Any) -> None:
    seed, n, _ = case
    rows = _drawn(subject, seed, n).astype(np.float32)
    near(asked(subject.model, rows), asked(subject.model, rows.astype(np.float64)), subject, 1e-3)


def _by_name(subject: Subject, case: Any) -> None:
    seed, n, name = case
    rows = _drawn(subject, seed, n)
    order = np.random.default_rng(seed).permutation(rows.num_columns)
    given = rows.select([rows.column_names[i] for i in order])
    _equal_or_refused(subject, OF_TABLES[name], given, rows)


def _more_columns(subject: Subject, case: Any) -> None:
    seed, n, name = case
    rows = _drawn(subject, seed, n)
    place = seed % (rows.num_columns + 1)
    given = rows.add_column(place, "something else", pa.array([f"text {i}" for i in range(n)]))
    _equal_or_refused(subject, OF_TABLES[name], given, rows)


def _equal_or_refused(subject: Subject, form: Form, given: Any, rows: Any) -> None:
    expected = asked(subject.model, rows)
    for question, ask in questions(subject.model).items():
        try:
            answer = ask(form(given, subject.folder))
        except DiaboloError as error:
            require(any(column in str(error) for column in given.column_names) or "order" in str(error), error)
            continue
        found = columns_of(question, answer)
        same(
            {name: cells for name, cells in found.items() if name in expected},
            {k: expected[k] for k in found if k in expected},
        )


def _renamed(subject: Subject, case: Any) -> None:
    seed, n, name = case
    rows = _drawn(subject, seed, n)
    place = seed % rows.num_columns
    names = [f"{column} of another" if i == place else column for i, column in enumerate(rows.column_names)]
    for question, ask in questions(subject.model).items():
        try:
            ask(OF_TABLES[name](rows.rename_columns(names), subject.folder))
        except DiaboloError as error:
            require(rows.column_names[place] in str(error), error)
        else:
            raise AssertionError(f"{question} took {names[place]!r} for {rows.column_names[place]!r}")


_TEXTS = ("kind", "answer")


def _fewer_categories(subject: Subject, case: Any) -> None:
    seed, column, name, n_kept = case
    rows = subject.rows
    texts = sorted({text for text in rows[column].to_pylist() if text is not None})
    kept = set(np.random.default_rng(seed).permutation(texts)[:n_kept].tolist())
    places = [i for i, text in enumerate(rows[column].to_pylist()) if text in kept or text is None]
    if not places:
        return
    found = asked(subject.model, _again(OF_TABLES[name], rows_at(rows, places), subject))
    whole = subject.once("answers to the rows of the fit", lambda: asked(subject.model, rows))
    near(found, {answer: cells[places] for answer, cells in whole.items()}, subject)


def _cases(forms: Callable[[Subject], Any]) -> Callable[[Subject], Any]:
    return lambda subject: st.tuples(seeds, st.integers(2, 30), st.sampled_from(list(forms(subject))))


def _speaks(subject: Subject) -> bool:
    return not subject.name.startswith("generator")


def _is_named(subject: Subject) -> bool:
    return subject.is_table and _speaks(subject)


_named = _cases(lambda subject: OF_TABLES)
_WHOLE = ("i1", "u1", "i2", ">i4", "u4", "i8", "f2", "?")
LAWS = (
    Law(
        "other containers",
        "To the bit: a cell is the same 64-bit number, text or date in NumPy, SciPy, pandas, polars, Arrow, CSV, JSON "
        "Lines, Parquet and SQL.",
        "input",
        _cases(_forms),
        _contained,
        _speaks,
        few=8,
    ),
    Law(
        "small and large path",
        "To 1e-5 (1e-3 for estimates of log p): blocks of a large file are batches of other sizes, and other programs.",
        "input",
        _cases(_forms),
        _by_blocks,
        _speaks,
        many=150,
    ),
    Law(
        "other types of number",
        "To the bit: whole numbers are the same number as integers of 8 to 64 bits, booleans and 16-bit floats.",
        "input",
        _cases(lambda subject: _WHOLE),
        _typed,
        lambda subject: _speaks(subject) and not subject.is_table,
    ),
    Law(
        "32 and 64 bits",
        "To 1e-3 of the spread: the scaling of 32-bit rows rounds in 32 bits.",
        "input",
        _cases(lambda subject: ("f4",)),
        _half_width,
        lambda subject: _speaks(subject) and not subject.is_table,
    ),
    Law(
        "columns in another order",
        "To the bit, or an error: columns are found by name, never by position.",
        "input",
        _named,
        _by_name,
        _is_named,
    ),
    Law(
        "one more column",
        "To the bit, or an error that names a column: a column that the model does not know changes no number.",
        "input",
        _named,
        _more_columns,
        _is_named,
    ),
    Law(
        "a renamed column",
        "An error that names the column: no column stands in for another.",
        "input",
        _named,
        _renamed,
        _is_named,
    ),
    Law(
        "a subset of the categories",
        "To 1e-5 (1e-3 for estimates of log p): a file is read with the model's types, whatever values it lacks.",
        "input",
        lambda subject: st.tuples(seeds, st.sampled_from(_TEXTS), st.sampled_from(list(OF_TABLES)), st.integers(1, 2)),
        _fewer_categories,
        lambda subject: _is_named(subject) and "table" in subject.name,
        many=150,
    ),
)
