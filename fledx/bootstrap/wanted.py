"""What an operator wants of a host, apart from what is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from fledx.bootstrap.layout import Layout, Role
from fledx.bootstrap.package import Package

DEFAULT_PORTS = {"FLEDX_CP_SERVER_PORT": 8080, "FLEDX_CP_TUNNEL_ADVERTISED_PORT": 7443}


@dataclass(frozen=True, kw_only=True)
class RoleWish:
    """
    A role's settings, as variables of its env file.

    ``given`` was said in this run and wins over what stands on the host; ``usual`` fills in what neither says. So a run
    that does not mention a setting leaves it as it is.
    """

    given: Mapping[str, str] = dataclasses.field(default_factory=dict)
    usual: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def over(self, standing: Mapping[str, str]) -> dict[str, str]:
        """The variables to be set in an env file that holds `standing`."""
        missing = {name: value for name, value in self.usual.items() if name not in standing}
        return {**missing, **self.given}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that stands in the way, and what mends it; without ``fatal`` it is only told."""

    text: str
    mend: str
    fatal: bool = True


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """
    The package that a host should run, and the roles to install there; roles that it has already come along.

    ``now`` is the operator's clock in Unix seconds; ``authorities`` are SHA-256 digests (hex) of the certificates of
    the control plane to join, ``join`` is the join string for a host that is no node yet; ``reach`` says what came of
    trying the network, None when it is well or was not tried.
    """

    package: Package
    now: float
    roles: Mapping[Role, RoleWish]
    authorities: tuple[str, ...] = ()
    join: str = dataclasses.field(default="", repr=False)
    install_docker: bool = False
    reach: Trouble | None = None


def control_plane_wish(
    layout: Layout, *, host: str, server_port: int | None = None, tunnel_port: int | None = None
) -> RoleWish:
    """A control plane that agents reach as `host`; ports of None stay what they are, at first 8080 and 7443."""
    given = {
        "FLEDX_CP_DATA_DIR": layout.role_data("cp"),
        "FLEDX_CP_TUNNEL_ADVERTISED_HOST": host,
        **({} if server_port is None else {"FLEDX_CP_SERVER_PORT": str(server_port)}),
        **({} if tunnel_port is None else {"FLEDX_CP_TUNNEL_ADVERTISED_PORT": str(tunnel_port)}),
    }
    usual = {
        "FLEDX_CP_SERVER_HOST": "0.0.0.0",
        "FLEDX_CP_SERVER_TLS": "true",
        "FLEDX_CP_SERVER_NAMES": host,
        **{name: str(port) for name, port in DEFAULT_PORTS.items()},
    }
    return RoleWish(given=given, usual=usual)


def agent_wish(
    layout: Layout,
    *,
    name: str | None = None,
    usual_name: str,
    labels: Mapping[str, str] | None = None,
    cpu_millis: int | None = None,
    memory_bytes: int | None = None,
) -> RoleWish:
    """A node; what is None stays what it is, at first the `usual_name` and nothing else."""
    given = {"FLEDX_AGENT_DATA_DIR": layout.role_data("agent"), "FLEDX_AGENT_CONFIG_DIR": layout.role_config("agent")}
    if name is not None:
        given["FLEDX_AGENT_NAME"] = name
    if labels:
        given["FLEDX_AGENT_LABELS"] = ",".join(f"{key}={value}" for key, value in labels.items())
    if cpu_millis is not None:
        given["FLEDX_AGENT_CAPACITY_CPU_MILLIS"] = str(cpu_millis)
    if memory_bytes is not None:
        given["FLEDX_AGENT_CAPACITY_MEMORY_BYTES"] = str(memory_bytes)
    usual = {"FLEDX_AGENT_NAME": usual_name, "FLEDX_AGENT_ALLOWED_VOLUME_PREFIXES": layout.volumes}
    return RoleWish(given=given, usual=usual)
