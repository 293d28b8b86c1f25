"""Who may come in: operators, new hosts and nodes. The one place where a token is verified."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.store import join_tokens, operator_tokens
from fledx.control_plane.store.database import Database
from fledx.control_plane.trust.pki import write_private
from fledx.errors import Denied, FledxError, InvalidSpec
from fledx.models.moment import stamp
from fledx.models.token import JoinString, Operator, node_token

log = logging.getLogger(__name__)
MAX_TTL_SECONDS = 366 * 86400.0
USED_SECONDS = 60.0
#: Spends one use of a token within a transaction, and tells what to call it; Denied where that is not possible.
Spending = Callable[[sqlite3.Connection], str]


@dataclass(frozen=True, kw_only=True)
class JoinToken:
    """A join string as it is shown, once; `uses` None is any number of hosts."""

    join: str
    expires_at: str
    uses: int | None


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how the tunnel is reached: what a join string says beside its token."""

    host: str
    port: int
    tls: bool
    pins: tuple[str, ...]


class Tokens:
    """
    Verifies tokens in constant time against keyed hashes.

    `operators` are pairs of token and name. HMAC-SHA-256 under the pepper is right for random tokens of 256 bits: there
    is nothing to guess, so nothing to slow down (a password hash would let anyone burn our CPU).
    """

    def __init__(
        self,
        store: Database,
        *,
        pepper: str,
        operators: Sequence[tuple[str, str]],
        registration: str | None,
        endpoint: Endpoint,
        changes: Changes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._changes = changes
        self._used: dict[str, float] = {}
        self._store = store
        self._pepper = pepper.encode()
        self._operators = [(self.hashed(token), Operator(name=name)) for token, name in operators]
        self._registration = None if registration is None else self.hashed(registration)
        self.endpoint = endpoint

    def hashed(self, token: str) -> bytes:
        """What is stored of a token."""
        return hmac.new(self._pepper, token.encode(errors="surrogatepass"), hashlib.sha256).digest()

    def settled_names(self) -> set[str]:
        """The names, in lower case, of the operators that the settings know."""
        return {operator.name.lower() for _, operator in self._operators}

    def operator(self, token: str | None, *, source: str) -> Operator:
        """Who brings this operator token from `source`; Denied when nobody does."""
        if not token:
            raise Denied(
                "no operator token was given",
                hint="give --operator-token, set FLEDX_CLI_OPERATOR_TOKEN, or make a profile",
            )
        given, found = self.hashed(token), None
        for stored, operator in self._operators:
            if hmac.compare_digest(stored, given):
                found = operator
        return replace(found or self._made(given), source=source)

    def _made(self, given: bytes) -> Operator:
        """
        Who has a token that was made here.

        The database is asked for a keyed hash, of which nobody can guess even the beginning, so that the time its
        index takes tells nothing.
        """
        found = self._store.read(lambda sql: operator_tokens.by_hash(sql, given))
        if found is None or not hmac.compare_digest(found[0], given):
            raise Denied("this operator token is not known", hint="`fledx profile show` tells which one is used")
        now = self._clock()
        if (why := found[1].ended(stamp(now))) is not None:
            raise Denied(f"this operator token {why}", hint="an admin makes a new one with `fledx tokens create`")
        self._used[found[1].token_id] = now
        return Operator(name=found[1].name, role=found[1].role, token_id=found[1].token_id)

    async def run(self) -> None:
        """Store once a minute when tokens were last used, for ever."""
        while True:
            await anyio.sleep(USED_SECONDS)
            try:
                await self.flush()
            except FledxError as problem:
                log.error("the last use of tokens was not stored", extra={"reason": str(problem)})

    async def flush(self) -> None:
        """Store when tokens were last used, as far as that is not stored yet."""
        used, self._used = self._used, {}
        if used:
            moments = {token_id: stamp(at) for token_id, at in used.items()}
            await self._store.write(lambda sql: operator_tokens.set_used(sql, moments), durable=False)

    def registration(self, token: str) -> Spending:
        """
        What spends a registration token and tells what to call it; Denied when it does not let anyone in.

        It is spent in the transaction that makes the node: one that lets nobody in after all is not used up.
        """
        given = self.hashed(token)
        if self._registration is not None and hmac.compare_digest(self._registration, given):
            return lambda sql: "registration token"

        def spend(sql: sqlite3.Connection) -> str:
            return _named(join_tokens.spend(sql, given, stamp(time.time())))

        _named(self._store.read(lambda sql: join_tokens.usable(sql, given, stamp(time.time()))))
        return spend

    async def create_join(self, *, ttl_seconds: float, uses: int | None, by: Operator) -> JoinToken:
        """A new join string; seconds for `ttl_seconds`."""
        if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
            raise InvalidSpec("ttl_seconds", f"{ttl_seconds:g} is not between 1 and {MAX_TTL_SECONDS:g}")
        if uses is not None and not 1 <= uses <= 100_000:
            raise InvalidSpec("uses", f"{uses} is not between 1 and 100000")
        token, now = secrets.token_urlsafe(32), time.time()
        expires = stamp(now + ttl_seconds)
        hashed, token_id = self.hashed(token), str(uuid.uuid4())

        def work(tx: Transaction) -> None:
            join_tokens.insert(tx.sql, token_id, hashed, by.name, stamp(now), expires, uses)
            tx.audit("join_token.create", by, id=token_id, after={"expires_at": expires, "uses": uses})

        await self._changes.commit(work)
        where = self.endpoint
        join = JoinString(host=where.host, port=where.port, token=token, pins=where.pins, tls=where.tls)
        return JoinToken(join=str(join), expires_at=expires, uses=uses)

    def new_node_token(self) -> tuple[str, bytes]:
        """A node's token, shown once, and its hash."""
        token = node_token(secrets.token_urlsafe(32), self.endpoint.pins if self.endpoint.tls else ())
        return token, self.hashed(token)

    def is_node(self, token: str, stored: bytes | None) -> bool:
        """Whether this is the node's token; takes the same time where there is no such node."""
        return hmac.compare_digest(stored or bytes(32), self.hashed(token)) and stored is not None


def _named(token_id: str | None) -> str:
    if token_id is None:
        raise Denied(
            "this registration token is unknown, used up or too old",
            hint="`fledx nodes join-command` makes a new one",
        )
    return f"join token {token_id[:8]}"


def kept(path: Path) -> tuple[str, bool]:
    """
    A random text of 256 bits kept in a file of mode 0600, and whether it was made just now.

    It never begins with a dash: on a command line it would be a flag.
    """
    if path.exists():
        text = path.read_text().strip()
        if text:
            return text, False
    while (text := secrets.token_urlsafe(32)).startswith("-"):
        continue
    write_private(path, text.encode() + b"\n")
    return text, True
