"""Which gateways are connected and what they tell of themselves; in memory, for they tell it all at each connect."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fledx.models.ingress import GatewayStatus

RETURN_SECONDS = 15.0
"""So long after our own start a gateway that is not back yet counts as one that serves on with what it has."""
GATEWAYS = "gateways"
"""The bell's topic for what they tell."""


class Gateways:
    """Written in the loop, read by the writer's thread too: what is handed out never changes."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began = monotonic()
        self._told: Mapping[str, GatewayStatus | None] = {}

    def enter(self, node_id: str) -> None:
        """A gateway has connected; nothing is known of it yet."""
        self._told = {**self._told, node_id: None}

    def leave(self, node_id: str) -> None:
        """A gateway is away."""
        self._told = {key: status for key, status in self._told.items() if key != node_id}

    def tell(self, node_id: str, status: GatewayStatus) -> GatewayStatus | None:
        """What a connected gateway tells of itself; gives what it told before."""
        before = self._told.get(node_id)
        self._told = {**self._told, node_id: status}
        return before

    def status(self, node_id: str) -> GatewayStatus | None:
        """What a gateway last told; None while it is away, or has told nothing since it connected."""
        return self._told.get(node_id)

    def statuses(self) -> list[GatewayStatus]:
        """Of all that are connected and have told of themselves."""
        return [status for status in self._told.values() if status is not None]

    def connected(self, node_id: str) -> bool:
        """Whether it has a session."""
        return node_id in self._told

    def counts(self, node_id: str, node_status: str) -> bool:
        """
        Whether an instance has to be drained at this gateway before it goes.

        One that is away, or whose Envoy does not run, holds nothing up; one that has told nothing yet may be serving.
        """
        if node_id not in self._told:
            young = self._monotonic() - self._began < RETURN_SECONDS
            return young and node_status in ("ready", "error")
        status = self._told[node_id]
        return status is None or status.state == "serving"
