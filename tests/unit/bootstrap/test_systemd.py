"""The units: what they protect, what they cannot, and how one installation is told from another."""

from __future__ import annotations

import dataclasses
import re

import pytest

from fledx.bootstrap.layout import ROLES, Layout, Role
from fledx.bootstrap.systemd import NOT_SET, UnitWish, setup_of, unit_text

MUST_HOLD = [
    "Type=notify",
    "WatchdogSec=60",
    "Restart=always",
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateUsers=yes",
    "CapabilityBoundingSet=",
    "RestrictNamespaces=yes",
    "MemoryDenyWriteExecute=yes",
    "ProtectProc=invisible",
    "SystemCallFilter=~@privileged",
    "TasksMax=512",
    "LimitNOFILE=65536",
    "UMask=0077",
]


def wish(role: Role, **changes: object) -> UnitWish:
    return dataclasses.replace(UnitWish(role=role, layout=Layout()), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ROLES)
def test_a_unit_is_watched_limited_and_hardened(role: Role) -> None:
    text = unit_text(wish(role))
    assert [] == [line for line in MUST_HOLD if not re.search(rf"^{re.escape(line)}", text, re.MULTILINE)]
    assert re.search(r"^MemoryMax=\d+[MG]$", text, re.MULTILINE)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("directive", ["PrivateNetwork", "IPAddressDeny", "RootDirectory", "AF_UNIX", "DynamicUser"])
def test_what_cannot_be_set_has_a_comment_that_says_why(role: Role, directive: str) -> None:
    assert any(directive in line for line in NOT_SET[role])
    assert all(line.startswith("# ") for line in NOT_SET[role])
    assert not re.search(rf"^{directive}=", unit_text(wish(role)), re.MULTILINE)


def test_only_a_low_port_takes_a_capability_and_says_what_it_costs() -> None:
    text = unit_text(wish("cp", low_ports=True))
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in text
    assert "# PrivateUsers= cannot be set: a port below 1024" in text
    assert "\nPrivateUsers=" not in text
    assert "AmbientCapabilities=\n" in unit_text(wish("cp"))


def test_the_agent_writes_to_its_own_places_and_knows_no_other_role() -> None:
    text = unit_text(wish("agent"))
    assert "ReadWritePaths=/var/lib/fledx/agent /var/lib/fledx/volumes\n" in text
    assert "/var/lib/fledx/cp" not in text
    assert "After=docker.service\n" in text
    assert "Requires=" not in text


def test_other_directories_go_into_the_unit_and_can_be_read_back_from_it() -> None:
    layout = Layout(bin_dir="/opt/fledx/bin", config_dir="/opt/fledx/etc", data_dir="/srv/fledx")
    text = unit_text(UnitWish(role="cp", layout=layout))
    assert "ExecStart=/opt/fledx/bin/fledx-cp\n" in text
    assert "EnvironmentFile=/opt/fledx/etc/fledx-cp.env\n" in text
    assert "BinDir=/opt/fledx/bin\nConfigDir=/opt/fledx/etc\nDataDir=/srv/fledx\n" in text


def test_a_setup_names_unit_settings_and_archive() -> None:
    same = setup_of(wish("cp"), "A=1\n", "d1")
    others = {
        setup_of(wish("agent"), "A=1\n", "d1"),
        setup_of(wish("cp"), "A=2\n", "d1"),
        setup_of(wish("cp"), "A=1\n", "d2"),
        setup_of(wish("cp", python="/usr/bin/python3.11"), "A=1\n", "d1"),
    }
    assert same == setup_of(wish("cp"), "A=1\n", "d1")
    assert 5 == len(others | {same})
    assert f"Environment=FLEDX_SETUP={same}\n" in unit_text(wish("cp"), same)
