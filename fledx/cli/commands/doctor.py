"""`fledx doctor`: what usually goes wrong on this machine, and what mends it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb

ROLES = ("cp", "agent", "operator")


def flags(parser: Parser) -> None:
    parser.add_argument("role", nargs="?", choices=ROLES, help="look only as this [as all that this machine is]")


def run(args: Namespace, terminal: Terminal) -> int:
    from dataclasses import asdict

    from fledx.cli.output import document, is_document
    from fledx.cli.views.doctor import findings_screen
    from fledx.doctor.run import examine

    found = examine(terminal.environ, role=args.role, operator=operator(args, terminal))
    if is_document(args):
        terminal.data(document({"items": [asdict(each) for each in found]}, args.output))
    else:
        terminal.data(findings_screen(found, colour=terminal.colour))
    return 1 if any(each.level == "bad" for each in found) else 0


def operator(args: Namespace, terminal: Terminal) -> dict[str, Any]:
    """How commands reach the control plane, or why they cannot."""
    from fledx.cli import profiles
    from fledx.cli.target import resolve
    from fledx.errors import FledxError

    try:
        found = resolve(args, terminal.environ)
        return {
            "url": str(found.address),
            "headers": found.credentials.operator(),
            "ca_path": found.ca_path,
            "profiles": profiles.path(terminal.environ),
        }
    except FledxError as fault:
        return {"broken": fault.text}


VERB = Verb(run, "what usually goes wrong on this machine, and what mends it", flags)
