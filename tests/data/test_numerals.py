"""Numbers in other notations: each text has one value, or none."""

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diabolo.data.numerals import NumberForm, convert_numbers, read_numeral, summarize

COLUMNS = {
    "decimal comma, grouped by points": (["1.234,50", "12,5", "-3,0"], [1234.5, 12.5, -3.0]),
    "dollars": (["$1,234.50", "$12", "-$5.00"], [1234.5, 12.0, -5.0]),
    "euros after": (["1.234,00 €", "5,00 €"], [1234.0, 5.0]),
    "codes of currencies": (["EUR 1.234,00", "EUR -5,00"], [1234.0, -5.0]),
    "per cent": (["45%", "3.5 %", "-1%"], [0.45, 0.035, -0.01]),
    "per mille": (["45‰", "3‰"], [0.045, 0.003]),
    "blanks group": (["1 234,5", "2,0"], [1234.5, 2.0]),
    "thin blanks group": (["1\u202f234,5", "12\u00a0000,25"], [1234.5, 12000.25]),
    "apostrophes group": (["1'234.50", "3.5"], [1234.5, 3.5]),
    "lakhs": (["12,34,567.8", "5.25"], [1234567.8, 5.25]),
    "units": (["12 kg", "13.5 kg"], [12.0, 13.5]),
    "degrees": (["-3.5°C", "20°C"], [-3.5, 20.0]),
    "accountants' minus": (["(1,234.5)", "5.0"], [-1234.5, 5.0]),
    "minus after": (["5.5-", "3"], [-5.5, 3.0]),
    "typographers' minus": (["−5", "3.5"], [-5.0, 3.5]),
    "exponents": (["1,5e3", "2,5E-3"], [1500.0, 0.0025]),
    "only groups": (["1.234.567", "12"], [1234567.0, 12.0]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_in_one_notation_is_read(name):
    texts, values = COLUMNS[name]
    found = summarize(texts)
    form = replace(found.form, decimal=found.form.decimal or ".")
    got = convert_numbers(pa.chunked_array([[*texts, None]], pa.string()), form).to_pylist()
    assert got == pytest.approx([*values, None])


@pytest.mark.parametrize(
    "text", ["", "-", ".", ",", "B12", "1-2", "1.2.3", "1,23,4", "12:30", "1/2", "abc", "1 2", "(5", "--5", "e5"]
)
def test_no_number_is_read_as_one(text):
    assert read_numeral(text) is None


def test_what_may_be_two_things_is_left_open():
    assert summarize(["1,234", "5,678"]).ambiguous == ","
    assert summarize(["1.234", "5.678"]).ambiguous == "."
    assert summarize(["1,234", "5,67"]).form.decimal == ","
    assert summarize(["0,234"]).form.decimal == ","


@pytest.mark.parametrize("texts", [["1,5", "2.5"], ["1.234,5", "1,234.5"], ["5 kg", "5 lb"], ["5%", "5"], ["$5", "€5"]])
def test_a_column_of_two_notations_is_of_none(texts):
    assert summarize(texts) is None


@settings(deadline=None)
@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1),
    st.sampled_from([(".", ","), (",", "."), (".", "'"), (",", " "), (",", "\u202f")]),
)
def test_any_number_comes_back_in_any_notation(cents, signs):
    decimal, thousands = signs
    texts = [f"{value / 100:,.2f}".replace(",", "_").replace(".", decimal).replace("_", thousands) for value in cents]
    found = summarize(texts)
    assert found is not None
    got = convert_numbers(pa.chunked_array([texts]), found.form).to_pylist()
    assert got == pytest.approx([value / 100 for value in cents])


def test_a_cell_of_another_notation_is_named():
    with pytest.raises(ValueError, match=r"1\.2\.3"):
        convert_numbers(pa.chunked_array([["1,5", "1.2.3"]]), NumberForm(",", "."))
