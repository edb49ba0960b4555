"""Detection of a text file's format: its encoding, delimiter, first line of the table, and column names."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from ..errors import InvalidData
from .dates import looks_like_date
from .file_options import FileOptions
from .numerals import looks_like_number, read_numeral

__all__ = ["COMPRESSED", "NULLS", "Dialect", "open_bytes", "sniff"]

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
NULLS = ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL",
         "NaN", "n/a", "nan", "null")  # fmt: skip
"""Texts that are read as missing cells."""
_DELIMITERS = "\t;|,"
"""In order of reliability: a comma may also be a decimal sign, and a blank may be part of a text."""
_IN_CELLS = " ._-+/%\"'()[]{}&" + _DELIMITERS
"""Signs that are not tried as unusual delimiters."""
_HEAD = 1 << 18
_ROWS = 200
_BLOCK = 1 << 24
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_COMMENT = "#"


@dataclass(frozen=True)
class Dialect:
    """The format of one text file.

    Parameters
    ----------
    file : Path
    encoding, delimiter : str
    has_names : bool
        Whether the first line holds the column names.
    skipped : int
        The number of lines before the table.
    has_comments, has_quotes : bool
        Whether some lines are comments, and whether some cells are quoted.
    names : tuple of str
        The column names; for columns without names f0, f1, …
    said : tuple of str
        Detected properties to report in a warning, as they may be wrong.
    """

    file: Path
    encoding: str
    delimiter: str = ","
    has_names: bool = True
    skipped: int = 0
    has_comments: bool = False
    has_quotes: bool = False
    names: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def _is_plain(self) -> bool:
        """Whether Arrow can read the file directly."""
        return self.encoding in ("utf-8", "utf-8-sig") and self.delimiter != " " and not self.has_comments

    def open(self) -> io.RawIOBase:
        """Open the file for Arrow: as UTF-8, with a one-character delimiter and without comments."""
        if self._is_plain:
            return open_bytes(self.file)
        return _Lines(self)

    def arrow_options(self, missing: Sequence[str]) -> dict[str, object]:
        """Return Arrow's options for the stream of `open`, with all cells as texts."""
        return {
            "read_options": pa.csv.ReadOptions(
                column_names=list(self.names),
                skip_rows=self.skipped if self._is_plain else 0,
                skip_rows_after_names=int(self.has_names and self._is_plain),
                block_size=_BLOCK,
            ),
            "parse_options": pa.csv.ParseOptions(
                delimiter="\t" if self.delimiter == " " else self.delimiter, newlines_in_values=self.has_quotes
            ),
            "convert_options": pa.csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                null_values=[*NULLS, *missing],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        }


def open_bytes(file: Path) -> io.RawIOBase:
    """Open a file's bytes, decompressed if it is compressed."""
    kind = COMPRESSED.get(file.suffix.lower())
    return pa.input_stream(str(file), compression=kind) if kind else pa.OSFile(str(file))


class _Lines(io.RawIOBase):
    """A stream of converted lines, for files that Arrow cannot read directly."""

    def __init__(self, dialect: Dialect) -> None:
        self._lines, self._rest = _lines_of(dialect), b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        pieces, length = [self._rest], len(self._rest)
        while length < len(into) and (line := next(self._lines, None)) is not None:
            pieces.append(line)
            length += len(line)
        found = b"".join(pieces)
        n = min(len(into), len(found))
        into[:n], self._rest = found[:n], found[n:]
        return n


def _lines_of(dialect: Dialect) -> Iterator[bytes]:
    with open_bytes(dialect.file) as raw, io.TextIOWrapper(_Reader(raw), dialect.encoding, newline="") as text:
        in_quotes = False
        for i, line in enumerate(text):
            if i < dialect.skipped + dialect.has_names:
                continue
            if not in_quotes and dialect.has_comments and line.lstrip().startswith(_COMMENT):
                continue
            if dialect.delimiter == " ":
                yield "\t".join(_split_blanks(line)).encode() + b"\n"
                continue
            in_quotes ^= line.count('"') % 2 == 1
            yield line.encode()


