"""`fledx exec`: a command inside a replica, with this terminal or these pipes as its own."""

from __future__ import annotations

import contextlib
import signal
from argparse import Namespace
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import anyio
from anyio.abc import TaskGroup

from fledx.cli import console, naming
from fledx.cli.entering import lead_in, replica_ref
from fledx.cli.target import connect, resolve
from fledx.cli.terminal import Terminal
from fledx.cli.views.text import harmless
from fledx.client.operator_session import WayIn, dial_in, opened
from fledx.errors import FledxError, InvalidSpec, Unavailable
from fledx.models.codec import encode
from fledx.models.exec import (
    ENDED,
    SIGNAL,
    STDERR,
    STDIN,
    STDOUT,
    ExecRequest,
    Frames,
    code_of,
    frame,
    size_frame,
)
from fledx.models.forward import ReplicaRef
from fledx.tunnel.stream import Stream

SHELL = ("sh",)
LOST = 255
"""The link was lost: how the command ended is not known. As with ssh."""
NOBODY_READS = 141
PATIENCE_SECS = 5.0
RECEIVE = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The descriptors of the three standard streams."""

    inp: int
    out: int
    err: int


def run(args: Namespace, terminal: Terminal) -> int:
    """The command's exit code; 255 when the link is lost, 1 when it never started."""
    target = resolve(args, terminal.environ)
    wanted = replica_ref(args.ref, args.replica)
    ends = _ends(terminal)
    request = _request(args, terminal, ends)
    with contextlib.closing(connect(args, terminal)) as api:
        naming.deployment(api, wanted.deployment)
        way = lead_in(api, target, terminal)
    return anyio.run(_run, way, wanted, request, ends, terminal, target.timeout)


async def _run(
    way: WayIn, wanted: ReplicaRef, request: ExecRequest, ends: Ends, terminal: Terminal, timeout: float
) -> int:
    """Dial, run, and end with the command; what keeps it from starting is raised."""
    execution: Execution | None = None
    problem: FledxError | None = None
    code = LOST
    async with anyio.create_task_group() as tasks:
        try:
            link = await dial_in(way, tasks, timeout=timeout)
            stream = await opened(link, "exec", {**encode(wanted), **encode(request)})
            execution = Execution(stream, request, ends)
            code = await execution.run()
        except FledxError as caught:
            problem = caught
        tasks.cancel_scope.cancel()
    if problem is not None:
        if execution is None:
            raise problem
        where = f"replica {stream.answer.get('replica')} of {stream.answer.get('deployment')}"
        where += f" on {stream.answer.get('node')}"
        terminal.complain(harmless(f"the command in {where} is lost, and how it ended is not known: {problem.text}"))
    return code


def _ends(terminal: Terminal) -> Ends:
    try:
        return Ends(inp=terminal.inp.fileno(), out=terminal.out.fileno(), err=terminal.err.fileno())
    except (OSError, ValueError):
        raise InvalidSpec("", "exec needs standard input, output and error output; one of them is closed") from None


def _request(args: Namespace, terminal: Terminal, ends: Ends) -> ExecRequest:
    here = terminal.interactive and terminal.inp.isatty()
    if args.tty and not terminal.inp.isatty():
        raise InvalidSpec("", "--tty needs a terminal as standard input")
    tty = bool(args.tty) or (here and not args.no_tty)
    request = ExecRequest(
        command=tuple(args.rest) or SHELL,
        tty=tty,
        user=args.user,
        workdir=args.workdir,
        env=dict(args.env or ()),
    )
    known = console.size(ends.inp) if tty else None
    return request if known is None else replace(request, rows=known[0], columns=known[1])


