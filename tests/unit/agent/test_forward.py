"""Connections into replicas: which container they reach, and which nothing makes them reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from fledx.errors import FledxError, InvalidSpec, Unavailable
from fledx.tunnel.stream import Stream
from tests.unit.agent.stage import replica
from tests.unit.agent.whole import WEB, World
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A node that runs one replica, whose container's address is loopback."""
    world = World(tmp_path)
    world.runtime.address = "127.0.0.1"
    async with world.running(replica()):
        yield world


@asynccontextmanager
async def shouting(host: str = "127.0.0.1", *, broken: list[str] | None = None) -> AsyncIterator[int]:
    """A service that says everything back in capitals and ends when its peer has; yields its port."""

    async def answer(client: SocketStream) -> None:
        async with client:
            try:
                async for piece in client:
                    await client.send(piece.upper())
            except anyio.BrokenResourceError as problem:
                assert broken is not None
                broken.append(str(problem.__cause__))

    async with await anyio.create_tcp_listener(local_host=host) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield int(listener.extra(SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


async def connect(world: World, port: Any, key: tuple[Any, Any] = WEB, **more: str) -> Stream:
    assert world.cp.link is not None
    meta = {"deployment_id": key[0], "replica_number": key[1], "port": port, **more}
    return await world.cp.link.open("connect", meta)


async def test_bytes_go_both_ways_and_each_side_ends_on_its_own(world: World) -> None:
    async with shouting() as port:
        stream = await connect(world, port)
        await stream.send_all(b"hello")
        assert await stream.receive() == b"HELLO"
        await stream.send_all(b"and goodbye")
        await stream.send_eof()
        assert await stream.receive() == b"AND GOODBYE"
        assert await stream.receive() == b""


async def test_fault_23_a_replica_of_another_node_is_refused_before_any_byte(world: World) -> None:
    async with shouting() as port:
        for key in (("d-web", 1), ("d-other", 0)):
            with pytest.raises(Unavailable, match=f"replica {key[1]} of deployment {key[0]} does not run on this node"):
                await connect(world, port, key)


async def test_fault_43_the_address_is_the_containers_whatever_the_peer_says(world: World) -> None:
    async with shouting("127.0.0.2") as port:
        lies: tuple[dict[str, str], ...] = (
            {"host": "127.0.0.2"},
            {"address": "127.0.0.2"},
            {"container_id": "c1", "host": "127.0.0.2"},
        )
        for lie in lies:
            with pytest.raises(Unavailable, match=f"port {port} of container fledx-web-0-.* connection refused"):
                await connect(world, port, WEB, **lie)


async def test_fault_43_a_container_without_a_network_does_not_mean_the_node_itself(world: World) -> None:
    world.runtime.change(world.runtime.running()[0].id, address=None)
    async with shouting() as port:
        await world.cp.push(replica(), replica(1))
        await until(lambda: ("d-web", 1) in world.cp.instances)
        with pytest.raises(Unavailable, match="has no address that this node can reach"):
            await connect(world, port)
        world.runtime.change(world.runtime.running()[0].id, host_network=True)
        await world.cp.push(replica(), replica(1), replica(2))
        await until(lambda: ("d-web", 2) in world.cp.instances)
        stream = await connect(world, port)
        await stream.send_all(b"of the host")
        assert await stream.receive() == b"OF THE HOST"


async def test_what_is_no_port_or_names_no_replica_is_refused(world: World) -> None:
    for port in (0, 65536, -1, "80", None, True, 80.0):
        with pytest.raises(InvalidSpec, match="a port between 1 and 65535"):
            await connect(world, port)
    for key in ((None, 0), (["d-web"], 0), ("d-web", "0"), ("d-web", None), ("d-web", True)):
        with pytest.raises(InvalidSpec, match="names a deployment_id and a replica_number"):
            await connect(world, 80, key)


async def test_a_replica_that_is_being_replaced_is_reached_where_it_runs(world: World) -> None:
    async with shouting() as port:
        await world.cp.push(replica(image="app:2", revision=2))
        await until(lambda: world.cp.instances[WEB].revision == 2)
        stream = await connect(world, port)
        await stream.send_all(b"new")
        assert await stream.receive() == b"NEW"
        await world.cp.push()
        await until(lambda: not world.cp.instances)
        with pytest.raises(FledxError, match="does not run on this node"):
            await connect(world, port)


async def test_a_peer_that_gives_up_is_a_broken_connection_to_the_service_and_no_clean_end(world: World) -> None:
    broken: list[str] = []
    async with shouting(broken=broken) as port:
        stream = await connect(world, port)
        await stream.send_all(b"x")
        assert await stream.receive() == b"X"
        stream.reset("changed my mind")
        await until(lambda: broken)
    assert "reset by peer" in broken[0]
