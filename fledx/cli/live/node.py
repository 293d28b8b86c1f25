"""One node on the whole screen: what it is, what runs there, and what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fledx.cli.live.detail import Following, Source
from fledx.cli.live.feed import Feed
from fledx.cli.views.events import event_table
from fledx.cli.views.nodes import node_screen
from fledx.client.api import ControlPlane
from fledx.client.streams import ServerEvent, Stream

Json = Mapping[str, Any]


class NodeScreen(Following):
    """A node and its instances; `names` are the deployments' by id."""

    def __init__(
        self, source: Source, node_id: str, names: Mapping[str, str], *, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__(source, now=now)
        self._subject = node_id
        self._names = names
        self._item: Json | None = None
        self._feeds.append(
            Feed(source.connect, self._watch, begun=self.begun, came=self._came, broke=self.broke),
        )
        self.follow_events({"node": node_id})

    def _watch(self, api: ControlPlane) -> Stream[ServerEvent]:
        """Everything that changes: this node and what runs on it are among it."""
        self._look(api)
        return api.watch()

    def _came(self, found: Iterable[ServerEvent]) -> None:
        if any(self._concerns(event) for event in found):
            api = self._source.connect()
            try:
                self._look(api)
            finally:
                api.close()

    def _look(self, api: ControlPlane) -> None:
        item = api.node(self._subject)
        self.soon(lambda: setattr(self, "_item", item))

    def _concerns(self, event: ServerEvent) -> bool:
        body = event.data or {}
        owners = [each.get("node_id") for each in body.get("assignments") or ()]
        return self._subject in (body.get("node_id"), body.get("id"), *owners)

    def drawn(self, columns: int) -> str:
        """The screen that `nodes show` prints, and what happened last."""
        if self._item is None:
            return "asking ..."
        shown = node_screen(self._item, self._now(), names=self._names, columns=columns)
        if not self._events:
            return shown
        return f"{shown}\n\nWhat happened last:\n{event_table(list(self._events), self._now(), columns=columns)}"
