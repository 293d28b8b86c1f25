"""Every Prometheus series of the agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from fledx.agent.spec import Key
from fledx.models.health import KINDS as TYPES
from fledx.models.instance import STATES, Instance
from fledx.models.kinds import OF_MACHINES, OF_REPLICAS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HAPPENINGS = (*OF_REPLICAS, *OF_MACHINES)
PROBES = tuple(product(TYPES, ("passed", "failed")))
"""Both are counted from 0 on: a series that begins with its first happening shows no increase."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What the series show of one moment; ``usage`` are the last samples."""

    connected: bool
    runtime_up: bool
    revision: int
    instances: Iterable[Instance]
    usage: Mapping[Key, Mapping[str, Any]]
    rounds: int = 0
    round_seconds: float = 0.0
    probes: Mapping[tuple[str, ...], int] = field(default_factory=dict)


class Metrics:
    """
    Counts, and writes the page when it is asked for.

    The library is loaded with the first page only: it is 2.7 MB that most nodes never need.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._happenings: Counter[str] = Counter()

    def happened(self, kind: str) -> None:
        """Count one thing that was done or found."""
        self._happenings[kind] += 1

    def page(self, sight: Sight) -> bytes:
        """The text that Prometheus reads; series of instances that are gone are gone too."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.process_collector import ProcessCollector

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Families(self, sight))
        return generate_latest(registry)

    def families(self, sight: Sight) -> Iterator[Any]:
        """All series of ours."""
        from prometheus_client.core import GaugeMetricFamily

        def gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
            family = GaugeMetricFamily(name, text, labels=labels)
            for key, value in values.items():
                family.add_metric(key, value)
            return family

        states = Counter(instance.state for instance in sight.instances)
        yield gauge("fledx_agent_info", "Constantly 1; the version is the label.", {(self._version,): 1}, "version")
        yield gauge("fledx_agent_tunnel_connected", "1 while the control plane is connected.", {(): sight.connected})
        yield gauge("fledx_agent_runtime_up", "1 while the container engine answers.", {(): sight.runtime_up})
        yield gauge("fledx_agent_desired_revision", "Revision of the desired state in force.", {(): sight.revision})
        by_state: dict[tuple[str, ...], float] = {(state,): states[state] for state in STATES}
        yield gauge("fledx_agent_instances", "Replicas of this node by state.", by_state, "state")
        for name, text, share, unit in (
            ("cpu_cores", "CPU in use, in cores.", "cpu_percent", 0.01),
            ("memory_bytes", "Memory without page cache.", "memory_bytes", 1.0),
        ):
            used: dict[tuple[str, ...], float] = {
                (key[0], str(key[1])): sample[share] * unit for key, sample in sight.usage.items()
            }
            yield gauge(f"fledx_agent_instance_{name}", text, used, "deployment_id", "replica")
        yield from self._counters(sight)

    def _counters(self, sight: Sight) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily

        def counter(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> CounterMetricFamily:
            family = CounterMetricFamily(name, text, labels=labels)
            for key, value in values.items():
                family.add_metric(key, value)
            return family

        kinds: dict[tuple[str, ...], float] = {
            (kind,): self._happenings[kind] for kind in {*HAPPENINGS, *self._happenings}
        }
        probes: dict[tuple[str, ...], float] = {**dict.fromkeys(PROBES, 0), **sight.probes}
        yield counter("fledx_agent_happenings", "What was done and found, by kind.", kinds, "kind")
        yield counter("fledx_agent_probes", "Health probes made, by type and result.", probes, "type", "result")
        yield counter("fledx_agent_reconcile_rounds", "Looks at the container engine.", {(): sight.rounds})
        yield counter("fledx_agent_reconcile_seconds", "Time spent in them.", {(): sight.round_seconds})


class _Families:
    """The library's idea of a collector, for one page."""

    def __init__(self, metrics: Metrics, sight: Sight) -> None:
        self._metrics = metrics
        self._sight = sight

    def collect(self) -> Iterator[Any]:
        """The series."""
        return self._metrics.families(self._sight)
