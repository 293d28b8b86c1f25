"""Agents that tell what they used only now and then are asked for it when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import anyio
import pytest

from fledx.control_plane.asking import ANSWER_SECONDS, FRESH_SECONDS, UsageAsking
from fledx.control_plane.dispatch import Dispatch, Session
from fledx.errors import Unavailable
from fledx.tunnel.link import Link

pytestmark = pytest.mark.anyio


class FakeLink:
    """Takes messages, unless it is over."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.over = False

    def send(self, message: Mapping[str, Any]) -> None:
        if self.over:
            raise Unavailable("the link is over")
        self.sent.append(message)


class Room:
    """A control plane with two nodes connected, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.links = {"n1": FakeLink(), "n2": FakeLink()}
        self.asking = UsageAsking(cast(Dispatch, self), monotonic=lambda: self.now)

    def session(self, node_id: str) -> Session | None:
        link = self.links.get(node_id)
        return None if link is None else Session(node_id, node_id, cast(Link, link))

    def asked(self) -> dict[str, int]:
        """How often each was asked."""
        return {name: len(link.sent) for name, link in self.links.items()}


async def test_whoever_looks_waits_until_all_have_told() -> None:
    room = Room()
    done: list[str] = []

    async def look() -> None:
        await room.asking.ask(["n1", "n2", "gone"])
        done.append("looked")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        assert [{"type": "usage"}] == room.links["n1"].sent
        room.asking.told("n1")
        await anyio.wait_all_tasks_blocked()
        assert done == []
        room.asking.told("n2")
        await anyio.wait_all_tasks_blocked()
        assert done == ["looked"]


async def test_one_that_has_just_told_is_not_asked_again() -> None:
    room = Room()
    room.asking.told("n1")
    room.now += FRESH_SECONDS - 0.1
    await room.asking.ask(["n1"])
    assert room.asked()["n1"] == 0

    room.now += 0.2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(room.asking.ask, ["n1"])
        tasks.start_soon(room.asking.ask, ["n1"])
        await anyio.wait_all_tasks_blocked()
        assert room.asked()["n1"] == 1, "two that look at once ask once"
        room.asking.told("n1")


async def test_one_that_does_not_answer_is_waited_for_only_so_long() -> None:
    room = Room()
    room.links["n2"].over = True
    with anyio.fail_after(ANSWER_SECONDS + 5):
        await room.asking.ask(["n1", "n2"])
        await room.asking.ask(["n1"])
    assert room.asked() == {"n1": 1, "n2": 0}
