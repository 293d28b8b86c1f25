"""gRPC as far as a proxy is concerned: HTTP/2 in the clear, messages both ways at once, a status in the trailers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

import anyio
import h2.config
import h2.connection
import h2.events
from anyio.abc import SocketAttribute, SocketStream

ANSWER = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server that sends every message back as it comes, and its status when the client has ended; its port."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, _serve)
        yield int(listener.extra(SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


async def _serve(stream: SocketStream) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    async with stream:
        await stream.send(connection.data_to_send())
        try:
            while True:
                for event in connection.receive_data(await stream.receive()):
                    _answer(connection, event)
                await stream.send(connection.data_to_send())
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


def _answer(connection: h2.connection.H2Connection, event: h2.events.Event) -> None:
    match event:
        case h2.events.RequestReceived(stream_id=int(number)):
            connection.send_headers(number, ANSWER)
        case h2.events.DataReceived(stream_id=int(number), data=bytes(data), flow_controlled_length=int(size)):
            connection.acknowledge_received_data(size, number)
            connection.send_data(number, data)
        case h2.events.StreamEnded(stream_id=int(number)):
            connection.send_headers(number, OK, end_stream=True)


class Call:
    """One call of a client: `say` and `hear` as often as wanted, then `end` for the status."""

    def __init__(self, port: int, host: str, *, address: str = "127.0.0.1") -> None:
        self.head: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self._where = address, port
        self._host = host
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._heard = b""
        self._ended = False
        self._stream: SocketStream

    async def __aenter__(self) -> Call:
        self._stream = await anyio.connect_tcp(*self._where)
        self._connection.initiate_connection()
        asked = [(":method", "POST"), (":scheme", "http"), (":authority", self._host), (":path", "/chat.Chat/Talk")]
        self._connection.send_headers(1, [*asked, ("content-type", "application/grpc"), ("te", "trailers")])
        await self._flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stream.aclose()

    async def say(self, message: bytes) -> None:
        """Send one message."""
        self._connection.send_data(1, message)
        await self._flush()

    async def hear(self, size: int) -> bytes:
        """Wait for so many bytes of messages."""
        while len(self._heard) < size:
            await self._receive()
        heard, self._heard = self._heard[:size], self._heard[size:]
        return heard

    async def end(self) -> dict[str, str]:
        """Say that nothing more comes, and wait for the trailers."""
        self._connection.end_stream(1)
        await self._flush()
        while not self._ended:
            await self._receive()
        return self.trailers

    async def _receive(self) -> None:
        for event in self._connection.receive_data(await self._stream.receive()):
            match event:
                case h2.events.ResponseReceived(headers=list(headers)):
                    self.head = {str(name): str(value) for name, value in headers}
                case h2.events.TrailersReceived(headers=list(headers)):
                    self.trailers = {str(name): str(value) for name, value in headers}
                case h2.events.DataReceived(data=bytes(data)):
                    self._heard += data
                case h2.events.StreamEnded():
                    self._ended = True
        await self._flush()

    async def _flush(self) -> None:
        if data := self._connection.data_to_send():
            await self._stream.send(data)
