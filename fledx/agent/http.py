"""The agent's own small HTTP endpoint, on loopback by default."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anyio
from anyio.abc import SocketStream

from fledx.agent.answers import Asked, Page

logger = logging.getLogger(__name__)

REQUEST_SECS = 10.0
AGAIN_SECS = 0.5
MAX_CLIENTS = 32


NONE: Mapping[str, Asked] = {}


async def serve(
    host: str, port: int, pages: Mapping[str, Page], what: str, *, asked: Mapping[str, Asked] = NONE
) -> None:
    """
    Answer GET and HEAD for these paths until cancelled.

    A port that is taken is no reason for a node to stop working: it is warned of, and nothing is served. What HTTP
    needs is loaded with the first request: a third of a megabyte that a node nobody asks does without.
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
        while True:
            try:
                await listener.serve(client)
            except Exception as problem:  # no file is left for another connection: the node has more important ones
                logger.warning("%s is held up", what, extra={"reason": _reason(problem)})
                await anyio.sleep(AGAIN_SECS)


def _reason(problem: Exception) -> str:
    inner: BaseException | None = problem.__cause__ or problem
    while inner is not None and getattr(inner, "exceptions", None):
        inner = inner.exceptions[0]  # type: ignore[attr-defined]
    return str(inner or problem)
