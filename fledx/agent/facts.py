"""What this machine is: told when the node joins and each time it connects."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import platform
import re
import socket
from collections.abc import Iterable
from pathlib import Path

import fledx
from fledx.models.node import Capacity, NodeFacts
from fledx.models.permission import LATER
from fledx.settings.agent import AgentSettings


def node_facts(settings: AgentSettings, directory: Path, *, name: str | None, host_key: str | None) -> NodeFacts:
    """The facts without the engine's; settings win over what the machine says."""
    return NodeFacts(
        name=settings.name or name or machine_name(),
        arch=settings.arch or platform.machine(),
        os=settings.os or platform.system().lower(),
        labels=dict(settings.labels),
        capacity=Capacity(
            cpu_millis=settings.capacity_cpu_millis or cpu_millis(),
            memory_bytes=settings.capacity_memory_bytes or memory_bytes(),
        ),
        public_ip=settings.public_ip or None,
        public_host=settings.public_host or None,
        host_key=host_key or make_host_key(directory),
        agent_version=fledx.__version__,
        port_range=settings.ports_range,
        metered=settings.metered or None,
        allows=settings.allow,
        volume_prefixes=_with_what_they_are(settings.allowed_volume_prefixes),
        knows=LATER,
    )


def _with_what_they_are(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Each directory as it is written, and where it really is, if that is elsewhere: either may stand in a spec."""
    return tuple(dict.fromkeys(form for prefix in prefixes for form in (prefix, os.path.realpath(prefix))))


def machine_name() -> str:
    """The host's name, bent into the alphabet of node names."""
    bent = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())[:63].strip("-._")
    return bent or "node"


def cpu_millis() -> int:
    """All cores that this process may use, in thousandths."""
    return len(os.sched_getaffinity(0)) * 1000


def memory_bytes() -> int | None:
    """All memory of the machine, None where it does not say."""
    with contextlib.suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def make_host_key(directory: Path) -> str:
    """
    Tells this host and data directory from every other: SHA-256 over machine-id(5) and the real path.

    So a host that joins again stays the node it was, and two agents on one host are two nodes.
    """
    machine = ""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            machine = machine or Path(path).read_text("ascii", "replace").strip()
    text = f"{machine or socket.gethostname()}\n{os.path.realpath(directory)}"
    return hashlib.sha256(text.encode()).hexdigest()


def own_address(host: str) -> str:
    """
    The address this machine has towards another, learnt without sending anything; loopback if there is none.

    For a host given by name it is the address of the default route (towards TEST-NET-1, RFC 5737): asking the DNS may
    hang for as long as the link is cut.
    """
    try:
        towards = str(ipaddress.ip_address(host))
    except ValueError:
        towards = "127.0.0.1" if host == "localhost" else "192.0.2.1"
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"
