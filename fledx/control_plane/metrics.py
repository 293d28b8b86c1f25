"""Every figure the control plane shows to Prometheus, and the functions by which the others report them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from fledx.control_plane.recent import Recent
from fledx.models.kinds import KINDS

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
MAX_WORDS = 50
ADMITTED = ("ok", "conflict", "denied", "invalid", "limit_exceeded", "unavailable")
WAYS_IN = ("ok", "away", "denied", "invalid", "limit_exceeded", "unavailable")
OCCASIONS = ("create", "update", "reschedule")
"""
What is known of a label's values beforehand is counted from 0 on, as the kinds of events are: a series that begins with
its first event shows Prometheus no increase.
"""


class Metrics:
    """
    One registry, made once by `run.py`.

    Names are ours (`fledx_`) but for those that fledx-core promises (`control_plane_`). Labels are words from small
    sets: a route's template, a status, an outcome; never a name, an id or an address.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.recent = Recent()
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._make_program()
        self._make_http()
        self._make_fleet()
        self._make_store()

    def _make_program(self) -> None:
        labels = ("version", "git_sha", "schema_version", "schema_target_version")
        self._info = Gauge("control_plane_info", "Always 1; what runs", labels, registry=self.registry)
        self._schema = self._gauge("control_plane_schema_version", "Schema version of the database")
        self._target = self._gauge("control_plane_schema_target_version", "Schema version this program is made for")
        self._pending = self._gauge("control_plane_migrations_pending", "Migrations not applied yet")
        self._lag = Histogram(
            "fledx_event_loop_lag_seconds",
            "How much later than asked the event loop woke a sleeper",
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )

    def _make_http(self) -> None:
        self._requests = self._counter(
            "control_plane_http_requests_total", "Requests answered", ("method", "path", "status")
        )
        self._durations = Histogram(
            "fledx_http_request_duration_seconds",
            "From a request's headers to those of its answer",
            ("method", "path"),
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        self._failures = self._counter(
            "fledx_http_failures_total", "Requests answered with a status of 500 or above", ()
        )
        self._in_progress = self._gauge("fledx_http_requests_in_progress", "Requests being answered")
        self._streams = self._gauge("fledx_http_streams", "Event and log streams being read")
        self._refused = self._counter("fledx_tokens_refused_total", "Requests with a wrong token or none", ("kind",))
        for kind in ("operator", "registration", "node"):
            self._refused.labels(kind)
        self._counts = cache(lambda method, path, status: self._requests.labels(method, path, str(status)))
        self._times = cache(lambda method, path: self._durations.labels(method, path))

    def _make_fleet(self) -> None:
        self._nodes = Gauge("fledx_nodes", "Nodes by status", ("status",), registry=self.registry)
        self._deployments = Gauge("fledx_deployments", "Deployments by status", ("status",), registry=self.registry)
        self._sessions = self._gauge("fledx_tunnel_sessions", "Agents connected")
        self._opened = self._counter("fledx_tunnel_connections_total", "Tunnel connections by result", ("result",))
        self._closed = self._counter("fledx_tunnel_disconnections_total", "Sessions ended by reason", ("reason",))
        self._decisions = self._counter(
            "fledx_scheduler_decisions_total", "Replicas placed or left waiting, by occasion", ("context", "outcome")
        )
        self._happened = self._counter("fledx_events_total", "What happened, by kind", ("kind",))
        self._replicas = Gauge(
            "fledx_replicas", "Replicas wanted, of these ready, and without a place", ("state",), registry=self.registry
        )
        self._taken = Histogram(
            "fledx_desired_state_push_duration_seconds",
            "From sending a node its desired state to its word that it is stored",
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        self._gateways = Gauge("fledx_gateways", "Gateways connected, by state", ("state",), registry=self.registry)
        self._backends = self._gauge("fledx_gateway_backend_streams_open", "Connections of gateways into other nodes")
        self._passed = self._counter(
            "fledx_gateway_backend_streams_total", "Connections gateways asked for, by result", ("result",)
        )
        self._results, self._ways_in, self._kinds = Words(ADMITTED), Words(WAYS_IN), Words(KINDS)
        self._occasions, self._reasons = Words(OCCASIONS), Words()
        for counter, words in (
            (self._opened, ADMITTED),
            (self._passed, WAYS_IN),
            (self._happened, KINDS),
        ):
            for word in words:
                counter.labels(word)
        for occasion, outcome in product(OCCASIONS, ("assigned", "unassigned")):
            self._decisions.labels(occasion, outcome)

    def _make_store(self) -> None:
        self._transactions = Histogram(
            "fledx_store_transaction_duration_seconds",
            "Write transactions from their turn to COMMIT",
            ("kind",),
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        for kind in ("durable", "relaxed"):
            self._transactions.labels(kind)
        self._size = self._gauge("fledx_store_size_bytes", "Size of the database, its log included")
        self._backup = self._gauge(
            "fledx_backup_last_success_timestamp_seconds", "When the newest backup was taken; 0 is never"
        )
        self._expiry = Gauge(
            "fledx_certificate_expiry_timestamp_seconds",
            "When a certificate ends that this control plane shows or hands out",
            ("use",),
            registry=self.registry,
        )

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(name, help, registry=self.registry)

    def _counter(self, name: str, help: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, help, labels, registry=self.registry)

    def exposition(self) -> bytes:
        """The text format, version 0.0.4; takes milliseconds."""
        return generate_latest(self.registry)

    def program(self, *, version: str, build: str | None, schema: int, target: int) -> None:
        """What runs, on which schema."""
        self._info.labels(version, build or "none", str(schema), str(target)).set(1)
        self._schema.set(schema)
        self._target.set(target)
        self._pending.set(max(0, target - schema))

    def lagged(self, seconds: float) -> None:
        """The event loop was late by so much."""
        self._lag.observe(seconds)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is a template of the route table, never a path."""
        self.recent.count(method, route, status)
        if status >= 500:
            self._failures.inc()
        self._counts(method, route, status).inc()
        self._times(method, route).observe(seconds)

    def in_progress(self, requests: Callable[[], int], streams: Callable[[], int]) -> None:
        """Where to read how many requests and streams there are, when somebody looks."""
        self._in_progress.set_function(requests)
        self._streams.set_function(streams)

    def refused(self, kind: str) -> None:
        """A token was wrong: `operator`, `registration` or `node`."""
        self._refused.labels(kind).inc()

    def fleet(self, summary: Mapping[str, Mapping[str, int]]) -> None:
        """How many nodes and deployments there are of each status: `Overview.summary()["summary"]`."""
        for gauge, counts in ((self._nodes, summary["nodes"]), (self._deployments, summary["deployments"])):
            for status, count in counts.items():
                gauge.labels(status).set(count)

    def replicas(self, counts: Mapping[str, int]) -> None:
        """How many replicas are `wanted`, `ready` and `unplaced`."""
        for state, count in counts.items():
            self._replicas.labels(state).set(count)

    def kept(self, *, size: int, backup: float) -> None:
        """The database has so many bytes, and its newest backup was taken then (unix seconds, 0 for never)."""
        self._size.set(size)
        self._backup.set(backup)

    def certificate(self, use: str, expires: float | None) -> None:
        """
        A certificate for a use of a few words ends at this unix time; the first to end where there are several.

        None takes the figure away: an alert on a certificate that is not there would never end.
        """
        if expires is not None:
            self._expiry.labels(use).set(expires)
        else:
            with contextlib.suppress(KeyError):
                self._expiry.remove(use)

    def happened(self, kinds: Iterable[str]) -> None:
        """Events were stored."""
        for kind in kinds:
            self._happened.labels(self._kinds.bounded(kind)).inc()

    def pushed(self, seconds: float) -> None:
        """A node took its desired state."""
        self._taken.observe(seconds)

    def sessions(self, count: int) -> None:
        """So many agents are connected now."""
        self._sessions.set(count)

    def gateways(self, states: Mapping[str, int]) -> None:
        """How many gateways are connected in each state."""
        for state in ("starting", "serving", "failed"):
            self._gateways.labels(state).set(states.get(state, 0))

    def backends(self, count: Callable[[], int]) -> None:
        """Where to read how many connections of gateways into other nodes there are, when somebody looks."""
        self._backends.set_function(count)

    def backend(self, result: str) -> None:
        """A gateway's connection was let through (`ok`), or ended badly for a reason of one word."""
        self._passed.labels(self._ways_in.bounded(result)).inc()

    def connected(self, result: str) -> None:
        """A connection to the tunnel port ended in a session (`ok`), or was refused for a reason of a few words."""
        self._opened.labels(self._results.bounded(result)).inc()

    def disconnected(self, reason: str) -> None:
        """A session ended."""
        self._closed.labels(self._reasons.bounded(reason)).inc()

    def decided(self, context: str, *, placed: int, waiting: int) -> None:
        """The scheduler was asked on an occasion (`create`, `update`, `reschedule`, ...)."""
        occasion = self._occasions.bounded(context)
        self._decisions.labels(occasion, "assigned").inc(placed)
        self._decisions.labels(occasion, "unassigned").inc(waiting)

    def transaction(self, seconds: float, *, durable: bool) -> None:
        """A write transaction took so long, its wait for its turn not counted."""
        self._transactions.labels("durable" if durable else "relaxed").observe(seconds)


class Words:
    """Keeps a label's values few, whatever it is given: those known beforehand, and so many more."""

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = set(known)
        self._most = len(self._known) + MAX_WORDS

    def bounded(self, word: str) -> str:
        """The word itself, or `other` once there have been too many."""
        if word not in self._known and len(self._known) >= self._most:
            return "other"
        self._known.add(word)
        return word
