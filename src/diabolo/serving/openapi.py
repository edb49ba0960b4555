"""What is served, as OpenAPI, and as a page for people: both from the model's own columns."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from .. import __version__
from .codec import ARROW, JSON, Wire

__all__ = ["described", "page", "with_article"]

_TOLD = {
    "transform": ("Compress rows", "The code of each row: activations, or posterior means."),
    "reconstruct": ("Rebuild rows", "Each row as it is told from its code."),
    "score": ("Score rows", "The log-density of each row, in nats: the lower, the stranger."),
    "impute": ("Fill empty cells", "Each row with its missing cells filled, the others as they were."),
    "classify": ("Classify rows", "The likeliest label of each row, and each label's probability."),
}
_STRANGE = (
    "How strange each row is: the higher, the stranger, and 1 is the median of ordinary rows; how often an ordinary "
    "row would score as high; whether it is flagged; and the three columns that did most to it."
)
_REFUSED = {
    "400": "The body is not of the format that it is said to be.",
    "406": "The answer cannot be of a type that is accepted.",
    "408": "The body did not arrive in time.",
    "413": "The body is too long.",
    "415": "The body is of another type.",
    "421": "The server is asked under a name that is not its own.",
    "422": "The rows are not such as the model has learned from.",
    "503": "Too many requests are under way.",
}


def described(wire: Wire, asked: dict[str, Any], model: Any, example: Any, limits: Any, name: str) -> dict[str, Any]:
    """The OpenAPI document (3.1)."""
    given = _rows_in(wire, limits.rows)
    body = {"rows": _as_json(wire, example)}
    told = {"title": f"{name}, {with_article(type(model).__name__)}", "version": __version__}
    told["description"] = (
        f"Rows in, answers out, as JSON or as a stream of Arrow (`{ARROW}`). Rows are in the units of the data that "
        f"the model has learned from. At most {limits.rows:,} rows and {limits.body_bytes:,} bytes at a time, and "
        f"{limits.requests:,} requests at once."
    )
    paths: dict[str, Any] = {}
    for what, question in asked.items():
        answer = question(model, example)
        summary, description = _TOLD[what]
        if what == "score" and "p_value" in getattr(answer, "column_names", ()):
            description = _STRANGE
        as_lists = wire.as_lists(what)
        answered = json.loads(wire.write(JSON, answer, as_lists))
        paths[f"/{what}"] = {
            "post": {
                "operationId": what,
                "summary": summary,
                "description": description,
                "requestBody": {"required": True, "content": _contents("RowsIn", body)},
                "responses": {
                    "200": {
                        "description": "As many rows, in their order.",
                        "content": {
                            JSON: {"schema": _rows_out(answer, as_lists=as_lists), "example": answered},
                            ARROW: {"schema": {"type": "string", "format": "binary"}},
                        },
                    },
                    **{status: {"$ref": f"#/components/responses/{status}"} for status in ("401", *_REFUSED)},
                },
            }
        }
    paths["/healthz"] = {
        "get": {
            "operationId": "healthz",
            "summary": "Whether the server is alive",
            "security": [],
            "responses": {
                "200": {
                    "description": "It is.",
                    "content": {JSON: {"schema": {"type": "object", "required": ["status", "model"]}}},
                }
            },
        }
    }
    refused = {"401": "A token is needed.", **_REFUSED}
    return {
        "openapi": "3.1.0",
        "info": told,
        "paths": paths,
        "security": [{}, {"bearer": []}, {"basic": []}],
        "components": {
            "schemas": {"RowsIn": given, "Problem": _PROBLEM},
            "responses": {status: _refusal(words) for status, words in refused.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


_PROBLEM = {
    "description": "RFC 9457.",
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, where, and the mend."},
    },
}


def _refusal(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {"application/problem+json": {"schema": schema}}}


def _contents(schema: str, example: Any) -> dict[str, Any]:
    return {
        JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }


def with_article(name: str) -> str:
    """A class's name, and "a" or "an" before it."""
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _rows_in(wire: Wire, most_rows: int) -> dict[str, Any]:
    if wire.names is None:
        row = {
            "type": "array",
            "minItems": wire.n_features,
            "maxItems": wire.n_features,
            "prefixItems": [cells.schema for cells in wire.cells],
        }
    else:
        row = {
            "type": "object",
            "required": list(wire.names),
            "properties": {cells.name: cells.schema for cells in wire.cells},
        }
    rows = {"type": "array", "minItems": 1, "maxItems": most_rows, "items": row}
    return {"type": "object", "required": ["rows"], "properties": {"rows": rows}, "additionalProperties": False}


