"""Whether a replica may stay where it is: it moves only if its node is gone, is drained or no longer fits."""

from __future__ import annotations

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.draft import Draft
from fledx.control_plane.scheduler.explain import sentence
from fledx.control_plane.scheduler.filters import Refusal, unfitting
from fledx.control_plane.scheduler.place import Placed
from fledx.control_plane.scheduler.spec import Spec


def settle(board: Board, spec: Spec, placed: Placed) -> Placed | str:
    """
    The replica on the node where it is, as ``spec`` wants it now, or one sentence why it must leave.

    Its requests are those of the spec; a port that is chosen automatically keeps its number. A node that is cordoned
    or does not answer keeps what it has: whether its work moves is decided by whoever watches over nodes. Of many
    replicas on a node that has become too small each one says that it must leave: take one off the board, then ask for
    the next.
    """
    i = board.index.get(placed.node)
    if i is None:
        return "its node is gone"
    node = board.places[i].node
    if node.availability == "draining":
        return f"node {node.name} is draining"
    with board.lifted(placed.deployment, placed.number):
        found = unfitting(spec.shape, node) or Draft(board, spec, placed.ports).room(i)
    if isinstance(found, Refusal):
        return f"no longer fits node {node.name}: {sentence(found)}"
    return placed._replace(cpu=spec.cpu, memory=spec.memory, ports=found)


def fits(board: Board, spec: Spec, placed: Placed) -> str | None:
    """Why a replica may not stay where it is; None if it may."""
    found = settle(board, spec, placed)
    return found if isinstance(found, str) else None
