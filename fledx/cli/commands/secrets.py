"""`fledx secrets`: values that go in and are never shown again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

MAX_BYTES = 1024 * 1024


def list_flags(parser: Parser) -> None:
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import show_list
    from fledx.cli.target import connect
    from fledx.cli.views.configs import secret_table

    page = connect(args, terminal).secrets(limit=args.limit, offset=args.offset)
    show_list(
        args,
        terminal,
        page.encoded(),
        page.items,
        lambda: secret_table(page.items, terminal.now(), columns=terminal.width),
    )
    return 0


def set_flags(parser: Parser) -> None:
    complete("secret", parser.add_argument("secret", metavar="NAME", help="its name"))
    parser.add_argument(
        "--from-file", metavar="PATH", help="the value is this file, byte for byte; - is stdin, byte for byte"
    )


def set_one(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    api = connect(args, terminal)
    value = _of_file(args.from_file, terminal) if args.from_file else _typed(args.secret, terminal)
    if len(value) > MAX_BYTES:
        raise InvalidSpec("value", f"has {len(value)} bytes, and {MAX_BYTES} is the most")
    made = api.put_secret(args.secret, value)
    if is_document(args):
        terminal.data(document(made, args.output))
        return 0
    terminal.say(f"secret {harmless(made['name'])} is at version {made['version']}")
    if users := made.get("used_by"):
        terminal.say(f"{harmless(', '.join(users))} follow step by step, if it has changed")
    return 0


def _of_file(path: str, terminal: Terminal) -> bytes:
    if path == "-":
        return _stdin(terminal)
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise InvalidSpec("--from-file", f"{path} cannot be read: {problem.strerror}") from None


def _typed(name: str, terminal: Terminal) -> bytes:
    """What a person types without seeing it, or a pipe holds; the newline that ends either is not part of it."""
    if terminal.inp.isatty():
        from getpass import getpass

        value = getpass(f"Value of {name}: ").encode(errors="surrogateescape")
    else:
        value = _stdin(terminal).removesuffix(b"\n")
    if not value:
        raise InvalidSpec("value", "is empty", hint="give it on stdin, or with --from-file")
    return value


def _stdin(terminal: Terminal) -> bytes:
    raw = getattr(terminal.inp, "buffer", None)
    found: bytes = raw.read() if raw is not None else terminal.inp.read().encode()
    return found


def delete_flags(parser: Parser) -> None:
    complete("secret", parser.add_argument("secrets", metavar="NAME", nargs="+", help="names"))
    parser.add_argument("--force", action="store_true", help="even if deployments use it: they keep what they have")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def delete(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    api = connect(args, terminal)
    if not terminal.ask(harmless(f"Delete {', '.join(args.secrets)}?"), yes=args.yes):
        terminal.say("nothing was deleted")
        return 1
    for name in args.secrets:
        api.delete_secret(name, force=args.force)
        terminal.say(f"secret {harmless(name)} deleted")
    return 0


VERBS = {
    "set": Verb(set_one, "keep a value under a name; it is read from stdin or a file, never from the line", set_flags),
    "list": Verb(list_them, "names, versions and who uses them; never a value", list_flags),
    "delete": Verb(delete, "forget a value", delete_flags),
}
ALIASES = {"ls": "list", "rm": "delete", "create": "set", "put": "set"}
