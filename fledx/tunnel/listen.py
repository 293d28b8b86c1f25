"""Accepting links: strangers are few at a time, quick or gone, and cost the others nothing."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, Unavailable
from fledx.tunnel.buffers import Buffers
from fledx.tunnel.connect import peer_name
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.stranger import Stranger

logger = logging.getLogger(__name__)

BACKLOG = 4096
ACCEPTS = 8
"""
Connections accepted, and hellos judged, in one turn of the loop: a handshake costs 0.25 ms and a hello 0.4 ms, so that
whatever else runs on it waits a few milliseconds, however many agents come at once.
"""

MOST_STRANGERS = 1024
"""Connections that have not said who they are; 40 MiB at most."""

SILENT_SECS, SLOW_SECS = 3.0, 20.0
"""When there are too many strangers, one that said nothing for so long makes room, or one that is at it for so long."""

GREETING_SECS = 30.0
"""A line that loses 30 % and needs 2 s for a round trip takes up to 20 s for handshake and hello."""

SILENCE_SECS = 90.0
REST_SECS = 0.1
NOTES, NOTE_SECS = 10, 10.0
"""At most so many lines about strangers in so many seconds."""

Authenticate = Callable[[Hello, str], Awaitable[Welcome | Refused]]
OnLink = Callable[[Link], Awaitable[None]]


class Listener:
    """
    Listens, lets `authenticate` judge every hello, and runs `on_link` for each one welcomed, as long as it lives.

    ``tls`` and ``authority`` (PEM of the CA certificates) may be replaced at any time: who connects next gets the new
    ones. Without ``tls`` everything travels in the clear.
    """

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        on_link: OnLink,
        tls: ssl.SSLContext | None,
        authority: str = "",
        greeting_secs: float = GREETING_SECS,
        silence_secs: float = SILENCE_SECS,
        most_strangers: int = MOST_STRANGERS,
    ) -> None:
        self.tls = tls
        self.authority = authority
        self.links: set[Link] = set()
        self.greeting_secs = greeting_secs
        self.silence_secs = silence_secs
        self.buffers = Buffers()
        self._authenticate = authenticate
        self._on_link = on_link
        self._most_strangers = most_strangers
        self._strangers: dict[Stranger, None] = {}
        self._greeted: deque[tuple[Stranger, Hello]] = deque()
        self._sockets: list[socket.socket] = []
        self._tasks: TaskGroup | None = None
        self._notes = Notes()

    @property
    def strangers(self) -> int:
        """How many have been accepted and have yet to say who they are, or to hear whether they are welcome."""
        return len(self._strangers)

    def bind(self, host: str, port: int) -> int:
        """
        Listen on every address of `host`; returns the port, which is chosen when `port` is 0.

        ``0.0.0.0`` and ``::`` are the wildcards, the latter for both families. Raises Conflict when the port is taken,
        Denied when it is not ours to take, InvalidSpec when `host` is not of this machine.
        """
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in addresses:
                sock = _listening(family, (str(address[0]), port))
                port = port or sock.getsockname()[1]
                self._sockets.append(sock)
        except OSError as problem:
            raise _cannot_listen(peer_name(host, port), problem) from None
        return port

    async def serve(self) -> None:
        """Accept until cancelled; every link is then told goodbye."""
        loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._watch()
            try:
                while True:
                    await anyio.sleep(self.silence_secs / 10)
                    self._close_silent(loop.time())
            finally:
                self._stop(loop)

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ignore()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._greeted.clear()
        for stranger in list(self._strangers):
            stranger.wire.drop(None)

    def _close_silent(self, now: float) -> None:
        for link in list(self.links):
            if now - link.last_heard() > self.silence_secs:
                link.close(f"nothing was heard for {self.silence_secs:g} s", code="silent")

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.add_reader(sock, self._accept, sock)

    def _ignore(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)

    def _rest(self) -> None:
        """Accept nothing for a moment: the kernel's queue holds those who come meanwhile."""
        self._ignore()
        asyncio.get_running_loop().call_later(REST_SECS, self._watch)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            if len(self._strangers) >= self._most_strangers and not self._made_room():
                self._rest()
                return
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                self._notes.note("all", f"nobody can be let in: {problem.strerror}")
                self._rest()
                return
            stranger = Stranger(self, sock, _address(address))
            self._strangers[stranger] = None
            stranger.wire.start()

    def _made_room(self) -> bool:
        """Turn away the stranger that has used up its patience first; False when all of them only just came."""
        now = asyncio.get_running_loop().time()
        for stranger in self._strangers:
            age = now - stranger.since
            if age < SILENT_SECS:
                break
            if not stranger.wire.bytes_in or age > SLOW_SECS:
                stranger.turn_away("it has not said who it is, and others wait to come in")
                self._strangers.pop(stranger, None)
                return True
        return False

    def greeted(self, stranger: Stranger, hello: Hello) -> None:
        """Have a hello judged, when it is its turn (`Door`)."""
        self._greeted.append((stranger, hello))
        if len(self._greeted) == 1:
            asyncio.get_running_loop().call_soon(self._meet_some)

    def _meet_some(self) -> None:
        """Each in a task of its own, which then is the link's."""
        assert self._tasks is not None
        for _ in range(min(ACCEPTS, len(self._greeted))):
            self._tasks.start_soon(self._meet, *self._greeted.popleft())
        if self._greeted:
            asyncio.get_running_loop().call_soon(self._meet_some)

    def gone(self, stranger: Stranger, reason: str) -> None:
        """Note why a stranger went (`Door`)."""
        self._strangers.pop(stranger, None)
        if reason:
            self._notes.note(stranger.address, reason)

    async def _meet(self, stranger: Stranger, hello: Hello) -> None:
        answer = await self._judge(hello, stranger.address)
        self._strangers.pop(stranger, None)
        if stranger.wire.closed or stranger.session.closed:
            return
        stranger.session.answer(answer)
        if isinstance(answer, Refused):
            stranger.wire.start()
            return
        link = Link(stranger.wire, hello, stranger.address, self._tasks)
        stranger.wire.pump()
        del stranger, hello, answer
        self.links.add(link)
        try:
            await self._host(link)
        finally:
            self.links.discard(link)

    async def _judge(self, hello: Hello, address: str) -> Welcome | Refused:
        try:
            with anyio.fail_after(self.greeting_secs):
                return await self._authenticate(hello, address)
        except TimeoutError:
            return Refused(code=Unavailable.code, reason="the control plane is too busy to check the hello; try again")
        except FledxError as problem:
            return Refused(code=problem.code, reason=problem.text)
        except Exception:
            logger.exception("a hello could not be checked", extra={"peer": address})
            return Refused(code=Unavailable.code, reason="the control plane could not check the hello")

    async def _host(self, link: Link) -> None:
        """Run the role's side of a link; when that ends, for whatever reason, so does the link."""
        reason = "the control plane is shutting down"
        try:
            await self._on_link(link)
            reason = "the control plane has ended the session"
        except FledxError as problem:
            reason = problem.text
        except Exception:
            logger.exception("serving a link failed", extra={"peer": link.address})
            reason = "serving the link failed at the control plane"
        finally:
            link.close(reason)
            with anyio.CancelScope(shield=True):
                await link.closed()


