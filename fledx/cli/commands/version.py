"""`fledx version`: which fledx this is, and what is in it."""

from __future__ import annotations

from argparse import Namespace

from fledx import __version__, _boot
from fledx.cli.help import version_line
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def flags(parser: Parser) -> None:
    parser.add_argument("--deps", action="store_true", help="list what ships inside, with its hashes")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), help="how to print")
    parser.add_argument("--json", dest="output", action="store_const", const="json", help="the same as -o json")
    parser.add_argument("--yaml", dest="output", action="store_const", const="yaml", help="the same as -o yaml")


def run(args: Namespace, terminal: Terminal) -> int:
    if args.deps:
        from importlib.resources import files

        terminal.data((files("fledx") / "requirements.lock").read_text())
    elif args.output in ("json", "yaml"):
        from fledx.cli.output import document

        terminal.data(document({"version": __version__, "build": _boot.build_id()}, args.output))
    else:
        terminal.data(version_line())
    return 0


VERB = Verb(run, "which fledx this is", flags, connects=False)
