"""Specs with anything in them that the models allow, for property tests; each field is there somewhere."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from fledx.models.confinement import Device, Tmpfs, Ulimit
from fledx.models.deployment import DeploymentSpec, ReschedulePolicy, UpdatePolicy
from fledx.models.health import DeploymentHealth, HealthProbe
from fledx.models.ingress import IngressRule
from fledx.models.node import Capacity
from fledx.models.placement import Affinity, Constraints, Placement
from fledx.models.port import PortMapping
from fledx.models.secret import SecretEnv, SecretFile
from fledx.models.template import Limits
from fledx.models.volume import VolumeMount

UNSEEN: Any = ("Cc", "Cf", "Cs", "Zl", "Zp")
SURROGATES: Any = ("Cs",)
AWKWARD = (
    "yes",
    "no",
    "on",
    "null",
    "~",
    "1:30",
    "012",
    "1e3",
    "1.0e5",
    "2026-11-25",
    "- a",
    "a: b",
    "# no",
    "=",
    "<<",
)
NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True)
LINES = st.sampled_from(AWKWARD) | st.text(st.characters(blacklist_categories=UNSEEN), min_size=1, max_size=40).filter(
    lambda text: bool(text.strip())
)
WORDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}", fullmatch=True)
VALUES = st.sampled_from(AWKWARD) | st.text(st.characters(blacklist_categories=SURROGATES, blacklist_characters="\0"))
PATHS = st.from_regex(r"/[a-z0-9._-]{1,20}(/[a-z0-9_-]{1,20}){0,2}", fullmatch=True).filter(
    lambda path: ".." not in path
)
SECONDS = st.floats(0.001, 86400, allow_nan=False).map(lambda number: round(number, 3))
KEYS = st.text(st.characters(blacklist_categories=UNSEEN, blacklist_characters="=,"), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip())
)
LABELS = st.dictionaries(KEYS, LINES | st.just(""), min_size=1, max_size=3)
PORT = st.integers(1, 65535)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """It, or None."""
    return st.none() | strategy


def some(strategy: st.SearchStrategy[Any], by: Any) -> st.SearchStrategy[Any]:
    """One to three of them that differ in what `by` says, or None."""
    return maybe(st.lists(strategy, min_size=1, max_size=3, unique_by=by).map(tuple))


NUMBERS = {
    "interval_seconds": maybe(SECONDS),
    "timeout_seconds": maybe(SECONDS),
    "failure_threshold": maybe(st.integers(1, 100)),
    "start_period_seconds": maybe(SECONDS),
}
COMMANDS = st.lists(LINES, min_size=1, max_size=3).map(tuple)
PROBES = (
    st.builds(HealthProbe, type=st.just("http"), port=PORT, path=LINES, **NUMBERS)
    | st.builds(HealthProbe, type=st.just("tcp"), port=PORT, **NUMBERS)
    | st.builds(HealthProbe, type=st.just("exec"), command=COMMANDS, **NUMBERS)
)
PORTS = st.builds(
    PortMapping,
    container_port=PORT,
    host_port=maybe(PORT),
    protocol=st.sampled_from(("tcp", "udp")),
    host_ip=maybe(st.ip_addresses().map(str)),
    expose=st.booleans(),
)
RULES = st.sampled_from(("disk=ssd", "zone!=a", "gpu", "!old"))
CAPACITY = st.builds(Capacity, cpu_millis=maybe(st.integers(1, 10**6)), memory_bytes=maybe(st.integers(1, 2**45)))
NAMED = st.lists(LINES, min_size=1, max_size=2, unique=True).map(tuple)
AFFINITY = st.builds(
    Affinity, node_ids=st.lists(LINES, max_size=2).map(tuple), labels=maybe(LABELS), deployments=maybe(NAMED)
)
SURGE = st.builds(UpdatePolicy, max_surge=st.integers(1, 9), max_unavailable=st.integers(0, 9), watch_seconds=SECONDS)
PLAIN = st.builds(
    UpdatePolicy,
    max_unavailable=st.integers(1, 9),
    min_healthy_seconds=SECONDS,
    progress_deadline_seconds=SECONDS,
    on_failure=st.sampled_from(("rollback", "pause")),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": NAMES,
    "image": st.sampled_from(("nginx:1.27", "registry.example.com:5000/team/app@sha256:" + "0" * 64)),
    "replicas": st.integers(1, 10_000),
    "command": maybe(COMMANDS),
    "entrypoint": maybe(COMMANDS),
    "env": maybe(st.dictionaries(WORDS, VALUES, min_size=1, max_size=3)),
    "secret_env": some(st.builds(SecretEnv, name=WORDS, secret=NAMES, optional=st.booleans()), lambda each: each.name),
    "secret_files": some(
        st.builds(
            SecretFile,
            path=PATHS.map(lambda path: f"/run{path}"),
            secret=NAMES,
            optional=st.booleans(),
            owner=maybe(st.sampled_from(("0", "1000:1000"))),
            mode=maybe(st.sampled_from(("0440", "600"))),
        ),
        lambda each: each.path,
    ),
    "ports": maybe(st.lists(PORTS, min_size=1, max_size=1).map(tuple)),
    "volumes": some(
        st.builds(VolumeMount, host_path=PATHS, container_path=PATHS, read_only=maybe(st.booleans()))
        | PATHS.map(lambda path: VolumeMount(name=f"v{path.replace('/', '-')}", container_path=path)),
        lambda each: each.container_path,
    ),
    "health": maybe(
        st.builds(DeploymentHealth, liveness=PROBES, readiness=maybe(PROBES))
        | st.builds(DeploymentHealth, readiness=PROBES)
    ),
    "limits": maybe(
        st.builds(
            Limits,
            cpu_millis=maybe(st.integers(1, 10**6)),
            memory_bytes=maybe(st.integers(2**23, 2**45)),
            pids=maybe(st.integers(1, 10**6)),
            log_bytes=maybe(st.integers(2**16, 2**40)),
            log_files=maybe(st.integers(1, 100)),
        )
    ),
    "user": maybe(st.sampled_from(("1000", "0:0", "nobody"))),
    "read_only": maybe(st.booleans()),
    "init": maybe(st.booleans()),
    "privileged": maybe(st.booleans()),
    "network_mode": st.just("bridge"),
    "stop_signal": maybe(st.sampled_from(("SIGTERM", "int", "9"))),
    "tmpfs": some(
        st.builds(Tmpfs, path=PATHS.map(lambda path: f"/memory{path}"), size_bytes=maybe(st.integers(4096, 2**40))),
        lambda each: each.path,
    ),
    "ulimits": some(
        st.builds(Ulimit, name=st.sampled_from(("nofile", "core", "memlock")), soft=st.integers(-1, 2**40)),
        lambda each: each.name,
    ),
    "devices": some(
        st.builds(Device, host_path=PATHS.map(lambda path: f"/dev{path}"), permissions=st.sampled_from(("rwm", "r"))),
        lambda each: each.host_path,
    ),
    "pull": st.sampled_from(("if_not_present", "always", "never")),
    "cap_add": maybe(st.just(("NET_ADMIN",))),
    "cap_drop": maybe(st.just(("ALL", "CHOWN"))),
    "restart": st.sampled_from(("always", "on_failure", "never")),
    "stop_grace_seconds": SECONDS,
    "restarted_at": maybe(st.just("2026-11-25T10:00:00.000Z")),
    "labels": maybe(LABELS),
    "constraints": maybe(
        st.builds(
            Constraints,
            arch=maybe(LINES),
            os=maybe(LINES),
            labels=maybe(LABELS.filter(lambda labels: not set("".join(labels)) & set("!()"))),
            rules=maybe(st.lists(RULES, min_size=1, max_size=2).map(tuple)),
            capacity=maybe(CAPACITY),
            requires_public_ip=st.booleans(),
        )
    ),
    "placement": maybe(
        st.builds(
            Placement,
            affinity=maybe(AFFINITY),
            anti_affinity=maybe(AFFINITY),
            spread=st.booleans(),
            spread_over=maybe(LINES),
            strategy=maybe(st.sampled_from(("least", "pack"))),
            near=maybe(NAMED.map(lambda names: tuple(f"near-{name}" for name in names))),
            apart=maybe(NAMED),
        )
    ),
    "desired_state": st.sampled_from(("running", "stopped")),
    "requires_public_ip": st.just(False),
    "tunnel_only": st.booleans(),
    "update": PLAIN | SURGE,
    "ingress": some(
        st.builds(
            IngressRule,
            host=st.from_regex(r"(\*\.)?[a-z0-9]{1,20}\.example", fullmatch=True),
            path=PATHS,
            path_type=st.sampled_from(("prefix", "exact")),
            protocol=st.sampled_from(("http", "h2c")),
            rewrite=maybe(PATHS),
            timeout_seconds=SECONDS,
            max_body_bytes=maybe(st.integers(1, 2**30)),
            https_redirect=st.booleans(),
        ),
        lambda each: each.claim,
    ),
    "mode": st.sampled_from(("service", "global", "job")),
    "retries": maybe(st.integers(0, 1000)),
    "schedule": maybe(st.sampled_from(("*/5 * * * *", "0 9 * * mon-fri", "@daily"))),
    "timezone": maybe(st.just("UTC")),
    "reschedule": st.builds(
        ReschedulePolicy, after_seconds=maybe(SECONDS), on_return=st.sampled_from(("keep_new", "keep_original"))
    ),
}


KNOWN = frozenset(field.name for field in fields(DeploymentSpec))


def _meaningless(found: dict[str, Any]) -> tuple[str, ...]:
    """Fields that the mode does not allow."""
    mode = found.get("mode", "service")
    if mode != "job":
        plain = ("replicas", "update") if mode == "global" else ()
        return ("retries", "schedule", "timezone", *plain)
    timed = () if found.get("schedule") else ("timezone",)
    return ("health", "ingress", "restart", *timed)


@st.composite
def specs(draw: st.DrawFn) -> DeploymentSpec:
    """Any spec: most fields as they are when nobody names them, some with something in them."""
    named = {"name", "image"} | draw(st.sets(st.sampled_from(sorted(FIELDS.keys() & KNOWN)), max_size=8))
    if "ingress" in named:
        named.add("ports")
    found = {field: draw(FIELDS[field]) for field in sorted(named)}
    if not any(port.protocol == "tcp" for port in found.get("ports") or ()):
        found.pop("ingress", None)
    for field in _meaningless(found):
        found.pop(field, None)
    exposed = any(port.expose for port in found.get("ports") or ())
    return DeploymentSpec(**{**found, "requires_public_ip": exposed and draw(st.booleans())})
