"""What the view shows, without a terminal: items by id, rows sorted and filtered, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fledx.cli.views import deployments, nodes
from fledx.cli.views.text import age, brief, cores, harmless, size

Json = Mapping[str, Any]
#: A sign beside the word, so that nothing depends on telling colours apart.
SIGNS = {
    "running": "●",
    "ready": "●",
    "deploying": "◐",
    "registering": "◐",
    "pending": "○",
    "stopped": "□",
    "unreachable": "▲",
    "failed": "✖",
    "error": "✖",
}
COLOURS = {
    "running": "green",
    "ready": "green",
    "deploying": "yellow",
    "registering": "cyan",
    "pending": "cyan",
    "stopped": "blue",
    "unreachable": "yellow",
    "failed": "red",
    "error": "red",
}
#: Worst first: what one wants to see on top when sorted by status.
URGENCY = ("failed", "error", "unreachable", "pending", "deploying", "registering", "running", "ready", "stopped")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its head, what stands in it, and what it is sorted by."""

    head: str
    text: Callable[[Json, float], str]
    key: Callable[[Json], Any]


@dataclass(frozen=True, kw_only=True)
class Order:
    """Sorted by the column of this number, backwards if so."""

    column: int = 0
    reverse: bool = False


def state(item: Json) -> str:
    """The status with its sign, and what more there is to say in a word."""
    status = str(item.get("status", "-"))
    word = nodes.state(item) if "node_id" in item else harmless(status)
    return f"{SIGNS.get(status, '?')} {word}"


def _urgency(item: Json) -> tuple[int, str]:
    status = str(item.get("status", ""))
    return (URGENCY.index(status) if status in URGENCY else len(URGENCY), _name(item))


def _name(item: Json) -> str:
    return str(item.get("name") or "")


def _why(item: Json) -> str:
    told = item.get("reason") or (deployments.rollout(item.get("rollout")) or "" if "replicas" in item else "")
    return brief(told)


def _since(field_name: str) -> Callable[[Json, float], str]:
    return lambda item, now: age(item.get(field_name), now)


def _capacity(item: Json, name: str) -> int:
    return int((item.get("capacity") or {}).get(name) or 0)


DEPLOYMENTS = (
    Column(head="NAME", text=lambda item, now: harmless(_name(item)), key=_name),
    Column(head="STATUS", text=lambda item, now: state(item), key=_urgency),
    Column(
        head="READY",
        text=lambda item, now: deployments.ready(item),
        key=lambda item: int(item.get("ready_replicas", 0)) - int(item.get("replicas", 0)),
    ),
    Column(head="AGE", text=_since("created_at"), key=lambda item: str(item.get("created_at", ""))),
    Column(
        head="NODES",
        text=lambda item, now: str(len(deployments.nodes(item))),
        key=lambda item: len(deployments.nodes(item)),
    ),
    Column(head="IMAGE", text=lambda item, now: harmless(item.get("image", "-")), key=lambda item: str(item["image"])),
    Column(head="WHY", text=lambda item, now: _why(item), key=_why),
)
NODES = (
    Column(head="NAME", text=lambda item, now: harmless(_name(item)), key=_name),
    Column(head="STATUS", text=lambda item, now: state(item), key=_urgency),
    Column(head="SINCE", text=_since("since"), key=lambda item: str(item.get("since", ""))),
    Column(
        head="CPU",
        text=lambda item, now: cores((item.get("capacity") or {}).get("cpu_millis")),
        key=lambda item: _capacity(item, "cpu_millis"),
    ),
    Column(
        head="MEMORY",
        text=lambda item, now: size((item.get("capacity") or {}).get("memory_bytes")),
        key=lambda item: _capacity(item, "memory_bytes"),
    ),
    Column(head="WHY", text=lambda item, now: _why(item), key=_why),
)


@dataclass(kw_only=True)
class Half:
    """Items of one kind, and how a person wants to see them."""

    columns: tuple[Column, ...]
    status: str | None = None
    items: dict[str, Json] = field(default_factory=dict)
    order: Order = Order()
    filter: str = ""

    def rows(self) -> list[str]:
        """The ids of what is to be seen, in order."""
        seen = [(identity, item) for identity, item in self.items.items() if self.matches(item)]
        key = self.columns[self.order.column].key
        seen.sort(key=lambda pair: (key(pair[1]), _name(pair[1])), reverse=self.order.reverse)
        return [identity for identity, _ in seen]

    def matches(self, item: Json) -> bool:
        """Whether every word of the filter occurs in its name, status, reason, image or labels."""
        if self.status is not None and item.get("status") != self.status:
            return False
        words = self.filter.lower().split()
        if not words:
            return True
        labels = " ".join(f"{key}={value}" for key, value in (item.get("labels") or {}).items())
        text = " ".join([_name(item), state(item), str(item.get("image", "")), _why(item), labels]).lower()
        return all(word in text for word in words)

    def cells(self, identity: str, now: float) -> list[str]:
        """One row's texts, harmless."""
        return [column.text(self.items[identity], now) for column in self.columns]

    def sort_next(self) -> None:
        """By the next column."""
        self.order = Order(column=(self.order.column + 1) % len(self.columns))

    def sort_by(self, column: int) -> None:
        """By this column; again for the other way round."""
        same = self.order.column == column
        self.order = Order(column=column, reverse=same and not self.order.reverse)

    def counts(self) -> str:
        """`● 3 running  ✖ 1 failed`, worst first, over everything there is."""
        counted = Counter(str(item.get("status", "-")) for item in self.items.values())
        words = [status for status in (*URGENCY, *sorted(counted.keys() - set(URGENCY))) if counted[status]]
        return "  ".join(f"{SIGNS.get(word, '?')} {counted[word]} {harmless(word)}" for word in words) or "none"


class Picture:
    """
    Both halves, kept up to date by what the stream tells; `complete` once all there is has come.

    `problems` are sentences about what needs attention beside nodes and deployments themselves.
    """

    def __init__(self, node_status: str | None = None, deployment_status: str | None = None) -> None:
        self.nodes = Half(columns=NODES, status=node_status, order=Order(column=1))
        self.deployments = Half(columns=DEPLOYMENTS, status=deployment_status, order=Order(column=1))
        self.complete = False
        self.problems: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()
        self._coming: set[str] | None = None

    def begin(self) -> None:
        """A stream begins: what it does not name before it is whole is no more."""
        self._coming = set()
        self._told = ()

    def take(self, kind: str, body: Json) -> None:
        """One event of the stream; kinds of a newer control plane are passed over."""
        if kind == "whole":
            self._sweep()
            self.problems = self._told
            self.complete = True
        elif kind == "problems":
            self._told = tuple(map(str, body.get("problems") or ()))
            if self._coming is None:
                self.problems = self._told
        elif kind == "gone":
            for half in (self.nodes, self.deployments):
                half.items.pop(str(body.get("id")), None)
        elif kind in ("node", "deployment"):
            half, identity = self._half(kind), str(body.get(f"{kind}_id"))
            half.items[identity] = body
            if self._coming is not None:
                self._coming.add(identity)

    def _half(self, kind: str) -> Half:
        return self.nodes if kind == "node" else self.deployments

    def _sweep(self) -> None:
        if self._coming is None:
            return
        for half in (self.nodes, self.deployments):
            half.items = {identity: item for identity, item in half.items.items() if identity in self._coming}
        self._coming = None
