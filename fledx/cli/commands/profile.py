"""`fledx profile`: the control planes an operator knows, by name."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fledx.cli.options import Parser, complete, one, refs
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec


def name_flags(parser: Parser) -> None:
    place = parser.add_argument("refs", metavar="NAME", nargs="?", help="the profile")
    complete("profile", place, parser.add_argument("--name", metavar="NAME", action="append", help="the same"))
    parser.set_defaults(id=None)


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import profiles
    from fledx.cli.output import show_list
    from fledx.cli.views.table import table
    from fledx.cli.views.text import harmless

    found = profiles.load(profiles.path(terminal.environ))
    items = [_shown(name, found) for name in sorted(found.known)]
    rows = [
        ["*" if item["default"] else "", harmless(item["name"]), harmless(item.get("control_plane_url", "-"))]
        for item in items
    ]
    whole = {"default_profile": found.default, "items": items}
    show_list(args, terminal, whole, items, lambda: table(["DEFAULT", "NAME", "CONTROL PLANE"], rows))
    if not items:
        terminal.say("no profiles yet: `fledx profile set NAME --control-plane-url URL` makes one")
    return 0


def _shown(name: str, found: Any) -> dict[str, Any]:
    """A profile without its secrets."""
    from fledx.cli.profiles import SECRET_FIELDS

    values = {key: "<set>" if key in SECRET_FIELDS else value for key, value in found.known[name].items()}
    return {"name": name, "default": name == found.default, **values}


def show(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import output, profiles
    from fledx.cli.views.table import fields
    from fledx.cli.views.text import harmless

    file = profiles.path(terminal.environ)
    found = profiles.load(file)
    named = refs(args)
    asked = one(named, "profile") if named else args.profile or terminal.environ.get("FLEDX_CLI_PROFILE")
    name = asked or found.default
    if name is None:
        raise InvalidSpec("", "which profile? There is no default one", hint="`fledx profile list` names them all")
    found.get(name)
    item = _shown(name, found)
    lines = [(key, harmless(str(value).lower() if value in (True, False) else value)) for key, value in item.items()]
    output.show(args, terminal, item, lambda: fields([*lines, ("file", harmless(file))]))
    return 0


def set_flags(parser: Parser) -> None:
    name_flags(parser)
    parser.epilog = (
        "What is stored are the flags given: --control-plane-url, --operator-token, --operator-header, "
        "--registration-token, --ca-cert-path. A token given as - is read from stdin."
    )


def set_it(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import profiles
    from fledx.cli.views.text import harmless
    from fledx.client.http1 import Address

    name = one(refs(args), "profile")
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise InvalidSpec("name", "is not a name for a profile")
    values = {key: getattr(args, key) for key in profiles.FIELDS if getattr(args, key) is not None}
    if "control_plane_url" in values:
        try:
            values["control_plane_url"] = str(Address.parse(values["control_plane_url"]))
        except ValueError as problem:
            raise InvalidSpec("", str(problem)) from None
    for key in profiles.SECRET_FIELDS:
        if values.get(key) == "-":
            values[key] = terminal.inp.readline().strip()
    file = profiles.path(terminal.environ)
    found = profiles.load(file).with_profile(name, values)
    profiles.save(found, file)
    terminal.say(f"profile {harmless(name)} saved" + (", the default one" if found.default == name else ""))
    return 0


def set_default(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import profiles
    from fledx.cli.views.text import harmless

    name = one(refs(args), "profile")
    file = profiles.path(terminal.environ)
    profiles.save(profiles.load(file).with_default(name), file)
    terminal.say(f"profile {harmless(name)} is the default one")
    return 0


def delete_flags(parser: Parser) -> None:
    name_flags(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def delete(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import profiles
    from fledx.cli.views.text import harmless

    name = one(refs(args), "profile")
    file = profiles.path(terminal.environ)
    rest = profiles.load(file).without(name)
    if not terminal.ask(f"Delete profile {harmless(name)} and its tokens?", yes=args.yes):
        terminal.say("nothing was deleted")
        return 1
    profiles.save(rest, file)
    terminal.say(f"profile {harmless(name)} deleted")
    return 0


VERBS = {
    "list": Verb(list_them, "all of them, and which one is the default"),
    "show": Verb(show, "one of them, its tokens masked", name_flags),
    "set": Verb(set_it, "make one, or change what is given", set_flags),
    "set-default": Verb(set_default, "use this one where none is named", name_flags),
    "delete": Verb(delete, "forget one", delete_flags),
}
ALIASES = {"ls": "list", "rm": "delete", "use": "set-default"}
