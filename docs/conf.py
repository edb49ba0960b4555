"""The documentation site: `make docs`. It needs no network, neither to be built nor to be read."""

import re
from importlib import metadata

from sphinx.application import Sphinx

project = "diabolo"
author = "The diabolo developers"
release = metadata.version("diabolo")
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "diabolo"
html_static_path: list[str] = []
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # what a part overrides is told once, of its base
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = False
default_role = "code"

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)([^)#]+)(#[^)]*)?\)")
_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def _within(app: Sphinx, name: str, source: list[str]) -> None:
    """Links that lead out of this folder, where a repository's reader finds them: to the site's page, or just named."""
    depth = name.count("/")

    def link(found: re.Match[str]) -> str:
        name, ups, target = found.group(1), found.group(2).count("../"), found.group(3)
        if ups <= depth:
            return found.group()
        return f"[{name}]({'../' * depth}{_PAGES[target]})" if target in _PAGES else name

    source[0] = _OUTSIDE.sub(link, source[0])


def _as_written(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Equations of docstrings are indented text: literal blocks, whatever stands before them."""
    for i in range(len(lines) - 1, 0, -1):
        starts = lines[i].startswith("    ") and not lines[i - 1].strip()
        before = next((line for line in reversed(lines[:i]) if line.strip()), "")
        if starts and before and not before.startswith((" ", "..", ">>>", ":")) and not before.rstrip().endswith("::"):
            lines[i:i] = ["::", ""]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _within)
    app.connect("autodoc-process-docstring", _as_written, priority=900)
