"""The units of both roles, hardened as far as each role allows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fledx.bootstrap.layout import Layout, Role, cache_dir, user_name

DESCRIPTIONS = {"cp": "fledx control plane", "agent": "fledx node agent"}

# A fleet of 10,000 agents took the control plane 320 MiB, an agent stays far below 100; both may grow in a burst.
MEMORY_MAX = {"cp": "1G", "agent": "512M"}


@dataclass(frozen=True, kw_only=True)
class UnitWish:
    """What a unit depends on beyond its role; ``python`` None leaves the choice to the file's own header."""

    role: Role
    layout: Layout
    python: str | None = None
    low_ports: bool = False


def unit_text(wish: UnitWish, setup: str = "") -> str:
    """
    The unit file; `setup` is what `setup_of` gave for it.

    The process carries it in its environment, so that a later look can tell whether what runs is what is installed.
    """
    role, layout = wish.role, wish.layout
    environment = [f"FLEDX_CACHE_DIR={cache_dir(role)}", f"FLEDX_SETUP={setup}"]
    if wish.python:
        environment.append(f"FLEDX_PYTHON={wish.python}")
    return "\n".join(
        [
            "# Written by `fledx bootstrap`; put changes of your own into a drop-in (systemctl edit).",
            *_unit_section(role),
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={layout.role_command(role)}",
            f"EnvironmentFile={layout.env_file(role)}",
            *([f"EnvironmentFile=-{layout.join_file}"] if role == "agent" else []),
            *(f"Environment={each}" for each in environment),
            f"User={user_name(role)}",
            f"Group={user_name(role)}",
            "Restart=always",
            "RestartSec=2",
            "WatchdogSec=60",
            "TimeoutStartSec=90",
            "TimeoutStopSec=30",
            "",
            "LimitNOFILE=65536",
            "TasksMax=512",
            f"MemoryMax={MEMORY_MAX[role]}",
            # Under memory pressure the workload goes before the one who could report it.
            "OOMScoreAdjust=-500",
            "",
            *_places(wish),
            "",
            *_privileges(wish),
            "",
            *KERNEL,
            "",
            *NOT_SET[role],
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
            "[X-Fledx]",
            f"BinDir={layout.bin_dir}",
            f"ConfigDir={layout.config_dir}",
            f"DataDir={layout.data_dir}",
            "",
        ]
    )


def setup_of(wish: UnitWish, env: str, archive_digest: str) -> str:
    """Names one exact installation: unit, env file and archive; 16 hexadecimal digits."""
    text = "\0".join((unit_text(wish), env, archive_digest))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _unit_section(role: Role) -> list[str]:
    engine = [] if role == "cp" else ["Wants=docker.service", "After=docker.service"]
    return [
        "[Unit]",
        f"Description={DESCRIPTIONS[role]}",
        "Wants=network-online.target",
        "After=network-online.target",
        *engine,
        # Never give up: a node that is alone has nobody to start it again.
        "StartLimitIntervalSec=0",
        "",
    ]


def _places(wish: UnitWish) -> list[str]:
    role, layout = wish.role, wish.layout
    written = {"cp": [layout.role_data("cp")], "agent": [layout.role_data("agent"), layout.volumes]}
    lines = [
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateMounts=yes",
        f"ReadWritePaths={' '.join(written[role])}",
        f"CacheDirectory=fledx-{role}",
        "CacheDirectoryMode=0700",
        "UMask=0077",
    ]
    if role == "agent":
        lines += [
            f"ReadWritePaths=-{layout.role_config('agent')}",
            # Secrets and sockets that running containers have mounted outlive a restart of the agent.
            "RuntimeDirectory=fledx-agent",
            "RuntimeDirectoryMode=0700",
            "RuntimeDirectoryPreserve=yes",
        ]
    return lines


def _privileges(wish: UnitWish) -> list[str]:
    capability = "CAP_NET_BIND_SERVICE" if wish.low_ports else ""
    users = (
        ["# PrivateUsers= cannot be set: a port below 1024 takes a capability of the host's own user namespace."]
        if wish.low_ports
        else ["PrivateUsers=yes"]
    )
    return [
        "NoNewPrivileges=yes",
        f"CapabilityBoundingSet={capability}",
        f"AmbientCapabilities={capability}",
        *users,
        "RestrictSUIDSGID=yes",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallErrorNumber=EPERM",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "KeyringMode=private",
        "RemoveIPC=yes",
    ]


KERNEL = [
    "PrivateDevices=yes",
    "DevicePolicy=closed",
    "PrivateIPC=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
]

NOT_SET = {
    "cp": [
        "# PrivateNetwork=, IPAddressDeny=: agents and operators come from anywhere.",
        "# RootDirectory=: Python and its libraries are the host's own.",
        "# RestrictAddressFamilies= without AF_UNIX: systemd is told through such a socket that the role is ready.",
        "# DynamicUser=: the data has to keep its owner, also for who looks at it by hand.",
    ],
    "agent": [
        "# PrivateNetwork=, IPAddressDeny=: the control plane may be anywhere, and so are the containers to probe.",
        "# RootDirectory=: Python and its libraries are the host's own.",
        "# RestrictAddressFamilies= without AF_UNIX: Docker is reached through such a socket.",
        "# DynamicUser=: the user has to be in the group that owns Docker's socket. That group is as good as root:",
        "# whoever controls this agent controls the host, whatever stands above.",
    ],
}
