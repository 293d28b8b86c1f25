"""Answers that go on."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest
from starlette.types import Message

from fledx.control_plane.api.streams import EVENTS, LINES, Pace, Stream, line, sent
from tests.unit.api.caller import Caller

pytestmark = pytest.mark.anyio
QUICK = Pace(head=0.01, idle=0.01, send=0.05, stop=0.05)


async def numbers(*items: int, hold: bool = False) -> AsyncGenerator[int, None]:
    for item in items:
        yield item
    if hold:
        await anyio.sleep_forever()


def stream(items: AsyncGenerator[int, None], **more: Any) -> Stream[int]:
    given = {"stopping": anyio.Event(), "request_id": "r-1", "pace": QUICK, **more}
    return Stream(items, sent, EVENTS, **given)


async def endless(unwound: anyio.Event) -> AsyncGenerator[int, None]:
    """A source that never rests, and tells when it is let go."""
    try:
        while True:
            yield 1
    finally:
        unwound.set()


async def counting(made: list[int]) -> AsyncGenerator[int, None]:
    """The same, with what it has made so far."""
    while True:
        made.append(len(made) + 1)
        yield made[-1]


async def test_a_quiet_event_stream_gives_signs_of_life_that_readers_pass_over() -> None:
    async with Caller(stream(numbers(hold=True))).reading("/") as reading:
        await reading.until(b": still here\n\n")
        await reading.until(b": still here\n\n")


async def test_a_quiet_line_stream_gives_empty_lines() -> None:
    quiet = Stream(numbers(hold=True), line, LINES, stopping=anyio.Event(), request_id="r-1", pace=QUICK)

    async with Caller(quiet).reading("/") as reading:
        assert await reading.until(b"\n\n") == b"\n\n"


async def test_items_that_are_ready_together_go_out_together() -> None:
    sizes: list[int] = []

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sizes.append(message.get("body", b"").count(b"data"))

    scope = Caller(stream(numbers()))._scope("GET", "/", {}, None)
    await stream(numbers(*range(500)))(scope, receive, send)

    assert sum(sizes) == 500
    assert len(sizes) < 10


async def test_a_stream_ends_by_itself_with_its_last_word() -> None:
    answer = await Caller(stream(numbers(1, 2), last=sent({}, kind="gone")))("GET", "/")

    assert answer.body == b"data: 1\n\ndata: 2\n\nevent: gone\ndata: {}\n\n"


async def test_stopping_ends_a_stream_at_once_without_its_last_word() -> None:
    stopping = anyio.Event()
    following = stream(numbers(1, hold=True), last=b"gone", stopping=stopping)

    async with Caller(following).reading("/") as reading:
        await reading.until(b"data: 1")
        stopping.set()
        assert b"gone" not in await reading.rest()
        await reading.ended.wait()


async def test_stopping_does_not_wait_for_a_reader_who_takes_nothing() -> None:
    stopping, unwound = anyio.Event(), anyio.Event()
    following = stream(endless(unwound), stopping=stopping, pace=Pace(send=60, stop=0.01))
    async with Caller(following).reading("/", slow=True) as reading:
        stopping.set()
        with anyio.fail_after(60):
            await reading.ended.wait()
    assert unwound.is_set()


async def test_a_reader_who_takes_nothing_is_cut_off_and_the_source_unwound() -> None:
    unwound = anyio.Event()

    async with Caller(stream(endless(unwound))).reading("/", slow=True) as reading:
        with anyio.fail_after(60):
            await reading.ended.wait()
    assert unwound.is_set()


async def test_a_slow_reader_holds_the_source_back() -> None:
    made = list[int]()

    async with Caller(stream(counting(made), pace=Pace())).reading("/", slow=True) as reading:
        await reading.until(b"data: 1\n")
        await anyio.wait_all_tasks_blocked()
        held = len(made)
        await anyio.wait_all_tasks_blocked()
        assert len(made) == held


async def test_a_source_with_tasks_of_its_own_is_unwound_when_the_reader_leaves() -> None:
    unwound = anyio.Event()

    async def busy() -> AsyncGenerator[int, None]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                while True:
                    yield 1
        finally:
            unwound.set()

    async with Caller(stream(busy(), pace=Pace())).reading("/", slow=True) as reading:
        await reading.until(b"data")
    assert unwound.is_set()


async def test_a_fault_of_ours_before_the_first_item_is_raised() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        raise ZeroDivisionError
        yield 1

    with pytest.raises(ZeroDivisionError):
        await Caller(stream(broken()))("GET", "/")


async def test_a_fault_of_ours_later_is_logged_once_and_told_without_a_word_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise ZeroDivisionError("secret detail")

    answer = await Caller(stream(broken()))("GET", "/")

    assert b'event: error\ndata: {"error":"the control plane failed' in answer.body
    assert b"secret" not in answer.body
    (record,) = caplog.records
    assert (record.levelno, record.request_id) == (logging.ERROR, "r-1")  # type: ignore[attr-defined]


async def test_what_cannot_be_written_ends_the_stream_and_unwinds_the_source(caplog: pytest.LogCaptureFixture) -> None:
    unwound = anyio.Event()

    async def odd() -> AsyncGenerator[Any, None]:
        try:
            yield 1
            yield object()
        finally:
            unwound.set()

    answer = await Caller(stream(odd()))("GET", "/")

    assert b"internal_error" in answer.body
    assert unwound.is_set()
    assert len(caplog.records) == 1


async def test_a_stream_where_only_the_newest_counts_rests_after_each_item() -> None:
    made = list[int]()

    async with Caller(stream(counting(made), pace=Pace(rest=1_000_000.0))).reading("/") as reading:
        await reading.until(b"data: 1")
        await anyio.wait_all_tasks_blocked()
        assert made == [1]
