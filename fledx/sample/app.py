"""
The sample web app: what runs inside the image that `fledx.sample` makes, copied there as it stands.

Standard library only and nothing of fledx. It parses HTTP by itself because `http.server` brings the mail and TLS
packages along and starts in 35 ms instead of 15. Connections are kept alive, request bodies need a Content-Length.

Environment, all optional:

    PORT            port to listen on (8080)
    VERSION         shown on `/` (the tag of the image)
    START_DELAY     seconds before it listens (0)
    READY_AFTER     seconds until `/healthz` answers 200 instead of 503 (0)
    UNHEALTHY_FILE  while this file exists `/healthz` answers 503 (/tmp/unhealthy)
    EXIT_AFTER      seconds after which it exits with EXIT_CODE (never; 1)
    LOG_EVERY       seconds between two `tick` lines on standard output (none)

Paths: `/`, `/healthz`, `/env`, `/stream?bytes=N`, `/slow?seconds=S`, and `/sink`, which counts the bytes of a request's
body. Every request is one line on standard output; SIGTERM and SIGINT end the app at once with code 0.
"""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, NoReturn

STARTED = time.monotonic()
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}
BLOCK = 64 * 1024
MAX_LINE = 16 * 1024
MAX_HEADERS = 100


class Request(NamedTuple):
    """What a client asked for; header names are lower-case, ``body`` is the length of the one dropped."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: int


class Reply(NamedTuple):
    """An answer whose length is known before it is sent."""

    status: int
    kind: str
    length: int
    blocks: Iterable[bytes]


class Malformed(Exception):
    """Not a request this app can read; the text goes back to the client."""


def log(line: str) -> None:
    """Write one line at once; a single system call, so that threads and signal handlers never mix theirs."""
    os.write(1, f"{line}\n".encode())


def number(name: str, default: float) -> float:
    """Read a number of zero or more from the environment; anything else ends the app with code 2."""
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if value < 0:
        log(f"{name} is {text!r}, wanted a number of zero or more")
        sys.exit(2)
    return value


def text_reply(status: int, body: str, kind: str = "text/plain") -> Reply:
    """A short answer."""
    encoded = body.encode()
    return Reply(status, f"{kind}; charset=utf-8", len(encoded), (encoded,))


def facts() -> dict[str, str]:
    """Who this replica is, as far as it was told."""
    told = {name: os.environ.get(f"FLEDX_{name.upper()}", "") for name in ("deployment", "replica", "node")}
    known = {name: value for name, value in told.items() if value}
    return {**known, "hostname": socket.gethostname(), "version": os.environ.get("VERSION", "?")}


def front(request: Request) -> Reply:
    """The facts: as a page for a browser, as `name: value` lines for everything else."""
    if "text/html" not in request.headers.get("accept", ""):
        return text_reply(200, "".join(f"{name}: {value}\n" for name, value in facts().items()))
    import html

    rows = "".join(f"<tr><th>{name}<td>{html.escape(value)}" for name, value in facts().items())
    style = "<style>body{font:16px system-ui;margin:3em}th{text-align:left;padding-right:2em}</style>"
    return text_reply(
        200, f"<!doctype html><title>fledx sample</title>{style}<h1>It runs</h1><table>{rows}</table>", "text/html"
    )


def healthz(request: Request) -> Reply:
    """200 when ready and not made unhealthy, else 503 with the reason."""
    marker = os.environ.get("UNHEALTHY_FILE", "/tmp/unhealthy")
    left = STARTED + number("READY_AFTER", 0) - time.monotonic()
    if left > 0:
        return text_reply(503, f"not ready for another {left:.1f} s\n")
    if os.path.exists(marker):
        return text_reply(503, f"{marker} exists\n")
    return text_reply(200, "ok\n")


def environment(request: Request) -> Reply:
    """All environment variables as a JSON object."""
    import json

    return text_reply(200, json.dumps(dict(os.environ), indent=1, sort_keys=True) + "\n", "application/json")


def stream(request: Request) -> Reply:
    """As many bytes as asked for, 1 MiB unless told."""
    length = int(_asked(request, "bytes", 1024 * 1024))
    return Reply(200, "application/octet-stream", length, _zeros(length))


def slow(request: Request) -> Reply:
    """An answer after the seconds asked for, 1 unless told."""
    seconds = _asked(request, "seconds", 1)
    time.sleep(seconds)
    return text_reply(200, f"slept {seconds:g} s\n")


def sink(request: Request) -> Reply:
    """How many bytes the request's body had."""
    return text_reply(200, f"{request.body}\n")


ROUTES: dict[str, Callable[[Request], Reply]] = {
    "/": front,
    "/healthz": healthz,
    "/env": environment,
    "/stream": stream,
    "/slow": slow,
    "/sink": sink,
}


