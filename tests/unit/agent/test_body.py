"""An engine's streaming answers: chunks, frames, log entries, and an engine that never answers."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.agent.runtime.body import Body, frames, lines
from fledx.agent.runtime.containers import LogEntry
from fledx.agent.runtime.docker import DockerRuntime
from fledx.agent.runtime.engine import QUICK_THREADS
from fledx.agent.runtime.lines import Tally
from fledx.agent.runtime.shapes import log_bound, log_entries
from fledx.agent.runtime.threads import Threads
from fledx.errors import InvalidSpec, Unavailable


async def _read(pieces: list[bytes], *, head: int = 0, chunked: bool, length: int | None = None) -> bytes:
    """What a body makes of bytes that arrive in these pieces, the first of which were read with the headers."""
    ours, theirs = socket.socketpair()
    body = Body(ours, b"".join(pieces[:head]), chunked=chunked, length=length)
    found = bytearray()
    try:
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                for piece in pieces[head:]:
                    theirs.send(piece)
                    await anyio.sleep(0)
                theirs.close()

            tasks.start_soon(write)
            while data := await body.receive():
                found += data
    finally:
        body.close()
        theirs.close()
    return bytes(found)


def _chunked(content: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in [*content, b""])


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_chunks_are_joined_however_they_are_cut(content: list[bytes], cuts: list[int]) -> None:
    pieces = _cut(_chunked(content), cuts)
    assert b"".join(content) == anyio.run(lambda: _read(pieces, head=len(pieces) // 3, chunked=True))


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_a_counted_body_ends_by_its_length_and_a_plain_one_with_the_connection(data: bytes, cuts: list[int]) -> None:
    pieces = _cut(data, cuts)
    assert data == anyio.run(lambda: _read(pieces, chunked=False, length=len(data)))
    assert data == anyio.run(lambda: _read(pieces, chunked=False))


@pytest.mark.parametrize("data", [b"5\r\nhel", b"5\r\nhello\r\n", b"", b"zz\r\n", b"x" * 10_000])
def test_a_body_that_breaks_off_or_is_none_is_no_end(data: bytes) -> None:
    async def read() -> None:
        ours, theirs = socket.socketpair()
        body = Body(ours, data, chunked=True, length=None)
        theirs.close()
        try:
            while await body.receive():
                pass
        finally:
            body.close()

    with pytest.raises(Unavailable):
        anyio.run(read)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=60)), max_size=8),
    st.lists(st.integers(0, 600), max_size=8),
)
def test_frames_come_out_as_they_were_written(content: list[tuple[str, bytes]], cuts: list[int]) -> None:
    raw = b"".join(
        bytes([2 if name == "stderr" else 1, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for name, data in content
    )

    async def read() -> list[tuple[str, bytes]]:
        ours, theirs = socket.socketpair()
        body = Body(ours, b"", chunked=False, length=None)
        for piece in _cut(raw, cuts):
            theirs.send(piece)
        theirs.close()
        found = [frame async for batch in frames(body) for frame in batch]
        body.close()
        return found

    assert [each for each in content if each[1]] == anyio.run(read)


def test_lines_are_split_and_an_endless_one_is_refused() -> None:
    async def read(data: bytes) -> list[bytes]:
        ours, theirs = socket.socketpair()
        body = Body(ours, data, chunked=False, length=None)
        theirs.close()
        try:
            return [line async for line in lines(body)]
        finally:
            body.close()

    assert [b'{"a":1}', b'{"b":2}'] == anyio.run(lambda: read(b'{"a":1}\n\n{"b":2}'))
    with pytest.raises(Unavailable, match="over 1 MiB"):
        anyio.run(lambda: read(b"x" * 1_100_000))


def test_a_log_entry_is_a_time_and_a_text_in_bounded_pieces() -> None:
    stamp = b"2026-11-25T12:00:00.000000001Z"
    assert [LogEntry(stream="stdout", time=stamp.decode(), line="a b")] == list(
        log_entries("stdout", stamp + b" a b\r\n")
    )
    assert [""] == [entry.line for entry in log_entries("stdout", stamp + b" \n")]
    assert [16384, 16384, 7232] == [len(each.line) for each in log_entries("stdout", stamp + b" " + b"x" * 40_000)]


def test_what_is_read_again_after_a_followed_log_is_not_told_twice() -> None:
    def entries(text: str) -> list[LogEntry]:
        return [LogEntry(stream="stdout", time=word[0], line=word) for word in text.split()]

    tally = Tally()
    tally.note(entries("1a 2a"))
    tally.note(entries("2b"))
    assert tally.last == "2"
    assert ["2c", "3a"] == [entry.line for entry in tally.unread(entries("2a 2b 2c 3a"))]
    assert ["3b"] == [entry.line for entry in tally.unread(entries("3b"))]
    fresh = Tally()
    assert ["1a"] == [entry.line for entry in fresh.unread(entries("1a"))]


@pytest.mark.parametrize(
    ("stamp", "bound"),
    [
        ("1970-01-01T00:00:01Z", "1.000000000"),
        ("1970-01-01T00:00:01.5Z", "1.500000000"),
        ("1970-01-01T01:00:01.123456789+01:00", "1.123456789"),
        ("1970-01-01t00:00:01z", "1.000000000"),
    ],
)
def test_a_bound_is_given_to_docker_in_seconds_and_nanoseconds(stamp: str, bound: str) -> None:
    assert bound == log_bound(stamp)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-25", "2026-11-25T12:00:00"])
def test_a_bound_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="is not a time such as"):
        log_bound(text)


@contextlib.contextmanager
def _silent_engine(path: Path) -> Iterator[str]:
    """A socket that takes every connection and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(100)
        yield f"unix://{path}"


@pytest.mark.anyio
async def test_an_engine_that_never_answers_costs_no_more_than_its_threads(tmp_path: Path) -> None:
    """Fault 15, hung."""
    before = threading.active_count()
    with _silent_engine(tmp_path / "docker.sock") as address:
        runtime = DockerRuntime(address)
        for _ in range(5):
            with anyio.move_on_after(0.05):
                async with anyio.create_task_group() as tasks:
                    for _ in range(10):
                        tasks.start_soon(runtime.describe)
        assert threading.active_count() - before <= QUICK_THREADS
        await runtime.aclose()


@pytest.mark.anyio
async def test_a_thread_that_was_given_up_is_used_again_when_it_is_free() -> None:
    threads = Threads(1, "test")
    gate = threading.Event()
    with anyio.move_on_after(0.02):
        await threads.run(gate.wait)
    done: list[int] = []

    async def second() -> None:
        done.append(await threads.run(lambda: 7))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second)
        await anyio.sleep(0.02)
        assert done == []
        gate.set()
    assert done == [7]
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    threads.close()
