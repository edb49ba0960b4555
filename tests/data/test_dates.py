"""Dates in other notations: days come out, or it is said that there are two readings."""

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diabolo.data.dates import convert_dates, date_forms, parse_format
from diabolo.errors import InvalidData

UTC = dt.UTC
COLUMNS = {
    "day first": (["25/08/2024", "01/02/2024"], [dt.date(2024, 8, 25), dt.date(2024, 2, 1)]),
    "month first": (["08/25/2024", "01/02/2024"], [dt.date(2024, 8, 25), dt.date(2024, 1, 2)]),
    "points": (["1.2.2024", "3.4.2024"], [dt.date(2024, 2, 1), dt.date(2024, 4, 3)]),
    "year first": (["2024/8/5"], [dt.date(2024, 8, 5)]),
    "two digits": (["25/08/24", "31/12/99"], [dt.date(2024, 8, 25), dt.date(1999, 12, 31)]),
    "year of two digits first": (["24/08/25", "24/08/31"], [dt.date(2024, 8, 25), dt.date(2024, 8, 31)]),
    "names": (["Aug 25, 2024", "December 1, 2023"], [dt.date(2024, 8, 25), dt.date(2023, 12, 1)]),
    "names between": (["25-Aug-24", "1-Jan-25"], [dt.date(2024, 8, 25), dt.date(2025, 1, 1)]),
    "half days": (
        ["8/25/2024 1:05 PM", "12/1/2024 12:00 AM"],
        [dt.datetime(2024, 8, 25, 13, 5), dt.datetime(2024, 12, 1)],
    ),
    "seconds and less": (["25.08.2024 13:05:06.25"], [dt.datetime(2024, 8, 25, 13, 5, 6, 250_000)]),
    "mail's": (["Sun, 25 Aug 2024 10:00:00 GMT"], [dt.datetime(2024, 8, 25, 10, tzinfo=UTC)]),
    "zones": (["25/08/2024 10:00 +02:00"], [dt.datetime(2024, 8, 25, 8, tzinfo=UTC)]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_one_form_is_read(name):
    texts, values = COLUMNS[name]
    (form, *_) = date_forms(texts)
    got = convert_dates(pa.chunked_array([[*texts, None]], pa.string()), form)
    assert got.to_pylist() == [*values, None]


def test_two_readings_are_both_listed():
    assert {form[0] for form in date_forms(["01/02/2024", "03/04/2024"])} == {"d", "m"}
    assert len(date_forms(["01/02/03"])) == 3


@pytest.mark.parametrize("text", ["13/13/2024", "1.2.3", "32/01/2024", "2024", "aug", "x/y/z", "10:30", "1/2"])
def test_no_date_is_read_as_one(text):
    assert not date_forms([text])


def test_a_day_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="31/02/2024"):
        convert_dates(pa.chunked_array([["01/02/2024", "31/02/2024"]]), date_forms(["31/02/2024"])[0])


@settings(deadline=None)
@given(st.lists(st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2068, 1, 1)), min_size=1))
def test_any_format_gives_the_moments_back(moments):
    for form in ("%d/%m/%Y %H:%M", "%Y%m%d %H%M", "%d-%b-%y %I:%M %p", "%m.%d.%Y, %H h %M"):
        texts = [moment.strftime(form) for moment in moments]
        got = convert_dates(pa.chunked_array([texts]), parse_format(form)).to_pylist()
        assert got == [moment.replace(second=0, microsecond=0) for moment in moments]


@pytest.mark.parametrize("form", ["%d/%m", "%Q", "%Y%Y%m%d", "", "day"])
def test_a_format_must_hold_a_whole_date(form):
    with pytest.raises(InvalidData):
        parse_format(form)
