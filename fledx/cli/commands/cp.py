"""`fledx cp`: run the control plane."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def flags(parser: Parser) -> None:
    from fledx.cli.roles import add_settings
    from fledx.settings.control_plane import ControlPlaneSettings

    parser.add_argument(
        "--migrations-dry-run", action="store_true", help="list what a start would change in the database"
    )
    parser.add_argument("--json-logs", action="store_true", help="log one JSON object a line")
    add_settings(parser, ControlPlaneSettings)


def run(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.logs import set_up
    from fledx.cli.roles import settings_of
    from fledx.settings.control_plane import ControlPlaneSettings

    settings = settings_of(args, terminal, ControlPlaneSettings)
    set_up(terminal.environ, json_lines=args.json_logs)
    from fledx.control_plane.run import main

    return main(settings, environ=terminal.environ, dry_run=args.migrations_dry_run)


VERB = Verb(run, "run the control plane", flags, connects=False)
