"""A request's id goes with the work it causes: into streams, into lines of the log, to the replicas it changed."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fledx import tracing
from fledx.agent.wishes import Wishes
from fledx.cli.logs import set_up
from fledx.models.desired import NodeDesiredState
from tests.unit.agent.stage import NODE, replica


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("fledx")
    before = (root.handlers[:], root.level, ours.level)
    written = io.StringIO()
    set_up({}, json_lines=True, stream=written)
    yield written
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def test_a_line_names_the_request_it_was_written_for(lines: io.StringIO) -> None:
    log = logging.getLogger("fledx.test")
    with tracing.working_for("r-1"):
        log.info("one")
        log.info("two", extra={"request_id": "its own"})
        with tracing.working_for(None):
            log.info("three")
    log.info("four")

    found = [json.loads(line).get("request_id") for line in lines.getvalue().splitlines()]

    assert found == ["r-1", "its own", None, None]


def test_a_stream_takes_the_request_along_and_nothing_that_is_no_id() -> None:
    with tracing.working_for("r-1"):
        assert tracing.noted({"revision": 3}) == {"revision": 3, "request_id": "r-1"}
    assert tracing.noted({"revision": 3}) == {"revision": 3}
    assert tracing.told_by({"request_id": "r-1"}) == "r-1"
    for hostile in (None, 7, "", "a\nb", "\x1b[31m", "x" * 129, ["r-1"]):
        assert tracing.told_by({"request_id": hostile}) is None


def test_what_is_done_about_a_replica_follows_its_last_wish_until_something_happens_by_itself() -> None:
    wishes = Wishes()
    first = NodeDesiredState(node_id=NODE, revision=1, replicas=(replica(), replica(number=1)))
    wishes.changed(None, first, "r-1")
    second = NodeDesiredState(node_id=NODE, revision=2, replicas=(replica(), replica(number=1, image="other:2")))
    wishes.changed(first, second, "r-2")
    one, other = (each.key for each in second.replicas)

    assert (wishes.behind(one, "start"), wishes.behind(other, "replace")) == ("r-1", "r-2")
    assert wishes.behind(other, "crash") is None
    assert wishes.behind(other, "start") is None
    wishes.changed(second, NodeDesiredState(node_id=NODE, revision=3, replicas=()), None)
    assert wishes.behind(one, "stop") is None
