"""`fledx forward`: connections to ports of this machine go on inside a replica, over one session."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from fledx.cli import naming
from fledx.cli.entering import lead_in, replica_ref
from fledx.cli.target import connect, resolve
from fledx.cli.terminal import Terminal
from fledx.cli.views.text import harmless
from fledx.client.operator_session import WayIn, dial_in, opened
from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, Unavailable
from fledx.models.codec import encode
from fledx.models.forward import Forwarding, ReplicaRef
from fledx.tunnel.connect import peer_name
from fledx.tunnel.link import Link
from fledx.tunnel.splice import RESET_ON_CLOSE, splice
from fledx.tunnel.stream import Stream

BACKLOG = 128
PATIENCE_SECS = 5.0
"""How long a new connection waits for a control plane that is away."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
REST_SECS = 0.1
SAME_SECS = 10.0


def run(args: Namespace, terminal: Terminal) -> int:
    """Until Ctrl-C, which is 130."""
    target = resolve(args, terminal.environ)
    wanted = replica_ref(args.ref, args.replica)
    forwardings = [Forwarding.parse(text) for text in args.ports]
    with contextlib.closing(connect(args, terminal)) as api:
        naming.deployment(api, wanted.deployment)
        way = lead_in(api, target, terminal)
    with contextlib.ExitStack() as sockets:
        doors = [sockets.enter_context(Door.opened(each)) for each in forwardings]
        forwarder = Forwarder(way, wanted, doors, terminal, timeout=target.timeout)
        if args.quiet or args.output == "name":
            forwarder.print_addresses = True
        return anyio.run(forwarder.run)


@dataclass(kw_only=True)
class Door:
    """A port that is listened on here; `serves` is what the last connection was told of its replica."""

    sock: socket.socket
    remote: int
    serves: tuple[Any, Any] | None = None

    @classmethod
    def opened(cls, wanted: Forwarding) -> Door:
        """Listen; Conflict, Denied or InvalidSpec say why that cannot be done."""
        where = peer_name(wanted.host, wanted.local)
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                wanted.host, wanted.local, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except (OSError, UnicodeError):
            raise InvalidSpec("", f"{wanted.host!r} is not an address of this machine") from None
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as problem:
            sock.close()
            raise _cannot_listen(where, problem) from None
        return cls(sock=sock, remote=wanted.remote)

    @property
    def address(self) -> str:
        """Where it is, with the port that was chosen."""
        host, port = self.sock.getsockname()[:2]
        return peer_name(str(host), int(port))

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *exception: object) -> None:
        self.sock.close()


def _cannot_listen(where: str, problem: OSError) -> FledxError:
    if problem.errno == errno.EADDRINUSE:
        return Conflict(
            f"{where} is in use by another process", hint="choose another local port, or 0 for any free one"
        )
    if problem.errno in (errno.EACCES, errno.EPERM):
        return Denied(f"this user may not listen on {where}", hint="ports below 1024 need root", known=True)
    return InvalidSpec("", f"{where} cannot be listened on: {problem.strerror}")


@dataclass
class Said:
    """What was said last: the same thing again is not news for some seconds."""

    text: str = ""
    at: float = field(default=-SAME_SECS)

    def is_news(self, text: str) -> bool:
        """Whether to say it."""
        now = time.monotonic()
        fresh = text != self.text or now - self.at >= SAME_SECS
        if fresh:
            self.text, self.at = text, now
        return fresh


class Forwarder:
    """Keeps one session, dials it again when it is lost, and carries every connection over it."""

    def __init__(
        self, way: WayIn, wanted: ReplicaRef, doors: Sequence[Door], terminal: Terminal, *, timeout: float
    ) -> None:
        self.print_addresses = False
        self._way = way
        self._wanted = wanted
        self._doors = doors
        self._terminal = terminal
        self._timeout = timeout
        self._link: Link | None = None
        self._news = anyio.Event()
        self._said = Said()
        self._code = 0
        self._problem: FledxError | None = None

    async def run(self) -> int:
        """Until a signal, or until the token lets nobody in any more; what keeps it from beginning is raised."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_on_signal, tasks)
            try:
                await self._serve(tasks)
            except FledxError as problem:
                self._problem = problem
            tasks.cancel_scope.cancel()
        if self._problem is not None:
            raise self._problem
        return self._code

    async def _end_on_signal(self, tasks: TaskGroup) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                self._code = 128 + number
                tasks.cancel_scope.cancel()
                return

    async def _serve(self, tasks: TaskGroup) -> None:
        link = await dial_in(self._way, tasks, timeout=self._timeout)
        for door in self._doors:
            stream = await opened(link, "forward", {**self._meta(door), "look": True})
            self._announce(door, stream)
        self._set(link)
        for door in self._doors:
            tasks.start_soon(self._accept, door, tasks)
        while True:
            reason = await link.closed()
            self._set(None)
            self._say(f"the session is over ({reason}); dialling again")
            link = await self._again(tasks)
            self._set(link)
            self._say("connected again")

    async def _again(self, tasks: TaskGroup) -> Link:
        """Dial until it works; a token that lets nobody in any more is the end."""
        tries = 0
        while True:
            try:
                return await dial_in(self._way, tasks, timeout=self._timeout)
            except Unavailable as problem:
                if tries == len(PAUSES):
                    self._say(f"still no session: {problem.text}")
            await anyio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    def _set(self, link: Link | None) -> None:
        self._link = link
        news, self._news = self._news, anyio.Event()
        news.set()

    def _announce(self, door: Door, stream: Stream) -> None:
        if self.print_addresses:
            self._terminal.data(door.address)
        self._terminal.say(f"{door.address} leads to port {door.remote} of {self._named(stream)}")
        door.serves = self._served_by(stream)

    def _named(self, stream: Stream) -> str:
        told = stream.answer
        return harmless(f"{told.get('deployment')}, replica {told.get('replica')} on {told.get('node')}")

    @staticmethod
    def _served_by(stream: Stream) -> tuple[Any, Any]:
        return stream.answer.get("replica"), stream.answer.get("node")

    async def _accept(self, door: Door, tasks: TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(door.sock)
            except OSError as problem:
                self._say(f"no connection can be taken: {problem.strerror}")
                await anyio.sleep(REST_SECS)
                continue
            tasks.start_soon(self._carry, door, sock)

    async def _carry(self, door: Door, sock: socket.socket) -> None:
        """One connection; one that leads nowhere is reset, so that nobody takes it for an empty answer."""
        try:
            stream = await self._opened(door)
        except FledxError as problem:
            self._say(f"a connection to port {door.remote} was given up: {problem.text}")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        if self._served_by(stream) != door.serves:
            door.serves = self._served_by(stream)
            self._say(f"{door.address} leads to {self._named(stream)} now")
        try:
            await splice(stream, sock)
        except FledxError as problem:
            if self._link is not None and self._link.reason is None:
                self._say(f"a connection to port {door.remote} broke: {problem.text}")

    async def _opened(self, door: Door) -> Stream:
        """A stream into the replica; while there is no session, or it is lost meanwhile, waits for the next one."""
        problem: FledxError | None = None
        with anyio.move_on_after(PATIENCE_SECS):
            while True:
                link = self._link
                if link is None or link.reason is not None:
                    await self._news.wait()
                    continue
                try:
                    return await opened(link, "forward", self._meta(door))
                except Unavailable as caught:
                    problem = caught
                    if link.reason is None:
                        raise
        raise problem or Unavailable(f"there was no session for {PATIENCE_SECS:g} s")

    def _meta(self, door: Door) -> dict[str, Any]:
        return {**encode(self._wanted), "port": door.remote}

    def _say(self, text: str) -> None:
        if self._said.is_news(text):
            self._terminal.say(harmless(text))
