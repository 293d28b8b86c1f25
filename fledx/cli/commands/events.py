"""`fledx events`: what happened, and why."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def flags(parser: Parser) -> None:
    complete("deployment", parser.add_argument("--deployment", metavar="NAME", help="only about this deployment"))
    complete("node", parser.add_argument("--node", metavar="NAME", help="only about this node"))
    parser.add_argument(
        "--kind", metavar="KIND", help="only this kind, such as replica.started, or all of one: replica"
    )
    parser.add_argument("--since", metavar="TIME", type=types.moment, help="from this time on, or so long ago: 10m")
    parser.add_argument("--limit", metavar="N", type=types.count, help="the newest so many [50; with --since all]")
    parser.add_argument("--after", metavar="NUMBER", type=types.whole, help="only those with a higher number")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C")


def run(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import watching

    return watching.events(args, terminal)


VERB = Verb(run, "what happened, and why", flags)
