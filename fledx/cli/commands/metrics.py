"""`fledx metrics`: what is asked of the control plane."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def show_flags(parser: Parser) -> None:
    parser.add_argument("--limit", metavar="N", type=types.up_to(100), help="the most frequent so many, 1 to 100 [16]")


def show(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.usage import request_table

    found = connect(args, terminal).requests({"limit": args.limit})
    if is_document(args):
        terminal.data(document(found, args.output))
    elif found["items"]:
        terminal.data(request_table(found["items"], columns=terminal.width))
        terminal.say(f"requests of the last {found['window_secs']} seconds")
    else:
        terminal.say(f"nothing was asked in the last {found['window_secs']} seconds")
    return 0


VERBS = {"show": Verb(show, "requests of the last minute by method, path and status", show_flags)}
ALIASES = {"list": "show", "ls": "show"}
