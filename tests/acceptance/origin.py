"""A small web server of the test's own, whose answers say what reached it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream


class Origin:
    """Speaks HTTP/1.1 with keep-alive; `/echo` shows the request, everything else answers with the server's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.requests = 0
        self.gate: anyio.Event | None = None
        self.scope = anyio.CancelScope()

    @classmethod
    @asynccontextmanager
    async def serving(cls, name: str) -> AsyncIterator[Origin]:
        """Listen on loopback while the block runs."""
        origin = cls(name)
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            origin.port = int(listener.extra(SocketAttribute.local_port))
            async with anyio.create_task_group() as tasks:
                origin.scope = tasks.cancel_scope
                tasks.start_soon(listener.serve, origin._client)
                yield origin
                tasks.cancel_scope.cancel()

    async def _client(self, stream: SocketStream) -> None:
        buffer = b""
        async with stream:
            try:
                while True:
                    while b"\r\n\r\n" not in buffer:
                        buffer += await stream.receive()
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    line, *rest = head.decode("latin-1").split("\r\n")
                    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
                    size = int(headers.get("content-length", "0"))
                    while len(buffer) < size:
                        buffer += await stream.receive()
                    buffer = buffer[size:]
                    if headers.get("upgrade") in ("websocket", "tcp"):
                        await self._echo(stream, headers["upgrade"])
                        return
                    await self._answer(stream, line, headers, size)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async def _answer(self, stream: SocketStream, line: str, headers: dict[str, str], size: int) -> None:
        self.requests += 1
        if self.gate is not None:
            await self.gate.wait()
        method, path, _ = line.split(" ")
        shown = {"method": method, "path": path, "headers": headers, "body": size, "server": self.name}
        body = json.dumps(shown).encode() if path.startswith("/echo") else self.name.encode()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def _echo(self, stream: SocketStream, protocol: str) -> None:
        """After the handshake a socket that says everything back: Envoy looks at no frame of it."""
        switched = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\r\n"
        await stream.send(switched.encode())
        async for data in stream:
            await stream.send(data)
