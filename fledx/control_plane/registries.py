"""What can be done with registries' logins; no password ever comes out of here but sealed, or towards a node."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.store import registries as table
from fledx.control_plane.store.database import Database
from fledx.errors import InvalidSpec, NotFound
from fledx.models.check import shown
from fledx.models.image import registry_of, settled_registry
from fledx.models.registry import Registry, RegistryLogin, host_fault
from fledx.models.token import Operator
from fledx.sealing import Seal, Unsealable


class Registries:
    """Use cases about registries, each one transaction."""

    def __init__(self, store: Database, changes: Changes, seal: Seal) -> None:
        self._store = store
        self._changes = changes
        self._seal = seal

    async def put(self, login: RegistryLogin, *, by: Operator) -> tuple[Registry, bool]:
        """
        Keep the login of a registry; what is told of it, and whether it is new.

        It is used from the next pull on and restarts nothing. The login that is there already is no change.
        """

        def work(tx: Transaction) -> tuple[Registry, bool]:
            row = table.by_host(tx.sql, login.host)
            if row is None or _opened(row, self._seal) != login:
                self._store_login(tx, row, login, by)
            kept = _row(tx.sql, login.host)
            return _shown(kept, table.users(tx.sql), self._seal), row is None

        return await self._changes.commit(work)

    def _store_login(self, tx: Transaction, row: sqlite3.Row | None, login: RegistryLogin, by: Operator) -> None:
        version = 1 if row is None else row["version"] + 1
        sealed = self._seal.seal(login.password.encode(), table.context(login.host, version))
        table.put(tx.sql, login.host, login.username, version, sealed, tx.stamp)
        what = "set" if row is None else "changed"
        tx.event("registry.set", login.host, f"login of {login.username} {what} by {by.name}")
        before = None if row is None else {"username": row["username"], "version": row["version"]}
        after = {"username": login.username, "version": version}
        tx.audit("registry.set", by, name=login.host, before=before, after=after)
        tx.touched_nodes |= table.nodes_using(tx.sql, login.host)

    def get(self, host: str) -> Registry:
        """What is told of one."""
        return self._store.read(lambda sql: _shown(_row(sql, host), table.users(sql), self._seal))

    def page(self, *, limit: int, offset: int) -> tuple[list[Registry], int]:
        """A page of registries by host, and how many there are in all."""

        def look(sql: sqlite3.Connection) -> tuple[list[Registry], int]:
            rows, total = table.page(sql, limit=limit, offset=offset)
            used = table.users(sql)
            return [_shown(row, used, self._seal) for row in rows], total

        return self._store.read(look)

    async def delete(self, host: str, *, by: Operator) -> None:
        """Forget a login: pulls from there go without, or with what `docker login` has left on the node."""

        def work(tx: Transaction) -> None:
            row = _row(tx.sql, host)
            table.delete(tx.sql, row["host"])
            tx.event("registry.deleted", row["host"], f"deleted by {by.name}")
            tx.audit("registry.delete", by, name=row["host"], before={"username": row["username"]})
            tx.touched_nodes |= table.nodes_using(tx.sql, row["host"])

        await self._changes.commit(work)

    def unreadable(self) -> list[str]:
        """The registries whose login was sealed with a key that is not here."""
        rows = self._store.read(table.everyone)
        return [row["host"] for row in rows if _opened(row, self._seal) is None]


def logins_for(sql: sqlite3.Connection, images: Iterable[str], seal: Seal) -> tuple[RegistryLogin, ...]:
    """The logins of the registries that these images come from; one that cannot be opened is left out."""
    return tuple(_logins(table.everyone(sql), {registry_of(image) for image in images}, seal))


def _logins(rows: Iterable[sqlite3.Row], hosts: set[str], seal: Seal) -> Iterator[RegistryLogin]:
    for row in rows:
        if row["host"] in hosts and (login := _opened(row, seal)) is not None:
            yield login


def _opened(row: sqlite3.Row, seal: Seal) -> RegistryLogin | None:
    try:
        password = seal.unseal(row["sealed"], table.context(row["host"], row["version"])).decode()
    except Unsealable:
        return None
    return RegistryLogin(host=row["host"], username=row["username"], password=password)


def _row(sql: sqlite3.Connection, host: str) -> sqlite3.Row:
    if (fault := host_fault(host)) is not None:
        raise InvalidSpec("host", fault)
    row = table.by_host(sql, settled_registry(host))
    if row is None:
        raise NotFound(f"no login for registry {shown(host)}", hint="`fledx registries list` shows what there is")
    return row


def _shown(row: sqlite3.Row, used: Mapping[str, list[str]], seal: Seal) -> Registry:
    return Registry(
        host=row["host"],
        username=row["username"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        used_by=tuple(used.get(row["host"], ())),
        readable=_opened(row, seal) is not None,
    )
