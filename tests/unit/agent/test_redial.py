"""How a lost link is dialled again: soon, then ever more slowly, and never all agents at the same instant."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.agent.backoff import Pace, delay, full_jitter
from fledx.agent.clock import Clock, Wake
from fledx.agent.identity import Identity
from fledx.agent.tunnel_client import TunnelClient
from fledx.errors import Denied, Unavailable
from fledx.models.node import NodeFacts
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from tests.fakes.clock import FakeClock

IDENTITY = Identity(node_id="n", node_token="t", host="127.0.0.1", tls=False)


class Nobody:
    """A rest of the agent that only counts refusals."""

    def __init__(self) -> None:
        self.refusals = 0

    async def on_stream(self, stream: Stream) -> None:
        raise AssertionError

    def on_message(self, message: Mapping[str, Any]) -> None:
        raise AssertionError

    def connected(self, link: Link) -> None:
        raise AssertionError

    def disconnected(self, link: Link) -> None:
        raise AssertionError

    def denied(self) -> None:
        self.refusals += 1


class Scripted(TunnelClient):
    """A client whose sessions last or fail as told; notes when each was begun."""

    def __init__(self, clock: FakeClock, outcome: Callable[[int], float | Exception]) -> None:
        self.begun: list[float] = []
        self.nobody = Nobody()
        self._outcome = outcome
        super().__init__(
            IDENTITY,
            facts=NodeFacts,
            served=self.nobody,
            clock=clock,
            connect_timeout=1.0,
            learnt=lambda identity: None,
            spread=lambda: 1.0,
        )

    async def session(self) -> str:
        self.begun.append(self._clock.monotonic())
        outcome = self._outcome(len(self.begun))
        if isinstance(outcome, Exception):
            raise outcome
        await self._clock.sleep(outcome)
        return "the link was lost"


async def _gaps(outcome: Callable[[int], float | Exception], count: int) -> tuple[list[float], Scripted]:
    """Seconds between the beginnings of so many sessions."""
    clock = FakeClock()
    client = Scripted(clock, outcome)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        while len(client.begun) <= count:
            await anyio.lowlevel.checkpoint()
            clock.advance(0.5)
        tasks.cancel_scope.cancel()
    return [round(b - a, 1) for a, b in itertools.pairwise(client.begun)][:count], client


@pytest.mark.anyio
async def test_the_waits_double_up_to_half_a_minute() -> None:
    gaps, client = await _gaps(lambda number: Unavailable("127.0.0.1:7443 cannot be reached"), 8)
    assert all(wait <= gap <= wait + 1 for wait, gap in zip([1, 2, 4, 8, 16, 30, 30, 30], gaps, strict=True))
    assert "127.0.0.1:7443 cannot be reached" == client.problem


@pytest.mark.anyio
async def test_a_session_that_was_good_begins_the_waits_anew_and_a_short_one_does_not() -> None:
    gaps, _ = await _gaps(lambda number: 20.0 if number % 4 == 0 else Unavailable("no"), 9)
    assert gaps[3] <= 22
    assert gaps[4] <= 3
    gaps, _ = await _gaps(lambda number: 1.0, 5)
    assert gaps[4] >= 16


@pytest.mark.anyio
async def test_a_refusal_is_retried_slowly_and_told() -> None:
    gaps, client = await _gaps(lambda number: Denied("this token is not known"), 3)
    assert all(gap >= 30 for gap in gaps)
    assert client.nobody.refusals >= 3
    assert "this token is not known" == client.problem


@pytest.mark.anyio
async def test_a_fault_of_our_own_is_no_reason_to_give_up() -> None:
    gaps, client = await _gaps(lambda number: ZeroDivisionError("bug"), 2)
    assert len(gaps) == 2
    assert "an internal error; the agent's log has the details" == client.problem


@given(st.integers(1, 40), st.floats(0, 1))
def test_the_wait_after_failures_stays_within_its_bounds(failures: int, spread: float) -> None:
    pace = Pace()
    wait = delay(pace, failures, spread)
    assert pace.first <= wait <= (pace.slow if failures > pace.limit else pace.longest) * 1.25
    assert wait <= delay(pace, failures + 1, spread)


@given(st.integers(0, 1000), st.floats(0, 1))
def test_full_jitter_never_exceeds_its_bound(attempt: int, spread: float) -> None:
    assert 0 <= full_jitter(1.0, 30.0, attempt, spread) <= min(30.0, 2.0 ** min(attempt, 10))


@pytest.mark.anyio
async def test_the_real_clock_waits_no_longer_than_asked() -> None:
    clock, wake = Clock(), Wake()
    with anyio.fail_after(60):
        await clock.wait(wake, 0.01)
        wake.ring()
        wake.ring()
        await clock.wait(wake, 3600)
    assert clock.stamp().endswith("Z")
