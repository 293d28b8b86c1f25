"""
The way of a call to an engine that speaks Docker's API: its client, its threads, its refusals.

The only file that imports Docker's library.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeVar

import anyio

from fledx.agent.runtime.body import Body
from fledx.agent.runtime.containers import ImageMissing, NameTaken, PortTaken, Refused
from fledx.agent.runtime.threads import Threads
from fledx.errors import NotFound, Unavailable
from fledx.models.node import OLDEST_ENGINE_API

# `import docker` would import paramiko, write certifi's bundle to a temporary file, load 3 MB of tables by which
# charset_normalizer guesses encodings, and half a MB of its own objects above the API; none of it is needed for a
# socket that speaks JSON.
_certifi, _charsets = types.ModuleType("certifi"), types.ModuleType("charset_normalizer")
_objects = types.ModuleType("docker.client")
_objects.DockerClient = _objects.from_context = _objects.from_env = None  # type: ignore[attr-defined]
_certifi.where = lambda: "/etc/ssl/certs/ca-certificates.crt"  # type: ignore[attr-defined]
_charsets.__version__, _charsets.detect = "3.0.0", lambda data: {"encoding": "utf-8"}  # type: ignore[attr-defined]
sys.modules.setdefault("certifi", _certifi)
sys.modules.setdefault("charset_normalizer", _charsets)
sys.modules.setdefault("docker.client", _objects)
sys.modules.setdefault("docker.transport.sshconn", None)  # type: ignore[arg-type]

import docker  # noqa: E402
import docker.auth  # noqa: E402
import docker.errors  # noqa: E402
import docker.transport.unixconn as unixconn  # noqa: E402
import docker.utils  # noqa: E402
import requests.exceptions  # noqa: E402

T = TypeVar("T")

NEWEST_API = (1, 47)
LOOK, QUICK, PATIENT = 10, 15, 120
"""Seconds: for a look, for a question, and for work on a container."""
QUICK_THREADS, PATIENT_THREADS = 8, 64
PORT_WORDS = ("port is already allocated", "address already in use", "ports are not available")
NOT_RUNNING_WORDS = ("is not running", "on running containers")


class Connection(unixconn.UnixHTTPConnection):
    """docker-py's, but a socket that finds nobody is closed."""

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self.unix_socket)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


class Pool(unixconn.UnixHTTPConnectionPool):
    """Of such connections."""

    def _new_conn(self) -> Any:
        return Connection(self.base_url, self.socket_path, self.timeout)  # type: ignore[arg-type]


class OnePool(unixconn.UnixHTTPAdapter):
    """Keeps connections for all paths together; docker-py has a pool for each URL and closes those in use."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        with self.pools.lock:
            if self not in self.pools:
                self.pools[self] = Pool(str(url), self.socket_path, self.timeout, maxsize=self.max_pool_size)
            return self.pools[self]


class Client(docker.APIClient):
    """docker-py's client, and a way to take the socket from under a streaming answer."""

    _version: str

    @classmethod
    def at(cls, address: str, seconds: int) -> Client:
        """A client that gives up a question after this long; it asks nothing yet."""
        client = cls(address, ".".join(map(str, OLDEST_ENGINE_API)), seconds, max_pool_size=PATIENT_THREADS)
        client.trust_env = False
        if address.startswith("unix://"):
            client.mount("http+docker://", OnePool(address.replace("unix", "http+unix", 1), seconds, max_pool_size=64))
        return client

    def afresh(self) -> Client:
        """The same client, whose next question goes over a new connection."""
        for adapter in self.adapters.values():
            if isinstance(adapter, OnePool):
                adapter.pools.clear()
        return self

    def open(self, method: str, path: str, *, seconds: float, **request: Any) -> Body:
        """Ask, and hand out the body unread; raises docker-py's errors."""
        url = self._url(path)  # type: ignore[attr-defined]
        answer = self.request(method, url, stream=True, timeout=seconds, **request)
        self._raise_for_status(answer)  # type: ignore[attr-defined]
        raw: Any = answer.raw
        reader = raw._fp.fp
        reader.raw._sock.setblocking(False)
        head = reader.peek()
        sock = socket.socket(fileno=os.dup(reader.raw._sock.fileno()))
        length = answer.headers.get("Content-Length")
        chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
        raw.close()
        return Body(sock, head, chunked=chunked, length=int(length) if length else None)

    def negotiate(self) -> str:
        """Settle on the newest API version that both sides know, and return the engine's name and version."""
        told: dict[str, Any] = self.version(api_version=False)
        newest, oldest = _numbers(told["ApiVersion"]), _numbers(told.get("MinAPIVersion", "1.12"))
        chosen = max(min(newest, NEWEST_API), oldest)
        name = (told.get("Components") or [{}])[0].get("Name", "Engine")
        shown = f"{'docker' if name == 'Engine' else name} {told['Version']}"
        if newest < OLDEST_ENGINE_API:
            raise OSError(f"{shown} is too old, fledx needs Docker 20.10 or newer")
        self._version = f"{chosen[0]}.{chosen[1]}"
        return shown


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor or 0)


