"""Backups of a control plane: on demand, daily, and the way back."""

from __future__ import annotations

import getpass
import logging
import os
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from fledx import __version__
from fledx.control_plane.home import lock
from fledx.control_plane.store import backup as copies
from fledx.control_plane.store import events
from fledx.control_plane.store.audit import Chain
from fledx.control_plane.store.database import inspect, prepare_directory
from fledx.control_plane.store.events import Happening
from fledx.control_plane.trust.pki import write_private
from fledx.errors import Conflict, FledxError, NotFound, Unavailable
from fledx.models.audit import entry
from fledx.models.moment import stamp
from fledx.models.token import Operator

log = logging.getLogger(__name__)
DIRECTORY = "backups"
#: What a control plane is besides its database: without these its nodes do not know it, nor it its operators.
KEYS = ("ca.pem", "ca.key", "pepper", "secrets.key", "operator-token")
NAMED = re.compile(r"fledx-(\d{8}T\d{6})Z\.db")
FORM = "%Y%m%dT%H%M%S"
LOOKED_AT = 5


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A backup that was made: where, how big, and the keys in it."""

    path: Path
    size: int
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back: the database and the keys; `missing` keys were neither in the backup nor there already."""

    database: Path
    made_at: str | None
    keys: tuple[str, ...]
    missing: tuple[str, ...]
    aside: Path | None


def take(directory: Path, database: Path, target: Path, *, with_keys: bool) -> Taken:
    """Copy a control plane, running or not, to `target`; Conflict when that is there already."""
    if not database.is_file():
        raise NotFound(
            f"there is no database {database}",
            hint="name the control plane's directory with --data-dir; bootstrap's is /var/lib/fledx/cp",
        )
    if target.exists():
        raise Conflict(f"{target} is there already", hint="name another file, or remove that one")
    if not target.absolute().parent.is_dir():
        raise NotFound(f"there is no directory {target.absolute().parent}", hint="make it first")
    keys = {name: (directory / name).read_bytes() for name in KEYS if with_keys and (directory / name).is_file()}
    notes = {"made_at": stamp(time.time()), "version": __version__}
    try:
        copies.take(database, target.absolute(), notes, keys)
    except OSError as problem:
        raise Unavailable(f"{target} cannot be written: {problem.strerror}") from None
    return Taken(path=target, size=target.stat().st_size, keys=tuple(sorted(keys)))


def restore(directory: Path, database: Path, source: Path, *, force: bool, pepper: str | None = None) -> Restored:
    """
    Make a backup the database of `directory`; what was there is put aside where `force` allows that.

    `pepper` is the settings' own, which then counts, and not the file.

    Conflict when a control plane runs there, or there is a database and no `force`; Unavailable for what is no backup.
    """
    if not source.is_file():
        raise NotFound(f"there is no file {source}")
    if (why := copies.fault_of(source)) is not None:
        raise Unavailable(f"{source} cannot be restored: {why}", hint="try an older backup")
    copies.known_to_us(source)
    notes, keys = copies.contents(source)
    prepare_directory(directory)
    descriptor = lock(directory)
    try:
        written = _write_keys(directory, keys, force=force)
        aside = _put_aside(database, force=force)
        try:
            copies.put_back(source, database, lambda sql: _note(sql, directory, source, pepper))
        except BaseException:
            if aside is not None:
                _move(aside, database)
            raise
        _hand_over(directory, [database, *(directory / name for name in written)])
    finally:
        os.close(descriptor)
    given = ("pepper",) if pepper else ()
    missing = tuple(name for name in KEYS[:4] if name not in given and not (directory / name).exists())
    return Restored(database=database, made_at=notes.get("made_at"), keys=written, missing=missing, aside=aside)


def _hand_over(directory: Path, made: Sequence[Path]) -> None:
    """What root restores belongs to the directory's owner, as whom the control plane runs; its lock file, too."""
    if os.geteuid() == 0:
        owner = directory.stat()
        for path in (*made, directory / "lock"):
            os.chown(path, owner.st_uid, owner.st_gid)


def _put_aside(database: Path, *, force: bool) -> Path | None:
    if not database.exists():
        return None
    if not force:
        raise Conflict(f"{database} is there already", hint="--force puts it aside, and the backup in its place")
    aside = database.with_name(f"{database.name}.before-{datetime.now(timezone.utc).strftime(FORM)}Z")
    _move(database, aside)
    return aside


