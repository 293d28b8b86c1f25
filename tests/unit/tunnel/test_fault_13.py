"""
All agents reconnect at once (fault 13): each turn of the loop lets few in, so that whatever else runs on it, the API
above all, gets its turns; those who wait cost nothing; and all come in.

What is counted are turns of the loop and heads, never seconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import anyio
import pytest
from anyio.abc import TaskGroup

from fledx.errors import FledxError
from fledx.tunnel.dial import Caller
from fledx.tunnel.greeting import Hello, Refused, Welcome, hello_frame
from fledx.tunnel.link import Link
from fledx.tunnel.listen import ACCEPTS
from fledx.tunnel.tls import Clear, Tls
from tests.unit.tunnel.world import HELLO, Door, Trust, echo, open_door
from tests.waiting import until

pytestmark = pytest.mark.anyio

AGENTS = 200


@contextmanager
def each_turn(look: Callable[[], int]) -> Iterator[list[int]]:
    """What `look` returns in each turn of the loop."""
    loop, seen, watching = asyncio.get_running_loop(), list[int](), True

    def turn() -> None:
        seen.append(look())
        if watching:
            loop.call_soon(turn)

    loop.call_soon(turn)
    try:
        yield seen
    finally:
        watching = False


class Judge:
    """Welcomes all, once it may, and counts them."""

    def __init__(self, *, waiting: bool = False) -> None:
        self.count = 0
        self.may_go_on = anyio.Event()
        if not waiting:
            self.may_go_on.set()

    async def judge(self, hello: Hello, address: str) -> Welcome | Refused:
        self.count += 1
        await self.may_go_on.wait()
        return Welcome(session="s")


def crowd(door: Door, tasks: TaskGroup) -> None:
    """
    So many agents at once: the kernel holds all of them before the listener has its first turn.

    One that is turned away dials again, as agents do.
    """
    tls = door.trust.client() if door.trust else None

    def attend(link: Link) -> None:
        link.attend(on_stream=echo, on_message=lambda message: None)

    async def come_in(sock: socket.socket) -> None:
        caller = Caller(sock, Tls(tls, server=False, host="localhost") if tls else Clear(), "the door", attend)
        caller.session.greet(HELLO)
        try:
            await caller.call()
        except FledxError:
            await come_in(arrived(door))

    for sock in [arrived(door) for _ in range(AGENTS)]:
        tasks.start_soon(come_in, sock)


def arrived(door: Door) -> socket.socket:
    """A connection that the kernel has accepted, and nobody else yet."""
    return socket.create_connection(("127.0.0.1", door.port))


async def test_fault_13_a_turn_of_the_loop_accepts_few_and_judges_few_and_all_come_in(either: Trust | None) -> None:
    judge = Judge()
    async with open_door(either, authenticate=judge.judge) as door, anyio.create_task_group() as tasks:
        listener = door.listener
        crowd(door, tasks)
        with (
            each_turn(lambda: listener.strangers + len(listener.links)) as accepted,
            each_turn(lambda: judge.count) as heard,
        ):
            await until(lambda: len(door.links) >= AGENTS)

    for seen in (accepted, heard):
        assert max(after - before for before, after in pairwise([0, *seen])) <= ACCEPTS


async def test_fault_13_hellos_that_come_all_in_one_turn_are_judged_a_few_in_each() -> None:
    judge = Judge()
    async with open_door(None, authenticate=judge.judge) as door, anyio.create_task_group() as tasks:
        silent = [arrived(door) for _ in range(AGENTS)]
        await until(lambda: door.listener.strangers == AGENTS)
        for sock in silent:
            sock.sendall(hello_frame(HELLO))
        with each_turn(lambda: judge.count) as seen:
            await until(lambda: len(door.links) == AGENTS)
        for sock in silent:
            sock.close()
        tasks.cancel_scope.cancel()

    assert max(after - before for before, after in pairwise([0, *seen])) == ACCEPTS


async def test_fault_13_no_more_than_so_many_wait_to_be_judged_the_kernel_holds_the_others() -> None:
    most, judge = 24, Judge(waiting=True)
    async with (
        open_door(None, authenticate=judge.judge, most_strangers=most) as door,
        anyio.create_task_group() as tasks,
    ):
        crowd(door, tasks)
        with each_turn(lambda: door.listener.strangers) as seen:
            await until(lambda: judge.count >= most)
            judge.may_go_on.set()
            await until(lambda: len(door.links) >= AGENTS)

    assert max(seen) == most
