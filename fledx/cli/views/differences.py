"""Two specs beside each other: what one has that the other has not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fledx.cli.views.text import harmless

WIDTH = 60
EMPTY: tuple[Any, ...] = (None, {}, [])


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place of a spec; None is what is not there."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{harmless(self.path)}: {_short(self.before)} -> {_short(self.after)}"


def differences(before: Any, after: Any) -> list[Difference]:
    """In the order of the fields; empty lists and maps are the same as none."""
    return list(_found(before, after, ""))


def _found(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if before == after or (before in EMPTY and after in EMPTY):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _found(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _found(old, new, f"{path}[{i}]")
    else:
        yield Difference(path=path, before=before, after=after)


def _short(value: Any) -> str:
    if value is None:
        return "(none)"
    text = harmless(value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= WIDTH else text[:WIDTH] + "…"
