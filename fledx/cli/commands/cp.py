"""`fledx cp`: run the control plane, take a backup of it, and put one back."""

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


def _place_flags(parser: Parser) -> None:
    parser.add_argument("--data-dir", metavar="DIR", help="where it lies (FLEDX_CP_DATA_DIR)")
    parser.add_argument("--database-url", metavar="URL", help="its database, if elsewhere (FLEDX_CP_DATABASE_URL)")


def backup_flags(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a new file")
    parser.add_argument(
        "--with-keys", action="store_true", help="put its keys in, so that the file alone brings everything back"
    )
    _place_flags(parser)


def backup(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.backups import back_up

    return back_up(args, terminal)


def restore_flags(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a backup, or a copy of the database")
    parser.add_argument("--force", action="store_true", help="put aside the database that is there, and replace keys")
    _place_flags(parser)


def restore(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.backups import bring_back

    return bring_back(args, terminal)


VERB = Verb(
    run,
    "run the control plane",
    flags,
    connects=False,
    epilog="`fledx cp backup FILE` copies it while it runs, `fledx cp restore FILE` brings it back.",
)
VERBS = {
    "backup": Verb(backup, "copy the one of this machine to a file, while it runs", backup_flags, connects=False),
    "restore": Verb(restore, "bring a control plane back from a backup", restore_flags, connects=False),
}
