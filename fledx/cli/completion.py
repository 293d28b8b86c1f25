"""The one importer of argcomplete: what TAB offers, and the shells' own words to call it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal

SHELLS = ("bash", "zsh", "fish")
PATIENCE = 0.5


def words(environ: Mapping[str, str]) -> list[str]:
    """The whole words of the line before the one that is being completed."""
    line = environ.get("COMP_LINE", "")
    if environ.get("COMP_POINT", "").isdigit():
        line = line.encode()[: int(environ["COMP_POINT"])].decode(errors="ignore")
    found = line.split()
    start = int(environ["_ARGCOMPLETE"]) if environ["_ARGCOMPLETE"].isdigit() else 1
    return found[start:] if line.endswith((" ", "\t")) else found[start:-1]


def choose(parser: Parser, dest: str, choices: Mapping[str, str]) -> None:
    """One word of the command itself, with the help of each."""
    action = parser.add_argument(dest)
    action.completer = lambda **_: dict(choices)  # type: ignore[attr-defined]


def complete(parser: Parser, terminal: Terminal) -> None:
    """Write what fits to the shell and end the process."""
    import argcomplete
    from argcomplete.completers import FilesCompleter

    for action in parser._actions:
        if not action.option_strings and action.nargs in ("*", "?"):
            action.nargs = "+"  # else the first flag would count as the end of the names
        noun = getattr(action, "live", None)
        if noun is not None:
            action.completer = _Names(noun, terminal)  # type: ignore[attr-defined]
        elif action.dest.endswith(("_path", "_file", "_dir")):
            action.completer = FilesCompleter()  # type: ignore[attr-defined]
        elif not hasattr(action, "completer") and action.choices is None:
            action.completer = lambda **_: ()  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options=False)


class _Names:
    """Live names of one noun; nothing when the control plane does not answer at once."""

    def __init__(self, noun: str, terminal: Terminal) -> None:
        self._noun = noun
        self._terminal = terminal

    def __call__(self, *, parsed_args: argparse.Namespace, **_: Any) -> Sequence[str]:
        from fledx.cli.target import control_plane, resolve
        from fledx.errors import FledxError

        try:
            if self._noun == "profile":
                from fledx.cli import profiles

                return sorted(profiles.load(profiles.path(self._terminal.environ)).known)
            api = control_plane(resolve(parsed_args, self._terminal.environ), self._terminal, timeout=PATIENCE)
            items = _items(api, self._noun)
        except FledxError:
            return []
        return [str(item["name"]) for item in items if str(item.get("name", "")).isprintable()]


def _items(api: Any, noun: str) -> Sequence[Mapping[str, Any]]:
    """Some things of a noun, each with its name."""
    if noun == "config":
        return [item["metadata"] for item in api.configs({}, limit=500).items]
    if noun == "secret":
        found: Sequence[Mapping[str, Any]] = api.secrets(limit=500).items
        return found
    if noun == "certificate":
        return list(api.certificates(limit=500).items)
    if noun == "registry":
        return [{"name": item["host"]} for item in api.registries(limit=500).items]
    page = api.nodes({}, limit=500) if noun == "node" else api.deployments({}, limit=500)
    return list(page.items)


def script(shell: str) -> str:
    """What the shell has to read once, so that TAB works."""
    from argcomplete.shell_integration import shellcode

    return str(shellcode(["fledx"], shell=shell))