class Notes:
    """Lines about strangers, so few that a port scan cannot fill the log."""

    __slots__ = ("_count", "_since", "_unsaid")

    def __init__(self) -> None:
        self._since = 0.0
        self._count = 0
        self._unsaid = 0

    def note(self, address: str, reason: str) -> None:
        """Write one line, or count it for the next."""
        now = asyncio.get_running_loop().time()
        if now - self._since > NOTE_SECS:
            self._since, self._count = now, 0
        self._count += 1
        if self._count > NOTES:
            self._unsaid += 1
            return
        facts = {"peer": address, "reason": reason, "unsaid": self._unsaid}
        self._unsaid = 0
        logger.warning("tunnel: %s was turned away: %s", address, reason, extra=facts)


def _listening(family: int, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _cannot_listen(where: str, problem: OSError) -> FledxError:
    if problem.errno == errno.EADDRINUSE:
        return Conflict(f"{where} is in use by another process", hint="choose another port for the tunnel")
    if problem.errno in (errno.EACCES, errno.EPERM):
        return Denied(f"this user may not listen on {where}", hint="ports below 1024 need root", known=True)
    return InvalidSpec("", f"{where} is not an address of this machine: {problem.strerror}")


def _address(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    return peer_name(address[0].removeprefix("::ffff:"), address[1])
