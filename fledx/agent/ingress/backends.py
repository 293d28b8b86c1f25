"""
Backends behind the tunnel: for each a unix socket that Envoy connects to, for each connection a stream.

While there is no link a connection is held for a while, as its opener could not know better than to try again. When
the other side says that nobody answers there, the socket goes: a connection that is refused may be tried again whatever
was asked, one that was accepted and cut may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from fledx.agent.clock import Clock
from fledx.agent.ingress.shared import Shared
from fledx.errors import FledxError, LimitExceeded, Unavailable
from fledx.models.ingress import AWAY, Backend, Endpoint
from fledx.tunnel.link import Link
from fledx.tunnel.splice import splice
from fledx.tunnel.stream import Stream

logger = logging.getLogger(__name__)

HOLD_SECS = 5.0
MOST_HELD = 512
"""Connections over all backends; more are cut at once."""
AGAIN_SECS = 0.1
ASK_FIRST, ASK_LONGEST = 0.5, 4.0
"""Seconds between two questions whether a backend that refused answers again."""
CHECK_SECS, CHECK_LIMIT = 2.0, 4.0
"""Between two checks of a backend in use, and how long one may take: a node that lost its power says nothing."""
BACKLOG = 512


@dataclass(kw_only=True)
class _Door:
    """
    One socket; ``listening`` None while nobody answers behind it.

    ``connections`` are Envoy's, ``carried`` those of them that have found their way.
    """

    name: str
    meta: Mapping[str, object]
    backend: str
    others: Callable[[], bool]
    carried: set[anyio.CancelScope] = field(default_factory=set)
    connections: int = 0
    asking: anyio.CancelScope | None = None
    listening: socket.socket | None = None
    refused: bool = False


class Backends:
    """
    Keeps the sockets that are wanted.

    `link` gives the link to the control plane if there is one, `changed` hears when a backend begins or ceases to
    answer. Use it within its `run`.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        link: Callable[[], Link | None],
        clock: Clock,
        changed: Callable[[], None],
        checks: tuple[float, float] = (CHECK_SECS, CHECK_LIMIT),
    ) -> None:
        self._shared = shared
        self._link = link
        self._clock = clock
        self._changed = changed
        self._doors: dict[str, _Door] = {}
        self._tasks: TaskGroup | None = None
        self._linked = anyio.Event()
        self._held = 0
        self._every, self._limit = checks

    def refused(self, name: str) -> bool:
        """Whether nobody answers behind a socket."""
        door = self._doors.get(name)
        return door is not None and door.refused

    def busy(self, name: str) -> bool:
        """Whether Envoy has a connection to a socket."""
        return name in self._doors and self._doors[name].connections > 0

    def linked(self) -> None:
        """There is a link again."""
        waiting, self._linked = self._linked, anyio.Event()
        waiting.set()

    async def run(self) -> None:
        """Serve until cancelled; then all sockets are gone."""
        async with anyio.create_task_group() as self._tasks:
            try:
                await self._check()
            finally:
                for name in list(self._doors):
                    self.close(name)
                self._tasks = None

    def open(self, name: str, backend: Backend, endpoint: Endpoint, *, others: Callable[[], bool]) -> None:
        """
        Listen, if it does not yet; Unavailable with the reason when that is not possible.

        `others` says whether Envoy has another endpoint of this backend to go to.
        """
        if name in self._doors or self._tasks is None:
            return
        meta = {
            "deployment_id": backend.deployment_id,
            "replica_number": endpoint.replica_number,
            "port": backend.port,
            "node_id": endpoint.node_id,
        }
        door = _Door(name=name, meta=meta, backend=backend.name, others=others)
        self._listen(door)
        self._doors[name] = door

    def close(self, name: str) -> None:
        """Listen no more; connections that are open stay so."""
        door = self._doors.pop(name, None)
        if door is not None:
            self._unlisten(door)
            if door.asking is not None:
                door.asking.cancel()

    def names(self) -> set[str]:
        """The sockets that are served."""
        return set(self._doors)

    def _listen(self, door: _Door) -> None:
        path = self._shared.socket_path(door.name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            sock.bind(path)
            self._shared.open_to_envoy(path)
            sock.listen(BACKLOG)
        except OSError as problem:
            sock.close()
            raise Unavailable(f"no socket for Envoy at {path}: {problem.strerror}") from None
        door.listening = sock
        self._attend(door)

    def _unlisten(self, door: _Door) -> None:
        """Unlinked first: from then on a connection is refused, and nothing is lost in between."""
        if door.listening is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._shared.socket_path(door.name))
            asyncio.get_running_loop().remove_reader(door.listening)
            door.listening.close()
            door.listening = None

    def _incoming(self, door: _Door) -> None:
        """Take what has come; without a file left for it, look again a little later."""
        while door.listening is not None and self._tasks is not None:
            try:
                sock, _ = door.listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                logger.warning("a connection cannot be taken", extra={"backend": door.name, "reason": str(problem)})
                loop = asyncio.get_running_loop()
                loop.remove_reader(door.listening)
                loop.call_later(AGAIN_SECS, self._attend, door)
                return
            self._tasks.start_soon(self._carry, door, sock)

    def _attend(self, door: _Door) -> None:
        if door.listening is not None:
            asyncio.get_running_loop().add_reader(door.listening, self._incoming, door)

    async def _ask_again(self, door: _Door) -> None:
        """Until a stream is taken: it is given up at once, and the socket is there again."""
        wait = ASK_FIRST
        while door.name in self._doors:
            with anyio.move_on_after(wait):
                await self._linked.wait()
            wait, began = min(ASK_LONGEST, wait * 2), time.monotonic()
            try:
                stream = await self._opened(door)
                stream.reset("it was only asked whether anybody answers", code="cancelled")
                self._listen(door)
            except FledxError:
                self._cut_the_silent(door, began)
                continue
            logger.info("a backend answers again", extra={"backend": door.name})
            door.refused = False
            self._changed()
            return

    async def _ask_within(self, door: _Door) -> None:
        with anyio.CancelScope() as door.asking:
            await self._ask_again(door)

    def _cut_the_silent(self, door: _Door, began: float) -> None:
        """What waits for an answer of a dead node may ask another one, if the whole tunnel is not as silent."""
        link = self._link()
        if time.monotonic() - began >= self._limit and link is not None and link.last_heard() > began:
            for scope in set(door.carried):
                scope.cancel()

    async def _carry(self, door: _Door, sock: socket.socket) -> None:
        """One connection of Envoy's, from its beginning to its end."""
        door.connections += 1
        try:
            await self._carried(door, sock)
        finally:
            door.connections -= 1

    async def _carried(self, door: _Door, sock: socket.socket) -> None:
        try:
            stream = await self._reached(door)
        except FledxError as problem:
            logger.debug("a connection was cut", extra={"backend": door.name, "reason": problem.text})
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        with anyio.CancelScope() as scope:
            door.carried.add(scope)
            try:
                await splice(stream, sock)
            except FledxError as problem:
                logger.debug("a connection broke", extra={"backend": door.name, "reason": problem.text})
            finally:
                door.carried.discard(scope)

    async def _check(self) -> None:
        """
        For ever: see whether backends that are in use still take a connection, as Envoy does with its own.

        All instances of such a one: those that answer show that the tunnel does.
        """
        while True:
            await self._clock.sleep(self._every)
            if self._link() is None:
                continue
            busy = {door.backend for door in self._doors.values() if door.carried}
            async with anyio.create_task_group() as tasks:
                for door in self._doors.values():
                    if door.backend in busy and door.listening is not None:
                        tasks.start_soon(self._check_one, door)

    async def _check_one(self, door: _Door) -> None:
        """
        Take it out if it does not answer and another does.

        What is under way stays as it is at first: a slow line is no dead one. While nothing at all comes from the
        control plane, that is what is slow.
        """
        link, began = self._link(), time.monotonic()
        try:
            stream = await self._opened(door)
            stream.reset("it was only asked whether anybody answers", code="cancelled")
        except FledxError as problem:
            heard = link is not None and link.last_heard() > began
            if not self._may_come(problem) or (door.others() and (problem.code == AWAY or heard)):
                self._give_up(door, problem)

    async def _reached(self, door: _Door) -> Stream:
        """A stream to the backend, waited for as long as it is worth it; raises why there is none."""
        end = self._clock.monotonic() + HOLD_SECS
        while True:
            try:
                return await self._opened(door)
            except FledxError as problem:
                if not self._may_come(problem):
                    self._give_up(door, problem)
                    raise
                if problem.code == AWAY and door.others():
                    self._give_up(door, problem)
                    raise
                if self._clock.monotonic() >= end or self._held >= MOST_HELD:
                    raise
            await self._held_for(min(AGAIN_SECS if self._link() else HOLD_SECS, end - self._clock.monotonic()))

    async def _held_for(self, seconds: float) -> None:
        self._held += 1
        try:
            with anyio.move_on_after(max(0.0, seconds)):
                await self._linked.wait()
        finally:
            self._held -= 1

    async def _opened(self, door: _Door) -> Stream:
        link = self._link()
        if link is None:
            raise _away("there is no link to the control plane")
        try:
            with anyio.fail_after(self._limit):
                return await link.open("backend", door.meta)
        except TimeoutError:
            raise _away(f"nobody took the stream within {self._limit:g} s") from None
        except Unavailable as problem:
            if link.reason is not None:
                raise _away(problem.text) from None
            raise

    def _may_come(self, problem: FledxError) -> bool:
        """Whether waiting may help: the other side did not say that nobody answers."""
        return isinstance(problem, LimitExceeded) or problem.code in (AWAY, LOST)

    def _give_up(self, door: _Door, problem: FledxError) -> None:
        """Nobody answers: Envoy is refused from now on, and told to go elsewhere."""
        if door.listening is None or door.name not in self._doors:
            return
        logger.info("a backend does not answer", extra={"backend": door.name, "reason": problem.text})
        door.refused = True
        self._unlisten(door)
        if self._tasks is not None:
            self._tasks.start_soon(self._ask_within, door)
        self._changed()


LOST = "lost"


def _away(reason: str) -> Unavailable:
    """The link is gone, which says nothing about the backend."""
    problem = Unavailable(reason)
    problem.code = LOST
    return problem
