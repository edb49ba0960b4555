"""Dates in common notations: day, month and year in any order, names of months, 12-hour clocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InvalidData

__all__ = ["DateForm", "convert_dates", "date_forms", "looks_like_date", "parse_format"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PARTS = {
    "Y": r"(?P<Y>\d{4}|\d{2})",
    "y": r"(?P<Y>\d{2})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "b": r"(?P<b>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[A-Za-z]{0,6})",
    "H": r"(?P<H>\d{1,2})",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "f": r"(?P<f>\d{1,9})",
    "p": r"(?P<p>[AaPp]\.?[Mm]\.?)",
    "z": r"(?P<z>Z|UTC|GMT|[+\-]\d{2}:?\d{2})",
}
_DIRECTIVES = {"%Y": _PARTS["Y"].replace(r"|\d{2}", ""), "%y": r"(?P<Y>\d{2})", "%B": _PARTS["b"], "%I": _PARTS["H"]}
_DIRECTIVES |= {f"%{part}": _PARTS[part] for part in "mdbHMSfpz"}
_FIXED = {"%m": r"(?P<m>\d{2})", "%d": r"(?P<d>\d{2})", "%H": r"(?P<H>\d{2})", "%M": r"(?P<M>\d{2})"}
"""Patterns of fixed width, for numbers without a separator."""
_TIME = (
    rf"(?:(?:\s*T|,?\s+){_PARTS['H']}:{_PARTS['M']}(?::{_PARTS['S']}(?:[.,]{_PARTS['f']})?)?"
    rf"\s*{_PARTS['p']}?\s*{_PARTS['z']}?)?"
)
_WEEKDAY = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_PIVOT = 69
"""The pivot of two-digit years: 69 is 1969, 68 is 2068, as in `strptime`."""


class DateForm(str):
    """A form of dates: a format of `time.strptime`, or a detected form like "d/m/Y" or "b d Y"."""

    @property
    def pattern(self) -> str:
        """A regular expression whose groups are the parts."""
        return _pattern(str(self))


@cache
def _pattern(form: str) -> str:
    if "%" in form:
        return f"^{_of_directives(form)}$"
    first, second, third, sign = form[0], form[2], form[4], form[1]
    if "b" not in form:
        between = re.escape(sign) if sign != " " else r"\s+"
        return f"^{_WEEKDAY}{_PARTS[first]}{between}{_PARTS[second]}{between}{_PARTS[third]}{_TIME}$"
    ends = [r"(?:st|nd|rd|th)?[\s\-./,]" + ("*" if "b" in pair else "+") for pair in (first + second, second + third)]
    return f"^{_WEEKDAY}{_PARTS[first]}{ends[0]}{_PARTS[second]}{ends[1]}{_PARTS[third]}{_TIME}$"


def _of_directives(form: str) -> str:
    pieces = re.split(r"(%.)", form)
    found = ""
    for i, piece in enumerate(pieces):
        if not piece.startswith("%"):
            found += re.escape(piece)
            continue
        is_fixed = (i + 1 < len(pieces) and not pieces[i + 1]) or (i > 1 and not pieces[i - 1])
        found += _FIXED.get(piece, _DIRECTIVES[piece]) if is_fixed and len(pieces) > 3 else _DIRECTIVES[piece]
    return found


def parse_format(form: str) -> DateForm:
    """Check a date format in the directives of `strptime`.

    Raises
    ------
    InvalidData
        If a directive is unknown, or day, month or year is missing.
    """
    used = re.findall(r"%.?", form)
    if unknown := [one for one in used if one not in _DIRECTIVES]:
        raise InvalidData(f"date_format {form!r}: {unknown[0]!r} is unknown. Use: {', '.join(_DIRECTIVES)}.")
    parts = [one.lower()[1] if one != "%M" else "M" for one in used]
    if len(set(parts)) < len(parts) or not {"y", "d"} <= set(parts) or not {"m", "b"} & set(parts):
        raise InvalidData(
            f"date_format {form!r} must hold a year, a month and a day, each once, for example '%d/%m/%Y %H:%M'."
        )
    return DateForm(form)


_ORDERS = ("Y{s}m{s}d", "d{s}m{s}Y", "m{s}d{s}Y", "y{s}m{s}d")
"""y is a two-digit year in the first place."""
_CANDIDATES = tuple(DateForm(order.format(s=sign)) for order in _ORDERS for sign in "/.- ")
_NAMED = tuple(map(DateForm, ("d b Y", "b d Y", "Y b d")))


def looks_like_date(text: str) -> bool:
    """Return whether a text is a date in one of the forms."""
    return bool(date_forms([text]))


def date_forms(texts: Sequence[str]) -> list[DateForm]:
    """List the forms in which all texts are dates; there are several if day and month are ambiguous."""
    found = []
    for form in (*_CANDIDATES, *_NAMED):
        compiled = _compiled(form.pattern)
        if all(_is_date(compiled.match(text.strip()), form) for text in texts):
            found.append(form)
    if any(form[1] == "." for form in found):  # in dates with points the day comes first
        return [form for form in found if form[0] not in "my"] or found
    if {"y", "d"} <= {form[0] for form in found} and len(texts) > 1:  # of two candidates, the year varies less
        ends = [re.split(r"\D+", re.sub(r"[\sT].*", "", text.strip())) for text in texts]
        first, third = (len({parts[i] for parts in ends}) for i in (0, 2))
        if first != third:
            found = [form for form in found if (form[0] == "y") == (first < third)]
    return found


_compiled = cache(re.compile)


def _is_date(found: re.Match[str] | None, form: str) -> bool:
    if found is None:
        return False
    parts = found.groupdict()
    has_month = "b" in parts or 1 <= int(parts["m"]) <= 12
    return has_month and 1 <= int(parts["d"]) <= 31 and (len(parts["Y"]) == 4 or form[0] != "Y")


def convert_dates(cells: pa.ChunkedArray, form: DateForm, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """Convert trimmed texts to dates, or to timestamps if a text has a time; with a time zone, in UTC.

    Give ``kind``, the type of an earlier conversion, to get the same type for all cells.

    Raises
    ------
    ValueError
        If a cell is not a date of this form; the message is the cell.
    """
    cells = pa.chunked_array([cells]) if isinstance(cells, pa.Array) else cells
    found = pc.extract_regex(cells, form.pattern)
    wrong = pc.and_(pc.is_valid(cells), pc.is_null(found))
    if pc.any(wrong).as_py():
        raise ValueError(cells.filter(wrong)[0].as_py())
    parts = {field.name: pc.struct_field(found, field.name) for field in found.type}
    day = pc.binary_join_element_wise(
        _years(parts["Y"]), _months(parts) if "b" in parts else _two(parts["m"]), _two(parts["d"]), "-"
    )
    has_time = "H" in parts and pc.any(pc.not_equal(parts["H"], "")).as_py()
    try:
        if not has_time:
            return day.cast(pa.date32()).cast(kind or pa.date32())
        return _moments(day, parts, kind)
    except pa.ArrowInvalid as error:
        for text in cells.drop_null().to_pylist():
            if not _is_real(text, form):
                raise ValueError(text) from error
        raise ValueError(str(error)) from error


def _is_real(text: str, form: DateForm) -> bool:
    try:
        convert_dates(pa.chunked_array([[text, None]], pa.string()), form)
    except (ValueError, RecursionError):
        return False
    return True


def _moments(day: pa.ChunkedArray, parts: dict[str, pa.ChunkedArray], kind: pa.DataType | None) -> pa.ChunkedArray:
    hours = pc.if_else(pc.equal(parts["H"], ""), "0", parts["H"]).cast(pa.int32())
    if "p" in parts:
        half = pc.utf8_lower(pc.utf8_slice_codeunits(parts["p"], 0, 1))
        twelve = pc.equal(hours, 12)
        hours = pc.if_else(pc.and_(pc.equal(half, "p"), pc.invert(twelve)), pc.add(hours, 12), hours)
        hours = pc.if_else(pc.and_(pc.equal(half, "a"), twelve), 0, hours)
    nothing = pc.if_else(pc.is_null(day), None, pa.scalar("", pa.string()))
    minutes, seconds = (_two(parts.get(part, nothing)) for part in "MS")
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(parts.get("f", nothing), 6, "0"), 0, 6)
    clock = pc.binary_join_element_wise(_two(hours.cast(pa.string())), minutes, seconds, ":")
    whole = pc.binary_join_element_wise(day, pc.binary_join_element_wise(clock, fraction, "."), " ")
    zone = parts.get("z")
    if zone is None or not pc.any(pc.not_equal(zone, "")).as_py():
        return whole.cast(kind or pa.timestamp("us"))
    zone = pc.if_else(pc.match_substring_regex(zone, "[A-Z]"), "Z", zone)
    return pc.binary_join_element_wise(whole, zone, "").cast(kind or pa.timestamp("us", "UTC"))


def _two(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_lpad(texts, 2, "0")


def _years(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    numbers = texts.cast(pa.int32())
    century = pc.if_else(pc.less(numbers, _PIVOT), 2000, 1900)
    is_short = pc.less_equal(pc.utf8_length(texts), 2)
    return pc.utf8_lpad(pc.if_else(is_short, pc.add(numbers, century), numbers).cast(pa.string()), 4, "0")


def _months(parts: dict[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    start = pc.utf8_lower(pc.utf8_slice_codeunits(parts["b"], 0, 3))
    return _two(pc.add(pc.index_in(start, pa.array(_MONTHS)), 1).cast(pa.string()))
