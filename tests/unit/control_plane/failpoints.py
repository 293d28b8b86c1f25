"""
A process that carries out every kind of write and is killed in the middle of it, a child of its own for each time.

Called with the path of a database that `prepare` filled, and a folder: for each write and each point it leaves the
database as the kill left it, in `WRITE.POINT.db`. SQLite's own trace says where a transaction has got to.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio

from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.fleet import Drain, Fleet
from fledx.control_plane.nodes import change_status
from fledx.control_plane.revisions import Revisions
from fledx.control_plane.trust.operator_tokens import NewToken
from fledx.control_plane.volumes import Volumes
from fledx.models.archive import Sum
from fledx.models.config import ConfigEntry, ConfigSpec
from fledx.models.deployment import DeploymentSpec
from fledx.models.port import PortMapping
from fledx.models.registry import RegistryLogin
from fledx.models.token import JoinString
from fledx.models.volume import VolumeMount
from tests.builders import facts, spec
from tests.issued import issued
from tests.unit.control_plane.conftest import ME, Stage

#: `undisturbed` is killed only once the write is acknowledged; the others before that, the last one after COMMIT.
POINTS = ("undisturbed", "first statement", "half way", "before commit", "after commit")
#: One replica too many for its port.
API = spec(name="api", replicas=3, ports=(PortMapping(container_port=80, host_port=8088),))
DB = spec(name="db", image="postgres", replicas=1, volumes=(VolumeMount(name="data", container_path="/data"),))
Write = Callable[["Site"], Awaitable[Any]]


class Receiver:
    """A node's end of a restore: it takes what comes, and says that it has filled a volume."""

    def __init__(self) -> None:
        self._answer = [b'{"bytes": 3}']

    async def open(self, node_id: str, kind: str, meta: Mapping[str, Any]) -> Receiver:
        """As `Dispatch` has it."""
        return self

    async def __aenter__(self) -> Receiver:
        return self

    async def __aexit__(self, *problem: object) -> None:
        pass

    async def send_all(self, data: bytes) -> None:
        """Take it."""

    async def send_eof(self) -> None:
        """That was all."""

    async def receive(self) -> bytes:
        """The answer, and its end."""
        return self._answer.pop() if self._answer else b""


class Site:
    """The use cases that operators, agents and loops call."""

    def __init__(self, path: Path) -> None:
        self.stage = stage = Stage(path)
        self.dispatch = Dispatch(stage.store, stage.seal)
        self.fleet = Fleet(stage.store, stage.changes, stage.tokens, self.dispatch)
        self.revisions = Revisions(stage.store, stage.changes, stage.deployments)
        self.volumes = Volumes(stage.store, stage.changes, cast(Dispatch, Receiver()))

    def owner(self, volume: str) -> str:
        """The node that a volume lies on."""
        sql = "SELECT node_id FROM volume WHERE name = ?"
        return str(self.stage.store.read(lambda store: store.execute(sql, (volume,)).fetchone())[0])

    def id_of(self, name: str) -> str:
        """A node's id."""
        return self.stage.nodes.get(name).node_id


async def prepare(path: Path) -> None:
    """
    Two nodes, a deployment with a history, one with data, one whose data is to go, a config, a secret, a registry, a
    certificate, tokens: something for every write to act on.
    """
    site = Site(path)
    stage = site.stage
    for name in ("edge-1", "edge-2"):
        await stage.node(name, allows=())
    await stage.deployments.create(spec(name="web", image="web:1", replicas=3), by=ME)
    await stage.deployments.patch("web", {"image": "web:2"}, by=ME)
    for name in ("edge-1", "edge-2"):
        await stage.runs(site.id_of(name))
    await stage.configs.create(ConfigSpec(name="shop", entries=(ConfigEntry(key="A", value="1"),)), by=ME)
    await stage.configs.create(ConfigSpec(name="base"), by=ME)
    await stage.configs.attach("base", "deployment", "web", by=ME)
    await stage.secrets.put("key", b"one", by=ME)
    await stage.registries.put(login("one"), by=ME)
    await stage.certificates.create("shop", *pair(site), by=ME)
    await stage.deployments.create(DB, by=ME)
    await stage.deployments.create(replace(DB, name="old"), by=ME)
    await stage.deployments.delete("old", by=ME, drop_volumes=True)
    await stage.operator_tokens.create(NewToken(name="bob"), by=ME)
    made = await stage.tokens.create_join(ttl_seconds=86400, uses=1, by=ME)
    path.with_suffix(".join").write_text(JoinString.parse(made.join).token)
    stage.store.close()


async def _join(site: Site) -> Any:
    token = (site.stage.store.path.parent.parent / "prepared.join").read_text()
    return await site.stage.nodes.register(facts(name="edge-3"), by=site.stage.tokens.registration(token))


async def _told(site: Site) -> Any:
    return await site.stage.nodes.told(site.id_of("edge-1"), facts(name="edge-1", runtime_error="no engine"))


def login(password: str, host: str = "registry.example.com") -> RegistryLogin:
    return RegistryLogin(host=host, username="ci", password=password)


def pair(site: Site) -> tuple[str, str]:
    """A certificate and its key, as nobody has had them before."""
    made = issued(["shop.example.com"], now=site.stage.changes.clock())
    return made.chain, made.key


async def _restored(site: Site) -> Any:
    async def backup() -> AsyncIterator[bytes]:
        content = Sum()
        content.add(b"tar")
        yield b"tar" + content.last_block()

    return await site.volumes.restore("db", "data", replica=None, pieces=backup(), by=ME)


