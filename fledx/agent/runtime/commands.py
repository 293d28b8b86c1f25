"""Commands inside containers beside their own process: those of probes, and those an operator talks to."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio

from fledx.agent.runtime.body import Body, frames
from fledx.agent.runtime.containers import Execution
from fledx.errors import FledxError, Unavailable
from fledx.models.exec import ExecRequest

T = TypeVar("T")

START_SECS = 15.0
ENDED_SECS = 15.0
HANG_UP_SECS = 5.0
FAILED = b"OCI runtime exec failed"
NOT_THERE = (b"executable file not found", b"no such file or directory")
UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


class Engine(Protocol):
    """What is asked of docker-py's client here."""

    def exec_create(self, container: str, cmd: Sequence[str], **options: Any) -> Mapping[str, Any]:
        """Make a command that does not run yet."""

    def exec_inspect(self, exec_id: str) -> Mapping[str, Any]:
        """How it stands."""

    def exec_resize(self, exec_id: str, *, height: int, width: int) -> None:
        """Give its terminal another size."""

    def open(self, method: str, path: str, *, seconds: float, **request: Any) -> Body:
        """Ask, and hand out the body unread."""


class Ask(Protocol):
    """Puts a question to the engine in a thread, with a limit, and with every error as one of ours."""

    def __call__(self, question: Callable[[Any], T]) -> Awaitable[T]:
        """The answer."""


async def execute(ask: Ask, container_id: str, command: Sequence[str], *, limit: float, most: int) -> Execution:
    """`Runtime.execute`."""
    made = await ask(lambda client: client.exec_create(container_id, list(command)))
    path, output = f"/exec/{made['Id']}/start", bytearray()
    body = await ask(lambda client: client.open("POST", path, json={"Detach": False}, seconds=START_SECS))
    try:
        with anyio.move_on_after(limit) as scope:
            async for batch in frames(body):
                for _, piece in batch:
                    output += piece[: max(0, most - len(output))]
    finally:
        body.close()
    shown = await ask(lambda client: client.exec_inspect(made["Id"]))
    text = output.decode("utf-8", "replace")
    if scope.cancelled_caught and shown.get("Running"):
        _signal_inside(container_id, int(shown.get("Pid") or 0), signal.SIGKILL)
        return Execution(exit_code=None, output=text)
    code = shown.get("ExitCode")
    return Execution(exit_code=None if code is None else int(code), output=text)


@asynccontextmanager
async def begun(ask: Ask, container_id: str, wanted: ExecRequest) -> AsyncIterator[EngineCommand]:
    """`Runtime.command`."""
    options = {
        "stdin": True,
        "tty": wanted.tty,
        "user": wanted.user or "",
        "workdir": wanted.workdir,
        "environment": dict(wanted.env) or None,
    }
    made = await ask(lambda client: client.exec_create(container_id, list(wanted.command), **options))
    path, how = f"/exec/{made['Id']}/start", {"Detach": False, "Tty": wanted.tty}
    body = await ask(lambda client: client.open("POST", path, json=how, headers=UPGRADE, seconds=START_SECS))
    command = EngineCommand(ask, container_id, str(made["Id"]), body, tty=wanted.tty)
    try:
        if wanted.tty and wanted.rows and wanted.columns:
            await command.resize(wanted.rows, wanted.columns)
        yield command
    finally:
        body.close()
        with anyio.move_on_after(HANG_UP_SECS, shield=True):
            await command.hang_up()


class EngineCommand:
    """One that runs (`Command`)."""

    def __init__(self, ask: Ask, container_id: str, exec_id: str, body: Body, *, tty: bool) -> None:
        self._ask = ask
        self._container_id = container_id
        self._exec_id = exec_id
        self._body = body
        self._tty = tty
        self._code: int | None = None
        self._first = b""

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """What it writes, as it comes, until it has ended and all is read; what the engine says instead is an error."""
        if self._tty:
            while piece := await self._body.receive():
                self._first = self._first or piece
                yield "stdout", piece
            return
        async for batch in frames(self._body):
            for stream, piece in batch:
                self._first = self._first or piece
                yield ("stderr" if piece.startswith(FAILED) else stream), piece

    async def send(self, data: bytes) -> None:
        """Give it input; returns when the engine has taken it."""
        await self._body.send(data)

    async def end_input(self) -> None:
        """There will be no more input."""
        self._body.end()

    async def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size; nothing happens where it has none, or has ended."""
        if not self._tty:
            return
        try:
            await self._ask(lambda client: client.exec_resize(self._exec_id, height=rows, width=columns))
        except Unavailable:
            raise
        except FledxError:
            return

    async def signal(self, number: int) -> None:
        """Send it a signal, where its process can be seen from here."""
        shown = await self._shown()
        if shown.get("Running"):
            _signal_inside(self._container_id, int(shown.get("Pid") or 0), number)

    async def exit_code(self) -> int:
        """How it ended; Unavailable where the engine does not know."""
        with anyio.move_on_after(ENDED_SECS):
            while (shown := await self._shown()).get("Running"):
                await anyio.sleep(0.05)
            if shown.get("ExitCode") is not None:
                self._code = _as_shells_count(int(shown["ExitCode"]), self._first)
                return self._code
        raise Unavailable("the command's output has ended, but the engine does not say how the command did")

    async def hang_up(self) -> None:
        """Nobody listens any more: tell the command so, unless it has ended."""
        if self._code is not None:
            return
        try:
            await self.signal(signal.SIGHUP)
        except FledxError:
            return

    async def _shown(self) -> Mapping[str, Any]:
        return await self._ask(lambda client: client.exec_inspect(self._exec_id))


def _as_shells_count(code: int, said: bytes) -> int:
    """127 for a program that is not there: Docker 20.10 says 126 of everything that cannot be started."""
    failed = code == 126 and said.startswith(FAILED)
    return 127 if failed and any(words in said for words in NOT_THERE) else code


def _signal_inside(container_id: str, pid: int, number: int) -> None:
    """Signal a command and those it has started, if the process of that number is surely one of that container's."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as groups:
            if pid <= 1 or container_id not in groups.read():
                return
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except OSError:
        return
