"""Inference of a column's kind from its cells, which are read in chunks."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import (
    ClockColumnWarning,
    ColumnLeftOutWarning,
    EmptyColumnWarning,
    IdColumnWarning,
    InvalidData,
    UniqueTextsWarning,
    UnsupportedColumnWarning,
    suggest,
)
from .cells import as_days, as_numbers, as_text, is_a_number, is_date, is_numeric, is_text, unpacked
from .columns import KINDS, MOST_CATEGORIES, Column, Kind
from .numerals import looks_like_number
from .order import Order

__all__ = ["ColumnStats", "SchemaOverrides", "check_overrides"]


SchemaOverrides = Mapping[str, str | Mapping[str, Any]]
"""For each column its kind, or a mapping with ``kind`` and, for a category, ``categories``."""


def check_overrides(overrides: SchemaOverrides) -> dict[str, dict[str, Any]]:
    """Check overrides, and return each as a mapping with a kind."""
    found = {}
    for name, given in overrides.items():
        one = {"kind": given} if not isinstance(given, Mapping) else dict(given)
        if one.get("kind") not in KINDS:
            raise InvalidData(
                f"The schema says that column {name} is {given!r}, an unknown kind. {suggest(one.get('kind'), KINDS)}"
            )
        if unknown := set(one) - {"kind", "categories"}:
            raise InvalidData(
                f"The schema has the unknown entry {', '.join(sorted(map(str, unknown)))} for column {name}. Give a "
                "kind, and for a category optionally its categories."
            )
        if not isinstance(one.get("categories", ()), list | tuple):
            raise InvalidData(f"The categories of column {name} must be a list; got {one['categories']!r}.")
        found[name] = one
    return found


class ColumnStats:
    """Statistics of a column, computed in chunks, from which its kind is inferred, unless it is given."""

    def __init__(self, name: str, given: dict[str, Any], about: Mapping[bytes, bytes]) -> None:
        self._name, self._given = name, given
        self._notation = about.get(b"diabolo.notation", b"").decode()
        self._missing = tuple(json.loads(about.get(b"diabolo.missing", b"[]")))
        self._was = about.get(b"diabolo.type", b"").decode()
        self._options = about.get(b"diabolo.options", b"").decode()
        self._type: pa.DataType = pa.null()
        self._texts: dict[str, int] = {}
        self._many = False
        self._reason: type[ColumnLeftOutWarning] | None = None
        self._low, self._high, self._whole = math.inf, -math.inf, True
        self._order = Order(name)
        self._n, self._origin, self._sum, self._squares = 0, 0.0, 0.0, 0.0

    def see(self, cells: pa.ChunkedArray) -> None:
        """Add the next cells."""
        wanted = self._given.get("kind")
        if wanted is None and pa.types.is_dictionary(cells.type) and not is_text(unpacked(cells[:0]).type):
            wanted = self._given["kind"] = "category"  # a dictionary of numbers: the user made it a category
        cells = unpacked(cells)
        kind = cells.type
        if not pa.types.is_null(kind):
            self._type = kind
        self._order.see(cells)
        if wanted == "ignore":
            return
        if wanted == "category" or (wanted is None and is_text(self._type)):
            if not self._many and "categories" not in self._given:
                for found in as_text(cells).drop_null().value_counts().to_pylist():
                    self._texts[found["values"]] = self._texts.get(found["values"], 0) + found["counts"]
                self._many = wanted is None and len(self._texts) > MOST_CATEGORIES
        elif is_numeric(kind) or pa.types.is_temporal(kind):
            self._look(self._of(cells))

    def _of(self, cells: pa.ChunkedArray) -> np.ndarray:
        try:
            return as_days(cells) if pa.types.is_temporal(cells.type) else as_numbers(cells)
        except pa.ArrowInvalid as error:
            raise InvalidData(f"Column {self._name} cannot be read as numbers: {error}.") from error
        except pa.ArrowNotImplementedError:
            return np.empty(0)  # for example a time of day: the column is left out

    def _look(self, numbers: np.ndarray) -> None:
        known = numbers[np.isfinite(numbers)]
        if not len(known):
            return
        if not self._n:
            self._origin = float(known[0])  # sums are relative to it, for the precision of the squares
        self._low, self._high = min(self._low, float(known.min())), max(self._high, float(known.max()))
        self._whole &= bool((known == np.floor(known)).all())
        with np.errstate(over="ignore"):  # numbers this large are refused later
            away = known - self._origin
            self._sum += float(away.sum())
            self._squares += float(away @ away)
        self._n += len(known)

    def column(self) -> Column:
        """Return the inferred column."""
        return replace(self._column(), notation=self._notation, missing=self._missing, options=self._options)

    def _column(self) -> Column:
        kind, why = self._given.get("kind"), "as the schema says"
        if self._order.is_infinite:
            raise InvalidData(f"Column {self._name} holds infinite numbers only. Correct its cells, or leave it out.")
        if kind is None:
            self._refuse_misread()
            why = self._unusable()
            kind = "ignore" if why else self._found()
        low, high = (self._low, self._high) if self._n else (None, None)
        column = Column(self._name, kind, str(self._type), low, high, self._n > 0 and self._whole)
        if kind == "ignore":
            return Column(self._name, kind, str(self._type), why=why)
        if kind == "category":
            return Column(self._name, kind, str(self._type), categories=self._categories())
        least, most = self._low, self._high
        suits = {
            "date": is_date(self._type),
            "boolean": is_numeric(self._type) and least >= 0 and most <= 1 and self._whole,
            "count": is_numeric(self._type) and least >= 0 and self._whole,
            "number": is_numeric(self._type),
        }
        if not suits[kind]:
            held = f", {column.range_text}" if column.range_text else ""
            raise InvalidData(
                f"The schema says that {self._name} is a {kind}, but it holds {self._type}{held}. Give another kind."
            )
        return column

    def _categories(self) -> tuple[str, ...]:
        given = self._given.get("categories")
        if given is not None:
            return tuple(map(str, given))
        return tuple(sorted(self._texts, key=lambda text: (-self._texts[text], text)))

    def _refuse_misread(self) -> None:
        """Raise for a few words among numbers: they are wrong cells, not categories."""
        words = [text for text in self._texts if not (is_a_number(text) or looks_like_number(text))]
        if 0 < len(words) < len(self._texts) / 2:
            raise InvalidData(
                f"Column {self._name} holds numbers, but also {', '.join(map(repr, words[:3]))}. Empty such cells, "
                "name them by --missing, or say in the schema that it is a category."
            )

    def _unusable(self) -> str:
        """Return the reason why a model cannot learn from the column; "" if it can."""
        kind, order = self._type, self._order
        can_be_read = is_text(kind) or is_numeric(kind) or is_date(kind) or pa.types.is_null(kind)
        many = f"more than {MOST_CATEGORIES} different texts" if self._many else "every row has a different text"
        foreign = f"its type {self._was or kind} is none of numbers, texts or dates"
        later = "it gives the time of each row, and later rows have other times"
        for holds, reason, why in (
            (bool(self._was) or not can_be_read, UnsupportedColumnWarning, foreign),
            (is_text(kind) and (self._many or order.is_distinct), UniqueTextsWarning, many),
            (not (self._texts or self._n), EmptyColumnWarning, "it has no value"),
            (order.is_clock, ClockColumnWarning, later),
            (order.is_id, IdColumnWarning, "it numbers the rows"),
        ):
            if holds:
                self._reason = reason
                return why
        return ""

    def warn(self) -> None:
        """Warn that a column is left out, if the user did not exclude it."""
        if self._reason is not None:
            kept = "category" if is_text(self._type) else "date" if is_date(self._type) else "number"
            can_be = self._reason not in (UnsupportedColumnWarning, EmptyColumnWarning)
            keep = f'To keep it, give it the kind "{kept}" in the schema. ' if can_be else ""
            message = (
                f'Column {self._name} is left out: {self._unusable()}. {keep}The kind "ignore" silences this warning.'
            )
            warnings.warn(self._reason(message, self._name), stacklevel=2)

    def _found(self) -> Kind:
        """Infer the kind from the cells."""
        kind = self._type
        if is_text(kind) or is_date(kind):
            return "category" if is_text(kind) else "date"
        if pa.types.is_boolean(kind) or (self._whole and (self._low, self._high) == (0, 1)):
            return "boolean"
        # The variance of a negative binomial is at least its mean; a column with less variance fits a number better.
        mean = self._sum / self._n
        varies = self._squares / self._n - mean * mean
        return "count" if self._whole and self._low in (0, 1) and varies > mean + self._origin else "number"
