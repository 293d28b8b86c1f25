"""Agent and control plane of different versions agree, or part with a sentence that names both (fault 26)."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from fledx import __version__
from fledx.errors import Denied
from fledx.tunnel import frames
from fledx.tunnel.events import Answered, Greeted
from fledx.tunnel.greeting import PROTOCOL, Hello, Refused, Welcome
from tests.unit.tunnel.talk import HELLO, WELCOME, Clock, Side
from tests.unit.tunnel.world import HELLO as DIALLED
from tests.unit.tunnel.world import Trust, call, failure_of, open_door
from tests.waiting import until

APART = (-2, -1, 1, 2)


def newer(kind: int, **fields: object) -> bytes:
    """A frame of this kind as a version would send it that has changed everything it may change."""
    return frames.map_frame(kind, {"version": "0.3.0", "role": ["agent"], "session": 7, "token": {}, **fields})


@pytest.mark.parametrize("apart", APART)
def test_fault_26_a_hello_of_another_protocol_is_refused_with_both_versions_and_read_no_further(apart: int) -> None:
    dialler, listener = Side(Clock(), dialler=True), Side(Clock(), dialler=False)

    listener.hears(newer(frames.HELLO, protocol=PROTOCOL + apart))
    dialler.hears(listener.sends())

    assert listener.heard == []
    refused = dialler.last(Answered).answer
    assert refused == Refused(
        code="protocol",
        reason=f"the control plane, fledx {__version__}, speaks protocol {PROTOCOL} of the tunnel, and fledx 0.3.0, "
        f"which dials it, protocol {PROTOCOL + apart}: bring both to one version",
    )
    for side in (dialler, listener):
        assert side.session.closed
        assert side.session.closed.reason == refused.reason
        assert not side.session.is_open


@pytest.mark.parametrize("apart", APART)
def test_fault_26_a_welcome_of_another_protocol_is_not_taken_and_the_control_plane_hears_why(apart: int) -> None:
    dialler, listener = Side(Clock(), dialler=True), Side(Clock(), dialler=False)
    dialler.session.greet(HELLO)
    listener.hears(dialler.sends())
    listener.session.answer(WELCOME)

    dialler.hears(newer(frames.WELCOME, protocol=PROTOCOL + apart))
    listener.hears(dialler.sends())

    refused = dialler.last(Answered).answer
    assert refused.code == "protocol"
    assert f"fledx 0.3.0, speaks protocol {PROTOCOL + apart}" in refused.reason
    assert f"fledx {__version__}, which dials it, protocol {PROTOCOL}:" in refused.reason
    assert not dialler.session.is_open
    assert listener.session.closed
    assert listener.session.closed.reason == refused.reason


def test_fault_26_within_one_protocol_what_a_newer_side_adds_is_passed_over() -> None:
    dialler, listener = Side(Clock(), dialler=True), Side(Clock(), dialler=False)
    hello = {"protocol": PROTOCOL, "role": "agent", "token": "t", "version": "0.3.0", "facts": {}, "new": {"a": [1]}}
    welcome = {"protocol": PROTOCOL, "session": "s", "version": "0.3.0", "heartbeat_secs": 5, "reconnect_secs": 1}

    listener.hears(frames.map_frame(frames.HELLO, hello))
    dialler.hears(frames.map_frame(frames.WELCOME, welcome | {"new": {"a": [1]}}))

    assert listener.last(Greeted).hello == Hello(role="agent", token="t", version="0.3.0")
    assert dialler.last(Answered).answer == Welcome(session="s", version="0.3.0")


def test_fault_26_a_version_that_is_none_can_neither_fill_nor_break_a_line() -> None:
    listener = Side(Clock(), dialler=False)

    listener.hears(newer(frames.HELLO, protocol=9, version="\x1b[2J\n" + "x" * 10_000))

    assert listener.session.closed
    assert f"fledx  [2J {'x' * 35}, which dials it" in listener.session.closed.reason


@pytest.mark.anyio
async def test_fault_26_nobody_is_asked_whether_an_agent_of_another_protocol_may_come_in(
    trust: Trust, caplog: pytest.LogCaptureFixture
) -> None:
    async def judge(hello: Hello, address: str) -> Welcome | Refused:
        raise AssertionError

    other = replace(DIALLED, protocol=PROTOCOL + 2, version="0.3.0")
    async with open_door(trust, authenticate=judge) as door, anyio.create_task_group() as tasks:
        problem = await failure_of(call(door, tasks, hello=other))
        await until(lambda: caplog.records)

    assert isinstance(problem, Denied)
    assert problem.code == "protocol"
    (line,) = [record.getMessage() for record in caplog.records]
    for version in (
        f"fledx {__version__}, speaks protocol {PROTOCOL}",
        f"fledx 0.3.0, which dials it, protocol {PROTOCOL + 2}",
    ):
        assert version in problem.text
        assert version in line
    assert DIALLED.token not in line
