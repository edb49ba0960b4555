"""Conversion between the bytes of requests and responses, and rows: JSON, and Arrow's streaming format.

Requests and responses have the same form, ``{"rows": [...]}``: a row is an object by the columns' names, or a list of
numbers if the columns have no names; null is a missing cell. No code of a request is executed, and the memory that a
request takes is limited.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from ..data.readers import Table, numeric, numeric_columns
from ..data.schema import Column, arrow_type, is_numeric
from ..errors import InvalidData, suggest
from ..estimators.predictions import counts_only, valid_input_range
from ..estimators.trainable import Saveable
from .bounds import Bounds

__all__ = ["ARROW", "JSON", "Malformed", "Wire"]

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NOTHING = type(None)
_VIEW = 16
"""Bytes of a text view of Arrow."""


class Malformed(InvalidData):
    """The body does not have the declared format."""


class Cells:
    """The JSON form of a column's cells, and the conversion of them to Arrow.

    Parameters
    ----------
    name : str
    column : Column or None
        The schema's column; None: a column of numbers.
    may_be_missing : bool
        Whether null is accepted in the JSON schema.
    least, most : float
        The range of accepted numbers.
    whole : bool, default=False
        Whether only whole numbers are accepted.
    """

    def __init__(
        self,
        name: str,
        column: Column | None,
        may_be_missing: bool,
        least: float = -np.inf,
        most: float = np.inf,
        *,
        whole: bool = False,
    ) -> None:
        self.name, self._least, self._most, self._whole = name, least, most, whole
        self._kind = "number" if column is None else column.kind
        self._type: pa.DataType = pa.float64()
        if column is not None and self._kind not in ("number", "count"):
            self._type = _read_as(column)
        self.json_type, self._of = self._read_by()
        self._missing = may_be_missing
        self._categories = () if column is None else column.categories

    def _read_by(self) -> tuple[Mapping[str, object], tuple[type, ...]]:
        """Return the JSON Schema of a cell, and the Python types that are accepted for it."""
        if self._kind == "date":
            return {"type": "string", "format": "date" if pa.types.is_date(self._type) else "date-time"}, (str,)
        if pa.types.is_boolean(self._type):
            return {"type": "boolean"}, (bool,)
        if self._kind == "category" and not is_numeric(self._type):
            return {"type": "string"}, (str,)
        if pa.types.is_integer(self._type):
            return {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, (int,)
        step = {"multipleOf": 1} if self._whole else {}
        return {"type": "number", "minimum": self._least, "maximum": self._most, **step}, (int, float)

    @property
    def schema(self) -> dict[str, object]:
        """The JSON Schema of a cell, with null if cells may be missing."""
        found: dict[str, object] = (
            {"anyOf": [self.json_type, {"type": "null"}]} if self._missing else dict(self.json_type)
        )
        if self._categories:
            found["description"] = f"Known are {', '.join(map(repr, self._categories[:20]))}."
        return found

    def read(self, values: list[Any]) -> pa.Array:
        """Convert the cells of all rows.

        Raises
        ------
        InvalidData
            If a cell has another type, is out of range, or is not a date.
        """
        if not set(map(type, values)) <= {*self._of, _NOTHING}:
            row = next(i for i, value in enumerate(values) if type(value) not in (*self._of, _NOTHING))
            self._refuse(row, values[row])
        if self._kind == "date":
            return pa.array([self._moment(i, value) for i, value in enumerate(values)], self._type)
        try:
            found = pa.array(values, self._type)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise InvalidData(f"Column {self.name}: {error}.") from error
        if pa.types.is_floating(self._type):
            numbers = found.to_numpy(zero_copy_only=False)
            beyond = (numbers < self._least) | (numbers > self._most)
            if self._whole:
                beyond |= ~np.isnan(numbers) & (numbers != np.round(numbers))
            if beyond.any():
                row = int(beyond.argmax())
                self._refuse(row, values[row])
        return found

    def _moment(self, row: int, text: str | None) -> date | None:
        """Parse a date, or a date and time; without a time zone it is in UTC."""
        if text is None:
            return None
        try:
            if pa.types.is_date(self._type):
                if not _DATE.fullmatch(text):
                    raise ValueError(text)
                return date.fromisoformat(text)
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self._refuse(row, text)
        return moment if self._type.tz is not None else moment.replace(tzinfo=None)

    def _refuse(self, row: int, value: object) -> NoReturn:
        wanted = {"number": "a number", "integer": "a whole number", "boolean": "true or false"}.get(
            str(self.json_type["type"]), "a text"
        )
        if self._kind == "date":
            wanted = "a date such as 2024-05-31" if self.json_type["format"] == "date" else "a date and time (RFC 3339)"
        if type(value) in self._of and self._kind != "date":
            wanted = f"{'a whole number ' * self._whole}between {self._least:.6g} and {self._most:.6g}"
        shown = json.dumps(value, default=str)[:40]
        raise InvalidData(f"Row {row + 1}, column {self.name} must be {wanted}; got {shown}.")


def _read_as(column: Column) -> pa.DataType:
    """Return the Arrow type for the cells of a column in JSON."""
    found = arrow_type(column.type)
    if pa.types.is_timestamp(found):  # the finest resolution of the text format
        return pa.timestamp("us", found.tz)
    if column.kind == "boolean":
        return found if pa.types.is_boolean(found) else pa.float64()
    return pa.string() if column.kind == "category" and not is_numeric(found) else found


class Wire:
    """The reader of requests and writer of responses for one model.

    Parameters
    ----------
    model : fitted estimator
    bounds : Bounds
        The limits of one request.
    """

    def __init__(self, model: Saveable, bounds: Bounds) -> None:
        columns = model.input_
        schema, missing = columns.schema, columns.allow_missing
        self.names = None if columns.names is None else tuple(map(str, columns.names))
        self.n_features = columns.n_features
        self.bounds, self._width = bounds, columns.width
        used: Sequence[Column | None] = schema.used if schema is not None else [None] * self.n_features
        names = self.names or tuple(map(str, range(self.n_features)))
        self._least, self._most = low, high = valid_input_range(model)
        self._whole = whole = counts_only(model)
        places = range(self.n_features) if schema is None else [schema.column_slices[name].start for name in names]
        self.cells = [
            Cells(name, column, missing, float(low[at]), float(high[at]), whole=bool(whole[at]))
            for name, column, at in zip(names, used, places, strict=True)
        ]
        self._has_schema = schema is not None

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, kind: str, body: bytes) -> np.ndarray | pa.Table:
        """Read a request's rows: an array, or an Arrow table if the columns have names.

        Raises
        ------
        Malformed
            If the body does not have this format.
        InvalidData
            If there are too many rows or none, a column is missing, or a cell has another type.
        """
        return self._of_json(body) if kind == JSON else self._of_arrow(body)

    def _of_json(self, body: bytes) -> np.ndarray | pa.Table:
        self.bounds.check_json(body, self.n_features)
        try:
            content = json.loads(body, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"The body is not JSON: {error}.") from error
        if not isinstance(content, dict) or not isinstance(rows := content.get("rows"), list):
            raise InvalidData('The body must be an object with a list of rows: {"rows": [...]}.')
        if unknown := sorted(set(content) - {"rows"}):
            raise InvalidData(f"The body has an entry {unknown[0]!r}. {suggest(unknown[0], ['rows'])}")
        self._require_some(len(rows))
        return self._lists(rows) if self.names is None else self._objects(rows)

    def _lists(self, rows: list[Any]) -> np.ndarray:
        if not set(map(type, rows)) <= {list} or set(map(len, rows)) != {self.n_features}:
            at = next(i for i, row in enumerate(rows) if type(row) is not list or len(row) != self.n_features)
            held = f"a list of {len(rows[at])}" if type(rows[at]) is list else json.dumps(rows[at])[:40]
            raise InvalidData(f"Row {at + 1} must be a list of {self.n_features} numbers; got {held}.")
        if set(map(type, chain.from_iterable(rows))) <= {int, float, _NOTHING}:
            with suppress(OverflowError):
                found = np.array(rows, np.float64)
                broken = self._whole & ~np.isnan(found) & (found != np.round(found))
                if not ((found < self._least) | (found > self._most) | broken).any():
                    return found
        for cells, values in zip(self.cells, zip(*rows, strict=True), strict=True):
            cells.read(list(values))  # raises for the column that is wrong
        raise AssertionError

    def _objects(self, rows: list[Any]) -> pa.Table:
        columns = {}
        for cells in self.cells:
            try:
                values = [row[cells.name] for row in rows]
            except (KeyError, TypeError, IndexError):
                self._refuse_object(rows)
            columns[cells.name] = cells.read(values)
        return pa.table(columns)

    def _refuse_object(self, rows: list[Any]) -> NoReturn:
        for i, row in enumerate(rows, start=1):
            if not isinstance(row, dict):
                raise InvalidData(f"Row {i} must be an object by the columns' names; got {json.dumps(row)[:40]}.")
            if absent := [cells.name for cells in self.cells if cells.name not in row]:
                held = ", ".join(list(row)[:12]) or "nothing"
                raise InvalidData(f"Row {i} has no {absent[0]}, but {held}. Write null for a missing cell.")
        raise AssertionError

    def _of_arrow(self, body: bytes) -> np.ndarray | pa.Table:
        try:
            _refuse_compressed(body)
            with pa.ipc.open_stream(body) as stream:
                pieces, n_rows = [], 0
                for batch in stream:
                    batch.validate(full=True)
                    pieces.append(pa.RecordBatch.from_arrays([*map(_sound, batch.columns)], schema=batch.schema))
                    n_rows += batch.num_rows  # checked for each batch: a batch may be a single row
                    self.bounds.check_rows(n_rows, self._width)
                table = pa.Table.from_batches(pieces, stream.schema)
            names = table.column_names  # raises if a name is not UTF-8
        except InvalidData:
            raise
        except (pa.ArrowException, OSError, struct.error, ValueError) as error:  # also a name that is not UTF-8
            raise Malformed(f"The body is no stream of Arrow: {str(error).splitlines()[0]}.") from error
        self._require_some(table.num_rows)
        if self.names is None:
            self.bounds.check_arrow(table)
            numeric_columns(table.schema, "The body")
            return numeric(table)
        if absent := [name for name in self.names if names.count(name) != 1]:
            raise InvalidData(f"There must be one column named {absent[0]}. {suggest(absent[0], names)}")
        table = table.select(list(self.names))
        self.bounds.check_arrow(table)
        if not self._has_schema:
            numeric_columns(table.schema, "The body")
        return table

    def _require_some(self, n_rows: int) -> None:
        if not n_rows:
            raise InvalidData("There are no rows; at least one is needed.")
        self.bounds.check_rows(n_rows, self._width)

    # -- writing ------------------------------------------------------------------------------------------------------

    def as_lists(self, what: str) -> bool:
        """Return whether the result of an operation is written as lists: rows of features without names."""
        return self.names is None and what in ("reconstruct", "impute")

    def write(self, kind: str, answer: Table | pa.Table, as_lists: bool = False) -> bytes:
        """Write a result; in JSON, NaN and infinite numbers are null."""
        if kind == ARROW:
            table = answer if isinstance(answer, pa.Table) else answer.as_arrow()
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            return bytes(sink.getvalue())
        columns = _columns(answer)
        if as_lists:
            rows: list[object] = list(zip(*columns.values(), strict=True))
        else:
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return json.dumps({"rows": rows}, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _columns(answer: Table | pa.Table) -> dict[str, list[object]]:
    """Return the columns of a result as lists of JSON values."""
    if isinstance(answer, Table):
        names = answer.names or tuple(map(str, range(answer.rows.shape[1])))
        return {name: _plain(column) for name, column in zip(names, answer.rows.T, strict=True)}
    return {name: _plain(column) for name, column in zip(answer.column_names, answer.columns, strict=True)}


def _plain(column: np.ndarray | pa.ChunkedArray) -> list[Any]:
    if isinstance(column, np.ndarray):
        values: list[Any] = column.tolist()
    else:
        values = column.to_pylist()
        if pa.types.is_temporal(column.type):
            return [None if value is None else _rfc3339(value) for value in values]
        if not pa.types.is_floating(column.type):
            return values
    if all(map(math.isfinite, filter(None, values))):
        return values
    return [value if value is not None and math.isfinite(value) else None for value in values]


def _rfc3339(moment: date | datetime | time) -> str:
    """Format a date or time by RFC 3339; without a time zone it is in UTC."""
    if isinstance(moment, datetime) and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON; null is a missing cell")


# -- compressed Arrow, refused before it is decompressed ---------------------------------------------------------------

_RECORD_BATCH, _DICTIONARY = 3, 2


def _sound(cells: pa.Array) -> pa.Array:
    """Return cells with empty views behind missing texts: Arrow's own check does not look at them, but a cast does."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(cells.indices, _sound(cells.dictionary), ordered=kind.ordered)
    if not (pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)) or not cells.null_count:
        return cells
    valid, views, *texts = cells.buffers()
    rows = np.frombuffer(views, np.uint8).copy().reshape(-1, _VIEW)
    rows[cells.offset : cells.offset + len(cells)][np.asarray(cells.is_null())] = 0
    buffers = [valid, pa.py_buffer(rows), *texts]
    return pa.Array.from_buffers(kind, len(cells), buffers, cells.null_count, cells.offset)


