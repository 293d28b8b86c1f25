"""The door of bootstrap: one command, carried out on every host that was named, in parallel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from fledx.bootstrap.agent import AgentWanted, install_agent
from fledx.bootstrap.control_plane import Access, ControlPlaneWanted, SaveAccess, install_control_plane
from fledx.bootstrap.fleet import Hosts, on_each
from fledx.bootstrap.layout import ROLES, Role
from fledx.bootstrap.news import News, Outcome, Tell
from fledx.bootstrap.oneline import line_for
from fledx.bootstrap.package import Package, package_at, read_package, running_package
from fledx.bootstrap.ssh_config import SshOptions
from fledx.bootstrap.upkeep import describe, uninstall, upgrade
from fledx.bootstrap.visit import Mode, Places, Visit
from fledx.client.api import ControlPlane
from fledx.errors import InvalidSpec, NotFound

__all__ = [
    "ROLES",
    "Access",
    "AgentWanted",
    "ControlPlaneWanted",
    "Hosts",
    "Mode",
    "News",
    "Outcome",
    "Places",
    "Role",
    "SshOptions",
]

LATEST = "latest"


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


def join_line(connect: Callable[[], ControlPlane], join: str) -> str | None:
    """What to paste into the shell of a new host; None where the control plane gives no file to other machines."""
    with closing(connect()) as api:
        try:
            return line_for(api.peer, _of_control_plane(api), join)
        except NotFound:
            return None


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
