"""Making a host the control plane, and its operator's profile."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fledx.bootstrap.facts import HostFacts
from fledx.bootstrap.host import Host, Script
from fledx.bootstrap.package import Package
from fledx.bootstrap.plan import Plan, plan
from fledx.bootstrap.reach import try_control_plane
from fledx.bootstrap.verify import api_answers
from fledx.bootstrap.visit import Visit, described
from fledx.bootstrap.wanted import DEFAULT_PORTS, Trouble, Wanted, control_plane_wish
from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.connection import SocketTransport
from fledx.client.http1 import Address
from fledx.errors import InvalidSpec, Unavailable

API_PATIENCE_SECS = 10.0
MARK = "-----BEGIN CERTIFICATE-----"
HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True, kw_only=True)
class Access:
    """What an operator needs to be let in: the URL, a token, and the authority to believe, as PEM."""

    url: str
    token: str = dataclasses.field(repr=False)
    authority: str


SaveAccess = Callable[[Access], str]
"""Writes the operator's profile and the authority beside it; returns the path of the authority's file."""


@dataclass(frozen=True, kw_only=True)
class ControlPlaneWanted:
    """
    A control plane that operators and nodes reach as ``hostname``.

    Ports of None stay what they are, at first 8080 and 7443.
    """

    hostname: str
    server_port: int | None = None
    tunnel_port: int | None = None

    def __post_init__(self) -> None:
        if not HOSTNAME.fullmatch(self.hostname):
            raise InvalidSpec(
                "--cp-hostname", f"{self.hostname!r} is not a host name or address", hint="no scheme, no port, no path"
            )
        if self.server_port is not None and self.server_port == self.tunnel_port:
            raise InvalidSpec("--tunnel-port", f"{self.tunnel_port} is the API's port already")


def install_control_plane(
    visit: Visit, asked: ControlPlaneWanted, package: Package, save: SaveAccess
) -> dict[str, Any]:
    """Bring the host to where its API answers the new profile over TLS; facts for the outcome."""
    facts = visit.look()
    visit.progress.say("looked", described(facts))
    wish = control_plane_wish(
        facts.layout, host=asked.hostname, server_port=asked.server_port, tunnel_port=asked.tunnel_port
    )
    wanted = Wanted(package=package, now=time.time(), roles={"cp": wish})
    wanted = dataclasses.replace(wanted, reach=_reach(visit, facts, wanted, asked.hostname))

    def decide(found: HostFacts) -> Plan:
        return plan(found, dataclasses.replace(wanted, now=time.time()))

    after = visit.carry_out(facts, decide)
    url = url_of(asked.hostname, _settings(after, wanted).get("FLEDX_CP_SERVER_PORT", ""))
    told: dict[str, Any] = {"url": url, "version": package.version, "build": package.build}
    if visit.mode.dry_run:
        return told
    began = time.monotonic()
    access = read_access(visit.host, after, url)
    path = save(access)
    if visit.mode.wait:
        visit.progress.say("waiting", f"for the API at {url}")
        api_answers(api_of(access, path), visit.mode.wait_secs, visit.progress)
        visit.progress.took("API answers", began)
    return {**told, "authority": path}


def _reach(visit: Visit, facts: HostFacts, wanted: Wanted, hostname: str) -> Trouble | None:
    """Try the name and the ports, unless something else stands in the way or our own process answers there."""
    python = facts.python
    if python is None or plan(facts, wanted).fatal:
        return None
    values = _settings(facts, wanted)
    ports = [int(values[name]) for name in DEFAULT_PORTS if int(values[name]) not in facts.listening]
    began = time.monotonic()
    trouble = try_control_plane(visit.host, python.path, hostname, ports, strict=visit.mode.wait)
    visit.progress.took("try the network", began)
    return trouble


def _settings(facts: HostFacts, wanted: Wanted) -> dict[str, str]:
    """The env file as it is wanted."""
    standing = facts.settings("cp")
    return {**standing, **wanted.roles["cp"].over(standing)}


def url_of(hostname: str, port: str) -> str:
    name = f"[{hostname}]" if ":" in hostname else hostname
    return f"https://{name}:{port}"


def read_access(host: Host, facts: HostFacts, url: str) -> Access:
    """The first operator's token and the authority, read on the host by root; they go no other way than this."""
    data = facts.layout.role_data("cp")
    done = host.run(Script(text=f"cat {data}/operator-token 2>/dev/null || true\necho\ncat {data}/ca.pem\n"))
    token, mark, pem = done.out.partition(MARK)
    # Where the settings name tokens, the control plane makes none of its own.
    given = facts.settings("cp").get("FLEDX_CP_OPERATOR_TOKENS", "").partition(",")[0]
    token = given.strip() or token.strip()
    if done.code != 0 or not mark or not token:
        raise Unavailable(
            f"the control plane left no operator token or authority in {data}: {done.err.strip() or 'they are empty'}",
            hint="see `journalctl -u fledx-cp` there",
        )
    return Access(url=url, token=token, authority=mark + pem)


def api_of(access: Access, ca_path: str) -> ControlPlane:
    """A client as the new profile makes it."""
    transport = SocketTransport(Address.parse(access.url), timeout=API_PATIENCE_SECS, ca_path=ca_path)
    return ControlPlane(transport, Credentials(operator_token=access.token), peer=access.url)
