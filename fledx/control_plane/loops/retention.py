"""Forgets what is older than the settings keep it."""

from __future__ import annotations

import logging
import time

import anyio

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.store import events, join_tokens, operator_tokens, secrets, usage
from fledx.errors import FledxError
from fledx.models.moment import stamp
from fledx.settings.control_plane import ControlPlaneSettings

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 300.0
ENDED_TOKENS_SECONDS = 90 * 86400.0


class Retention:
    """The loop over tables that would grow for ever."""

    def __init__(self, changes: Changes, settings: ControlPlaneSettings) -> None:
        self._changes = changes
        self._settings = settings

    async def run(self) -> None:
        """Prune every five minutes, for ever."""
        while True:
            try:
                await self._changes.commit(self._prune, durable=False)
            except FledxError as problem:
                log.error("nothing was pruned", extra={"reason": str(problem)})
            await anyio.sleep(INTERVAL_SECONDS)

    def _prune(self, tx: Transaction) -> None:
        now = time.time()
        settings = self._settings
        join_tokens.prune(tx.sql, stamp(now))
        secrets.prune(tx.sql)
        operator_tokens.prune(tx.sql, stamp(now - ENDED_TOKENS_SECONDS))
        if settings.retention_audit_log_secs:
            self._changes.chain.prune(tx.sql, stamp(now - settings.retention_audit_log_secs))
        if settings.retention_event_secs:
            events.prune(tx.sql, stamp(now - settings.retention_event_secs))
        if settings.retention_usage_window_secs:
            usage.prune(tx.sql, int(now - settings.retention_usage_window_secs))
