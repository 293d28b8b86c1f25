"""The tunnel port: who dials it is led to those who know that role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fledx.tunnel.greeting import Hello, Refused, Welcome
from fledx.tunnel.link import Link


class Hosts(Protocol):
    """Those who know some roles."""

    async def authenticate(self, hello: Hello, address: str) -> Welcome | Refused:
        """Judge a hello."""

    async def attend(self, link: Link) -> None:
        """Serve a session to its end."""


class Entrance:
    """Leads operators to one host and all others to the other."""

    def __init__(self, others: Hosts, roles: Mapping[str, Hosts]) -> None:
        self._others = others
        self._roles = roles

    async def authenticate(self, hello: Hello, address: str) -> Welcome | Refused:
        """Judge a hello."""
        return await self._host(hello.role).authenticate(hello, address)

    async def attend(self, link: Link) -> None:
        """Serve a session to its end."""
        await self._host(link.peer.role if isinstance(link.peer, Hello) else "").attend(link)

    def _host(self, role: str) -> Hosts:
        return self._roles.get(role, self._others)
