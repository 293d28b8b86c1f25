"""Logs of the roles: levels as operators write them, the same keys in every line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fledx.cli.logs import levels, set_up
from fledx.errors import InvalidSpec


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("fledx")
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])
    logging.getLogger("fledx.agent").setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("text", "general", "single"),
    [
        ("info", logging.INFO, {}),
        ("debug,hyper=info", logging.DEBUG, {"hyper": logging.INFO}),
        ("warn, control_plane::api=trace", logging.WARNING, {"fledx.control_plane.api": logging.DEBUG}),
        ("fledx.agent=debug", logging.INFO, {"fledx.agent": logging.DEBUG}),
        ("off", logging.CRITICAL + 1, {}),
        ("", logging.INFO, {}),
        ("hypercorn", logging.INFO, {"hypercorn": logging.DEBUG}),
    ],
)
def test_levels_are_read_as_in_rust_log(text: str, general: int, single: dict[str, int]) -> None:
    assert (general, single) == levels(text)


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="'loud' is not one of"):
        levels("info,hyper=loud")


def written(environ: dict[str, str], *, json_lines: bool) -> list[str]:
    stream = io.StringIO()
    set_up(environ, json_lines=json_lines, stream=stream)
    log = logging.getLogger("fledx.agent.run")
    log.debug("a detail")
    log.info("joined", extra={"node": "edge 1", "revision": 7})
    logging.getLogger("somebody.else").info("noise")
    try:
        raise ValueError("why\x1b[2J")
    except ValueError:
        log.exception("it broke \x1b[2J")
    return stream.getvalue().splitlines()


def test_plain_lines_hold_the_facts_and_no_control_characters() -> None:
    first, second, *rest = written({}, json_lines=False)

    assert 'INFO    fledx.agent.run: joined node="edge 1" revision=7' == first.partition(" ")[2]
    assert second.endswith("ERROR   fledx.agent.run: it broke \\x1b[2J")
    assert rest[-1] == "  ValueError: why\\x1b[2J"


def test_json_lines_hold_the_same_keys() -> None:
    first, second = (json.loads(line) for line in written({"RUST_LOG": "info"}, json_lines=True))

    assert ["time", "level", "logger", "message", "node", "revision"] == list(first)
    assert ("info", "fledx.agent.run", "joined", 7) == tuple(
        first[key] for key in ("level", "logger", "message", "revision")
    )
    assert "ValueError" in second["exception"]


def test_our_own_name_for_the_variable_wins() -> None:
    told = written({"FLEDX_LOG": "error,agent=debug", "RUST_LOG": "off"}, json_lines=False)

    assert "a detail" in told[0]
