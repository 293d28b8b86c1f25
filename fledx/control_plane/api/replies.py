"""Answers as JSON bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from fledx.models.codec import encode

#: ASCII only, so that no text a user gave can break a terminal or an encoder on its way.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
JSON = "application/json"
#: What is answered here is the state of this moment, and never a page for a browser to guess at.
ALWAYS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def dumped(value: Any) -> bytes:
    """JSON of dicts, lists and scalars; bytes are JSON already."""
    return value if isinstance(value, bytes) else _ENCODER.encode(value).encode("ascii")


def packed(model: Any) -> bytes:
    """JSON of a model; bytes are JSON already, for a use case that keeps it so."""
    return model if isinstance(model, bytes) else dumped(encode(model))


def reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of dicts, lists, scalars or JSON bytes."""
    return Response(dumped(value), status, {**ALWAYS, **(headers or {})}, JSON)


def model_reply(model: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of one model."""
    return reply(packed(model), status=status, headers=headers)


def page_reply(items: Sequence[Any], *, limit: int, offset: int, total: int) -> Response:
    """`{limit, offset, total, items}` with models or JSON bytes as items."""
    head = b'{"limit":%d,"offset":%d,"total":%d,"items":[' % (limit, offset, total)
    return reply(b"".join((head, b",".join([packed(item) for item in items]), b"]}")))


def nothing() -> Response:
    """204: done, and nothing to say."""
    return Response(None, 204, ALWAYS)
