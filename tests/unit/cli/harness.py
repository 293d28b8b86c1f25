"""The command line run in this process against a scripted control plane, and the things it is told of."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fledx.cli.main import main
from fledx.cli.terminal import Terminal
from fledx.client.http1 import Address, Request
from fledx.client.transport import Transport
from tests.fakes.transport import Answer, Clock, FakeTransport, error_answer, json_answer

NOW = 1_795_000_000.0  # 2026-11-18T09:46:40Z
WEB = "11111111-aaaa-4aaa-8aaa-111111111111"
EDGE1 = "22222222-bbbb-4bbb-8bbb-222222222222"
EDGE2 = "33333333-cccc-4ccc-8ccc-333333333333"
HOSTILE = "\x1b[2J\x1b]0;owned\x07a\u202eb\r\n\x9b31mc"
Routes = dict[str, Any]


def ago(seconds: float) -> str:
    """A moment so long before NOW."""
    from fledx.models.moment import stamp

    return stamp(NOW - seconds)


def deployment(**fields: Any) -> dict[str, Any]:
    """A deployment of one replica that runs on edge-1; override what a test is about."""
    base: dict[str, Any] = {
        "deployment_id": WEB,
        "name": "web",
        "image": "nginx:1.27",
        "replicas": 1,
        "desired_state": "running",
        "status": "running",
        "generation": 1,
        "revision": 1,
        "ready_replicas": 1,
        "unplaced_replicas": 0,
        "restart": "always",
        "ports": [{"container_port": 80, "protocol": "tcp"}],
        "assignments": [assignment(0)],
        "instances": [instance(0)],
        "created_at": ago(7200),
        "updated_at": ago(180),
    }
    return {**base, **fields}


def assignment(number: int, node: str = "edge-1", **fields: Any) -> dict[str, Any]:
    """A replica's place."""
    port = {"container_port": 80, "host_port": 30000 + number, "protocol": "tcp"}
    base = {"replica_number": number, "node_id": EDGE1, "node": node, "fence": 1, "revision": 1, "ports": [port]}
    return {**base, **fields}


def instance(number: int, state: str = "running", **fields: Any) -> dict[str, Any]:
    """A replica as its agent saw it."""
    base = {
        "deployment_id": WEB,
        "replica_number": number,
        "node_id": EDGE1,
        "state": state,
        "ready": state == "running",
        "restart_count": 0,
        "generation": 1,
        "revision": 1,
        "started_at": ago(180),
        "last_updated": ago(10),
    }
    return {**base, **fields}


def node(**fields: Any) -> dict[str, Any]:
    """A ready node; override what a test is about."""
    base: dict[str, Any] = {
        "node_id": EDGE1,
        "name": "edge-1",
        "status": "ready",
        "availability": "active",
        "since": ago(3600),
        "arch": "amd64",
        "os": "linux",
        "labels": {"region": "eu"},
        "capacity": {"cpu_millis": 4000, "memory_bytes": 8 * 2**30},
        "last_seen": ago(2),
        "created_at": ago(86400),
    }
    return {**base, **fields}


def event(number: int, kind: str = "replica.started", **fields: Any) -> dict[str, Any]:
    """Something that happened to web/0."""
    base = {"id": number, "at": ago(60), "kind": kind, "subject": "web", "reason": "it was assigned here"}
    return {**base, "replica_number": 0, **fields}


def page(*items: dict[str, Any]) -> Answer:
    """A list that is one page long."""
    return json_answer({"limit": 500, "offset": 0, "total": len(items), "items": list(items)})


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Cli:
    """
    Runs commands; `routes` maps the beginning of `METHOD /path` to an answer or a list of answers, one after another.

    Time passes only in silences of a stream and in waiting.
    """

    def __init__(self, routes: Routes | None = None, *, home: Path | None = None, **environ: str) -> None:
        self.routes = routes or {}
        self.clock = Clock()
        self.transport = FakeTransport(self._answer, self.clock)
        self.addresses: list[Address] = []
        self.environ = {"HOME": str(home) if home else "/nowhere", "FLEDX_CLI_OPERATOR_TOKEN": "t0ken", **environ}
        self.out: io.StringIO = io.StringIO()
        self.err: io.StringIO = io.StringIO()
        self.typed = ""

    def run(self, *words: str, tty: bool = False) -> int:
        """The exit code; `out` and `err` hold what this one command wrote."""
        kind = Tty if tty else io.StringIO
        self.out, self.err = kind(), kind()
        return main(words, self.terminal(kind(self.typed)))

    def terminal(self, inp: io.StringIO) -> Terminal:
        return Terminal(
            out=self.out,
            err=self.err,
            inp=inp,
            environ=self.environ,
            connect=self._connect,
            clock=self.clock,
            now=lambda: NOW + self.clock.at,
            sleep=self._sleep,
        )

    @property
    def shown(self) -> str:
        """What went to stdout."""
        return self.out.getvalue()

    @property
    def said(self) -> str:
        """What went to stderr."""
        return self.err.getvalue()

    def asked(self, prefix: str = "") -> list[str]:
        """The requests so far that begin so."""
        return [each for each in self.transport.asked() if each.startswith(prefix)]

    def body(self, method: str) -> Any:
        """The body of the last request of a method."""
        import json

        raw = [request.body for request in self.transport.requests if request.method == method][-1]
        return json.loads(raw or b"null")

    def _connect(self, address: Address, *, timeout: float, ca_path: str | None) -> Transport:
        self.addresses.append(address)
        return self.transport

    def _sleep(self, seconds: float) -> None:
        self.clock.at += seconds

    def _answer(self, request: Request) -> Answer:
        asked = f"{request.method} {request.target}"
        for prefix in sorted(self.routes, key=len, reverse=True):
            if asked.startswith(prefix):
                return _one(self.routes[prefix], request)
        return error_answer(404, f"no such thing: {asked}", "not_found")


def _one(found: Any, request: Request) -> Answer:
    if isinstance(found, list):
        found = found.pop(0) if len(found) > 1 else found[0]
    if isinstance(found, Callable):  # type: ignore[arg-type]
        found = found(request)
    if isinstance(found, BaseException):
        raise found
    assert isinstance(found, Answer)
    return found


def lines(text: str) -> list[str]:
    """A text's lines without trailing blanks."""
    return [line.rstrip() for line in text.splitlines()]


def joined(items: Iterable[str]) -> str:
    """Lines as one text with its end."""
    return "\n".join(items) + "\n"
