"""Streamed answers, decoded however the network cuts them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.client.http1 import Head
from fledx.client.streams import JsonLines, ServerEvent, ServerEvents, Stream
from fledx.client.transport import Response
from fledx.errors import Unavailable

EVENTS = b': hello\r\n\r\ndata: {"a":\ndata: 1}\nid: 7\n\nevent: gone\r\ndata\r\n\r\n:ping\n\nid: 9\n\ndata: [2]\n\n'


@given(st.lists(st.integers(1, len(EVENTS)), max_size=6))
def test_server_sent_events_are_read_wherever_they_are_cut(cuts: list[int]) -> None:
    decoder, found = ServerEvents(), []
    marks = sorted({0, len(EVENTS), *cuts})
    for start, end in itertools.pairwise(marks):
        found += decoder.feed(EVENTS[start:end])

    assert [
        ServerEvent(kind="message", data={"a": 1}, id="7"),
        ServerEvent(kind="gone", data=None),
        ServerEvent(kind="message", data=[2]),
    ] == found


def test_empty_lines_between_json_lines_only_keep_the_stream_alive() -> None:
    decoder = JsonLines()

    assert [
        decoder.feed(b'\n{"a": 1}\n\n'),
        decoder.feed(b'{"b": '),
        decoder.feed('"ü"}\r\n'.encode()),
    ] == [[{"a": 1}], [], [{"b": "ü"}]]


def test_a_line_that_is_not_json_is_told_as_such() -> None:
    with pytest.raises(Unavailable, match="not JSON: '<html>'"):
        JsonLines().feed(b"<html>\n")


def stream_of(*pieces: bytes | None) -> Stream[dict[str, Any]]:
    left = iter(pieces)
    response = Response(Head(status=200, reason="", headers={}), lambda wait: next(left, b""))
    return Stream(response, JsonLines().feed)


def test_a_stream_tells_silence_from_its_end() -> None:
    stream = stream_of(b'{"a": 1}\n', None)

    assert [(stream.take(1.0), stream.ended) for _ in range(3)] == [([{"a": 1}], False), ([], False), ([], True)]


def test_a_last_line_without_an_end_is_read_too() -> None:
    assert list(stream_of(b'{"a": 1}\n{"b"', b": 2}")) == [{"a": 1}, {"b": 2}]


def test_a_body_that_stops_coming_is_an_error_that_says_for_how_long() -> None:
    response = Response(Head(status=200, reason="", headers={}), lambda wait: None, silence=30.0, peer="http://cp")

    with pytest.raises(Unavailable, match="no answer from http://cp for 30 seconds"):
        response.read()
