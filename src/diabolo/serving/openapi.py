"""The documentation of a served model, from its columns: an OpenAPI document, and an HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from .. import __version__
from ..data.types import Json
from ..estimators.predictions import Answer, Told
from ..estimators.trainable import Saveable
from .batching import Asked
from .codec import ARROW, JSON, Wire

if TYPE_CHECKING:
    from .app import Limits

__all__ = ["described", "page", "with_article"]

_DESCRIPTIONS = {
    "transform": ("Compress rows", "The code of each row: activations, or posterior means."),
    "reconstruct": ("Reconstruct rows", "The reconstruction of each row from its code."),
    "score": ("Score rows", "The log-density of each row, in nats: the lower, the more unusual the row."),
    "impute": ("Fill empty cells", "Each row with its missing cells imputed; other cells are unchanged."),
    "classify": ("Classify rows", "The most likely label of each row, and the probability of each label."),
}
_ANOMALY = (
    "The anomaly score of each row (the higher, the more unusual), in nats; its p-value, the "
    "probability that a normal row scores at least as high; whether it is flagged; and the three columns that "
    "contribute most to the score."
)
_REFUSED = {
    "400": "The body does not have the declared format or compression.",
    "406": "The response cannot have an accepted type.",
    "408": "The body did not arrive in time.",
    "413": "The body is too long.",
    "415": "The body has an unsupported type or compression.",
    "421": "The host name is not accepted.",
    "422": "The rows do not fit the model, or are too many.",
    "503": "There are too many concurrent requests.",
}


def described(
    wire: Wire, asked: Mapping[str, Answer], model: Saveable, example: Asked, limits: Limits, name: str
) -> Json:
    """Return the OpenAPI document (3.1)."""
    given = _rows_in(wire, limits.rows)
    body = {"rows": _as_json(wire, example)}
    info = {"title": f"{name}, {with_article(type(model).__name__)}", "version": __version__}
    info["description"] = (
        f"Rows and results are JSON or an Arrow stream (`{ARROW}`). Rows are in the units of the training data. "
        f"At most {limits.rows:,} rows and {limits.body_bytes:,} bytes in a request, and "
        f"{limits.requests:,} requests at once. A body may be compressed (`Content-Encoding: gzip`); the limit is that "
        "of the decompressed body."
    )
    paths: Json = {}
    for what, question in asked.items():
        answer = question(model, example)
        summary, description = _DESCRIPTIONS[what]
        if what == "score" and "p_value" in getattr(answer, "column_names", ()):
            description = _ANOMALY
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
                        "description": "One result for each row, in the order of the rows.",
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
            "summary": "Check the server",
            "security": [],
            "responses": {
                "200": {
                    "description": "The server is running.",
                    "content": {JSON: {"schema": {"type": "object", "required": ["status", "model"]}}},
                }
            },
        }
    }
    refused = {"401": "A token is needed.", **_REFUSED}
    return {
        "openapi": "3.1.0",
        "info": info,
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
        "detail": {"type": "string", "description": "What is wrong, where, and what to do."},
    },
}


def _refusal(words: str) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {"application/problem+json": {"schema": schema}}}


def _contents(schema: str, example: object) -> Json:
    return {
        JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }


def with_article(name: str) -> str:
    """Return a class's name with "a" or "an" before it."""
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _rows_in(wire: Wire, most_rows: int) -> Json:
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


def _as_json(wire: Wire, example: Asked) -> list[object]:
    """Return example rows for a request, with numbers rounded to 4 digits."""
    if isinstance(example, pa.Table):
        rows = json.loads(wire.write(JSON, example))["rows"]
        return [{name: _short(value) for name, value in row.items()} for row in rows]
    return [[_short(None if np.isnan(cell) else cell) for cell in row] for row in example.tolist()]


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _rows_out(answer: Told, *, as_lists: bool) -> Json:
    if as_lists:
        row: Json = {"type": "array", "items": {"type": ["number", "null"]}}
    else:
        types = _types_of(answer)
        cells = {name: {"type": [kind, "null"]} for name, kind in types.items()}
        row = {"type": "object", "required": list(types), "properties": cells}
    return {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": row}}}


def _types_of(answer: Told) -> dict[str, str]:
    if not isinstance(answer, pa.Table):
        return dict.fromkeys(answer.names or (), "number")

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
    const content = await answer.json();
    const lines = content.rows ? content.rows.map((row) => JSON.stringify(row)) : [content.detail];
    out.textContent = [`${answer.status} ${answer.statusText}`, ...lines].join("\\n");
  } catch (error) { out.textContent = String(error); }
});
"""


def page(about: Json) -> str:
    """Return an HTML page that documents every operation, with a form to try it; the page loads nothing."""
    info = about["info"]
    title = html.escape(info["title"])
    sections = [_section(path, methods["post"]) for path, methods in about["paths"].items() if "post" in methods]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{_with_code(info['description'])}</p>"
        f'<p class="quiet">diabolo {html.escape(info["version"])} · <a href="openapi.json">openapi.json</a> · '
        f'<a href="healthz">healthz</a></p>{_columns(about["components"]["schemas"]["RowsIn"])}{"".join(sections)}'
        f"<h2>Errors</h2>{_refusals(about)}<script>{_SCRIPT}</script></body></html>"
    )


def _with_code(text: str) -> str:
    pieces = html.escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))


def _columns(rows_in: Json) -> str:
    row = rows_in["properties"]["rows"]["items"]
    if row["type"] == "array":
        return f"<p>A row is a list of {row['maxItems']:,} numbers.</p>"
    shown = list(row["properties"].items())
    more = f"<p class=quiet>and {len(shown) - 100:,} more</p>" if len(shown) > 100 else ""
    cells = ((name, _kind(cell), cell.get("description", "")) for name, cell in shown[:100])
    return _table(("column", "type", ""), cells) + more


def _kind(schema: Json) -> str:
    kinds: list[Json] = schema.get("anyOf", [schema])
    return ", or ".join(str(kind.get("format", kind["type"])) for kind in kinds)


def _refusals(about: Json) -> str:
    return _table(
        ("status", "reason"),
        ((code, response["description"]) for code, response in about["components"]["responses"].items()),
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in row)}" for row in rows)
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}' for cell in head)}</tr>{lines}</table>"


def _section(path: str, operation: Json) -> str:
    example = operation["requestBody"]["content"][JSON]["example"]
    rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in example["rows"])
    return (
        f"<h2><code>POST {path}</code> · {html.escape(operation['summary'])}</h2>"
        f"<p>{html.escape(operation['description'])}</p>"
        f'<form data-path="{path[1:]}"><textarea spellcheck="false" aria-label="body">'
        f"{html.escape(f'{{{chr(34)}rows{chr(34)}: [')}\n  {html.escape(rows)}\n]}}</textarea>"
        "<button>Send</button><pre hidden></pre></form>"
    )
