"""The API on its ports: sockets, TLS and the server that speaks HTTP on them."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import anyio
from hypercorn.asyncio import serve as serve_http
from hypercorn.config import Config, Sockets

from fledx.control_plane.doorway import BACKLOG, Handed, beside, listen, sort
from fledx.errors import Conflict
from fledx.settings.control_plane import LOOPBACK

STOP_SECONDS = 3.0
App = Callable[..., Awaitable[None]]  # ASGI


def listening(host: str, port: int, what: str, flag: str) -> socket.socket:
    """A listening socket; Conflict that says who wants it and what to do when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        listen(opened)
    except OSError as problem:
        opened.close()
        raise Conflict(
            f"the {what} cannot listen on {host}:{port}: {problem.strerror or problem}",
            hint=f"stop what uses the port (`ss -ltnp sport = :{port}` shows it), or choose another with {flag}",
        ) from None
    return opened


async def serve(app: App, opened: socket.socket, tls: ssl.SSLContext | None, stopping: anyio.Event) -> None:
    """
    Answer until `stopping` is set; over TLS where there is a context.

    Then loopback is served in the clear too: `app` says itself what it answers there.
    """
    if tls is None:
        await _serve(app, _Web([], [opened], None), stopping)
        return
    doors = [opened] if opened.getsockname()[0] in LOOPBACK else beside(opened)
    encrypted, plain = Handed(), Handed()
    secure = [encrypted] if opened in doors else [opened, encrypted]
    async with anyio.create_task_group() as tasks:
        for door in doors:
            tasks.start_soon(_sort, door, encrypted, plain)
        await _serve(app, _Web(secure, [plain], tls), stopping)
        tasks.cancel_scope.cancel()


async def _sort(door: socket.socket, encrypted: Handed, plain: Handed) -> None:
    with door:
        await sort(door, encrypted=encrypted, plain=plain)


async def _serve(app: App, web: _Web, stopping: anyio.Event) -> None:
    """
    In a task of its own: Hypercorn leaves the one it ends in half cancelled.

    It gives connections `STOP_SECONDS`, but asyncio from Python 3.12 on waits for the last of them before that.
    """
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await serve_http(app, web, shutdown_trigger=stopping.wait)
            tasks.cancel_scope.cancel()

        tasks.start_soon(run)
        await stopping.wait()
        await anyio.sleep(STOP_SECONDS + 1)
        tasks.cancel_scope.cancel()
    web.close()


class _Web(Config):
    """Hypercorn's settings: our sockets, our certificate, no access log (it doubles the cost of a request)."""

    def __init__(
        self, secure: Sequence[socket.socket], plain: Sequence[socket.socket], tls: ssl.SSLContext | None
    ) -> None:
        super().__init__()
        self._secure = list(secure)
        self._plain = list(plain)
        self._tls = tls
        self.backlog = BACKLOG  # or the kernel's queue is cut to 100: asyncio listens once more
        self.accesslog = None
        self.errorlog = logging.getLogger("hypercorn.error")
        self.graceful_timeout = STOP_SECONDS
        self.shutdown_timeout = STOP_SECONDS
        self.keep_alive_timeout = 75.0
        self.h11_max_incomplete_size = 32 * 1024
        self.include_server_header = False
        self.alpn_protocols = ["http/1.1"]

    @property
    def ssl_enabled(self) -> bool:
        """Whether to serve over TLS."""
        return self._tls is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        """The context that the renewal of the certificate changes in place."""
        return self._tls

    def create_sockets(self) -> Sockets:
        """Those we opened; the server closes them."""
        return Sockets(self._secure, self._plain, [])

    def close(self) -> None:
        """Close what a server that was cut short has left open."""
        for sock in (*self._secure, *self._plain):
            sock.close()
