"""Inference of the type and the notation of a column's texts: collect chunks, decide once, then convert."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData
from .dates import DateForm, convert_dates, date_forms, looks_like_date, parse_format
from .numerals import NumberForm, Summary, convert_numbers, is_code, looks_like_number, summarize

__all__ = ["Notation", "ReportData", "decide"]

_TYPES = {
    "int": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "day": pa.date32(),
    "moment": pa.timestamp("us"),
    "utc": pa.timestamp("us", "UTC"),
}
"""The types that Arrow can parse."""
_WIDER = {
    "": tuple(_TYPES),
    "int": ("float",),
    "day": ("moment",),
}
"""For each type, the more general types that hold all its values."""
_MOST_TEXTS = 100_000
_LOOKED_AT = 1_000
_EXACT_DIGITS = 16


@dataclass(frozen=True)
class Notation:
    """The conversion of one column of texts.

    Parameters
    ----------
    kind : str
        "null", "text", "number", "date", or one that Arrow parses: "int", "float", "boolean", "day", "moment", "utc".
    number : NumberForm
    date : DateForm or None
    date_type : DataType or None
        The type of dates: dates or timestamps.
    whole : bool
        Whether all numbers are integers.
    missing : tuple of str
        Texts that mark missing cells.
    """

    kind: str
    number: NumberForm = NumberForm()
    date: DateForm | None = None
    date_type: pa.DataType | None = None
    whole: bool = False
    missing: tuple[str, ...] = ()

    def read(self, cells: pa.ChunkedArray) -> pa.ChunkedArray:
        """Convert texts to cells of the column's type.

        Raises
        ------
        ValueError
            If a text cannot be converted; the message is the text.
        """
        if self.kind == "null":
            return pa.chunked_array([pa.nulls(len(cells))])
        if self.kind in _TYPES and not self.missing:
            with suppress(pa.ArrowInvalid):
                return cells.cast(_TYPES[self.kind])
        cells = pc.utf8_trim_whitespace(cells)
        is_missing = pc.is_in(cells, value_set=pa.array(["", *self.missing]))
        if pc.any(is_missing).as_py():
            cells = pc.if_else(is_missing, None, cells)
        if self.kind == "text":
            return cells
        if self.kind == "number":
            found = convert_numbers(cells, self.number)
            return found.cast(pa.int64()) if self.whole else found
        if self.date is not None:
            return convert_dates(cells, self.date, self.date_type)
        if self.kind == "boolean":
            cells = pc.utf8_lower(cells)
        try:
            return cells.cast(_TYPES[self.kind])
        except pa.ArrowInvalid as error:
            raise ValueError(_first_bad(cells, _TYPES[self.kind])) from error

    @property
    def code(self) -> str:
        """The notation as stored in a model: the signs of numbers, or the form of dates."""
        if self.kind == "number":
            return "" if self.number.is_plain else f"{self.number.decimal}{self.number.thousands}"
        return str(self.date) if self.date is not None else ""

    def __str__(self) -> str:
        parts = [str(self.number)] if self.kind == "number" and not self.number.is_plain else []
        parts += [f"dates as {_shown(self.date)}"] if self.date is not None else []
        parts += [f"{' '.join(map(repr, self.missing))} missing"] if self.missing else []
        return ", ".join(parts)


def _shown(form: DateForm) -> str:
    words = {"d": "day", "m": "month", "Y": "year", "y": "year", "b": "month"}
    return str(form) if "%" in form else f"{words[form[0]]}{form[1]}{words[form[2]]}{form[3]}{words[form[4]]}"


def _first_bad(cells: pa.ChunkedArray, kind: pa.DataType) -> str:
    for text in cells.drop_null().unique().to_pylist():
        try:
            pa.array([text]).cast(kind)
        except pa.ArrowInvalid:
            return str(text)
    return ""


@dataclass
class ReportData:
    """Statistics of a column's texts.

    Parameters
    ----------
    keeps_texts : bool
        Whether to collect also texts that Arrow can parse, as they may be dates in a given format.
    """

    keeps_texts: bool = False
    kind: str = ""
    """The most specific type with which Arrow parses the texts."""
    is_foreign: bool = False
    """Whether Arrow cannot parse some texts."""
    texts: set[str] = field(default_factory=set)
    """The texts of chunks that Arrow cannot parse."""
    proves_point: bool = False
    """Whether the point is certainly the decimal sign."""
    has_zeros: bool = False
    lengths: set[int] = field(default_factory=set)
    kinds_of_files: set[str] = field(default_factory=set)
    """The kinds of cells, numbers or others, of the files."""

    def see(self, cells: pa.ChunkedArray) -> None:
        """Add the next texts."""
        cells = cells.drop_null()
        if not len(cells):
            return
        if self.keeps_texts or not self._is_read(cells):
            self.is_foreign |= not self.keeps_texts
            if len(self.texts) < _MOST_TEXTS:
                self.texts |= set(pc.unique(pc.utf8_trim_whitespace(cells)).to_pylist()) - {""}
            if self.keeps_texts:
                self.is_foreign |= not self._is_read(cells)

    def _is_read(self, cells: pa.ChunkedArray) -> bool:
        if self.is_foreign:
            return False
        for kind in (self.kind, *_WIDER.get(self.kind, ())) if self.kind else _WIDER[""]:
            with suppress(pa.ArrowInvalid):
                cells.cast(_TYPES[kind])
                return self._look(cells, kind)
        return False

    def _look(self, cells: pa.ChunkedArray, kind: str) -> bool:
        if kind == "int":
            lengths = pc.binary_length(cells)
            ends = pc.min_max(lengths).as_py()
            self.lengths |= {ends["min"], ends["max"]}
            if pc.any(pc.and_(pc.starts_with(cells, "0"), pc.greater(lengths, 1))).as_py():
                if pc.any(pc.match_substring_regex(cells, "[xX]")).as_py():  # Arrow reads 0x10 as 16
                    return False
                self.has_zeros = True
        elif kind == "float" and not self.proves_point:
            pointed = pc.match_substring(cells, ".")
            grouped = pc.match_substring_regex(cells, r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$")
            self.proves_point = pc.any(pc.and_(pointed, pc.invert(grouped))).as_py()
        self.kind = kind
        return True

    @property
    def is_number(self) -> bool:
        """Whether all texts that Arrow parses are numbers."""
        return self.kind in ("", "int", "float")


@dataclass(frozen=True)
class _Candidate:
    """A candidate for a column's notation, in which a sign or the order of dates may be undecided."""

    notation: Notation
    summary: Summary | None = None
    forms: tuple[DateForm, ...] = ()