class Execution:
    """One command from here; `code` is how it ended, or why it was left."""

    def __init__(self, stream: Stream, request: ExecRequest, ends: Ends) -> None:
        self.code: int | None = None
        self._stream = stream
        self._tty = request.tty
        self._ends = ends
        self._sending = anyio.Lock()
        self._left = anyio.Event()
        self._asked: set[int] = set()

    async def run(self) -> int:
        """Carry both directions and the signals until the command has ended, or we leave it; FledxError when lost."""
        problem: FledxError | None = None
        wanted = [signal.SIGTERM, signal.SIGHUP, *([signal.SIGWINCH] if self._tty else [signal.SIGINT, signal.SIGQUIT])]
        with contextlib.ExitStack() as around:
            signals = around.enter_context(anyio.open_signal_receiver(*wanted))
            if self._tty:  # within: at no moment does a signal end us and leave the terminal raw
                around.enter_context(console.raw(self._ends.inp))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch_signals, signals, tasks)
                tasks.start_soon(self._speak)
                tasks.start_soon(self._cancel_when_left, tasks)
                try:
                    await self._listen()
                except FledxError as caught:
                    problem = caught
                except OSError:
                    self._leave(NOBODY_READS)
                tasks.cancel_scope.cancel()
        if self._left.is_set():
            self._stream.reset("the operator has left")
        elif problem is not None:
            raise problem
        else:
            await self._part()
        assert self.code is not None
        return self.code

    async def _listen(self) -> None:
        """Print what comes, as fast as it is taken here, until the command has ended."""
        frames, out, err = Frames(), console.Writer(self._ends.out), console.Writer(self._ends.err)
        while data := await self._stream.receive(RECEIVE):
            for kind, payload in joined(frames.feed(data)):
                if kind == STDOUT:
                    await out.write(payload)
                elif kind == STDERR:
                    await err.write(payload)
                elif kind == ENDED:
                    self.code = code_of(payload)
                    return
        raise Unavailable("its node ended the stream")

    async def _speak(self) -> None:
        """Send what is typed or piped in; a command that takes no more of it may still run."""
        with contextlib.suppress(FledxError):
            async for piece in console.pieces(self._ends.inp):
                await self._send(frame(STDIN, piece))
            await self._send(frame(STDIN))

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def _watch_signals(self, signals: AsyncIterator[signal.Signals], tasks: TaskGroup) -> None:
        async for number in signals:
            if number == signal.SIGWINCH:
                tasks.start_soon(self._resize)
            elif self._tty or number == signal.SIGHUP or number in self._asked:
                self._leave(128 + number)
            else:
                self._asked.add(number)
                tasks.start_soon(self._pass_on, number)

    async def _pass_on(self, number: int) -> None:
        """Tell the command; the same signal once more leaves it, and so does SIGTERM where it does not end in time."""
        with contextlib.suppress(FledxError):
            await self._send(frame(SIGNAL, bytes([number])))
        if number == signal.SIGTERM:
            await anyio.sleep(PATIENCE_SECS)
            self._leave(128 + number)

    async def _resize(self) -> None:
        if (known := console.size(self._ends.inp)) is not None:
            with contextlib.suppress(FledxError):
                await self._send(size_frame(*known))

    def _leave(self, code: int) -> None:
        self.code = code
        self._left.set()

    async def _cancel_when_left(self, tasks: TaskGroup) -> None:
        await self._left.wait()
        tasks.cancel_scope.cancel()

    async def _part(self) -> None:
        """Let the stream end whole on both sides, so that its end is written down as one."""
        with anyio.move_on_after(PATIENCE_SECS), contextlib.suppress(FledxError):
            await self._stream.send_eof()
            while await self._stream.receive():
                continue


def joined(found: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The same frames; those of one kind that follow each other as one, as each write costs a turn of a thread."""
    runs: list[tuple[int, list[bytes]]] = []
    for kind, payload in found:
        if runs and runs[-1][0] == kind:
            runs[-1][1].append(payload)
        else:
            runs.append((kind, [payload]))
    return [(kind, b"".join(payloads)) for kind, payloads in runs]
