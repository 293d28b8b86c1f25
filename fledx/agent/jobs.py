"""The jobs of this node: what must be remembered of them, on disk, and when the next run is due."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import anyio

from fledx.agent.clock import Clock
from fledx.agent.files import set_aside, write_private
from fledx.agent.reconcile.firing import Record, fired
from fledx.agent.reconcile.history import Note
from fledx.agent.spec import Key
from fledx.errors import FledxError
from fledx.models.codec import decode_lenient, encode
from fledx.models.desired import ReplicaDesired

logger = logging.getLogger(__name__)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Another one after each start of the machine; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Jobs:
    """
    A record for each replica that is a job.

    With `path` they are kept there, so that nothing that has run runs again; what the containers say wins over it.
    """

    def __init__(self, clock: Clock, path: Path | None = None, *, boot: str = "") -> None:
        self.boot = boot
        self.records: dict[Key, Record] = {}
        self._clock = clock
        self._path = path
        self._stored: dict[Key, Record] = {}

    def load(self) -> None:
        """Take up what was stored; a file that cannot be read is set aside, and containers still tell the most."""
        if self._path is None:
            return
        try:
            found = json.loads(self._path.read_bytes())
            self.records = {_key(word): decode_lenient(Record, each) for word, each in found.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, FledxError) as problem:
            logger.error("the stored record of jobs cannot be read", extra={"reason": str(problem)})
            try:
                set_aside(self._path, self._clock.stamp())
            except OSError as why:
                logger.error("it cannot be set aside", extra={"reason": str(why)})
        self._stored = dict(self.records)

    def fire(self, wanted: Mapping[Key, ReplicaDesired]) -> list[tuple[Key, Note]]:
        """Begin the runs that are due now, and forget jobs that are not this node's any more; what is to be told."""
        now, told = self._clock.utc(), list[tuple[Key, Note]]()
        records: dict[Key, Record] = {}
        for key, replica in wanted.items():
            if replica.job is not None:
                records[key], notes = fired(self.records.get(key), replica, replica.job, now)
                told += [(key, note) for note in notes]
        self.records = records
        return told

    def seconds_to_next(self) -> list[float]:
        """How long until each next run is due by the machine's clock, those that are due now left out."""
        now = self._clock.utc()
        moments = [each.next_run for each in self.records.values() if each.next_run is not None]
        left = [(datetime.fromisoformat(each.replace("Z", "+00:00")) - now).total_seconds() for each in moments]
        return [each for each in left if each > 0]

    async def store(self) -> None:
        """Put the records on disk if they have changed; a disk that takes nothing stops no job."""
        if self._path is None or _lasting(self.records) == _lasting(self._stored):
            return
        records = dict(self.records)
        packed = {f"{key[0]}/{key[1]}": encode(each) for key, each in records.items()}
        try:
            await anyio.to_thread.run_sync(write_private, self._path, json.dumps(packed).encode())
            self._stored = records
        except OSError as problem:
            logger.error("the record of jobs cannot be stored", extra={"reason": str(problem)})


def _lasting(records: Mapping[Key, Record]) -> dict[Key, Record]:
    """Without what follows from the rest."""
    return {key: replace(each, next_run=None, trouble=None) for key, each in records.items()}


def _key(word: str) -> Key:
    deployment_id, _, number = word.rpartition("/")
    return deployment_id, int(number)
