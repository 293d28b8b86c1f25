"""Where an operator's session is dialled, what is believed of it, and what is tried where the first host is not it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.http1 import Request
from fledx.client.operator_session import WayIn, dial_in, way_in
from fledx.errors import Denied, Unavailable
from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link
from fledx.tunnel.listen import Listener
from tests.fakes.transport import Answer, FakeTransport, json_answer
from tests.unit.tunnel.world import Trust

pytestmark = pytest.mark.anyio


def told(**tunnel: Any) -> ControlPlane:
    """A control plane that tells this of its tunnel."""

    def answer(request: Request) -> Answer:
        if request.target.endswith("/authority"):
            return json_answer({"pem": "PEM", "fingerprint": "f"})
        return json_answer({"summary": {}, "control_plane": {"version": "1", **({"tunnel": tunnel} if tunnel else {})}})

    return ControlPlane(FakeTransport(answer), Credentials(operator_token="t0ken"), peer="http://cp")


def test_the_apis_own_host_comes_first_then_the_one_that_nodes_are_told() -> None:
    found = way_in(told(host="10.0.0.5", port=7443, use_tls=True), host="cp.example", token="t0ken")
    assert found == WayIn(hosts=("cp.example", "10.0.0.5"), port=7443, authority="PEM", token="t0ken")
    same = way_in(told(host="cp.example", port=7443, use_tls=False), host="cp.example", token="t0ken")
    assert same == WayIn(hosts=("cp.example",), port=7443, authority=None, token="t0ken")
    assert "t0ken" not in repr(found)


def test_an_older_control_plane_and_a_missing_token_are_said_so() -> None:
    with pytest.raises(Unavailable, match="does not tell where its tunnel is"):
        way_in(told(), host="cp", token="t0ken")
    with pytest.raises(Denied, match="no operator token"):
        way_in(told(host="cp", port=7443, use_tls=True), host="cp", token=None)


class Door:
    """A tunnel port with a certificate for localhost and 127.0.0.1 that lets in whoever has the token."""

    def __init__(self, trust: Trust) -> None:
        self.listener = Listener(authenticate=self.judge, on_link=self.attend, tls=trust.server(), authority=trust.pem)
        self.port = self.listener.bind("127.0.0.1", 0)

    async def judge(self, hello: Hello, address: str) -> Welcome | Refused:
        if (hello.role, hello.token) == ("operator", "t0ken"):
            return Welcome(session="s")
        return Refused(code="denied", reason="this operator token is not known")

    async def attend(self, link: Link) -> None:
        await link.closed()


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust.make(tmp_path_factory.mktemp("trust"), "localhost", "127.0.0.1")


@asynccontextmanager
async def opened(trust: Trust) -> AsyncIterator[tuple[WayIn, TaskGroup]]:
    door = Door(trust)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(door.listener.serve)
        yield WayIn(hosts=("127.0.0.1",), port=door.port, authority=trust.pem, token="t0ken"), tasks
        tasks.cancel_scope.cancel()


async def test_a_host_that_does_not_answer_gives_way_to_the_next(trust: Trust) -> None:
    async with opened(trust) as (way, tasks):
        link = await dial_in(replace(way, hosts=("127.0.0.2", "127.0.0.1")), tasks)
        assert link.address.startswith("127.0.0.1:")
        with pytest.raises(Unavailable, match=r"127\.0\.0\.3"):
            await dial_in(replace(way, hosts=("127.0.0.2", "127.0.0.3")), tasks)


async def test_a_wrong_token_is_shown_to_no_second_host(trust: Trust) -> None:
    async with opened(trust) as (way, tasks):
        with pytest.raises(Denied, match="not known"):
            await dial_in(replace(way, token="wrong", hosts=("127.0.0.1", "127.0.0.2")), tasks)


async def test_a_tunnel_that_another_authority_vouches_for_gets_no_token(trust: Trust, tmp_path: Path) -> None:
    other = Trust.make(tmp_path, "127.0.0.1")
    async with opened(trust) as (way, tasks):
        with pytest.raises(Denied) as refused:
            await dial_in(replace(way, authority=other.pem), tasks)
        assert refused.value.code == "certificate"
