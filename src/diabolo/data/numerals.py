"""Numbers in common notations: decimal commas, grouped thousands, currencies, percent, units, brackets for minus."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NumberForm", "Numeral", "convert_numbers", "is_code", "looks_like_number", "read_numeral", "summarize"]

_CURRENCY = "$¢£¤¥֏৲৳฿៛₠-⃀﷼﹩＄￠￡￥￦"
_CODES = (
    "USD|EUR|GBP|JPY|KRW|CNY|CHF|AUD|CAD|INR|BRL|MXN|SEK|NOK|DKK|PLN|CZK|HUF|RUB|TRY|ZAR|SGD|HKD|NZD|THB|IDR|ILS|TWD"
)
_GROUPING = "'’\u00a0\u202f\u2009 _"
"""Signs that can only be thousands signs."""
_MONEY = rf"(?:[A-Z]{{1,3}})?[{_CURRENCY}]|{_CODES}|Fr\.|kr\.?|zł"
_UNIT = r"%|‰|°?[^\W\d_]{1,8}[²³]?(?:/[^\W\d_]{1,8}[²³]?)?|°"
_BODY = rf"(?:\d(?:[\d.,{_GROUPING}]*\d)?[.,]?|[.,]\d+)(?:[eE][+\-]?\d+)?"
_NUMERAL = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[+\-−–])?\s*(?P<prefix>{_MONEY})?\s*(?P<sign2>[+\-−–])?\s*"
    rf"(?P<body>{_BODY})\s*(?P<suffix>{_MONEY}|{_UNIT})?\s*(?P<after>[\-−])?(?P<close>\))?"
)
_GROUPED = r"\d{1,3}(?:T\d{3})+|\d{1,3}(?:T\d{2})*T\d{3}"  # also lakhs and crores, 12,34,567
_MINUS = "[−–]"


@dataclass(frozen=True)
class NumberForm:
    """The notation of a column's numbers.

    Parameters
    ----------
    decimal, thousands : str
        The decimal and thousands signs; thousands "": numbers are not grouped.
    affixes : tuple of str
        Texts before or after a number, like a currency or a unit, which are removed.
    percent : {"", "%", "‰"}
        The sign after which numbers are divided by 100 or 1,000.
    """

    decimal: str = "."
    thousands: str = ""
    affixes: tuple[str, ...] = ()
    percent: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether this is the usual notation, with a decimal point and nothing else."""
        return self == NumberForm()

    @property
    def pattern(self) -> str:
        """A regular expression that matches exactly the cells of this form."""
        thousands = "".join(_class(sign) for sign in self.thousands)
        grouped = f"|{_GROUPED.replace('T', f'[{thousands}]')}" if thousands else ""
        number = rf"(?:(?:\d+{grouped})(?:[{_class(self.decimal)}]\d*)?|[{_class(self.decimal)}]\d+)(?:[eE][+\-]?\d+)?"
        affix = f"(?:{_any_of((*self.affixes, self.percent))})?"
        return rf"^\(?\s*[+\-−–]?\s*{affix}\s*[+\-−–]?\s*{number}\s*{affix}\s*[\-−]?\)?$"

    def __str__(self) -> str:
        parts = [f"decimal {self.decimal!r}"] if self.decimal != "." else []
        parts += [f"thousands {self.thousands!r}"] if self.thousands else []
        parts += [f"{' '.join(map(repr, self.affixes))} left out"] if self.affixes else []
        parts += [f"{self.percent!r} as a fraction"] if self.percent else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Numeral:
    """A text that is a number: its affixes, and the signs that are certain.

    Parameters
    ----------
    prefix, suffix : str
    decimal, thousands : str
        The signs whose meaning is certain; "" if there is none.
    ambiguous : str
        A sign that may be a decimal or a thousands sign: it occurs once, before three digits.
    """

    prefix: str
    suffix: str
    decimal: str = ""
    thousands: str = ""
    ambiguous: str = ""


def read_numeral(text: str) -> Numeral | None:
    """Parse a text as a number; return None if it is not a number.

    >>> read_numeral("1.234,50 €")
    Numeral(prefix='', suffix='€', decimal=',', thousands='.', ambiguous='')
    >>> read_numeral("1,234").ambiguous, read_numeral("0,234").decimal, read_numeral("B12")
    (',', ',', None)
    """
    found = _NUMERAL.fullmatch(text.strip())
    if found is None or bool(found["open"]) != bool(found["close"]):
        return None
    if sum(bool(found[sign]) for sign in ("open", "sign", "sign2", "after")) > 1:
        return None
    signs = _signs(re.sub(r"[eE].*", "", found["body"]))
    return None if signs is None else Numeral(found["prefix"] or "", found["suffix"] or "", *signs)


def looks_like_number(text: str) -> bool:
    """Return whether a text is a number in any form, without a unit: 12b may be a house number."""
    found = _cached(text)
    return found is not None and re.fullmatch(rf"{_MONEY}|[%‰]|", found.suffix) is not None


_cached = cache(read_numeral)


