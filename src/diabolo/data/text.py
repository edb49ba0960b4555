"""Tables in text files, which are read twice: first to infer the types of the columns, then to convert the cells."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from ..errors import InvalidData, NotationWarning
from .dates import looks_like_date
from .file_options import FileOptions
from .notation import Notation, ReportData, decide
from .numerals import looks_like_number
from .schema import Column, Schema
from .sniffing import Dialect, sniff
from .tables import SchemaSpec, Table, check_unique_names, require_the_same, rows_of, unreadable_as

__all__ = ["TextTables", "open_text", "read_text"]


class TextTables:
    """The rows of text files of one kind, as Arrow batches with one schema.

    Parameters
    ----------
    files : sequence of Path
    options : FileOptions
    known : Schema or None
        The schema of a model, whose types and notations apply.
    expected : sequence of str
        Names that columns should have.
    untyped : sequence of str
        Columns that stay texts, as they are not used; "*": all columns that are not expected.
    lenient : sequence of str
        Columns that may stay texts.

    Raises
    ------
    InvalidData
        If a file is not such a table, or the notation of a cell is ambiguous.
    """

    def __init__(
        self,
        files: Sequence[Path],
        options: FileOptions,
        known: Schema | None = None,
        *,
        expected: Sequence[str] = (),
        untyped: Iterable[str] = (),
        lenient: Iterable[str] = (),
    ) -> None:
        columns = {} if known is None else {column.name: column for column in known.used}
        self._options = options
        self._missing = tuple(dict.fromkeys([*options.missing, *(t for c in columns.values() for t in c.missing)]))
        self._dialects = [sniff(file, options, tuple(columns) or expected) for file in files]
        self._dialects = [replace(dialect, names=_keys_of(dialect.names)) for dialect in self._dialects]
        self.names = self._dialects[0].names
        for dialect in self._dialects:
            check_unique_names(dialect.names, str(dialect.file))
            require_the_same(dialect.names, self.names, dialect.file, files[0])
        texts = {name for name in self.names if columns and not _has_type(columns.get(name))} | set(untyped)
        if "*" in texts:
            texts |= set(self.names) - set(expected)
        stored = {name: column.notation for name, column in columns.items()}
        self._kept: list[list[pa.Table]] | None = None
        if sum(file.stat().st_size for file in files) <= _KEPT_BYTES:
            self._kept = [list(self._parse(dialect)) for dialect in self._dialects]
        seen = {
            name: ReportData("%" in stored.get(name, "") or options.date_format is not None)
            for name in self.names
            if name not in texts
        }
        self._see(seen)
        found = decide(
            seen,
            delimiter=self._dialects[0].delimiter,
            decimal=options.decimal,
            thousands=options.thousands,
            date_format=options.date_format,
            stored={name: code for name, code in stored.items() if code},
            lenient=tuple(lenient),
        )
        if options.date_format is not None and not any(n.date == options.date_format for n in found.values()):
            raise InvalidData(f"{files[0]}: no column holds dates in the format {options.date_format!r}.")
        self.notations = {name: found.get(name, Notation("text")) for name in self.names}
        nameless = [name for name in self.names if name.startswith(_NAMELESS)]
        full = [name for name in nameless if self.notations[name].kind != "null"]
        if full and not (columns or expected):
            place = self.names.index(full[0]) + 1
            raise InvalidData(f"{files[0]}: Column {place} has no name. Give it one, or take it out.")
        self.names = tuple(name for name in self.names if name not in nameless)
        self._require_types(columns, files[0])
        self._warn(stored)

    def _see(self, seen: Mapping[str, ReportData]) -> None:
        """Read all cells once, to collect the statistics of each column."""
        for dialect in self._dialects:
            before = {name: (one.is_foreign, one.kind) for name, one in seen.items()}
            for batch in self._strings(dialect):
                for name, one in seen.items():
                    one.see(batch.column(name))
            for name, one in seen.items():
                was_foreign, kind = before[name]
                if one.is_foreign and not was_foreign and kind and not _has_numbers_or_dates(one):
                    raise InvalidData(
                        f"{dialect.file}: column {name} holds {min(one.texts, key=len)!r}, but in the files before it "
                        f"{'numbers' if one.is_number else 'dates or booleans'}."
                    )

    def _strings(self, dialect: Dialect) -> Iterable[pa.Table]:
        """Return the cells of a file as texts."""
        return self._parse(dialect) if self._kept is None else self._kept[self._dialects.index(dialect)]

    def _parse(self, dialect: Dialect) -> Iterator[pa.Table]:
        with unreadable_as(dialect.file, "CSV"):
            source = dialect.open()
            try:
                with pa.csv.open_csv(source, **dialect.arrow_options(self._missing)) as reader:
                    for batch in reader:
                        if batch.num_rows:
                            yield pa.Table.from_batches([batch])
            except pa.ArrowInvalid as error:
                if "Empty CSV file" not in str(error):
                    raise
            finally:
                source.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read all rows, and yield at least one batch, which may be empty."""
        schema = None
        for dialect in self._dialects:
            for texts in self._strings(dialect):
                table = pa.table({name: self._read(name, texts.column(name), dialect) for name in self.names})
                schema = schema or self._schema(table)
                yield from table.cast(schema, safe=False).to_batches()
        if schema is None:
            yield pa.RecordBatch.from_pylist([], pa.schema([(name, pa.null()) for name in self.names]))

    def table(self) -> pa.Table:
        """Read all rows into memory."""
        return pa.Table.from_batches(list(self.batches()))

    def _read(self, name: str, texts: pa.ChunkedArray, dialect: Dialect) -> pa.ChunkedArray:
        try:
            return self.notations[name].read(texts)
        except (ValueError, pa.ArrowInvalid) as error:
            kind = "a date" if self.notations[name].date is not None else "a number"
            raise InvalidData(
                f"{dialect.file}: column {name} holds {str(error)!r}, which is not {kind} like its other cells. "
                "Empty such cells, name them with --missing, or make the column a category in the schema."
            ) from error

    def _schema(self, table: pa.Table) -> pa.Schema:
        fields = []
        for field in table.schema:
            notation = self.notations[field.name]
            about = {"diabolo.notation": notation.code, "diabolo.missing": "", "diabolo.options": ""}
            missing = (*self._options.missing, *notation.missing)
            about["diabolo.missing"] = json.dumps(missing) if missing else ""
            about["diabolo.options"] = json.dumps(self._options.given()) if self._options.given() else ""
            kept = {name: text for name, text in about.items() if text}
            fields.append(pa.field(field.name, field.type, metadata=kept or None))
        return pa.schema(fields)

    def _require_types(self, columns: Mapping[str, Column], file: Path) -> None:
        """Check that the columns of a model are read with their types."""
        for name, column in columns.items():
            kind = self.notations[name].kind if name in self.notations else "null"
            fits = kind == "null" or (kind in _DATES) == (column.kind == "date")
            if column.kind != "category" and (not fits or kind == "text"):
                raise InvalidData(
                    f"{file}: column {name} is a {column.kind} in this model, but holds texts that cannot be read as "
                    "one. Empty those cells, or give their notation: --decimal, --missing, --date-format."
                )

    def _warn(self, stored: Mapping[str, str]) -> None:
        """Warn about detected notations, which may be wrong."""
        found = list(dict.fromkeys(text for dialect in self._dialects for text in dialect.said))
        by_text: dict[str, list[str]] = {}
        for name, notation in self.notations.items():
            if (text := str(notation)) and notation.code != stored.get(name):
                by_text.setdefault(text, []).append(name)
        for text, names in by_text.items():
            found.append(f"{text} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})")
        if found:
            warnings.warn(NotationWarning(f"{self._dialects[0].file} is read with {'; '.join(found)}"), stacklevel=2)