class Clients(NamedTuple):
    """For questions, for work on containers, and for looks alone, which take their connection away again and again."""

    quick: Client
    patient: Client
    looking: Client


class Engine:
    """
    The engine at one address (``unix://PATH`` or ``tcp://HOST:PORT``).

    A call runs in a thread, and every error of the library comes out as one of ours; Unavailable when the engine does
    not answer in time or at all.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._quick = Threads(QUICK_THREADS, "docker")
        self._patient = Threads(PATIENT_THREADS, "docker-patient")
        self._making = threading.Lock()
        self._clients: Clients | None = None

    async def negotiate(self) -> str:
        """Settle the API version anew, as the engine may have been replaced; the engine's name and version."""

        def ask(client: Client) -> str:
            shown = client.negotiate()
            for each in self._made():
                each._version = client._version
            return shown

        return await self.ask(ask)

    async def ask(self, question: Callable[[Client], T]) -> T:
        """What is answered at once."""
        return await self._call(self._quick, lambda: question(self._made().quick), QUICK)

    async def work(self, work: Callable[[Client], T], *, more: float = 0.0) -> T:
        """What takes its time; `more` are seconds on top of the usual."""
        return await self._call(self._patient, lambda: work(self._made().patient), PATIENT + more)

    async def look(self, question: Callable[[Client], T]) -> T:
        """A question over a new connection."""
        return await self._call(self._quick, lambda: question(self._made().looking.afresh()), LOOK)

    async def aclose(self) -> None:
        for threads in (self._quick, self._patient):
            threads.close()
        for client in self._clients or ():
            client.close()

    async def _call(self, threads: Threads, call: Callable[[], T], limit: float) -> T:
        """In a thread, and with every error of the library as one of ours."""
        try:
            with anyio.fail_after(limit):
                return await threads.run(call)
        except docker.errors.APIError as refusal:
            _raise(refusal)
        except (TimeoutError, requests.exceptions.Timeout):
            raise Unavailable(f"Docker at {self.address} did not answer within {limit:.0f} s") from None
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as problem:
            hint = "is the engine running, and may this user reach it (group docker)?"
            raise Unavailable(f"Docker at {self.address} does not answer: {_root_of(problem)}", hint=hint) from None

    def _made(self) -> Clients:
        """The clients, made at the first call that finds an engine; called in a thread."""
        with self._making:
            if self._clients is None:
                self._clients = self._new_clients()
            return self._clients

    def _new_clients(self) -> Clients:
        if not self.address.startswith(("unix://", "tcp://")) or os.environ.get("DOCKER_TLS_VERIFY"):
            raise OSError("only unix://PATH and tcp://HOST:PORT without TLS are supported")
        made = Clients(*(Client.at(self.address, seconds) for seconds in (QUICK, PATIENT, LOOK)))
        try:
            made.quick.negotiate()
        except BaseException:
            made.quick.close()
            raise
        made.patient._version = made.looking._version = made.quick._version
        return made


def own_login(client: Any, image: str) -> str | None:
    """What `docker login` has left on this node for an image's registry, as the header's value."""
    registry, _ = docker.auth.resolve_repository_name(image)
    header: bytes | None = docker.auth.get_config_header(client, registry)
    return None if header is None else header.decode("ascii")


def _raise(refusal: docker.errors.APIError) -> NoReturn:
    """Docker's refusals by status and words; a 500 is Docker's way to refuse a start as well."""
    status, text = refusal.status_code or 0, " ".join(str(refusal.explanation or refusal).split())[:600]
    if isinstance(refusal, docker.errors.ImageNotFound):
        raise ImageMissing(text) from None
    if any(words in text for words in PORT_WORDS):
        raise PortTaken(text) from None
    if status == 404 and "executable file not found" not in text:
        raise NotFound(text) from None
    if any(words in text for words in NOT_RUNNING_WORDS):
        raise NotFound(text) from None
    if "container name" in text and "is already in use" in text:  # 409 of Docker, 500 of Podman
        raise NameTaken(text) from None
    if status in (502, 503, 504):
        raise Unavailable(f"Docker cannot serve now: {text}") from None
    raise Refused(text) from None


def _root_of(problem: BaseException) -> str:
    """The innermost reason: `[Errno 2] No such file or directory` says more than what is wrapped around it."""
    text = str(problem)
    seen = problem
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
        text = str(seen) or text
    return text[:300] or type(problem).__name__
