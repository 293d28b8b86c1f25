"""
Which of two places is better.

A rank is compared from left to right, smaller is better: minus the preference, the spread, the replicas of the same
deployment that are there already, and a standing: the load (minus it for bin-packing) before the new replica is added,
then the place's number, which follows the nodes' names. Only because the new replica's own requests are left out can
one order of places serve every spec of a shape.
"""

from __future__ import annotations

from fledx.control_plane.scheduler.place import NodeView
from fledx.control_plane.scheduler.spec import Preference, Shape
from fledx.models.placement import LEAST

#: A standing is one whole number, load and place packed, as numbers sort several times faster than pairs.
BITS = 20
MASK = (1 << BITS) - 1


def sign(shape: Shape) -> int:
    """1 if an empty place is the better one, -1 if a full one is."""
    return 1 if shape.strategy == LEAST else -1


def liking(shape: Shape, node: NodeView) -> int:
    """The sum of the preferences that the node meets."""
    return sum(one.weight for one in shape.preferences if _meets(node, one))


def _meets(node: NodeView, preference: Preference) -> bool:
    if node.id in preference.nodes or node.name in preference.nodes:
        return True
    labels = node.labels
    return bool(preference.labels) and all(labels.get(key) == value for key, value in preference.labels)


def domain(shape: Shape, node: NodeView) -> str | None:
    """The domain that the node is in when replicas spread over a label; None without it, and when they do not."""
    return None if shape.domain is None else node.labels.get(shape.domain)
