"""
A door before a real registry, which shows what that cannot: refusals, slowness, connections that break off.

It counts what is asked, and passes on everything else as it is.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 32 * 1024
HOP = ("transfer-encoding", "connection", "keep-alive")


@dataclass
class Behaviour:
    """
    What the door does to requests for manifests and blobs.

    ``refuse`` is a status with which it refuses them, and the registry's own words for it; ``cut_at`` the byte of a
    blob at which the connection breaks off, so many ``cuts`` times; ``rate`` the bytes a second of a blob. With
    ``hang_up`` no answer comes at all.
    """

    refuse: tuple[int, str, str] | None = None
    cut_at: int | None = None
    cuts: int = 0
    rate: float | None = None
    hang_up: bool = False


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    range: str | None = None
    user: str | None = None


class Front:
    """The door; ``address`` is what images are named by."""

    def __init__(self, host: str, *, registry: int) -> None:
        self.behaviour = Behaviour()
        self.asked: list[Asked] = []
        self._registry = registry
        self._server = ThreadingHTTPServer((host, 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def behave(self, **changes: Any) -> None:
        """From now on so, and count anew."""
        self.behaviour = Behaviour(**changes)
        self.asked.clear()

    def count(self, wanted: Callable[[Asked], bool]) -> int:
        """How many such requests came."""
        return sum(1 for each in list(self.asked) if wanted(each))

    def close(self) -> None:
        """Nobody answers here any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(OSError):  # who asked may have given up
                    front._serve(self)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                return

        return Door

    def _serve(self, door: BaseHTTPRequestHandler) -> None:
        behaviour = self.behaviour
        self.asked.append(Asked(method=door.command, path=door.path, range=door.headers.get("Range")))
        if behaviour.hang_up:
            door.close_connection = True
            return
        if behaviour.refuse is not None and door.path != "/v2/":
            self._refuse(door, *behaviour.refuse)
            return
        with closing(http.client.HTTPConnection("127.0.0.1", self._registry, timeout=120)) as passed:
            self._forward(door, passed, behaviour)

    def _forward(self, door: BaseHTTPRequestHandler, passed: http.client.HTTPConnection, behaviour: Behaviour) -> None:
        passed.putrequest(door.command, door.path, skip_host=True, skip_accept_encoding=True)
        for name, value in door.headers.items():  # one by one: a registry minds each of several Accept headers
            passed.putheader(name, value)
        passed.endheaders()
        answer = passed.getresponse()
        door.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*HOP, "server", "date"):
                door.send_header(name, value)
        door.end_headers()
        if door.command == "GET":
            self._pass(door, answer, behaviour if "/blobs/" in door.path else Behaviour())

    def _refuse(self, door: BaseHTTPRequestHandler, status: int, code: str, words: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": words}]}).encode()
        door.send_response(status)
        door.send_header("Content-Type", "application/json")
        door.send_header("Content-Length", str(len(body)))
        door.end_headers()
        if door.command == "GET":
            door.wfile.write(body)

    def _pass(self, door: BaseHTTPRequestHandler, answer: http.client.HTTPResponse, behaviour: Behaviour) -> None:
        sent = 0
        while data := answer.read(PIECE):
            if behaviour.cut_at is not None and sent + len(data) > behaviour.cut_at and behaviour.cuts:
                behaviour.cuts -= 1
                door.wfile.write(data[: behaviour.cut_at - sent])
                door.close_connection = True
                return
            door.wfile.write(data)
            sent += len(data)
            if behaviour.rate is not None:
                time.sleep(len(data) / behaviour.rate)
