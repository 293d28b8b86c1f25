"""The one driver of the transport: blocking sockets, TLS where the URL says so, one kept connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from fledx.client import diagnosis
from fledx.client.http1 import MAX_HEAD, Address, Body, Head, Request, parse_head, request_bytes
from fledx.client.transport import Response, silent
from fledx.errors import InvalidSpec

RECEIVE = 64 * 1024
LEAST_TRY_SECONDS = 3.0
UPLOAD_SECONDS = 300.0
"""The longest silence while a large body goes out: whoever takes it in may have a slow link or disk behind it."""
#: A peer that vanished under a quiet stream is found out after 20 + 3 x 5 seconds.
KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class SocketTransport:
    """
    Requests to one address, one after another.

    `timeout` is the longest silence in seconds, on connecting as on waiting for an answer; `ca_path` is the only
    authority that is believed, None means the system's. A streamed answer takes its connection with it.
    """

    def __init__(self, address: Address, *, timeout: float = 30.0, ca_path: str | None = None) -> None:
        self.address = address
        self._timeout = timeout
        self._ca_path = ca_path
        self._idle: _Wire | None = None

    def send(self, request: Request) -> Response:
        """The head of the answer; a kept connection that the peer has closed meanwhile is replaced unnoticed."""
        raw = self._bytes_of(request)
        kept, self._idle = self._idle, None
        if kept is not None and not request.repeatable:
            kept.close()
            kept = None
        answer = None if kept is None else self._exchange(kept, raw, request)
        if answer is None:
            answer = self._exchange(self._connect(), raw, request)
        if answer is None:
            raise diagnosis.mute(self.address)
        return answer

    def close(self) -> None:
        """Let go of the kept connection."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _bytes_of(self, request: Request) -> bytes:
        try:
            return request_bytes(request, self.address)
        except ValueError as problem:
            raise InvalidSpec("", str(problem)) from None

    def _connect(self) -> _Wire:
        try:
            plain = _connected(self.address, self._timeout)
        except OSError as problem:
            raise diagnosis.unreachable(self.address, problem) from None
        except UnicodeError:
            raise diagnosis.unreachable(self.address, socket.gaierror()) from None
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if self.address.scheme == "http":
            return _Wire(plain, self.address)
        return _Wire(_secured(plain, self.address, self._ca_path), self.address)

    def _exchange(self, wire: _Wire, raw: bytes, request: Request) -> Response | None:
        """The answer; None where the peer closed before it gave one."""
        timeout = self._timeout if request.upload is None else max(self._timeout, UPLOAD_SECONDS)
        try:
            wire.send(raw, timeout)
            for piece in () if request.upload is None else request.upload.pieces:
                if not wire.send(piece, timeout):
                    break
            head = wire.head(timeout)
            while head is not None and head.status < 200:
                head = wire.head(timeout)
            body = None if head is None else Body(head, request.method)
        except ValueError:
            wire.close()
            raise diagnosis.not_http(self.address, wire.buffer) from None
        except BaseException:
            wire.close()
            raise
        if head is None or body is None:
            wire.close()
            return None
        incoming = _Incoming(wire, body, self._release_of(wire, head, body))
        return Response(head, incoming.receive, incoming.close, silence=self._timeout, peer=str(self.address))

    def _release_of(self, wire: _Wire, head: Head, body: Body) -> Callable[[], None]:
        def release() -> None:
            last = body.ends_with_connection or head.headers.get("connection", "").lower() == "close"
            if last or body.left or self._idle is not None:
                wire.close()
            else:
                self._idle = wire

        return release


