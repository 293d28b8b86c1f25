"""Asks instances whether they live and are ready, all at their own times and none waiting for another."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from fledx.agent.clock import Clock
from fledx.agent.health.schedule import Finding, Watch, noted, put_off, status_of, verdict, watches_for
from fledx.agent.reconcile.actions import Copy
from fledx.agent.runtime.base import Runtime
from fledx.agent.spec import Key
from fledx.errors import FledxError
from fledx.models.desired import ReplicaDesired
from fledx.models.health import DeploymentHealth, HealthProbe, HealthStatus

logger = logging.getLogger(__name__)

MAX_OUTPUT = 1000
MAX_ANSWER = 4096
OK_STATUSES = range(200, 400)
"""A redirect is an answer; it is not followed, as it may lead anywhere."""

Running = Sequence[tuple[Key, ReplicaDesired, Copy]]


@dataclass(kw_only=True)
class _Subject:
    """A container under watch."""

    key: Key
    copy: Copy
    health: DeploymentHealth
    watches: list[Watch]
    scopes: list[anyio.CancelScope]


class Prober:
    """
    Watches the containers that run as they should.

    `running` gives them, `changed` waits until it may give others. `unhealthy` is told of each that must be restarted,
    `reported` after each finding that others may see. `statuses` are the last findings by container id, `made` counts
    them by type of probe and result.
    """

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        *,
        running: Callable[[], Running],
        changed: Callable[[], Awaitable[None]],
        unhealthy: Callable[[Key, str, str], None],
        reported: Callable[[], None],
    ) -> None:
        self.statuses: Mapping[str, HealthStatus] = {}
        self.made: Counter[tuple[str, ...]] = Counter()
        self._runtime = runtime
        self._clock = clock
        self._running = running
        self._changed = changed
        self._unhealthy = unhealthy
        self._reported = reported
        self._subjects: dict[str, _Subject] = {}

    async def run(self) -> None:
        """Probe until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                for subject in self._sort_out():
                    for i in range(len(subject.watches)):
                        tasks.start_soon(self._watch, subject, i)
                await self._changed()

    def _sort_out(self) -> list[_Subject]:
        """Drop the containers that are gone or were changed, and return those that are new."""
        wanted = {copy.container.id: (key, copy, replica.health) for key, replica, copy in self._running()}
        for container_id, subject in list(self._subjects.items()):
            _, copy, health = wanted.get(container_id, (None, None, None))
            if health != subject.health or copy is None or not _same_run(copy, subject.copy):
                for scope in subject.scopes:
                    scope.cancel()
                del self._subjects[container_id]
        fresh = []
        for container_id, (key, copy, health) in wanted.items():
            if health is not None and container_id not in self._subjects:
                watches = watches_for(health, container_id, self._clock.monotonic())
                scopes = [anyio.CancelScope() for _ in watches]
                subject = _Subject(key=key, copy=copy, health=health, watches=watches, scopes=scopes)
                self._subjects[container_id] = subject
                fresh.append(subject)
        self._show()
        return fresh

    def _show(self) -> None:
        """An old copy keeps what was found last: while it serves on beside its successor nobody probes it."""
        found = {name: status for name, each in self._subjects.items() if (status := status_of(each.watches))}
        kept = {name: status for name, status in self.statuses.items() if name not in found}
        self.statuses = {**dict(list(kept.items())[-100:]), **found}

    async def _watch(self, subject: _Subject, i: int) -> None:
        with subject.scopes[i]:
            while True:
                await self._clock.sleep(max(0.0, subject.watches[i].due - self._clock.monotonic()))
                await self._probe(subject, i)

    async def _probe(self, subject: _Subject, i: int) -> None:
        watch = subject.watches[i]
        try:
            finding = await self._found(subject.copy, watch)
        except FledxError as problem:
            logger.debug("a probe could not be made", extra={"replica": subject.key, "reason": problem.text})
            subject.watches[i] = put_off(watch, self._clock.monotonic())
            return
        except Exception:
            logger.exception("a probe failed unexpectedly", extra={"replica": subject.key})
            subject.watches[i] = put_off(watch, self._clock.monotonic())
            return
        self.made[watch.probe.type, "passed" if finding.passed else "failed"] += 1
        subject.watches[i] = watch = noted(watch, finding, self._clock.monotonic())
        self._show()
        self._reported()
        if (reason := verdict(watch)) is not None:
            self._unhealthy(subject.key, subject.copy.container.id, reason)

    async def _found(self, copy: Copy, watch: Watch) -> Finding:
        probe, at = watch.probe, self._clock.stamp()
        if probe.type == "exec":
            return await self._executed(copy, watch, at)
        host, port = _address(copy, probe)
        try:
            with anyio.fail_after(watch.timeout):
                if probe.type == "tcp":
                    await (await anyio.connect_tcp(host, port)).aclose()
                    return Finding(passed=True, words=f"tcp {port} answers", at=at)
                return await _http(host, port, probe, at)
        except TimeoutError:
            return Finding(passed=False, words=f"{probe.type} {port} gave no answer in {watch.timeout:g} s", at=at)
        except (OSError, anyio.BrokenResourceError) as problem:
            return Finding(passed=False, words=f"{probe.type} {port}: {_reason(problem)}", at=at)

    async def _executed(self, copy: Copy, watch: Watch, at: str) -> Finding:
        command = watch.probe.command or ()
        done = await self._runtime.execute(copy.container.id, command, limit=watch.timeout, most=MAX_OUTPUT)
        output = done.output.strip() or None
        if done.exit_code is None:
            words = f"{command[0]} did not end in {watch.timeout:g} s"
            return Finding(passed=False, words=words, output=output, at=at)
        words = f"{command[0]} ended with {done.exit_code}"
        return Finding(passed=done.exit_code == 0, words=words, output=output, at=at)


