"""`fledx support-bundle`: what a bug report needs, in one file, without a secret."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def flags(parser: Parser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="where to write it [fledx-support-TIME.tar.gz]")


def run(args: Namespace, terminal: Terminal) -> int:
    import time
    from pathlib import Path

    from fledx.cli.commands.doctor import operator
    from fledx.cli.views.text import counted, harmless
    from fledx.doctor.run import pack

    usual = time.strftime("fledx-support-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime(terminal.now()))
    target = Path(args.file or usual)
    found = pack(terminal.environ, target, operator=operator(args, terminal))
    terminal.data(str(target))
    wrong = sum(each.level != "ok" for each in found)
    told = f"with {counted(wrong, 'finding')} of the doctor" if wrong else "the doctor found nothing wrong"
    terminal.say(f"{harmless(target)} written, {told}; look into it before you send it: `tar tzf {harmless(target)}`")
    return 0


VERB = Verb(run, "what a bug report needs, in one file, without a secret", flags)
