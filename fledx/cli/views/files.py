"""Files that operators write, in YAML or JSON: read strictly, each fault told with its line."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from fledx.errors import InvalidSpec
from fledx.models.check import shown

MAX_BYTES = 4 * 1024 * 1024
MAX_VALUES = 100_000
MAX_DEPTH = 50


def read_documents(raw: bytes, source: str) -> list[Any]:
    """
    The documents of a file, those of a list one by one; empty ones are left out.

    Words are what they are in YAML 1.2: `yes`, `1:30` and dates are texts, not something else. A key that stands twice
    is a fault. `source` is what a fault calls the file.
    """
    if len(raw) > MAX_BYTES:
        raise InvalidSpec("", f"{source} has {len(raw)} bytes, and {MAX_BYTES} is the most")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise InvalidSpec("", f"{source} is not UTF-8 text: byte {problem.start} is none of it") from None
    try:
        found = _read(text, source)
    except RecursionError:
        raise InvalidSpec("", f"{source} is nested too deeply") from None
    documents = [item for document in found for item in (document if isinstance(document, list) else [document])]
    return [document for document in documents if document is not None]


def _read(text: str, source: str) -> list[Any]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return [json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, source), parse_constant=_no_number)]
        except json.JSONDecodeError:
            pass  # YAML has braces too, and names the place better
    try:
        found = list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise InvalidSpec("", f"{source}{line}: {problem.problem or problem.context}") from None
    except (yaml.YAMLError, ValueError) as problem:
        raise InvalidSpec("", f"{source}: {str(problem).splitlines()[0]}") from None
    _measured(found, source)
    return found


def _object(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise InvalidSpec("", f"{source}: the key {shown(twice)} stands twice in one object")
    return found


def _no_number(word: str) -> Any:
    raise json.JSONDecodeError(f"{word} is no number", word, 0)


def _measured(found: Any, source: str) -> None:
    """InvalidSpec where references to one another make more of a document than was written."""
    left, queue = MAX_VALUES, [(found, 0)]
    while queue:
        value, depth = queue.pop()
        left -= 1
        if depth > MAX_DEPTH or left < 0:
            raise InvalidSpec("", f"{source} is nested too deeply or too large once its references are followed")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        queue += [(item, depth + 1) for item in inner]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's own few words, and no key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key.start_mark)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{shown(key.value)} stands twice", key.start_mark)
            seen.add(key.value)
        return {str(key): value for key, value in super().construct_mapping(node, deep=deep).items()}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?", list("-+0123456789.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
