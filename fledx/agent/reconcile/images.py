"""Pulls: one at a time for each image, however many replicas wait for it, and never in anybody else's way."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from fledx.agent.runtime.base import Runtime, Tell
from fledx.errors import FledxError


@dataclass(kw_only=True)
class _Pull:
    """One pull in progress; ``outcome`` counts once it has ended: True (arrived), False (given up), or the error."""

    listeners: list[Tell] = field(default_factory=list)
    ended: anyio.Event = field(default_factory=anyio.Event)
    outcome: bool | FledxError = False

    def tell(self, text: str) -> None:
        """Pass it on to all who wait."""
        for listener in self.listeners:
            listener(text)


class Images:
    """Gets images that are missing."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pulls: dict[str, _Pull] = {}

    async def ensure(self, image: str, tell: Tell) -> None:
        """
        Return when the image has arrived; raises PullFailed or Unavailable.

        Who comes first pulls for all. If that one is cancelled the next takes over, and what has arrived is not lost.
        """
        while True:
            pull = self._pulls.get(image)
            if pull is None:
                return await self._lead(image, tell)
            pull.listeners.append(tell)
            try:
                await pull.ended.wait()
            finally:
                pull.listeners.remove(tell)
            if isinstance(pull.outcome, FledxError):
                raise pull.outcome
            if pull.outcome:
                return None

    async def _lead(self, image: str, tell: Tell) -> None:
        pull = self._pulls[image] = _Pull(listeners=[tell])
        tell(f"pulling {image}")
        try:
            await self._runtime.pull(image, pull.tell)
            pull.outcome = True
        except FledxError as problem:
            pull.outcome = problem
            raise
        finally:
            del self._pulls[image]
            pull.ended.set()
