"""`fledx forward`: ports of this machine that lead into a replica."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb

EPILOG = """\
Goes on until Ctrl-C, over restarts of the control plane too. Nothing needs to be published: REMOTE is the
container's own port.

examples:
  fledx forward web 8080:80
  fledx forward db/0 0:5432 127.0.0.2:9000:9000"""


def flags(parser: Parser) -> None:
    place = parser.add_argument("ref", metavar="NAME[/REPLICA]", help="which deployment; any replica that is ready")
    complete("deployment", place)
    parser.add_argument(
        "ports",
        metavar="[ADDRESS:]LOCAL:REMOTE",
        nargs="+",
        help="a port here [127.0.0.1], 0 for any free one, and the container's; one number stands for both",
    )
    parser.add_argument("--replica", metavar="N", type=types.whole, help="only this replica")


def run(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import forwarding

    return forwarding.run(args, terminal)


VERB = Verb(run, "ports of this machine that lead into a replica", flags, epilog=EPILOG)
