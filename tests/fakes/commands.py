"""Commands inside the containers of the engine in memory: a few words of shell, and what a test adds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio

from fledx.errors import Unavailable
from fledx.models.exec import ExecRequest

QUEUED = 4


class FakeCommand:
    """One that runs (`Command`), and what its program sees: `read`, `write`, `sizes`, `signals`."""

    def __init__(self, wanted: ExecRequest) -> None:
        self.wanted = wanted
        self.sizes: list[tuple[int, int]] = [(wanted.rows, wanted.columns)] if wanted.rows and wanted.columns else []
        self.signals: list[int] = []
        self.signalled = anyio.Event()
        self.hung_up = False
        self._code: int | None = None
        self._out, self._written = anyio.create_memory_object_stream[tuple[str, bytes]](QUEUED)
        self._given, self._in = anyio.create_memory_object_stream[bytes](QUEUED)

    async def read(self) -> bytes:
        """What the program is given next, b"" at the end."""
        try:
            return await self._in.receive()
        except anyio.EndOfStream:
            return b""

    async def write(self, data: bytes, stream: str = "stdout") -> None:
        """The program writes; waits while nobody reads."""
        await self._out.send((stream, data))

    async def run(self, program: Program) -> None:
        """Let the program run to its end."""
        self._code = await program(self)
        self._out.close()

    def close(self) -> None:
        """The block is left."""
        self.hung_up = self._code is None
        for stream in (self._out, self._written, self._given, self._in):
            stream.close()

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        async for each in self._written:
            yield each

    async def send(self, data: bytes) -> None:
        try:
            await self._given.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise Unavailable("it takes no more input") from None

    async def end_input(self) -> None:
        self._given.close()

    async def resize(self, rows: int, columns: int) -> None:
        if self.wanted.tty:
            self.sizes.append((rows, columns))

    async def signal(self, number: int) -> None:
        self.signals.append(number)
        self.signalled.set()

    async def exit_code(self) -> int:
        assert self._code is not None
        return self._code


Program = Callable[[FakeCommand], Awaitable[int]]


async def cat(command: FakeCommand) -> int:
    """Say back what is said."""
    while data := await command.read():
        await command.write(data)
    return 0


async def wait(command: FakeCommand) -> int:
    """Until a signal comes."""
    await command.write(b"waiting\n")
    await command.signalled.wait()
    return 128 + command.signals[-1]


async def leave(command: FakeCommand) -> int:
    """`exit CODE`."""
    await command.write(b"leaving\n", "stderr")
    return int(command.wanted.command[1])


async def missing(command: FakeCommand) -> int:
    """What an engine says of a program that is not there."""
    await command.write(b"exec: executable file not found in $PATH\r\n")
    return 127


PROGRAMS: Mapping[str, Program] = {"cat": cat, "wait": wait, "exit": leave}


@asynccontextmanager
async def begun(wanted: ExecRequest, programs: Mapping[str, Program]) -> AsyncIterator[FakeCommand]:
    """A command while its block lasts."""
    command = FakeCommand(wanted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(command.run, programs.get(wanted.command[0], missing))
        try:
            yield command
        finally:
            command.close()
            tasks.cancel_scope.cancel()
