"""Where the replicas of a deployment may run, and where they would rather run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from fledx.errors import InvalidSpec
from fledx.models import check
from fledx.models.check import Faults
from fledx.models.node import Capacity
from fledx.models.rule import Rule

LEAST, PACK = STRATEGIES = ("least", "pack")


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """
    What a node must offer; ``capacity`` is requested for each replica and subtracted from what the node has left.

    ``labels`` are wanted as they stand; ``rules`` say more about labels, in the forms of `models.rule.Rule.parse`.
    """

    arch: str | None = None
    os: str | None = None
    labels: Mapping[str, str] | None = None
    rules: tuple[str, ...] | None = None
    capacity: Capacity | None = None
    requires_public_ip: bool = False

    def __post_init__(self) -> None:
        faults = Faults()
        for field in ("arch", "os"):
            text = getattr(self, field)
            faults.add(field, None if text is None else check.line(text))
        faults.found += check.labels(self.labels or {}, "labels")
        for key in self.labels or {}:
            if set(key) & set("!()"):
                faults.add(f"labels.{key[:60]}", "cannot be wanted: its key has '!', '(' or ')'")
        for i, text in enumerate(self.rules or ()):
            try:
                Rule.parse(text)
            except InvalidSpec as fault:
                faults.add(f"rules[{i}]", fault.problems[0][1])
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Nodes by id or name, by all of the labels, or by who runs there: any of these deployments, by name."""

    node_ids: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    deployments: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        faults.found += check.each(self.node_ids, "node_ids")
        faults.found += check.each(self.deployments or (), "deployments")
        faults.found += check.labels(self.labels or {}, "labels")
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class Placement:
    """
    Where replicas would rather be, and beside whom they must or must not be.

    ``affinity`` and ``anti_affinity`` are preferences. ``near`` names deployments that must run on the same node, all
    of them; ``apart`` those that must not, which binds both sides. The deployment itself may be named: near itself all
    replicas share a node, apart from itself each has one of its own. ``spread`` is one replica a node as far as that
    goes, ``spread_over`` a label by whose values replicas are spread evenly; ``strategy`` takes the node with the
    least load first, or packs them.
    """

    affinity: Affinity | None = None
    anti_affinity: Affinity | None = None
    spread: bool = False
    spread_over: str | None = None
    strategy: str | None = None
    near: tuple[str, ...] | None = None
    apart: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        for field in ("near", "apart"):
            faults.found += check.each(getattr(self, field) or (), field)
        for name in sorted({*(self.near or ())} & {*(self.apart or ())}):
            faults.add("apart", f"names {check.shown(name)}, as near does")
        faults.add("spread_over", None if self.spread_over is None else check.line(self.spread_over))
        if self.strategy not in (None, *STRATEGIES):
            faults.add("strategy", f"{check.shown(str(self.strategy))} is not one of {', '.join(STRATEGIES)}")
        faults.settle()

    @property
    def peers(self) -> frozenset[str]:
        """The deployments that are named, whatever for."""
        liked = [each.deployments or () for each in (self.affinity, self.anti_affinity) if each is not None]
        return frozenset(chain(self.near or (), self.apart or (), *liked))
