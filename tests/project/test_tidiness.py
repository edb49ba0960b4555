"""That the house stays in order, by figures that may only fall: long files, untyped names, private names of others."""

import ast
from pathlib import Path

import pytest

import diabolo

SOURCE = Path(diabolo.__file__).parent
FILES = {str(path.relative_to(SOURCE)): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

MOST_LINES = 500
LONGER: dict[str, int] = {}
"""Files that are longer for now, with their lines. Whoever splits one takes it out; none comes in."""

MOST_ANY = 239
"""`Any` in annotations. Whoever lowers a count lowers its ceiling here."""
MOST_FOREIGN = 0
"""Private attributes that a module uses of something else than `self`, and does not define."""
MOST_INHERITED = 0
"""Private attributes of `self` that a class of another file defines."""
PUBLIC = {"_replace", "_asdict", "_fields", "_validate_params", "_cache_size"}
"""Private in form only: of named tuples, scikit-learn's check of parameters, JAX's number of compiled programs."""
OF_ALL = {"conformance", "laws", "project"}
"""Folders of tests that mirror no package: tables over all parts and estimators, laws, and the project itself."""


def defined_in(tree):
    """The private names that a file itself defines: functions, classes, fields, and what is set on `self` or `cls`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def private_names_of_others(of_self):
    """Every use of a private attribute that its own file does not define: of `self`, or of anything else."""
    found = []
    for file, tree in TREES.items():
        own = defined_in(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
                continue
            if node.attr in PUBLIC:
                continue
            is_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if is_self == of_self and node.attr not in own:
                found.append(f"{file}:{node.lineno} {ast.unparse(node)}")
    return found


def test_no_file_is_too_long():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    too_long = {name: n for name, n in lines.items() if n > MOST_LINES}
    assert set(too_long) <= set(LONGER), "split them by subject"
    assert all(n <= LONGER[name] for name, n in too_long.items()), "they may only become shorter"
    assert set(LONGER) & set(FILES) <= set(too_long), "take what is short enough out of the table"


def test_tests_mirror_the_packages():
    tests = Path(__file__).parents[1]
    folders = {path.parent.relative_to(tests).parts[:1] for path in tests.rglob("test_*.py")}
    packages = {(path.name,) for path in SOURCE.iterdir() if path.is_dir()}
    assert folders <= packages | {(name,) for name in OF_ALL} | {()}


def test_names_without_a_type_do_not_become_more():
    uses = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    n = sum((use.id if isinstance(use, ast.Name) else use.attr) == "Any" for use in uses)
    assert n <= MOST_ANY


@pytest.mark.parametrize(("of_self", "most"), [(False, MOST_FOREIGN), (True, MOST_INHERITED)])
def test_private_names_of_other_files_do_not_become_more(of_self, most):
    found = private_names_of_others(of_self)
    assert len(found) <= most, found
