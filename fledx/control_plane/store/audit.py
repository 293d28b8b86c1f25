"""The audit log: lines in a chain, so that one that was changed, removed or put in between is found out."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import replace

from fledx.models.audit import AuditEntry, Verified
from fledx.models.codec import encode

START, END = "start", "end"
FIELDS = ("action", "resource_type", "resource_id", "resource_name", "operator", "status")


class Chain:
    """
    Appends, prunes and checks lines; `key` lies outside of the database, so that who can write this cannot mend that.

    The digest of a line is HMAC-SHA-256 over the digest before it and its body. The two bounds are marked by the key,
    too: what was pruned at the start is told from what was cut off, and the end is known.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def under(cls, pepper: str) -> Chain:
        """With a key of its own made from the pepper."""
        return cls(hmac.new(pepper.encode(), b"fledx audit log", hashlib.sha256).digest())

    def append(self, sql: sqlite3.Connection, line: AuditEntry) -> AuditEntry:
        """One more line; it gets an id, and the number after the last one."""
        number, before = self._bound(sql, END)
        entry = replace(line, id=str(uuid.uuid4()), number=number + 1)
        body = json.dumps(encode(entry), separators=(",", ":"))
        digest = self._digest(before, body)
        sql.execute("INSERT INTO audit VALUES (?, ?, ?)", (entry.number, body, digest))
        self._set_bound(sql, END, entry.number, digest)
        return entry

    def prune(self, sql: sqlite3.Connection, before: str) -> None:
        """Forget lines older than a time; the chain then starts behind them. The newest stays."""
        condition = "json_extract(body, '$.created_at') < ?"
        newest = "SELECT max(number) FROM audit"
        row = sql.execute(
            f"SELECT number, digest FROM audit WHERE {condition} AND number < ({newest}) ORDER BY number DESC LIMIT 1",
            (before,),
        ).fetchone()
        if row is not None:
            sql.execute("DELETE FROM audit WHERE number <= ?", (row["number"],))
            self._set_bound(sql, START, row["number"], row["digest"])

    def verify(self, sql: sqlite3.Connection) -> Verified:
        """Look at every line."""
        for name in (START, END):
            if (fault := self._bound_fault(sql, name)) is not None:
                return Verified(intact=False, lines=0, fault=fault)
        number, digest = self._bound(sql, START)
        first, count = None, 0
        for row in sql.execute("SELECT number, body, digest FROM audit ORDER BY number"):
            if (fault := self._line_fault(row, number, digest)) is not None:
                return Verified(intact=False, lines=count, first=first, last=number, fault=fault)
            number, digest, count = row["number"], row["digest"], count + 1
            first = number if first is None else first
        if (number, digest) != self._bound(sql, END):
            end = self._bound(sql, END)[0]
            fault = f"the log ends at line {number}, but line {end} was written: lines at the end are missing"
            return Verified(intact=False, lines=count, first=first, last=number, fault=fault)
        return Verified(intact=True, lines=count, first=first, last=number if count else None, digest=digest.hex())

    def _line_fault(self, row: sqlite3.Row, before: int, digest: bytes) -> str | None:
        number = row["number"]
        if number != before + 1:
            missing = f"line {before + 1} is" if number == before + 2 else f"lines {before + 1} to {number - 1} are"
            return f"{missing} missing"
        if not hmac.compare_digest(self._digest(digest, row["body"]), row["digest"]):
            return f"line {number} does not fit the one before it: one of the two was changed"
        if json.loads(row["body"])["number"] != number:
            return f"line {number} was another line"
        return None

    def _digest(self, before: bytes, body: str) -> bytes:
        return hmac.new(self._key, before + body.encode(errors="surrogatepass"), hashlib.sha256).digest()

    def _mark(self, name: str, number: int, digest: bytes) -> bytes:
        return hmac.new(self._key, f"{name} {number} ".encode() + digest, hashlib.sha256).digest()

    def _bound(self, sql: sqlite3.Connection, name: str) -> tuple[int, bytes]:
        row = sql.execute("SELECT number, digest FROM audit_bound WHERE name = ?", (name,)).fetchone()
        return (0, bytes(32)) if row is None else (row["number"], row["digest"])

    def _set_bound(self, sql: sqlite3.Connection, name: str, number: int, digest: bytes) -> None:
        mark = self._mark(name, number, digest)
        sql.execute("INSERT OR REPLACE INTO audit_bound VALUES (?, ?, ?, ?)", (name, number, digest, mark))

    def _bound_fault(self, sql: sqlite3.Connection, name: str) -> str | None:
        row = sql.execute("SELECT * FROM audit_bound WHERE name = ?", (name,)).fetchone()
        if row is None:
            some = sql.execute("SELECT 1 FROM audit").fetchone() is not None
            return "the mark of the log's end is missing" if name == END and some else None
        if hmac.compare_digest(self._mark(name, row["number"], row["digest"]), row["mark"]):
            return None
        return f"the mark of the log's {name} was not made with this control plane's key"


def page(
    connection: sqlite3.Connection,
    wanted: Mapping[str, str | None],
    *,
    since: str | None,
    until: str | None,
    after: int | None,
    limit: int,
    offset: int,
) -> tuple[list[bytes], int]:
    """
    Lines as JSON, newest first, and how many there are in all.

    `wanted` narrows by FIELDS; an action also by its beginning (`deployment` is all of `deployment.*`). With `after` a
    number, only later lines, oldest first.
    """
    where, values = ["1"], []
    for field, value in wanted.items():
        if value is not None and field == "action":
            where.append("(json_extract(body, '$.action') = ? OR json_extract(body, '$.action') LIKE ? ESCAPE '!')")
            values += [value, value.replace("!", "!!").replace("%", "!%").replace("_", "!_") + ".%"]
        elif value is not None:
            where.append(f"json_extract(body, '$.{field}') = ?")
            values.append(value)
    for sign, moment in ((">=", since), ("<=", until)):
        if moment is not None:
            where.append(f"json_extract(body, '$.created_at') {sign} ?")
            values.append(moment)
    if after is not None:
        where.append("number > ?")
        values.append(str(after))
    condition = " AND ".join(where)
    total = connection.execute(f"SELECT count(*) FROM audit WHERE {condition}", values).fetchone()[0]
    order = "DESC" if after is None else "ASC"
    sql = f"SELECT body FROM audit WHERE {condition} ORDER BY number {order} LIMIT ? OFFSET ?"
    return [row["body"].encode() for row in connection.execute(sql, (*values, limit, offset))], total
