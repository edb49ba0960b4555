"""Schedules: values at known times, and their bounds."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import examples
from diabolo import parts

reproducible = settings(max_examples=40, deadline=None, derandomize=True, database=None)


# -- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "n_epochs", "values"),
    [
        (parts.Constant(), 10, {0: 1, 5: 1, 10: 1}),
        (parts.Constant(0.3), 10, {0: 0.3, 10: 0.3}),
        (parts.LinearWarmup(4), 10, {0: 0, 1: 0.25, 2: 0.5, 4: 1, 10: 1}),
        (parts.LinearWarmup(4, start=0.2), 10, {0: 0.2, 2: 0.6, 4: 1, 9: 1}),
        (parts.LinearWarmup(0.5), 10, {0: 0, 0.25: 0.5, 1: 1}),
        (parts.Cyclical(2, ramp=0.5), 8, {0: 0, 1: 0.5, 2: 1, 3: 1, 4: 0, 5: 0.5, 6: 1, 8: 1}),
        (parts.Cyclical(1, ramp=1.0), 4, {0: 0, 1: 0.25, 3: 0.75, 4: 1}),
        (parts.Cyclical(4, ramp=0.25), 4, {0.125: 0.5, 0.25: 1, 0.75: 1, 1.125: 0.5}),
        (parts.Cosine(warmup=0.0), 8, {0: 1, 2: (1 + math.sqrt(0.5)) / 2, 4: 0.5, 8: 0}),
        (parts.Cosine(warmup=0.25, floor=0.1), 8, {0: 0, 1: 0.5, 2: 1, 5: 0.55, 8: 0.1}),
        (parts.Steps((2, 4), factor=0.1), 6, {0: 1, 1.9: 1, 2: 0.1, 3: 0.1, 4: 0.01, 6: 0.01}),
        (parts.Steps(), 6, {0: 1, 6: 1}),
    ],
    ids=repr,
)
def test_schedules_have_their_values_at_known_times(schedule, n_epochs, values):
    for t, value in values.items():
        assert float(schedule(float(t), float(n_epochs))) == pytest.approx(value, abs=1e-6)


SCHEDULES = [pytest.param(part, id=name) for name, part in examples.all_parts("schedule")]


@pytest.mark.parametrize("schedule", SCHEDULES)
@reproducible
@given(share=st.floats(0, 1), n_epochs=st.integers(1, 1000))
def test_schedules_stay_between_zero_and_one(schedule, share, n_epochs):
    assert 0.0 <= float(schedule(share * n_epochs, float(n_epochs))) <= 1.0


ANNEALINGS = {
    "constant": parts.Constant(0.4),
    "linear": parts.LinearWarmup(7.5),
    "linear from 0.3": parts.LinearWarmup(3, start=0.3),
    "cyclical": parts.Cyclical(3, ramp=0.6),
}


@pytest.mark.parametrize("name", ANNEALINGS)
@reproducible
@given(share=st.floats(0, 1))
def test_after_it_has_settled_an_annealing_stays(name, share):
    schedule, n_epochs = ANNEALINGS[name], 30
    settled = schedule.warmup_end(n_epochs)
    t = settled + share * (n_epochs - settled)
    assert float(schedule(t, float(n_epochs))) == pytest.approx(
        float(schedule(float(n_epochs), float(n_epochs))), abs=1e-5
    )


@reproducible
@given(early=st.floats(0, 20), late=st.floats(0, 20))
def test_a_warmup_never_falls(early, late):
    schedule = parts.LinearWarmup(8, start=0.1)
    early, late = sorted((early, late))
    assert float(schedule(early, 20.0)) <= float(schedule(late, 20.0)) + 1e-6
