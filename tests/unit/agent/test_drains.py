"""When an endpoint that drains is done with."""

from __future__ import annotations

import socket

import pytest

from fledx.agent.clock import Clock
from fledx.agent.ingress.drains import Drains
from fledx.agent.ingress.envoy_config.shapes import Target
from fledx.agent.ingress.targets import Reached
from tests.unit.agent.gateways import SHOP, backend, endpoint

pytestmark = pytest.mark.anyio


class World:
    """What Envoy has under way: requests that it counts, and connections to sockets."""

    def __init__(self) -> None:
        self.inline = False
        self.requests: dict[tuple[str, str], int] = {}
        self.sockets: set[str] = set()
        self.drains = Drains(
            inline=lambda: self.inline, active=self.counted, busy=self.sockets.__contains__, clock=Clock()
        )

    async def counted(self) -> dict[tuple[str, str], int]:
        """As Envoy's own page has it."""
        return self.requests

    async def over(self, *ways: Reached, awaited: bool = False) -> list[int]:
        """The replicas that are done with, after another look."""
        due = await self.drains.look(ways, {SHOP} if awaited else ())
        over = [each.replica_number for each in self.drains.over()]
        assert (due is None) is (len(over) == len([each for each in ways if each.endpoint.draining]))
        return over


def way(number: int, target: Target | None, *, draining: bool = True) -> Reached:
    return Reached(backend=backend(), endpoint=endpoint(number, draining=draining), way="tunnel", target=target)


FIRST, SECOND = Target(address="a.sock"), Target(address="b.sock")


async def test_one_with_a_request_under_way_is_waited_for_and_one_without_is_done_with() -> None:
    world = World()
    ways = way(0, FIRST), way(1, SECOND), way(2, None), way(3, Target(address="c.sock"), draining=False)
    world.requests = {(SHOP, FIRST.shown): 2, (SHOP, SECOND.shown): 0}
    assert [1, 2] == await world.over(*ways)
    world.requests.clear()
    assert [0, 1, 2] == await world.over(*ways)


async def test_one_that_serves_again_or_is_gone_is_done_with_no_more() -> None:
    world = World()
    assert [0, 1] == await world.over(way(0, FIRST), way(1, SECOND))
    assert [] == await world.over(way(0, FIRST, draining=False))


@pytest.mark.parametrize("awaited", [False, True], ids=["endpoints in their clusters", "nobody but what drains"])
async def test_where_envoy_cannot_count_its_connections_do(*, awaited: bool) -> None:
    world = World()
    world.inline = not awaited
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        ways = way(0, FIRST), way(1, Target(address="127.0.0.1", port=port))
        world.sockets.add(FIRST.address)
        with socket.create_connection(("127.0.0.1", port)):
            assert [] == await world.over(*ways, awaited=awaited)
            world.sockets.clear()
            assert [0] == await world.over(*ways, awaited=awaited)
        listening.accept()[0].close()
        assert [0, 1] == await world.over(*ways, awaited=awaited)
