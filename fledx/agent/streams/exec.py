"""The `exec` stream: a command inside one replica's container, and somebody who talks to it."""

from __future__ import annotations

from collections.abc import Awaitable

import anyio

from fledx.agent.runtime.base import Command, Runtime
from fledx.agent.streams.replicas import Replicas
from fledx.errors import FledxError, Unavailable
from fledx.models.codec import decode_lenient
from fledx.models.exec import (
    ENDED,
    RESIZE,
    SIGNAL,
    STDERR,
    STDIN,
    STDOUT,
    ExecRequest,
    Frames,
    frame,
    signal_of,
    size_of,
)
from fledx.tunnel.stream import Stream


class Commands:
    """Serves `exec` streams, as `models/exec.py` describes them."""

    def __init__(self, runtime: Runtime, replicas: Replicas) -> None:
        self._runtime = runtime
        self._replicas = replicas

    async def serve(self, stream: Stream) -> None:
        """Run the command; whoever reads slowly slows it down, whoever leaves hangs up."""
        wanted = decode_lenient(ExecRequest, dict(stream.meta))
        container = self._replicas.running(stream.meta).container
        async with self._runtime.command(container.id, wanted) as command:
            stream.accept()
            await _talk(stream, command)
            code = await command.exit_code()
        await stream.send_all(frame(ENDED, bytes([code & 0xFF])))
        await stream.send_eof()


async def _talk(stream: Stream, command: Command) -> None:
    """Both directions, until the output ends; what is wrong with either ends both."""
    problems: list[FledxError] = []
    async with anyio.create_task_group() as tasks:

        async def until_done(direction: Awaitable[None], *, last: bool) -> None:
            try:
                await direction
            except FledxError as problem:
                problems.append(problem)
            if last or problems:
                tasks.cancel_scope.cancel()

        tasks.start_soon(lambda: until_done(_listen(stream, command), last=False))
        await until_done(_speak(stream, command), last=True)
    if problems:
        raise problems[0]


async def _speak(stream: Stream, command: Command) -> None:
    async for kind, piece in command.output():
        await stream.send_all(frame(STDERR if kind == "stderr" else STDOUT, piece))


async def _listen(stream: Stream, command: Command) -> None:
    frames, open_ = Frames(), True
    while data := await stream.receive():
        for kind, payload in frames.feed(data):
            if kind == STDIN and open_:
                open_ = await _given(command, payload)
            elif kind == RESIZE:
                await command.resize(*size_of(payload))
            elif kind == SIGNAL:
                await command.signal(signal_of(payload))
    if open_:
        await command.end_input()


async def _given(command: Command, payload: bytes) -> bool:
    """Input, or its end; whether the command takes more: one that reads no more may still have much to say."""
    if not payload:
        await command.end_input()
        return False
    try:
        await command.send(payload)
    except Unavailable:
        return False
    return True
