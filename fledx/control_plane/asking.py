"""Asks agents for what they would tell only later, for somebody who looks now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable

import anyio

from fledx.control_plane.bell import Bell
from fledx.control_plane.dispatch import Dispatch
from fledx.errors import FledxError

FRESH_SECONDS = 10.0
"""What was told so lately is not asked for again: a screen that is redrawn each second must not cost a metered node."""

ANSWER_SECONDS = 1.0
MOST_ASKED = 200


class UsageAsking:
    """Agents tell what their replicas used every ten minutes, or at once when they are asked."""

    def __init__(self, dispatch: Dispatch, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._dispatch = dispatch
        self._monotonic = monotonic
        self._bell = Bell()
        self._asked: dict[str, float] = {}
        self._waiting: set[str] = set()

    def told(self, node_id: str) -> None:
        """A node has told what it used, and it is stored."""
        self._asked[node_id] = self._monotonic()
        self._waiting.discard(node_id)
        self._bell.ring([node_id])

    async def ask(self, node_ids: Iterable[str]) -> None:
        """Return once these nodes have told, or after a second: one that is slow is shown as far as it is known."""
        wanted = sorted(node_ids)[:MOST_ASKED]
        stale = self._monotonic() - FRESH_SECONDS
        with self._bell.listen(*wanted) as ear, anyio.move_on_after(ANSWER_SECONDS):
            for node_id in wanted:
                if self._asked.get(node_id, stale) <= stale:
                    self._send(node_id)
            while self._waiting.intersection(wanted):
                await ear.wait()
        self._waiting.difference_update(wanted)

    def _send(self, node_id: str) -> None:
        session = self._dispatch.session(node_id)
        if session is None:
            return
        with contextlib.suppress(FledxError):
            session.link.send({"type": "usage"})
            self._asked[node_id] = self._monotonic()
            self._waiting.add(node_id)
