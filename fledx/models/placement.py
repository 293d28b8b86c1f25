"""Where the replicas of a deployment may run, and where they would rather run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fledx.errors import InvalidSpec
from fledx.models import check
from fledx.models.check import Faults
from fledx.models.node import Capacity
from fledx.models.rule import Rule


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
    """Nodes by id or name, or by all of the labels."""

    node_ids: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        faults.found += check.each(self.node_ids, "node_ids")
        faults.found += check.labels(self.labels or {}, "labels")
        faults.settle()


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Preferences: near, far, and one replica a node as far as possible."""

    affinity: Affinity | None = None
    anti_affinity: Affinity | None = None
    spread: bool = False
