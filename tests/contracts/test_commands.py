"""Commands inside containers that are talked to: what the agent relies on, held against real engines."""

from __future__ import annotations

import anyio
import pytest

from fledx.agent.runtime.base import Command
from fledx.errors import NotFound
from fledx.models.exec import ExecRequest
from tests.contracts.engine import LIMIT, Engine

pytestmark = pytest.mark.anyio


async def _said(command: Command) -> dict[str, bytes]:
    """All output of a command, by stream."""
    found = {"stdout": b"", "stderr": b""}
    with anyio.fail_after(LIMIT):
        async for stream, piece in command.output():
            found[stream] += piece
    return found


async def test_a_command_is_talked_to_and_its_streams_are_kept_apart(docker: Engine) -> None:
    container_id = await docker.running()
    script = 'read -r line; echo "out $line $GREETING"; echo err >&2; cat; exit 7'
    wanted = ExecRequest(command=("sh", "-c", script), env={"GREETING": "hello"}, workdir="/tmp")
    async with docker.runtime.command(container_id, wanted) as command:
        await command.send(b"one\n\x00\xff rest")
        await command.end_input()
        assert {"stdout": b"out one hello\n\x00\xff rest", "stderr": b"err\n"} == await _said(command)
        assert await command.exit_code() == 7


async def test_a_command_with_a_terminal_has_its_size_and_gets_its_keys(docker: Engine) -> None:
    container_id = await docker.running()
    script = "import os,signal,time\nsay=lambda *_: os.write(1, b'%d %d\\n' % os.get_terminal_size())\n"
    script += "signal.signal(signal.SIGWINCH, say)\nsay()\nwhile True: time.sleep(1)"
    wanted = ExecRequest(command=("python3", "-c", script), tty=True, rows=30, columns=100)
    async with docker.runtime.command(container_id, wanted) as command:
        seen = b""

        async def until(text: bytes) -> None:
            nonlocal seen
            with anyio.fail_after(LIMIT):
                while text not in seen:
                    _, piece = await anext(output)
                    seen += piece

        output = command.output()
        await until(b"100 30\r\n")
        await command.resize(50, 132)
        await until(b"132 50\r\n")
        await command.send(b"\x03")
        await until(b"KeyboardInterrupt")
        async for _ in output:
            continue
        assert await command.exit_code() in (1, 130)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("no-such-program",), 127),
        (("/no/such/program",), 127),
        (("/etc",), 126),
        (("sh", "-c", "exit 125"), 125),
        (("sh", "-c", "kill -9 $$"), 137),
    ],
)
async def test_exit_codes_are_those_of_a_shell(docker: Engine, words: tuple[str, ...], code: int) -> None:
    container_id = await docker.running()
    for tty in (False, True):
        async with docker.runtime.command(container_id, ExecRequest(command=words, tty=tty)) as command:
            await _said(command)
            assert await command.exit_code() == code


async def test_a_command_gets_signals_and_is_hung_up_when_it_is_left(docker: Engine) -> None:
    container_id = await docker.running()

    async def running() -> str:
        done = await docker.runtime.execute(container_id, ["sh", "-c", "cat /proc/[0-9]*/cmdline"], limit=5, most=4000)
        return done.output

    trap = ExecRequest(command=("sh", "-c", "trap 'echo got it; exit 9' TERM; echo ready; sleep 71 & wait"))
    async with docker.runtime.command(container_id, trap) as command:
        assert ("stdout", b"ready\n") == await anext(command.output())
        await command.signal(15)
        assert b"got it\n" in (await _said(command))["stdout"]
        assert await command.exit_code() == 9
    for tty in (False, True):
        wanted = ExecRequest(command=("sh", "-c", "echo ready; sleep 73"), tty=tty)
        async with docker.runtime.command(container_id, wanted) as command:
            await anext(command.output())
            with anyio.fail_after(LIMIT):
                while "sleep\x0073" not in await running():
                    await anyio.sleep(0.05)
        with anyio.fail_after(LIMIT):
            while "sleep\x0073" in await running():
                await anyio.sleep(0.05)


async def test_a_command_in_a_container_that_does_not_run_is_refused(engine: Engine) -> None:
    container_id = await engine.runtime.create(engine.spec())
    with pytest.raises(NotFound):
        async with engine.runtime.command(container_id, ExecRequest(command=("true",))):
            raise AssertionError("it runs")
