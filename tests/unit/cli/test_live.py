"""The full-screen view, driven by keys on a screen that nobody sees; what it is fed with comes from the test."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from fledx.cli.live.app import LiveView
from fledx.cli.live.detail import Source
from fledx.cli.live.model import DEPLOYMENTS, Half, Picture
from fledx.client.api import ControlPlane
from fledx.client.streams import ServerEvent
from fledx.errors import Unavailable
from tests.unit.cli.harness import HOSTILE

pytestmark = pytest.mark.anyio
AT = "2026-11-18T09:46:00.000Z"


def node(name: str, status: str = "ready", **more: Any) -> ServerEvent:
    body = {"node_id": f"id-{name}", "name": name, "status": status, "since": AT, "availability": "active", **more}
    return ServerEvent(kind="node", data=body)


def deployment(name: str, status: str = "running", **more: Any) -> ServerEvent:
    body = {"deployment_id": f"id-{name}", "name": name, "status": status, "replicas": 2, "ready_replicas": 2}
    body |= {"image": "nginx:1", "created_at": AT, "labels": {"team": "a"}, "assignments": []}
    return ServerEvent(kind="deployment", data={**body, **more})


WHOLE = ServerEvent(kind="whole", data={})


class Wire:
    """One stream: what a test puts in comes out; an exception breaks it."""

    def __init__(self) -> None:
        self.items: queue.Queue[Any] = queue.Queue()
        self.ended = False

    def take(self, wait: float | None) -> list[Any]:
        """As `client.streams.Stream` has it."""
        try:
            found = self.items.get(timeout=0.05)
        except queue.Empty:
            return []
        if isinstance(found, Exception):
            raise found
        return [found] if isinstance(found, ServerEvent) else list(found)


class FakeControlPlane:
    """Hands out the streams that a test holds the other end of."""

    def __init__(self) -> None:
        self.everything, self.one, self.lines, self.events = Wire(), Wire(), Wire(), Wire()
        self.watched: list[str] = []
        self.nodes: dict[str, Any] = {}

    def watch(self) -> Wire:
        return self.everything

    def watch_deployment(self, ref: str) -> Wire:
        self.watched.append(ref)
        return self.one

    def follow_events(self, query: Any, *, after: str | None = None) -> Wire:
        return self.events

    def logs(self, refs: list[str], query: Any) -> Wire:
        return self.lines

    def node(self, ref: str) -> Any:
        return self.nodes[ref]

    def close(self) -> None:
        """Nothing is held."""


class Seat:
    """Somebody in front of the view."""

    def __init__(self, *, columns: int = 100, rows: int = 24, **halves: Any) -> None:
        self.api = FakeControlPlane()
        self.now = 1_763_459_200.0
        source = Source(connect=lambda: cast(ControlPlane, self.api), peer="http://cp")
        self.view = LiveView(source, Picture(**halves), now=lambda: self.now)
        self.size = (columns, rows)

    def sit(self) -> Any:
        """The pilot of textual."""
        return self.view.run_test(size=self.size)

    def rows(self, name: str = "deployments") -> list[list[str]]:
        """The texts of a table, row by row."""
        table = self.view.query_one(f"#{name}", DataTable)
        return [[str(cell) for cell in table.get_row_at(i)] for i in range(table.row_count)]

    def names(self, name: str = "deployments") -> list[str]:
        return [row[0] for row in self.rows(name)]

    def text(self, of: str) -> str:
        return str(self.view.screen.query_one(of, Static).content)


async def until(pilot: Pilot[Any], check: Callable[[], bool]) -> None:
    """Let the view run until it is so."""
    for _ in range(1000):
        if check():
            return
        await pilot.pause(0.02)
    raise AssertionError(f"not in time; shown: {[str(each.content) for each in pilot.app.screen.query(Static)]}")


async def test_what_is_worst_stands_on_top_and_each_change_is_shown() -> None:
    seat = Seat()
    async with seat.sit() as pilot:
        assert "asking http://cp" in seat.text("#head")
        seat.api.everything.items.put([deployment("api"), deployment("web", "failed", reason="no"), node("n1"), WHOLE])
        await until(pilot, lambda: seat.names() == ["web", "api"])
        assert seat.rows()[0][1] == "✖ failed"
        assert seat.rows()[0][-1] == "no"
        await until(pilot, lambda: "✖ 1 failed" in seat.text("#head"))

        seat.api.everything.items.put(deployment("web", ready_replicas=1))
        await until(pilot, lambda: seat.names() == ["api", "web"])
        assert seat.rows()[1][1:3] == ["● running", "1/2"]
        seat.api.everything.items.put(ServerEvent(kind="gone", data={"id": "id-api"}))
        await until(pilot, lambda: seat.names() == ["web"])


async def test_what_else_needs_attention_stands_above_the_tables_until_it_is_settled() -> None:
    seat = Seat()
    problems = [f"certificate shop-{i} ends in {i} days\nand more" for i in range(5)]
    async with seat.sit() as pilot:
        seat.api.everything.items.put([node("n1"), ServerEvent(kind="problems", data={"problems": problems}), WHOLE])
        await until(pilot, lambda: "shop-0" in seat.text("#attention"))
        assert seat.text("#attention").split("\n") == [
            "! certificate shop-0 ends in 0 days …",
            "! certificate shop-1 ends in 1 days …",
            "! and 3 more: `fledx status` tells all",
        ]

        seat.api.everything.items.put(ServerEvent(kind="problems", data={"problems": []}))
        await until(pilot, lambda: not seat.text("#attention"))
        assert not seat.view.query_one("#attention").has_class("shown")


def test_a_stream_that_tells_of_no_problems_has_none() -> None:
    picture = Picture()
    picture.begin()
    picture.take("problems", {"problems": ["gateway n1 is failed"]})
    picture.take("whole", {})
    assert picture.problems == ("gateway n1 is failed",)

    picture.begin()
    assert picture.problems == ("gateway n1 is failed",)
    picture.take("whole", {})

    assert not picture.problems


async def test_typing_filters_at_once_and_escape_shows_all_again() -> None:
    seat = Seat()
    async with seat.sit() as pilot:
        found = [
            deployment("api", image="caddy:2"),
            deployment("web"),
            deployment("worker", labels={"team": "b"}),
            WHOLE,
        ]
        seat.api.everything.items.put(found)
        await until(pilot, lambda: len(seat.rows()) == 3)

        await pilot.press("slash", "w")
        await until(pilot, lambda: seat.names() == ["web", "worker"])
        await pilot.press("space", "t", "e", "a", "m", "=", "b", "enter")
        await until(pilot, lambda: seat.names() == ["worker"])
        await until(pilot, lambda: "1 of 3" in seat.text("#title-deployments"))
        await pilot.press("escape")
        await until(pilot, lambda: len(seat.rows()) == 3)


async def test_rows_are_sorted_by_the_column_that_is_asked_for() -> None:
    seat = Seat()
    async with seat.sit() as pilot:
        seat.api.everything.items.put([deployment("b", ready_replicas=1), deployment("a"), deployment("c"), WHOLE])
        await until(pilot, lambda: seat.names() == ["a", "b", "c"])
        await pilot.press("s")
        await until(pilot, lambda: seat.names() == ["b", "a", "c"])  # what lacks most first
        await pilot.press("r")
        await until(pilot, lambda: seat.names()[-1] == "b")


async def test_a_row_opens_to_reasons_events_and_logs() -> None:
    seat = Seat(rows=40)
    async with seat.sit() as pilot:
        seat.api.everything.items.put([deployment("web"), WHOLE])
        await until(pilot, lambda: seat.names() == ["web"])
        await pilot.press("enter")
        pending = [{"replica_number": 1, "reason": "2 nodes: label disk=ssd missing"}]
        seat.api.one.items.put(deployment("web", "pending", pending=pending, revision=1, generation=1))
        happened = {"at": AT, "kind": "replica.placed", "subject": "web", "replica_number": 0, "reason": "on n1: new"}
        seat.api.events.items.put(ServerEvent(kind="message", data=happened, id="7"))
        await until(pilot, lambda: "label disk=ssd missing" in seat.text("#text"))
        await until(pilot, lambda: "replica.placed" in seat.text("#text"))
        assert seat.api.watched == ["id-web"]

        await pilot.press("l")
        line = {"deployment": "web", "replica_number": 0, "line": "hello\x1b[2J", "time": AT}
        seat.api.lines.items.put([line, {"notice": "n1 is away"}])
        log = seat.view.screen.query_one("#log")
        await until(pilot, lambda: list(log.lines)[:2] == ["web/0 | hello\\x1b[2J", "-- n1 is away --"])  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: len(seat.view.screen_stack) == 1)


async def test_a_node_opens_to_what_runs_there() -> None:
    seat = Seat(columns=150, rows=40)
    async with seat.sit() as pilot:
        seat.api.nodes["id-n1"] = {**node("n1").data, "instances": []}
        seat.api.everything.items.put([node("n1"), WHOLE])
        await until(pilot, lambda: seat.names("nodes") == ["n1"])
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "Nothing runs here." in seat.text("#text"))


async def test_a_control_plane_that_is_gone_is_a_banner_with_the_age_and_comes_back_by_itself() -> None:
    seat = Seat()
    async with seat.sit() as pilot:
        seat.api.everything.items.put([deployment("web"), deployment("old"), WHOLE])
        await until(pilot, lambda: len(seat.rows()) == 2)
        seat.now += 12
        seat.api.everything.items.put(Unavailable("connection refused"))
        await until(pilot, lambda: "connection refused" in seat.text("#banner"))
        assert "12s old" in seat.text("#banner")
        assert len(seat.rows()) == 2, "what is known stays"

        seat.api.everything.items.put([deployment("web"), WHOLE])
        await until(pilot, lambda: seat.names() == ["web"])
        await until(pilot, lambda: not seat.view.query_one("#banner").has_class("shown"))


async def test_both_tables_where_there_is_room_and_one_where_there_is_not() -> None:
    seat = Seat(columns=80)
    async with seat.sit() as pilot:

        def seen() -> list[str]:
            return [name for name in ("nodes", "deployments") if seat.view.query_one(f"#half-{name}").display]

        assert seen() == ["deployments"]
        await pilot.press("tab")
        await until(pilot, lambda: seen() == ["nodes"])
        await pilot.resize_terminal(140, 30)
        await until(pilot, lambda: seen() == ["nodes", "deployments"])
        await pilot.resize_terminal(60, 10)
        await until(pilot, lambda: seen() == ["nodes"])


async def test_hostile_names_are_harmless_and_no_markup() -> None:
    seat = Seat()
    async with seat.sit() as pilot:
        seat.api.everything.items.put([deployment(HOSTILE), deployment("[red]x[/red]"), WHOLE])
        await until(pilot, lambda: len(seat.rows()) == 2)
        assert all("\x1b" not in cell and "\n" not in cell for row in seat.rows() for cell in row)
        assert "[red]x[/red]" in seat.names()


async def test_a_thousand_of_each_are_shown_and_one_change_touches_one_row() -> None:
    seat = Seat(columns=150)
    async with seat.sit() as pilot:
        many = [deployment(f"d-{i:04}", replicas=5) for i in range(1000)] + [node(f"n-{i:04}") for i in range(1000)]
        seat.api.everything.items.put([*many, WHOLE])
        await until(pilot, lambda: len(seat.rows()) == 1000)
        await pilot.press(*["down"] * 5)
        seat.api.everything.items.put(deployment("d-0500", replicas=5, ready_replicas=4))
        await until(pilot, lambda: seat.rows()[500][2] == "4/5")
        assert seat.view.query_one("#deployments", DataTable).cursor_row == 5


async def test_an_error_of_ours_ends_the_view_with_its_reason() -> None:
    seat = Seat()
    async with seat.sit() as pilot:
        seat.api.everything.items.put(ServerEvent(kind="deployment", data={"deployment_id": "x", "assignments": 7}))
        await until(pilot, lambda: seat.view.failure is not None)
        await asyncio.sleep(0)
    assert seat.view.return_code == 1


def test_a_filter_looks_at_every_word() -> None:
    half = Half(columns=DEPLOYMENTS)
    half.items = {each.data["name"]: each.data for each in (deployment("web"), deployment("api", "failed"))}
    for words, found in (("", 2), ("WEB", 1), ("web failed", 0), ("fail", 1), ("team=a", 2), ("nginx", 2)):
        half.filter = words
        assert len(half.rows()) == found, words
    assert half.counts() == "✖ 1 failed  ● 1 running"
