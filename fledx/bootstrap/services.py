"""The steps about what runs: units, the engine, and the containers of a node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fledx.bootstrap.layout import Layout, Role, cache_dir, run_dir, unit_name
from fledx.bootstrap.steps import RemoveTree, Step


@dataclass(frozen=True, kw_only=True)
class ReadUnits(Step):
    """Have systemd read its unit files anew, where an earlier run was cut off before it could."""

    @property
    def line(self) -> str:
        return "have systemd read its units"

    def script(self) -> str:
        return "systemctl daemon-reload\n"


@dataclass(frozen=True, kw_only=True)
class StartUnit(Step):
    """
    Start or restart the role and have it started at boot; done when the role says that it is ready.

    What it says when it fails is what the journal has of this attempt.
    """

    role: Role
    restart: bool = False
    was_enabled: bool = False
    limit: float = dataclasses.field(default=150.0, repr=False)

    @property
    def line(self) -> str:
        return f"{'restart' if self.restart else 'enable and start'} {unit_name(self.role)}"

    def script(self) -> str:
        name = unit_name(self.role)
        return (
            f"systemctl enable --quiet {name}\n"
            f"systemctl reset-failed {name} 2>/dev/null || true\n"
            "since=$(date '+%Y-%m-%d %H:%M:%S')\n"
            f"if ! systemctl restart {name} 2>/dev/null; then\n"
            f'  journalctl --unit {name} --since "$since" --lines 12 --no-pager --output cat >&2\n'
            "  exit 1\n"
            "fi\n"
        )

    def undo(self) -> tuple[Step, ...]:
        """One that ran before is restarted at the very end of undoing (`RestartUnit`), when its files are back."""
        if self.restart:
            return ()
        return (
            StopUnit(role=self.role, disable=not self.was_enabled, reason="it did not run before"),
            RemoveTree(path=cache_dir(self.role), reason="made by the service"),
            RemoveTree(path=run_dir(self.role), reason="made by the service"),
        )


@dataclass(frozen=True, kw_only=True)
class AwaitJoin(Step):
    """Wait until the agent has an identity of its own, then remove what let it in; else say what the journal says."""

    layout: Layout
    patience: int = 60
    limit: float = dataclasses.field(default=90.0, repr=False)

    @property
    def line(self) -> str:
        return "have it join the control plane"

    def script(self) -> str:
        identity, name = f"{self.layout.role_data('agent')}/identity.json", unit_name("agent")
        return (
            f"i=0; while [ ! -s {identity} ]; do\n"
            f"  i=$((i + 1)); if [ $i -gt {self.patience * 10} ] || systemctl is-failed --quiet {name}; then\n"
            f"    journalctl --unit {name} --lines 6 --no-pager --output cat >&2\n"
            "    exit 1\n"
            "  fi\n"
            "  sleep 0.1\n"
            "done\n"
            f"rm -f {self.layout.join_file}\n"
        )


@dataclass(frozen=True, kw_only=True)
class RestartUnit(Step):
    """Restart what ran before, now that its files are as they were."""

    role: Role
    limit: float = dataclasses.field(default=150.0, repr=False)

    @property
    def line(self) -> str:
        return f"restart {unit_name(self.role)}"

    def script(self) -> str:
        name = unit_name(self.role)
        return f"systemctl reset-failed {name} 2>/dev/null || true\nsystemctl restart {name}\n"


@dataclass(frozen=True, kw_only=True)
class StopUnit(Step):
    """Stop the role, and have it no longer started at boot if so said."""

    role: Role
    disable: bool

    @property
    def line(self) -> str:
        return f"{'stop and disable' if self.disable else 'stop'} {unit_name(self.role)}"

    def script(self) -> str:
        name = unit_name(self.role)
        verb = "disable --quiet --now" if self.disable else "stop"
        return (
            f"if systemctl cat {name} >/dev/null 2>&1; then systemctl {verb} {name} 2>/dev/null; fi\n"
            f"systemctl reset-failed {name} 2>/dev/null || true\n"
        )


@dataclass(frozen=True, kw_only=True)
class InstallDocker(Step):
    """
    Install the engine of the host's distribution if `install` says how, and have it run.

    It is not undone: a package manager leaves no half-made engine, and others may use it by then.
    """

    install: str = dataclasses.field(default="", repr=False)
    limit: float = dataclasses.field(default=900.0, repr=False)

    @property
    def line(self) -> str:
        return "install Docker from the host's distribution" if self.install else "start Docker"

    def script(self) -> str:
        return (
            f"{self.install}systemctl enable --quiet --now docker\n"
            "i=0; while [ ! -S /var/run/docker.sock ]; do\n"
            '  i=$((i + 1)); [ $i -lt 60 ] || { echo "Docker has no socket" >&2; exit 1; }; sleep 0.5\n'
            "done\n"
        )


REMOVE = r"""
import json, socket, sys
def ask(method, path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect("/var/run/docker.sock")
    s.sendall(("%s %s HTTP/1.0\r\n\r\n" % (method, path)).encode())
    head, _, body = b"".join(iter(lambda: s.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), body
wanted = "%7B%22label%22%3A%5B%22fledx.node_id%3D{node_id}%22%5D%7D"
failed = 0
for each in json.loads(ask("GET", "/containers/json?all=1&filters=" + wanted)[1]):
    code, body = ask("DELETE", "/containers/%s?force=1&v=1" % each["Id"])
    if code not in (204, 404, 409):
        print(body.decode(errors="replace"), file=sys.stderr)
        failed = 1
sys.exit(failed)
"""


@dataclass(frozen=True, kw_only=True)
class RemoveContainers(Step):
    """Remove the containers of one node, known by their label; those of others on the same engine stay."""

    python: str
    node_id: str
    limit: float = dataclasses.field(default=300.0, repr=False)

    @property
    def line(self) -> str:
        return f"remove the containers of node {self.node_id}"

    def script(self) -> str:
        return f"exec {self.python} -IS -c '{REMOVE.format(node_id=self.node_id)}'\n"