def decide(
    columns: dict[str, ReportData],
    *,
    delimiter: str,
    decimal: str | None = None,
    thousands: str | None = None,
    date_format: str | None = None,
    stored: dict[str, str] | None = None,
    lenient: Sequence[str] = (),
) -> dict[str, Notation]:
    """Decide the notations of all columns of a file together, as one column may resolve an ambiguity of another.

    Parameters
    ----------
    columns : dict
        The statistics of each column.
    delimiter : str
    decimal, thousands, date_format : str or None
        The user's options.
    stored : dict or None
        The notations of a saved model, by column.
    lenient : sequence of str
        Columns that may stay texts.

    Raises
    ------
    InvalidData
        If a number or a date is ambiguous; the message names the option that decides.
    """
    stored = stored or {}
    found = {name: _candidate(seen, date_format, stored.get(name, ""), decimal) for name, seen in columns.items()}
    decimals = {c.summary.form.decimal for c in found.values() if c.summary is not None and c.summary.form.decimal}
    decimals |= {"."} if any(seen.proves_point and not seen.is_foreign for seen in columns.values()) else set()
    orders = {c.forms[0][0] for c in found.values() if len(c.forms) == 1 and c.forms[0][0] in "dm"}
    decided = {}
    for name, candidate in found.items():
        seen, notation = columns[name], candidate.notation
        try:
            if candidate.summary is not None:
                known = decimal or next(iter(decimals), "" if len(decimals) != 1 else ".")
                known = known if decimal or len(decimals) == 1 else (stored.get(name, "")[:1] if name in stored else "")
                notation = _settle_number(name, candidate, known, thousands, delimiter, bool(len(decimals) > 1))
            elif len(candidate.forms) > 1:
                notation = _settle_date(name, candidate, orders, stored.get(name, ""))
            elif notation.kind == "float" and not seen.proves_point and decimal != ".":
                is_stored = not decimals and stored.get(name, "").startswith(",")
                is_comma = decimal == "," or decimals == {","} or thousands == "." or is_stored
                notation = Notation("number", NumberForm(",", ".")) if is_comma else notation
            elif notation.kind == "float" and decimal == ",":
                raise InvalidData(f"Column {name} has numbers with a decimal point, but the decimal sign given is ','.")
        except InvalidData:
            if name not in lenient:
                raise
            notation = Notation("text")
        if notation.kind == "text" and name not in lenient:
            _require_texts(name, seen)
        decided[name] = notation
    return decided


