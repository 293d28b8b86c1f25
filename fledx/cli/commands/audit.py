"""`fledx audit`: who did what."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb

FILTERS = ("action", "operator", "status", "since", "until")
PATIENCE_SECONDS = 2.0


def list_flags(parser: Parser) -> None:
    parser.add_argument("--action", metavar="ACTION", help="only this, as deployment.create, or all of one: deployment")
    parser.add_argument("--operator", metavar="NAME", help="only what was done with the token of this name")
    parser.add_argument("--on", metavar="NAME", help="only what was done to the thing of this name")
    parser.add_argument("--status", choices=("success", "failure"), help="only what was done, or only what was not")
    parser.add_argument("--since", metavar="TIME", type=types.moment, help="from this time on, or so long ago: 2h")
    parser.add_argument("--until", metavar="TIME", type=types.moment, help="up to this time, or so long ago")
    parser.add_argument("--limit", metavar="N", type=types.count, default=50, help="the newest so many [50]")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is done, until Ctrl-C")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.access import audit_table

    api = connect(args, terminal)
    query = {"name": args.on, **{name: getattr(args, name) for name in FILTERS}}
    page = api.audit(query, limit=args.limit)
    if args.follow:
        return _follow(args, terminal, query, page.items[::-1])
    if is_document(args):
        terminal.data(document(page.encoded(), args.output))
    elif page.items:
        wide = args.output == "wide"
        terminal.data(audit_table(page.items[::-1], terminal.now(), wide=wide, columns=terminal.width))
    else:
        terminal.say("nothing of that kind was done")
    return 0


def _follow(args: Namespace, terminal: Terminal, query: dict[str, Any], items: list[dict[str, Any]]) -> int:
    """Lines as they are written; looked for anew every two seconds, over restarts of the control plane."""
    from fledx.cli.output import is_document
    from fledx.cli.target import connect
    from fledx.cli.views.access import audit_line
    from fledx.cli.views.documents import as_json_line
    from fledx.errors import Unavailable

    after = 0
    while True:
        for item in items:
            after = max(after, int(item["number"]))
            terminal.data(as_json_line(item) if is_document(args) else audit_line(item))
        terminal.sleep(PATIENCE_SECONDS)
        try:
            items = connect(args, terminal).audit({**query, "after": after}).items
        except Unavailable as fault:
            terminal.say(f"{fault.text}; trying again")
            items = []


def verify(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.access import verdict

    found = connect(args, terminal).verify_audit()
    if is_document(args):
        terminal.data(document(found, args.output))
    elif found["intact"]:
        terminal.data(verdict(found))
    else:
        terminal.complain(verdict(found))
    return 0 if found["intact"] else 1


VERB = Verb(
    list_them,
    "who did what, from where, and what changed",
    list_flags,
    epilog="`fledx audit verify` checks that no line was changed or removed.",
)
VERBS = {
    "list": VERB,
    "verify": Verb(verify, "whether no line was changed or removed; exit 1 if one was"),
}
ALIASES = {"ls": "list", "logs": "list", "check": "verify"}
