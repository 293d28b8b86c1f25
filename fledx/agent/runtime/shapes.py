"""Docker's JSON (Engine API 1.41 to 1.47) to ours and back; pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fledx.agent.runtime.containers import Container, ContainerSpec, LogEntry, Mount, RuntimeEvent, Usage
from fledx.errors import InvalidSpec
from fledx.models.confinement import Tmpfs
from fledx.models.port import PortMapping
from fledx.models.template import DEFAULT_STOP_GRACE, Limits

LOG_BYTES, LOG_FILES = 10_000_000, 3
NEVER = "0001-01-01T00:00:00Z"
KINDS = {name: name for name in ("start", "die", "oom", "pause", "unpause", "destroy")} | {"stop": "halt"}
KILLING = frozenset({"2", "3", "6", "9", "15", "SIGINT", "SIGQUIT", "SIGABRT", "SIGKILL", "SIGTERM"})
MAX_PIECE = 16 * 1024
RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


def create_body(spec: ContainerSpec) -> dict[str, Any]:
    """The body of `POST /containers/create`; Docker's own restart policy is always off, for the agent alone starts."""
    limits = spec.limits or Limits()
    bindings = _bindings(spec.ports if spec.network_mode != "host" else ())
    host = {
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": _log_limits(limits)},
        "PortBindings": bindings,
        "Mounts": [_mount(each) for each in spec.mounts],
        "NanoCpus": (limits.cpu_millis or 0) * 1_000_000,
        "Memory": limits.memory_bytes or 0,
        "PidsLimit": limits.pids,
        "Init": bool(spec.init),
        **_confinement(spec),
    }
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "ExposedPorts": {key: {} for key in bindings},
        "StopTimeout": math.ceil(spec.stop_grace),
        "HostConfig": host,
    }
    told = {"Cmd": spec.command, "Entrypoint": spec.entrypoint, "User": spec.user, "StopSignal": spec.stop_signal}
    body |= {key: list(value) if isinstance(value, tuple) else value for key, value in told.items() if value}
    if spec.confinement is not None:
        host |= {
            "NetworkMode": "host",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": list(spec.confinement.capabilities),
            "SecurityOpt": ["no-new-privileges"],
        }
        body["User"] = spec.confinement.user
    return body


def _log_limits(limits: Limits) -> dict[str, str]:
    return {"max-size": str(limits.log_bytes or LOG_BYTES), "max-file": str(limits.log_files or LOG_FILES)}


def _mount(mount: Mount) -> dict[str, Any]:
    kind = "volume" if mount.volume else "bind"
    return {"Type": kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}


def _confinement(spec: ContainerSpec) -> dict[str, Any]:
    """The part of HostConfig that shuts the container in or lets it out; nothing where nothing was said."""
    found = {
        "ReadonlyRootfs": spec.read_only,
        "Privileged": spec.privileged,
        "NetworkMode": spec.network_mode,
        "CapAdd": list(spec.cap_add or ()),
        "CapDrop": list(spec.cap_drop or ()),
        "Tmpfs": {each.path: _tmpfs_options(each) for each in spec.tmpfs or ()},
        "Ulimits": [
            {"Name": each.name, "Soft": each.soft, "Hard": each.soft if each.hard is None else each.hard}
            for each in spec.ulimits or ()
        ],
        "Devices": [
            {
                "PathOnHost": each.host_path,
                "PathInContainer": each.container_path or each.host_path,
                "CgroupPermissions": each.permissions,
            }
            for each in spec.devices or ()
        ],
    }
    return {key: value for key, value in found.items() if value}


def _tmpfs_options(tmpfs: Tmpfs) -> str:
    size = "" if tmpfs.size_bytes is None else f"size={tmpfs.size_bytes}"
    return ",".join(filter(None, (size, f"mode={tmpfs.mode}" if tmpfs.mode else "")))


