"""The replicas of one deployment, one row each: where it is, how it is, and why it is not better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.table import table
from fledx.cli.views.text import age, brief, harmless

Json = Mapping[str, Any]


class Replica:
    """What is to be shown of one replica; every text is harmless."""

    def __init__(self, deployment: Json, number: int) -> None:
        self.number = number
        self.assignment = _of(deployment.get("assignments"), number)
        self.instance = _of(deployment.get("instances"), number)
        self._pending = _of(deployment.get("pending"), number)
        self._revision = int(deployment.get("revision", 0))
        self._stopped = deployment.get("desired_state") == "stopped"

    @property
    def node(self) -> str:
        """The node's name, else the beginning of its id, else `-`."""
        if self.assignment is None:
            return "-"
        return harmless(self.assignment.get("node") or str(self.assignment.get("node_id", "-"))[:8])

    @property
    def state(self) -> str:
        """One word, and what it lacks to be well."""
        if self.assignment is None and self.instance is not None and self._pending is None:
            return "leaving"
        if self.assignment is None:
            return "stopped" if self._stopped else "pending"
        if self.instance is None:
            return "stopped" if self._stopped else "assigned"
        state = harmless(self.instance["state"])
        if not self._stopped and not self.is_current:
            return f"{state}, old"
        return f"{state}, not ready" if state == "running" and not self.instance.get("ready") else state

    @property
    def is_current(self) -> bool:
        """Whether what was observed is what was last asked for; revision 0 is a replica that has no container yet."""
        if self.assignment is None or self.instance is None:
            return False
        return self.instance.get("revision", 0) in (0, self._revision)

    @property
    def why(self) -> str:
        """The reason it is not running, or the first line of the message that came with its state."""
        return brief(self.message)

    @property
    def message(self) -> str:
        """All of it, as it was reported."""
        if self._pending is not None:
            return str(self._pending.get("reason", ""))
        if self.instance is None:
            return "" if self.assignment is None or self._stopped else "the node has not reported it yet"
        message = self.instance.get("message") or _unhealthy(self.instance)
        code = self.instance.get("exit_code")
        if not message and self.instance["state"] == "failed" and code is not None:
            return f"exit code {code}"
        return str(message)

    @property
    def restarts(self) -> str:
        """How often it was started again; `-` where nothing was observed."""
        return "-" if self.instance is None else str(self.instance.get("restart_count", 0))

    @property
    def ports(self) -> str:
        """`host:port -> 80` for each published port."""
        return ", ".join(published(self.assignment)) if self.assignment is not None else ""

    def since(self, now: float) -> str:
        """How long its container has been there."""
        return age(None if self.instance is None else self.instance.get("started_at"), now)


def _of(items: Any, number: int) -> Json | None:
    return next((item for item in items or () if item.get("replica_number") == number), None)


def _unhealthy(instance: Json) -> str:
    health = instance.get("health")
    if not health or (health.get("healthy") and health.get("ready", True)):
        return ""
    return str(health.get("last_error") or health.get("reason") or health.get("last_probe_result") or "unhealthy")


def published(assignment: Json) -> list[str]:
    """`edge-1:8080 -> 80` for each port of one replica."""
    node = str(assignment.get("node") or str(assignment.get("node_id", ""))[:8])
    return [_port(port, node) for port in assignment.get("ports") or ()]


def _port(port: Json, node: str) -> str:
    inner = str(port["container_port"]) + ("" if port.get("protocol", "tcp") == "tcp" else f"/{port['protocol']}")
    if port.get("host_port") is None:
        return f"auto -> {inner}"
    host = port.get("host_ip") or node
    outer = port.get("endpoint") or f"{f'[{host}]' if ':' in host else host}:{port['host_port']}"
    return harmless(f"{outer} -> {inner}")


def replicas(deployment: Json) -> list[Replica]:
    """Every replica that is wanted or was observed, in order; of a job that has ended those that are still there."""
    counted = deployment.get("mode") == "global" or deployment.get("outcome") is not None
    numbers = set() if counted else set(range(int(deployment.get("replicas", 0))))
    for part in ("assignments", "instances", "pending"):
        numbers |= {int(item["replica_number"]) for item in deployment.get(part) or ()}
    return [Replica(deployment, number) for number in sorted(numbers)]


def replica_table(found: Sequence[Replica], now: float, *, columns: int | None = None, colour: bool = False) -> str:
    """One row a replica."""
    rows = [
        [str(each.number), each.node, each.state, each.restarts, each.since(now), each.ports or "-", each.why]
        for each in found
    ]
    return table(["REPLICA", "NODE", "STATE", "RESTARTS", "AGE", "PORTS", "WHY"], rows, columns=columns, colour=colour)
