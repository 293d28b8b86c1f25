"""The audit log, read and checked, and the lines about what was refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fledx.control_plane.changes import Changes
from fledx.control_plane.store import audit as table
from fledx.control_plane.store.audit import Chain
from fledx.control_plane.store.database import Database
from fledx.errors import FledxError
from fledx.models.audit import SECRET_TEXT, Verified
from fledx.models.moment import stamp, unix
from fledx.models.token import Operator

log = logging.getLogger(__name__)
BURST, REFILL_SECONDS = 60, 40.0  # at most 2,220 lines a day about refusals: about a megabyte
SOURCE_BURST, SOURCE_REFILL_SECONDS = 10, 60.0
MAX_SOURCES = 1024
MAX_PAYLOAD = 500


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """What lines are narrowed to; `action` may be the beginning of one, times are RFC 3339."""

    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    resource_name: str | None = None
    operator: str | None = None
    status: str | None = None
    since: str | None = None
    until: str | None = None
    after: int | None = None


@dataclass
class Bucket:
    """So many at once, and one more each time some seconds have passed."""

    left: float
    at: float

    def take(self, most: int, seconds: float, now: float) -> bool:
        """One, if there is one left."""
        self.left, self.at = min(most, self.left + (now - self.at) / seconds), now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass
class Quota:
    """How many lines about refusals are written, so that nobody fills the disk, or drowns what others did."""

    clock: Callable[[], float] = time.monotonic
    unsaid: int = 0
    _all: Bucket | None = None
    _sources: dict[str, Bucket] = field(default_factory=dict)

    def take(self, source: str) -> bool:
        """Whether there may be a line about this source; if not, it is counted for the next."""
        now = self.clock()
        bucket = self._sources.pop(source, None) or Bucket(SOURCE_BURST, now)
        if len(self._sources) >= MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        self._sources[source] = bucket
        self._all = self._all or Bucket(BURST, now)
        if bucket.take(SOURCE_BURST, SOURCE_REFILL_SECONDS, now) and self._all.take(BURST, REFILL_SECONDS, now):
            return True
        self.unsaid += 1
        return False


class AuditLog:
    """Who did what, and who was refused what."""

    def __init__(
        self, store: Database, changes: Changes, chain: Chain, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._changes = changes
        self._chain = chain
        self._quota = Quota(clock)

    async def page(self, wanted: AuditFilter, *, limit: int, offset: int) -> tuple[list[bytes], int]:
        """Lines as JSON, newest first (after a number: oldest first), and how many there are in all."""
        narrowed = {name: getattr(wanted, name) for name in table.FIELDS}
        since, until = (None if each is None else stamp(unix(each)) for each in (wanted.since, wanted.until))
        return await self._store.read_far(
            lambda sql: table.page(
                sql, narrowed, since=since, until=until, after=wanted.after, limit=limit, offset=offset
            )
        )

    async def verify(self) -> Verified:
        """Whether no line was changed or removed; takes 10 microseconds a line."""
        return await self._store.read_far(self._chain.verify)

    async def noted(
        self,
        action: str,
        by: Operator,
        *,
        id: str | None = None,
        name: str | None = None,
        after: Mapping[str, Any] | None = None,
        failed: str | None = None,
    ) -> None:
        """Write down what changes nothing that is stored; raises what keeps it from being written."""
        reason = None if failed is None else self._sayable(failed)[:MAX_PAYLOAD]
        await self._changes.commit(lambda tx: tx.audit(action, by, id=id, name=name, after=after, failed=reason))

    async def refused(self, action: str, by: Operator, reason: str, *, name: str | None = None) -> None:
        """Note that something was refused or failed; a few a minute of one source, the others are only counted."""
        if not self._quota.take(by.source or "unknown"):
            return
        unsaid, self._quota.unsaid = self._quota.unsaid, 0
        text = self._sayable(reason)
        if unsaid:
            text = f"{text[:MAX_PAYLOAD]} (and {unsaid} more before, not written down)"
        try:
            await self._changes.commit(
                lambda tx: tx.audit(action, by, name=name, failed=text[: MAX_PAYLOAD + 60]), durable=False
            )
        except FledxError as problem:
            log.error("a refusal was not audited", extra={"reason": str(problem), "action": action})

    @staticmethod
    def _sayable(reason: str) -> str:
        return reason if not SECRET_TEXT.search(reason) else "its reason holds a secret"
