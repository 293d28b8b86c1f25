"""The SQLite file: one writer, readers beside it, and its faults in our words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from fledx.errors import Conflict, FledxError, LimitExceeded, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
HEADER = b"SQLite format 3\x00"
BUSY_SECONDS = 5.0
LOG_PAGES = 4000
"""The log's length, 16 MiB, at which it is written back: most pages change in every second commit and go back once."""
CACHE_KIB = 8192
"""Of each connection: a fleet of a thousand nodes fits in; SQLite's own 2 MiB are read again and again."""

STORAGE_FULL = "storage_full"
"""The code of the error that a disk without space makes; what failed so may be tried again."""


class Database:
    """
    One open database.

    Writes run one after another, each in a `BEGIN IMMEDIATE` transaction of its own, and return after COMMIT; durable
    ones are on the disk by then (`synchronous=FULL`), others may be lost by a power cut, never torn. A durable one has
    one of the others before it at most, so that an operator does not wait behind all nodes that come back at once.
    Reads run on a connection of their own and see the last commit. WAL mode: readers never wait for the writer.

    `on_transaction` hears in the loop how many seconds each committed write took, and whether it was durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with translated(path):
            self._writer = connect(path)
            self._reader = connect(path)
            self._far_reader = connect(path)
        self.on_transaction: Callable[[float, bool], None] = lambda seconds, durable: None
        self._synchronous = ""
        self._turn = anyio.CapacityLimiter(1)
        self._queue = anyio.Lock()
        self._far_turn = anyio.CapacityLimiter(1)

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run `work` in a transaction and return its result once that is committed; it is rolled back if it raises."""
        if durable:
            return await self._in_turn(work, durable=True)
        async with self._queue:
            return await self._in_turn(work, durable=False)

    async def _in_turn(self, work: Work[T], *, durable: bool) -> T:
        synchronous = "FULL" if durable else "NORMAL"
        took, result = await anyio.to_thread.run_sync(self._timed, work, synchronous, limiter=self._turn)
        self.on_transaction(took, durable)
        return result

    def _timed(self, work: Work[T], synchronous: str) -> tuple[float, T]:
        began = time.perf_counter()
        result = self._transaction(work, synchronous)
        return time.perf_counter() - began, result

    def _transaction(self, work: Work[T], synchronous: str) -> T:
        with translated(self.path):
            if synchronous != self._synchronous:
                self._writer.execute(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise
            return result

    def read(self, work: Work[T]) -> T:
        """Run a short read in the caller's thread (a point read takes a tenth of a millisecond)."""
        with translated(self.path), self._reader:
            return work(self._reader)

    async def read_far(self, work: Work[T]) -> T:
        """Run a long read (more than some hundred rows) on a thread, so that the loop goes on."""

        def far() -> T:
            with translated(self.path), self._far_reader:
                return work(self._far_reader)

        return await anyio.to_thread.run_sync(far, limiter=self._far_turn)

    def size(self) -> int:
        """Bytes on the disk, of the file and its log."""
        log = self.path.with_name(f"{self.path.name}-wal")
        return sum(path.stat().st_size for path in (self.path, log) if path.exists())

    def close(self) -> None:
        """Write the log back into the file and let go of it."""
        for connection in (self._reader, self._far_reader, self._writer):
            connection.close()


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with our settings; `read_only` never creates or changes the file."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"file:{_uri(path)}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    if not read_only:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _uri(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def path_of(url: str) -> Path:
    """The path in `sqlite:///absolute/path` (four slashes do as well) or `sqlite://relative/path`."""
    path = url.removeprefix("sqlite://")
    return Path("/" + path.lstrip("/")) if path.startswith("/") else Path(path)


def inspect(path: Path) -> None:
    """
    Refuse a file that is not a sound database before anything is written to it.

    An absent file is fine (it will be made); an empty one is not, as something emptied it.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise Unavailable(f"the database {path} is not a file")
    with path.open("rb") as file:
        head = file.read(len(HEADER))
    if head != HEADER:
        raise damaged(path, "it is empty" if not head else "it is not an SQLite database")
    with translated(path), contextlib.closing(connect(path, read_only=True)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, str(found))


def prepare_directory(path: Path) -> None:
    """Make the directory that holds the control plane's state, 0700, or say why that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / f".probe-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as problem:
        raise Unavailable(
            f"{path} cannot be written: {problem.strerror}",
            hint="name another with --data-dir or FLEDX_CP_DATA_DIR, or mend its owner and mode",
        ) from None


def damaged(path: Path, why: str) -> FledxError:
    """The refusal to start on a database that is not sound; it is never replaced by an empty one."""
    return Unavailable(f"{path} is damaged: {why}", hint="put a good copy in its place; nothing was changed")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's faults as ours."""
    try:
        yield
    except sqlite3.IntegrityError as problem:
        raise Conflict(f"the change contradicts what is stored: {problem}") from problem
    except sqlite3.DatabaseError as problem:
        raise _ours(problem, path) from problem


def _ours(problem: sqlite3.DatabaseError, path: Path) -> FledxError:
    text = str(problem)
    if "disk is full" in text or "disk I/O" in text:
        full = LimitExceeded(f"no space to write {path}: {text}", hint="free some space; reads still work")
        full.code = STORAGE_FULL
        return full
    if "malformed" in text or "not a database" in text:
        return damaged(path, text)
    if "readonly" in text or "unable to open" in text:
        return Unavailable(f"{path}: {text}", hint="mend the owner and mode of the file and its directory")
    return Unavailable(f"{path}: {text}")
