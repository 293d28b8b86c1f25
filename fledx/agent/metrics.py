"""Every Prometheus series of the agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.process_collector import ProcessCollector

from fledx.agent.spec import Key
from fledx.models.instance import STATES, Instance

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry of its own, so that several agents in one process do not meet."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._info = self._gauge("fledx_agent_info", "Constantly 1; the version is the label.", "version")
        self._info.labels(version).set(1)
        self._connected = self._gauge("fledx_agent_tunnel_connected", "1 while the control plane is connected.")
        self._runtime = self._gauge("fledx_agent_runtime_up", "1 while the container engine answers.")
        self._revision = self._gauge("fledx_agent_desired_revision", "Revision of the desired state in force.")
        self._instances = self._gauge("fledx_agent_instances", "Replicas of this node by state.", "state")
        self._happenings = Counter(
            "fledx_agent_happenings", "What was done and found, by kind.", ["kind"], registry=self._registry
        )
        labels = ("deployment_id", "replica")
        self._cpu = self._gauge("fledx_agent_instance_cpu_percent", "CPU, percent of one core.", *labels)
        self._memory = self._gauge("fledx_agent_instance_memory_bytes", "Memory without page cache.", *labels)

    def happened(self, kind: str) -> None:
        """Count one thing that was done or found."""
        self._happenings.labels(kind).inc()

    def page(
        self,
        *,
        connected: bool,
        runtime_up: bool,
        revision: int,
        instances: Iterable[Instance],
        usage: Mapping[Key, Mapping[str, Any]],
    ) -> bytes:
        """The text that Prometheus reads, with these values of now."""
        self._connected.set(connected)
        self._runtime.set(runtime_up)
        self._revision.set(revision)
        counts = dict.fromkeys(STATES, 0)
        for instance in instances:
            counts[instance.state] += 1
        for state, count in counts.items():
            self._instances.labels(state).set(count)
        self._show_usage(usage)
        return generate_latest(self._registry)

    def _show_usage(self, usage: Mapping[Key, Mapping[str, Any]]) -> None:
        """Series of instances that are gone go too."""
        self._cpu.clear()
        self._memory.clear()
        for (deployment_id, number), sample in usage.items():
            self._cpu.labels(deployment_id, str(number)).set(sample["cpu_percent"])
            self._memory.labels(deployment_id, str(number)).set(sample["memory_bytes"])

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)
