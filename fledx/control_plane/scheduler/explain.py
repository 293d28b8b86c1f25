"""Why a replica has no node: one sentence over all nodes, those of one reason told together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fledx.control_plane.scheduler.draft import Draft, mebibytes
from fledx.control_plane.scheduler.filters import CPU, Refusal

NO_NODES = "there are no nodes"
MOST_GROUPS = 6
#: Nodes of a group are named up to this number.
MOST_NAMES = 3
MOST_CHARACTERS = 600
MOST_OF_A_GROUP = 160


@dataclass
class _Group:
    """Nodes with one reason; ``left`` is the most that any of them had."""

    refusal: Refusal
    count: int = 0
    left: int | None = None
    names: list[str] = field(default_factory=list)


def explain(draft: Draft) -> str:
    """
    Why no place takes one more replica of the draft.

    ``2 nodes: label disk=ssd missing (edge-1, edge-2); 1 node: port 80 taken by api (edge-3)``: the largest group
    first, then by filter; bounded in length, whatever the size of the fleet.
    """
    found = ((place.node.name, draft.whole(i)) for i, place in enumerate(draft.board.places))
    return summary((name, refusal) for name, refusal in found if isinstance(refusal, Refusal))


def summary(refusals: Iterable[tuple[str, Refusal]]) -> str:
    """The sentence for these nodes, by name."""
    groups: dict[tuple[int, str], _Group] = {}
    for name, refusal in refusals:
        group = groups.get(refusal[:2])
        if group is None:
            group = groups[refusal[:2]] = _Group(refusal)
        group.count += 1
        if group.count <= MOST_NAMES:
            group.names.append(name)
        if refusal.left is not None and (group.left is None or refusal.left > group.left):
            group.left = refusal.left
    ranked = sorted(groups.values(), key=lambda group: (-group.count, group.refusal[:2]))
    text = _joined(ranked, MOST_GROUPS, names=True)
    most = MOST_GROUPS
    while len(text) > MOST_CHARACTERS:
        text = _joined(ranked, most, names=False)
        most -= 1
    return text or NO_NODES


def sentence(refusal: Refusal) -> str:
    """One refusal in words."""
    if refusal.left is None:
        return refusal.text
    left = f"{refusal.left}m" if refusal.step == CPU else mebibytes(refusal.left)
    return f"{refusal.text}, {left} left"


def _joined(ranked: list[_Group], most: int, *, names: bool) -> str:
    return "; ".join([*(_told(group, names=names) for group in ranked[:most]), *_rest(ranked[most:])])


def _told(group: _Group, *, names: bool) -> str:
    nodes = f"{group.count} node{'' if group.count == 1 else 's'}"
    reason = shortened(group.refusal.text, MOST_OF_A_GROUP)
    if group.left is not None:
        most = "" if group.count == 1 else "at most "
        left = f"{group.left}m" if group.refusal.step == CPU else mebibytes(group.left)
        reason = f"{reason}, {most}{left} left"
    named = f" ({', '.join(group.names)})" if names and group.count <= MOST_NAMES else ""
    return f"{nodes}: {reason}{named}"


def _rest(groups: list[_Group]) -> list[str]:
    count = sum(group.count for group in groups)
    reasons = f"{len(groups)} other reason{'' if len(groups) == 1 else 's'}"
    return [f"{count} node{'' if count == 1 else 's'}: {reasons}"] if groups else []


def shortened(text: str, most: int) -> str:
    """Cut to so many characters, and it shows."""
    return text if len(text) <= most else text[: most - 3] + "..."
