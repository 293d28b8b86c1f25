"""How a node comes to its identity: it has one, or it joins once with a join string."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path

from fledx.agent import identity as who
from fledx.agent.backoff import full_jitter
from fledx.agent.clock import Clock
from fledx.agent.facts import node_facts
from fledx.agent.identity import Identity
from fledx.agent.tunnel_client import join
from fledx.errors import Conflict, Unavailable
from fledx.models.token import JoinString
from fledx.settings.agent import AgentSettings

logger = logging.getLogger(__name__)

FIRST_SECS, LONGEST_SECS = 2.0, 30.0


class Membership:
    """This node's place with a control plane; `path` is where it is kept."""

    def __init__(self, settings: AgentSettings, directory: Path, joining: JoinString | None, clock: Clock) -> None:
        self.path = directory / "identity.json"
        self._settings = settings
        self._directory = directory
        self._joining = joining
        self._clock = clock

    @property
    def may_join(self) -> bool:
        """Whether there is a join string to become a member with."""
        return self._joining is not None

    async def identity(self) -> Identity:
        """
        The identity there is; with a join string for another control plane, or for the first time, the one it brings.

        The same command line may so be used again and again, though its token is good for one join. Raises InvalidSpec
        when there is no identity and no way to one, and what a join raises, except that an absent control plane is
        waited for.
        """
        identity = who.settled(self._settings, who.stored(self.path))
        if identity is not None and (self._joining is None or _same_place(identity, self._joining)):
            return identity
        if self._joining is None:
            raise who.missing(self._settings)
        return await self.join()

    async def join(self) -> Identity:
        """Join, waiting for the control plane as long as it takes, and keep what comes of it; a string serves once."""
        given, self._joining = self._joining, None
        if given is None:
            raise who.missing(self._settings)
        kept = who.stored(self.path)
        host_key = kept.host_key if kept else None
        facts = node_facts(self._settings, self._directory, name=None, host_key=host_key)
        joining = _placed(given, self._settings)
        attempt = 0
        while True:
            try:
                identity = await join(joining, facts, connect_timeout=self._settings.tunnel_connect_timeout_secs)
                break
            except Unavailable as problem:
                logger.warning("the control plane cannot be joined yet", extra={"reason": problem.text})
                await self._clock.sleep(1.0 + full_jitter(FIRST_SECS, LONGEST_SECS, attempt, random.random()))
                attempt += 1
        who.store(self.path, identity)
        logger.info("joined", extra={"node": identity.name, "node_id": identity.node_id, "peer": identity.host})
        return who.settled(self._settings, identity) or identity

    def renewed(self, identity: Identity, token: str) -> Identity:
        """The identity with another token, kept; Conflict where the token comes from the settings."""
        if self._settings.node_token is not None or not self.path.exists():
            raise Conflict(
                "the token of this node is in its settings (FLEDX_AGENT_NODE_TOKEN), which only you can change"
            )
        fresh = replace(identity, node_token=token)
        who.store(self.path, fresh)
        return fresh

    def learnt(self, identity: Identity) -> None:
        """Keep what was learnt of the control plane since, if there is a file; variables need none."""
        if self.path.exists():
            who.store(self.path, identity)


def _same_place(identity: Identity, joining: JoinString) -> bool:
    """Whether a join string is of the control plane that this node belongs to already."""
    if identity.pins and joining.pins:
        return bool(set(identity.pins) & set(joining.pins))
    return (identity.host, identity.port) == (joining.host, joining.port)


def _placed(joining: JoinString, settings: AgentSettings) -> JoinString:
    """The join string, dialled where the settings say."""
    return JoinString(
        host=settings.tunnel_endpoint_host or joining.host,
        port=settings.tunnel_endpoint_port or joining.port,
        token=joining.token,
        pins=joining.pins,
        tls=joining.tls and settings.tunnel_use_tls,
    )
