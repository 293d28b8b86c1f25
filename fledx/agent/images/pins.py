"""What a tag stands for in a revision: settled once with the control plane, so that all replicas run the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio

from fledx.models.desired import NodeDesiredState, ReplicaDesired

ANSWER_SECS = 5.0
"""How long the control plane is waited for once it was told what a tag stands for here."""
MOST = 1000

Say = Callable[[Mapping[str, Any]], bool]
"""Sends a message to the control plane if there is a link; whether there is one."""


class Pins:
    """
    Knows the digests of revisions.

    The control plane's word counts. Before that is there, or while it cannot be asked, it is what this node found out
    first: a pull that is tried again gets the same bytes.
    """

    def __init__(self, *, desired: Callable[[], NodeDesiredState | None], say: Say) -> None:
        self._desired = desired
        self._say = say
        self._found: dict[tuple[str, int], str] = {}
        self._news = anyio.Event()

    def of(self, replica: ReplicaDesired) -> str | None:
        """The digest that a replica's image has, if that is settled."""
        return self._told(replica) or self._found.get((replica.deployment_id, replica.revision))

    async def settle(self, replica: ReplicaDesired, digest: str) -> str:
        """Say what the tag stands for here; the digest that counts, which is another one if somebody was quicker."""
        key = (replica.deployment_id, replica.revision)
        if len(self._found) >= MOST:
            self._found.pop(next(iter(self._found)))
        found = self._found.setdefault(key, digest)
        if self._tell(key, found):
            with anyio.move_on_after(ANSWER_SECS):
                while self._told(replica) is None:
                    await self._news.wait()
        return self._told(replica) or found

    def changed(self) -> None:
        """Another desired state is here."""
        news, self._news = self._news, anyio.Event()
        news.set()

    def connected(self) -> None:
        """Tell the control plane what it could not hear before."""
        for key, digest in self._found.items():
            if any(_key(each) == key and each.digest is None for each in self._replicas()):
                self._tell(key, digest)

    def _tell(self, key: tuple[str, int], digest: str) -> bool:
        return self._say({"type": "resolved", "deployment_id": key[0], "revision": key[1], "digest": digest})

    def _told(self, replica: ReplicaDesired) -> str | None:
        """By the newest state: `replica` may be of one that came before."""
        found = (each.digest for each in self._replicas() if _key(each) == _key(replica) and each.digest is not None)
        return next(found, replica.digest)

    def _replicas(self) -> tuple[ReplicaDesired, ...]:
        state = self._desired()
        return state.replicas if state is not None else ()


def _key(replica: ReplicaDesired) -> tuple[str, int]:
    return replica.deployment_id, replica.revision