def _require_texts(name: str, seen: ReportData) -> None:
    """Raise for a column of numbers or dates in several notations, which would become texts."""
    texts = [text for text in seen.texts if any(c.isalnum() for c in text)]
    if not seen.is_foreign or not texts or is_code(texts):
        return
    if all(looks_like_number(text) or looks_like_date(text) for text in texts[:_LOOKED_AT]):
        ends = sorted(texts, key=len)[:: max(1, len(texts) - 1)]
        raise InvalidData(
            f"Column {name} holds numbers or dates in several notations, for example {' and '.join(map(repr, ends))}. "
            f'Convert them to one notation, or make the column a category in the schema: {name} = "category".'
        )


def _candidate(seen: ReportData, date_format: str | None, stored: str, decimal: str | None) -> _Candidate:
    texts = sorted(seen.texts)
    signs = tuple(text for text in texts if not any(c.isalnum() for c in text))
    rest = [text for text in texts if text not in signs]
    for form in filter(None, (date_format, stored if "%" in stored else "")):
        if rest and (kind := _date_type(rest, parse_format(form))) is not None:
            return _Candidate(Notation("date", date=parse_format(form), date_type=kind, missing=signs))
    if not seen.is_foreign:
        is_codes = seen.kind == "int" and seen.has_zeros and len(seen.lengths) == 1 and seen.lengths != {1}
        return _Candidate(Notation("text" if is_codes else seen.kind or "null"))
    if not rest:
        return _Candidate(Notation(seen.kind or "null", missing=signs))
    found = _as_number(seen, rest, decimal) or _as_boolean(seen, rest) or _as_date(seen, rest)
    if found is None:
        return _Candidate(Notation("text"))
    return replace(found, notation=replace(found.notation, missing=signs))


def _as_number(seen: ReportData, texts: Sequence[str], decimal: str | None) -> _Candidate | None:
    if not seen.is_number or (seen.kind == "" and is_code(texts)):
        return None
    if (summary := summarize(texts, point=seen.proves_point or decimal == ".")) is None:
        return None
    whole = seen.kind != "float" and all(_is_whole(text, summary.form) for text in texts)
    return _Candidate(Notation("number", summary.form, whole=whole), summary)


def _as_boolean(seen: ReportData, texts: Sequence[str]) -> _Candidate | None:
    is_one = seen.kind in ("", "boolean") and {text.lower() for text in texts} <= {"true", "false"}
    return _Candidate(Notation("boolean")) if is_one else None


