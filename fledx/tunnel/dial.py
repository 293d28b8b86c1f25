"""Opening a link: connect, TLS, hello, and the welcome or the reason why not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from anyio.abc import TaskGroup

from fledx.errors import Denied, FledxError, Unavailable
from fledx.tunnel.buffers import Buffers
from fledx.tunnel.connect import connect, peer_name, within
from fledx.tunnel.events import Answered, AuthorityTold, Event
from fledx.tunnel.frames import error_for
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link, OnMessage, OnStream
from fledx.tunnel.session import Session
from fledx.tunnel.tls import Clear, Tls
from fledx.tunnel.wire import Wire

CONNECT_SECS = 30.0
"""Long enough for thousands of agents that come back at once: a full accept queue is not a dead control plane."""


async def dial(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    hello: Hello,
    tasks: TaskGroup,
    on_stream: OnStream,
    on_message: OnMessage,
    connect_timeout: float = CONNECT_SECS,
) -> Link:
    """
    Open a link and return it once the peer has welcomed us; a task in `tasks` then keeps it alive.

    Without `tls` everything travels in the clear. Raises Denied when the peer refuses the hello or shows a certificate
    that is not to be trusted (``code`` says which), Unavailable when it cannot be reached or is no tunnel.
    """

    def attend(link: Link) -> None:
        link.attend(tasks, on_stream=on_stream, on_message=on_message)

    peer = peer_name(host, port)
    with within(connect_timeout, peer):
        sock = await connect(host, port, connect_timeout)
        caller = Caller(sock, Tls(tls, server=False, host=host) if tls else Clear(), peer, attend)
        caller.session.greet(hello)
        await caller.call()
    if caller.link is None:
        raise Unavailable(f"{peer} did not welcome us", hint="is this its tunnel port?")
    tasks.start_soon(caller.link.keep_alive)
    return caller.link


class Caller:
    """
    The dialler until it is answered; then `link` or `authority` is set (`Owner`).

    The link is made the moment the welcome is read, for streams may follow it in the same breath.
    """

    def __init__(self, sock: socket.socket, codec: Tls | Clear, peer: str, attend: Callable[[Link], None]) -> None:
        loop = asyncio.get_running_loop()
        self.link: Link | None = None
        self.authority: str | None = None
        self.session = Session(dialler=True, now=loop.time())
        self._wire = Wire(sock, codec, self.session, self, Buffers(), peer)
        self._attend = attend
        self._answered: asyncio.Future[None] = loop.create_future()

    async def call(self) -> None:
        """Send what the session has to say and wait for the answer; raises what became of it."""
        try:
            self._wire.start()
            await self._answered
        except BaseException:
            self._wire.drop(None)
            raise

    def happened(self, events: list[Event]) -> None:
        """The answer, and perhaps the first frames of the link."""
        match events[0]:
            case AuthorityTold(certificates):
                self.authority = certificates
                self._wire.drop(None)
            case Answered(Refused(code=code, reason=reason)):
                self._settle(error_for(code, reason, Denied))
            case Answered(Welcome() as welcome):
                self.link = Link(self._wire, welcome, self._wire.peer, None)
                self._attend(self.link)
                self.link.happened(events[1:])
                self._settle(None)

    def lost(self, error: FledxError | None) -> None:
        """The socket is closed without a welcome."""
        closed = self.session.closed
        if error is None and self.authority is None and closed is not None:
            error = Unavailable(f"{self._wire.peer} ended the session: {closed.reason}")
        self._settle(error)

    def _settle(self, error: FledxError | None) -> None:
        if self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)
