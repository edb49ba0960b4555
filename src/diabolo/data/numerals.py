"""Numbers as people write them: decimal commas, grouped thousands, currencies, per cent, units, brackets for minus."""

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
"""What groups thousands and nothing else."""
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
    """How the numbers of a column are written.

    Parameters
    ----------
    decimal, thousands : str
        The signs; no thousands: "".
    affixes : tuple of str
        What stands before or after each number and is no part of it: a currency, a unit.
    percent : {"", "%", "‰"}
        The numbers are divided by 100 or 1,000.
    """

    decimal: str = "."
    thousands: str = ""
    affixes: tuple[str, ...] = ()
    percent: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether every program writes numbers so."""
        return self == NumberForm()

    @property
    def pattern(self) -> str:
        """A regular expression that matches all cells of this form, and no other ones."""
        thousands = "".join(_class(sign) for sign in self.thousands)
        grouped = f"|{_GROUPED.replace('T', f'[{thousands}]')}" if thousands else ""
        number = rf"(?:(?:\d+{grouped})(?:[{_class(self.decimal)}]\d*)?|[{_class(self.decimal)}]\d+)(?:[eE][+\-]?\d+)?"
        affix = f"(?:{_any_of((*self.affixes, self.percent))})?"
        return rf"^\(?\s*[+\-−–]?\s*{affix}\s*[+\-−–]?\s*{number}\s*{affix}\s*[\-−]?\)?$"

    def __str__(self) -> str:
        said = [f"decimal {self.decimal!r}"] if self.decimal != "." else []
        said += [f"thousands {self.thousands!r}"] if self.thousands else []
        said += [f"{' '.join(map(repr, self.affixes))} left out"] if self.affixes else []
        said += [f"{self.percent!r} as a fraction"] if self.percent else []
        return ", ".join(said)


@dataclass(frozen=True)
class Numeral:
    """One text that is a number: what stands around it, and what its signs prove.

    Parameters
    ----------
    prefix, suffix : str
    decimal, thousands : str
        The signs that can be nothing else; "", if there is none.
    ambiguous : str
        A sign that may be either: followed by three digits, and once only.
    """

    prefix: str
    suffix: str
    decimal: str = ""
    thousands: str = ""
    ambiguous: str = ""


def read_numeral(text: str) -> Numeral | None:
    """Read a text as a number; None, if it is none.

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
    """Whether a text is a number in any form."""
    return _cached(text) is not None


_cached = cache(read_numeral)


def is_code(texts: Iterable[str]) -> bool:
    """Whether whole numbers are codes, whose leading zeros count: postal codes, say."""
    found = list(texts)
    is_even = len({len(text) for text in found}) == 1 and all(map(str.isdigit, found))
    return is_even and any(len(text) > 1 and text[0] == "0" for text in found)


def _class(signs: str) -> str:
    return "".join(f"\\{sign}" if sign in r"\]^-." else sign for sign in signs)


def _signs(body: str) -> tuple[str, str, str] | None:
    """What the signs between the digits are: decimal, thousands, or one that may be either; None: nonsense."""
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
    """What the numerals of a column prove together.

    Parameters
    ----------
    form : NumberForm
        With "" for a decimal sign that nothing proves.
    ambiguous : str
        The sign that may be decimal or thousands, if all that is known are such cells.
    """

    form: NumberForm
    ambiguous: str


def summarize(texts: Iterable[str], *, point: bool = False) -> Summary | None:
    """Find the one form in which all texts are numbers; None, if there is none.

    Parameters
    ----------
    texts : iterable of str
    point : bool, default=False
        Whether other cells of the column prove that the point is decimal.
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
    if decimals:  # the other sign groups, if it is there
        thousands |= ambiguous - decimals
        ambiguous = set()
    elif len(ambiguous) > 1:
        return None
    if ambiguous == {","} and any("$" in affix for affix in affixes):  # where money is written so, points are decimal
        decimals, thousands, ambiguous = {"."}, thousands | {","}, set()
    form = NumberForm(
        next(iter(decimals), ""), "".join(sorted(thousands)), tuple(sorted(affixes - {"", percent})), percent
    )
    return Summary(form, next(iter(ambiguous), ""))


def convert_numbers(cells: pa.ChunkedArray, form: NumberForm) -> pa.ChunkedArray:
    """Read trimmed texts of one form as 64-bit floats.

    Raises
    ------
    ValueError
        If a cell is not of this form; the error names it.
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
    """A regular expression for any of them, the longest first."""
    return "|".join(map(re.escape, sorted(filter(None, affixes), key=len, reverse=True)))
