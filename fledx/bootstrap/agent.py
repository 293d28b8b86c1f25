"""Making a host a node."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fledx.bootstrap.facts import HostFacts
from fledx.bootstrap.package import Package
from fledx.bootstrap.plan import Plan, plan
from fledx.bootstrap.reach import try_agent
from fledx.bootstrap.verify import node_is_ready
from fledx.bootstrap.visit import Visit, described
from fledx.bootstrap.wanted import Trouble, Wanted, agent_wish
from fledx.client.api import ControlPlane
from fledx.errors import FledxError
from fledx.models.token import JoinString

JOIN_TTL_SECS = 900
SIGN_OF_LIFE_SECS, SIGN_LOOK_SECS = 16.0, 0.5
"""A connected node's last sign of life is at most ten seconds behind in what the API tells."""

END = "-----END CERTIFICATE-----"


@dataclass(frozen=True, kw_only=True)
class AgentWanted:
    """
    A node; what is None stays what it is, at first the host's own.

    ``join`` is a join string where there is no operator's access to the control plane (a host that joins by itself).
    """

    name: str | None = None
    usual_name: str | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cpu_millis: int | None = None
    memory_bytes: int | None = None
    install_docker: bool = False
    join: str | None = dataclasses.field(default=None, repr=False)


def install_agent(visit: Visit, asked: AgentWanted, package: Package, api: ControlPlane | None) -> dict[str, Any]:
    """Bring the host to where the control plane calls it ready; facts for the outcome."""
    facts = visit.look()
    visit.progress.say("looked", described(facts))
    join = _join(visit, facts, asked, api)
    wanted = _wanted(facts, asked, package, api, join)
    reach = _renamed(facts, asked) or _reach(visit, facts, wanted, api, join)
    if reach is not None and facts.identity is None and visit.look().identity is not None:
        return install_agent(visit, asked, package, api)  # an agent that an earlier run started has joined meanwhile
    wanted = dataclasses.replace(wanted, reach=reach)

    def decide(found: HostFacts) -> Plan:
        return plan(found, dataclasses.replace(wanted, now=time.time()))

    after = visit.carry_out(facts, decide)
    node_id = after.identity.node_id if after.identity else None
    told = {
        "node_id": node_id,
        "name": after.settings("agent").get("FLEDX_AGENT_NAME"),
        "version": package.version,
        "build": package.build,
    }
    if visit.mode.dry_run or not visit.mode.wait or api is None or node_id is None:
        return told
    return {**told, "name": _ready(visit, api, node_id, package).get("name")}


def _ready(visit: Visit, api: ControlPlane, node_id: str, package: Package) -> dict[str, Any]:
    """The node, once the control plane calls it ready."""
    began = time.monotonic()
    visit.progress.say("waiting", "for the control plane to call it ready")
    node = node_is_ready(api, node_id, package.version, visit.mode.wait_secs, visit.progress)
    visit.progress.took("node ready", began)
    return node


def _join(visit: Visit, facts: HostFacts, asked: AgentWanted, api: ControlPlane | None) -> JoinString | None:
    """What lets the host in, where it is no node yet; a dry run makes none, as that would change the control plane."""
    if asked.join is not None:
        return JoinString.parse(asked.join)
    if facts.identity is not None or api is None or visit.mode.dry_run:
        return None
    return JoinString.parse(str(api.join_token({"ttl_seconds": JOIN_TTL_SECS, "uses": 1})["join"]))


def _wanted(
    facts: HostFacts, asked: AgentWanted, package: Package, api: ControlPlane | None, join: JoinString | None
) -> Wanted:
    wish = agent_wish(
        facts.layout,
        name=asked.name,
        usual_name=asked.usual_name or facts.hostname,
        labels=asked.labels,
        cpu_millis=asked.cpu_millis,
        memory_bytes=asked.memory_bytes,
    )
    return Wanted(
        package=package,
        now=time.time(),
        roles={"agent": wish},
        authorities=_authorities(api, join),
        join=str(join) if join else "",
        install_docker=asked.install_docker,
    )


def _authorities(api: ControlPlane | None, join: JoinString | None) -> tuple[str, ...]:
    """SHA-256 digests (hex) of the certificates of the control plane's authority."""
    if api is not None:
        blocks = str(api.authority()["pem"]).split(END)[:-1]
        return tuple(
            hashlib.sha256(ssl.PEM_cert_to_DER_cert(block.strip() + "\n" + END)).hexdigest() for block in blocks
        )
    # A pin is the same digest in base64url without padding.
    return tuple(base64.urlsafe_b64decode(pin + "=").hex() for pin in join.pins) if join else ()


def _reach(
    visit: Visit, facts: HostFacts, wanted: Wanted, api: ControlPlane | None, join: JoinString | None
) -> Trouble | None:
    """Try the way to the tunnel where it is known, unless something else stands in the way anyhow."""
    if facts.python is None or plan(facts, wanted).fatal:
        return None
    taken = _name_taken(visit, facts, wanted, api)
    if taken is not None:
        return taken
    if join is not None:
        where, tls = (join.host, join.port), join.tls
    elif facts.identity is not None and facts.identity.node_id is not None:
        where, tls = (facts.identity.host, facts.identity.port), True
    else:
        return None
    began = time.monotonic()
    pem = str(api.authority()["pem"]) if api is not None and tls else None
    trouble = try_agent(visit.host, facts.python.path, where, pem, strict=visit.mode.wait)
    visit.progress.took("try the network", began)
    return trouble


def _renamed(facts: HostFacts, asked: AgentWanted) -> Trouble | None:
    """A name is given once, when a host joins; another one in the settings would rename nothing."""
    name = facts.settings("agent").get("FLEDX_AGENT_NAME")
    if asked.name is None or facts.identity is None or name is None or asked.name == name:
        return None
    return Trouble(
        text=f"it is a node already, called {name}, and a node keeps its name",
        mend="leave out --name; or take it off with `fledx bootstrap uninstall agent --purge` and add it anew",
    )


def _name_taken(visit: Visit, facts: HostFacts, wanted: Wanted, api: ControlPlane | None) -> Trouble | None:
    """A host that is no node yet may not take the name of one that is connected now; the rest the joining decides."""
    if api is None or facts.identity is not None:
        return None
    standing = facts.settings("agent")
    name = {**standing, **wanted.roles["agent"].over(standing)}["FLEDX_AGENT_NAME"]
    if not _is_connected(api, name, visit):
        return None
    return Trouble(
        text=f"another node is called {name} already, and it is connected", mend="give this one another --name"
    )


def _is_connected(api: ControlPlane, name: str, visit: Visit) -> bool:
    """
    Whether a node of this name gives signs of life.

    One that was taken down a moment ago is still called ready: it may be this very host, and is told by its silence.
    """
    seen: str | None = None
    until = time.monotonic() + SIGN_OF_LIFE_SECS
    while time.monotonic() < until:
        try:
            node = api.node(name)
        except FledxError:
            return False
        if node.get("name") != name or node.get("status") != "ready":
            return False
        if seen is not None and node.get("last_seen") != seen:
            return True
        if seen is None:
            visit.progress.say("waiting", f"to see whether the node {name} that there is already is alive")
        seen = node.get("last_seen")
        visit.progress.halt.wait(SIGN_LOOK_SECS)
        visit.progress.go_on()
    return False
