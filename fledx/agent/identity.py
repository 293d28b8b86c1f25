"""Who this node is and whom it trusts: from its settings, from its file, or by joining once."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from fledx.agent.files import write_private
from fledx.errors import InvalidSpec, Unavailable
from fledx.models.codec import decode_lenient, encode
from fledx.models.token import pins_of
from fledx.settings.agent import AgentSettings

TUNNEL_PORT = 7443


@dataclass(frozen=True, kw_only=True)
class Identity:
    """
    The node's id, token and name, and where its control plane's tunnel is.

    ``authority`` is the PEM text of the CA to believe, None where only its fingerprints are known yet (they are part of
    the token) or where the system's own roots are to do.
    """

    node_id: str
    node_token: str = field(repr=False)
    name: str = ""
    host: str
    port: int = TUNNEL_PORT
    tls: bool = True
    authority: str | None = None
    host_key: str | None = None

    @property
    def pins(self) -> tuple[str, ...]:
        """Fingerprints of the authority that the token carries."""
        return pins_of(self.node_token)


def stored(path: Path) -> Identity | None:
    """The identity of an earlier join, None if there was none; InvalidSpec when the file cannot be understood."""
    try:
        return decode_lenient(Identity, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise Unavailable(f"the node's identity in {path} cannot be read: {problem.strerror}") from None
    except ValueError:
        raise InvalidSpec("", f"{path} is not a node's identity", hint="remove it and join again") from None


def store(path: Path, identity: Identity) -> None:
    """Keep it, readable for this user only."""
    try:
        write_private(path, json.dumps(encode(identity), indent=2).encode())
    except OSError as problem:
        raise Unavailable(f"the node's identity cannot be stored in {path}: {problem.strerror}") from None


def settled(settings: AgentSettings, kept: Identity | None) -> Identity | None:
    """
    What the settings say, over what was kept from joining; None when neither makes a whole identity.

    The mission README's variables (node id, token, control plane URL or tunnel host) suffice without a file. What was
    kept belongs to a node: settings that name another one do not inherit its token or authority.
    """
    if kept is not None and settings.node_id not in (None, kept.node_id):
        kept = None
    host = settings.tunnel_endpoint_host or (kept.host if kept else None) or _host_of(settings.control_plane_url)
    node_id = settings.node_id or (kept.node_id if kept else None)
    token = settings.node_token or (kept.node_token if kept else None)
    if not (host and node_id and token):
        return None
    same = kept is not None and pins_of(token) == kept.pins
    return Identity(
        node_id=node_id,
        node_token=token,
        name=settings.name or (kept.name if kept else ""),
        host=host,
        port=settings.tunnel_endpoint_port or (kept.port if kept else TUNNEL_PORT),
        tls=settings.tunnel_use_tls and (kept.tls if kept else True),
        authority=_given_authority(settings) or (kept.authority if kept and same else None),
        host_key=kept.host_key if kept else None,
    )


def missing(settings: AgentSettings) -> InvalidSpec:
    """What to tell an operator whose node has no identity yet."""
    given = {"FLEDX_AGENT_NODE_ID": settings.node_id, "FLEDX_AGENT_NODE_TOKEN": settings.node_token}
    given["FLEDX_AGENT_CONTROL_PLANE_URL"] = settings.control_plane_url or settings.tunnel_endpoint_host
    absent = [name for name, value in given.items() if not value]
    if len(absent) == len(given):
        text = "this node has not joined a control plane yet"
    else:
        text = f"this node's identity is not whole: {', '.join(absent)} is missing"
    hint = "run `fledx nodes join-command` on the control plane and paste the line it prints"
    return InvalidSpec("", text, hint=hint)


def _host_of(url: str | None) -> str | None:
    if not url:
        return None
    host = urllib.parse.urlsplit(url if "//" in url else f"//{url}").hostname
    if not host:
        raise InvalidSpec("FLEDX_AGENT_CONTROL_PLANE_URL", f"{url!r} is not a URL such as https://cp.example.com")
    return host


def _given_authority(settings: AgentSettings) -> str | None:
    if not settings.ca_file:
        return None
    try:
        return Path(settings.ca_file).read_text("ascii")
    except (OSError, ValueError) as problem:
        raise InvalidSpec("FLEDX_AGENT_CA_FILE", f"{settings.ca_file} cannot be read: {problem}") from None
