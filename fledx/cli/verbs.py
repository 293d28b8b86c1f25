"""What a command is, before it runs: a line of help, its flags, and the function to call."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal

Run = Callable[[Namespace, Terminal], int]
Flags = Callable[[Parser], None]


def no_flags(parser: Parser) -> None:
    """A command without flags of its own."""


class Verb:
    """
    One command.

    `run` gets the parsed flags and the terminal and returns the exit code. `connects` adds the flags that say which
    control plane and how to print; `rest` lets everything after `--` arrive as `args.rest`.
    """

    def __init__(
        self,
        run: Run,
        help: str,
        flags: Flags = no_flags,
        *,
        connects: bool = True,
        rest: bool = False,
        epilog: str = "",
    ) -> None:
        self.run = run
        self.help = help
        self.flags = flags
        self.connects = connects
        self.rest = rest
        self.epilog = epilog
