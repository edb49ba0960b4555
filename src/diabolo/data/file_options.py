"""Options of reading text files, which replace detection."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from ..errors import InvalidData, suggest
from .dates import parse_format

if TYPE_CHECKING:
    from .tables import SchemaSpec

__all__ = ["FileOptions", "split_options"]

_SECTION = "file"


@dataclass(frozen=True)
class FileOptions:
    """The format of a text file, as far as the user gives it; None: detect it from the file.

    Parameters
    ----------
    delimiter : str or None
        The sign between two cells; " ": any number of blanks.
    decimal, thousands : str or None
        The decimal and thousands signs of numbers; thousands "": numbers are not grouped.
    encoding : str or None
    missing : tuple of str
        Texts that mark missing cells, in addition to empty cells and NA, NaN, null and N/A.
    header : bool or None
        Whether the first line holds the column names.
    date_format : str or None
        The format of dates, in the directives of `strptime`: "%d/%m/%Y %H:%M".
    """

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()
    header: bool | None = None
    date_format: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\n\r'):
            raise InvalidData(f"delimiter must be one character; got {self.delimiter!r}.")
        if self.decimal not in (None, ".", ","):
            raise InvalidData(f"decimal must be '.' or ','; got {self.decimal!r}.")
        if self.thousands is not None and (len(self.thousands) > 1 or self.thousands.isalnum()):
            raise InvalidData(
                f"thousands must be one character, neither letter nor digit, or ''; got {self.thousands!r}."
            )
        if self.decimal is not None and self.decimal == self.thousands:
            raise InvalidData(f"decimal and thousands are both {self.decimal!r}.")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise InvalidData(
                    f"encoding {self.encoding!r} is unknown. Use for example utf-8, cp1252 or cp949."
                ) from error
        if self.date_format is not None:
            parse_format(self.date_format)

    @classmethod
    def of(cls, given: Mapping[str, object]) -> FileOptions:
        """Check the options of a user, and create an instance.

        Raises
        ------
        InvalidData
            If an option is unknown, or its value is invalid.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise InvalidData(f"The option {unknown[0]!r} of a file is unknown. {suggest(unknown[0], known)}")
        values: dict[str, Any] = dict(given)
        missing = values.get("missing", ())
        values["missing"] = tuple(missing) if isinstance(missing, list | tuple) else (missing,)
        kinds: dict[str, Any] = {"header": bool | None, "missing": tuple}
        for name, value in values.items():
            if not isinstance(value, kinds.get(name, str | None)) or (
                name == "missing" and not all(isinstance(text, str) for text in value)
            ):
                raise InvalidData(f"The option {name} of a file cannot be {value!r}.")
        return cls(**values)

    def given(self) -> dict[str, Any]:
        """Return the options that are given."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    def updated(self, other: FileOptions) -> FileOptions:
        """Return these options, overridden by the given ones of ``other``."""
        return FileOptions(**(self.given() | other.given()))


def split_options(schema: SchemaSpec) -> tuple[SchemaSpec, FileOptions]:
    """Split a user's schema into the columns and the file options, ``{"file": {...}}``.

    A column may be named "file" too: the entry of a column is a kind, or a mapping with a kind.

    Raises
    ------
    InvalidData
        If an option is unknown, or its value is invalid.
    """
    if not isinstance(schema, Mapping):
        return schema, FileOptions()
    section = schema.get(_SECTION)
    if not isinstance(section, Mapping) or "kind" in section or "categories" in section:
        return schema, FileOptions()
    rest = {name: entry for name, entry in schema.items() if name != _SECTION}
    return rest or "auto", FileOptions.of(section)
