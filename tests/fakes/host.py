"""A host in memory: it obeys the steps of bootstrap as a real one does, and can be cut off or fail at any of them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import time
from collections.abc import Iterator
from typing import Any

from fledx.bootstrap import accounts, kernel, services, steps
from fledx.bootstrap.facts import Archive, Docker, Entry, HostFacts, Identity, Inotify, Python, Space, Unit, User
from fledx.bootstrap.host import Done, Order
from fledx.bootstrap.layout import ROLES, Layout, Role, cache_dir, run_dir, unit_name, unit_path, user_name
from fledx.bootstrap.look import Look
from fledx.bootstrap.reach import Ask
from fledx.bootstrap.turn import Take

LOST = Done(code=None, err="the connection was lost")
WELL = Done(code=0)
PYTHON = Python(path="/usr/bin/python3", version=(3, 11, 2), libc="glibc-2.36")
ENGINE = Docker(installed=True, running=True, group="docker", api=(1, 45), version="26.1.5")
NODE_ID = "5f0c6a1e-0000-4000-8000-000000000001"
TOKEN = "operator-token-of-the-fake"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n"


def bare_host(**changes: Any) -> HostFacts:
    """A Debian host with Docker and nothing of fledx, looked at just now."""
    roomy = Space(free=10 * 2**30, writable=True)
    layout = changes.get("layout", Layout())
    usual: dict[str, Any] = {
        "now": float(int(time.time())),
        "system": "Linux",
        "machine": "x86_64",
        "hostname": "edge-1",
        "distribution": "Debian GNU/Linux 12 (bookworm)",
        "families": ("debian",),
        "pythons": (PYTHON,),
        "systemd": 252,
        "spaces": dict.fromkeys((layout.bin_dir, layout.config_dir, layout.data_dir), roomy),
        "directories": {layout.bin_dir: Entry(owner="root:root", mode="755")},
        "docker": ENGINE,
        "inotify": Inotify(instances=128),
    }
    return HostFacts(**{**usual, **changes})


class FakeHost:
    """
    Holds the facts that a look finds, and changes them by the meaning of each order.

    ``cut`` and ``fail`` are numbers of an order (from 1, looks not counted) at which the connection is lost or the
    order fails; a cut that is ``late`` comes after the order had its effect. Without ``joins`` no agent is let in.
    """

    name = "edge-1"

    def __init__(self, facts: HostFacts | None = None) -> None:
        self.facts = facts or bare_host()
        self.ran: list[Order] = []
        self.cut: int | None = None
        self.fail: int | None = None
        self.late = False
        self.lost = False
        self.joins = True
        self.starts: list[Role] = []
        self.said: list[str] = []
        self.word = ""
        self._loaded: dict[str, str] = {}

    def run(self, order: Order) -> Done:
        if self.lost:
            return LOST
        if isinstance(order, Look):
            return Done(code=0, out=told(self.facts))
        if isinstance(order, Take):
            if self.word in ("", order.expected):
                self.word = order.mine
                return WELL
            return Done(code=0, out=f"{self.word} 1764072000\n")
        self.ran.append(order)
        number = len(self.ran)
        if number == self.fail:
            return Done(code=1, err="as the test wants it")
        if number == self.cut and not self.late:
            self.lost = True
            return LOST
        done = self._obey(order)
        if number == self.cut:
            self.lost = True
            return LOST
        return done

    def close(self) -> None:
        """Nothing is open."""

    def reconnect(self) -> None:
        """Let the operator run the command again, undisturbed."""
        self.cut, self.fail, self.lost, self.ran, self.starts = None, None, False, [], []

    def change(self, **changes: Any) -> None:
        """Have something be otherwise on the host."""
        self.facts = dataclasses.replace(self.facts, **changes)

    def _obey(self, order: Order) -> Done:
        if isinstance(order, Ask):
            return Done(code=0, out="ok\n")
        if not isinstance(order, steps.Step):
            return Done(code=0, out=f"{TOKEN}\n\n{AUTHORITY}")
        act = getattr(self, "_" + type(order).__name__)
        return act(order) or WELL

    def _put(self, table: str, key: str, value: Any) -> None:
        self.change(**{table: {**getattr(self.facts, table), key: value}})

    def _drop(self, table: str, *gone: str) -> None:
        self.change(**{table: {key: value for key, value in getattr(self.facts, table).items() if key not in gone}})

    def _below(self, path: str) -> Iterator[str]:
        for table in ("directories", "files"):
            yield from (key for key in getattr(self.facts, table) if key.startswith(f"{path}/"))

    def _MakeUser(self, step: accounts.MakeUser) -> None:
        name = user_name(step.role)
        known = self.facts.users.get(name)
        self._put("users", name, User(shell="/usr/sbin/nologin", groups=known.groups if known else (name,)))

    def _RemoveUser(self, step: accounts.RemoveUser) -> None:
        if step.unless not in self.facts.directories:
            self._drop("users", user_name(step.role))

    def _JoinGroup(self, step: accounts.JoinGroup) -> Done | None:
        user = self.facts.users.get(user_name(step.role))
        if user is None or step.group != (self.facts.docker.group or "docker"):
            return Done(code=6, err="usermod: no such user or group")
        self._put("users", user_name(step.role), User(shell=user.shell, groups=(*user.groups, step.group)))
        return None

    def _MakeDirectory(self, step: steps.MakeDirectory) -> Done | None:
        owner = step.owner.partition(":")[0]
        if owner != "root" and owner not in self.facts.users:
            return Done(code=1, err=f"chown: invalid user: {step.owner}")
        there = self.facts.directories.get(step.path)
        self._put("directories", step.path, Entry(owner=step.owner, mode=step.mode, empty=there is None or there.empty))
        return None

    def _RemoveDirectory(self, step: steps.RemoveDirectory) -> None:
        there = self.facts.directories.get(step.path)
        kept = list(self._below(step.path))
        identity = step.path == self.facts.layout.role_data("agent") and self.facts.identity is not None
        authority = step.path == self.facts.layout.role_data("cp") and self.facts.has_authority
        if there is not None and not kept and not identity and not authority and not self.facts.has_join:
            self._drop("directories", step.path)

    def _RemoveTree(self, step: steps.RemoveTree) -> None:
        for table in ("directories", "files"):
            self._drop(table, step.path, *self._below(step.path))
        if step.path == self.facts.layout.role_data("agent"):
            self.change(identity=None)
        if step.path == self.facts.layout.role_data("cp"):
            self.change(has_authority=False)

    def _PlaceArchive(self, step: steps.PlaceArchive) -> Done | None:
        if hashlib.sha256(step.feed()).hexdigest() != step.digest:
            return Done(code=1, err=f"{step.path} did not arrive whole")
        self._put("archives", step.path, Archive(digest=step.digest))
        return None

    def _WriteFile(self, step: steps.WriteFile) -> Done | None:
        if step.path.rpartition("/")[0] not in {*self.facts.directories, "/etc/systemd/system"}:
            return Done(code=1, err=f"mktemp: no directory for {step.path}")
        if step.path == self.facts.layout.join_file:
            self.change(has_join=True)
            return None
        self._put("files", step.path, Entry(owner=step.owner, mode=step.mode, content=step.content))
        self._see_units()
        return None

    def _RaiseLimit(self, step: kernel.RaiseLimit) -> None:
        self._put("files", step.path, Entry(owner=step.owner, mode=step.mode, content=step.content))
        self.change(inotify=Inotify(instances=step.value))

    def _LowerLimit(self, step: kernel.LowerLimit) -> None:
        self.change(inotify=Inotify(instances=step.value))

    def _RemoveFile(self, step: steps.RemoveFile) -> None:
        for table in ("files", "archives", "links"):
            self._drop(table, step.path)
        if step.path == self.facts.layout.join_file:
            self.change(has_join=False)
        self._see_units()

    def _WriteUnit(self, step: steps.WriteUnit) -> None:
        self._WriteFile(step)
        self._read_units()

    def _RemoveUnit(self, step: steps.RemoveUnit) -> None:
        self._RemoveFile(step)
        self._read_units()

    def _SwitchLink(self, step: steps.SwitchLink) -> None:
        self._put("links", step.path, step.target)

    def _see_units(self) -> None:
        """Systemd notices that a unit file differs from what it has read, but goes on with that."""
        for role in ROLES:
            name, entry = unit_name(role), self.facts.files.get(unit_path(role))
            unit = self.facts.units.get(name)
            if unit is not None:
                stale = (entry.content if entry else None) != self._loaded.get(name)
                self._put("units", name, dataclasses.replace(unit, stale=stale))
        placed = any(unit_path(role) in self.facts.files for role in ROLES)
        self.change(placed=self.facts.layout if placed else None)

    def _ReadUnits(self, step: services.ReadUnits) -> None:
        self._read_units()

    def _read_units(self) -> None:
        for role in ROLES:
            name, entry = unit_name(role), self.facts.files.get(unit_path(role))
            unit = self.facts.units.get(name)
            if entry is not None:
                self._loaded[name] = entry.content or ""
                self._put("units", name, dataclasses.replace(unit or Unit(), stale=False))
            elif unit is not None and not unit.runs:
                self._drop("units", name)

    def _StartUnit(self, step: services.StartUnit) -> Done | None:
        return self._start(step.role, enable=True)

    def _RestartUnit(self, step: services.RestartUnit) -> Done | None:
        return self._start(step.role, enable=False)

    def _start(self, role: Role, *, enable: bool) -> Done | None:
        facts, name = self.facts, unit_name(role)
        lacking = [
            word
            for word, there in {
                "unit": name in self._loaded,
                "settings": facts.layout.env_file(role) in facts.files,
                "user": user_name(role) in facts.users,
                "data directory": facts.layout.role_data(role) in facts.directories,
                "command": facts.links.get(facts.layout.role_command(role)) == "fledx",
                "archive": f"{facts.layout.bin_dir}/{facts.links.get(facts.layout.command)}" in facts.archives,
            }.items()
            if not there
        ]
        if lacking:
            return Done(code=1, err=f"{name} lacks its {', '.join(lacking)}")
        self.starts.append(role)
        owner = f"{user_name(role)}:{user_name(role)}"
        self._put("directories", cache_dir(role), Entry(owner=owner, mode="700", empty=True))
        if role == "agent":
            self._put("directories", run_dir(role), Entry(owner=owner, mode="700", empty=True))
        setup = self._loaded[name].partition("FLEDX_SETUP=")[2].split("\n")[0]
        unit = facts.units[name]
        self._put(
            "units",
            name,
            dataclasses.replace(
                unit, active="active", sub="running", enabled=unit.enabled or enable, pid=7, setup=setup
            ),
        )
        if role == "cp":
            self.change(has_authority=True)
        elif facts.has_join and self.joins and facts.identity is None:
            self.change(identity=Identity(node_id=NODE_ID, host="cp", port=7443))
        return None

    def _StopUnit(self, step: services.StopUnit) -> None:
        name = unit_name(step.role)
        unit = self.facts.units.get(name)
        if unit is not None:
            stopped = Unit(enabled=unit.enabled and not step.disable, stale=unit.stale)
            self._put("units", name, stopped)

    def _AwaitJoin(self, step: services.AwaitJoin) -> Done | None:
        if self.facts.identity is None:
            return Done(code=1, err="refused: this registration token is used up")
        self.change(has_join=False)
        return None

    def _InstallDocker(self, step: services.InstallDocker) -> None:
        self.change(docker=ENGINE)

    def _RemoveContainers(self, step: services.RemoveContainers) -> None:
        self.said.append(f"containers of {step.node_id} removed")


def told(facts: HostFacts) -> str:
    """The facts in the words of the script that looks (`look.py`); `read_facts` reads them back."""
    lines = [
        f"now {facts.now:.0f}",
        f"system {facts.system}",
        f"machine {facts.machine}",
        f"hostname {facts.hostname}",
        f"distribution {facts.distribution}",
        f"family {' '.join(facts.families)}",
        "layout " + " ".join(vars(facts.layout).values()),
        "placed " + (" ".join(vars(facts.placed).values()) if facts.placed else "  "),
        *_programs(facts),
        *_entries(facts),
        *(f"user {name} {user.shell} {','.join(user.groups)}" for name, user in facts.users.items()),
        *(line for name, unit in facts.units.items() for line in _unit(name, unit)),
        *(["authority yes"] if facts.has_authority else []),
        *(["join yes"] if facts.has_join else []),
        *_identity(facts),
        *(f"port 00000000:{port:04X}" for port in facts.listening),
        *(f"listener 0.0.0.0:{port} {_users(holder)}" for port, holder in facts.listening.items() if holder),
        *_docker(facts.docker),
        *_inotify(facts),
        "end",
    ]
    return "\n".join(lines) + "\n"


def _programs(facts: HostFacts) -> Iterator[str]:
    for each in facts.pythons:
        missing = ",".join(each.missing) or "-"
        yield f"python {each.path} {'.'.join(map(str, each.version))} {each.bits} {each.libc} {missing}"
    if facts.systemd is not None:
        yield f"systemd {facts.systemd}"


def _entries(facts: HostFacts) -> Iterator[str]:
    for path, space in facts.spaces.items():
        yield f"space {path} {space.free // 1024} {'yes' if space.writable else 'no'}"
    for path, entry in facts.directories.items():
        yield f"dir {path} {entry.owner} {entry.mode} {'empty' if entry.empty else 'full'}"
    for path, archive in facts.archives.items():
        yield f"archive {path} {archive.digest} {archive.owner} {archive.mode}"
    for path, target in facts.links.items():
        yield f"link {path} {target or '-'}"
    for path, entry in facts.files.items():
        yield f"file {path} {entry.owner} {entry.mode} {base64.b64encode((entry.content or '').encode()).decode()}"


def _unit(name: str, unit: Unit) -> Iterator[str]:
    yield f"unit {name} LoadState=loaded"
    yield f"unit {name} ActiveState={unit.active}"
    yield f"unit {name} SubState={unit.sub}"
    yield f"unit {name} UnitFileState={'enabled' if unit.enabled else 'disabled'}"
    yield f"unit {name} NeedDaemonReload={'yes' if unit.stale else 'no'}"
    yield f"unit {name} MainPID={unit.pid}"
    yield f"unit {name} ActiveEnterTimestamp={unit.since or ''}"
    if unit.setup is not None:
        yield f"unit {name} Setup={unit.setup}"


def _identity(facts: HostFacts) -> Iterator[str]:
    it = facts.identity
    if it is not None:
        yield f"identity {it.node_id or '-'} {it.host} {it.port} {','.join(it.authorities) or '-'}"


def _inotify(facts: HostFacts) -> Iterator[str]:
    if facts.inotify is not None:
        yield f"inotify {facts.inotify.instances} {'yes' if facts.inotify.settable else 'no'}"


def _users(holder: str) -> str:
    name, _, pid = holder.rstrip(")").partition(" (pid ")
    return f'users:(("{name}",pid={pid},fd=3))'


def _docker(docker: Docker) -> Iterator[str]:
    load = "loaded" if docker.installed else "not-found"
    yield f"engine docker.service {load} {'active' if docker.running else 'inactive'}"
    if docker.group:
        yield f"socket {docker.group}"
    if docker.api:
        yield f"docker {'.'.join(map(str, docker.api))} {docker.version}"
    elif docker.error:
        yield f"docker - {docker.error}"
