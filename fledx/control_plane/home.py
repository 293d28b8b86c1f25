"""Where this control plane lives: its directory, its keys, its names, all made at the first start and then kept."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fledx.control_plane.store.database import path_of, prepare_directory
from fledx.control_plane.trust.pki import Authority, authority, server_certificate
from fledx.control_plane.trust.tokens import Endpoint, kept
from fledx.errors import Conflict
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.settings.places import control_plane_directory
from fledx.tunnel.tls import fingerprint


@dataclass(frozen=True, kw_only=True)
class Home:
    """
    What a start finds or makes.

    `operators` are pairs of token and name; `made` lists the files that are new, for the line that says where.
    """

    directory: Path
    database: Path
    authority: Authority
    names: tuple[str, ...]
    pepper: str
    operators: tuple[tuple[str, str], ...]
    endpoint: Endpoint
    made: tuple[Path, ...]

    def certificate(self, now: datetime) -> tuple[Path, Path, bool]:
        """The server's chain and key, renewed when it is time, and whether that happened now."""
        return server_certificate(self.directory, self.authority, self.names, now)


def settle(settings: ControlPlaneSettings, environ: Mapping[str, str], now: datetime) -> Home:
    """Find or make everything a start needs; Unavailable when the directory cannot be used."""
    directory = Path(settings.data_dir) if settings.data_dir else control_plane_directory(environ)
    prepare_directory(directory)
    database = path_of(settings.database_url) if settings.database_url else directory / "fledx.db"
    if database.parent != directory:
        prepare_directory(database.parent)
    ca = authority(directory, now)
    advertised = settings.tunnel_advertised_host or own_address()
    pepper, _ = (settings.tokens_pepper, False) if settings.tokens_pepper else kept(directory / "pepper")
    operators, made = _operators(settings, directory)
    return Home(
        directory=directory,
        database=database,
        authority=ca,
        names=_names(settings, advertised),
        pepper=pepper,
        operators=operators,
        endpoint=Endpoint(
            host=advertised,
            port=settings.tunnel_advertised_port,
            tls=settings.tunnel_use_tls,
            pins=(fingerprint(ca.der),) if settings.tunnel_use_tls else (),
        ),
        made=made,
    )


def _operators(settings: ControlPlaneSettings, directory: Path) -> tuple[tuple[tuple[str, str], ...], tuple[Path, ...]]:
    """The tokens of the settings, or the one that is made for the first operator."""
    if settings.operator_tokens:
        return tuple((token, f"operator-{i}") for i, token in enumerate(settings.operator_tokens, 1)), ()
    token, new = kept(directory / "operator-token")
    return ((token, "admin"),), (directory / "operator-token",) if new else ()


def _names(settings: ControlPlaneSettings, advertised: str) -> tuple[str, ...]:
    """All names the certificate must hold: loopback, this host, what is advertised, what is asked for."""
    found = ["localhost", "127.0.0.1", "::1", socket.gethostname(), own_address(), advertised, *settings.server_names]
    return tuple(dict.fromkeys(name for name in found if name and _can_be_certified(name)))


def _can_be_certified(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.isascii() and len(name) <= 253
    return True


def own_address() -> str:
    """The address this machine uses towards the world (nothing is sent), or loopback where it has no way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: routed like any other address, answered by nobody
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def raise_file_limit() -> int:
    """Allow as many open files as the system lets us; the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def lock(directory: Path) -> int:
    """Take the directory for this process; Conflict when another control plane has it. The descriptor holds it."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Conflict(
            f"another control plane runs on {directory}",
            hint="stop it, or give this one another --data-dir",
        ) from None
    return descriptor