def open_text(
    files: Sequence[Path],
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    wanted: SchemaSpec = "auto",
    options: FileOptions | None = None,
) -> TextTables:
    """Open text files for `diabolo.data.readers.read`."""
    options = options or FileOptions()
    if isinstance(wanted, Schema):
        return TextTables(files, wanted.file_options.updated(options), wanted)
    entries = wanted if isinstance(wanted, Mapping) else {}
    kinds = {name: one.get("kind") if isinstance(one, Mapping) else one for name, one in entries.items()}
    untyped = [*exclude, *(name for name, kind in kinds.items() if kind == "ignore"), *(["*"] if columns else [])]
    lenient = [name for name, kind in kinds.items() if kind == "category"]
    return TextTables(files, options, expected=columns, untyped=untyped, lenient=lenient)


def read_text(
    tables: TextTables,
    where: str,
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    wanted: SchemaSpec = "auto",
) -> Table:
    """Read opened text files into memory."""
    found = tables.table()
    if not found.num_rows:
        raise InvalidData(f"{where} has no rows.")
    return rows_of(found, where, columns, exclude, wanted)


_KEPT_BYTES = 64 << 20
"""Files up to this size are parsed once, and their texts are kept in memory."""
_NAMELESS = "\0"


def _keys_of(names: Sequence[str]) -> tuple[str, ...]:
    """Give columns without a name unique names, under which they are left out; a first one keeps "": an index."""
    return tuple(name if name or not i else f"{_NAMELESS}{i}" for i, name in enumerate(names))


_DATES = ("date", "day", "moment", "utc")


def _has_type(column: Column | None) -> bool:
    """Return whether a model's column has another type than text."""
    return column is not None and not (column.kind == "category" and column.type in ("string", "large_string"))


def _has_numbers_or_dates(seen: ReportData) -> bool:
    """Return whether texts are numbers or dates in another notation, or marks of missing cells."""
    return all(
        looks_like_number(t) or looks_like_date(t) or not any(c.isalnum() for c in t) for t in list(seen.texts)[:100]
    )
