"""What the agent's pages answer, before any of it is HTTP."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole response."""

    status: int
    kind: str
    body: bytes


Page = Callable[[], Answer]
Asked = Callable[[str], Awaitable[Answer]]
"""A page that somebody else answers; takes the query behind the path, without its `?`."""


def as_json(status: int, content: Mapping[str, Any]) -> Answer:
    """An object as JSON, one line."""
    return Answer(status=status, kind="application/json", body=json.dumps(content).encode() + b"\n")
