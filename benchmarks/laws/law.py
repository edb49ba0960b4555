"""A law: what must be equal, how nearly and why; and how it is tried on many cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from .subjects import Answers, Subject, quietly

__all__ = ["DIGITS", "ESTIMATE", "FAR_ESTIMATE", "Known", "Law", "Outcome", "near", "require", "same", "tried"]

DIGITS, ESTIMATE, FAR_ESTIMATE = 1e-5, 1e-3, 0.1
"""Allowed differences of two programs: of an estimate of log p(x), in which errors add up (ten spreads from the rows of
the fit, the search for the mode of p(z | x) may take another step), and of anything else."""
_STEPS = ("predict", "p_values")
"""Answers that jump: equal numbers of two programs may fall on both sides of a step."""


@dataclass(frozen=True)
class Law:
    """A statement that must hold for every estimator that it applies to."""

    name: str
    expects: str
    """What is equal, how nearly, and why; one line of the page."""
    group: str
    cases: Callable[[Subject], SearchStrategy[Any]]
    """What varies."""
    holds: Callable[[Subject, Any], None]
    """Try one case; raise AssertionError if the law does not hold."""
    applies: Callable[[Subject], bool] = lambda subject: True
    few: int = 3
    """The number of cases in the tests."""
    many: int = 300
    """The number of cases in the benchmark."""
    is_slow: bool = False
    """Whether `make test` leaves it to `make slow`."""


@dataclass(frozen=True)
class Outcome:
    """A law tried on one estimator."""

    cases: int
    failure: str = ""
    """The smallest case that failed, and how."""


@dataclass(frozen=True)
class Known:
    """A failure that is known: it is tried by itself, and its end is noticed."""

    law: str
    subjects: tuple[str, ...]
    choices: tuple[str, ...]
    """Cases that hold one of these words fail; none: all cases."""
    reason: str

    def covers(self, case: Any) -> bool:
        """Whether a case is of this kind."""
        return not self.choices or (isinstance(case, tuple) and any(one in self.choices for one in case))


def tried(
    law: Law, subject: Subject, n_cases: int, number: int | None = None, only: Callable[[Any], bool] = lambda case: True
) -> Outcome:
    """Try a law on many cases; ``number`` is the seed, None: the same cases in each run."""
    count = 0

    def one(case: Any) -> None:
        nonlocal count
        count += 1
        with quietly():
            law.holds(subject, case)

    run = settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        derandomize=number is None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )(given(law.cases(subject).filter(only))(one))
    if number is not None:
        run = seed(number)(run)
    try:
        run()
    except Exception as failure:
        notes = " ".join(getattr(failure, "__notes__", ()))
        return Outcome(count, f"{type(failure).__name__}: {failure} {notes}".strip())
    return Outcome(count)


def require(holds: object, what: object) -> None:
    """Raise AssertionError unless something holds."""
    if not holds:
        raise AssertionError(str(what))


def same(one: Answers, other: Answers) -> None:
    """Require equal answers, to the bit."""
    assert one.keys() == other.keys(), set(one) ^ set(other)
    for name, cells in one.items():
        assert _equal(cells, other[name]).all(), f"{name}: {_first(cells, other[name])}"


def near(one: Answers, other: Answers, subject: Subject, digits: float = DIGITS, estimate: float = ESTIMATE) -> None:
    """Require answers that differ by rounding only, relative to the answer and to its spread over ordinary rows.

    Texts must be equal. Answers that jump are left out.
    """
    assert one.keys() == other.keys(), set(one) ^ set(other)
    for name, cells in one.items():
        if name.startswith(_STEPS) and not name.startswith("predict_proba"):
            continue
        if cells.dtype.kind != "f":
            assert _equal(cells, other[name]).all(), f"{name}: {_first(cells, other[name])}"
            continue
        is_estimate = name.startswith(("score_samples", "elbo", "impute"))
        rel = max(digits, estimate) if is_estimate else digits
        with np.errstate(invalid="ignore"):
            far = np.abs(cells.astype(float) - other[name]) > rel * (np.abs(cells) + subject.units.get(name, 1.0))
        far |= np.isnan(cells) != np.isnan(other[name])
        far |= np.isinf(cells) | np.isinf(other[name])
        far &= ~_equal(cells, other[name])
        assert not far.any(), f"{name}: {cells[far][0]!r} and {other[name][far][0]!r}"


def _equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    assert one.shape == other.shape, (one.shape, other.shape)
    with np.errstate(invalid="ignore"):
        equal = one == other
    if one.dtype.kind == "f" and other.dtype.kind == "f":
        equal |= np.isnan(one) & np.isnan(other)
    return equal


def _first(one: np.ndarray, other: np.ndarray) -> str:
    place = int(np.argmin(_equal(one, other)))
    return f"{one[place]!r} and {other[place]!r} in row {place + 1} of {len(one)}"
