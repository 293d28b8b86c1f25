"""One piece of work on every host that was named, in parallel."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

from fledx.bootstrap.act import Progress
from fledx.bootstrap.host import Host
from fledx.bootstrap.local import THIS_MACHINE, LocalHost
from fledx.bootstrap.news import News, Outcome, Tell
from fledx.bootstrap.ssh_config import SshOptions, Target
from fledx.bootstrap.turn import turn
from fledx.bootstrap.visit import Mode, Places, Visit
from fledx.errors import FledxError, InvalidSpec

AT_ONCE = 16

Work = Callable[[Visit, str | None], dict[str, Any]]
"""What to do on one host; the text is its name as the operator wrote it, None for this machine."""


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """
    Which hosts, and how they are reached; no targets means this machine.

    ``sudo_password`` and ``secret`` ask the operator without echo; None means that nothing may be asked.
    """

    targets: tuple[str, ...] = ()
    ssh: SshOptions = dataclasses.field(default_factory=SshOptions)
    places: Places = dataclasses.field(default_factory=Places)
    sudo_password: Callable[[], str] | None = None
    secret: Callable[[str], str] | None = None


Open = Callable[[Target | None, Hosts, Progress], Host]
"""Gets in to one host, or to this machine."""


def on_each(hosts: Hosts, work: Work, mode: Mode, tell: Tell, open_host: Open | None = None) -> list[Outcome]:
    """
    Do the work on every host, several at a time; one that fails holds up no other.

    An interrupt lets each host finish the step it is at, and no more.
    """
    named = [Target.parse(text) for text in hosts.targets]
    if len({(target.host, target.port) for target in named}) < len(named):
        raise InvalidSpec("--ssh-host", "names a host twice")
    targets: list[Target | None] = [*named] or [None]
    lock, halt = threading.Lock(), threading.Event()

    def tell_in_turn(news: News) -> None:
        with lock:
            tell(news)

    def visited(target: Target | None) -> Outcome:
        name = THIS_MACHINE if target is None else target.host
        return _visited(target, hosts, work, mode, Progress(name, tell_in_turn, halt), open_host or _opened)

    with ThreadPoolExecutor(min(AT_ONCE, len(targets))) as pool:
        try:
            return [each.result() for each in [pool.submit(visited, target) for target in targets]]
        except KeyboardInterrupt:
            halt.set()
            raise


def _visited(target: Target | None, hosts: Hosts, work: Work, mode: Mode, progress: Progress, opened: Open) -> Outcome:
    facts: dict[str, Any] = {}
    problem: FledxError | None = None
    began = time.monotonic()
    try:
        host = opened(target, hosts, progress)
        progress.took("log in", began)
        with closing(host):
            visit = Visit(host=host, places=hosts.places, mode=mode, progress=progress)
            with nullcontext() if mode.dry_run else turn(host):
                facts = work(visit, target.host if target else None)
    except FledxError as fault:
        problem = fault
    progress.took("in all", began)
    text, hint, code = (problem.text, problem.hint, problem.code) if problem else (None, None, None)
    progress.say("done", text or "", reason=hint or "")
    return Outcome(
        host=progress.host,
        steps=progress.steps,
        done=progress.done,
        troubles=progress.troubles,
        error=text,
        hint=hint,
        code=code,
        undone=progress.undone,
        facts=facts,
        timings=tuple(progress.timings),
    )


def _opened(target: Target | None, hosts: Hosts, progress: Progress) -> Host:
    if target is None:
        return LocalHost(THIS_MACHINE, hosts.sudo_password)
    from fledx.bootstrap.ssh import Questions, open_ssh

    questions = Questions(
        tell=lambda text: progress.say("told", text), sudo_password=hosts.sudo_password, secret=hosts.secret
    )
    return open_ssh(target, hosts.ssh, questions)
