"""Backups of a control plane on this machine: taken, and put back."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from fledx.cli.terminal import Terminal
from fledx.cli.views.text import harmless, size
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.settings.declare import load


def back_up(args: Namespace, terminal: Terminal) -> int:
    """Take a backup, and say what is in it and what is not."""
    from fledx.control_plane import run

    made = run.back_up(_places(args, terminal), Path(args.file), environ=terminal.environ, with_keys=args.with_keys)
    terminal.say(f"backup taken and checked: {harmless(made.path)}, {size(made.size)}")
    if made.keys:
        terminal.say("it holds keys and tokens: keep it as you keep those")
    else:
        terminal.say("its keys are not in it: keep ca.pem, ca.key, pepper and secrets.key of the data directory, too")
    return 0


def bring_back(args: Namespace, terminal: Terminal) -> int:
    """Put a backup back, and say what is still missing."""
    from fledx.control_plane import run

    done = run.put_back(_places(args, terminal), Path(args.file), environ=terminal.environ, force=args.force)
    made = f", as it was at {harmless(done.made_at)}" if done.made_at else ""
    terminal.say(f"restored to {harmless(done.database)}{made}")
    if done.aside is not None:
        terminal.say(f"what was there before is now {harmless(done.aside)}")
    if done.missing:
        terminal.say(
            f"not there: {', '.join(done.missing)}. Copy them to {harmless(done.database.parent)} before the start; "
            "without them nodes have to join again, tokens are void, and secrets have to be set again"
        )
    where = (("--data-dir", args.data_dir), ("--database-url", args.database_url))
    flags = "".join(f" {flag} {shlex.quote(harmless(value))}" for flag, value in where if value)
    terminal.say(f"start it with `fledx cp{flags}`; its nodes come back by themselves")
    return 0


def _places(args: Namespace, terminal: Terminal) -> ControlPlaneSettings:
    """The settings, as far as they say where everything lies."""
    return load(ControlPlaneSettings, terminal.environ, {"data_dir": args.data_dir, "database_url": args.database_url})