def _refuse_compressed(body: bytes) -> None:
    """Raise for a compressed stream: Arrow decompresses while it reads, and a few bytes could fill the memory.

    The layout of messages is that of Message.fbs in Arrow's sources.

    Raises
    ------
    Malformed
        If a message's body is compressed.
    struct.error, pyarrow.ArrowInvalid
        If the body is not a stream of messages.
    """
    for message in pa.ipc.MessageReader.open_stream(body):
        head = bytes(message.metadata)
        table = _Fields(head, struct.unpack_from("<I", head)[0])
        kind, inner = table.number(1), table.table(2)
        batch = inner.table(1) if kind == _DICTIONARY and inner is not None else inner
        if kind in (_RECORD_BATCH, _DICTIONARY) and batch is not None and batch.at(3):
            raise Malformed("The body is compressed Arrow. Write it without compression.")


class _Fields:
    """A table of a FlatBuffer, with its fields by number."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content, self._start = content, start
        self._map = start - struct.unpack_from("<i", content, start)[0]

    def at(self, field: int) -> int:
        """Return the position of a field; 0, if it is absent."""
        (size,) = struct.unpack_from("<H", self._content, self._map)
        place = 4 + 2 * field
        offset = struct.unpack_from("<H", self._content, self._map + place)[0] if place + 2 <= size else 0
        return self._start + offset if offset else 0

    def number(self, field: int) -> int:
        """Return a field of one byte."""
        return self._content[at] if (at := self.at(field)) else 0

    def table(self, field: int) -> _Fields | None:
        """Return a nested table; None, if it is absent."""
        at = self.at(field)
        return _Fields(self._content, at + struct.unpack_from("<I", self._content, at)[0]) if at else None
