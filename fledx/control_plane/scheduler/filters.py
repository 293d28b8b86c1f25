"""What a node must be, whatever stands on it: the filters that do not change from replica to replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fledx.control_plane.scheduler.place import NodeView
from fledx.control_plane.scheduler.spec import Shape
from fledx.models.permission import LATER, below, is_socket


class Refusal(NamedTuple):
    """
    Why a node does not take a replica.

    Refusals of equal ``step`` and ``text`` are told together; ``left`` is how much of a resource there was, if known.
    """

    step: int
    text: str
    left: int | None = None


def _ready(shape: Shape, node: NodeView) -> str | None:
    return None if node.status == "ready" else node.status if node.status == "unreachable" else f"is {node.status}"


def _active(shape: Shape, node: NodeView) -> str | None:
    return None if node.availability == "active" else node.availability


def _arch(shape: Shape, node: NodeView) -> str | None:
    if shape.arch is None or shape.arch == node.arch:
        return None
    return f"architecture is {node.arch or 'not known'}, not {shape.arch}"


def _os(shape: Shape, node: NodeView) -> str | None:
    if shape.os is None or shape.os == node.os:
        return None
    return f"operating system is {node.os or 'not known'}, not {shape.os}"


def _labels(shape: Shape, node: NodeView) -> str | None:
    for rule in shape.rules:
        if not rule.allows(node.labels):
            return f"label {rule.wanted} {'present' if rule.negated else 'missing'}"
    return None


def _public_ip(shape: Shape, node: NodeView) -> str | None:
    return "no public IP address" if shape.public_ip and not node.public_ip else None


def unknown_fields(shape: Shape, node: NodeView) -> str | None:
    """An agent that does not know a field would run the container without it."""
    if not shape.fields:
        return None
    unknown = [field for field in shape.fields if field not in node.knows and (node.allows is None or field in LATER)]
    return f"its agent is too old for {', '.join(unknown)}" if unknown else None


def _permissions(shape: Shape, node: NodeView) -> str | None:
    missing = [word for word in shape.permissions if word not in (node.allows or ())]
    return f"its FLEDX_AGENT_ALLOW has no {', no '.join(missing)}" if missing else None


def _paths(shape: Shape, node: NodeView) -> str | None:
    """As the paths are written; the agent looks where links lead."""
    for path in shape.paths:
        socket = is_socket(path) and "docker_socket" in (node.allows or ())
        if node.prefixes is not None and not socket and not below(path, node.prefixes):
            return f"volume {path} lies outside its FLEDX_AGENT_ALLOWED_VOLUME_PREFIXES"
    return None


Filter = Callable[[Shape, NodeView], "str | None"]
#: How a node is doing, which keeps new replicas away, and what it is, which also moves those that are there.
STATE: tuple[Filter, ...] = (_ready, _active)
NATURE: tuple[Filter, ...] = (_arch, _os, _labels, _public_ip, unknown_fields, _permissions, _paths)
FILTERS = (*STATE, *NATURE)
#: What stands on a node is looked at after what it is; `draft.py` has these.
CPU, MEMORY, NEAR, APART, PORTS = range(len(FILTERS), len(FILTERS) + 5)
_ALL = tuple(enumerate(FILTERS))
_NATURE = _ALL[len(STATE) :]


def unsuitable(shape: Shape, node: NodeView) -> Refusal | None:
    """The first filter that refuses the node, in their fixed order."""
    for step, refuses in _ALL:
        if (text := refuses(shape, node)) is not None:
            return Refusal(step, text)
    return None


def unfitting(shape: Shape, node: NodeView) -> Refusal | None:
    """The same for a replica that is there already: how the node is doing does not count."""
    for step, refuses in _NATURE:
        if (text := refuses(shape, node)) is not None:
            return Refusal(step, text)
    return None
