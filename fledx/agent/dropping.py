"""Volumes that nobody wants any more are deleted once their containers are gone, and the control plane hears of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from fledx.agent.clock import Clock, Wake
from fledx.agent.named_volumes import NamedVolumes
from fledx.agent.runtime.base import Runtime
from fledx.errors import FledxError
from fledx.models.desired import NodeDesiredState

logger = logging.getLogger(__name__)
AGAIN_SECS = 5.0
"""Until the next try, where a container still has one or nobody has taken the news."""


class DroppedVolumes:
    """Does it whenever the desired state names some; `say` tells the control plane and gives whether it was sent."""

    def __init__(
        self,
        runtime: Runtime,
        node_id: str,
        clock: Clock,
        *,
        desired: Callable[[], NodeDesiredState | None],
        say: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self._volumes = NamedVolumes(runtime, node_id)
        self._clock = clock
        self._desired = desired
        self._say = say
        self._wake = Wake()

    def look(self) -> None:
        """The desired state may have changed."""
        self._wake.ring()

    async def run(self) -> None:
        """Delete until cancelled."""
        while True:
            state = self._desired()
            names = state.dropped_volumes if state is not None else ()
            if names:
                await self._delete(names)
            await self._clock.wait(self._wake, AGAIN_SECS if names else 3600.0)

    async def _delete(self, names: tuple[str, ...]) -> None:
        try:
            gone = await self._volumes.drop(names)
        except FledxError as problem:
            logger.warning("volumes not deleted yet", extra={"reason": problem.text})
            return
        if gone:
            self._say({"type": "volumes_dropped", "names": gone})