def _as_date(seen: ReportData, texts: Sequence[str]) -> _Candidate | None:
    if seen.kind not in ("", "day", "moment"):
        return None
    kinds = ("day", "moment") if seen.kind else ("day", "moment", "utc")
    kind = next((kind for kind in kinds if _are_read(texts, kind)), None)
    if kind is not None:
        return _Candidate(Notation(_wider(seen.kind, kind)))
    forms = [form for form in date_forms(texts[:2000]) if not seen.kind or form == "Y-m-d"]
    types = {form: kind for form in forms if (kind := _date_type(texts, form)) is not None}
    if not types:
        return None
    form, found = next(iter(types.items()))
    found = _TYPES["moment"] if seen.kind == "moment" and pa.types.is_date(found) else found
    return _Candidate(Notation("date", date=form, date_type=found), forms=tuple(types))


def _wider(a: str, b: str) -> str:
    order = ["", "day", "moment", "utc"]
    return max(a, b, key=order.index)


def _are_read(texts: Sequence[str], kind: str) -> bool:
    with suppress(pa.ArrowInvalid):
        pa.array(texts, pa.string()).cast(_TYPES[kind])
        return True
    return False


def _date_type(texts: Sequence[str], form: DateForm) -> pa.DataType | None:
    """Return the type of texts that are all dates of this form; None otherwise."""
    try:
        return convert_dates(pa.chunked_array([texts], pa.string()), form).type
    except ValueError:
        return None


def _is_whole(text: str, form: NumberForm) -> bool:
    """Return whether a number is certainly an integer that a 64-bit float holds exactly."""
    for affix in form.affixes:
        text = text.replace(affix, "")
    is_fraction = bool(form.percent) or (form.decimal != "" and form.decimal in text)
    return not is_fraction and "e" not in text.lower() and sum(c.isdigit() for c in text) < _EXACT_DIGITS


def _settle_number(
    name: str, candidate: _Candidate, known: str, thousands: str | None, delimiter: str, is_mixed: bool
) -> Notation:
    """Decide the signs of a column's numbers."""
    assert candidate.summary is not None
    form, ambiguous = candidate.summary.form, candidate.summary.ambiguous
    notation = candidate.notation
    if form.decimal:
        if known and known != form.decimal and not is_mixed and thousands is None:
            raise _ambiguous_sign(name, form.decimal)
        return notation
    decimal = known or ("." if not ambiguous or (ambiguous == "." and not is_mixed) else "")
    if ambiguous and thousands is not None:
        decimal = ("," if ambiguous == "." else ".") if thousands == ambiguous else ambiguous
    if not decimal and ambiguous == "," and delimiter == "," and not is_mixed:
        decimal = "."  # in a file separated by commas, numbers have decimal points
    if not decimal:
        raise _ambiguous_sign(name, ambiguous)
    if ambiguous and ambiguous != decimal:
        form = replace(form, thousands=form.thousands + ambiguous)
    return replace(notation, number=replace(form, decimal=decimal), whole=notation.whole and ambiguous != decimal)


def _ambiguous_sign(name: str, sign: str) -> InvalidData:
    return InvalidData(
        f"Column {name}: {sign!r} may be the decimal or the thousands sign of its numbers. Choose one: "
        f'--decimal {sign} or --thousands {sign}, or {{"file": {{"decimal": "{sign}"}}}} in the schema.'
    )


def _settle_date(name: str, candidate: _Candidate, orders: set[str], stored: str) -> Notation:
    """Decide the order of day and month in a column's dates."""
    forms = candidate.forms
    if stored in forms:
        return replace(candidate.notation, date=DateForm(stored))
    fitting = [form for form in forms if {form[0]} == orders]
    if len(fitting) != 1:
        shown = " or ".join(_shown(form) for form in forms)
        raise InvalidData(
            f"Column {name}: its dates may be {shown}. Choose one, for example --date-format %d{forms[0][1]}%m"
            f'{forms[0][1]}%Y, or {{"file": {{"date_format": ...}}}} in the schema.'
        )
    return replace(candidate.notation, date=fitting[0])
