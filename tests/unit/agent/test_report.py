"""What the control plane is told, when, and what is kept for it while there is no link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from fledx.agent.instances import stamped
from fledx.agent.report import MAX_HAPPENINGS, USUAL, Reporter, Rhythm
from fledx.agent.spec import Key
from fledx.errors import LimitExceeded
from fledx.models.codec import decode_lenient
from fledx.models.health import HealthStatus
from fledx.models.instance import Instance
from fledx.models.node import NodeFacts
from fledx.models.report import Report, digest_of
from fledx.models.usage import FIGURES, unpack
from fledx.tunnel.link import Link
from tests.builders import instance
from tests.fakes.clock import FakeClock
from tests.waiting import until

pytestmark = pytest.mark.anyio


class FakeLink:
    """Takes messages, or says that it is full; what would travel in a heartbeat's place is in `along` as well."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.along: list[Mapping[str, Any]] = []
        self.full = False
        self.reason: str | None = None

    def send(self, message: Mapping[str, Any]) -> None:
        if self.full:
            raise LimitExceeded("the peer has left too many messages untaken")
        self.sent.append(message)

    def send_in_time(self, message: Mapping[str, Any]) -> None:
        self.send(message)
        self.along.append(message)

    def reports(self) -> list[Report]:
        """The reports since the last call."""
        found = [decode_lenient(Report, each["report"]) for each in self.sent if each["type"] == "report"]
        self.sent.clear()
        return found


class Desk:
    """A reporter, what it looks at, and the link it has."""

    def __init__(self, rhythm: Rhythm) -> None:
        self.clock = FakeClock()
        self.found: dict[Key, Instance] | None = {}
        self.facts = NodeFacts(name="edge-1")
        self.revision = 1
        self.looks = 0
        self.link = FakeLink()
        self.reporter = Reporter(
            look=self._look, facts=lambda: self.facts, revision=lambda: self.revision, clock=self.clock, rhythm=rhythm
        )

    def _look(self) -> dict[Key, Instance] | None:
        self.looks += 1
        return self.found

    def see(self, *instances: Instance) -> None:
        self.found = {each.key: each for each in instances}
        self.reporter.changed()

    async def connect(self) -> None:
        self.reporter.attach(cast(Link, self.link))
        await self.settle()

    async def settle(self) -> None:
        """Longer than the time in which changes are gathered, and in steps: the reporter has its turn between them."""
        for _ in range(12):
            await anyio.sleep(0.01)


@asynccontextmanager
async def desk(*, rhythm: Rhythm = USUAL) -> AsyncIterator[Desk]:
    made = Desk(rhythm)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.reporter.run)
        yield made
        tasks.cancel_scope.cancel()


def web(number: int, **changes: Any) -> Instance:
    return instance(replica_number=number, last_updated="", **changes)


async def test_a_new_link_is_told_everything_once_and_then_only_what_changes() -> None:
    async with desk() as it:
        it.see(web(0), web(1))
        await it.connect()
        (first,) = it.link.reports()
        assert first.full
        assert [0, 1] == [each.replica_number for each in first.instances]
        assert first.node == it.facts
        it.see(web(0), web(1, state="failed", ready=False))
        await it.settle()
        (second,) = it.link.reports()
        assert not second.full
        assert [(1, "failed")] == [(each.replica_number, each.state) for each in second.instances]
        assert second.node is None
        it.reporter.changed()
        await it.settle()
        assert it.link.reports() == []


async def test_nothing_is_told_before_the_engine_was_asked() -> None:
    async with desk() as it:
        it.found = None
        await it.connect()
        assert it.link.reports() == []
        it.see(web(0))
        await it.settle()
        assert len(it.link.reports()) == 1


async def test_what_is_gone_is_named() -> None:
    async with desk() as it:
        it.see(web(0), web(1))
        await it.connect()
        it.link.reports()
        it.see(web(0))
        await it.settle()
        (report,) = it.link.reports()
        assert (("d", 1),) == report.gone
        assert report.instances == ()


async def test_the_time_of_a_probe_alone_is_no_change() -> None:
    healthy = HealthStatus(healthy=True, last_checked_at="2026-11-25T12:00:00Z")
    later = HealthStatus(healthy=True, last_checked_at="2026-11-25T12:00:10Z")
    before = stamped(web(0, health=healthy), None, "then")
    assert stamped(web(0, health=later), before, "now") is before
    assert "now" == stamped(web(0, health=HealthStatus(healthy=False)), before, "now").last_updated


async def test_a_new_revision_and_new_facts_are_told_even_if_nothing_else_changed() -> None:
    async with desk() as it:
        await it.connect()
        it.link.reports()
        it.revision = 2
        it.facts = NodeFacts(name="edge-1", runtime_error="Docker does not answer")
        it.reporter.changed()
        await it.settle()
        (report,) = it.link.reports()
        assert (2, it.facts) == (report.revision, report.node)


