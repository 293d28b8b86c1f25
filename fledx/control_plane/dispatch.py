"""Live sessions with agents: desired states go down, what agents tell comes up."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anyio

from fledx import __version__, tracing
from fledx.control_plane.bell import Bell
from fledx.control_plane.desired import desired_state
from fledx.control_plane.store import nodes
from fledx.control_plane.store.database import Database
from fledx.errors import FledxError, Unavailable
from fledx.models.codec import encode
from fledx.models.desired import NodeDesiredState
from fledx.sealing import Seal
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream

log = logging.getLogger(__name__)
PUSH_LIMIT_SECONDS = 120.0
GATHER_SECONDS = 0.02
MAX_STATE_BYTES = 64 * 1024 * 1024  # what an agent takes; secrets and config files are the only large parts


class Session:
    """One connected agent."""

    def __init__(self, node_id: str, name: str, link: Link) -> None:
        self.node_id = node_id
        self.name = name
        self.link = link
        self.pushed = 0
        self.asked_by: str | None = None
        self.disputed: tuple[str, float] | None = None


class Dispatch:
    """Which nodes are connected now, and the one way to talk to them."""

    def __init__(self, store: Database, seal: Seal, *, pushed: Callable[[float], None] = lambda seconds: None) -> None:
        self._pushed = pushed
        self._store = store
        self._seal = seal
        self._bell = Bell()
        self._sessions: dict[str, Session] = {}

    def changed(self, node_ids: set[str]) -> None:
        """The desired state of these nodes has changed: those that are connected get it at once."""
        if (request_id := tracing.current()) is not None:
            for node_id in node_ids & self._sessions.keys():
                self._sessions[node_id].asked_by = request_id
        self._bell.ring(node_ids)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def session(self, node_id: str) -> Session | None:
        """The node's session, if it is connected."""
        return self._sessions.get(node_id)

    def enter(self, session: Session) -> None:
        """A node has connected; an older session of it is closed, as a machine has only one agent."""
        older = self._sessions.get(session.node_id)
        self._sessions[session.node_id] = session
        if older is not None:
            older.link.close("replaced by a newer session of the same node")

    def leave(self, session: Session) -> bool:
        """A session has ended; whether the node is disconnected now (a newer session may have replaced it)."""
        if self._sessions.get(session.node_id) is not session:
            return False
        del self._sessions[session.node_id]
        return True

    async def push(self, session: Session) -> None:
        """Send the node's desired state now and whenever it changes, for as long as the session lives."""
        with self._bell.listen(session.node_id) as ear:
            while True:
                state = await self._state(session.node_id)
                if state is not None and state.revision > session.pushed:
                    asked_by, session.asked_by = session.asked_by, None
                    with tracing.working_for(asked_by):
                        await self._send(session, state)
                await ear.wait()

    async def _state(self, node_id: str) -> NodeDesiredState | None:
        """A gateway's is large, and changes with everything it serves: on a thread, and not more often than needed."""

        def look(sql: sqlite3.Connection) -> NodeDesiredState | None:
            return desired_state(sql, node_id, self._seal)

        if not self._store.read(lambda sql: nodes.is_gateway(sql, node_id)):
            return self._store.read(look)
        await anyio.sleep(GATHER_SECONDS)
        return await self._store.read_far(look)

    async def _send(self, session: Session, state: NodeDesiredState) -> None:
        body = json.dumps(encode(state), separators=(",", ":")).encode()
        if len(body) > MAX_STATE_BYTES:  # the agent would hang up, dial, and be sent it again
            log.error("desired state too large to be sent", extra={"node": session.name, "bytes": len(body)})
            session.pushed = state.revision
            return
        began = time.monotonic()
        try:
            with anyio.fail_after(PUSH_LIMIT_SECONDS):
                stream = await session.link.open("desired", tracing.noted({"revision": state.revision}))
                await stream.send_all(body)
                await stream.send_eof()
                await stream.receive()
        except TimeoutError:
            session.link.close("the node did not take its desired state in time")
            return
        except FledxError as problem:
            reason = _not_taken(session.link.peer.version, problem)
            log.warning("desired state not taken", extra={"node": session.name, "reason": reason})
            session.link.close(reason)
            return
        session.pushed = state.revision
        self._pushed(time.monotonic() - began)
        log.debug("desired state taken", extra={"node": session.name, "revision": state.revision})

    async def open(self, node_id: str, kind: str, meta: Mapping[str, Any]) -> Stream:
        """Open a stream to a node; Unavailable when it is not connected."""
        session = self._sessions.get(node_id)
        if session is None:
            raise Unavailable("the node is not connected")
        return await session.link.open(kind, tracing.noted(meta))


def _not_taken(version: str, problem: FledxError) -> str:
    """In words for both sides; where they are of two versions, that is the likely cause."""
    apart = f" (it runs fledx {version}, this control plane {__version__})" if version != __version__ else ""
    return f"the node did not take its desired state{apart}: {problem}"
