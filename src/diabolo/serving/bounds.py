"""Limits on the memory that a request's body takes once it is decoded, which its length does not show.

A few kilobytes of Arrow can encode 100,000 empty rows, or one long text a hundred thousand times; 16 MB of ``[],[],…``
are millions of lists; 16 kB of gzip can be 16 MB of blanks. So values are counted before they are decoded: in JSON by
the commas and brackets, in Arrow by the lengths in its buffers; and decompression stops at the limit of a body.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData

__all__ = ["BodyTooLong", "Bounds", "gunzip"]

_PIECE = 1 << 20
_FEW = 1000
_GZIP = 16 + zlib.MAX_WBITS
_FREE_COLUMNS = 64
"""Number of values that a row of JSON may hold in addition to four times the number of columns."""


class BodyTooLong(InvalidData):
    """A body has more bytes than are accepted, once it is decompressed."""


def gunzip(body: bytes, most: int) -> bytes:
    """Decompress a body of gzip to at most ``most`` bytes.

    The body must be one stream (RFC 1952 allows several): thousands of empty ones in a body would cost much time.

    Raises
    ------
    BodyTooLong
        If the content is longer.
    InvalidData
        If the body is not gzip, not complete, or continues after the stream.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        content = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidData(f"The body is not gzip, which its Content-Encoding declares: {error}.") from error
    if len(content) > most:
        raise BodyTooLong(f"The body has more than {most:,} bytes once it is decompressed. Send fewer rows at a time.")
    if not stream.eof or stream.unused_data:
        what = "continues after its end" if stream.eof else "is incomplete"
        raise InvalidData(f"The body is gzip, but {what}. Send one complete stream of gzip.")
    return content


@dataclass(frozen=True)
class Bounds:
    """Limits of one decoded request.

    Parameters
    ----------
    rows : int
        Largest number of rows.
    numbers : int
        Largest number of encoded numbers: rows times the width of an encoded row, in which a category takes one number
        for each of its values.
    text_bytes : int
        Largest number of bytes of all texts, each counted as often as it occurs in a row.
    """

    rows: int = 100_000
    numbers: int = 16 << 20
    text_bytes: int = 64 << 20

    def check_rows(self, n_rows: int, width: int = 1) -> None:
        """Check the number of rows and of encoded numbers.

        Raises
        ------
        InvalidData
            If there are too many rows or encoded numbers.
        """
        if n_rows > self.rows:
            raise InvalidData(
                f"There are {n_rows:,} rows; at most {self.rows:,} are accepted in a request. Send fewer."
            )
        if n_rows * width > self.numbers:
            most = max(1, self.numbers // width)
            raise InvalidData(
                f"There are {n_rows:,} rows, which the model encodes as {width:,} numbers each; at most {most:,} "
                "such rows are accepted in a request. Send fewer."
            )

    def check_json(self, body: bytes, n_columns: int) -> None:
        """Check the number of lists, objects and values in JSON.

        Raises
        ------
        InvalidData
            If there are more than the largest number of rows can have.
        """
        counts = body.count(b"[") + body.count(b"{"), body.count(b",")  # an upper bound: signs in texts are counted too
        if self._are_too_many(*counts, n_columns) and self._are_too_many(*_counts_outside_texts(body), n_columns):
            raise InvalidData(
                f"The body holds more lists, objects or values than {self.rows:,} rows of {n_columns:,} columns have. "
                "Send fewer rows at a time, and only the columns that the model uses."
            )

    def _are_too_many(self, n_containers: int, n_commas: int, n_columns: int) -> bool:
        return n_containers > 2 * self.rows + _FEW or n_commas > (n_containers + 1) * (4 * n_columns + _FREE_COLUMNS)

    def check_arrow(self, table: pa.Table) -> None:
        """Check the types of columns, and the total length of texts.

        Raises
        ------
        InvalidData
            If the cells of a column are not single values, or the texts together are too long.
        """
        n_bytes = 0
        for name, column in zip(table.column_names, table.columns, strict=True):
            if not _is_plain(column.type):
                raise InvalidData(
                    f"Column {name} holds {column.type}. A cell must be a number, a text, a boolean or a date."
                )
            n_bytes += sum(map(_text_bytes, column.chunks))
            if n_bytes > self.text_bytes:
                raise InvalidData(
                    f"Column {name}: the texts of all rows together have more than {self.text_bytes:,} bytes. Send "
                    "fewer rows at a time."
                )


def _counts_outside_texts(body: bytes) -> tuple[int, int]:
    """Count the opening brackets and the commas of JSON outside of its texts, in constant memory."""
    body = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # now each quotation mark begins or ends a text
    n_containers, n_commas, n_marks = 0, 0, 0
    for start in range(0, len(body), _PIECE):
        codes = np.frombuffer(body, np.uint8, min(_PIECE, len(body) - start), start)
        marks = np.cumsum(codes == ord('"'), dtype=np.int32) + n_marks
        outside, n_marks = marks % 2 == 0, int(marks[-1])
        n_containers += int((outside & ((codes == ord("[")) | (codes == ord("{")))).sum())
        n_commas += int((outside & (codes == ord(","))).sum())
    return n_containers, n_commas


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return not pa.types.is_dictionary(kind.value_type) and _is_plain(kind.value_type)
    return (
        pa.types.is_primitive(kind)
        or pa.types.is_null(kind)
        or pa.types.is_decimal(kind)
        or _is_text(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _text_bytes(cells: pa.Array) -> int:
    """Return the number of bytes of the cells of one chunk, with dictionary cells expanded."""
    if pa.types.is_dictionary(cells.type):
        lengths = _lengths(cells.dictionary)
        at = np.asarray(cells.indices.fill_null(0) if cells.null_count else cells.indices).astype(np.int64)
        return int(lengths[at].sum()) if len(lengths) and len(at) else 0
    return int(_lengths(cells).sum())


def _lengths(cells: pa.Array) -> np.ndarray:
    """Return the length in bytes of each cell; 0 for a cell that is not text or bytes."""
    kind = cells.type
    if pa.types.is_string_view(kind):  # each view begins with its length, four bytes of sixteen
        views = np.frombuffer(cells.buffers()[1], np.int32)[::4][cells.offset : cells.offset + len(cells)]
        return views.astype(np.int64)
    if _is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return np.asarray(pc.binary_length(cells).fill_null(0)).astype(np.int64)
    return np.zeros(len(cells), np.int64)
