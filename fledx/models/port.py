"""Ports a deployment publishes on the node that runs it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from fledx.errors import InvalidSpec
from fledx.models.check import Faults, shown

PROTOCOLS = ("tcp", "udp")
WILDCARDS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, kw_only=True)
class PortMapping:
    """
    One container port, published on a port of the node.

    ``host_port`` is None until the scheduler has chosen one, so that replicas of one deployment can share a node.
    ``host_ip`` None is every address of the node. ``endpoint`` is only ever shown: ``host:port`` of an exposed port.
    """

    container_port: int
    host_port: int | None = None
    protocol: str = "tcp"
    host_ip: str | None = None
    expose: bool = False
    endpoint: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        for field in ("container_port", "host_port"):
            port = getattr(self, field)
            if port is not None and not 1 <= port <= 65535:
                faults.add(field, f"{port} is not between 1 and 65535")
        object.__setattr__(self, "protocol", self.protocol.lower())
        if self.protocol not in PROTOCOLS:
            faults.add("protocol", f"{shown(self.protocol)} is not tcp or udp")
        if self.host_ip is not None:
            faults.add("host_ip", self._settle_address(self.host_ip.strip()))
        faults.settle()

    def _settle_address(self, text: str) -> str | None:
        """Bring the address into its one form; the wildcards mean every address, hence None."""
        if text in WILDCARDS[1:]:
            object.__setattr__(self, "host_ip", None)
            return None
        try:
            object.__setattr__(self, "host_ip", str(ipaddress.ip_address(text)))
        except ValueError:
            return f"{shown(text)} is not an IP address"
        return None

    @classmethod
    def parse(cls, text: str) -> PortMapping:
        """
        Read the command line form ``[[IP:]HOST:]CONTAINER[/PROTOCOL][,expose[=true|false]]``.

        ``80``, ``:80`` and ``auto:80`` leave the host port to fledx. An IPv6 address stands in brackets.
        """
        mapping, *options = text.split(",")
        ports, _, protocol = mapping.partition("/")
        address, host, container = _split(ports, text)
        return cls(
            container_port=_number(container, text),
            host_port=None if host.lower() in ("", "auto") else _number(host, text),
            protocol=protocol or "tcp",
            host_ip=address,
            expose=_exposed(options, text),
        )

    def __str__(self) -> str:
        address = f"[{self.host_ip}]:" if self.host_ip and ":" in self.host_ip else f"{self.host_ip}:"
        host = "auto" if self.host_port is None else str(self.host_port)
        return f"{address if self.host_ip else ''}{host}->{self.container_port}/{self.protocol}"


def container_ports(ports: Iterable[PortMapping]) -> tuple[int, ...]:
    """The container ports of TCP among them, each once: those that a rule without a port may mean."""
    return tuple(dict.fromkeys(port.container_port for port in ports if port.protocol == "tcp"))


def _split(ports: str, text: str) -> tuple[str | None, str, str]:
    address: str | None = None
    if ports.startswith("["):
        address, bracket, ports = ports[1:].partition("]")
        if not bracket or not ports.startswith(":"):
            raise _unreadable(text)
        ports = ports[1:]
    parts = ports.split(":")
    if address is None and len(parts) == 3:
        address, *parts = parts
        if not address:
            raise _unreadable(text)
    if len(parts) == 1 and address is None:
        return None, "", parts[0]
    if len(parts) != 2:
        raise _unreadable(text)
    return address, parts[0], parts[1]


def _number(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise _unreadable(text)
    return int(digits[:9])


def _exposed(options: list[str], text: str) -> bool:
    for option in options:
        if option not in ("expose", "expose=true", "expose=false"):
            raise InvalidSpec("port", f"{shown(option)} in {shown(text)} is not 'expose' or 'expose=true|false'")
    return bool(options) and options[-1] != "expose=false"


def _unreadable(text: str) -> InvalidSpec:
    return InvalidSpec(
        "port", f"{shown(text)} is not [[IP:]HOST:]CONTAINER[/PROTOCOL], such as 80, 8080:80 or 53:53/udp"
    )
