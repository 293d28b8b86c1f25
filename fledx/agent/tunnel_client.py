"""The link to the control plane: dialled, kept, and dialled again for as long as the agent lives."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

import anyio

import fledx
from fledx.agent.backoff import full_jitter
from fledx.agent.clock import Clock
from fledx.agent.identity import Identity
from fledx.errors import Denied, FledxError, InvalidSpec
from fledx.models.codec import encode
from fledx.models.node import NodeFacts
from fledx.models.token import JoinString
from fledx.tunnel.authority import fetch_authority
from fledx.tunnel.dial import dial
from fledx.tunnel.greeting import Hello, Welcome
from fledx.tunnel.link import Link, OnMessage, OnStream
from fledx.tunnel.stream import Stream
from fledx.tunnel.tls import client_context

logger = logging.getLogger(__name__)

LEAST_SECS = 0.1
"""However the spread falls: a control plane that hangs up at once is not to be asked a hundred times a second."""

FIRST_SECS = 1.0
LONGEST_SECS = 30.0
DENIED_SECS = 30.0
HEALTHY_SECS = 10.0
"""A session that lived so long was a good one: the next redial begins with a short wait again."""


class Served(Protocol):
    """What the rest of the agent does with a link."""

    async def on_stream(self, stream: Stream) -> None:
        """Serve a stream that the control plane opens."""

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Take a control message."""

    def connected(self, link: Link) -> None:
        """The control plane has welcomed us."""

    def disconnected(self, link: Link) -> None:
        """The link is over."""

    def denied(self) -> None:
        """The control plane does not let this node in."""


async def join(joining: JoinString, facts: NodeFacts, *, connect_timeout: float) -> Identity:
    """
    Become a node: show the registration token, and take an id and a token of our own for it.

    Raises Denied for a token that is spent, withdrawn or unknown, and for an authority that is not the one the join
    string names; Unavailable when the control plane cannot be reached.
    """
    host, port = joining.host, joining.port
    authority = None
    if joining.tls and joining.pins:
        authority = await fetch_authority(host, port, joining.pins, connect_timeout=connect_timeout)
    hello = Hello(role="join", token=joining.token, version=fledx.__version__, facts=encode(facts))
    context = client_context(authority) if joining.tls else None
    async with linked(host, port, context, hello, refuse, lambda message: None, connect_timeout) as link:
        given = link.peer.body if isinstance(link.peer, Welcome) else {}
        link.close("joined")
        return _identity(given, joining, authority, facts)


@asynccontextmanager
async def linked(
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    hello: Hello,
    on_stream: OnStream,
    on_message: OnMessage,
    connect_timeout: float,
) -> AsyncIterator[Link]:
    """A link with the tasks that serve it; an error of the dialling or of the body comes out as it is."""
    problem: FledxError | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield await dial(
                host,
                port,
                tls=tls,
                hello=hello,
                tasks=tasks,
                on_stream=on_stream,
                on_message=on_message,
                connect_timeout=connect_timeout,
            )
        except FledxError as caught:
            problem = caught
        tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem


def _identity(given: Mapping[str, Any], joining: JoinString, authority: str | None, facts: NodeFacts) -> Identity:
    node_id, token, name = (given.get(field) for field in ("node_id", "node_token", "name"))
    if not (isinstance(node_id, str) and isinstance(token, str) and isinstance(name, str)):
        raise InvalidSpec("", "the control plane's answer to the join lacks this node's id, token or name")
    return Identity(
        node_id=node_id,
        node_token=token,
        name=name,
        host=joining.host,
        port=joining.port,
        tls=joining.tls,
        authority=authority,
        host_key=facts.host_key,
    )


async def refuse(stream: Stream) -> None:
    """For streams that nobody here serves."""
    raise InvalidSpec("kind", f"this agent serves no streams of kind {stream.kind[:40]!r}")


class TunnelClient:
    """
    Keeps one session with the control plane alive, and says how it stands.

    ``connected_since`` is None while there is no link, ``problem`` the last reason why not, in words.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        facts: Callable[[], NodeFacts],
        served: Served,
        clock: Clock,
        connect_timeout: float,
        learnt: Callable[[Identity], None],
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.identity = identity
        self.connected_since: str | None = None
        self.problem: str | None = "not connected yet"
        self._facts = facts
        self._served = served
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._learnt = learnt
        self._spread = spread
        self._first = FIRST_SECS

    async def run(self) -> None:
        """Redial until cancelled; the waits are spread so that many agents do not come back in one instant."""
        if not self.identity.tls:
            logger.warning("the tunnel is not encrypted: this node's token travels in the clear")
        attempt = 0
        while True:
            began = self._clock.monotonic()
            wait_at_least = 0.0
            try:
                reason = await self.session()
                self._lost(reason)
            except Denied as problem:
                wait_at_least = DENIED_SECS
                self._lost(problem.text, hint=problem.hint)
                if problem.code != "protocol":  # then it is no stranger: one of the two has to be upgraded
                    self._served.denied()
            except FledxError as problem:
                self._lost(problem.text)
            except Exception:
                logger.exception("a session failed unexpectedly")
                self._lost("an internal error; the agent's log has the details")
            attempt = 0 if self._clock.monotonic() - began >= HEALTHY_SECS else attempt
            jitter = full_jitter(self._first, LONGEST_SECS, attempt, self._spread())
            await self._clock.sleep(wait_at_least + max(LEAST_SECS, jitter))
            attempt += 1

    async def session(self) -> str:
        """One session from dialling to its end; returns why it ended, raises why it did not come to be."""
        identity = await self._with_authority()
        hello = Hello(
            role="agent",
            token=identity.node_token,
            node_id=identity.node_id,
            version=fledx.__version__,
            facts=encode(self._facts()),
        )
        context = client_context(identity.authority) if identity.tls else None
        served = self._served
        async with linked(
            identity.host,
            identity.port,
            context,
            hello,
            served.on_stream,
            served.on_message,
            self._connect_timeout,
        ) as link:
            self._connected(link)
            try:
                return await link.closed()
            finally:
                served.disconnected(link)
        return "the session ended"

    def _connected(self, link: Link) -> None:
        if isinstance(link.peer, Welcome):
            self._first = min(max(link.peer.reconnect_secs, 0.1), LONGEST_SECS)
        self.connected_since, self.problem = self._clock.stamp(), None
        logger.info("connected to the control plane", extra={"peer": link.address})
        self._served.connected(link)

    def _lost(self, reason: str, *, hint: str | None = None) -> None:
        """Say it once, however often the same thing happens."""
        text = f"{reason} ({hint})" if hint else reason
        if self.connected_since is not None or self.problem != text:
            logger.warning("no link to the control plane; this node goes on by itself", extra={"reason": text})
        self.connected_since, self.problem = None, text

    async def _with_authority(self) -> Identity:
        """Fetch the CA that the token pins, the first time."""
        identity = self.identity
        if identity.tls and identity.authority is None and identity.pins:
            pem = await fetch_authority(
                identity.host, identity.port, identity.pins, connect_timeout=self._connect_timeout
            )
            self.identity = identity = replace(identity, authority=pem)
            self._learnt(identity)
        return identity