async def _moved(site: Site) -> None:
    """What the loop does that finds edge-1 silent for too long."""
    await site.stage.lose(site.id_of("edge-1"), why="edge-1 is away")


WRITES: dict[str, Write] = {
    "create": lambda site: site.stage.deployments.create(API, by=ME, idempotency_key="once"),
    "scale": lambda site: site.stage.deployments.patch("web", {"replicas": 5}, by=ME),
    "update": lambda site: site.stage.deployments.patch("web", {"image": "web:3"}, by=ME),
    "replace": lambda site: site.stage.deployments.replace("web", DeploymentSpec(name="web", image="web:4"), by=ME),
    "stop": lambda site: site.stage.deployments.patch("web", {"desired_state": "stopped"}, by=ME),
    "restart": lambda site: site.revisions.restart("web", by=ME),
    "rollback": lambda site: site.revisions.rollback("web", to=1, by=ME),
    "delete": lambda site: site.stage.deployments.delete("web", by=ME),
    "join token": lambda site: site.stage.tokens.create_join(ttl_seconds=60, uses=1, by=ME),
    "join": _join,
    "connect": lambda site: site.stage.nodes.connected(site.id_of("edge-1"), facts(name="edge-1", os="plan9"), "here"),
    "told": _told,
    "report": lambda site: site.stage.report(site.id_of("edge-1")),
    "cordon": lambda site: site.fleet.cordon("edge-1", by=ME),
    "drain": lambda site: site.fleet.drain("edge-1", Drain(), by=ME),
    "label": lambda site: site.fleet.label("edge-1", {"disk": "ssd"}, by=ME),
    "forget a node": lambda site: site.fleet.delete("edge-1", by=ME, force=True),
    "show silence": lambda site: site.stage.act(
        lambda tx: change_status(tx, site.id_of("edge-1"), "unreachable", "away")
    ),
    "move work": _moved,
    "config": lambda site: site.stage.configs.create(ConfigSpec(name="new"), by=ME),
    "config change": lambda site: site.stage.configs.update("base", {"entries": [{"key": "B", "value": "2"}]}, by=ME),
    "attach": lambda site: site.stage.configs.attach("shop", "deployment", "web", by=ME),
    "detach": lambda site: site.stage.configs.detach("base", "deployment", "web", by=ME),
    "config end": lambda site: site.stage.configs.delete("shop", by=ME),
    "secret": lambda site: site.stage.secrets.put("new", b"value", by=ME),
    "secret change": lambda site: site.stage.secrets.put("key", b"two", by=ME),
    "secret end": lambda site: site.stage.secrets.delete("key", by=ME),
    "registry": lambda site: site.stage.registries.put(login("x", "other.example.com"), by=ME),
    "registry change": lambda site: site.stage.registries.put(login("two"), by=ME),
    "registry end": lambda site: site.stage.registries.delete("registry.example.com", by=ME),
    "certificate": lambda site: site.stage.certificates.create("new", *pair(site), by=ME),
    "certificate change": lambda site: site.stage.certificates.put("shop", *pair(site), by=ME),
    "certificate end": lambda site: site.stage.certificates.delete("shop", by=ME),
    "volume": lambda site: site.stage.deployments.create(replace(DB, name="db2"), by=ME),
    "volume restored": _restored,
    "volume left": lambda site: site.stage.deployments.delete("db", by=ME),
    "volume given up": lambda site: site.stage.deployments.delete("db", by=ME, drop_volumes=True),
    "volume gone": lambda site: site.volumes.dropped(site.owner("fledx-old-data-0"), ["fledx-old-data-0"]),
    "token": lambda site: site.stage.operator_tokens.create(NewToken(name="eve"), by=ME),
    "revoke": lambda site: site.stage.operator_tokens.revoke("bob", by=ME),
    "refusal": lambda site: site.stage.audit.refused("auth", ME, "a wrong token"),
}


def die() -> None:
    """As by `kill -9`: nothing is written or closed any more."""
    os.kill(os.getpid(), signal.SIGKILL)


def trap(site: Site, point: str, statements: int) -> list[str]:
    """Be killed at a point of the next transaction that changes something; the statements that are executed."""
    seen: list[str] = []

    def trace(statement: str) -> None:
        word = statement.split(None, 1)[0].upper()
        if word == "BEGIN":
            seen.clear()
        seen.append(word)
        at = {"first statement": 2, "half way": max(2, statements // 2)}.get(point)
        if len(seen) == at or (point == "before commit" and word == "COMMIT"):
            die()

    writer: Any = site.stage.store._writer
    writer.set_trace_callback(trace)
    if point == "after commit":
        whole = site.stage.store._transaction

        def committed(*args: Any) -> Any:
            whole(*args)
            die()

        site.stage.store._transaction = committed  # type: ignore[assignment, method-assign]
    return seen


def carried_out(path: Path, write: Write, point: str, statements: int) -> int:
    """Run a write in a child that is killed there; how many statements its transaction had, 0 if it was killed."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)

        async def act() -> None:
            site = Site(path)
            seen = trap(site, point, statements)
            await write(site)
            os.write(writing, str(len(seen)).encode())
            die()

        anyio.run(act)
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        count = int(told.read() or "0")
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    return count


def main(prepared: Path, folder: Path) -> None:
    """Every write, every point."""
    for name, write in WRITES.items():
        statements = 0
        for point in POINTS:
            path = folder / f"{name}.{point}.db"
            shutil.copy(prepared, path)
            count = carried_out(path, write, point, statements)
            statements = statements or count
            assert bool(count) == (point == "undisturbed"), (name, point)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        anyio.run(prepare, Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
