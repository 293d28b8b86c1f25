"""`fledx volumes`: where the data of replicas lies, into a file, and back."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb

HELD = {"pause": "pause the replica meanwhile [so]", "stop": "stop it meanwhile", "live": "leave it running"}
EXAMPLES = """\
examples:
  fledx volumes backup db data db.tar                     the replica is paused while it is read
  fledx volumes backup db data db.tar --replica 1 --stop  stopped, where its files are whole only then
  fledx volumes restore db data db.tar                    its replica begins anew with what is in the file
"""


def list_flags(parser: Parser) -> None:
    complete("deployment", parser.add_argument("deployment", metavar="DEPLOYMENT", nargs="?", help="only of this one"))
    parser.add_argument("--sizes", action="store_true", help="have the nodes measure them, which may take its time")
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import show_list
    from fledx.cli.target import connect
    from fledx.cli.views.volumes import volume_table

    query = {"deployment": args.deployment, "sizes": args.sizes or None}
    page = connect(args, terminal).volumes(query, limit=args.limit, offset=args.offset)
    show_list(
        args,
        terminal,
        page.encoded(),
        page.items,
        lambda: volume_table(page.items, terminal.now(), sizes=args.sizes, columns=terminal.width),
    )
    return 0


def _which_flags(parser: Parser) -> None:
    complete("deployment", parser.add_argument("deployment", metavar="DEPLOYMENT", help="whose volume"))
    parser.add_argument("volume", metavar="VOLUME", help="its name in --volume NAME:PATH")
    parser.add_argument("file", metavar="FILE", help="a file of this machine")
    parser.add_argument("--replica", metavar="N", type=types.whole, help="whose volume [the only one]")


def backup_flags(parser: Parser) -> None:
    _which_flags(parser)
    group = parser.add_mutually_exclusive_group()
    for mode, text in HELD.items():
        group.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=text)
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")


def backup(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless, size
    from fledx.cli.volume_files import fetch

    query = {"replica": args.replica, "mode": args.mode}
    api = connect(args, terminal)
    found = fetch(
        lambda: api.backup_volume(args.deployment, args.volume, query), Path(args.file), terminal, force=args.force
    )
    told: dict[str, Any] = {"file": args.file, "bytes": found.size, "sha256": found.sha256}
    if is_document(args):
        terminal.data(document(told, args.output))
    else:
        terminal.say(f"{harmless(args.volume)} of {harmless(args.deployment)} is in {args.file}: {size(found.size)}")
        terminal.say(f"sha256 of its tar {found.sha256}")
    return 0


def restore_flags(parser: Parser) -> None:
    _which_flags(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def restore(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless, size
    from fledx.cli.volume_files import opened

    api = connect(args, terminal)
    with opened(Path(args.file), terminal) as (upload, found):
        what = f"volume {harmless(args.volume)} of {harmless(args.deployment)}"
        question = f"Replace what is in {what} by {size(found.size)} from {args.file}, and restart its replica?"
        if not terminal.ask(question, yes=args.yes, for_good=True):
            terminal.say("nothing was changed")
            return 1
        made = api.restore_volume(args.deployment, args.volume, {"replica": args.replica}, upload)
    if is_document(args):
        terminal.data(document(made, args.output))
    else:
        terminal.say(f"{what} is restored on {harmless(made['node'])}; its replica begins anew with it")
    return 0


VERBS = {
    "list": Verb(list_them, "volumes by name, whose they are, and on which node they lie", list_flags),
    "backup": Verb(backup, "copy a volume into a file", backup_flags, epilog=EXAMPLES),
    "restore": Verb(restore, "make a file the content of a volume", restore_flags, epilog=EXAMPLES),
}
ALIASES = {"ls": "list", "export": "backup", "import": "restore"}
