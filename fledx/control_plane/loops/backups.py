"""Takes the daily backups."""

from __future__ import annotations

import logging
import time

import anyio
import anyio.to_thread

from fledx.control_plane.backups import DailyBackups
from fledx.errors import FledxError

log = logging.getLogger(__name__)
LOOK_SECONDS = 600.0


class BackupLoop:
    """Looks every ten minutes whether it is time."""

    def __init__(self, backups: DailyBackups) -> None:
        self._backups = backups

    async def run(self) -> None:
        """For ever; one that fails is tried again at the next look."""
        while True:
            if self._backups.due(time.time()):
                try:
                    path = await anyio.to_thread.run_sync(self._backups.make, time.time())
                    log.info("backup taken", extra={"file": str(path)})
                except (OSError, FledxError) as problem:
                    log.error("no backup was taken", extra={"reason": str(problem)})
            await anyio.sleep(LOOK_SECONDS)
