"""Sheets of Excel."""

import datetime as dt
import zipfile

import pytest

from diabolo.data import readers
from diabolo.errors import InvalidData, NotationWarning

pytest.importorskip("python_calamine")

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def cell(value):
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, dt.date):
        return f'<c s="1"><v>{(value - dt.date(1899, 12, 30)).days}</v></c>'
    return "<c/>" if value is None else f"<c><v>{value}</v></c>"


def workbook(path, *sheets):
    """A file with these sheets, each a list of rows."""
    n = range(1, len(sheets) + 1)
    styles = (
        f'<styleSheet xmlns="{_MAIN}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>'
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("[Content_Types].xml", f'<Types xmlns="{_PACKAGE}/content-types"/>')
        file.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r" Type="{_OFFICE}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        file.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
            + "".join(f'<sheet name="s{i}" sheetId="{i}" r:id="r{i}"/>' for i in n)
            + "</sheets></workbook>",
        )
        file.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{_PACKAGE}/relationships">'
            + "".join(
                f'<Relationship Id="r{i}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>' for i in n
            )
            + f'<Relationship Id="st" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
        )
        file.writestr("xl/styles.xml", styles)
        for i, rows in zip(n, sheets, strict=True):
            body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            file.writestr(
                f"xl/worksheets/sheet{i}.xml", f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>'
            )
    return path


ROWS = [
    ["n", "x", "t", "d", "b"],
    [1, 1.5, "u", dt.date(2024, 8, 25), True],
    [2, None, "v", dt.date(2024, 8, 26), False],
    [3, 2.5, "u", dt.date(2024, 9, 1), True],
]


def test_a_sheet_is_a_table(tmp_path):
    found = readers.read(workbook(tmp_path / "t.xlsx", ROWS))
    assert {c.name: (c.kind, c.type) for c in found.schema.columns} == {
        "n": ("number", "int64"), "x": ("number", "double"), "t": ("category", "string"), "d": ("date", "date32[day]"),
        "b": ("boolean", "bool"),
    }  # fmt: skip
    assert found.given.to_pylist() == [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]


def test_a_later_sheet_is_read_as_the_model_knows_its_columns(tmp_path):
    fitted = readers.read(workbook(tmp_path / "a.xlsx", [["t", "x"], ["1", 1.5], ["two", 2.5], ["1", 3.0]])).schema
    later = readers.read(workbook(tmp_path / "b.xlsx", [["t", "x"], [1, 2], [1, 3]]), wanted=fitted)
    assert later.given["t"].to_pylist() == ["1", "1"]


def test_of_several_sheets_the_first_filled_one_is_read_and_said(tmp_path):
    path = workbook(tmp_path / "t.xlsx", [], ROWS, ROWS)
    with pytest.warns(NotationWarning, match="s2"):
        assert len(readers.read(path).rows) == 3


def test_an_empty_book_is_refused(tmp_path):
    with pytest.raises(InvalidData, match="no cells"):
        readers.read(workbook(tmp_path / "t.xlsx", []))
