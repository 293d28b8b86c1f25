"""`fledx registries`: who one is where images are pulled from; passwords go in and are never shown again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

MOST_CHARACTERS = 64 * 1024


def list_flags(parser: Parser) -> None:
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import show_list
    from fledx.cli.target import connect
    from fledx.cli.views.registries import registry_table

    page = connect(args, terminal).registries(limit=args.limit, offset=args.offset)
    show_list(
        args,
        terminal,
        page.encoded(),
        [{"name": item["host"], **item} for item in page.items],
        lambda: registry_table(page.items, terminal.now(), columns=terminal.width),
    )
    return 0


def login_flags(parser: Parser) -> None:
    host = parser.add_argument("registry", metavar="HOST", help="registry.example.com, 10.0.0.1:5000 or docker.io")
    complete("registry", host)
    parser.add_argument("-u", "--username", metavar="NAME", required=True, help="who pulls there")
    parser.add_argument("--password-file", metavar="PATH", help="the password is in this file; - is stdin [asked for]")
    parser.add_argument("--password-stdin", action="store_true", help="the same as --password-file -")


def login(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    source = "-" if args.password_stdin else args.password_file
    password = _read(source, terminal) if source else _asked(args.username, args.registry, terminal)
    if not password:
        raise InvalidSpec("password", "is empty", hint="give it on stdin, or with --password-file")
    made = connect(args, terminal).put_registry(args.registry, args.username, password)
    if is_document(args):
        terminal.data(document(made, args.output))
        return 0
    terminal.say(f"{harmless(made['username'])} pulls from {harmless(made['host'])} from the next pull on")
    if users := made.get("used_by"):
        terminal.say(f"{harmless(', '.join(users))} come from there; they keep running")
    return 0


def _read(path: str, terminal: Terminal) -> str:
    """The password without the newline that ends it."""
    if path == "-":
        return terminal.inp.read(MOST_CHARACTERS).rstrip("\r\n")
    try:
        return Path(path).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is no text"
        raise InvalidSpec("--password-file", f"{path} cannot be read: {reason}") from None


def _asked(username: str, host: str, terminal: Terminal) -> str:
    """What a person types without seeing it, or a pipe holds."""
    if not terminal.inp.isatty():
        return _read("-", terminal)
    from getpass import getpass

    return getpass(f"Password of {username} at {host}: ")


def delete_flags(parser: Parser) -> None:
    complete("registry", parser.add_argument("registries", metavar="HOST", nargs="+", help="registries"))
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def delete(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    api = connect(args, terminal)
    if not terminal.ask(harmless(f"Delete the login of {', '.join(args.registries)}?"), yes=args.yes):
        terminal.say("nothing was deleted")
        return 1
    for host in args.registries:
        api.delete_registry(host)
        terminal.say(f"login of {harmless(host)} deleted")
    return 0


VERBS = {
    "login": Verb(login, "keep a login; the password is read from stdin or a file, never from the line", login_flags),
    "list": Verb(list_them, "registries, who pulls there, and for what; never a password", list_flags),
    "delete": Verb(delete, "forget a login", delete_flags),
}
ALIASES = {"ls": "list", "rm": "delete", "logout": "delete", "add": "login", "set": "login", "create": "login"}
