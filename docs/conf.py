"""The documentation site: `make docs`. It needs no network, neither to be built nor to be read."""

import re
from collections import defaultdict
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode
from sphinx.writers.html5 import HTML5Translator

import diabolo

project = "diabolo"
author = "The diabolo developers"
release = diabolo.__version__
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_fence_as_directive = {"math"}  # as GitHub shows them
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "diabolo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/versions.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
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
_SECTION = re.compile(r"<!-- README: (.+) -->")
_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def _section(found: re.Match[str]) -> str:
    """A section of README.md with its links as from this folder."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(found[1])}\n.*?(?=^## )", text, flags=re.MULTILINE | re.DOTALL)
    assert section, found[1]
    return re.sub(r"\]\((?:docs/)?(?!docs/)", lambda link: "](" if "docs/" in link[0] else "](../", section[0])


def _within(app: Sphinx, name: str, source: list[str]) -> None:
    """Put sections of README.md where a comment asks for them; links out of this folder become the site's, or words."""
    depth = name.count("/")
    source[0] = _SECTION.sub(_section, source[0])

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


def _names(app: Sphinx) -> dict[str, str]:
    """What a text may call an object of the API: `AnomalyDetector`, `AnomalyDetector.fit`, `parts.VampPrior`."""
    found = defaultdict(set)
    for full, entry in app.env.domains.python_domain.objects.items():
        if entry.aliased or entry.objtype not in ("class", "function", "method", "exception"):
            continue
        *_, owner, last = full.split(".")
        short = [full, f"{owner}.{last}"]
        if ".core." in full:
            short.append(f"parts.{last}")
        if entry.objtype in ("class", "exception"):
            short.append(last)
        for name in short:
            found[name].add(full)
    return {name: min(some) for name, some in found.items() if len(some) == 1}


def _link_names(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Names of the API in a text lead to their documentation."""
    names = _names(app)
    for literal in list(doctree.findall(nodes.literal)):
        full = names.get(re.sub(r"\(.*\)$", "", literal.astext(), flags=re.DOTALL))
        if full is None or isinstance(literal.parent, nodes.reference | nodes.title):
            continue
        entry = app.env.domains.python_domain.objects[full]
        literal.replace_self(make_refnode(app.builder, page, entry.docname, entry.node_id, literal.deepcopy(), full))


def _mathml(writer: HTML5Translator, node: nodes.Element) -> None:
    """Write an equation as MathML, which browsers set without scripts or fonts of ours."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    markup = latex2mathml.converter.convert(node.astext(), display=display)
    writer.body.append(f'<div class="equation">{markup}</div>' if display == "block" else markup)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_mathml, None), (_mathml, None))
    app.connect("doctree-resolved", _link_names)
    app.connect("source-read", _within)
    app.connect("autodoc-process-docstring", _as_written, priority=900)
