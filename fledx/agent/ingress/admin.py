"""What Envoy says of itself, asked at its own administration, which only the agent reaches."""

from __future__ import annotations

import json
import re

from fledx.agent.answers import Answer
from fledx.agent.exchange import ask
from fledx.errors import Unavailable

QUICK_SECS, PATIENT_SECS = 2.0, 5.0
READ_ONLY = ("/stats", "/stats/prometheus", "/clusters", "/listeners", "/ready", "/config_dump", "/server_info")
"""Pages that change nothing; keys are left out of the dump by Envoy itself."""
LINE = re.compile(r'^(\S+): "?([^"]*)"?$', re.MULTILINE)


class Admin:
    """Envoy's administration at a unix socket; every question may raise Unavailable."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def ready(self) -> bool:
        """Whether it has read its first configuration; one that is frozen does not answer."""
        return (await ask(self.path, "/ready", seconds=QUICK_SECS)).status == 200

    async def statistics(self, pattern: str) -> dict[str, str]:
        """Statistics whose names match a regular expression of Envoy's."""
        answer = await ask(self.path, f"/stats?filter={pattern}", seconds=PATIENT_SECS)
        return dict(LINE.findall(answer.body.decode("utf-8", "replace")))

    async def active(self) -> dict[tuple[str, str], int]:
        """Requests under way, by the name of the cluster and the address of the endpoint."""
        answer = await ask(self.path, "/clusters?format=json", seconds=PATIENT_SECS)
        try:
            shown = json.loads(answer.body)
            return {
                (str(cluster["name"]), _address(host["address"])): _gauge(host, "rq_active")
                for cluster in shown.get("cluster_statuses", ())
                for host in cluster.get("host_statuses", ())
            }
        except (ValueError, KeyError, TypeError) as problem:
            raise Unavailable(f"Envoy's list of clusters cannot be read: {problem!r}") from None

    async def version(self) -> str:
        """What it shows as its version; empty if it shows none."""
        answer = await ask(self.path, "/server_info", seconds=PATIENT_SECS)
        try:
            return str(json.loads(answer.body).get("version", ""))
        except (ValueError, AttributeError) as problem:
            raise Unavailable(f"Envoy's word on itself cannot be read: {problem!r}") from None

    async def page(self, target: str) -> Answer:
        """One of its read-only pages, as it is."""
        return await ask(self.path, target, seconds=PATIENT_SECS)


def _address(shown: dict[str, dict[str, object]]) -> str:
    if "pipe" in shown:
        return str(shown["pipe"]["path"])
    address, port = str(shown["socket_address"]["address"]), shown["socket_address"]["port_value"]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _gauge(host: dict[str, list[dict[str, str]]], name: str) -> int:
    """Protobuf's JSON leaves out what is 0."""
    return next((int(each.get("value", 0)) for each in host.get("stats", ()) if each.get("name") == name), 0)
