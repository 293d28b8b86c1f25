"""From what is on a host to the steps that take a role off it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fledx.bootstrap.accounts import RemoveUser
from fledx.bootstrap.facts import HostFacts
from fledx.bootstrap.kernel import given_back
from fledx.bootstrap.layout import ROLES, Role, cache_dir, run_dir, unit_path, user_name
from fledx.bootstrap.plan import Plan
from fledx.bootstrap.services import ReadUnits, RemoveContainers, StopUnit
from fledx.bootstrap.steps import RemoveDirectory, RemoveFile, RemoveTree, RemoveUnit, Step

ROOT_CACHE = "/var/cache/fledx"
"""Of those who started fledx there as root."""


def plan_removal(facts: HostFacts, roles: Sequence[Role], *, purge: bool) -> Plan:
    """
    Take these roles off the host. Without `purge` settings, data and the users who own them stay, for a later return.

    What both roles share goes with the last of them. The units go at the very end: they know where all else lies, so
    that a removal that was cut off can be repeated without saying that again.
    """
    last = not any(facts.installed(role) for role in ROLES if role not in roles)
    steps: list[Step] = []
    for role in roles:
        steps += _service(facts, role)
        if role == "agent":
            steps += given_back(facts)
    steps += _files(facts, roles, last=last)
    if purge:
        for role in roles:
            steps += _traces(facts, role)
        if last:
            steps += _empty(facts, steps)
    for role in roles:
        steps += _unit(facts, role)
    return Plan(steps=tuple(steps))


def _service(facts: HostFacts, role: Role) -> Iterator[Step]:
    unit = facts.unit(role)
    if facts.installed(role):
        yield StopUnit(role=role, disable=True, reason=f"it is {unit.active}")
        if role == "agent" and facts.identity and facts.identity.node_id and facts.docker.api is not None:
            yield RemoveContainers(
                python=facts.python.path if facts.python else "python3",
                node_id=facts.identity.node_id,
                reason="nobody would look after them",
            )
    for path in (cache_dir(role), run_dir(role)):
        if path in facts.directories:
            yield RemoveTree(path=path, reason="made by the service")


def _unit(facts: HostFacts, role: Role) -> Iterator[Step]:
    if facts.installed(role):
        yield RemoveUnit(path=unit_path(role), reason="the service")
    elif facts.unit(role).stale:
        yield ReadUnits(reason="systemd still knows a unit that is gone")


def _files(facts: HostFacts, roles: Sequence[Role], *, last: bool) -> Iterator[Step]:
    layout = facts.layout
    links = [layout.role_command(role) for role in roles] + ([layout.command, layout.previous] if last else [])
    for path in links:
        if facts.links.get(path) is not None:
            yield RemoveFile(path=path, reason="the command")
    if last:
        for path in sorted(facts.archives):
            yield RemoveFile(path=path, reason="nothing runs it any more")
        if ROOT_CACHE in facts.directories:
            yield RemoveTree(path=ROOT_CACHE, reason="what root's own calls left")


def _traces(facts: HostFacts, role: Role) -> Iterator[Step]:
    layout = facts.layout
    trees = [layout.role_data(role), layout.role_config(role), f"{unit_path(role)}.d"]
    if role == "agent":
        trees.append(layout.volumes)
    for path in trees:
        if path in facts.directories:
            yield RemoveTree(path=path, reason="--purge")
    if layout.env_file(role) in facts.files:
        yield RemoveFile(path=layout.env_file(role), reason="--purge")
    if user_name(role) in facts.users:
        yield RemoveUser(role=role, unless=layout.role_data(role), reason="--purge")


def _empty(facts: HostFacts, before: Sequence[Step]) -> Iterator[Step]:
    """The directories of both roles, where this leaves or finds nothing in them."""
    removed = [step.path for step in before if isinstance(step, RemoveTree | RemoveFile)]
    for path in (facts.layout.config_dir, facts.layout.data_dir):
        there = facts.directories.get(path)
        if there is not None and (there.empty or any(each.startswith(f"{path}/") for each in removed)):
            yield RemoveDirectory(path=path, reason="nothing should be left in it")
