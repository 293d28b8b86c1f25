"""The agent's side of the link: each stream and each message goes to the part of it that knows the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from fledx import tracing
from fledx.agent.report import Reporter
from fledx.agent.tunnel_client import refuse
from fledx.errors import FledxError
from fledx.tunnel.link import Link, OnStream
from fledx.tunnel.stream import Stream

logger = logging.getLogger(__name__)


class Serving:
    """
    What `tunnel_client.Served` wants; `link` is the one there is.

    `streams` serve by kind. `renew` keeps another token for this node, and raises why it cannot. `welcomed` is called
    for each link, `unknown` when a control plane that has never welcomed this agent does not let it in.
    """

    def __init__(
        self,
        streams: Mapping[str, OnStream],
        reporter: Reporter,
        *,
        renew: Callable[[str], None],
        welcomed: Callable[[], None],
        unknown: Callable[[], None],
    ) -> None:
        self.link: Link | None = None
        self._streams = streams
        self._reporter = reporter
        self._renew = renew
        self._welcomed = welcomed
        self._unknown = unknown
        self._met = False

    async def on_stream(self, stream: Stream) -> None:
        """Serve what the control plane asks for."""
        with tracing.working_for(tracing.told_by(stream.meta)):
            await self._streams.get(stream.kind, refuse)(stream)

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Take a control message; those of a newer control plane are passed over."""
        if message.get("type") == "resync":
            self._reporter.resync()
        elif message.get("type") == "usage":
            self._reporter.tell_usage()
        elif message.get("type") == "token" and isinstance(message.get("token"), str):
            self._take_token(message["token"])

    def _take_token(self, token: str) -> None:
        """Another token for this node, from now on; the control plane hears whether it could be kept."""
        try:
            self._renew(token)
            logger.info("the control plane gave this node another token")
            self._reporter.say({"type": "token"})
        except FledxError as problem:
            logger.warning("another token could not be kept", extra={"reason": problem.text})
            self._reporter.say({"type": "token", "problem": problem.text})

    def connected(self, link: Link) -> None:
        """The control plane has welcomed us."""
        self._met = True
        self.link = link
        self._reporter.attach(link)
        self._welcomed()

    def disconnected(self, link: Link) -> None:
        """The link is over."""
        self.link = None if self.link is link else self.link
        self._reporter.detach(link)

    def denied(self) -> None:
        """The control plane does not let this node in."""
        if not self._met:
            self._unknown()
