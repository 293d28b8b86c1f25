"""A gateway's agent in this process with a real Envoy, and a control plane that plays the rest of the fleet."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from fledx.agent.memory import places, shared_with_envoy
from fledx.agent.run import serve
from fledx.errors import Unavailable
from fledx.models.codec import encode
from fledx.models.desired import ReplicaDesired
from fledx.models.ingress import GatewayDesired, GatewayStatus
from fledx.models.template import template_hash
from fledx.sample.image import NAME as SAMPLE
from fledx.settings.agent import AgentSettings
from fledx.tunnel.splice import splice
from fledx.tunnel.stream import Stream
from tests.bed import envoy
from tests.fakes.control_plane import FakeControlPlane
from tests.ports import free_port

ENGINE = "unix:///var/run/docker.sock"
LIMIT = 60.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What came of a request."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Fleet:
    """One gateway, and backends of other nodes that the control plane leads its streams to."""

    def __init__(self, directory: Path) -> None:
        self.cp = FakeControlPlane()
        self.cp.node_id = str(uuid.uuid4())
        self.cp.serve = self._lead
        self.http, self.https, self.health = free_port(), free_port(), free_port()
        self.ports: dict[tuple[str, int], int] = {}
        self.directory = directory

    @property
    def shared(self) -> Path:
        """What Envoy and the agent share, in memory; once there is an agent."""
        found = [path for path in shared_by(self.cp.node_id) if path.exists()]
        return found[0] if found else Path("/nowhere")

    async def _lead(self, stream: Stream) -> None:
        """As the control plane and the owner's agent do together."""
        key = (str(stream.meta["deployment_id"]), int(stream.meta["replica_number"]))
        if stream.kind != "backend" or key not in self.ports:
            raise Unavailable(f"replica {key[1]} does not run on that node")
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await anyio.to_thread.run_sync(_connect, sock, self.ports[key])
        except OSError as problem:
            sock.close()
            raise Unavailable(f"nothing listens there: {problem.strerror}") from None
        await splice(stream, sock)

    @asynccontextmanager
    async def agent(self, **changes: Any) -> AsyncIterator[None]:
        """The gateway's agent at work; leaving stops it and leaves Envoy running."""
        given: dict[str, Any] = {
            "data_dir": str(self.directory / "data"),
            "config_dir": str(self.directory / "config"),
            "docker_host": ENGINE,
            "metrics_port": 0,
            "health_port": self.health,
            "name": "gate-1",
            "gateway_enabled": True,
            "gateway_envoy_image": envoy.NAME,
            "gateway_address": "127.0.0.1",
            "gateway_http_port": self.http,
            "gateway_https_port": self.https,
            "gateway_concurrency": 1,
            **changes,
        }
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            join = None if (self.directory / "data" / "identity.json").exists() else self.cp.join
            tasks.start_soon(lambda: serve(AgentSettings(**given), join=join, environ={}, stop=stop))
            await self.cp.connected()
            yield
            stop.set()

    async def serves(self, desired: GatewayDesired, replicas: Sequence[ReplicaDesired] = ()) -> GatewayStatus:
        """Push, and wait until Envoy has taken it over whole."""
        await self.cp.push(*replicas, gateway=desired)
        return await self.until(lambda status: status.state == "serving" and status.revision == self.cp.revision)

    async def until(self, true: Callable[[GatewayStatus], object], *, within: float = LIMIT) -> GatewayStatus:
        """Wait until the gateway tells what is so."""
        try:
            with anyio.fail_after(within):
                while self.cp.gateway is None or not true(self.cp.gateway):
                    await anyio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"not within {within:g} s: {self.cp.gateway}") from None
        return self.cp.gateway

    async def get(self, path: str = "/", *, host: str = "shop.example.com", **more: Any) -> Answered:
        """One request through Envoy on a connection of its own."""
        return await anyio.to_thread.run_sync(lambda: self.ask("GET", path, host=host, **more))

    def ask(
        self,
        method: str,
        path: str,
        *,
        host: str,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        body: bytes | None = None,
        seconds: float = 60.0,
    ) -> Answered:
        """The same, blocking; with `tls` the host is also the SNI."""
        port = self.https if tls else self.http
        raw = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        sock = _wrapped(raw, tls, host) if tls else raw
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = sock
        try:
            connection.request(method, path, body=body, headers={"Host": host, **(headers or {})})
            answer = connection.getresponse()
            return Answered(status=answer.status, body=answer.read(), headers=dict(answer.getheaders()))
        finally:
            connection.close()

    def page(self, path: str) -> tuple[int, Any]:
        """A page of the agent's own port, JSON where it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.health, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text[:1] == "{" else text

    def containers(self) -> list[str]:
        """Ids of this gateway's Envoys, running or not."""
        return docker("ps", "-aq", "--no-trunc", "--filter", f"label=fledx.gateway={self.cp.node_id}").split()

    def remove(self) -> None:
        """Take Envoy and the replicas of its node away."""
        ours = docker("ps", "-aq", "--filter", f"label=fledx.node_id={self.cp.node_id}").split()
        for container_id in (*self.containers(), *ours):
            docker("rm", "-f", container_id)


@asynccontextmanager
async def gateway(directory: Path) -> AsyncIterator[Fleet]:
    """A gateway that has not been started, with Envoy's image in this machine's engine."""
    await anyio.to_thread.run_sync(envoy.ensure_image, ENGINE)
    made = Fleet(directory)
    async with made.cp.listening():
        try:
            yield made
        finally:
            made.remove()
            forget_shared(made.cp.node_id)


def shared_by(node_id: str) -> list[Path]:
    """Where an agent and its Envoy may have their directory: not every machine has `/run` in memory."""
    return [Path(place, shared_with_envoy(node_id)) for place in places({})]


def forget_shared(node_id: str) -> None:
    """Remove it, after the agent and its Envoy."""
    for path in shared_by(node_id):
        shutil.rmtree(path, ignore_errors=True)


async def come_true(what: Callable[[], object]) -> None:
    """Wait for what is found out off the loop, as the agent runs in it."""
    with anyio.fail_after(LIMIT):
        while not await anyio.to_thread.run_sync(what):
            await anyio.sleep(0.005)


def _wrapped(raw: socket.socket, tls: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    try:
        return tls.wrap_socket(raw, server_hostname=host)
    except BaseException:
        raw.close()
        raise


def _connect(sock: socket.socket, port: int) -> None:
    sock.settimeout(60)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)


def docker(*words: str) -> str:
    """What the docker command prints."""
    done = subprocess.run(["docker", "-H", ENGINE, *words], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def local_replica(number: int) -> ReplicaDesired:
    """A replica of the shop to run on the gateway's own node."""
    fields: dict[str, Any] = {
        "deployment_id": "d-shop",
        "deployment": "shop",
        "replica_number": number,
        "generation": 1,
        "revision": 1,
        "template": "",
        "fence": 1,
        "image": SAMPLE,
    }
    return ReplicaDesired(**{**fields, "template": template_hash(encode(ReplicaDesired(**fields)))})