class _Reader(io.BufferedReader):
    """An adapter from Arrow's stream to Python's text reader."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(_Raw(raw), 1 << 20)


class _Raw(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        found = self._raw.read(len(into))
        into[: len(found)] = found
        return len(found)


# -- detection --------------------------------------------------------------------------------------------------------


def sniff(file: Path, options: FileOptions, known: Sequence[str] = ()) -> Dialect:
    """Detect the format of a file.

    Parameters
    ----------
    file : Path
    options : FileOptions
        The user's options, which are not detected.
    known : sequence of str
        The expected column names.

    Raises
    ------
    InvalidData
        If the file holds no table, or is not text in a known encoding.
    """
    try:
        encoding, has_quotes = _encoding_of(file, options.encoding)
        with open_bytes(file) as raw:
            head = _decoded_head(raw.read(_HEAD), encoding)
    except (OSError, pa.ArrowException) as error:
        raise InvalidData(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    notes = []
    if encoding not in ("utf-8", "utf-8-sig") and options.encoding is None:
        notes.append(f"encoding {encoding}")
    lines = head.splitlines(keepends=True)
    if len(head) >= _HEAD // 4 and len(lines) > 1:
        lines = lines[:-1]  # the last line may be cut
    if not any(line.strip() for line in lines):
        raise InvalidData(f"{file} has no first line to take columns from.")
    given, skipped, has_comments = options.delimiter, 0, False
    if lines[0].lower().startswith("sep=") and len(lines[0].strip()) == 5:  # Excel's own
        given, skipped = given or lines[0][4], 1
    skipped, has_comments, named = _skip_top(lines, skipped)
    body = [line for line in lines[skipped:] if line.strip()]
    if any(line.lstrip().startswith(_COMMENT) for line in body[1:]) and not body[0].startswith(_COMMENT):
        has_comments = True
        body = [body[0], *(line for line in body[1:] if not line.lstrip().startswith(_COMMENT))]
    if has_comments or named:
        notes.append(f"lines with {_COMMENT} left out")
    delimiter, start = _delimiter_of(body, given)
    if start:
        skipped += _line_of(lines[skipped:], start)
        body = body[start:]
        notes.append(f"{start} line(s) before the table left out")
    if delimiter != "," and options.delimiter is None and not file.name.lower().endswith((".tsv", ".tsv.gz", ".tab")):
        notes.append("separated by blanks" if delimiter == " " else f"delimiter {delimiter!r}")
    dialect = Dialect(file, encoding, delimiter, True, skipped, has_comments, has_quotes)
    rows = _split(body, delimiter)
    return _with_names(dialect, rows, named, options, known, notes)


def _with_names(
    dialect: Dialect,
    rows: list[list[str]],
    named: str | None,
    options: FileOptions,
    known: Sequence[str],
    notes: list[str],
) -> Dialect:
    """Add the column names, from the first row or from a comment right above it."""
    width = Counter(map(len, rows[1:] or rows)).most_common(1)[0][0]
    first = [cell.strip() for cell in rows[0]]
    if options.header is not None:
        has_names = options.header
    elif known:
        has_names = set(known) <= set(first) or (has_header(rows) and not all(re.fullmatch(r"f\d+", n) for n in known))
    else:
        has_names = has_header(rows)
    if has_names:
        if (
            len(first) == width - 1 and len(rows) > 1
        ):  # a file of R: the first column holds the row names, and has no name
            first = ["", *first]
        if sum(map(looks_like_number, first)) > len(first) / 2 and options.header is None:
            notes.append(f"the first line names the columns: {', '.join(first[:3])}{', …' if len(first) > 3 else ''}")
        return replace(dialect, names=tuple(first), said=tuple(notes))
    if named is not None and options.header is None:
        cells = [cell.strip() for cell in next(csv.reader([named], delimiter=_as_one(dialect.delimiter)))]
        cells = _split_blanks(named) if dialect.delimiter == " " else cells
        if len(cells) == len(rows[0]) and all(cells) and not any(map(looks_like_number, cells)):
            return replace(dialect, has_names=False, names=tuple(cells), said=tuple(notes))
    if options.header is None and not known:
        notes.append("no line with names")
    return replace(dialect, has_names=False, names=tuple(f"f{i}" for i in range(len(rows[0]))), said=tuple(notes))


def _encoding_of(file: Path, given: str | None) -> tuple[str, bool]:
    """Detect the encoding, and whether there are quotation marks, from the whole file."""
    non_ascii: Counter[str] = Counter()
    decoder, has_quotes, is_first, is_utf8 = codecs.getincrementaldecoder("utf-8")(), False, True, True
    with open_bytes(file) as raw:
        while chunk := raw.read(1 << 22):
            if is_first and given is None:
                mark = next((name for sign, name in _MARKS if chunk.startswith(sign)), None)
                mark = mark or _utf16_without_mark(chunk[:4096])
                if mark is not None and mark != "utf-8-sig":
                    return mark, True
                encoding = mark or "utf-8"
            is_first = False
            has_quotes |= b'"' in chunk
            if given is None and is_utf8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    is_utf8 = False
            if given is None and not is_utf8 and len(non_ascii) < 10_000:
                non_ascii.update(re.findall(r"\w*[^\x00-\x7f]+\w*", chunk.decode("cp1252", "replace")))
        if given is None and is_utf8:
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                is_utf8 = False
    if given is not None:
        _require_decodable(file, given)
        return given, has_quotes or given.lower().replace("-", "").startswith("utf16")
    if is_utf8:
        return encoding if not is_first else "utf-8", has_quotes
    if not _is_western(non_ascii):
        raise InvalidData(
            f"{file} is not UTF-8 text. Name its encoding, for example --encoding cp949, or "
            '{"file": {"encoding": "cp949"}} in the schema.'
        )
    return "cp1252", has_quotes


def _require_decodable(file: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    with open_bytes(file) as raw:
        try:
            while chunk := raw.read(1 << 22):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise InvalidData(f"{file} is not {encoding} text: {error}. Name another --encoding.") from error


def _utf16_without_mark(start: bytes) -> str | None:
    """Detect UTF-16 without a byte order mark: mostly ASCII text has a zero in every second byte."""
    if len(start) < 4 or b"\x00" not in start:
        return None
    even, odd = start[::2].count(0) / len(start[::2]), start[1::2].count(0) / len(start[1::2])
    return "utf-16-le" if odd > 0.4 > even else "utf-16-be" if even > 0.4 > odd else None


def _is_western(words: Counter[str]) -> bool:
    """Return whether words are plausible in cp1252: words have few accented letters, and no control characters."""
    good = sum(
        count
        for word, count in words.items()
        if "\ufffd" not in word
        and not re.search(r"[\x80-\x9f]", word)
        and sum(c > "\x7f" for c in word) <= max(1, sum(c < "\x80" for c in word))
    )
    return good >= 0.9 * sum(words.values())


def _decoded_head(head: bytes, encoding: str) -> str:
    return codecs.getincrementaldecoder(encoding)().decode(head).replace("\r\n", "\n").replace("\r", "\n")


def _skip_top(lines: Sequence[str], start: int) -> tuple[int, bool, str | None]:
    """Return the first line of the table, False, and the comment right above it, which may hold column names."""
    named = None
    for i in range(start, len(lines)):
        text = lines[i].strip()
        if text.startswith(_COMMENT):
            named = text.lstrip(_COMMENT).strip()
        elif text:
            return i, False, named
    return start, False, None  # only comments: perhaps a header that starts with the sign


def _line_of(lines: Sequence[str], n_filled: int) -> int:
    """Return the index of the line after ``n_filled`` lines that are not empty."""
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        if not n_filled:
            return i
        n_filled -= 1
    return len(lines)


def _as_one(delimiter: str) -> str:
    return "\t" if delimiter == " " else delimiter


def _split_blanks(line: str) -> list[str]:
    """Split a line at any number of blanks."""
    return [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line)]


def _split(lines: Sequence[str], delimiter: str, limit: int = _ROWS) -> list[list[str]]:
    if delimiter == " ":
        return [_split_blanks(line) for line in lines[:limit]]
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) >= limit:
                break
    except csv.Error:  # for example a cell that is too long
        pass
    return rows


def _delimiter_of(lines: Sequence[str], given: str | None) -> tuple[str, int]:
    """Return the delimiter, and the number of lines before the table."""
    if given is not None:
        return given, _start_of(_split(lines, given)) or 0
    starts = {delimiter: _start_of(_split(lines, delimiter)) for delimiter in _DELIMITERS}
    found = {delimiter: start for delimiter, start in starts.items() if start is not None}
    if 0 not in found.values():
        for sign in dict.fromkeys(c for c in lines[0] if c.isascii() and c.isprintable() and not c.isalnum()):
            if sign not in _IN_CELLS and _start_of(_split(lines, sign)) == 0:
                return sign, 0
    if found:
        best = min(found, key=lambda delimiter: found[delimiter])
        return best, found[best]
    rows = _split(lines, " ")
    if len({len(row) for row in rows[1:] or rows}) == 1 and len(rows[-1]) > 1 and len(rows[0]) >= len(rows[-1]) - 1:
        columns = list(zip(*rows[1:] or rows, strict=True))
        if sum(_is_typed(column) for column in columns) >= len(columns) / 2 and len(rows[0]) <= len(rows[-1]):
            return " ", 0
    counts = {delimiter: lines[0].count(delimiter) for delimiter in _DELIMITERS[::-1]}
    likely = max(counts, key=lambda delimiter: counts[delimiter])
    return likely if counts[likely] else _single(lines), 0


def _single(lines: Sequence[str]) -> str:
    """Return a delimiter for a table of one column: a sign that no cell holds."""
    return next((sign for sign in ",\t;|" if not any(sign in line for line in lines)), ",")


def _start_of(rows: Sequence[Sequence[str]]) -> int | None:
    """Return the first row of a table with rows of equal length; None if there is no such table."""
    if not rows:
        return None
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width < 2:
        return None
    start = next(i for i, row in enumerate(rows) if len(row) == width)
    if any(len(row) != width for row in rows[start:]):
        return None
    above = rows[:start]
    if len(above) == 1 and len(above[0]) == width - 1 > 1 and not any(map(looks_like_number, above[0])):
        return 0 if not has_header(rows[start:]) else None  # a file of R: the row names have no column name
    return start if not start or (all(len(row) == 1 for row in above) and has_header(rows[start:])) else None


def _is_typed(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if _kind(cell) != "missing"]
    return bool(known) and all(_kind(cell) in ("number", "date", "boolean") for cell in known)


def _kind(cell: str) -> str:
    """Return the apparent kind of a cell."""
    text = cell.strip()
    if text in NULLS or not any(c.isalnum() for c in text):
        return "missing"
    if text.lower() in ("true", "false"):
        return "boolean"
    if looks_like_number(text) or _is_scientific(text):
        return "number"
    return "date" if looks_like_date(text) else "text"


def _is_scientific(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row holds the column names, by its difference from the rows below.

    >>> has_header([["a", "b"], ["1", "x"]]), has_header([["5.1", "setosa"], ["4.9", "setosa"]])
    (True, False)
    >>> has_header([["2019", "2020"], ["1.5", "2.5"], ["1.7", "2.1"]])
    True
    """
    first, rest = rows[0], [row for row in rows[1:] if row != rows[0]]
    if not rest:
        return not all(_kind(cell) in ("number", "date", "missing") for cell in first)
    shift = max(0, len(rest[0]) - len(first))
    other, same, recurs = 0, [], 0
    for i, cell in enumerate(first):
        below = [row[i + shift].strip() for row in rest if i + shift < len(row)]
        kinds = Counter(kind for text in below if (kind := _kind(text)) != "missing")
        kind = _kind(cell)
        if not kinds or kind == "missing":
            continue
        usual, count = kinds.most_common(1)[0]
        if usual != "text" and count >= 0.9 * kinds.total():
            if kind == usual:
                same.append((cell.strip(), below))
            else:
                other += kind == "text" or usual != "number"
        elif kind == "text" and cell.strip() in below:
            recurs += 1
    if same and _are_names(same):
        return True
    if same:
        return other > len(same) or (other > 0 and not recurs and other >= len(same))
    return other > 0 or not recurs


def _are_names(cells: Sequence[tuple[str, Sequence[str]]]) -> bool:
    """Return whether numbers above columns of numbers are names: consecutive years or indices, unlike those below."""
    texts = [text for text, _ in cells]
    if len(texts) < 2 or not all(re.fullmatch(r"-?\d{1,4}", text) for text in texts):
        return False
    numbers = list(map(int, texts))
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    if len(steps) > 1 or 0 in steps or sum(text in below for text, below in cells) > len(cells) / 4:
        return False
    below = list(zip(*(column for _, column in cells), strict=False))
    return not any(_is_even(row, steps) for row in below[:20])


def _is_even(row: Sequence[str], steps: set[int]) -> bool:
    found = [read_numeral(text) for text in row]
    if None in found or not all(re.fullmatch(r"-?\d+", text) for text in row):
        return False
    numbers = list(map(int, row))
    return {b - a for a, b in itertools.pairwise(numbers)} == steps
