"""Finding the one thing that was named, with a near name where there is none such."""

from __future__ import annotations

from fledx.cli.suggest import near
from fledx.client.api import ControlPlane
from fledx.client.asking import Json
from fledx.errors import FledxError, NotFound


def deployment(api: ControlPlane, ref: str) -> Json:
    """A deployment by name, id or the beginning of its id."""
    try:
        return api.deployment(ref)
    except NotFound as fault:
        fault.hint = fault.hint or _guess(api, "deployment", ref)
        raise


def node(api: ControlPlane, ref: str) -> Json:
    """A node by name, id or the beginning of its id."""
    try:
        return api.node(ref)
    except NotFound as fault:
        fault.hint = fault.hint or _guess(api, "node", ref)
        raise


def _guess(api: ControlPlane, noun: str, ref: str) -> str:
    listing = f"`fledx {noun}s list` names them all"
    try:
        page = api.nodes({}, limit=500) if noun == "node" else api.deployments({}, limit=500)
    except FledxError:
        return listing
    guess = near(ref, [str(item.get("name", "")) for item in page.items])
    return f"did you mean {guess}?" if guess else listing if page.items else f"there are no {noun}s yet"
