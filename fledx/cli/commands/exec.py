"""`fledx exec`: a command, or a shell, inside a replica."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb

EPILOG = """\
Ends with the command's own exit code; 255 when the link is lost, 1 when it did not start.

examples:
  fledx exec web
  fledx exec web/2 -- cat /etc/hostname
  fledx exec -T db -- pg_dump shop > shop.sql
  tar c site | fledx exec -T web -- tar x -C /srv"""


def flags(parser: Parser) -> None:
    place = parser.add_argument("ref", metavar="NAME[/REPLICA]", help="which deployment; any replica that is ready")
    complete("deployment", place)
    parser.add_argument("--replica", metavar="N", type=types.whole, help="this replica")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-T", "--no-tty", action="store_true", help="no terminal: pipes, and error output apart")
    group.add_argument("-t", "--tty", action="store_true", help="a terminal, also where the output is a pipe")
    parser.add_argument("-u", "--user", metavar="USER", help="as this user of the container, UID or UID:GID")
    parser.add_argument("-w", "--workdir", metavar="PATH", help="in this directory of the container")
    parser.add_argument(
        "-e", "--env", metavar="KEY=VALUE", action="append", type=types.pair, help="with this variable; repeatable"
    )


def run(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import execution

    return execution.run(args, terminal)


VERB = Verb(run, "a command inside a replica; without one a shell", flags, rest=True, epilog=EPILOG)