def is_code(texts: Iterable[str]) -> bool:
    """Return whether integers are codes with leading zeros, for example postal codes."""
    found = list(texts)
    is_even = len({len(text) for text in found}) == 1 and all(map(str.isdigit, found))
    return is_even and any(len(text) > 1 and text[0] == "0" for text in found)


def _class(signs: str) -> str:
    return "".join(f"\\{sign}" if sign in r"\]^-." else sign for sign in signs)


def _signs(body: str) -> tuple[str, str, str] | None:
    """Return the decimal, the thousands and the ambiguous sign of a number; None if the signs are inconsistent."""
    signs = [sign for sign in body if not sign.isdigit()]
    kinds = list(dict.fromkeys(signs))
    if not kinds:
        return "", "", ""
    *groups, last = kinds
    if len(kinds) > 2 or (len(kinds) == 2 and (last not in ".," or body.count(last) > 1)):
        return None
    if len(kinds) == 2:
        return (last, groups[0], "") if _is_grouped(body.partition(last)[0], groups[0]) else None
    if last not in ".,":
        return ("", last, "") if _is_grouped(body, last) else None
    if len(signs) > 1:
        return ("", last, "") if _is_grouped(body, last) else None
    before, _, after = body.partition(last)
    may_group = len(after) == 3 and 1 <= len(before) <= 3 and before[0] != "0"
    return ("", "", last) if may_group else (last, "", "")


def _is_grouped(body: str, sign: str) -> bool:
    return re.fullmatch(_GROUPED.replace("T", re.escape(sign)), body) is not None


@dataclass(frozen=True)
class Summary:
    """The notation that follows from all numbers of a column.

    Parameters
    ----------
    form : NumberForm
        The notation, with decimal "" if no number proves the decimal sign.
    ambiguous : str
        The sign that may be a decimal or a thousands sign, if no number decides it.
    """

    form: NumberForm
    ambiguous: str


def summarize(texts: Iterable[str], *, point: bool = False) -> Summary | None:
    """Find the form in which all texts are numbers; return None if there is none.

    Parameters
    ----------
    texts : iterable of str
    point : bool, default=False
        Whether other cells of the column prove that the point is the decimal sign.
    """
    numerals = [read_numeral(text) for text in texts]
    if not numerals or None in numerals:
        return None
    known = [one for one in numerals if one is not None]
    affixes = {one.prefix for one in known} | {one.suffix for one in known}
    percent = next((sign for sign in ("%", "‰") if sign in affixes), "")
    suffixes = {one.suffix for one in known}
    money = {affix for affix in affixes if affix and re.fullmatch(_MONEY, affix)}
    if len(money) > 1 or len(suffixes - money - {""}) > 1 or (suffixes - money - {""} and "" in suffixes):
        return None
    decimals = {one.decimal for one in known if one.decimal} | ({"."} if point else set())
    thousands = {one.thousands for one in known if one.thousands}
    ambiguous = {one.ambiguous for one in known if one.ambiguous}
    if len(decimals) > 1 or decimals & thousands or len({sign for sign in thousands if sign in ".,"}) > 1:
        return None
    if not decimals and (pointed := thousands & {".", ","}):
        decimals = {"," if "." in pointed else "."}
    if decimals:  # the other sign is the thousands sign
        thousands |= ambiguous - decimals
        ambiguous = set()
    elif len(ambiguous) > 1:
        return None
    if ambiguous == {","} and any("$" in affix for affix in affixes):  # amounts in dollars have decimal points
        decimals, thousands, ambiguous = {"."}, thousands | {","}, set()
    form = NumberForm(
        next(iter(decimals), ""), "".join(sorted(thousands)), tuple(sorted(affixes - {"", percent})), percent
    )
    return Summary(form, next(iter(ambiguous), ""))


def convert_numbers(cells: pa.ChunkedArray, form: NumberForm) -> pa.ChunkedArray:
    """Convert trimmed texts of one form to 64-bit floats.

    Raises
    ------
    ValueError
        If a cell does not have this form; the message is the cell.
    """
    if form.is_plain:
        with suppress(pa.ArrowInvalid):
            return cells.cast(pa.float64())
    fits = pc.fill_null(pc.match_substring_regex(cells, form.pattern), True)
    if not pc.all(fits).as_py():
        raise ValueError(cells.filter(pc.invert(fits))[0].as_py())
    if affix := _any_of((*form.affixes, form.percent)):
        cells = pc.replace_substring_regex(cells, affix, "")
    is_minus = pc.match_substring_regex(cells, r"[(−–]|^\s*-|-\s*$")
    digits = pc.replace_substring_regex(cells, rf"^\s*[+\-]|-\s*$|[{_class(form.thousands)}()\s−–]", "")
    found = (pc.replace_substring(digits, form.decimal, ".") if form.decimal != "." else digits).cast(pa.float64())
    found = pc.if_else(is_minus, pc.negate(found), found)
    return pc.divide(found, {"%": 100.0, "‰": 1000.0}[form.percent]) if form.percent else found


def _any_of(affixes: Iterable[str]) -> str:
    """Return a regular expression that matches any affix, the longest first."""
    return "|".join(map(re.escape, sorted(filter(None, affixes), key=len, reverse=True)))
