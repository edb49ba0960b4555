"""Reader of Excel and LibreOffice files: the first sheet that is not empty."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import InvalidData, NotationWarning
from .records import to_array
from .schema import Schema
from .sniffing import has_header

__all__ = ["read_sheet"]


def read_sheet(file: Path, known: Schema | None = None) -> pa.Table:
    """Read the first sheet that is not empty.

    Raises
    ------
    InvalidData
        If python-calamine is not installed, or the file holds no table.
    """
    try:
        import python_calamine
    except ImportError:
        raise InvalidData(
            f"{file}: reading sheets needs python-calamine. Install it with: pip install 'diabolo[excel]'"
        ) from None
    try:
        with python_calamine.CalamineWorkbook.from_path(str(file)) as book:
            sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise InvalidData(f"{file} cannot be read as a sheet: {error}.") from error
    filled = {name: rows for name, rows in sheets.items() if rows}
    if not filled:
        raise InvalidData(f"{file} has no cells. Give a file with a table.")
    name, rows = next(iter(filled.items()))
    if len(filled) > 1:
        warnings.warn(
            NotationWarning(f"{file}: only the sheet {name!r} is read, the first of {len(filled)}"), stacklevel=2
        )
    rows = [row for row in rows if any(cell not in ("", None) for cell in row)]
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows[:200]]
    has_names = (known is not None and set(known.names) <= set(texts[0])) or has_header(texts)
    names = (
        [text.strip().removesuffix(".0") for text in texts[0]] if has_names else [f"f{i}" for i in range(len(rows[0]))]
    )
    columns = list(zip(*rows[has_names:], strict=True)) or [()] * len(names)
    kept = [i for i, cells in enumerate(columns) if names[i] or any(cell not in ("", None) for cell in cells)]
    texts_known = set() if known is None else {c.name for c in known.used if c.type in ("string", "large_string")}
    table = [_column(columns[i], names[i] in texts_known) for i in kept]
    return pa.Table.from_arrays(table, names=[names[i] for i in kept])


def _column(cells: tuple[Any, ...], as_texts: bool) -> pa.Array:
    values = [None if cell in ("", None) else cell for cell in cells]
    known = [value for value in values if value is not None]
    if known and all(type(value) is float and value.is_integer() and abs(value) < 2**53 for value in known):
        values = [None if value is None else int(value) for value in values]  # Excel has no integers
    found = to_array(values)
    return found.cast(pa.string()) if as_texts and not pa.types.is_string(found.type) else found
