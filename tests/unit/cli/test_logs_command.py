"""What containers wrote: whose line it is, and no line lost or doubled when the stream breaks."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.errors import Unavailable
from tests.fakes.transport import Answer, error_answer, json_answer, lines_answer
from tests.unit.cli.harness import EDGE2, WEB, Cli, deployment, page

API = deployment(deployment_id=EDGE2, name="api-server", replicas=11)
LOGS = f"GET /api/v1/deployments/{WEB}/logs"


def line(text: str, *, of: str = "web", replica: int = 0, at: int = 0) -> dict[str, Any]:
    stamp = f"2026-11-25T19:00:{at:02d}.000000000Z"
    return {
        "deployment": of,
        "replica_number": replica,
        "node": "edge-1",
        "stream": "stdout",
        "time": stamp,
        "line": text,
    }


def cli(*answers: Answer | BaseException) -> Cli:
    return Cli(
        {
            "GET /api/v1/deployments/web": json_answer(deployment(replicas=2)),
            "GET /api/v1/deployments?": page(deployment(replicas=2), API),
            LOGS: list(answers),
            "GET /api/v1/logs": list(answers),
        }
    )


@pytest.mark.parametrize(
    "words",
    [["logs", "web"], ["deployments", "logs", "--resource-id", "web"], ["deployments", "logs", "--name", "web"]],
)
def test_each_line_says_whose_it_is(words: list[str]) -> None:
    told = cli(lines_answer(line("one"), line("two", replica=1)))

    assert 0 == told.run(*words)
    assert "web/0 | one\nweb/1 | two\n" == told.shown


def test_without_a_name_every_deployment_speaks_in_aligned_columns() -> None:
    told = cli(lines_answer(line("one"), line("two", of="api-server", replica=10)))

    assert 0 == told.run("logs")
    assert "web/0         | one\napi-server/10 | two\n" == told.shown
    assert ["GET /api/v1/logs?tail=100"] == told.asked("GET /api/v1/logs")


def test_the_flags_reach_the_control_plane() -> None:
    told = cli(lines_answer())

    words = ("--since", "10m", "--until", "2026-11-25T19:00:00Z", "--tail", "5", "--replica", "1")
    assert 0 == told.run("logs", "web", *words)
    assert [f"{LOGS}?replica=1&since=10m&until=2026-11-25T19%3A00%3A00Z&tail=5"] == told.asked(LOGS)


def test_lines_can_stand_alone_or_with_their_moment() -> None:
    bare, stamped = cli(lines_answer(line("one"))), cli(lines_answer(line("one")))
    bare.run("logs", "web", "--no-prefix")
    stamped.run("logs", "web", "--timestamps")

    assert "one\n" == bare.shown
    assert "web/0 | 2026-11-25T19:00:00.000000000Z one\n" == stamped.shown


def test_a_program_gets_one_object_a_line() -> None:
    told = cli(lines_answer(line("one")))
    told.run("logs", "web", "-o", "json")

    assert told.shown.startswith('{"deployment":"web","replica_number":0,')
    assert 1 == told.shown.count("\n")


def test_notices_of_the_control_plane_are_words_not_data() -> None:
    told = cli(lines_answer(line("one"), {"notice": "edge-2 is away: its lines are missing"}))
    told.run("logs", "web")

    assert ("web/0 | one\n", "edge-2 is away: its lines are missing\n") == (told.shown, told.said)


def test_a_broken_follow_is_taken_up_where_it_was_left() -> None:
    broken = lines_answer(line("a", at=1), line("b", at=2, replica=1), Unavailable("it broke"))
    rest = lines_answer(line("a", at=1), line("b", at=2, replica=1), line("c", at=3))
    told = cli(broken, Unavailable("still away"), rest)

    assert 0 == told.run("logs", "web", "--follow", "--tail", "10")
    assert "web/0 | a\nweb/1 | b\nweb/0 | c\n" == told.shown
    assert "it broke; trying again\nstill away; trying again\n" == told.said
    assert f"{LOGS}?since=2026-11-25T19%3A00%3A01.000000000Z&follow=true" == told.asked(LOGS)[-1]


def test_a_stream_that_breaks_without_follow_is_an_error() -> None:
    told = cli(lines_answer(line("a"), Unavailable("it broke")))

    assert 1 == told.run("logs", "web")
    assert ("web/0 | a\n", "fledx: it broke\n") == (told.shown, told.said)


def test_a_follow_has_no_end_that_could_be_given() -> None:
    assert 2 == cli(lines_answer()).run("logs", "web", "--follow", "--until", "1m")


def test_prefixes_have_their_colours_on_a_terminal() -> None:
    told = cli(lines_answer(line("one"), line("two", replica=1), line("three")))
    told.run("logs", "web", tty=True)

    first, second, third = told.shown.splitlines()
    assert ["\x1b[36mweb/0 |\x1b[0m one", "\x1b[36mweb/0 |\x1b[0m three"] == [first, third]
    assert "\x1b[33mweb/1 |\x1b[0m two" == second


@pytest.mark.parametrize("how", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_nobody_gets_colours_against_their_will(how: dict[str, str]) -> None:
    told = cli(lines_answer(line("one")))
    told.environ.update(how)
    told.run("logs", "web", tty=True)

    assert "web/0 | one\n" == told.shown


def test_a_name_that_is_not_there_suggests_the_near_one() -> None:
    told = cli(lines_answer())
    told.routes["GET /api/v1/deployments/wbe"] = error_answer(404, "no deployment wbe")

    assert 1 == told.run("logs", "wbe")
    assert "fledx: no deployment wbe (did you mean web?) [request r-1]\n" == told.said
