"""As much of JSON Schema as the API's description uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
KNOWN = {
    *("$ref", "additionalProperties", "anyOf", "default", "description", "enum", "exclusiveMinimum", "format", "items"),
    *("maxLength", "maximum", "minLength", "minProperties", "minimum", "pattern", "properties", "required", "type"),
}


def faults(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Where a value does not keep to a schema of the document."""
    assert schema.keys() <= KNOWN, f"{path}: {schema.keys() - KNOWN} is not understood here"
    if "$ref" in schema:
        yield from faults(value, resolved(schema["$ref"], document), document, path)
    if "anyOf" in schema and all(list(faults(value, each, document, path)) for each in schema["anyOf"]):
        yield f"{path}: {value!r} is none of {schema['anyOf']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{path}: {value!r} is not {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is not in {schema['enum']}"
    if schema.get("format") == "date-time" and isinstance(value, str) and not MOMENT.fullmatch(value):
        yield f"{path}: {value!r} is no time"
    if isinstance(value, dict):
        yield from _object(value, schema, document, path)
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), document, f"{path}[{i}]")
    yield from _bounds(value, schema, path)


def resolved(ref: str, document: Mapping[str, Any]) -> Any:
    """What a reference within the document means."""
    found: Any = document
    for word in ref.removeprefix("#/").split("/"):
        found = found[word]
    return found


def _is(value: Any, kinds: str | list[str]) -> bool:
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool)):
            return True
    return False


def _object(value: dict[str, Any], schema: Mapping[str, Any], document: Mapping[str, Any], path: str) -> Iterator[str]:
    properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}: {name} is missing"
    for name, item in value.items():
        if name in properties:
            yield from faults(item, properties[name], document, f"{path}.{name}")
        elif more is False:
            yield f"{path}: {name} is not described"
        elif isinstance(more, dict):
            yield from faults(item, more, document, f"{path}.{name}")


def _bounds(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield f"{path}: {value!r} has the wrong length"
        if not re.search(schema.get("pattern", ""), value):
            yield f"{path}: {value!r} is not {schema['pattern']}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, above = schema.get("minimum", value), schema.get("exclusiveMinimum", value - 1)
        if value < low or value <= above or value > schema.get("maximum", value):
            yield f"{path}: {value!r} is out of bounds"
