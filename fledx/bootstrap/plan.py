"""From what is on a host and what should be there to the steps between the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fledx.bootstrap.accounts import JoinGroup, MakeUser
from fledx.bootstrap.distribution import engine_script
from fledx.bootstrap.facts import HostFacts
from fledx.bootstrap.kernel import raised
from fledx.bootstrap.layout import ROLES, Role, unit_name, unit_path, user_name
from fledx.bootstrap.preflight import troubles
from fledx.bootstrap.services import AwaitJoin, InstallDocker, ReadUnits, RestartUnit, StartUnit
from fledx.bootstrap.steps import MakeDirectory, PlaceArchive, RemoveFile, Step, SwitchLink, WriteFile, WriteUnit
from fledx.bootstrap.systemd import UnitWish, setup_of, unit_text
from fledx.bootstrap.wanted import DEFAULT_PORTS, RoleWish, Trouble, Wanted
from fledx.settings.envfile import differing, merged, values_in

LOCKS = ("agent.lock", "lock")
"""By which a role holds its data directory; a role that did not get further has left nothing else there."""

NO_SHELL = ("/usr/sbin/nologin", "/sbin/nologin", "/usr/bin/nologin", "/bin/false", "/usr/bin/false")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    The steps in the order they must run; ``troubles`` are what stands in the way of them, and of which ``fatal`` ones.

    ``restore`` runs last when a step failed and what was done is undone.
    """

    troubles: tuple[Trouble, ...] = ()
    steps: tuple[Step, ...] = ()
    restore: tuple[Step, ...] = ()

    @property
    def fatal(self) -> tuple[Trouble, ...]:
        return tuple(trouble for trouble in self.troubles if trouble.fatal)


def plan(facts: HostFacts, wanted: Wanted) -> Plan:
    """
    What makes the host what it should be. Where something fatal stands in the way there are no steps.

    The plan for what the steps leave behind is empty. Roles that are there already come along: they share the archive.
    """
    roles = tuple(role for role in ROLES if role in wanted.roles or facts.installed(role))
    found = tuple(troubles(facts, wanted, roles))
    if any(trouble.fatal for trouble in found):
        return Plan(troubles=found)
    steps = [
        *_engine(facts, wanted),
        *_archive(facts, wanted),
        *(step for role in roles for step in _account(facts, wanted, role)),
        *_directories(facts, roles),
        *_links(facts, wanted, roles),
    ]
    for role in roles:
        steps += _service(facts, wanted, role)
    steps += _outdated(facts, wanted)
    running = [role for role in roles if facts.unit(role).runs]
    restore = [RestartUnit(role=role, reason="it ran before") for role in running if _starts(steps, role)]
    return Plan(troubles=found, steps=tuple(steps), restore=tuple(restore))


def _starts(steps: Sequence[Step], role: Role) -> bool:
    return any(isinstance(step, StartUnit) and step.role == role for step in steps)


def _engine(facts: HostFacts, wanted: Wanted) -> Iterator[Step]:
    if "agent" not in wanted.roles or not wanted.install_docker or facts.docker.api is not None:
        return
    if facts.docker.installed:
        yield InstallDocker(reason="Docker is installed and does not run")
    else:
        yield InstallDocker(install=engine_script(facts.families) or "", reason="there is no Docker engine")


def _archive(facts: HostFacts, wanted: Wanted) -> Iterator[Step]:
    path = facts.layout.archive(wanted.package.version, wanted.package.build)
    there = facts.archives.get(path)
    whole = there is not None and there.digest == wanted.package.digest
    if there is not None and whole and (there.owner, there.mode) == ("root:root", "755"):
        return
    reason = "it is not there yet" if there is None else "what lies there was damaged, or its owner or mode changed"
    yield PlaceArchive(
        path=path,
        digest=wanted.package.digest,
        data=wanted.package.data,
        known=there is not None,
        reason=reason,
    )


def _account(facts: HostFacts, wanted: Wanted, role: Role) -> Iterator[Step]:
    name = user_name(role)
    user = facts.users.get(name)
    home = facts.layout.role_data(role)
    if user is None:
        yield MakeUser(role=role, home=home, reason="the service gets a user of its own")
    elif user.shell not in NO_SHELL:
        yield MakeUser(role=role, home=home, known=True, reason=f"{name} has the shell {user.shell}")
    if role == "agent" and role in wanted.roles:
        group = facts.docker.group or "docker"
        if user is None or group not in user.groups:
            yield JoinGroup(role=role, group=group, reason="Docker's socket belongs to that group")


def _directories(facts: HostFacts, roles: Sequence[Role]) -> Iterator[Step]:
    yield from _shared_directories(facts)
    for role in roles:
        yield from _own_directories(facts, role)


def _shared_directories(facts: HostFacts) -> Iterator[Step]:
    layout = facts.layout
    for path, use in ((layout.config_dir, "settings"), (layout.data_dir, "data")):
        there = facts.directories.get(path)
        # What an operator made stricter, or more open to readers, is left so; only others' writing is not.
        if there is not None and there.owner.startswith("root:") and not int(there.mode, 8) & 0o022:
            continue
        previous = None if there is None else (there.owner, there.mode)
        reason = (
            f"{use} lie there" if there is None else f"others than root could write there ({there.owner} {there.mode})"
        )
        yield MakeDirectory(path=path, owner="root:root", mode="711", previous=previous, reason=reason)


