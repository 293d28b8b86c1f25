"""What can be done with operators' tokens: they are made, shown once, listed and revoked."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.store import operator_tokens as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.trust.tokens import Tokens
from fledx.errors import Conflict, InvalidSpec
from fledx.models import check
from fledx.models.moment import stamp, unix
from fledx.models.token import ROLES, TOKEN_PREFIX, Operator, OperatorToken

MAX_TTL_SECONDS = 10 * 366 * 86400.0


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """What a new token is to be; it ends at a time (RFC 3339), after some seconds, or never."""

    name: str
    role: str = "operator"
    expires_at: str | None = None
    ttl_seconds: float | None = None

    def __post_init__(self) -> None:
        faults = check.Faults()
        faults.add("name", check.name(self.name))
        if self.role not in ROLES:
            faults.add("role", f"{check.shown(self.role)} is not one of {', '.join(ROLES)}")
        if self.expires_at is not None and self.ttl_seconds is not None:
            faults.add("ttl_seconds", "is given together with expires_at; one of them is enough")
        if self.ttl_seconds is not None and not 1 <= self.ttl_seconds <= MAX_TTL_SECONDS:
            faults.add("ttl_seconds", f"{self.ttl_seconds:g} is not between 1 and {MAX_TTL_SECONDS:g}")
        faults.settle()

    def end(self, now: float) -> str | None:
        """When it ends, from now on; InvalidSpec for a time that is over."""
        if self.ttl_seconds is not None:
            return stamp(now + self.ttl_seconds)
        if self.expires_at is None:
            return None
        moment = unix(self.expires_at, field="expires_at")
        if moment <= now:
            raise InvalidSpec("expires_at", f"{self.expires_at} is over already")
        return stamp(moment)


@dataclass(frozen=True, kw_only=True)
class MadeToken:
    """A new token, shown this once."""

    token_id: str
    token: str = field(repr=False)
    name: str
    role: str
    expires_at: str | None = None


class OperatorTokens:
    """Use cases about operators' tokens."""

    def __init__(self, store: Database, changes: Changes, tokens: Tokens) -> None:
        self._store = store
        self._changes = changes
        self._tokens = tokens

    async def create(self, wanted: NewToken, *, by: Operator) -> MadeToken:
        """Make one; Conflict when the name is taken."""
        if wanted.name.lower() in self._tokens.settled_names():
            raise Conflict(f"{wanted.name} is the name of a token of the settings", hint="choose another name")
        token = f"{TOKEN_PREFIX}{secrets.token_urlsafe(32)}"

        def work(tx: Transaction) -> OperatorToken:
            made = OperatorToken(
                token_id=str(uuid.uuid4()),
                name=wanted.name,
                role=wanted.role,
                created_at=tx.stamp,
                created_by=by.name,
                expires_at=wanted.end(tx.now),
            )
            table.insert(tx.sql, made, self._tokens.hashed(token))
            facts = {"role": made.role, "expires_at": made.expires_at}
            tx.audit("operator_token.create", by, id=made.token_id, name=made.name, after=facts)
            return made

        made = await self._changes.commit(work)
        return MadeToken(
            token_id=made.token_id, token=token, name=made.name, role=made.role, expires_at=made.expires_at
        )

    def page(self, *, limit: int, offset: int) -> tuple[list[OperatorToken], int]:
        """A page of them, revoked ones last, and how many there are in all."""
        return self._store.read(lambda sql: table.page(sql, limit=limit, offset=offset))

    async def revoke(self, ref: str, *, by: Operator) -> None:
        """Let nobody in with it any more, from the next request on; sessions that it opened hear of it at once."""

        def work(tx: Transaction) -> str:
            found = table.find(tx.sql, ref)
            if found.revoked_at is None:
                table.revoke(tx.sql, found.token_id, tx.stamp)
                tx.audit("operator_token.revoke", by, id=found.token_id, name=found.name)
            return found.token_id

        self._changes.bell.ring([await self._changes.commit(work)])
