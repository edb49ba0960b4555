"""README.md and its Korean translation stay in step: headings, code, links, tables and names are the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, KOREAN = (ROOT / name for name in ("README.md", "README.ko.md"))


def text(page):
    found = page.read_text(encoding="utf-8")
    return re.sub(r"\[(?:English|한국어)\]\(README(?:\.ko)?\.md\)\n", "", found)  # each names the other


def without_code(page):
    return re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)


SAME = {
    "headings": lambda page: re.findall(r"^(#+) ", without_code(page), flags=re.MULTILINE),
    "code": lambda page: re.findall(r"```.*?```", text(page), flags=re.DOTALL),
    "links": lambda page: re.findall(r"\]\(([^)]+)\)", without_code(page)),
    "tables": lambda page: [line.count("|") for line in without_code(page).splitlines() if line.startswith("|")],
    "names": lambda page: sorted(re.findall(r"`([^`]+)`", without_code(page))),
    "points": lambda page: len(re.findall(r"^- ", without_code(page), flags=re.MULTILINE)),
    "formulas": lambda page: [row.split("|")[-2].strip() for row in text(page).splitlines() if "‖²" in row],
}


@pytest.mark.parametrize("what", SAME)
def test_both_languages_have_the_same(what):
    found = SAME[what]
    assert found(ENGLISH)
    assert found(ENGLISH) == found(KOREAN)


def test_each_leads_to_the_other():
    assert "(README.ko.md)" in ENGLISH.read_text(encoding="utf-8")
    assert "(README.md)" in KOREAN.read_text(encoding="utf-8")


def test_the_translation_is_korean():
    prose = without_code(KOREAN)
    assert len(re.findall(r"[가-힣]", prose)) > 800
