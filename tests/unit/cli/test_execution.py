"""`fledx exec` from its three streams on: what comes out, what is passed in, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from fledx.cli import console
from fledx.cli.execution import NOBODY_READS, Ends, Execution
from fledx.client.operator_session import dial_in, opened
from fledx.errors import FledxError, Unavailable
from fledx.models.codec import encode
from fledx.models.exec import ExecRequest
from fledx.tunnel.link import Link
from tests.fakes.commands import FakeCommand
from tests.unit.cli.entering import Fleet, fleet
from tests.waiting import until

pytestmark = pytest.mark.anyio

LIMIT_SECS = 60.0


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path) as made:
        yield made


@dataclass(kw_only=True)
class Desk:
    """Somebody at three pipes, or at a terminal: `typing` and `reading` are the far ends."""

    ends: Ends
    typing: int
    reading: int
    reading_err: int
    closing: list[int] = field(default_factory=list)

    async def heard(self, descriptor: int | None = None) -> bytes:
        """What is there to read, at least a byte."""
        return await anyio.to_thread.run_sync(os.read, self.reading if descriptor is None else descriptor, 65536)

    def type(self, data: bytes) -> None:
        os.write(self.typing, data)

    def stop_typing(self) -> None:
        self.closing.remove(self.typing)
        os.close(self.typing)


@contextlib.contextmanager
def pipes() -> Iterator[Desk]:
    (inp, typing), (reading, out), (reading_err, err) = os.pipe(), os.pipe(), os.pipe()
    desk = Desk(ends=Ends(inp=inp, out=out, err=err), typing=typing, reading=reading, reading_err=reading_err)
    desk.closing = [inp, typing, reading, out, reading_err, err]
    yield desk
    for each in desk.closing:
        os.close(each)


def resize(descriptor: int, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def terminal(rows: int = 24, columns: int = 80) -> Iterator[Desk]:
    far, near = pty.openpty()
    resize(near, rows, columns)
    desk = Desk(ends=Ends(inp=near, out=near, err=near), typing=far, reading=far, reading_err=far)
    yield desk
    for each in (far, near):
        os.close(each)


@dataclass
class Run:
    """One command that was begun; `code` or `problem` say how it ended."""

    link: Link
    code: int | None = None
    problem: FledxError | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def end(self) -> int:
        with anyio.fail_after(LIMIT_SECS):
            await self.ended.wait()
        assert self.code is not None, self.problem
        return self.code


@contextlib.asynccontextmanager
async def begun(web: Fleet, desk: Desk, *command: str, tty: bool = False, **more: int) -> AsyncIterator[Run]:
    async with anyio.create_task_group() as tasks:
        link = await dial_in(web.way, tasks)
        request = ExecRequest(command=command, tty=tty, **more)  # type: ignore[arg-type]
        stream = await opened(link, "exec", {"deployment": "web", **encode(request)})
        run = Run(link)

        async def work() -> None:
            try:
                run.code = await Execution(stream, request, desk.ends).run()
            except FledxError as problem:
                run.problem = problem
            run.ended.set()

        tasks.start_soon(work)
        yield run
        tasks.cancel_scope.cancel()


async def test_pipes_are_kept_apart_and_the_exit_code_comes_out(web: Fleet) -> None:
    async def both(command: FakeCommand) -> int:
        while data := await command.read():
            await command.write(data.upper())
            await command.write(b"noted\n", "stderr")
        return 126

    web.runtime.programs["both"] = both
    with pipes() as desk:
        async with begun(web, desk, "both") as run:
            desk.type(b"in\xff\x00\n")
            assert await desk.heard() == b"IN\xff\x00\n"
            assert await desk.heard(desk.reading_err) == b"noted\n"
            desk.stop_typing()
            assert await run.end() == 126


async def test_input_from_a_file_is_read_to_its_end(web: Fleet, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"x" * 300_000)
    with pipes() as desk, open(tmp_path / "input", "rb") as file:
        desk.ends = Ends(inp=file.fileno(), out=desk.ends.out, err=desk.ends.err)
        got = b""
        async with begun(web, desk, "cat") as run:
            with anyio.fail_after(LIMIT_SECS):
                while len(got) < 300_000:
                    got += await desk.heard()
            assert await run.end() == 0


async def test_a_terminal_is_raw_meanwhile_and_as_before_afterwards(web: Fleet) -> None:
    with terminal() as desk:
        before = termios.tcgetattr(desk.ends.inp)
        async with begun(web, desk, "wait", tty=True, rows=24, columns=80) as run:
            assert b"waiting" in await desk.heard()
            raw = termios.tcgetattr(desk.ends.inp)
            assert not raw[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
            await web.runtime.commands[0].signal(15)
            assert await run.end() == 143
        assert termios.tcgetattr(desk.ends.inp) == before


async def test_fault_48_ctrl_c_is_a_key_of_the_remote_terminal(web: Fleet) -> None:
    async def keys(command: FakeCommand) -> int:
        await command.write(b"> ")
        while (key := await command.read()) != b"\x03":
            await command.write(key)
        return 130

    web.runtime.programs["keys"] = keys
    with terminal() as desk:
        async with begun(web, desk, "keys", tty=True) as run:
            assert await desk.heard() == b"> "
            desk.type(b"a")
            assert await desk.heard() == b"a"
            desk.type(b"\x03")
            assert await run.end() == 130


async def test_fault_48_a_signal_at_the_very_moment_the_terminal_becomes_raw_leaves_it_as_it_was(
    web: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    setraw = tty.setraw

    def setraw_and_be_ended(descriptor: int, when: int) -> None:
        setraw(descriptor, when)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(tty, "setraw", setraw_and_be_ended)
    with terminal() as desk:
        before = termios.tcgetattr(desk.ends.inp)
        async with begun(web, desk, "wait", tty=True) as run:
            assert await run.end() == 128 + signal.SIGTERM
        assert termios.tcgetattr(desk.ends.inp) == before


async def test_fault_48_a_window_that_changes_is_told(web: Fleet) -> None:
    with terminal(24, 80) as desk:
        async with begun(web, desk, "wait", tty=True, rows=24, columns=80) as run:
            assert b"waiting" in await desk.heard()
            resize(desk.ends.inp, 50, 132)
            os.kill(os.getpid(), signal.SIGWINCH)
            (command,) = web.runtime.commands
            await until(lambda: command.sizes[-1] == (50, 132))
            await command.signal(15)
            await run.end()


async def test_fault_48_without_a_terminal_ctrl_c_reaches_the_command_and_a_second_one_leaves_it(web: Fleet) -> None:
    with pipes() as desk:
        async with begun(web, desk, "wait") as run:
            assert b"waiting" in await desk.heard()
            os.kill(os.getpid(), signal.SIGINT)
            assert await run.end() == 130
            assert web.runtime.commands[0].signals == [2]

        async def stubborn(command: FakeCommand) -> int:
            await command.write(b"no\n")
            await anyio.sleep_forever()
            return 0

        web.runtime.programs["stubborn"] = stubborn
        async with begun(web, desk, "stubborn") as run:
            assert await desk.heard() == b"no\n"
            command = web.runtime.commands[1]
            os.kill(os.getpid(), signal.SIGINT)
            await until(lambda: command.signals == [2])
            os.kill(os.getpid(), signal.SIGINT)
            assert await run.end() == 130
            await until(lambda: command.hung_up)


async def test_fault_48_a_lost_link_is_an_error_and_the_terminal_is_as_before(web: Fleet) -> None:
    with terminal() as desk:
        before = termios.tcgetattr(desk.ends.inp)
        async with begun(web, desk, "wait", tty=True) as run:
            assert b"waiting" in await desk.heard()
            for link in list(web.port.listener.links):
                link.close("the control plane is gone")
            with anyio.fail_after(LIMIT_SECS):
                await run.ended.wait()
            assert isinstance(run.problem, Unavailable)
            assert "the control plane is gone" in run.problem.text
        assert termios.tcgetattr(desk.ends.inp) == before


async def test_fault_48_nobody_reads_the_output_any_more(web: Fleet) -> None:
    async def chatter(command: FakeCommand) -> int:
        while True:
            await command.write(b"y\n" * 1000)

    web.runtime.programs["chatter"] = chatter
    with pipes() as desk:
        async with begun(web, desk, "chatter") as run:
            await desk.heard()
            desk.closing.remove(desk.reading)
            os.close(desk.reading)
            assert await run.end() == NOBODY_READS
            await until(lambda: web.runtime.commands[0].hung_up)


async def test_fault_48_a_slow_reader_holds_up_only_the_command(web: Fleet) -> None:
    """The session still answers while the pipe is full; what was written in the meantime is bounded."""
    written = 0

    async def flood(command: FakeCommand) -> int:
        nonlocal written
        while written < 200 * 2**20:
            await command.write(bytes(65536))
            written += 65536
        return 0

    web.runtime.programs["flood"] = flood
    with pipes() as desk:
        async with begun(web, desk, "flood") as run:
            seen = -1
            while written != seen:
                seen = written
                for _ in range(20):
                    look = await opened(run.link, "forward", {"deployment": "web", "port": 80, "look": True})
                    assert look.answer["deployment"] == "web"
            assert seen < 8 * 2**20


def test_what_is_left_is_left_as_it_was_if_the_terminal_goes_away() -> None:
    far, near = pty.openpty()
    os.close(far)

    async def read() -> list[bytes]:
        return [piece async for piece in console.pieces(near)]

    assert anyio.run(read) == []
    os.close(near)
