"""`fledx usage`: what replicas use."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

RANGE_SECONDS = 900.0


def list_flags(parser: Parser) -> None:
    complete("deployment", parser.add_argument("--deployment", metavar="NAME", help="of this deployment"))
    complete("node", parser.add_argument("--node", metavar="NAME", help="on this node"))
    parser.add_argument("--replica", metavar="N", type=types.whole, help="of this replica only")
    parser.add_argument(
        "--range", metavar="TIME", type=types.some_seconds, default=RANGE_SECONDS, help="how far back, as 30m [15m]"
    )
    parser.add_argument("--limit", metavar="N", type=types.count, default=50, help="at most so many [50]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.usage import filter_words, usage_table

    if args.deployment is None and args.node is None:
        raise InvalidSpec("", "whose usage? Give --deployment, --node or both")
    query = {"deployment": args.deployment, "node": args.node, "replica": args.replica}
    page = connect(args, terminal).usage(
        {**query, "since": f"{int(args.range) or 1}s"}, limit=args.limit, offset=args.offset
    )
    if is_document(args):
        terminal.data(document(page.encoded(), args.output))
    elif page.items:
        terminal.data(usage_table(page.items, wide=args.output == "wide", columns=terminal.width))
        if page.total > args.offset + len(page.items):
            terminal.say(f"{len(page.items)} of {page.total} minutes; --limit and --offset show others")
    else:
        terminal.say(f"no usage data: {filter_words(query, args.range)}")
    return 0


VERBS = {"list": Verb(list_them, "CPU, memory and network of replicas, minute by minute, newest first", list_flags)}
ALIASES = {"ls": "list", "show": "list"}