def answer(request: Request) -> Reply:
    """The reply of the route, or what is wrong with the request."""
    route = ROUTES.get(request.path)
    if route is None:
        return text_reply(404, f"no {request.path} here, try {' '.join(ROUTES)}\n")
    try:
        return route(request)
    except Malformed as problem:
        return text_reply(400, f"{problem}\n")


class Conversation(socketserver.StreamRequestHandler):
    """One client connection: requests one after the other until a side closes."""

    wbufsize = BLOCK
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            while self._exchange():
                pass
        except Malformed as problem:
            self._send("?", text_reply(400, f"{problem}\n"), keep=False)
        except OSError:
            log(f"{self.client_address[0]} went away")

    def _exchange(self) -> bool:
        """Serve one request; True while the connection is to be kept."""
        request = self._receive()
        if request is None:
            return False
        began = time.monotonic()
        reply = answer(request)
        keep = request.headers.get("connection", "").lower() != "close"
        self._send(request.method, reply, keep=keep)
        took = (time.monotonic() - began) * 1000
        asked = f"{self.client_address[0]} {request.method} {request.path}"
        log(f"{asked} {reply.status} {reply.length} bytes {took:.1f} ms")
        return keep

    def _receive(self) -> Request | None:
        """The next request with its body read and counted; None when the client has closed."""
        line = self._line()
        if not line:
            return None
        words = line.split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Malformed(f"{line[:80]!r} is not an HTTP/1.1 request line")
        headers = dict(self._headers())
        if words[2] == "HTTP/1.0":
            headers.setdefault("connection", "close")
        path, _, query = words[1].partition("?")
        pairs = (pair.partition("=") for pair in query.split("&"))
        return Request(words[0], path, {name: value for name, _, value in pairs}, headers, self._drain(headers))

    def _headers(self) -> Iterator[tuple[str, str]]:
        for _ in range(MAX_HEADERS):
            line = self._line()
            if not line:
                return
            name, _, value = line.partition(":")
            yield name.strip().lower(), value.strip()
        raise Malformed(f"more than {MAX_HEADERS} headers")

    def _line(self) -> str:
        """One line without its end; empty at the end of the headers and of the connection."""
        line = self.rfile.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            raise Malformed(f"a line of {MAX_LINE} bytes or more")
        return line.decode("latin-1").rstrip("\r\n")

    def _drain(self, headers: dict[str, str]) -> int:
        """Read the body away and return its length."""
        text = headers.get("content-length", "0")
        if not text.isdecimal() or "transfer-encoding" in headers:
            raise Malformed("a body needs a Content-Length")
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        length = left = int(text)
        while left:
            block = self.rfile.read(min(left, BLOCK))
            if not block:
                raise ConnectionError
            left -= len(block)
        return length

    def _send(self, method: str, reply: Reply, *, keep: bool) -> None:
        head = [
            f"HTTP/1.1 {reply.status} {REASONS[reply.status]}",
            f"Content-Type: {reply.kind}",
            f"Content-Length: {reply.length}",
            f"Connection: {'keep-alive' if keep else 'close'}",
        ]
        self.wfile.write("\r\n".join([*head, "\r\n"]).encode())
        if method != "HEAD":
            for block in reply.blocks:
                self.wfile.write(block)
        self.wfile.flush()


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection; none of them keeps the process alive."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def _asked(request: Request, name: str, default: float) -> float:
    text = request.query.get(name, "")
    if text and not text.replace(".", "", 1).isdecimal():
        raise Malformed(f"{name}={text} is not a number of zero or more")
    return float(text) if text else default


def _zeros(length: int) -> Iterator[bytes]:
    block = bytes(BLOCK)
    for start in range(0, length, BLOCK):
        yield block[: length - start]


def _end(code: int, why: str) -> NoReturn:
    log(why)
    os._exit(code)


def _exit_later(seconds: float, code: int) -> None:
    time.sleep(seconds)
    _end(code, f"exiting with {code} after {seconds:g} s")


def _tick(seconds: float) -> None:
    count = 0
    while True:
        time.sleep(seconds)
        count += 1
        log(f"tick {count}")


def _in_background(work: Callable[..., None], *args: float) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()


def main() -> None:
    """Serve until told to end."""
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda number, _: _end(0, f"ending on {signal.Signals(number).name}"))
    log(f"version {os.environ.get('VERSION', '?')} starts")
    if os.environ.get("EXIT_AFTER"):
        _in_background(_exit_later, number("EXIT_AFTER", 0), int(number("EXIT_CODE", 1)))
    if os.environ.get("LOG_EVERY"):
        _in_background(_tick, number("LOG_EVERY", 0))
    number("READY_AFTER", 0)
    time.sleep(number("START_DELAY", 0))
    port = int(number("PORT", 8080))
    try:
        server = Server(("", port), Conversation)
    except (OSError, OverflowError) as problem:
        _end(1, f"cannot listen on port {port}: {problem}")
    log(f"listens on port {port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