class _Wire:
    """One connection and what was read too far."""

    def __init__(self, plain: socket.socket, address: Address) -> None:
        self._socket = plain
        self.address = address
        self.buffer = b""

    def send(self, raw: bytes, timeout: float) -> bool:
        """
        Whether it went out.

        A peer that refuses a body midway has answered already, so that a failure here is left to the reading.
        """
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(raw)
        except TimeoutError:
            raise silent(str(self.address), timeout) from None
        except OSError:
            return False
        return True

    def head(self, timeout: float) -> Head | None:
        """The next head; None where the peer closed before it, ValueError where it is none."""
        while b"\r\n\r\n" not in self.buffer:
            if self.buffer and not b"HTTP/1.".startswith(self.buffer[:7]):
                raise ValueError("not HTTP/1")
            if len(self.buffer) > MAX_HEAD:
                raise ValueError("an endless head")
            try:
                data = self._receive(timeout)
            except OSError:
                data = b""
            if data is None:
                raise silent(str(self.address), timeout)
            if data == b"":
                if not self.buffer:
                    return None
                raise diagnosis.cut_short(self.address)
            self.buffer += data
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return parse_head(raw)

    def take(self, wait: float | None) -> bytes | None:
        """What was read too far, else the next bytes; None after `wait` seconds of silence, b"" at the end."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        try:
            return self._receive(wait)
        except OSError as problem:
            raise diagnosis.broken(self.address, problem) from None

    def _receive(self, wait: float | None) -> bytes | None:
        self._socket.settimeout(None if wait is None else max(wait, 0.001))
        try:
            return self._socket.recv(RECEIVE)
        except TimeoutError as problem:
            if problem.errno is not None:  # the kernel's own: keepalive went unanswered
                raise
            return None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class _Incoming:
    """The body of one answer, decoded as it is asked for."""

    def __init__(self, wire: _Wire, body: Body, release: Callable[[], None]) -> None:
        self._wire = wire
        self._body = body
        self._release: Callable[[], None] | None = release
        self._settle()

    def receive(self, wait: float | None) -> bytes | None:
        try:
            return self._next(wait)
        except BaseException:
            self.close()
            raise

    def _next(self, wait: float | None) -> bytes | None:
        while not self._body.done:
            data = self._wire.take(wait)
            if data is None:
                return None
            payload = self._decode(data)
            self._settle()
            if payload:
                return payload
        return b""

    def _decode(self, data: bytes) -> bytes:
        if data == b"":
            if not self._body.ends_with_connection:
                raise diagnosis.cut_short(self._wire.address)
            self._body.done = True
            return b""
        try:
            return self._body.feed(data)
        except ValueError:
            raise diagnosis.cut_short(self._wire.address) from None

    def _settle(self) -> None:
        if self._body.done and self._release is not None:
            self._release()
            self._release = None

    def close(self) -> None:
        """A body that was not read to its end takes the connection with it."""
        if self._release is not None:
            self._release = None
            self._wire.close()


def _secured(plain: socket.socket, address: Address, ca_path: str | None) -> socket.socket:
    """The TLS side of a connection; ssl is imported here alone, as it doubles what a command takes to start."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_path)
    except ssl.SSLError:
        plain.close()
        raise InvalidSpec("ca-cert-path", f"{ca_path} holds no PEM certificate") from None
    except OSError as problem:
        plain.close()
        raise InvalidSpec("ca-cert-path", f"{ca_path} cannot be read: {problem.strerror}") from None
    try:
        return context.wrap_socket(plain, server_hostname=address.host)
    except ssl.SSLCertVerificationError as problem:
        raise diagnosis.untrusted(address, problem.verify_message, ca_path=ca_path) from None
    except ssl.SSLError as problem:
        raise diagnosis.not_tls(address, (problem.reason or str(problem)).lower().replace("_", " ")) from None
    except OSError as problem:
        raise diagnosis.not_tls(address, (problem.strerror or str(problem)).lower()) from None


def _connected(address: Address, seconds: float) -> socket.socket:
    """Over the first of its addresses that answers; one that says nothing leaves the others their share of the time."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, where in found[:-1]:
        with contextlib.suppress(OSError):
            return _connected_to(family, kind, protocol, where, max(LEAST_TRY_SECONDS, seconds / len(found)))
    family, kind, protocol, _, where = found[-1]
    return _connected_to(family, kind, protocol, where, seconds)


def _connected_to(family: int, kind: int, protocol: int, where: Any, seconds: float) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(seconds)
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock
