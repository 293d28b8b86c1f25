"""What can be done with gateways' certificates; no key ever comes out of here but sealed, or towards a gateway."""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime, timezone

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.ingress.pem import Checked, checked
from fledx.control_plane.store import certificates as table
from fledx.control_plane.store import claims
from fledx.control_plane.store.database import Database
from fledx.errors import Conflict, InvalidSpec, NotFound
from fledx.models import check
from fledx.models.certificate import SOON_SECONDS, Candidate, Certificate, chosen, covers
from fledx.models.check import shown
from fledx.models.moment import stamp, unix
from fledx.models.token import Operator
from fledx.sealing import Seal, Unsealable

DAY = 86400.0


class Certificates:
    """Use cases about certificates, each one transaction."""

    def __init__(self, store: Database, changes: Changes, seal: Seal) -> None:
        self._store = store
        self._changes = changes
        self._seal = seal

    async def create(self, name: str, chain: str, key: str, *, by: Operator) -> Certificate:
        """Keep a new certificate; Conflict when there is one of this name."""
        made, _ = await self._put(name, chain, key, by, new=True)
        return made

    async def put(self, name: str, chain: str, key: str, *, by: Operator) -> tuple[Certificate, bool]:
        """Keep a certificate, or another one in its place, such as a renewed one; and whether the name is new."""
        return await self._put(name, chain, key, by, new=False)

    async def _put(self, name: str, chain: str, key: str, by: Operator, *, new: bool) -> tuple[Certificate, bool]:
        if (fault := check.name(name)) is not None:
            raise InvalidSpec("name", fault)
        found = checked(chain, key, datetime.fromtimestamp(self._changes.clock(), timezone.utc))

        def work(tx: Transaction) -> tuple[Certificate, bool]:
            row = table.head(tx.sql, name)
            if row is not None and (new or row["name"] != name):
                raise Conflict(
                    f"there is a certificate {row['name']} already",
                    hint=f"`fledx certificates update {row['name']}` puts another in its place",
                )
            if row is None or row["fingerprint"] != found.fingerprint or not self._readable(row):
                self._store_one(tx, name, found, row, by)
            return self._shown(tx.sql, _row(tx.sql, name)), row is None

        return await self._changes.commit(work)

    def _store_one(self, tx: Transaction, name: str, found: Checked, row: sqlite3.Row | None, by: Operator) -> None:
        version = 1 if row is None else row["version"] + 1
        sealed = self._seal.seal(found.key.encode(), table.context(name, version))
        values = {
            "chain": found.chain,
            "sealed": sealed,
            "hosts": json.dumps(found.hosts),
            "issuer": found.issuer,
            "fingerprint": found.fingerprint,
            "not_before": stamp(found.not_before),
            "not_after": stamp(found.not_after),
        }
        table.put(tx.sql, name, version, values, tx.stamp)
        what = "created" if row is None else "replaced"
        told = f"for {', '.join(found.hosts[:5])} until {stamp(found.not_after)}, {what} by {by.name}"
        tx.event(f"certificate.{what}", name, told)
        before = None if row is None else {"version": row["version"], "fingerprint": row["fingerprint"]}
        after = {"version": version, "fingerprint": found.fingerprint, "hosts": list(found.hosts)}
        tx.audit(f"certificate.{'create' if row is None else 'update'}", by, name=name, before=before, after=after)
        tx.gateways = True
        settle_choice(tx)

    def get(self, name: str) -> Certificate:
        """What is told of one."""
        return self._store.read(lambda sql: self._shown(sql, _row(sql, name)))

    def page(self, *, limit: int, offset: int) -> tuple[list[Certificate], int]:
        """A page of certificates by name, and how many there are in all."""

        def look(sql: sqlite3.Connection) -> tuple[list[Certificate], int]:
            rows, total = table.page(sql, limit=limit, offset=offset)
            return [self._shown(sql, row) for row in rows], total

        return self._store.read(look)

    async def delete(self, name: str, *, by: Operator) -> None:
        """Forget a certificate; another one for its hosts is presented instead, or none."""

        def work(tx: Transaction) -> None:
            row = _row(tx.sql, name)
            table.delete(tx.sql, row["name"])
            tx.event("certificate.deleted", row["name"], f"deleted by {by.name}")
            tx.audit("certificate.delete", by, name=row["name"], before={"fingerprint": row["fingerprint"]})
            tx.gateways = True
            settle_choice(tx)

        await self._changes.commit(work)

    def warnings(self) -> list[str]:
        """What needs somebody's attention, a sentence each."""

        def look(sql: sqlite3.Connection) -> list[str]:
            found = [(row["name"], self._warning(row, _hosts(row, "shown_for"))) for row in table.everyone(sql)]
            return [f"certificate {name}: {warning}" for name, warning in found if warning is not None]

        return self._store.read(look)

    def first_end(self) -> float | None:
        """When the first of those that gateways present ends, in Unix seconds; None where there are none."""
        rows = self._store.read(table.everyone)
        return min((unix(row["not_after"]) for row in rows if _hosts(row, "shown_for")), default=None)

    async def look(self) -> None:
        """Tell what is about to end, once; present another where one has ended."""
        due = self._store.read(lambda sql: _untold(sql, self._changes.clock()) or _changed(sql, self._changes.clock()))
        if due:
            await self._changes.commit(_tell_ends)

    def _shown(self, sql: sqlite3.Connection, row: sqlite3.Row) -> Certificate:
        hosts, shown_for = _hosts(row, "hosts"), _hosts(row, "shown_for")
        served = claims.everything(sql)
        users = {name for host, name in served if any(covers(each, host) for each in shown_for)}
        return Certificate(
            name=row["name"],
            version=row["version"],
            hosts=hosts,
            shown_for=shown_for,
            issuer=row["issuer"],
            fingerprint=row["fingerprint"],
            not_before=row["not_before"],
            not_after=row["not_after"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            used_by=tuple(sorted(users)),
            warning=self._warning(row, shown_for),
            readable=self._readable(row),
        )

    def _warning(self, row: sqlite3.Row, shown_for: tuple[str, ...]) -> str | None:
        if not self._readable(row):
            return "its key was sealed with one that is lost: bring it again with `fledx certificates update`"
        other = [host for host in _hosts(row, "hosts") if host not in shown_for]
        if not shown_for:
            return "not presented, as a newer one is for the same hosts"
        if (ending := end_of(row["not_after"], self._changes.clock())) is not None:
            return ending
        return f"a newer one is presented for {', '.join(other[:5])}" if other else None

    def _readable(self, row: Mapping[str, object] | sqlite3.Row) -> bool:
        try:
            self._seal.unseal(row["sealed"], table.context(row["name"], row["version"]))  # type: ignore[arg-type]
        except Unsealable:
            return False
        return True


def end_of(not_after: str, now: float) -> str | None:
    """What there is to say of a certificate's end, from 30 days before it on."""
    left = unix(not_after) - now
    if left <= 0:
        return f"ended at {not_after}"
    if left > SOON_SECONDS:
        return None
    days = int(left // DAY)
    return f"ends in {days} days" if days != 1 else "ends in 1 day"


def settle_choice(tx: Transaction) -> None:
    """Note which certificate is presented for which host now; gateways hear of it where that has changed."""
    for name, hosts in _changed(tx.sql, tx.now).items():
        table.set_shown_for(tx.sql, name, hosts)
        tx.gateways = True


def _changed(sql: sqlite3.Connection, now: float) -> dict[str, tuple[str, ...]]:
    rows = table.everyone(sql)
    found = chosen([_candidate(row) for row in rows], now)
    return {row["name"]: found[row["name"]] for row in rows if found[row["name"]] != _hosts(row, "shown_for")}


def _candidate(row: sqlite3.Row) -> Candidate:
    return Candidate(
        name=row["name"],
        hosts=_hosts(row, "hosts"),
        not_before=unix(row["not_before"]),
        not_after=unix(row["not_after"]),
    )


def _hosts(row: sqlite3.Row, column: str) -> tuple[str, ...]:
    return tuple(json.loads(row[column]))


def _untold(sql: sqlite3.Connection, now: float) -> list[sqlite3.Row]:
    """Those whose end is near or over, which was not said yet."""
    ends = [(row, end_of(row["not_after"], now)) for row in table.everyone(sql)]
    return [row for row, end in ends if end is not None and (row["warned"] or 0) < _stage(end)]


def _stage(end: str) -> int:
    return 2 if end.startswith("ended") else 1


def _tell_ends(tx: Transaction) -> None:
    settle_choice(tx)
    for row in _untold(tx.sql, tx.now):
        end = end_of(row["not_after"], tx.now) or ""
        hosts = ", ".join(_hosts(row, "hosts")[:5])
        kind = "certificate.ended" if _stage(end) == 2 else "certificate.ending"
        tx.event(kind, row["name"], f"for {hosts}: {end}; `fledx certificates update {row['name']}` replaces it")
        table.set_warned(tx.sql, row["name"], _stage(end))


def _row(sql: sqlite3.Connection, name: str) -> sqlite3.Row:
    row = table.head(sql, name)
    if row is None:
        names = [each["name"] for each in table.everyone(sql)]
        near = difflib.get_close_matches(name[:100], names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`fledx certificates list` shows what there is"
        raise NotFound(f"no certificate {shown(name)}", hint=hint)
    return row
