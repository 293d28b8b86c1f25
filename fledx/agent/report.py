"""Tells the control plane what changed the moment it changes, and keeps what happened while there is no link."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import anyio

from fledx.agent.clock import Clock, Wake
from fledx.agent.instances import stamped
from fledx.agent.spec import Key
from fledx.agent.spent import Spent
from fledx.errors import FledxError
from fledx.models.codec import encode
from fledx.models.ingress import GatewayStatus
from fledx.models.instance import Instance
from fledx.models.node import NodeFacts
from fledx.models.report import Happening, Report, digest_of
from fledx.models.usage import pack
from fledx.tunnel.link import Link

logger = logging.getLogger(__name__)
T = TypeVar("T")

COALESCE_SECS = 0.05
RETRY_SECS = 1.0

MAX_HAPPENINGS = 1000
MAX_REPORT_BYTES = 160 * 1024
"""Of JSON; the tunnel takes messages of 256 KiB."""


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """
    Seconds between two tellings of usage, and of the digest that proves that all changes have arrived.

    Who wants to see usage sooner is told it at once. A digest travels in a heartbeat's place and costs 60 bytes: 2.6 MB
    a month if it goes each minute. It only proves what reports have told already, so a node that pays by the byte sends
    it every four.
    """

    usage: float
    digest: float


USUAL, METERED = Rhythm(usage=600.0, digest=60.0), Rhythm(usage=3600.0, digest=240.0)


class Reporter:
    """
    Holds what the control plane has been told.

    `look` gives the instances as they are now, without their stamps, or None before the engine has been asked once;
    `facts` what the node is, `revision` the desired state it works on, `gateway` how its own one stands, if it has one.
    """

    def __init__(
        self,
        *,
        look: Callable[[], Mapping[Key, Instance] | None],
        facts: Callable[[], NodeFacts],
        revision: Callable[[], int],
        clock: Clock,
        gateway: Callable[[], GatewayStatus | None] = lambda: None,
        rhythm: Rhythm = USUAL,
    ) -> None:
        self.instances: dict[Key, Instance] = {}
        self._look = look
        self._facts = facts
        self._revision = revision
        self._gateway = gateway
        self._clock = clock
        self._wake = Wake()
        self._link: Link | None = None
        self._full = True
        self._told: dict[Key, Instance] = {}
        self._told_facts: NodeFacts | None = None
        self._told_revision = -1
        self._told_gateway: GatewayStatus | None = None
        self._happenings: deque[Happening] = deque()
        self._dropped = 0
        self._spent = Spent()
        self._rhythm = rhythm
        self._put_off()

    def changed(self) -> None:
        """Something may look different: compare soon."""
        self._wake.ring()

    def happened(self, kind: str, key: Key | None, reason: str) -> None:
        """Keep one thing that was done or seen, with its reason; the oldest give way, and are counted."""
        if len(self._happenings) == MAX_HAPPENINGS:
            self._happenings.popleft()
            self._dropped += 1
        deployment_id, number = key if key is not None else (None, None)
        at = self._clock.stamp()
        self._happenings.append(
            Happening(at=at, kind=kind, deployment_id=deployment_id, replica_number=number, reason=reason[:2000])
        )
        self._wake.ring()

    def sampled(self, samples: Sequence[Mapping[str, Any]]) -> None:
        """Usage samples, each sent once; while there is no link the newest are kept."""
        self._spent.add(samples)

    def tell_usage(self) -> None:
        """Somebody wants to see it: tell now what would be told later, even if it is nothing."""
        self._usage_at = self._clock.monotonic()
        self._wake.ring()

    def attach(self, link: Link) -> None:
        """There is a link: everything is told once."""
        self._link = link
        if self._spent:
            self._usage_at = self._clock.monotonic()
        self.resync()

    def detach(self, link: Link) -> None:
        """It is over."""
        if self._link is link:
            self._link = None

    def say(self, message: Mapping[str, Any]) -> bool:
        """One message beside the reports, if there is a link; whether it was sent."""
        return self._send(message)

    def resync(self) -> None:
        """Tell everything again."""
        self._full = True
        self._wake.ring()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._clock.wait(self._wake, min(self._digest_at, self._usage_at) - self._clock.monotonic())
            if not self._told_all():
                await self._clock.sleep(RETRY_SECS)
                self._wake.ring()
            await anyio.sleep(COALESCE_SECS)

    def _told_all(self) -> bool:
        try:
            return self._tell()
        except Exception:
            logger.exception("a report could not be made")
            return False

    def _tell(self) -> bool:
        """Compare and send; False when the link could not take it and it must be tried again."""
        found = self._look()
        if found is None:
            self._put_off()
            return True
        stamp = self._clock.stamp()
        self.instances = {key: stamped(each, self.instances.get(key), stamp) for key, each in found.items()}
        if self._link is None:
            self._put_off()
            return True
        return self._report() and self._usage() and self._digest()

    def _report(self) -> bool:
        full, facts, revision, gateway = self._full, self._facts(), self._revision(), self._gateway()
        changed = [each for key, each in self.instances.items() if full or self._told.get(key) != each]
        gone = [key for key in self._told if key not in self.instances]
        new_facts = facts if full or facts != self._told_facts else None
        new_gateway = gateway if full or gateway != self._told_gateway else None
        news = changed or gone or new_facts or new_gateway or self._happenings
        if not (full or news or revision != self._told_revision):
            return True
        first = Report(
            revision=revision, full=full, gone=tuple(gone), dropped=self._dropped, node=new_facts, gateway=new_gateway
        )
        sent = 0
        for report in _split(first, changed, list(self._happenings)):
            if not self._send({"type": "report", "report": encode(report)}):
                return False
            sent += len(report.happenings)
        for _ in range(sent):
            self._happenings.popleft()
        self._dropped, self._full = 0, False
        self._told, self._told_facts, self._told_revision = dict(self.instances), facts, revision
        self._told_gateway = gateway
        return True

    def _put_off(self) -> None:
        """There is nobody to tell, or nothing is known yet: a new link begins with all that there is."""
        now = self._clock.monotonic()
        self._usage_at, self._digest_at = now + self._rhythm.usage, now + self._rhythm.digest

    def _usage(self) -> bool:
        """What was used, when it is time or was asked for."""
        if self._clock.monotonic() < self._usage_at:
            return True
        for batch in list(self._spent.batches()) or [[]]:
            if not self._send({"type": "usage", "minutes": pack(batch)}):
                return False
            self._spent.told(batch)
        self._usage_at = self._clock.monotonic() + self._rhythm.usage
        return True

    def _digest(self) -> bool:
        """What was told, in short, whether anything has changed or not; it shares the packet of a heartbeat."""
        if self._clock.monotonic() < self._digest_at:
            return True
        self._digest_at = self._clock.monotonic() + self._rhythm.digest
        message = {"type": "digest", "digest": digest_of(self._told.values()), "revision": self._revision()}
        return self._send(message, in_time=True)

    def _send(self, message: Mapping[str, Any], *, in_time: bool = False) -> bool:
        if self._link is None:
            return False
        try:
            if in_time:
                self._link.send_in_time(message)
            else:
                self._link.send(message)
        except FledxError as problem:
            logger.debug("a message was not taken", extra={"kind": message["type"], "reason": problem.text})
            self._full = True
            return False
        return True


def _split(first: Report, instances: Sequence[Instance], happenings: Sequence[Happening]) -> Iterator[Report]:
    """One report, or several small enough for the tunnel; only the first is full and has all that comes once."""
    pieces = list(_batches(instances)) or [[]]
    told = list(_batches(happenings)) or [[]]
    yield replace(first, instances=tuple(pieces[0]), happenings=tuple(told[0]) if len(pieces) == 1 else ())
    for piece in pieces[1:]:
        yield Report(revision=first.revision, instances=tuple(piece))
    for batch in told if len(pieces) > 1 else told[1:]:
        if batch:
            yield Report(revision=first.revision, happenings=tuple(batch))


def _batches(items: Sequence[T]) -> Iterator[list[T]]:
    """The items in lists of bounded size, in order."""
    batch: list[T] = []
    size = 0
    for item in items:
        length = len(json.dumps(encode(item)))
        if batch and size + length > MAX_REPORT_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch
