"""The straight way to instances elsewhere: taken where somebody answers, and only as long as somebody does."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import anyio
import pytest

from fledx.agent.ingress.direct import CHECK_SECS, Direct
from fledx.models.ingress import Endpoint
from tests.fakes.clock import FakeClock
from tests.ports import free_port
from tests.unit.agent.gateways import endpoint
from tests.waiting import until

pytestmark = pytest.mark.anyio
HOST = "127.0.0.1"


def listener(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((HOST, port))
    made.listen()
    return made


@pytest.fixture
def silent() -> Iterator[int]:
    """A port at which nobody listens, and nobody else can."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]


async def test_the_first_address_that_answers_is_taken_left_when_it_ends_and_found_again(silent: int) -> None:
    clock, news, there = FakeClock(), list[bool](), list[Endpoint]()
    port = free_port()
    far = endpoint(addresses=("nonsense", f"{HOST}:{silent}", f"{HOST}:{port}"))
    direct = Direct(endpoints=lambda: there, changed=lambda: news.append(True), clock=clock)

    def found_as_time_passes() -> tuple[str, int] | None:
        clock.advance(CHECK_SECS)
        return direct.found(far)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(direct.run)
        with listener(port):
            there.append(far)
            await until(lambda: found_as_time_passes() == (HOST, port))
        await until(lambda: found_as_time_passes() is None)
        with listener(port):
            await until(lambda: found_as_time_passes() == (HOST, port))
            await until(lambda: len(news) >= 3)
        tasks.cancel_scope.cancel()
