"""The table: every law, every estimator, and the failures that are known."""

from __future__ import annotations

from collections.abc import Iterator

from . import of_fits, of_input, of_interfaces, of_quality, of_rows
from .law import Known, Law
from .subjects import SUBJECTS, Subject

__all__ = ["KNOWN", "LAWS", "known_of", "pairs"]

LAWS: dict[str, Law] = {
    law.name: law for group in (of_rows, of_input, of_interfaces, of_fits, of_quality) for law in group.LAWS
}
"""All laws, by name."""

KNOWN: tuple[Known, ...] = ()
"""Failures that are known; whoever mends one takes it out."""


def pairs() -> Iterator[tuple[Subject, Law]]:
    """Return every estimator with every law that applies to it."""
    return ((subject, law) for subject in SUBJECTS.values() for law in LAWS.values() if law.applies(subject))


def known_of(subject: Subject, law: Law) -> tuple[Known, ...]:
    """Return the known failures of a law for an estimator."""
    return tuple(one for one in KNOWN if one.law == law.name and subject.name in one.subjects)
