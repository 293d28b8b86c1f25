"""The newest desired state this node was given, on disk so that everything runs with the link cut."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import anyio

from fledx import tracing
from fledx.agent.clock import Clock
from fledx.agent.files import set_aside, write_private
from fledx.agent.vault import Vault
from fledx.agent.wishes import Wishes
from fledx.errors import FledxError, InvalidSpec, Unavailable
from fledx.models.desired import NodeDesiredState
from fledx.tunnel.stream import Stream

logger = logging.getLogger(__name__)

LIMIT = 64 * 1024 * 1024


class DesiredState:
    """
    Keeps the state with the highest revision; `state` is None until a control plane has spoken.

    `changed` is called as soon as there is a newer one; `vault` knows how its secrets are kept.
    """

    def __init__(self, path: Path, node_id: str, clock: Clock, changed: Callable[[], None], vault: Vault) -> None:
        self._path = path
        self._node_id = node_id
        self._clock = clock
        self._changed = changed
        self._vault = vault
        self.state: NodeDesiredState | None = None
        self.wishes = Wishes()
        self._stored: NodeDesiredState | None = None
        self._writing = anyio.Lock()

    def load(self) -> str | None:
        """Take up what was stored; a file that cannot be read is set aside, which is returned in words."""
        try:
            self.state = self._stored = self._decoded(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, FledxError) as problem:
            return self._set_aside(problem)
        return None

    def _set_aside(self, problem: Exception) -> str:
        try:
            aside = set_aside(self._path, self._clock.stamp())
        except OSError as why:
            aside, problem = self._path, why
        text = f"the stored desired state cannot be read ({problem}) and lies in {aside.name} now"
        logger.error("%s; containers keep running until the control plane sends it again", text)
        return f"{text}; containers keep running until the control plane sends it again"

    async def receive(self, stream: Stream) -> None:
        """Take a state from a `desired` stream: read it all, work on it, store it, and half-close to say so."""
        body = bytearray()
        while data := await stream.receive():
            body += data
            if len(body) > LIMIT:
                raise InvalidSpec("", f"the desired state is longer than {LIMIT} bytes")
        self.take(bytes(body))
        await self.store()
        await stream.send_eof()

    def take(self, body: bytes) -> bool:
        """Take over a state if it is newer than the one here; whether it was. InvalidSpec for one that is not ours."""
        state = self._decoded(body)
        if self.state is not None and state.revision <= self.state.revision:
            return False
        before, self.state = self.state, self._vault.admit(state, self.state)
        self.wishes.changed(before, self.state, tracing.current())
        logger.info("desired state taken", extra={"revision": state.revision})
        self._changed()
        return True

    async def store(self) -> None:
        """
        Put the state on disk unless it is there.

        In a thread, while the node works on it already: a sync takes as long as a container's start on some cards. A
        disk that takes nothing is no reason not to run what is wanted; the control plane hears of it by the error.
        """
        async with self._writing:
            state = self.state
            if state is None or state is self._stored:
                return
            packed = self._vault.packed(state)
            try:
                await anyio.to_thread.run_sync(write_private, self._path, packed)
            except OSError as problem:
                raise Unavailable(f"the desired state cannot be stored in {self._path}: {problem.strerror}") from None
            self._stored = state

    def _decoded(self, body: bytes) -> NodeDesiredState:
        try:
            state = self._vault.unpacked(json.loads(body))
        except ValueError as problem:
            raise InvalidSpec("", f"the desired state is not JSON: {problem}") from None
        if state.node_id != self._node_id:
            raise InvalidSpec("node_id", f"the desired state is for node {state.node_id}, this is {self._node_id}")
        return state
