"""Every law holds for every estimator, on a few cases; `python -m benchmarks.laws` tries thousands."""

import numpy as np
import pytest
from benchmarks.laws.law import Law, near, same, tried
from benchmarks.laws.subjects import SUBJECTS
from benchmarks.laws.table import KNOWN, LAWS, known_of, pairs
from hypothesis import strategies as st

import diabolo
from diabolo.estimators import detector_fit
from diabolo.estimators.trainable import ESTIMATOR_REGISTRY

BY_HAND = (
    "importance-weighted",
    "variational, missing cells",
    "variational, counts",
    "variational, bits",
    "variational, of a table given a column",
    "recurrent",
    "normalised",
)
"""Only with `-m large`, as `benchmarks.laws` tries them: "variational", "variational, given a column" and "variational,
of a table", which has missing cells, counts and bits, keep the same laws by the same methods."""


def _marks(subject, law):
    if subject.name in BY_HAND:
        return [pytest.mark.large]
    return [pytest.mark.slow] if law.is_slow or subject.is_slow else []


EVERY = [
    pytest.param(subject, law, id=f"{subject.name}: {law.name}", marks=_marks(subject, law)) for subject, law in pairs()
]
"""Subject by subject, so that each process fits few of them."""


@pytest.fixture(autouse=True, scope="module")
def _brief():
    """Let an eighth of a detector's steps do: no law depends on their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_fit, "_STEPS", 40)
        yield


@pytest.mark.parametrize(("subject", "law"), EVERY)
def test_the_law_holds(subject, law):
    known = known_of(subject, law)
    if any(not one.choices for one in known):
        pytest.skip("all cases are known to fail, and tried below")
    found = tried(law, subject, law.few, only=lambda case: not any(one.covers(case) for one in known))
    assert not found.failure, found.failure
    assert found.cases


@pytest.mark.parametrize(
    ("subject", "known"),
    [
        pytest.param(
            SUBJECTS[name],
            known,
            id=f"{name}: {known.law}",
            marks=[
                pytest.mark.xfail(strict=True, reason=known.reason),
                *([pytest.mark.slow] if SUBJECTS[name].is_slow else []),
            ],
        )
        for known in KNOWN
        for name in known.subjects
    ],
)
def test_a_failure_that_is_known_has_not_been_mended(subject, known):
    law = LAWS[known.law]
    assert not tried(law, subject, 4 * law.few, only=known.covers).failure


def test_every_estimator_is_tried():
    known = {name for name, cls in ESTIMATOR_REGISTRY.items() if cls is getattr(diabolo, name, None)}
    known -= {"SeriesDetector"}  # the order of its rows matters
    assert known == {type(subject.make()).__name__ for subject in SUBJECTS.values()}


def test_a_law_that_does_not_hold_is_found_with_its_smallest_case():
    def holds(subject, case):
        assert case < 100, "too large"

    law = Law("small", "Exactly.", "none", lambda subject: st.integers(0, 10_000), holds)
    found = tried(law, SUBJECTS["basic"], 100)
    assert "too large" in found.failure
    assert "100" in found.failure
    assert tried(law, SUBJECTS["basic"], 20, only=lambda case: case < 100).failure == ""


@pytest.mark.parametrize(
    ("one", "other", "is_same", "is_near"),
    [
        ([1.0, np.nan], [1.0, np.nan], True, True),
        ([1.0, 2.0], [1.0, np.nan], False, False),
        ([1.0, -np.inf], [1.0, -np.inf], True, True),
        ([1.0, -np.inf], [1.0, 0.0], False, False),
        ([1.0, 2.0], [1.0, 2.0 + 1e-7], False, True),
        ([1.0, 2.0], [1.0, 2.1], False, False),
    ],
)
def test_answers_are_compared_to_the_bit_or_nearly(one, other, is_same, is_near):
    one, other = {"transform 0": np.array(one)}, {"transform 0": np.array(other)}

    def holds(compare):
        try:
            compare()
        except AssertionError:
            return False
        return True

    assert holds(lambda: same(one, other)) == is_same
    assert holds(lambda: near(one, other, SUBJECTS["basic"])) == is_near
