"""Text files as people have them: what is in a cell comes out, or it is said which option is missing."""

import bz2
import datetime as dt
import gzip
import json
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diabolo.data import blocks, readers
from diabolo.data.blocks import open_store
from diabolo.data.file_options import FileOptions
from diabolo.data.schema import Schema
from diabolo.errors import InvalidData, NotationWarning

NAN = float("nan")


def written(folder, text, name="rows.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def cells(table):
    """The columns as they were read, encoded ones as given."""
    if table.given is not None:
        return {name: table.given[name].to_pylist() for name in table.given.column_names}
    return {name: table.rows[:, i].tolist() for i, name in enumerate(table.names)}


TWO_ROWS = [1.5, 1.7], [2.5, 2.1], [3.5, 3.3]
DAYS = [dt.date(2024, 8, 25), dt.date(2024, 9, 1)]
FILES = {
    "decimal commas": ("a;b\n1,5;2\n2,25;3\n", {"a": [1.5, 2.25], "b": [2, 3]}),
    "thousands in quotes": ('a,b\n"1,234.50",5\n"12.5",7\n', {"a": [1234.5, 12.5], "b": [5, 7]}),
    "points that group, as another column proves": (
        "a;b\n1.234;1,5\n5.678;2,5\n",
        {"a": [1234, 5678], "b": [1.5, 2.5]},
    ),
    "points that are decimal": ("a;b\n1.234;1\n5.678;2\n", {"a": [1.234, 5.678], "b": [1, 2]}),
    "commas that group, in a file of commas": ('a,b\n"1,234",1\n"5,678",2\n', {"a": [1234, 5678], "b": [1, 2]}),
    "money and per cent": ("a\tb\n$5\t1%\n$1,200\t2%\n", {"a": [5, 1200], "b": [0.01, 0.02]}),
    "pipes": ("a|b\n1|2\n3|4\n", {"a": [1, 3], "b": [2, 4]}),
    "colons": ("a:b\n1:2\n3:4\n", {"a": [1, 3], "b": [2, 4]}),
    "carets": ("a^b^c\n1^2,5^x\n3^4,5^y\n", {"a": [1, 3], "b": [2.5, 4.5], "c": ["x", "y"]}),
    "tabs": ("a\tb\n1\t2\n3\t4\n", {"a": [1, 3], "b": [2, 4]}),
    "blanks": ("a  b   c\n1.0 2 3\n  4  5 6\n", {"a": [1, 4], "b": [2, 5], "c": [3, 6]}),
    "blanks after commas": ("a, b\n1, 2\n3, 4\n", {"a": [1, 3], "b": [2, 4]}),
    "a header of years": (
        "2019,2020,2021\n1.5,2.5,3.5\n1.7,2.1,3.3\n",
        {"2019": [1.5, 1.7], "2020": [2.5, 2.1], "2021": [3.5, 3.3]},
    ),
    "a header of places": ("0,1,2\n1.5,2.5,3.5\n1.7,2.1,3.3\n", dict(zip("012", TWO_ROWS, strict=True))),
    "no header": ("1.5,2\n2.5,3\n", {"f0": [1.5, 2.5], "f1": [2, 3]}),
    "no header but a text": ("5.1,u\n4.9,u\n6.1,v\n", {"f0": [5.1, 4.9, 6.1], "f1": ["u", "u", "v"]}),
    "comments": ("# by us\n\na,b\n1,2\n# midway\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "names in a comment": ("#a,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "blank first lines": ("\n\na,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "a title": ("Sales\n\na,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "Excel's first line": ("sep=;\na;b\n1,5;2\n2,5;2\n", {"a": [1.5, 2.5], "b": [2, 2]}),
    "one column of decimal commas": ("x\n1,5\n2,5\n", {"x": [1.5, 2.5]}),
    "lines in quotes": ('a,b\n1,"x\ny"\n2,z\n3,z\n', {"a": [1, 2, 3], "b": ["x\ny", "z", "z"]}),
    "signs for nothing": ("a,b\n1,2\n?,4\n5,-\n", {"a": [1, NAN, 5], "b": [2, 4, NAN]}),
    "empty at first": ("a,b\n,1\n,2\n3.5,3\n", {"a": [NAN, NAN, 3.5], "b": [1, 2, 3]}),
    "all in quotes": ('"a","b"\n"1","2"\n"","4"\n', {"a": [1, NAN], "b": [2, 4]}),
    "a delimiter after the last cell": ("a,b,\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
    "houses": ("no,x\n12,1\n12b,2\n7a,3\n", {"no": ["12", "12b", "7a"], "x": [1, 2, 3]}),
    "times of day": ("t,x\n10:30,1\n11:45,2\n", {"t": ["10:30", "11:45"], "x": [1, 2]}),
    "months of a year": ("m,x\nAugust 2024,1\nMay 2023,2\n", {"m": ["August 2024", "May 2023"], "x": [1, 2]}),
    "units": ("w,x\n1.5 kg,1\n2.5 kg,2\n", {"w": [1.5, 2.5], "x": [1, 2]}),
    "codes": ("zip,x\n01234,1\n99999,2\n", {"zip": ["01234", "99999"], "x": [1, 2]}),
    "days first": (
        "d,x\n25/08/2024,1\n01/09/2024,2\n",
        {"d": DAYS, "x": [1, 2]},
    ),
    "months first": (
        "d,x\n08/25/2024,1\n09/01/2024,2\n",
        {"d": DAYS, "x": [1, 2]},
    ),
    "days first, as another column proves": (
        "d,e\n01/02/2024,25/08/2024\n03/02/2024,26/08/2024\n",
        {"d": [dt.date(2024, 2, 1), dt.date(2024, 2, 3)], "e": [dt.date(2024, 8, 25), dt.date(2024, 8, 26)]},
    ),
    "times in some cells": (
        "d,x\n2024-01-01,1\n2024-01-02 10:00,2\n",
        {"d": [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2, 10)], "x": [1, 2]},
    ),
}


def same(a, b):
    return len(a) == len(b) and all(
        x == y or (x is None and y != y) or (x != x and y != y) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_however_it_is_written(name, chunked, tmp_path, monkeypatch):
    text, wanted = FILES[name]
    path = written(tmp_path, text)
    if chunked:
        monkeypatch.setattr(blocks, "CHUNK_BYTES", 1)
    table = open_store(str(path)).table() if chunked else readers.read(path)
    if chunked and table.schema is not None:
        whole = readers.read(path)
        assert table.schema == whole.schema
        np.testing.assert_array_equal(table.rows, whole.rows)
        return
    got = cells(table)
    assert list(got) == list(wanted)
    for column in wanted:
        assert same(got[column], wanted[column]), (column, got[column])


REFUSED = {
    "a comma that may be either": ("a;b\n1,234;2\n5,678;3\n", "--decimal"),
    "dates of two readings": ("d,x\n05/08/2024,1\n06/08/2024,2\n", "--date-format"),
    "a word among numbers": ("a,b\n1,2\n2,3\n4,4\nabc,4\n5,6\n", "--missing"),
    "two notations of numbers": ("a,b\n5%,1\n.5,2\n7%,3\n", "several notations"),
    "two notations of dates": ("d,x\n2024-01-01,1\n01/02/2024,2\n", "several notations"),
    "names in the midst": ("a,b\n1,2\na,b\n3,4\n5,6\n7,8\n", "'a'"),
    "a word among decimal commas": ("a;b\n1,5;2\n2,5;3\n4,5;4\nabc;4\n5,5;6\n", "--missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_two_things_is_refused_with_the_option(name, tmp_path):
    text, option = REFUSED[name]
    with pytest.raises(InvalidData, match=option):
        readers.read(written(tmp_path, text))


def test_options_settle_it(tmp_path):
    path = written(tmp_path, "a;b\n1,234;2\n5,678;3\n")
    assert cells(readers.read(path, options=FileOptions(decimal=",")))["a"] == [1.234, 5.678]
    assert cells(readers.read(path, options=FileOptions(thousands=",")))["a"] == [1234, 5678]
    path = written(tmp_path, "d,x\n05/08/2024,1\n06/08/2024,2\n")
    got = cells(readers.read(path, wanted={"file": {"date_format": "%m/%d/%Y"}}))["d"]
    assert got == [dt.date(2024, 5, 8), dt.date(2024, 6, 8)]
    path = written(tmp_path, "d,x\n20240508,1\n20240608,2\n")
    got = cells(readers.read(path, wanted={"file": {"date_format": "%Y%m%d"}}))["d"]
    assert got == [dt.date(2024, 5, 8), dt.date(2024, 6, 8)]
    path = written(tmp_path, "a,b\n1,2\n-999,4\nnone,5\n")
    assert same(cells(readers.read(path, options=FileOptions(missing=("-999", "none"))))["a"], [1, None, None])
    path = written(tmp_path, "1,2\n3,4\n")
    assert cells(readers.read(path, options=FileOptions(header=True))) == {"1": [3], "2": [4]}
    path = written(tmp_path, "a,b\nc,d\ne,f\n")
    assert cells(readers.read(path, options=FileOptions(header=False)))["f0"] == ["a", "c", "e"]
    path = written(tmp_path, "이름,x\n가,1\n나,2\n", encoding="cp949")
    assert cells(readers.read(path, options=FileOptions(encoding="cp949")))["이름"] == ["가", "나"]
    path = written(tmp_path, "a^b\n1^2\n")
    assert cells(readers.read(path, options=FileOptions(delimiter="^"))) == {"a": [1], "b": [2]}


@pytest.mark.parametrize(
    "options",
    [
        *({"decimal": "x"}, {"delimiter": ";;"}, {"thousands": "1"}, {"encoding": "no"}, {"sep": ","}, {"missing": 3}),
        *({"header": "no"}, {"date_format": "%d"}, {"decimal": ",", "thousands": ","}),
    ],
)
def test_options_that_mean_nothing_are_refused(options, tmp_path):
    with pytest.raises(InvalidData):
        readers.read(written(tmp_path, "a,b\n1,2\n"), wanted={"file": options})


def test_a_column_may_be_named_file(tmp_path):
    table = readers.read(written(tmp_path, "file,x\n1,2\n3,4\n1,2\n"), wanted={"file": "category"})
    assert [column.kind for column in table.schema.columns] == ["category", "number"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings_are_found(encoding, tmp_path):
    path = written(tmp_path, "größe,ort\n1,Köln\n2,Zürich\n3,Köln\n", encoding=encoding)
    assert cells(readers.read(path)) == {"größe": [1, 2, 3], "ort": ["Köln", "Zürich", "Köln"]}


@pytest.mark.parametrize("encoding", ["cp949", "cp1251", "shift-jis"])
def test_encodings_that_cannot_be_found_are_asked_for(encoding, tmp_path):
    text = {"cp949": "이름은 홍길동", "cp1251": "Привет мир", "shift-jis": "こんにちは"}[encoding]
    with pytest.raises(InvalidData, match="--encoding"):
        readers.read(written(tmp_path, f"x,y\n1,{text}\n2,{text}\n", encoding=encoding))


def test_what_was_found_is_said_once_and_what_is_usual_is_not(tmp_path):
    with pytest.warns(NotationWarning) as said:
        readers.read(written(tmp_path, "a;d\n1,5;25/08/2024\n2,5;26/08/2024\n"))
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotationWarning)
        readers.read(written(tmp_path, "a,b,c\n1.5,x,2024-01-01\n2.5,y,2024-01-02\n"))


@pytest.mark.parametrize(
    "name", ["rows.csv.gz", "rows.csv.bz2", "rows.tsv", "rows.txt", "rows.txt.gz", "rows.tab", "ROWS.CSV"]
)
def test_other_names_are_text_files_too(name, tmp_path):
    text = b"a\tb\n1\t2.5\n3\t4.5\n"
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(name[name.rindex(".") :], bytes)
    assert cells(readers.read(written(tmp_path, pack(text), name))) == {"a": [1, 3], "b": [2.5, 4.5]}


def test_json_lines(tmp_path):
    records = [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"a": 2.5, "b": "x"}]
    path = written(tmp_path, "".join(json.dumps(record) + "\n" for record in records), "rows.jsonl")
    table = readers.read(path)
    assert same(cells(table)["a"], [1, None, 2.5])
    assert cells(table)["b"] == ["x", "y", "x"]
    mixed = written(tmp_path, '{"a": 1, "x": 1}\n{"a": "two", "x": 2}\n', "mixed.jsonl")
    assert cells(readers.read(mixed))["a"] == ["1", "two"]


def test_a_key_that_no_object_has_is_no_column(tmp_path):
    known = readers.read(written(tmp_path, "x,t\n1,a\n2,b\n3,a\n")).schema
    for value, is_there in (("", False), (', "t": null', True)):
        path = written(tmp_path, f'{{"x": 1{value}}}\n', "rows.jsonl")
        if is_there:
            assert len(readers.read(path, wanted=known).rows) == 1
        else:
            with pytest.raises(InvalidData, match=r"\bt\b"):
                readers.read(path, wanted=known)


# -- a file that a model meets later ----------------------------------------------------------------------------------


def test_cells_are_read_with_the_types_of_the_model(tmp_path):
    fitted = readers.read(written(tmp_path, "t,n,c\nTrue,1,07\nFalse,2,x\nMaybe,3.5,y\n")).schema
    again = readers.read(written(tmp_path, "t,n,c\nTrue,1,07\nFalse,2,07\n", "later.csv"), wanted=fitted)
    assert again.given.to_pydict() == {"t": ["True", "False"], "n": [1, 2], "c": ["07", "07"]}
    assert again.rows[:, 1:].max() == 1
    assert all(again.rows[:, place.stop - 1].max() == 0 for name, place in fitted.column_slices.items() if name != "n")


def test_a_notation_and_signs_for_nothing_are_remembered(tmp_path):
    text = "a;b;d\n1.234,5;-9;05/08/2024\n5.678,5;2;25/08/2024\n7,5;3;26/08/2024\n"
    fitted = readers.read(written(tmp_path, text), wanted={"file": {"missing": ["-9"]}}).schema
    fitted = Schema.from_json(json.loads(json.dumps(fitted.to_json())))
    later = readers.read(written(tmp_path, "a;b;d\n1.234;-9;05/08/2024\n", "later.csv"), wanted=fitted)
    assert later.given["a"].to_pylist() == [1234]
    assert later.given["b"].to_pylist() == [None]
    assert later.given["d"].to_pylist() == [dt.date(2024, 8, 5)]
    plain = readers.read(written(tmp_path, "a;b;d\n1.25;2;2024-08-05\n", "plain.csv"), wanted=fitted)
    assert plain.given["a"].to_pylist() == [1.25]
    assert plain.given["d"].to_pylist() == [dt.date(2024, 8, 5)]


def test_a_text_in_a_column_of_numbers_is_refused_by_name(tmp_path):
    fitted = readers.read(written(tmp_path, "a,t\n1,x\n2,y\n")).schema
    with pytest.raises(InvalidData, match="column a"):
        readers.read(written(tmp_path, "a,t\n1,x\nlots,y\n", "later.csv"), wanted=fitted)


# -- laws -------------------------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
    st.none(),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS, st.sampled_from(["u", "v w", "ä"])), min_size=3, max_size=30),
    st.sampled_from([(";", ","), (";", "."), ("\t", ","), ("|", "."), (",", ".")]),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    st.booleans(),
)
def test_the_same_cells_are_read_from_any_notation(tmp_path_factory, rows, signs, encoding, chunked):
    delimiter, decimal = signs
    rows = [(0.5, 1.25, "u"), *rows]  # so that no column is empty or its signs open
    lines = [delimiter.join("" if c is None else str(c).replace(".", decimal) for c in row) for row in rows]
    path = written(tmp_path_factory.mktemp("any"), "\n".join([delimiter.join("abt"), *lines]) + "\n", encoding=encoding)
    with pytest.MonkeyPatch.context() as patch:
        if chunked:
            patch.setattr(blocks, "CHUNK_BYTES", 1)
        found = open_store(str(path))
        got = found.table().rows if chunked else found.rows
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[:2] = [[None if cell is None else float(cell) for cell in column] for column in columns[:2]]
    table = pa.table(columns, names=list("abt"))
    np.testing.assert_array_equal(got, Schema.infer([table]).encode(table))


def test_late_decimals_and_texts_in_a_large_file(tmp_path, monkeypatch):
    lines = ["a,b,c"] + [f"{i % 7},,x{i % 3}" for i in range(400_000)] + ["0.5,3,y"]
    path = written(tmp_path, "\n".join(lines))
    small = readers.read(path)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 1 << 20)
    large = open_store(str(path))
    assert large.schema == small.schema
    assert [column.type for column in large.schema.columns] == ["double", "int64", "string"]
    np.testing.assert_array_equal(large.table().rows, small.rows)
