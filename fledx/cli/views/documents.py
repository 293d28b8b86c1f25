"""JSON and YAML, safe to print on a terminal whatever the texts in them are."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from fledx.cli.views.text import UNSAFE


def as_json(value: Any) -> str:
    """Indented JSON; characters that could harm a terminal are escaped, other scripts stay readable."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(_escaped(character) for character in text)


def as_json_line(value: Any) -> str:
    """One line of JSON, for streams."""
    return json.dumps(value, separators=(",", ":"))


def _escaped(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in UNSAFE:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[i : i + 2], 'big'):04x}" for i in range(0, len(units), 2))


def as_yaml(value: Any) -> str:
    """Block-style YAML in the order of the fields."""
    import yaml

    readable = not any(unicodedata.category(character) in UNSAFE for character in _texts(value))
    dumped = yaml.safe_dump(value, sort_keys=False, allow_unicode=readable, default_flow_style=False, width=10_000)
    return str(dumped)


def _texts(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\n", "")
