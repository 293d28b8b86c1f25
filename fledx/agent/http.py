"""The agent's own small HTTP endpoint, on loopback by default."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import SocketStream

logger = logging.getLogger(__name__)

REQUEST_SECS = 10.0
MAX_CLIENTS = 32


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole response."""

    status: int
    kind: str
    body: bytes


Page = Callable[[], Answer]
Asked = Callable[[str], Awaitable[Answer]]
"""A page that somebody else answers; takes the query behind the path, without its `?`."""
NONE: Mapping[str, Asked] = {}


def as_json(status: int, content: Mapping[str, Any]) -> Answer:
    """An object as JSON, one line."""
    return Answer(status=status, kind="application/json", body=json.dumps(content).encode() + b"\n")


async def serve(
    host: str, port: int, pages: Mapping[str, Page], what: str, *, asked: Mapping[str, Asked] = NONE
) -> None:
    """
    Answer GET and HEAD for these paths until cancelled.

    A port that is taken is no reason for a node to stop working: it is warned of, and nothing is served. What HTTP
    needs is loaded with the first request: half a megabyte that a node nobody asks does without.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as problem:
        logger.warning("%s is not served", what, extra={"address": f"{host}:{port}", "reason": _reason(problem)})
        return
    limit = anyio.CapacityLimiter(MAX_CLIENTS)

    async def client(stream: SocketStream) -> None:
        from fledx.agent.exchange import answer

        async with stream, limit:
            with anyio.move_on_after(REQUEST_SECS):
                await answer(stream, pages, asked)

    async with listener:
        await listener.serve(client)


def _reason(problem: OSError) -> str:
    inner = problem.__cause__
    while inner is not None and getattr(inner, "exceptions", None):
        inner = inner.exceptions[0]  # type: ignore[attr-defined]
    return str(inner or problem)
