"""`fledx demo`: a control plane, nodes and an app on this machine, to try."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def flags(parser: Parser) -> None:
    parser.add_argument("--check", action="store_true", help="do the whole story once, verify each step, and end")


def run(args: Namespace, terminal: Terminal) -> int:
    from fledx.demo.run import main

    return main(check=args.check)


VERB = Verb(run, "a control plane, nodes and an app on this machine, to try", flags, connects=False)
