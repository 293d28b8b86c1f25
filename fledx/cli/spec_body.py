"""The request body that the flags of a deployment make, and what an update changes with it."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli import types
from fledx.cli.spec_flags import CLEAR, NESTED, PROBES, REPEATED
from fledx.errors import InvalidSpec

Json = dict[str, Any]
#: Made of fields, each with a flag of its own, so that one flag changes one thing.
MERGED = ("constraints", "placement", "limits", "update", "reschedule", "health")
#: Argument and field.
CONFINEMENT = (
    *(("user", "user"), ("read_only", "read_only"), ("init", "init"), ("privileged", "privileged")),
    *(("tmpfs", "tmpfs"), ("ulimit", "ulimits"), ("device", "devices"), ("cap_add", "cap_add")),
    *(("cap_drop", "cap_drop"), ("network", "network_mode"), ("stop_signal", "stop_signal")),
)
DEEP = ("capacity", "affinity", "anti_affinity")


def body_of(args: Namespace, ports: Sequence[Mapping[str, Any]] = ()) -> Json:
    """The fields that were given, as the API takes them; `ports` are those a deployment has where none is given."""
    body: Json = {}
    for field in ("image", "mode", "replicas", "desired_state", "retries", "schedule", "timezone"):
        _put(body, (field,), getattr(args, field))
    _put(body, ("restart",), args.restart.replace("-", "_") if args.restart else None)
    _put(body, ("pull",), args.pull.replace("-", "_") if args.pull else None)
    _put(body, ("stop_grace_seconds",), args.stop_grace)
    for name, field in CONFINEMENT:
        _put(body, (field,), getattr(args, name))
    _put(body, ("command",), _command(args))
    _put(body, ("entrypoint",), _line("entrypoint", args.entrypoint))
    for name, field in (("env", "env"), ("label", "labels")):
        _put(body, (field,), _mapping(getattr(args, name)))
    _put(body, ("secret_env",), [*(args.secret_env or ()), *(args.secret_env_optional or ())] or None)
    _put(body, ("secret_files",), [*(args.secret_file or ()), *(args.secret_file_optional or ())] or None)
    _put(body, ("ports",), _ports(args))
    _put(body, ("volumes",), args.volume)
    _put(body, ("ingress",), args.ingress)
    for flag, read, path, _ in (*NESTED, *REPEATED):
        value = getattr(args, _dest(flag))
        _put(body, path, _mapping(value) if read is types.pair else value)
    _put(body, ("placement", "spread"), args.spread)
    _put(body, ("reschedule", "abandon_volumes"), args.abandon_volumes)
    _put(body, ("requires_public_ip",), args.public)
    _put(body, ("tunnel_only",), args.tunnel_only)
    _put(body, ("health",), _health(args, args.port or ports))
    return body


def needs_ports(args: Namespace) -> bool:
    """Whether `body_of` has to know the ports of the deployment, as a probe names none."""
    return not args.port and any(
        getattr(args, f"{prefix}_http") and _port(args, prefix) is None for prefix, _ in PROBES
    )


def cleared(args: Namespace, body: Json) -> Json:
    """The fields to empty; InvalidSpec where one is set and emptied at once."""
    emptied = {field: empty for field, empty in CLEAR.items() if getattr(args, f"clear_{field}")}
    both = sorted(emptied.keys() & body.keys())
    if both:
        raise InvalidSpec("", f"--clear-{both[0].replace('_', '-')} together with a flag that sets it")
    return emptied


def merged(changes: Json, current: Mapping[str, Any]) -> Json:
    """
    Changes to the fields of MERGED laid over what the deployment has; every other value replaces the old one.
    """
    return {
        field: _laid_over(current.get(field) or {}, value) if field in MERGED else value
        for field, value in changes.items()
    }


def needs_current(changes: Json) -> bool:
    """Whether `merged` would have anything to merge."""
    return any(field in MERGED for field in changes)


def _laid_over(old: Any, new: Any) -> Any:
    """Labels and probes are values of their own: a new one replaces the old one whole."""
    if not isinstance(old, dict) or not new:
        return new
    return {**old, **{key: _laid_over(old.get(key), value) if key in DEEP else value for key, value in new.items()}}


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _put(body: Json, path: Sequence[str], value: Any) -> None:
    if value is None:
        return
    for step in path[:-1]:
        body = body.setdefault(step, {})
    body[path[-1]] = value


def _mapping(pairs: Sequence[tuple[str, str]] | None) -> dict[str, str] | None:
    return None if pairs is None else dict(pairs)


def _command(args: Namespace) -> list[str] | None:
    if args.command and args.rest:
        raise InvalidSpec("command", "is given twice, by --command and after '--'")
    return list(args.rest) or _line("command", args.command)


def _line(field: str, given: Sequence[Sequence[str]] | None) -> list[str] | None:
    """Words as they are; a single one is split as a shell would."""
    words = [word for group in given or () for word in group]
    try:
        return types.command(words[0]) if len(words) == 1 else words or None
    except ArgumentTypeError as problem:
        raise InvalidSpec(field, str(problem)) from None


def _ports(args: Namespace) -> list[Json] | None:
    ports: list[Json] = args.port or []
    exposed = set(args.expose_port or ())
    if missing := sorted(exposed - {port["container_port"] for port in ports}):
        raise InvalidSpec("expose-port", f"{missing[0]} is not the container port of any --port")
    return [{**port, "expose": True} if port["container_port"] in exposed else port for port in ports] or None


def _health(args: Namespace, ports: Sequence[Mapping[str, Any]]) -> Json | None:
    found: Json = {}
    for prefix, kind in PROBES:
        probe = _probe(args, prefix, ports)
        if probe is None:
            continue
        place = "readiness" if args.readiness and prefix == "health" else kind
        if place in found:
            raise InvalidSpec("readiness", "--readiness and --readiness-* both describe the readiness probe")
        found[place] = probe
    if args.readiness and not found:
        raise InvalidSpec("readiness", "--readiness needs a probe, such as --health-http /ready")
    return found or None


def _probe(args: Namespace, prefix: str, ports: Sequence[Mapping[str, Any]]) -> Json | None:
    found = {kind: getattr(args, f"{prefix}_{kind}") for kind in ("http", "tcp", "exec")}
    kinds = [kind for kind, value in found.items() if value is not None]
    numbers = _numbers(args, prefix)
    if not kinds:
        if numbers or _port(args, prefix) is not None:
            raise InvalidSpec("", f"--{prefix}-* needs one of --{prefix}-http, --{prefix}-tcp and --{prefix}-exec")
        return None
    if len(kinds) > 1:
        raise InvalidSpec("", f"--{prefix}-{kinds[0]} and --{prefix}-{kinds[1]} exclude each other")
    if kinds[0] == "exec":
        return {"type": "exec", "command": found["exec"], **numbers}
    if kinds[0] == "tcp":
        return {"type": "tcp", "port": found["tcp"], **numbers}
    return {"type": "http", "path": found["http"], "port": _http_port(args, prefix, ports), **numbers}


def _numbers(args: Namespace, prefix: str) -> Json:
    fields = (
        ("interval", "interval_seconds"),
        ("timeout", "timeout_seconds"),
        ("start_period", "start_period_seconds"),
        ("threshold", "failure_threshold"),
    )
    values = {field: getattr(args, f"{prefix}_{word}") for word, field in fields}
    return {field: value for field, value in values.items() if value is not None}


def _port(args: Namespace, prefix: str) -> int | None:
    given: int | None = getattr(args, f"{prefix}_port")
    return given


def _http_port(args: Namespace, prefix: str, ports: Sequence[Mapping[str, Any]]) -> int:
    given = _port(args, prefix)
    if given is None and len(ports) != 1:
        raise InvalidSpec("", f"--{prefix}-http needs --{prefix}-port, as there is not exactly one --port")
    return given if given is not None else int(ports[0]["container_port"])
