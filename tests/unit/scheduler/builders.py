"""Nodes and specs for scheduler tests: a valid default, of which a test overrides what it is about."""

from __future__ import annotations

from typing import Any

from fledx.control_plane.scheduler.place import NodeView
from fledx.control_plane.scheduler.ports import Want
from fledx.control_plane.scheduler.schedule import Plan
from fledx.control_plane.scheduler.spec import Shape, Spec, Spread
from fledx.models.rule import Rule

MIB = 1024**2
GIB = 1024**3


def node(name: str, *, labels: dict[str, str] | None = None, **changes: Any) -> NodeView:
    """A ready node of 4 cores and 8 GiB, whose id is `id-NAME`."""
    given: dict[str, Any] = {"arch": "amd64", "os": "linux", "cpu": 4000, "memory": 8 * GIB}
    return NodeView(**{"id": f"id-{name}", "name": name, "labels": labels or {}, **given, **changes})


def nodes(*names: str) -> list[NodeView]:
    """Some that are all alike."""
    return [node(name) for name in names]


def spec(name: str = "web", *, rules: tuple[str, ...] = (), ports: tuple[str, ...] = (), **changes: Any) -> Spec:
    """
    A deployment that any node takes; its id is `id-NAME`.

    Ports are `[HOST:]CONTAINER[/PROTOCOL]`; words of the shape (arch, strategy, ...) may be given directly.
    """
    fields = ("arch", "os", "public_ip", "preferences", "strategy")
    shape = {field: changes.pop(field) for field in fields if field in changes}
    spread = changes.setdefault("spread", Spread())
    domain = spread.label if spread else None
    return Spec(
        deployment=f"id-{name}",
        name=name,
        shape=Shape(rules=tuple(map(Rule.parse, rules)), domain=domain, **shape),
        wants=tuple(map(want, ports)),
        **changes,
    )


def want(text: str) -> Want:
    """`80`, `8080:80/udp`."""
    ports, _, protocol = text.partition("/")
    host, _, container = ports.rpartition(":")
    return Want(int(container), protocol or "tcp", int(host) if host else None, "")


def where(plan: Plan) -> dict[int, str]:
    """The names of the nodes that replicas go to."""
    return {placed.number: placed.node.removeprefix("id-") for placed in plan.placed}


def hosts(plan: Plan) -> dict[int, list[int]]:
    """The host ports that replicas get."""
    return {placed.number: [port.host for port in placed.ports] for placed in plan.placed}
