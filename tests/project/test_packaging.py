"""What diabolo depends on: bounded from below and above, and each with its reason on the page of the design."""

import re
from importlib import metadata
from pathlib import Path

import diabolo
from helpers import over
from lowest import PROJECT, bounds

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
USERS = [
    *PROJECT["dependencies"],
    *(one for name, some in PROJECT["optional-dependencies"].items() if name not in ("bench", "dev") for one in some),
]
BY_DATE = ("fsspec",)
"""Versions that are dates promise nothing, so there is none to stop before."""


@over("requirement", USERS)
def test_every_dependency_is_bounded(requirement):
    name, lowest, beyond = bounds(requirement)
    assert lowest
    assert beyond or name in BY_DATE


@over("requirement", USERS)
def test_every_dependency_has_its_reason(requirement):
    name, *_ = bounds(requirement)
    section = DESIGN.split("## Dependencies")[1]
    assert re.search(rf"^\|[^|]*\b{re.escape(name)}\b[^|]*\|", section, flags=re.MULTILINE | re.IGNORECASE), name


@over("requirement", PROJECT["dependencies"])
def test_what_is_installed_is_allowed(requirement):
    name, lowest, beyond = bounds(requirement)

    def number(version):
        return [int(piece) for piece in re.findall(r"\d+", version)[:3]]

    assert number(lowest) <= number(metadata.version(name)) < number(beyond)


def test_the_version_is_the_same_everywhere():
    for name, pattern in (
        ("CITATION.cff", r"^version: (.+)$"),
        ("docs/citing.md", r"version = \{(.+)\}"),
        ("conda/recipe.yaml", r'^  version: "(.+)"$'),
        ("CHANGELOG.md", r"^## ([\d.]+)"),
    ):
        found = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert found, name
        assert found[1] == diabolo.__version__, name


def test_the_conda_recipe_requires_what_the_package_requires():
    recipe = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    run = re.search(r"^  run:\n((?:    - .+\n)+)", recipe, flags=re.MULTILINE)[1]
    python, *required = re.findall(r"- (\S+ .+)", run)
    assert python == f"python {PROJECT['requires-python']}"
    assert [one.replace("-base", "").replace(" ", "") for one in required] == PROJECT["dependencies"]