def _move(database: Path, to: Path) -> None:
    """With what SQLite keeps beside it."""
    for suffix in ("-wal", "-shm", ""):
        beside = database.with_name(database.name + suffix)
        if beside.exists():
            beside.replace(to.with_name(to.name + suffix))


def _note(sql: sqlite3.Connection, directory: Path, source: Path, pepper: str | None) -> None:
    """Write the restore into the restored history, and into its audit log where its key is here."""
    now = stamp(time.time())
    restored = Happening("control_plane.restored", "control plane", f"from the backup {source.name}")
    events.add(sql, now, restored)
    file = directory / "pepper"
    if pepper is None and file.is_file():
        pepper = file.read_text().strip()
    if pepper is not None:
        who = Operator(name=getpass.getuser(), role="root")
        fields = entry(now, "database.restore", who, name=source.name)
        Chain.under(pepper).append(sql, fields)


def _write_keys(directory: Path, keys: dict[str, bytes], *, force: bool) -> tuple[str, ...]:
    """Put keys where there are none; another key that is there already is replaced only by `force`."""
    new = {name: content for name, content in keys.items() if name in KEYS and _differs(directory / name, content)}
    present = sorted(name for name in new if (directory / name).exists())
    if present and not force:
        raise Conflict(
            f"{directory} has keys of its own: {', '.join(present)}",
            hint="restore into an empty directory, or let --force replace them",
        )
    for name, content in new.items():
        write_private(directory / name, content)
    if "ca.key" in new:  # certificates of another authority
        for name in ("server.pem", "server.key"):
            (directory / name).unlink(missing_ok=True)
    return tuple(sorted(new))


def _differs(path: Path, content: bytes) -> bool:
    return not path.exists() or path.read_bytes() != content


class DailyBackups:
    """What lies in the directory of backups: made when the newest is old enough, kept by age, the newest always."""

    def __init__(self, directory: Path, database: Path, *, interval_seconds: float, keep_seconds: float) -> None:
        self.directory = directory / DIRECTORY
        self._database = database
        self._interval = interval_seconds
        self._keep = keep_seconds

    def known(self) -> list[tuple[float, Path]]:
        """Each with the unix time it was made, the newest first."""
        found = []
        for path in self.directory.glob("fledx-*.db") if self.directory.is_dir() else ():
            if match := NAMED.fullmatch(path.name):
                made = datetime.strptime(match[1], FORM).replace(tzinfo=timezone.utc)
                found.append((made.timestamp(), path))
        return sorted(found, reverse=True)

    def due(self, now: float) -> bool:
        """Whether it is time for another; one from the future (the clock was wrong) is as good as none."""
        newest = max((made for made, _ in self.known() if made <= now), default=None)
        return bool(self._interval) and (newest is None or now - newest >= self._interval)

    def make(self, now: float) -> Path:
        """Take one and forget those that are too old."""
        prepare_directory(self.directory)
        name = datetime.fromtimestamp(now, timezone.utc).strftime(f"fledx-{FORM}Z.db")
        copies.take(self._database, self.directory / name, {"made_at": stamp(now), "version": __version__}, {})
        for made, path in self.known()[1:]:
            if now - made > self._keep:
                path.unlink(missing_ok=True)
        return self.directory / name

    def newest_good(self) -> Path | None:
        """The newest that could be restored."""
        for _, path in self.known()[:LOOKED_AT]:
            if copies.fault_of(path) is None:
                return path
        return None


def inspected(database: Path, backups: DailyBackups) -> None:
    """Refuse to start on a database that is damaged, or gone though there are backups, with the way back."""
    try:
        if not database.exists() and backups.known():
            raise Unavailable(f"{database} is gone, though there are backups of it")
        inspect(database)
    except FledxError as fault:
        newest = backups.newest_good()
        if newest is not None:
            command = f"fledx cp restore {newest} --force --data-dir {backups.directory.parent}"
            if database != backups.directory.parent / "fledx.db":
                command += f" --database-url sqlite://{database.absolute()}"
            fault.hint = f"`{command}` puts the newest good backup in its place"
        raise
