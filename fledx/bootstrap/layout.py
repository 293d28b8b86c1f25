"""Where fledx lies on a host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fledx.errors import InvalidSpec

Role = Literal["cp", "agent"]
ROLES: tuple[Role, ...] = ("cp", "agent")
UNIT_DIRECTORY = "/etc/systemd/system"
LIMITS_FILE = "/etc/sysctl.d/60-fledx.conf"
"""Sorted before an operator's own 99-*, which wins at boot."""
ARCHIVE = re.compile(r"fledx-(?P<version>[0-9][A-Za-z0-9.+]*)-(?P<build>[0-9a-f]{8,64})\.pyz")
WORDS: Mapping[Role, str] = {"cp": "control plane", "agent": "agent"}

# No blanks, quotes or percent signs: each of these paths stands in shell scripts, unit files and env files.
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]*[A-Za-z0-9._-]")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """
    The three directories an operator chooses; all other places follow from them.

    One archive a version lies in ``bin_dir``; the link `fledx` names the one in use, `fledx-previous` the one before.
    The links `fledx-cp` and `fledx-agent` go through `fledx`, so that switching one link switches all.
    """

    bin_dir: str = "/usr/local/bin"
    config_dir: str = "/etc/fledx"
    data_dir: str = "/var/lib/fledx"

    def __post_init__(self) -> None:
        problems = [
            (f"--{name.replace('_', '-')}", f"{path!r} is not an absolute path of letters, digits and . _ - /")
            for name, path in vars(self).items()
            if not PLAIN_PATH.fullmatch(path) or ".." in path.split("/")
        ]
        if problems:
            raise InvalidSpec.of(problems)

    @property
    def command(self) -> str:
        return f"{self.bin_dir}/fledx"

    @property
    def previous(self) -> str:
        return f"{self.bin_dir}/fledx-previous"

    def archive(self, version: str, build: str) -> str:
        return f"{self.bin_dir}/fledx-{version}-{build}.pyz"

    def role_command(self, role: Role) -> str:
        return f"{self.bin_dir}/fledx-{role}"

    def env_file(self, role: Role) -> str:
        return f"{self.config_dir}/fledx-{role}.env"

    @property
    def join_file(self) -> str:
        """What lets a new agent in, in the form of an env file; gone as soon as it is used up."""
        return f"{self.config_dir}/fledx-agent.join"

    def role_config(self, role: Role) -> str:
        """What the role itself keeps apart from its data: the agent's key of its sealed state."""
        return f"{self.config_dir}/{role}"

    def role_data(self, role: Role) -> str:
        return f"{self.data_dir}/{role}"

    @property
    def volumes(self) -> str:
        """Where the volumes of workloads lie."""
        return f"{self.data_dir}/volumes"


def unit_name(role: Role) -> str:
    return f"fledx-{role}.service"


def unit_path(role: Role) -> str:
    return f"{UNIT_DIRECTORY}/{unit_name(role)}"


def user_name(role: Role) -> str:
    """The system user that runs the role; its group has the same name."""
    return f"fledx-{role}"


def cache_dir(role: Role) -> str:
    return f"/var/cache/fledx-{role}"


def run_dir(role: Role) -> str:
    return f"/run/fledx-{role}"
