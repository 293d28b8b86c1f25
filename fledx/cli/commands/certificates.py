"""`fledx certificates`: what gateways show to browsers; private keys go in and are never shown again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser, complete
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

MOST_CHARACTERS = 256 * 1024


def list_flags(parser: Parser) -> None:
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import show_list
    from fledx.cli.target import connect
    from fledx.cli.views.certificates import certificate_table

    page = connect(args, terminal).certificates(limit=args.limit, offset=args.offset)
    show_list(
        args,
        terminal,
        page.encoded(),
        page.items,
        lambda: certificate_table(page.items, terminal.now(), columns=terminal.width),
    )
    return 0


def show_flags(parser: Parser) -> None:
    complete("certificate", parser.add_argument("certificates", metavar="NAME", nargs="+", help="names"))


def show(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import output
    from fledx.cli.target import connect
    from fledx.cli.views.certificates import certificate_screen

    api = connect(args, terminal)
    for name in args.certificates:
        found = api.certificate(name)
        output.show(args, terminal, found, lambda found=found: certificate_screen(found, terminal.now()))  # type: ignore[misc]
    return 0


def put_flags(parser: Parser) -> None:
    complete("certificate", parser.add_argument("certificate", metavar="NAME", help="its name"))
    parser.add_argument(
        "--cert", metavar="FILE", required=True, help="the chain in PEM, the server's own first; - is stdin"
    )
    parser.add_argument(
        "--key", metavar="FILE", required=True, help="the private key in PEM, without a passphrase; - is stdin"
    )


def create(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect

    chain, key = _files(args, terminal)
    return _told(args, terminal, connect(args, terminal).create_certificate(args.certificate, chain, key))


def update(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect

    chain, key = _files(args, terminal)
    return _told(args, terminal, connect(args, terminal).put_certificate(args.certificate, chain, key))


def _told(args: Namespace, terminal: Terminal, made: dict[str, Any]) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.views.text import harmless

    if is_document(args):
        terminal.data(document(made, args.output))
        return 0
    hosts = harmless(", ".join(made["hosts"]))
    terminal.say(f"certificate {harmless(made['name'])} is for {hosts} until {harmless(made['not_after'])}")
    if made.get("warning"):
        terminal.say(f"note: {harmless(made['warning'])}")
    return 0


def _files(args: Namespace, terminal: Terminal) -> tuple[str, str]:
    """Chain and key; one stdin may hold both."""
    piped = terminal.inp.read(MOST_CHARACTERS) if "-" in (args.cert, args.key) else ""
    chain = piped if args.cert == "-" else _read("--cert", args.cert)
    return chain, piped if args.key == "-" else _read("--key", args.key)


def _read(flag: str, path: str) -> str:
    try:
        with Path(path).open() as file:
            return file.read(MOST_CHARACTERS)
    except OSError as problem:
        raise InvalidSpec(flag, f"{path} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSpec(
            flag, f"{path} is no PEM file", hint="`openssl x509 -inform DER -in FILE` turns DER into PEM"
        ) from None


def delete_flags(parser: Parser) -> None:
    show_flags(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def delete(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    api = connect(args, terminal)
    if not terminal.ask(harmless(f"Delete {', '.join(args.certificates)}?"), yes=args.yes):
        terminal.say("nothing was deleted")
        return 1
    for name in args.certificates:
        api.delete_certificate(name)
        terminal.say(f"certificate {harmless(name)} deleted")
    return 0


CREATE_EXAMPLES = """\
examples:
  fledx certificates create shop --cert fullchain.pem --key privkey.pem
  cat shop.pem | fledx certificates create shop --cert - --key -"""

VERBS = {
    "create": Verb(create, "keep a certificate and its key, for the hosts it names", put_flags, epilog=CREATE_EXAMPLES),
    "list": Verb(list_them, "names, hosts, ends, and what needs attention", list_flags),
    "show": Verb(show, "one of them, without its key", show_flags),
    "update": Verb(update, "put another in its place, such as a renewed one; no connection is cut", put_flags),
    "delete": Verb(delete, "forget it and its key", delete_flags),
}
ALIASES = {"ls": "list", "rm": "delete", "get": "show", "describe": "show", "replace": "update", "add": "create"}
