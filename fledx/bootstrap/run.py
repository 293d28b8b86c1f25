"""The door of bootstrap: one command, carried out on every host that was named, in parallel."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from fledx.bootstrap.act import Progress
from fledx.bootstrap.agent import AgentWanted, install_agent
from fledx.bootstrap.control_plane import Access, ControlPlaneWanted, SaveAccess, install_control_plane
from fledx.bootstrap.host import Host
from fledx.bootstrap.layout import Role
from fledx.bootstrap.local import LocalHost
from fledx.bootstrap.news import News, Outcome, Tell
from fledx.bootstrap.package import Package, package_at, read_package, running_package
from fledx.bootstrap.ssh_config import SshOptions, Target
from fledx.bootstrap.upkeep import describe, uninstall, upgrade
from fledx.bootstrap.visit import Mode, Places, Visit
from fledx.client.api import ControlPlane
from fledx.errors import FledxError, InvalidSpec

__all__ = ["Access", "AgentWanted", "ControlPlaneWanted", "Hosts", "Mode", "News", "Outcome", "Places", "SshOptions"]

LATEST = "latest"
AT_ONCE = 16
THIS_MACHINE = "this machine"

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


def bootstrap_control_plane(
    hosts: Hosts, asked: ControlPlaneWanted, *, version: str | None, mode: Mode, save: SaveAccess, tell: Tell
) -> list[Outcome]:
    """Make one host the control plane; `save` writes the operator's profile."""
    if len(hosts.targets) > 1:
        raise InvalidSpec("--ssh-host", "there is one control plane, and so one host for it")
    package = chosen_package(version, None)
    return on_each(hosts, lambda visit, _: install_control_plane(visit, asked, package, save), mode, tell)


def bootstrap_agents(
    hosts: Hosts,
    asked: AgentWanted,
    *,
    version: str | None,
    mode: Mode,
    connect: Callable[[], ControlPlane] | None,
    tell: Tell,
) -> list[Outcome]:
    """
    Make every host a node; `connect` opens the control plane's API, and is None where a join string takes its place.

    Nothing is done to any host before the control plane has answered.
    """
    if asked.name is not None and len(hosts.targets) > 1:
        raise InvalidSpec("--name", "names one node, and several hosts were given")
    package = chosen_package(version, connect)

    def work(visit: Visit, name: str | None) -> dict[str, Any]:
        own = asked if name is None else dataclasses.replace(asked, usual_name=name)
        if connect is None:
            return install_agent(visit, own, package, None)
        with closing(connect()) as api:
            return install_agent(visit, own, package, api)

    return on_each(hosts, work, mode, tell)


def status(hosts: Hosts, roles: Sequence[Role], *, tell: Tell) -> list[Outcome]:
    """What is on each host; changes nothing."""
    return on_each(hosts, lambda visit, _: describe(visit, roles), Mode(dry_run=True), tell)


def upgrade_hosts(
    hosts: Hosts,
    *,
    version: str | None,
    back: bool,
    mode: Mode,
    connect: Callable[[], ControlPlane] | None,
    tell: Tell,
) -> list[Outcome]:
    """Have each host run another version: the one chosen, or with `back` the one it ran before."""
    package = None if back else chosen_package(version or LATEST, connect)

    def work(visit: Visit, name: str | None) -> dict[str, Any]:
        if connect is None:
            return upgrade(visit, package, None)
        with closing(connect()) as api:
            return upgrade(visit, package, api)

    return on_each(hosts, work, mode, tell)


def uninstall_hosts(hosts: Hosts, roles: Sequence[Role], *, purge: bool, mode: Mode, tell: Tell) -> list[Outcome]:
    """Take the roles off each host."""
    return on_each(hosts, lambda visit, _: uninstall(visit, roles, purge=purge), mode, tell)


def chosen_package(version: str | None, connect: Callable[[], ControlPlane] | None) -> Package:
    """
    The file that `--version` means: `latest` this one, a path that file, None the control plane's where there is one.

    A version number is fine as long as this file or the control plane's has it: fledx downloads nothing from elsewhere.
    """
    if version is not None and version.lower() == LATEST:
        return running_package()
    if version is not None and ("/" in version or version.endswith(".pyz")):
        return package_at(version)
    if connect is None:
        own = running_package()
    else:
        with closing(connect()) as api:
            own = _of_control_plane(api)
    if version is None or version.removeprefix("v") == own.version:
        return own
    raise InvalidSpec(
        "--version", f"{version} is not to be had: here it is {own.version}", hint="name a file: --version ./fledx.pyz"
    )


def _of_control_plane(api: ControlPlane) -> Package:
    """What the control plane runs; it is fetched only if this very file is another build."""
    told = api.health()
    try:
        own = running_package()
    except InvalidSpec:
        own = None
    if own is not None and own.build == told.get("build"):
        return own
    return read_package(api.artifact(), "what the control plane gave out")


def on_each(hosts: Hosts, work: Work, mode: Mode, tell: Tell, open_host: Open | None = None) -> list[Outcome]:
    """Do the work on every host, several at a time; one that fails holds up no other."""
    opened = open_host or _opened
    if not hosts.targets:
        return [_visited(None, hosts, work, mode, tell, opened)]
    if len(set(hosts.targets)) < len(hosts.targets):
        raise InvalidSpec("--ssh-host", "names a host twice")
    targets = [Target.parse(text) for text in hosts.targets]
    lock = threading.Lock()

    def tell_in_turn(news: News) -> None:
        with lock:
            tell(news)

    with ThreadPoolExecutor(min(AT_ONCE, len(targets))) as pool:
        return list(pool.map(lambda target: _visited(target, hosts, work, mode, tell_in_turn, opened), targets))


def _visited(target: Target | None, hosts: Hosts, work: Work, mode: Mode, tell: Tell, opened: Open) -> Outcome:
    name = THIS_MACHINE if target is None else target.host
    progress = Progress(name, tell)
    facts: dict[str, Any] = {}
    problem: FledxError | None = None
    began = time.monotonic()
    try:
        host = opened(target, hosts, progress)
        progress.took("log in", began)
        with closing(host):
            visit = Visit(host=host, places=hosts.places, mode=mode, progress=progress)
            facts = work(visit, target.host if target else None)
    except FledxError as fault:
        problem = fault
    progress.took("in all", began)
    text, hint, code = (problem.text, problem.hint, problem.code) if problem else (None, None, None)
    progress.say("done", text or "", reason=hint or "")
    return Outcome(
        host=name,
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
