"""Where a host name of the command line leads, by the operator's own ~/.ssh/config."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fledx.errors import InvalidSpec

USER_CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = "/etc/ssh/ssh_config"
MAX_INCLUDES = 16
TARGET = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@\s:\[\]]+|[0-9A-Fa-f:.]+)(?::(?P<port>\d+))?"
)


@dataclass(frozen=True, kw_only=True)
class SshOptions:
    """How to log in; what is None is left to ~/.ssh/config and its defaults."""

    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    interactive: bool = False
    connect_timeout: float = 10.0
    host_keys: str = "accept-new"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the operator wrote after --ssh-host: ``[user@]host[:port]``, where host may be an alias."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        match = TARGET.fullmatch(text.strip())
        if match is None:
            raise InvalidSpec("--ssh-host", f"{text!r} is not [USER@]HOST[:PORT]")
        if text.strip().startswith("-"):
            raise InvalidSpec("--ssh-host", f"{text!r} looks like a flag")
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 1 <= port <= 65535:
            raise InvalidSpec("--ssh-host", f"{port} is not a port")
        return cls(host=match["host"].strip("[]"), user=match["user"], port=port)

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host


@dataclass(frozen=True, kw_only=True)
class Route:
    """One hop as it will be dialled: what ssh_config says of it, resolved."""

    address: str
    port: int
    user: str
    key_name: str
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    known_hosts: tuple[str, ...] = ()
    hash_known_hosts: bool = False
    jumps: tuple[str, ...] = ()
    command: str | None = None


def config_text(home: str) -> str:
    """The operator's and the system's ssh_config in one text, with their Includes in place."""
    own = os.path.join(home, USER_CONFIG[2:])
    return _expanded(own, os.path.dirname(own), home, 0) + "\nHost *\n" + _expanded(SYSTEM_CONFIG, "/etc/ssh", home, 0)


def _expanded(path: str, base: str, home: str, depth: int) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    found: list[str] = []
    for line in lines:
        words = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if words[0].lower() != "include" or len(words) < 2 or depth == MAX_INCLUDES:
            found.append(line)
            continue
        for pattern in shlex.split(words[1]):
            pattern = home + pattern[1:] if pattern.startswith("~/") else pattern
            for each in sorted(glob.glob(os.path.join(base, pattern))):
                found.append(_expanded(each, base, home, depth + 1))
    return "\n".join(found)


def route(target: Target, found: dict[str, object], options: SshOptions, *, home: str, login: str) -> Route:
    """
    The hop to `target`; `found` is what ssh_config says of it, in paramiko's form: lower-case keys, texts and lists.

    A flag wins over the target's text, which wins over ssh_config.
    """

    def word(key: str) -> str | None:
        value = found.get(key)
        return str(value[0] if isinstance(value, list) and value else value) if value else None

    def paths(key: str) -> tuple[str, ...]:
        value = found.get(key) or []
        texts: Sequence[object] = value if isinstance(value, list) else shlex.split(str(value))
        expanded = (home + str(path)[1:] if str(path).startswith("~/") else str(path) for path in texts)
        return tuple(path for path in expanded if path.lower() != "none")

    address = word("hostname") or target.host
    port = options.port or target.port or int(word("port") or 22)
    jump = word("proxyjump")
    command = word("proxycommand")
    known = paths("userknownhostsfile") or (f"{home}/.ssh/known_hosts", f"{home}/.ssh/known_hosts2")
    identities = (os.path.expanduser(options.identity_file),) if options.identity_file else paths("identityfile")
    return Route(
        address=address,
        port=port,
        user=options.user or target.user or word("user") or login,
        key_name=word("hostkeyalias") or address,
        identity_files=identities,
        identities_only=word("identitiesonly") == "yes" and options.identity_file is None,
        known_hosts=(*known, "/etc/ssh/ssh_known_hosts"),
        hash_known_hosts=word("hashknownhosts") == "yes",
        jumps=tuple(jump.split(",")) if jump and jump.lower() != "none" else (),
        command=command if command and command.lower() != "none" else None,
    )


def for_jump(options: SshOptions) -> SshOptions:
    """The options that hold for a host on the way too: those for the last one only are left out."""
    return dataclasses.replace(options, user=None, port=None, identity_file=None)
