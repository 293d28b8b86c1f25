"""A listener and a dialler with real sockets and real TLS on loopback."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import trustme
from anyio.abc import TaskGroup

from fledx.errors import FledxError
from fledx.tunnel.dial import dial
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.listen import Listener
from fledx.tunnel.stream import Stream
from fledx.tunnel.tls import client_context, fingerprint, server_context
from tests.waiting import until

TOKEN = "a-secret-token"
HELLO = Hello(role="agent", token=TOKEN, node_id="n1", version="1.0.0")
LIMIT_SECS = 60.0

Serve = Callable[[Stream], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """A CA with a certificate for localhost, as a control plane has them."""

    pem: str
    certificate: str
    key: str

    @classmethod
    def make(cls, folder: Path, *names: str) -> Trust:
        """New ones, written to `folder`."""
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        issued = authority.issue_cert(*(names or ("localhost", "127.0.0.1")), key_type=trustme.KeyType.ECDSA)
        folder.mkdir(exist_ok=True)
        issued.private_key_pem.write_to_path(str(folder / "key.pem"))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(folder / "cert.pem"), append=True)
        return cls(
            pem=authority.cert_pem.bytes().decode(), certificate=str(folder / "cert.pem"), key=str(folder / "key.pem")
        )

    @property
    def pin(self) -> str:
        """The CA's fingerprint."""
        return fingerprint(ssl.PEM_cert_to_DER_cert(self.pem))

    def server(self) -> ssl.SSLContext:
        """What the listener needs."""
        return server_context(self.certificate, self.key)

    def client(self) -> ssl.SSLContext:
        """What a dialler that pins this CA needs."""
        return client_context(self.pem)


async def echo(stream: Stream) -> None:
    """Send back what comes, until it ends."""
    while data := await stream.receive():
        await stream.send_all(data)
    await stream.send_eof()


@dataclass(kw_only=True)
class Door:
    """A running listener; each link served with `serve`, messages kept."""

    trust: Trust | None
    serve: Serve = echo
    port: int = 0
    listener: Listener = field(init=False)
    links: list[Link] = field(default_factory=list)
    messages: list[Mapping[str, Any]] = field(default_factory=list)
    welcome: Welcome = field(default_factory=lambda: Welcome(session="s1", heartbeat_secs=0.1))

    def open(self, **options: Any) -> None:
        """Listen; `options` go to the listener."""
        tls = self.trust.server() if self.trust else None
        pem = self.trust.pem if self.trust else ""
        settings = {"authenticate": self.judge, "on_link": self.host, "tls": tls, "authority": pem}
        self.listener = Listener(**{**settings, **options})
        self.port = self.listener.bind("127.0.0.1", 0)

    async def judge(self, hello: Hello, address: str) -> Welcome | Refused:
        """Only `TOKEN` is welcome."""
        if hello.token != TOKEN:
            return Refused(code="denied", reason="the token is not known here")
        return self.welcome

    async def host(self, link: Link) -> None:
        """Serve one link until it is over."""
        link.attend(on_stream=self.serve, on_message=self.messages.append)
        self.links.append(link)
        await link.closed()

    async def link(self) -> Link:
        """The latest link, once there is one."""
        await until(lambda: bool(self.links))
        return self.links[-1]


@asynccontextmanager
async def open_door(trust: Trust | None, serve: Serve = echo, **options: Any) -> AsyncIterator[Door]:
    """A listener that runs while the block does."""
    door = Door(trust=trust, serve=serve)
    door.open(**options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(door.listener.serve)
        yield door
        tasks.cancel_scope.cancel()


async def call(
    door: Door,
    tasks: TaskGroup,
    *,
    serve: Serve = echo,
    hello: Hello = HELLO,
    on_message: Callable[[Mapping[str, Any]], None] = lambda message: None,
    port: int | None = None,
) -> Link:
    """Dial the door."""
    return await dial(
        "localhost",
        port or door.port,
        tls=door.trust.client() if door.trust else None,
        hello=hello,
        tasks=tasks,
        on_stream=serve,
        on_message=on_message,
    )


@asynccontextmanager
async def tunnel(
    trust: Trust | None, *, agent: Serve = echo, control_plane: Serve = echo, **options: Any
) -> AsyncIterator[tuple[Link, Link]]:
    """Both ends of one link: the agent's, which dialled, and the control plane's."""
    async with open_door(trust, control_plane, **options) as door, anyio.create_task_group() as tasks:
        dialled = await call(door, tasks, serve=agent)
        yield dialled, await door.link()
        tasks.cancel_scope.cancel()


async def read_all(stream: Stream) -> bytes:
    """Everything until the peer's end."""
    got = bytearray()
    while data := await stream.receive():
        got += data
    return bytes(got)


async def failure_of(awaitable: Awaitable[object]) -> FledxError:
    """The error that comes, within a limit; anything else is a failure of the test."""
    with anyio.fail_after(LIMIT_SECS):
        try:
            result = await awaitable
        except FledxError as problem:
            return problem
    raise AssertionError(f"{result!r} came in place of an error")


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection on loopback, as an application and we would have them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    return ours, theirs
