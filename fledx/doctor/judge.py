"""From what was seen to what is wrong, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator

from fledx.doctor.facts import UNITS, Disk, Engine, File, Finding, MachineFacts, RoleFacts, Talk
from fledx.models.ingress import WATCHES_WANTED
from fledx.models.node import OLDEST_ENGINE_API

LITTLE_BYTES, LITTLE_SHARE = 512 * 2**20, 0.05
NOTHING_BYTES = 64 * 2**20
SKEW_SECONDS, WRONG_SECONDS = 5.0, 300.0
"""Logs of several machines are read side by side to the second; certificates and tokens bear five minutes."""
SOON_SECONDS = 14 * 86400.0
OLD_BACKUP_SECONDS = 2 * 86400.0


def judged(facts: MachineFacts) -> list[Finding]:
    """Every check with its outcome, role by role, in a fixed order."""
    found = [*_machine(facts)]
    for role in facts.roles:
        found += [*_role(role, facts)]
    return found


def _machine(facts: MachineFacts) -> Iterator[Finding]:
    if facts.synchronised is False:
        yield _bad("machine", "clock", "nothing keeps this clock right", "timedatectl set-ntp true", level="warn")
    elif facts.synchronised:
        yield _ok("machine", "clock", "kept right by time synchronisation")
    for path in sorted(set(facts.unreadable) - {path for role in facts.roles for path in role.hidden}):
        yield _bad("machine", "rights", f"{path} may not be read by you", "run it again with sudo", level="warn")


def _role(role: RoleFacts, facts: MachineFacts) -> Iterator[Finding]:
    yield from _settings(role)
    yield from _unit(role)
    for file in role.files:
        yield _file(role.role, file)
    for disk in role.disks:
        yield _disk(role.role, disk)
    for talk in role.talks:
        yield from _talk(role.role, talk, facts)
    if role.engine is not None:
        yield _engine(role.engine)
    for text in role.health:
        yield _bad(role.role, "health", text, "the log says more: journalctl -u " + UNITS.get(role.role, "fledx-agent"))
    if role.watches is not None:
        yield _watched(role.watches)
    if role.role == "cp" and role.directory not in (None, *facts.unreadable):
        yield from _database(role, facts)


def _settings(role: RoleFacts) -> Iterator[Finding]:
    for text in role.broken:
        yield _bad(role.role, "settings", text, f"correct it; `fledx {role.role} --help` lists all settings")
    for path in role.hidden:
        text = f"{path} may not be read by you, so that what it sets is not known"
        yield _bad(role.role, "settings", text, "run it again with sudo", level="warn")
    if role.directory is not None and not role.hidden:
        yield _ok(role.role, "settings", _origin(role))


def _origin(role: RoleFacts) -> str:
    told = [f"read from {' and '.join(role.sources)}"] if role.sources else []
    told += [f"from your own environment {', '.join(role.given)}"] if role.given else []
    return "; ".join(told) or "no file and no variable sets any: the defaults"


def _unit(role: RoleFacts) -> Iterator[Finding]:
    if role.unit is None:
        return
    unit = UNITS[role.role]
    if role.unit == "active":
        yield _ok(role.role, "service", f"{unit} is active")
    else:
        mend = f"systemctl restart {unit}; journalctl -u {unit} -n 50 says why"
        yield _bad(role.role, "service", f"{unit} is {role.unit}", mend)


def _file(role: str, file: File) -> Finding:
    if file.mode is None:
        return _bad(role, "files", f"{file.path} is missing", "restore it from a backup, or start the role once")
    others = file.mode & (0o077 if file.secret else 0o022)
    if others:
        wanted = "go-rwx" if file.secret else "go-w"
        text = f"{file.path} is open to others (mode {file.mode:04o})"
        return _bad(role, "files", text, f"chmod {wanted} {file.path}")
    return _ok(role, "files", f"{file.path} has mode {file.mode:04o}")


def _disk(role: str, disk: Disk) -> Finding:
    said = f"{disk.free // 2**20} MiB of {disk.total // 2**20} MiB free for {disk.what} ({disk.path})"
    mend = "docker system prune" if disk.what == "containers" else f"make room below {disk.path}: du -xh {disk.path}"
    if disk.free < NOTHING_BYTES:
        return _bad(role, "disk", said, mend)
    if disk.free < LITTLE_BYTES or disk.free < LITTLE_SHARE * disk.total:
        return _bad(role, "disk", said, mend, level="warn")
    return _ok(role, "disk", said)


MENDS = {
    "name": "look at /etc/resolv.conf and the name server; or use an address",
    "connect": "is it running, and does a firewall let the port through? nc -vz {host} {port}",
    "certificate": "it is not the one that was pinned: join again, or set the profile's ca_cert_path anew",
    "answer": "the log of what listens there says more",
    "token": "fledx profile set --operator-token, with one from `fledx tokens create` or the control plane's directory",
}


def _talk(role: str, talk: Talk, facts: MachineFacts) -> Iterator[Finding]:
    host, _, port = talk.where.rpartition(":")
    if talk.problem is not None:
        mend = MENDS[talk.kind or "answer"].format(host=host.strip("[]"), port=port)
        yield _bad(role, talk.what, f"{talk.where}: {talk.problem}", mend)
        return
    yield _ok(role, talk.what, f"{talk.where} answers")
    if talk.ends is not None and talk.ends - facts.now < SOON_SECONDS:
        days = int((talk.ends - facts.now) // 86400)
        mend = "the control plane renews it by itself 30 days before: its log says why not"
        yield _bad(role, "certificate", f"that of {talk.where} ends in {days} days", mend, level="warn")
    if talk.version is not None and talk.version != facts.version:
        text = f"{talk.what} is version {talk.version}, this is {facts.version}"
        yield _bad(role, "versions", text, "fledx bootstrap upgrade", level="warn")
    if talk.skew is not None and abs(talk.skew) > SKEW_SECONDS:
        text = f"this clock is {abs(talk.skew):.0f} s {'ahead of' if talk.skew > 0 else 'behind'} that of {talk.where}"
        level = "bad" if abs(talk.skew) > WRONG_SECONDS else "warn"
        yield _bad(role, "clock", text, "timedatectl set-ntp true, on whichever of the two is wrong", level=level)


def _engine(engine: Engine) -> Finding:
    if engine.problem is not None:
        mend = "systemctl start docker; is this user in the group docker?"
        return _bad("agent", "engine", f"{engine.address}: {engine.problem}", mend)
    shown = f"{engine.address} is {engine.name} {engine.version} (API {'.'.join(map(str, engine.api))})"
    if engine.api < OLDEST_ENGINE_API:
        mend = f"upgrade its package: fledx needs API {'.'.join(map(str, OLDEST_ENGINE_API))} (Docker 20.10) or newer"
        return _bad("agent", "engine", f"{shown}, which is too old", mend)
    return _ok("agent", "engine", shown)


def _watched(most: int) -> Finding:
    """A gateway that would need more serves all the same; each change of an endpoint makes its backend anew then."""
    said = f"fs.inotify.max_user_instances is {most}"
    if most < WATCHES_WANTED:
        mend = f"fledx bootstrap agent raises it; or sysctl -w fs.inotify.max_user_instances={WATCHES_WANTED}"
        return _bad("agent", "gateway", f"{said}: too few for Envoy to watch many backends", mend, level="warn")
    return _ok("agent", "gateway", said)


def _database(role: RoleFacts, facts: MachineFacts) -> Iterator[Finding]:
    if role.database is not None:
        mend = f"fledx cp restore BACKUP --force --data-dir {role.directory}; backups lie in {role.directory}/backups"
        yield _bad("cp", "database", role.database, mend)
    else:
        yield _ok("cp", "database", "SQLite finds nothing wrong with it")
    if role.backup is None:
        yield _bad("cp", "backup", "there is none", "fledx cp backup FILE; daily ones are on by default", level="warn")
    elif facts.now - role.backup > OLD_BACKUP_SECONDS:
        text = f"the newest is {int((facts.now - role.backup) // 3600)} hours old"
        yield _bad("cp", "backup", text, "fledx cp backup FILE; the log says why none was taken", level="warn")
    else:
        yield _ok("cp", "backup", f"the newest is {int((facts.now - role.backup) // 3600)} hours old")


def _ok(role: str, check: str, text: str) -> Finding:
    return Finding(role=role, check=check, level="ok", text=text)


def _bad(role: str, check: str, text: str, mend: str, *, level: str = "bad") -> Finding:
    return Finding(role=role, check=check, level=level, text=text, mend=mend)