def _as_json(wire: Wire, example: Any) -> list[Any]:
    """Example rows as a request has them, numbers no longer than people write them."""
    if isinstance(example, pa.Table):
        rows = json.loads(wire.write(JSON, example))["rows"]
        return [{name: _short(value) for name, value in row.items()} for row in rows]
    return [[_short(None if np.isnan(cell) else cell) for cell in row] for row in example.tolist()]


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _rows_out(answer: Any, *, as_lists: bool) -> dict[str, Any]:
    if as_lists:
        row: dict[str, Any] = {"type": "array", "items": {"type": ["number", "null"]}}
    else:
        types = _types_of(answer)
        cells = {name: {"type": [kind, "null"]} for name, kind in types.items()}
        row = {"type": "object", "required": list(types), "properties": cells}
    return {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": row}}}


def _types_of(answer: Any) -> dict[str, str]:
    if not isinstance(answer, pa.Table):
        return dict.fromkeys(answer.names, "number")

    def called(kind: pa.DataType) -> str:
        if pa.types.is_boolean(kind):
            return "boolean"
        return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "string"

    return {field.name: called(field.type) for field in answer.schema}


# -- the page ----------------------------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #767676; --accent: #2563a8 }
@media (prefers-color-scheme: dark) { :root { --quiet: #a0a0a0; --accent: #7db3ee } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; line-height: 1.2 } h2 { font-size: 1.1rem; margin: 2.5rem 0 .25rem }
code, pre, textarea { font: 13px/1.45 ui-monospace, monospace }
h2 code { font-size: 1rem; color: var(--accent) } p { margin: .25rem 0 .75rem }
pre, textarea { border: 1px solid var(--line); border-radius: 4px; padding: .6rem; overflow: auto; margin: .5rem 0 }
pre { max-height: 20rem }
textarea { width: 100%; box-sizing: border-box; height: 9rem; background: none; color: inherit; resize: vertical }
button { font: inherit; padding: .2rem 1rem } table { border-collapse: collapse; width: 100%; font-size: 14px }
td, th { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
.quiet { color: var(--quiet); font-size: 14px } a { color: var(--accent) }
"""
_SCRIPT = """
for (const form of document.querySelectorAll("form")) form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const out = form.querySelector("pre"), body = form.querySelector("textarea").value;
  out.hidden = false;
  out.textContent = "…";
  try {
    const headers = {"Content-Type": "application/json"};
    const answer = await fetch(form.dataset.path, {method: "POST", headers, body});
    const told = await answer.json();
    const lines = told.rows ? told.rows.map((row) => JSON.stringify(row)) : [told.detail];
    out.textContent = [`${answer.status} ${answer.statusText}`, ...lines].join("\\n");
  } catch (error) { out.textContent = String(error); }
});
"""


def page(about: dict[str, Any]) -> str:
    """The same for people, with every question to try: one page, which loads nothing."""
    info = about["info"]
    title = html.escape(info["title"])
    sections = [_section(path, methods["post"]) for path, methods in about["paths"].items() if "post" in methods]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{_with_code(info['description'])}</p>"
        f'<p class="quiet">diabolo {html.escape(info["version"])} · <a href="openapi.json">openapi.json</a> · '
        f'<a href="healthz">healthz</a></p>{_columns(about["components"]["schemas"]["RowsIn"])}{"".join(sections)}'
        f"<h2>When something is refused</h2>{_refusals(about)}<script>{_SCRIPT}</script></body></html>"
    )


def _with_code(text: str) -> str:
    pieces = html.escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))


def _columns(rows_in: dict[str, Any]) -> str:
    row = rows_in["properties"]["rows"]["items"]
    if row["type"] == "array":
        return f"<p>A row is a list of {row['maxItems']:,} numbers.</p>"
    shown = list(row["properties"].items())
    more = f"<p class=quiet>and {len(shown) - 100:,} more</p>" if len(shown) > 100 else ""
    cells = ((name, _kind(told), told.get("description", "")) for name, told in shown[:100])
    return _table(("column", "type", ""), cells) + more


def _kind(told: dict[str, Any]) -> str:
    kinds: list[dict[str, Any]] = told.get("anyOf", [told])
    return ", or ".join(str(kind.get("format", kind["type"])) for kind in kinds)


def _refusals(about: dict[str, Any]) -> str:
    return _table(
        ("status", "why"), ((code, told["description"]) for code, told in about["components"]["responses"].items())
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in row)}" for row in rows)
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}' for cell in head)}</tr>{lines}</table>"


def _section(path: str, told: dict[str, Any]) -> str:
    example = told["requestBody"]["content"][JSON]["example"]
    rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in example["rows"])
    return (
        f"<h2><code>POST {path}</code> · {html.escape(told['summary'])}</h2><p>{html.escape(told['description'])}</p>"
        f'<form data-path="{path[1:]}"><textarea spellcheck="false" aria-label="body">'
        f"{html.escape(f'{{{chr(34)}rows{chr(34)}: [')}\n  {html.escape(rows)}\n]}}</textarea>"
        "<button>Ask</button><pre hidden></pre></form>"
    )
