"""The API's description as a page for people: HTML made here, with no scripts, fonts or anything else from afar."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}h2{border-bottom:1px solid #8886;padding-top:1.5rem;text-transform:capitalize}
code,pre,.m{font-family:ui-monospace,monospace;font-size:.92em}
details{border:1px solid #8886;border-radius:6px;margin:.4rem 0;padding:.3rem .8rem}
summary{cursor:pointer}.m{display:inline-block;min-width:4.5rem;font-weight:700}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}
.q{color:#888}
"""


def readable(document: Mapping[str, Any]) -> str:
    """The whole page."""
    info = document["info"]
    body = "".join((*_operations(document), "<h2>models</h2>", *_models(document)))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<h1>{escape(info["title"])} API</h1><p class="q">{escape(info["version"])} · '
        f'<a href="/openapi.json">openapi.json</a></p><p>{escape(info["description"])}</p>{body}</body></html>'
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                text = _operation(path, method, operation, item.get("parameters", []))
                by_tag.setdefault(operation["tags"][0], []).append(text)
    for tag, texts in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>"
        yield from texts


def _operation(path: str, method: str, operation: Mapping[str, Any], shared: list[Any]) -> str:
    rows = [
        _row(each["name"], each["in"], each["description"], _kind(each["schema"]))
        for each in (*shared, *operation.get("parameters", ()))
    ]
    if "requestBody" in operation:
        schema = next(iter(operation["requestBody"]["content"].values()))["schema"]
        needed = "" if operation["requestBody"]["required"] else "may be left out"
        rows.append(_row("", "body", needed, _kind(schema)))
    rows += [_row(status, "answer", _described(answer), _content(answer)) for status, answer in _answers(operation)]
    return (
        f'<details><summary><span class="m">{method.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary><p class=q>{_access(operation)}</p>"
        f"<table>{''.join(rows)}</table></details>"
    )


def _row(name: str, place: str, help: str, kind: str) -> str:
    return (
        f"<tr><td><code>{escape(name)}</code></td><td class=q>{escape(place)}</td><td>{kind}</td>"
        f"<td>{escape(help)}</td></tr>"
    )


def _answers(operation: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(operation["responses"].items())


def _described(answer: Mapping[str, Any]) -> str:
    return str(answer.get("description", ""))


def _content(answer: Mapping[str, Any]) -> str:
    if "$ref" in answer:
        return '<a href="#Error">Error</a>'
    kinds = (f"{_kind(content['schema'])} <span class=q>{escape(media)}</span>" for media, content in _media(answer))
    return "<br>".join(kinds)


def _media(answer: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(answer.get("content", {}).items())


def _access(operation: Mapping[str, Any]) -> str:
    names = [" and ".join(each) or "nothing" for each in operation["security"]]
    return f"needs a token: {' or '.join(names)}" if names else "needs no token"


def _models(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        needed = schema.get("required", ())
        rows = (
            _row(field, "required" if field in needed else "", _notes(each), _kind(each))
            for field, each in schema.get("properties", {}).items()
        )
        yield (
            f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
            f"<p>{escape(schema.get('description', ''))}</p><table>{''.join(rows)}</table></details>"
        )


def _notes(schema: Mapping[str, Any]) -> str:
    shown = ("enum", "default", "minimum", "exclusiveMinimum", "maximum", "pattern", "maxLength")
    return ", ".join(f"{key} {json.dumps(schema[key])}" for key in shown if key in schema)


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    kind = schema.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    if "items" in schema:
        return f"{escape(words)} of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{escape(words)} of {_kind(schema['additionalProperties'])}"
    return escape(f"{words} ({schema['format']})" if "format" in schema else words)
