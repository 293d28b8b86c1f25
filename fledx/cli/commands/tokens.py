"""`fledx tokens`: who may ask the control plane for what."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

ROLES = ("admin", "operator", "read_only")


def create_flags(parser: Parser) -> None:
    parser.add_argument("refs", metavar="NAME", nargs="?", help="whose it is, or what for")
    parser.add_argument("--name", metavar="NAME", help="the same")
    parser.add_argument("--role", choices=ROLES, default="operator", help="what it may do [operator]")
    parser.add_argument("--ttl", metavar="TIME", type=types.some_seconds, help="how long it is good, as 30d [for ever]")


def create(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless, whole_seconds

    if (name := args.refs or args.name) is None or (args.refs and args.name):
        raise InvalidSpec("", "one name, please: whose token is it, or what is it for?")
    body: dict[str, Any] = {"name": name, "role": args.role}
    if args.ttl is not None:
        body["ttl_seconds"] = args.ttl
    made = connect(args, terminal).create_token(body)
    if is_document(args):
        terminal.data(document(made, args.output))
        return 0
    terminal.data(harmless(made["token"]))
    end = made.get("expires_at")
    until = f"until {whole_seconds(end)}" if end else "until it is revoked"
    terminal.say(f"{harmless(made['name'])} is {harmless(made['role'])} {until}; the token is shown this once")
    return 0


def list_flags(parser: Parser) -> None:
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import show_list
    from fledx.cli.target import connect
    from fledx.cli.views.access import token_table

    page = connect(args, terminal).tokens(limit=args.limit, offset=args.offset)

    def screen() -> str:
        return token_table(page.items, terminal.now(), wide=args.output == "wide", columns=terminal.width)

    show_list(args, terminal, page.encoded(), page.items, screen)
    return 0


def revoke_flags(parser: Parser) -> None:
    parser.add_argument("refs", metavar="TOKEN", nargs="+", help="name, id or the beginning of the id")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def revoke(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    api = connect(args, terminal)
    if not terminal.ask(harmless(f"Revoke {', '.join(args.refs)}? Who uses it is locked out."), yes=args.yes):
        terminal.say("nothing was revoked")
        return 1
    for ref in args.refs:
        api.revoke_token(ref)
        terminal.say(f"token {harmless(ref)} revoked")
    return 0


VERBS = {
    "create": Verb(create, "a new token, shown once", create_flags),
    "list": Verb(list_them, "names, roles, ends and last uses; never a token", list_flags),
    "revoke": Verb(revoke, "lock out whoever uses it, at once", revoke_flags),
}
ALIASES = {"ls": "list", "rm": "revoke", "delete": "revoke"}
