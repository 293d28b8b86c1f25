"""Where a role keeps its state when nobody says otherwise: one rule, which the CLI on the same machine knows too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: What bootstrap makes for the agent; on a machine without it, a user runs the agent by hand.
AGENT_CONFIG = Path("/etc/fledx/agent")


def state_directory(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/fledx`, else `~/.local/state/fledx`, else (no home, as under systemd) `/var/lib/fledx`."""
    if base := environ.get("XDG_STATE_HOME"):
        return Path(base) / "fledx"
    if home := environ.get("HOME"):
        return Path(home) / ".local" / "state" / "fledx"
    return Path("/var/lib/fledx")


def control_plane_directory(environ: Mapping[str, str]) -> Path:
    """The control plane's."""
    return state_directory(environ) / "cp"


def agent_directory(environ: Mapping[str, str]) -> Path:
    """The agent's."""
    return state_directory(environ) / "agent"


def agent_config_directory(environ: Mapping[str, str]) -> Path:
    """Where the agent keeps what must not lie with its data: its own below /etc, else the user's."""
    if os.access(AGENT_CONFIG, os.W_OK):
        return AGENT_CONFIG
    if base := environ.get("XDG_CONFIG_HOME"):
        return Path(base) / "fledx"
    if home := environ.get("HOME"):
        return Path(home) / ".config" / "fledx"
    return AGENT_CONFIG


def operator_token_file(environ: Mapping[str, str]) -> Path:
    """The token that a control plane on this machine made for its first operator."""
    return control_plane_directory(environ) / "operator-token"
