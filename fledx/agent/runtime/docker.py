"""Docker behind the `Runtime` protocol; the only file that imports its library."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, NoReturn, TypeVar

import anyio

from fledx.agent.runtime.base import (
    Container,
    ContainerSpec,
    Execution,
    ImageMissing,
    LogEntry,
    NameTaken,
    PortTaken,
    Refused,
    RuntimeEvent,
    Usage,
)
from fledx.agent.runtime.body import Body, lines
from fledx.agent.runtime.commands import EngineCommand, begun, execute
from fledx.agent.runtime.engine_images import EngineImages
from fledx.agent.runtime.lines import Tally, entries
from fledx.agent.runtime.shapes import container_of, create_body, event_of, log_bound, usage_of
from fledx.agent.runtime.threads import Threads
from fledx.agent.runtime.volumes import archived, labels_of, measured, removed, unpacked
from fledx.errors import NotFound, Unavailable
from fledx.models.exec import ExecRequest
from fledx.models.port import PortMapping

# `import docker` would import paramiko, write certifi's bundle to a temporary file, and load 3 MB of tables by which
# charset_normalizer guesses encodings; none of it is needed for a socket that speaks JSON.
_certifi, _charsets = types.ModuleType("certifi"), types.ModuleType("charset_normalizer")
_certifi.where = lambda: "/etc/ssl/certs/ca-certificates.crt"  # type: ignore[attr-defined]
_charsets.__version__, _charsets.detect = "3.0.0", lambda data: {"encoding": "utf-8"}  # type: ignore[attr-defined]
sys.modules.setdefault("certifi", _certifi)
sys.modules.setdefault("charset_normalizer", _charsets)
sys.modules.setdefault("docker.transport.sshconn", None)  # type: ignore[arg-type]

import docker  # noqa: E402
import docker.auth  # noqa: E402
import docker.errors  # noqa: E402
import docker.transport.unixconn as unixconn  # noqa: E402
import docker.utils  # noqa: E402
import requests.exceptions  # noqa: E402

T = TypeVar("T")

OLDEST_API, NEWEST_API = (1, 41), (1, 47)
LOOK, QUICK, PATIENT = 10, 15, 120
"""Seconds: for a look, for a question, and for work on a container."""
UNPACK_SECS = 86400.0
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
        client = cls(address, ".".join(map(str, OLDEST_API)), seconds, max_pool_size=PATIENT_THREADS)
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
        if newest < OLDEST_API:
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


class DockerRuntime(EngineImages):
    """The engine at one address (``unix://PATH`` or ``tcp://HOST:PORT``)."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._quick = Threads(QUICK_THREADS, "docker")
        self._patient = Threads(PATIENT_THREADS, "docker-patient")
        self._making = threading.Lock()
        self._clients: Clients | None = None
        self._known: dict[str, Container] = {}
        self._watching = self._noticed = 0

    async def describe(self) -> str:
        """Also settles the API version anew, as the engine may have been replaced meanwhile."""

        def ask(client: Client) -> str:
            shown = client.negotiate()
            for each in self._made():
                each._version = client._version
            return shown

        return await self._ask(ask)

    async def look(self, node_id: str) -> tuple[Container, ...]:
        """
        One list, and an inspection of each that an event or its state calls changed; all, while no events come.

        Over a new connection: an engine on its way down stops the containers and still serves the old ones, so that one
        would take its end for somebody's doing.
        """
        chosen = {"label": [f"fledx.node_id={node_id}"]}
        listed = await self._call(
            self._quick, lambda: self._made().looking.afresh().containers(all=True, filters=chosen), LOOK
        )
        if not self._watching:
            self._known.clear()
        self._known = {each["Id"]: known for each in listed if (known := self._known.get(each["Id"])) is not None}
        found = []
        for each in listed:
            known = self._known.get(each["Id"])
            if known is None or known.state != each["State"]:
                known = await self.inspect(each["Id"])
            if known is not None:
                found.append(known)
        return tuple(found)

    async def labelled(self, name: str, value: str) -> tuple[Container, ...]:
        chosen = {"label": [f"{name}={value}"]}
        listed = await self._ask(lambda client: client.containers(all=True, filters=chosen))
        found = [await self.inspect(each["Id"]) for each in listed]
        return tuple(each for each in found if each is not None)

    async def inspect(self, container_id: str) -> Container | None:
        noticed = self._noticed
        try:
            shown = await self._ask(lambda client: client.inspect_container(container_id))
        except NotFound:
            return None
        container = container_of(shown)
        if noticed == self._noticed:  # else this answer may be older than the event
            self._known[container_id] = container
        return container

    async def create(self, spec: ContainerSpec) -> str:
        body = create_body(spec)
        made = await self._work(lambda client: client.create_container_from_config(body, spec.name))  # type: ignore[no-untyped-call]
        return str(made["Id"])

    async def start(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        await self._work(lambda client: client.start(container_id))

    async def stop(self, container_id: str, *, grace: float) -> None:
        self._known.pop(container_id, None)
        seconds = int(grace + 0.999)
        try:
            await self._work(lambda client: client.stop(container_id, timeout=seconds), more=seconds)
        except NotFound:
            return

    async def pause(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        try:
            await self._work(lambda client: client.pause(container_id))
        except Refused as refused:
            if "already paused" not in refused.text:
                raise

    async def resume(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        try:
            await self._work(lambda client: client.unpause(container_id))
        except Refused as refused:
            if "not paused" not in refused.text:
                raise

    async def remove(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        try:
            await self._work(lambda client: client.remove_container(container_id, v=True, force=True))
        except NotFound:
            return
        except Refused as refused:
            if "already in progress" not in refused.text:
                raise

    async def holder(self, port: PortMapping) -> str | None:
        wanted = (port.host_port, port.protocol)  # not by a filter: Podman has none for ports
        for each in await self._ask(lambda client: client.containers()):
            published = {(found.get("PublicPort"), found.get("Type")) for found in each.get("Ports") or ()}
            if wanted in published and each.get("Names"):
                return str(each["Names"][0]).lstrip("/")
        return None

    @asynccontextmanager
    async def events(self, node_id: str) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
        actions = ["start", "die", "oom", "pause", "unpause", "destroy", "stop", "kill"]
        chosen = {"type": ["container"], "label": [f"fledx.node_id={node_id}"], "event": actions}
        query = {"filters": json.dumps(chosen)}
        body = await self._ask(lambda client: client.open("GET", "/events", params=query, seconds=QUICK))
        self._known.clear()
        self._watching += 1
        try:
            yield self._events(body)
        finally:
            self._watching -= 1
            body.close()

    async def _events(self, body: Body) -> AsyncIterator[RuntimeEvent]:
        try:
            async for line in lines(body):
                event = event_of(json.loads(line))
                if event is not None:
                    self._noticed += 1
                    self._known.pop(event.container_id, None)
                    yield event
        except Unavailable:
            return

    @asynccontextmanager
    async def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        since: str | None = None,
        until: str | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[AsyncIterator[Sequence[LogEntry]]]:
        bounds = {name: log_bound(value) for name, value in (("since", since), ("until", until)) if value}
        query = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": "all" if tail is None else tail, **bounds}
        body = await self._log(container_id, query, follow=follow)
        try:
            yield self._followed(body, container_id, query) if follow else entries(body)
        finally:
            body.close()

    async def _followed(
        self, body: Body, container_id: str, query: Mapping[str, Any]
    ) -> AsyncIterator[Sequence[LogEntry]]:
        tally = Tally()
        async for batch in entries(body):
            tally.note(batch)
            yield batch
        since = {"since": log_bound(tally.last), "tail": "all"} if tally.last else {}
        try:
            rest = await self._log(container_id, {**query, **since}, follow=False)
        except NotFound:
            return
        try:
            async for batch in entries(rest):
                if unread := tally.unread(batch):
                    yield unread
        finally:
            rest.close()

    async def _log(self, container_id: str, query: Mapping[str, Any], *, follow: bool) -> Body:
        path = f"/containers/{container_id}/logs"
        asked = {**query, "follow": int(follow)}
        return await self._ask(lambda client: client.open("GET", path, params=asked, seconds=QUICK))

    async def usage(self, container_id: str) -> Usage | None:
        try:
            return usage_of(await self._ask(lambda client: client.stats(container_id, stream=False, one_shot=True)))
        except NotFound:
            return None

    async def execute(self, container_id: str, command: Sequence[str], *, limit: float, most: int) -> Execution:
        return await execute(self._ask, container_id, command, limit=limit, most=most)

    def command(self, container_id: str, wanted: ExecRequest) -> AbstractAsyncContextManager[EngineCommand]:
        return begun(self._ask, container_id, wanted)

    async def volume(self, name: str) -> Mapping[str, str] | None:
        return await labels_of(self._ask, name)

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        await self._work(lambda client: client.create_volume(name, driver="local", labels=dict(labels)))

    async def remove_volume(self, name: str) -> bool:
        return await removed(self._work, name)

    async def volume_sizes(self, node_id: str) -> Mapping[str, int]:
        return await measured(self._ask, node_id)

    def archive(self, container_id: str, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return archived(self._ask, container_id, path)

    async def unpack(self, container_id: str, path: str, pieces: AsyncIterator[bytes]) -> None:
        await unpacked(lambda work: self._work(work, more=UNPACK_SECS), container_id, path, pieces)

    async def aclose(self) -> None:
        for threads in (self._quick, self._patient):
            threads.close()
        for client in self._clients or ():
            client.close()

    def _own_login(self, client: Any, image: str) -> str | None:
        registry, _ = docker.auth.resolve_repository_name(image)
        header: bytes | None = docker.auth.get_config_header(client, registry)
        return None if header is None else header.decode("ascii")

    async def _ask(self, question: Callable[[Client], T]) -> T:
        return await self._call(self._quick, lambda: question(self._made().quick), QUICK)

    async def _work(self, work: Callable[[Client], T], *, more: float = 0.0) -> T:
        return await self._call(self._patient, lambda: work(self._made().patient), PATIENT + more)

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
