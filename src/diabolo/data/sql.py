"""Rows from an SQL query: DuckDB reads files and databases, and returns Arrow batches."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import InvalidData

__all__ = ["answer", "find_files", "is_query"]

_ROWS = 1 << 14  # rows in a batch
_DATABASES = ("sqlite_scanner", "postgres_scanner")


def is_query(text: str) -> bool:
    """Return whether a text is a query, not the name of a file.

    >>> is_query("SELECT * FROM 'orders/*.parquet'"), is_query("selected.csv"), is_query("select.csv")
    (True, False, False)
    """
    return re.match(r"\s*(select|with|from|attach)\s", text, re.IGNORECASE) is not None and not _is_there(text)


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # longer than a file name may be
        return False


def find_files(query: str) -> list[Path]:
    """Return the existing files that a query names: a quoted text as a path or a pattern, a bare word as a path.

    The list may hold files that the query does not read: it serves to protect files, not to read them.
    """
    quoted = [single or double for single, double in re.findall(r"'([^']+)'|\"([^\"]+)\"", query)]
    words = re.findall(r"[^\s'\",;()\[\]]+", query)
    paths = [path for text in quoted if "\0" not in text for path in glob.glob(text, recursive=True)]  # noqa: PTH207
    return [Path(path) for path in (*paths, *words) if _is_there(path)]


def answer(query: str) -> Iterator[pa.RecordBatch]:
    """Run a query, and yield its rows in batches; at least one batch, which may be empty.

    Parameters
    ----------
    query : str
        A query in DuckDB's SQL. Files are tables, ``FROM 'orders/*.parquet'``; so are the tables of a database that an
        ``ATTACH`` before the query names: ``ATTACH 'shop.db' AS shop (TYPE sqlite); SELECT * FROM shop.orders``.

    Raises
    ------
    InvalidData
        If DuckDB is not installed, or reports an error.
    """
    try:
        import duckdb
        from duckdb_extensions import import_extension
    except ImportError:
        raise InvalidData("A query needs DuckDB. Install it with: pip install 'diabolo[sql]'") from None
    with duckdb.connect() as connection:
        try:
            _know_databases(connection, import_extension, query)
            reader = connection.execute(query).to_arrow_reader(_ROWS)
            first = next(iter(reader), None)
            if first is None:  # Arrow cannot create an empty column of some types
                kinds = [pa.null() if pa.types.is_union(kind) else kind for kind in reader.schema.types]
                first = pa.RecordBatch.from_pylist([], pa.schema(zip(reader.schema.names, kinds, strict=True)))
            yield first
            yield from reader
        except duckdb.Error as error:
            raise InvalidData(f"The query cannot be answered: {error}.") from error


def _know_databases(connection: Any, import_extension: Any, query: str) -> None:
    """Load the database readers that the extra installs; DuckDB itself would download them."""
    if re.search(r"\battach\b", query, re.IGNORECASE):
        for name in _DATABASES:
            import_extension(name, con=connection)
