"""The documentation is true: its Python runs, its links lead somewhere, and what it names is there."""

import importlib
import importlib.util
import os
import re
import runpy
from pathlib import Path

import jax
import pytest

import diabolo
from diabolo.core import component
from helpers import import_all, over, train_briefly

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _name(page):
    return str(page.relative_to(ROOT))


WITH_CODE = [page for page in PAGES if "```python" in page.read_text() and not page.name.startswith("README")]


SHARES = {"basic": 1, "generation": 1, "lecture": 4}
"""The steps are the default's divided by so many; what other pages claim holds after an eighth."""
LONG = ("variants",)
"""Trained so long that it takes less time to compile the programs well, as users do."""
QUICK = ("start", "basic", "sparse", "new-part", "own-network", "own-images", "resume", "scaling")
"""Pages that take some seconds; the others are run with `-m slow`."""


NEEDED = {"singlecell": "anndata"}
"""What a page imports beside diabolo's own dependencies; its warnings are its own."""


def _marked(page):
    marks = [] if page.stem in QUICK else [pytest.mark.slow]
    if (needed := NEEDED.get(page.stem)) is not None:
        is_absent = importlib.util.find_spec(needed) is None
        marks += [pytest.mark.skipif(is_absent, reason=needed), pytest.mark.filterwarnings("ignore")]
    return pytest.param(page, id=_name(page), marks=marks)


@pytest.mark.parametrize("page", [_marked(page) for page in WITH_CODE])
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    """Of all but the README, whose code runs in test_readme."""
    monkeypatch.chdir(tmp_path)
    import_all()  # what the page imports first would be forgotten with its registry
    own = {name: cls for name, cls in component._REGISTRY.items() if cls.__module__.startswith("diabolo.")}
    monkeypatch.setattr(component, "_REGISTRY", own)  # as for a reader, who has not imported these tests
    if (share := SHARES.get(page.stem, 8)) > 1:
        train_briefly(monkeypatch, share)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    is_quick = "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ
    jax.config.update("jax_disable_most_optimizations", is_quick and page.stem not in LONG)
    try:
        exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": f"docs_{page.stem}"})
    finally:
        jax.config.update("jax_disable_most_optimizations", is_quick)


@over("page", {_name(page): page for page in PAGES})
def test_links_within_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{_name(page)} links to {target}"


def _rows_of_the_lecture():
    table = re.findall(r"^\|(.+)\|$", (ROOT / "docs" / "lecture.md").read_text(), flags=re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in table if not set(row) <= set("-| ")]


def test_every_row_of_the_lecture_names_code_and_a_test_that_exist():
    checked = 0
    for row in _rows_of_the_lecture():
        if row[0] == "symbol":
            assert row == ["symbol", "meaning", "name in code", "test that checks it"]
            continue
        _, _, code, tests = row
        names = re.findall(r"`([^`]+)`", code)
        assert names, row
        for name in names:
            _resolve(name)
        where = re.findall(r"`([\w/]+)::(test_\w+)`", tests)
        assert where, row
        for file, test in where:
            assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text(), f"{file}::{test}"
        checked += 1
    assert checked > 20


def _resolve(dotted):
    """`Name.attribute` or `package.module.Name.attribute` within diabolo; dataclass fields count as attributes."""
    thing, rest = diabolo, dotted.split(".")
    while hasattr(thing, "__path__") and importlib.util.find_spec(f"{thing.__name__}.{rest[0]}"):
        thing = importlib.import_module(f"{thing.__name__}.{rest.pop(0)}")
    thing = getattr(thing, rest.pop(0))
    for attribute in rest:
        fields = {*getattr(thing, "__dataclass_fields__", ()), *getattr(thing, "__annotations__", ())}
        documented = attribute in (thing.__doc__ or "")
        assert attribute in fields or hasattr(thing, attribute) or documented, dotted
        thing = getattr(thing, attribute, None)


def test_links_out_of_the_site_become_words_and_brackets_in_code_stay():
    within = runpy.run_path(str(ROOT / "docs" / "conf.py"))["_within"]
    source = ['[figures](../benchmarks/x.json), `X[0]`, `pip install "d[onnx]"`, [news](../CHANGELOG.md), [a](b.md)']
    within(None, "page", source)
    assert source == ['figures, `X[0]`, `pip install "d[onnx]"`, [news](changelog.md), [a](b.md)']