def _own_directories(facts: HostFacts, role: Role) -> Iterator[Step]:
    layout, owner = facts.layout, f"{user_name(role)}:{user_name(role)}"
    own = [(layout.role_data(role), "700", "its data")]
    if role == "agent":
        own += [(layout.role_config(role), "700", "its key"), (layout.volumes, "711", "volumes of workloads")]
    for path, mode, use in own:
        there = facts.directories.get(path)
        if there is not None and (there.owner, there.mode) == (owner, mode):
            continue
        previous = None if there is None else (there.owner, there.mode)
        reason = use if there is None else f"it was {there.owner} {there.mode}"
        locks = LOCKS if path == layout.role_data(role) else ()
        yield MakeDirectory(path=path, owner=owner, mode=mode, previous=previous, locks=locks, reason=reason)


def _links(facts: HostFacts, wanted: Wanted, roles: Sequence[Role]) -> Iterator[Step]:
    layout = facts.layout
    target = layout.archive(wanted.package.version, wanted.package.build).rpartition("/")[2]
    current = facts.links.get(layout.command)
    if current != target:
        if current is not None and facts.links.get(layout.previous) != current:
            yield SwitchLink(
                path=layout.previous, target=current, previous=facts.links.get(layout.previous), reason="the way back"
            )
        reason = "the command" if current is None else f"it was {current}"
        yield SwitchLink(path=layout.command, target=target, previous=current, reason=reason)
    for role in roles:
        path = layout.role_command(role)
        if facts.links.get(path) != "fledx":
            yield SwitchLink(
                path=path, target="fledx", previous=facts.links.get(path), reason="what the service starts"
            )


def _service(facts: HostFacts, wanted: Wanted, role: Role) -> Iterator[Step]:
    """The env file, the unit, joining, starting: in this order, as each needs the one before."""
    layout, unit = facts.layout, facts.unit(role)
    env_before = facts.files.get(layout.env_file(role))
    env = merged(env_before.content or "" if env_before else "", _values(facts, wanted, role))
    yield from _file(facts, WriteFile, layout.env_file(role), env)

    if role == "agent":
        yield from raised(facts, values_in(env))
    wish = _unit_wish(facts, env, role)
    setup = setup_of(wish, env, wanted.package.digest)
    written = list(_file(facts, WriteUnit, unit_path(role), unit_text(wish, setup)))
    yield from written
    if not written and (unit.stale or unit_name(role) not in facts.units):
        yield ReadUnits(reason="systemd has not read it since it changed")

    joining = role == "agent" and facts.identity is None
    if joining:
        content = f"FLEDX_AGENT_JOIN={wanted.join}\n"
        yield WriteFile(
            path=layout.join_file, content=content, owner="root:root", mode="600", reason="the host is no node yet"
        )
    yield from _start(facts, role, setup, joining=joining)
    if joining:
        yield AwaitJoin(layout=layout, reason="the control plane has to know it")
    elif role == "agent" and facts.has_join:
        yield RemoveFile(path=layout.join_file, reason="it is used up")


def _start(facts: HostFacts, role: Role, setup: str, *, joining: bool) -> Iterator[Step]:
    unit = facts.unit(role)
    reason = ""
    if not unit.runs:
        reason = f"it is {unit.active}"
    elif unit.setup != setup:
        reason = "what runs is not what is installed"
    elif joining:
        reason = "it has to join"
    elif not unit.enabled:
        reason = "it would not start at boot"
    if reason:
        yield StartUnit(role=role, restart=unit.runs, was_enabled=unit.enabled, reason=reason)


def _values(facts: HostFacts, wanted: Wanted, role: Role) -> dict[str, str | None]:
    wish = wanted.roles.get(role, RoleWish())
    return dict(wish.over(facts.settings(role)))


def _file(facts: HostFacts, kind: type[WriteFile], path: str, content: str) -> Iterator[Step]:
    """Settings are for root alone, as systemd reads them before it changes the user; units are for all to see."""
    there = facts.files.get(path)
    mode = "644" if kind is WriteUnit else "600"
    if there is not None and (there.content, there.owner, there.mode) == (content, "root:root", mode):
        return
    reason = "the service" if kind is WriteUnit else "its settings"
    if there is not None:
        changed = [] if kind is WriteUnit else differing(there.content or "", content)
        reason = f"other values: {', '.join(changed)}" if changed else "its content, owner or mode differs"
    yield kind(path=path, content=content, owner="root:root", mode=mode, previous=there, reason=reason)


def _unit_wish(facts: HostFacts, env: str, role: Role) -> UnitWish:
    values = values_in(env)
    ports = [values.get(name, "") for name in DEFAULT_PORTS] if role == "cp" else []
    python = facts.python
    own_choice = python is None or python.path.rpartition("/")[2] == "python3"
    return UnitWish(
        role=role,
        layout=facts.layout,
        python=None if python is None or own_choice else python.path,
        low_ports=any(port.isdigit() and 0 < int(port) < 1024 for port in ports),
    )


def _outdated(facts: HostFacts, wanted: Wanted) -> Iterator[Step]:
    """Of all versions the new one stays, and the one before it."""
    layout = facts.layout
    new = layout.archive(wanted.package.version, wanted.package.build)
    current = facts.links.get(layout.command)
    before = current if current and f"{layout.bin_dir}/{current}" != new else facts.links.get(layout.previous)
    kept = {new, f"{layout.bin_dir}/{before}"}
    for path in sorted(facts.archives):
        if path not in kept:
            yield RemoveFile(path=path, reason="two newer versions are there")
