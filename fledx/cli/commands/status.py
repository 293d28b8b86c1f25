"""`fledx status`: everything at one look, once or as it changes."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.commands import deployments, nodes
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec


def flags(parser: Parser) -> None:
    parser.add_argument("--node-status", choices=nodes.STATUSES, help="only nodes in this state")
    parser.add_argument("--deploy-status", choices=deployments.STATUSES, help="only deployments in this state")
    parser.add_argument("--nodes-only", action="store_true", help="no deployments")
    parser.add_argument("--deploys-only", action="store_true", help="no nodes")
    for flag, what in (("node", "nodes"), ("deploy", "deployments")):
        parser.add_argument(f"--{flag}-limit", metavar="N", type=types.count, help=f"at most so many {what} [all]")
        parser.add_argument(
            f"--{flag}-offset", metavar="N", type=types.whole, default=0, help="leave out so many first"
        )
    parser.add_argument("--watch", "-w", action="store_true", help="go on and show each change, until Ctrl-C")
    parser.add_argument(
        "--watch-interval", metavar="TIME", type=types.some_seconds, help="also look without a change so often [15s]"
    )


def run(args: Namespace, terminal: Terminal) -> int:
    if args.nodes_only and args.deploys_only:
        raise InvalidSpec("", "--nodes-only and --deploys-only together leave nothing")
    if args.watch and args.output in ("json", "yaml"):
        raise InvalidSpec("", "--watch cannot print documents; `fledx events --follow --json` streams changes")
    from fledx.cli import watching

    return watching.status(args, terminal)


VERB = Verb(run, "everything at one look", flags)
