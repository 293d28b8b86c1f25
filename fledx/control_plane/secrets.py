"""What can be done with secrets; no value ever comes out of here but sealed, or towards the node that needs it."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Mapping

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.delivery import roll, users
from fledx.control_plane.store import deployments
from fledx.control_plane.store import secrets as table
from fledx.control_plane.store.database import Database
from fledx.errors import Conflict, InvalidSpec, NotFound
from fledx.models import check
from fledx.models.check import shown
from fledx.models.secret import MAX_SECRET_BYTES, Secret
from fledx.models.token import Operator
from fledx.sealing import Seal, Unsealable


class Secrets:
    """Use cases about secrets, each one transaction."""

    def __init__(self, store: Database, changes: Changes, seal: Seal) -> None:
        self._store = store
        self._changes = changes
        self._seal = seal

    async def put(self, name: str, value: bytes, *, by: Operator) -> tuple[Secret, bool]:
        """
        Keep a value under a name; the secret, and whether it is new.

        The value it has already is no change. With another one the deployments that use it roll.
        """
        _refuse_unfit(name, value)

        def work(tx: Transaction) -> tuple[Secret, bool]:
            row = table.head(tx.sql, name)
            if row is not None and row["name"] != name:
                raise Conflict(f"there is a secret {row['name']} already", hint="names may not differ in case only")
            if row is None or not self._holds(tx.sql, name, value):
                self._store_value(tx, name, value, "set" if row is None else "changed", by)
            return self._shown(tx.sql, _row(tx.sql, name), _user_names(tx.sql)), row is None

        return await self._changes.commit(work)

    def _store_value(self, tx: Transaction, name: str, value: bytes, what: str, by: Operator) -> None:
        version = table.newest(tx.sql, name) + 1
        sealed = self._seal.seal(value, table.context(name, version))
        table.put(tx.sql, name, version, sealed, self._seal.mark(value), tx.stamp)
        tx.event("secret.set", name, f"{what} by {by.name}")
        tx.audit("secret.set", by, name=name, after={"version": version})
        roll(tx, users(tx.sql)[name], why=f"secret {name} {what}", by=by.name)

    def _holds(self, sql: sqlite3.Connection, name: str, value: bytes) -> bool:
        found = table.now(sql, name)
        try:
            return found is not None and self._seal.unseal(found.sealed, found.context) == value
        except Unsealable:
            return False

    def get(self, name: str) -> Secret:
        """What is told of one secret."""
        return self._store.read(lambda sql: self._shown(sql, _row(sql, name), _user_names(sql)))

    def unreadable(self) -> list[str]:
        """The secrets that were sealed with a key that is not here."""

        def look(sql: sqlite3.Connection) -> list[str]:
            found = ((name, table.now(sql, name)) for name in table.present(sql))
            return [name for name, sealed in found if sealed is None or not self._readable(sealed)]

        return self._store.read(look)

    def page(self, *, limit: int, offset: int) -> tuple[list[Secret], int]:
        """A page of secrets by name, and how many there are in all."""

        def look(sql: sqlite3.Connection) -> tuple[list[Secret], int]:
            rows, total = table.page(sql, limit=limit, offset=offset)
            used = _user_names(sql)
            return [self._shown(sql, row, used) for row in rows], total

        return self._store.read(look)

    async def delete(self, name: str, *, force: bool = False, by: Operator) -> None:
        """
        Remove a secret; Conflict while deployments use it, unless `force`.

        Those that use it keep running with the value they have, and their next revision waits for the secret.
        """

        def work(tx: Transaction) -> None:
            row = _row(tx.sql, name)
            used = users(tx.sql)[row["name"]]
            if used and not force:
                raise Conflict(
                    f"secret {row['name']} is used by {', '.join(_user_names(tx.sql)[row['name']])}",
                    hint="change those first; with --force they keep what they have, and their next change waits",
                )
            table.delete(tx.sql, row["name"])
            tx.event("secret.deleted", row["name"], f"deleted by {by.name}")
            tx.audit("secret.delete", by, name=row["name"])
            roll(tx, used, why=f"secret {row['name']} deleted", by=by.name)
            table.prune(tx.sql)

        await self._changes.commit(work)

    def _shown(self, sql: sqlite3.Connection, row: sqlite3.Row, used: Mapping[str, list[str]]) -> Secret:
        found = table.now(sql, row["name"])
        return Secret(
            name=row["name"],
            version=row["version"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            used_by=tuple(used.get(row["name"], ())),
            readable=found is not None and self._readable(found),
        )

    def _readable(self, found: table.Sealed) -> bool:
        try:
            self._seal.unseal(found.sealed, found.context)
        except Unsealable:
            return False
        return True


def _refuse_unfit(name: str, value: bytes) -> None:
    if (fault := check.name(name)) is not None:
        raise InvalidSpec("name", fault)
    if len(value) > MAX_SECRET_BYTES:
        raise InvalidSpec("value", f"has {len(value)} bytes, and {MAX_SECRET_BYTES} is the most")


def _row(sql: sqlite3.Connection, name: str) -> sqlite3.Row:
    row = table.head(sql, name)
    if row is None:
        near = difflib.get_close_matches(name[:100], table.present(sql), n=1)
        hint = f"did you mean {near[0]}?" if near else "`fledx secrets list` shows what there is"
        raise NotFound(f"no secret {shown(name)}", hint=hint)
    return row


def _user_names(sql: sqlite3.Connection) -> dict[str, list[str]]:
    """By the name of a secret: the names of the deployments that are given it, sorted."""
    names = deployments.names(sql)
    return {secret: sorted(names[each] for each in ids if each in names) for secret, ids in users(sql).items()}
