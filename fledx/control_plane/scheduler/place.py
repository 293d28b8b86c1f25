"""A node as the scheduler sees it, and what stands on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fledx.control_plane.scheduler.ports import Port, PortRange
from fledx.models.node import Node, settled_arch

FULL = 10_000
#: What a replica counts as when places are compared, so that replicas which request nothing still share them out.
LEAST_CPU, LEAST_MEMORY = 100, 128 * 1024 * 1024
#: What a node of unknown capacity counts as when places are compared.
GUESSED_CPU, GUESSED_MEMORY = 1000, 1024 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """
    The facts of a node that decide; two equal views mean that nothing changed for the scheduler.

    ``cpu`` in thousandths of a core and ``memory`` in bytes; 0 is not known, and then nothing can be requested there.
    ``busy`` are ports that others listen on, as protocol and number; ``port_range`` is the node's own, if it has one.
    ``allows`` are words of `models.permission`, ``prefixes`` directories for volumes; None: its agent tells neither.
    ``knows`` are the younger fields of a template that its agent heeds.
    """

    id: str
    name: str
    status: str = "ready"
    availability: str = "active"
    arch: str | None = None
    os: str | None = None
    labels: Mapping[str, str]
    public_ip: bool = False
    cpu: int = 0
    memory: int = 0
    busy: frozenset[tuple[str, int]] = frozenset()
    port_range: PortRange | None = None
    allows: frozenset[str] | None = None
    prefixes: tuple[str, ...] | None = None
    knows: frozenset[str] = frozenset()


def view_of(
    node: Node,
    *,
    busy: frozenset[tuple[str, int]] = frozenset(),
    port_range: PortRange | None = None,
    prefixes: tuple[str, ...] | None = None,
    knows: frozenset[str] = frozenset(),
) -> NodeView:
    """What the scheduler reads of a node, of the ports and directories there, and of what its agent heeds."""
    return NodeView(
        id=node.node_id,
        name=node.name,
        status=node.status,
        availability=node.availability,
        arch=settled_arch(node.arch) if node.arch else None,
        os=node.os.lower() if node.os else None,
        labels=node.labels,
        public_ip=node.public_ip is not None,
        cpu=(node.capacity and node.capacity.cpu_millis) or 0,
        memory=(node.capacity and node.capacity.memory_bytes) or 0,
        busy=busy,
        port_range=port_range,
        allows=None if node.allows is None else frozenset(node.allows),
        prefixes=prefixes,
        knows=knows,
    )


class Placed(NamedTuple):
    """Replica ``number`` of a deployment on a node, with what it requested and the ports it got."""

    deployment: str
    number: int
    node: str
    cpu: int
    memory: int
    ports: tuple[Port, ...]


class Place:
    """
    A node and what stands on it.

    ``cpu`` and ``memory`` are what is left to request; below 0 after an operator has asked for more than fits.
    ``load`` is in 1/10,000 of the node, by whichever of the two is scarcer: whole numbers of whole sums, so that a
    board which was kept and one which was built anew agree to the last digit.
    """

    __slots__ = ("cpu", "held", "load", "memory", "node", "size_cpu", "size_memory", "used_cpu", "used_memory")

    def __init__(self, node: NodeView) -> None:
        self.held: dict[tuple[str, int], Placed] = {}
        self.used_cpu = self.used_memory = 0
        self.cpu = self.memory = 0
        self.load = 0
        self.view(node)

    def view(self, node: NodeView) -> None:
        """Take new facts of the same node."""
        self.node = node
        self.size_cpu, self.size_memory = node.cpu or GUESSED_CPU, node.memory or GUESSED_MEMORY
        self.cpu = node.cpu - sum(placed.cpu for placed in self.held.values())
        self.memory = node.memory - sum(placed.memory for placed in self.held.values())
        self.load = self.load_with(0, 0)

    def load_with(self, cpu: int, memory: int) -> int:
        """The load if so much more counted."""
        by_cpu = (self.used_cpu + cpu) * FULL // self.size_cpu
        by_memory = (self.used_memory + memory) * FULL // self.size_memory
        return by_cpu if by_cpu > by_memory else by_memory

    def add(self, placed: Placed) -> None:
        """One replica more."""
        self.held[placed.deployment, placed.number] = placed
        self._count(placed, 1)

    def drop(self, placed: Placed) -> None:
        """One replica less."""
        del self.held[placed.deployment, placed.number]
        self._count(placed, -1)

    def _count(self, placed: Placed, sign: int) -> None:
        cpu, memory = placed.cpu, placed.memory
        self.cpu -= sign * cpu
        self.memory -= sign * memory
        self.used_cpu += sign * (cpu if cpu > LEAST_CPU else LEAST_CPU)
        self.used_memory += sign * (memory if memory > LEAST_MEMORY else LEAST_MEMORY)
        self.load = self.load_with(0, 0)