def _bindings(ports: tuple[PortMapping, ...]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        host_port = "" if port.host_port is None else str(port.host_port)
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(
            {"HostIp": port.host_ip or "", "HostPort": host_port}
        )
    return found


def container_of(shown: Mapping[str, Any]) -> Container:
    """A container from `GET /containers/{id}/json`."""
    state, config = shown["State"], shown["Config"]
    ended = state["Status"] in ("exited", "dead")
    grace = config.get("StopTimeout")
    return Container(
        id=shown["Id"],
        name=shown["Name"].lstrip("/"),
        image=config["Image"],
        labels=config.get("Labels") or {},
        state=state["Status"],
        created_at=shown["Created"],
        started_at=_time(state.get("StartedAt")),
        finished_at=_time(state.get("FinishedAt")) if ended else None,
        exit_code=state.get("ExitCode") if ended else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or None,
        address=_address(shown),
        host_network=(shown.get("HostConfig") or {}).get("NetworkMode") == "host",
        ports=tuple(_published((shown.get("NetworkSettings") or {}).get("Ports") or {})),
        stop_grace=DEFAULT_STOP_GRACE if grace is None else float(grace),
        pid=state.get("Pid") or None,
    )


def _time(text: str | None) -> str | None:
    return None if not text or text == NEVER else text


def _address(shown: Mapping[str, Any]) -> str | None:
    """
    The address on the first network that has one; the field at the top is gone since API 1.52.

    A container that has the node's own network is reached on loopback.
    """
    if (shown.get("HostConfig") or {}).get("NetworkMode") == "host":
        return "127.0.0.1" if shown["State"]["Status"] == "running" else None
    network = shown.get("NetworkSettings") or {}
    for each in (network.get("Networks") or {}).values():
        if each.get("IPAddress"):
            return str(each["IPAddress"])
    return None


def _published(ports: Mapping[str, Any]) -> Iterator[PortMapping]:
    """One mapping a port: Docker lists the wildcards of IPv4 and IPv6 as two."""
    seen = set()
    for key, bindings in sorted(ports.items()):
        number, _, protocol = key.partition("/")
        for each in bindings or ():
            mapping = PortMapping(
                container_port=int(number),
                host_port=int(each["HostPort"]) or None,
                protocol=protocol or "tcp",
                host_ip=each.get("HostIp") or None,
            )
            if mapping not in seen:
                seen.add(mapping)
                yield mapping


def event_of(shown: Mapping[str, Any]) -> RuntimeEvent | None:
    """An event from `GET /events`, None for those nobody here wants."""
    actor = shown.get("Actor") or {}
    action = str(shown.get("Action", ""))
    if action == "kill" and str((actor.get("Attributes") or {}).get("signal", "9")) in KILLING:
        return RuntimeEvent(kind="halt", container_id=str(actor.get("ID", "")))
    kind = KINDS.get(action)
    return None if kind is None else RuntimeEvent(kind=kind, container_id=str(actor.get("ID", "")))


def log_entries(stream: str, frame: bytes) -> Iterator[LogEntry]:
    """One frame of `GET /containers/{id}/logs?timestamps=1`: time, blank, text; long texts are cut into pieces."""
    stamp, _, text = frame.partition(b" ")
    time = stamp.decode("ascii", "replace").strip()
    text = text.removesuffix(b"\n")
    for start in range(0, max(1, len(text)), MAX_PIECE):
        piece = text[start : start + MAX_PIECE].decode("utf-8", "replace")
        yield LogEntry(stream=stream, time=time, line=piece.removesuffix("\r"))


def usage_of(shown: Mapping[str, Any]) -> Usage | None:
    """
    Counters from `GET /containers/{id}/stats?stream=0&one-shot=1`, None for a container that does not run.

    Page cache that the kernel would drop first is no use of memory: `inactive_file` of cgroup v2, `total_inactive_file`
    of v1, as `docker stats` reckons.
    """
    memory = shown.get("memory_stats") or {}
    if not memory.get("usage"):
        return None
    details = memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    networks = (shown.get("networks") or {}).values()
    blocks = (shown.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return Usage(
        at=_seconds(shown["read"]),
        cpu_seconds=shown["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory_bytes=max(0, memory["usage"] - cache),
        network_rx_bytes=sum(each["rx_bytes"] for each in networks),
        network_tx_bytes=sum(each["tx_bytes"] for each in networks),
        blk_read_bytes=sum(each["value"] for each in blocks if each["op"].lower() == "read"),
        blk_write_bytes=sum(each["value"] for each in blocks if each["op"].lower() == "write"),
    )


def log_bound(stamp: str) -> str:
    """RFC 3339 to the `seconds.nanoseconds` that Docker wants; InvalidSpec for what is no time."""
    found = RFC3339.fullmatch(stamp.strip().upper())
    if found is None:
        raise InvalidSpec("since", f"{stamp[:60]!r} is not a time such as 2026-11-25T12:00:00Z")
    day, clock, fraction, offset = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset == 'Z' else offset}")
    except ValueError:
        raise InvalidSpec("since", f"{stamp[:60]!r} is not a time such as 2026-11-25T12:00:00Z") from None
    return f"{int(moment.timestamp())}.{(fraction or '').ljust(9, '0')[:9]}"


def _seconds(stamp: str) -> float:
    """Docker's own RFC 3339 stamps as seconds since the epoch; microseconds are enough here."""
    return float(log_bound(stamp))