def _same_run(copy: Copy, other: Copy) -> bool:
    return copy.container.started_at == other.container.started_at


def _address(copy: Copy, probe: HealthProbe) -> tuple[str, int]:
    """The container's own address; where it has none that this host can reach, the port it publishes."""
    port = probe.port or 0
    if copy.container.address is not None:
        return copy.container.address, port
    for each in copy.container.ports:
        if each.container_port == port and each.host_port is not None:
            return each.host_ip or "127.0.0.1", each.host_port
    return "127.0.0.1", port


async def _http(host: str, port: int, probe: HealthProbe, at: str) -> Finding:
    """GET the path and read the status line; the body's beginning is kept if the answer is bad."""
    path = probe.path or "/"
    path = path if path.startswith("/") else f"/{path}"
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: fledx-probe\r\nConnection: close\r\n\r\n"
    async with await anyio.connect_tcp(host, port) as stream:
        await stream.send(request.encode("utf-8"))
        answer = b""
        while b"\r\n" not in answer and len(answer) < MAX_ANSWER:
            answer += await _more(stream)
        status = _status(answer)
        if status in OK_STATUSES:
            return Finding(passed=True, words=f"http {port}{path}: {status}", at=at)
        while b"\r\n\r\n" not in answer and len(answer) < MAX_ANSWER:
            answer += await _more(stream)
        body = answer.partition(b"\r\n\r\n")[2][:MAX_OUTPUT].decode("utf-8", "replace").strip()
    words = f"http {port}{path}: {'no HTTP answer' if status is None else status}"
    return Finding(passed=False, words=words, output=body or None, at=at)


async def _more(stream: anyio.abc.ByteStream) -> bytes:
    try:
        return await stream.receive(MAX_ANSWER)
    except anyio.EndOfStream:
        return b"\r\n\r\n"


def _status(answer: bytes) -> int | None:
    """The number in `HTTP/1.1 200 OK`."""
    words = answer.split(b"\r\n", 1)[0].split(b" ")
    if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit():
        return int(words[1])
    return None


def _reason(problem: BaseException) -> str:
    """What went wrong with a connection, without the library's wrapping."""
    seen = problem.__cause__ or problem
    inner = getattr(seen, "exceptions", None)
    if inner:
        seen = inner[0]
    number = getattr(seen, "errno", None)
    return (os.strerror(number) if number else str(seen) or type(seen).__name__).lower()
