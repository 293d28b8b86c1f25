"""Commands inside replicas, from the agent's side of an `exec` stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fledx.errors import InvalidSpec, Unavailable
from fledx.models.exec import ENDED, SIGNAL, STDERR, STDIN, STDOUT, Frames, frame, size_frame
from fledx.tunnel.stream import Stream
from tests.fakes.commands import FakeCommand
from tests.unit.agent.stage import replica
from tests.unit.agent.whole import World
from tests.waiting import until

pytestmark = pytest.mark.anyio

KIB = 1024


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A node that runs one replica."""
    world = World(tmp_path)
    async with world.running(replica()):
        yield world


async def begin(world: World, *command: str, **more: Any) -> Stream:
    assert world.cp.link is not None
    meta = {"deployment_id": "d-web", "replica_number": 0, "command": list(command), **more}
    return await world.cp.link.open("exec", meta)


async def heard(stream: Stream) -> list[tuple[int, bytes]]:
    """All frames to the end of the stream."""
    frames, found = Frames(), []
    with anyio.fail_after(60):
        while data := await stream.receive():
            found += frames.feed(data)
    return found


async def test_input_and_output_pass_and_the_end_of_the_input_reaches_the_command(world: World) -> None:
    stream = await begin(world, "cat")
    await stream.send_all(frame(STDIN, b"one ") + frame(STDIN, b"two") + frame(STDIN))
    found = await heard(stream)
    assert b"one two" == b"".join(piece for kind, piece in found if kind == STDOUT)
    assert (ENDED, b"\x00") == found[-1]


async def test_a_half_close_is_the_end_of_the_input_too(world: World) -> None:
    stream = await begin(world, "cat")
    await stream.send_all(frame(STDIN, b"x"))
    await stream.send_eof()
    assert [(STDOUT, b"x"), (ENDED, b"\x00")] == await heard(stream)


async def test_fault_48_the_exit_code_is_the_commands_own(world: World) -> None:
    for code in (0, 1, 3, 125, 126, 127, 130, 255):
        assert [(STDERR, b"leaving\n"), (ENDED, bytes([code]))] == await heard(await begin(world, "exit", str(code)))


async def test_a_program_that_is_not_there_is_127_in_the_engines_words(world: World) -> None:
    found = await heard(await begin(world, "frobnicate"))
    assert b"not found" in found[0][1]
    assert (ENDED, b"\x7f") == found[-1]


async def test_fault_48_a_terminal_follows_its_window_and_signals_arrive(world: World) -> None:
    stream = await begin(world, "wait", tty=True, rows=24, columns=80)
    await stream.send_all(size_frame(50, 132))
    await stream.send_all(frame(SIGNAL, bytes([2])))
    assert (ENDED, bytes([130])) == (await heard(stream))[-1]
    (command,) = world.runtime.commands
    assert [(24, 80), (50, 132)] == command.sizes


async def test_fault_48_whoever_leaves_hangs_up(world: World) -> None:
    stream = await begin(world, "wait")
    assert b"waiting" in await stream.receive()
    stream.reset("the operator has gone")
    (command,) = world.runtime.commands
    await until(lambda: command.hung_up)


async def test_fault_48_a_lost_link_hangs_up_too(world: World) -> None:
    stream = await begin(world, "wait")
    assert b"waiting" in await stream.receive()
    world.cp.cut()
    (command,) = world.runtime.commands
    await until(lambda: command.hung_up)


async def test_fault_48_a_reader_that_stops_stops_the_command_and_costs_no_more_than_its_window(world: World) -> None:
    """Binary output without an end; everything else on the link goes on."""
    written = 0

    async def flood(command: FakeCommand) -> int:
        nonlocal written
        block = bytes(range(256)) * 256
        while written < 256 * KIB * KIB:
            await command.write(block)
            written += len(block)
        return 0

    world.runtime.programs["flood"] = flood
    stream = await begin(world, "flood")
    await stream.receive()

    seen = -1
    while written != seen:
        seen = written
        other = await begin(world, "exit", "7")
        assert (ENDED, b"\x07") == (await heard(other))[-1]
    assert seen < 2 * KIB * KIB
    stream.reset("enough")


async def test_input_that_nobody_reads_does_not_end_the_output(world: World) -> None:
    async def deaf(command: FakeCommand) -> int:
        await command.end_input()
        command._in.close()
        await command.write(b"still talking")
        await command.signalled.wait()
        return 0

    world.runtime.programs["deaf"] = deaf
    stream = await begin(world, "deaf")
    await stream.send_all(frame(STDIN, b"x" * 1000) * 3 + frame(SIGNAL, bytes([15])))
    assert [(STDOUT, b"still talking"), (ENDED, b"\x00")] == await heard(stream)


GARBAGE = (
    b"\xff\x00\x00\x00\x00",
    b"\x00\xff\xff\xff\xff",
    frame(3, b"\x00"),
    frame(3, b"\x00\x00\x00\x00"),
    frame(4, b"\x09"),
    frame(4, b""),
)


async def test_what_is_no_frame_ends_the_stream_with_a_reason_and_the_command_with_it(world: World) -> None:
    for garbage in GARBAGE:
        stream = await begin(world, "wait")
        await stream.send_all(garbage)
        with pytest.raises(InvalidSpec):
            await heard(stream)
        command = world.runtime.commands[-1]
        await until(lambda command=command: command.hung_up)  # type: ignore[misc]


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"command": []}, "command: is empty"),
    ({"command": ["a\x00b"]}, "NUL"),
    ({"command": "sh"}, "command"),
    ({"command": ["x" * 40_000]}, "longer than 32768 bytes"),
    ({"command": ["sh"], "rows": 0}, "rows: 0 is not between"),
    ({"command": ["sh"], "env": {"A=B": "x"}}, "not a variable's name"),
    ({"command": ["sh"], "user": "root\n"}, "control character"),
)


async def test_a_request_that_cannot_be_meant_is_refused(world: World) -> None:
    assert world.cp.link is not None
    for wrong, said in WRONG:
        with pytest.raises(InvalidSpec, match=said):
            await world.cp.link.open("exec", {"deployment_id": "d-web", "replica_number": 0, **wrong})
    assert world.runtime.commands == []


async def test_fault_23_no_command_runs_in_a_replica_of_another_node_or_in_somebody_elses_container(
    world: World,
) -> None:
    world.runtime.foreign("postgres", labels={"fledx.deployment_id": "d-db", "fledx.replica": "0"})
    for key in (("d-web", 1), ("d-db", 0)):
        with pytest.raises(Unavailable, match="does not run on this node"):
            await begin(world, "exit", "0", deployment_id=key[0], replica_number=key[1])
    with pytest.raises(Unavailable):
        await begin(world, "exit", "0", deployment_id="d-db", container_id="foreign1")
    assert world.runtime.commands == []
