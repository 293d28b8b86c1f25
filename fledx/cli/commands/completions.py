"""`fledx completions SHELL`: what a shell has to read so that TAB completes commands, flags and live names."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import completion
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

EPILOG = """\
bash:  eval "$(fledx completions bash)"    in ~/.bashrc, or the text as a file
       ~/.local/share/bash-completion/completions/fledx
zsh:   fledx completions zsh > ~/.zfunc/_fledx    (a directory of $fpath), or eval after compinit
fish:  fledx completions fish > ~/.config/fish/completions/fledx.fish"""


def flags(parser: Parser) -> None:
    parser.add_argument("shell", metavar="SHELL", nargs="?", choices=completion.SHELLS, help="bash, zsh or fish")


def run(args: Namespace, terminal: Terminal) -> int:
    if args.shell is None:
        raise InvalidSpec("", "which shell? bash, zsh or fish")
    terminal.data(completion.script(args.shell))
    return 0


VERB = Verb(run, "teach your shell to complete", flags, connects=False, epilog=EPILOG)
