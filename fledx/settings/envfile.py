"""The environment files of the roles: what is set anew is merged into what stands there already."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fledx.settings.declare import quoted

ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def values_in(text: str) -> dict[str, str]:
    """The variables of a file as systemd's EnvironmentFile= reads it; of two lines the later one counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := ASSIGNMENT.fullmatch(line):
            found[match[1]] = unquoted(match[2].strip())
    return found


def merged(text: str, values: Mapping[str, str | None]) -> str:
    """
    The file with `values` set; a value of None removes its line.

    Comments, order and whatever else an operator wrote by hand stay. The result of merging twice is that of once.
    """
    left = dict(values)
    lines: list[str] = []
    for line in text.splitlines():
        match = ASSIGNMENT.fullmatch(line)
        if match is None or match[1] not in values:
            lines.append(line)
        elif match[1] in left and (value := left.pop(match[1])) is not None:
            lines.append(line if unquoted(match[2].strip()) == value else f"{match[1]}={quoted(value)}")
    lines += [f"{name}={quoted(value)}" for name, value in left.items() if value is not None]
    return "".join(f"{line}\n" for line in lines)


def differing(before: str, after: str) -> list[str]:
    """The names of the variables whose values differ between two files, sorted."""
    old, new = values_in(before), values_in(after)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def unquoted(text: str) -> str:
    """A value as systemd reads it: one pair of quotes off, and within double quotes (or none) backslashes resolved."""
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r'\\(["\\$`])', r"\1", text[1:-1])
    return re.sub(r"\\(.)", r"\1", text)