async def test_what_happened_without_a_link_is_told_later_and_the_oldest_give_way_with_a_count() -> None:
    async with desk() as it:
        for number in range(MAX_HAPPENINGS + 7):
            it.reporter.happened("restart", ("d", 0), f"reason {number}")
        await it.connect()
        reports = it.link.reports()
        told = [each.reason for report in reports for each in report.happenings]
        assert (MAX_HAPPENINGS, "reason 7") == (len(told), told[0])
        assert 7 == sum(report.dropped for report in reports)
        assert [True] + [False] * (len(reports) - 1) == [report.full for report in reports]
        it.reporter.changed()
        await it.settle()
        assert it.link.reports() == []


async def test_a_big_report_is_split_so_that_the_tunnel_takes_each_part() -> None:
    async with desk() as it:
        it.see(*(web(number, message="x" * 2000) for number in range(500)))
        await it.connect()
        reports = it.link.reports()
        assert len(reports) > 3
        assert 500 == sum(len(report.instances) for report in reports)
        assert reports[0].full
        assert not any(report.full for report in reports[1:])


async def test_a_link_that_is_full_gets_everything_later() -> None:
    async with desk() as it:
        it.see(web(0))
        await it.connect()
        it.link.reports()
        it.link.full = True
        it.reporter.happened("crash", ("d", 0), "exited with code 1")
        it.see(web(0, state="failed", ready=False))
        await it.settle()
        it.link.full = False
        it.clock.advance(2)
        await it.settle()
        (report,) = it.link.reports()
        assert report.full
        assert ["exited with code 1"] == [each.reason for each in report.happenings]
        assert ["failed"] == [each.state for each in report.instances]


async def test_what_a_dying_link_did_not_take_is_told_on_the_next(caplog: pytest.LogCaptureFixture) -> None:
    async with desk() as it:
        await it.connect()
        it.link.reports()
        it.link.full, it.link.reason = True, "the link is over"
        it.reporter.happened("crash", ("d", 0), "exited with code 1")
        await it.settle()
        it.reporter.detach(cast(Link, it.link))
        it.link = FakeLink()
        await it.connect()
        it.clock.advance(2)
        await it.settle()
        assert ["crash"] == [each.kind for report in it.link.reports() for each in report.happenings]
        it.found = cast(Any, {("d", 0): "no instance"})
        it.reporter.changed()
        await it.settle()
        assert ["a report could not be made"] == [record.getMessage() for record in caplog.records]


async def test_a_resync_tells_everything_again() -> None:
    async with desk() as it:
        it.see(web(0))
        await it.connect()
        it.link.reports()
        it.reporter.resync()
        await it.settle()
        (report,) = it.link.reports()
        assert report.full
        assert len(report.instances) == 1


async def test_the_digest_of_each_minute_is_that_of_what_was_told() -> None:
    async with desk() as it:
        it.see(web(1), web(0))
        await it.connect()
        told = [each for report in it.link.reports() for each in report.instances]
        it.clock.advance(61)
        await it.settle()
        (message,) = it.link.sent
        assert {"type": "digest", "digest": digest_of(told), "revision": 1} == message


def sample(minute: int) -> dict[str, Any]:
    return {"deployment_id": "d", "replica_number": 0, "minute": minute, **dict.fromkeys(FIGURES, 1)}


async def test_a_quiet_node_tells_its_digest_each_minute_with_a_heartbeat_and_its_usage_every_ten() -> None:
    async with desk() as it:
        it.see(web(0))
        await it.connect()
        it.link.sent.clear()
        for minute in range(20):
            it.reporter.sampled([sample(minute)])
            it.clock.advance(60)
            await until(lambda minute=minute: len(it.link.along) > minute)  # type: ignore[misc]
        usage = [each for each in it.link.sent if each["type"] == "usage"]
        assert it.link.along == [each for each in it.link.sent if each["type"] == "digest"]
        assert (2, 20, 22) == (len(usage), len(it.link.along), len(it.link.sent))
        told = [found.minute for each in usage for found in unpack(each["minutes"])]
        assert list(range(20)) == told


async def test_whoever_asks_for_usage_gets_all_that_was_not_told_even_if_it_is_nothing() -> None:
    async with desk() as it:
        it.see(web(0))
        await it.connect()
        it.link.sent.clear()
        for expected in ([], [7], []):
            it.reporter.sampled([sample(each) for each in expected])
            it.reporter.tell_usage()
            await it.settle()
            (message,) = it.link.sent
            assert expected == [each.minute for each in unpack(message["minutes"])]
            it.link.sent.clear()


async def test_samples_are_told_once_and_kept_bounded_while_there_is_no_link() -> None:
    async with desk() as it:
        it.reporter.sampled([sample(number) for number in range(6000)])
        it.clock.advance(3600)
        await it.settle()
        it.link.full = True
        await it.connect()
        it.link.full = False
        it.clock.advance(1)
        await it.settle()
        usage = [found.minute for each in it.link.sent if each["type"] == "usage" for found in unpack(each["minutes"])]
        assert (5000, 1000, 5999) == (len(usage), usage[0], usage[-1])


async def test_without_a_link_or_an_engine_the_reporter_rests() -> None:
    async with desk() as it:
        it.see(web(0))
        await it.settle()
        for found in (it.found, None):
            it.found, before = found, it.looks
            it.clock.advance(7200)
            for _ in range(3):
                await it.settle()
            assert it.looks <= before + 1
