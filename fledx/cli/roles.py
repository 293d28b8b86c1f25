"""What the roles' commands share: their settings as flags, and the settings that result."""

from __future__ import annotations

from argparse import Namespace
from typing import TypeVar

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.settings.declare import Declared, boolean, declared, load, text_of

S = TypeVar("S", bound=Declared)


def add_settings(parser: Parser, cls: type[Declared]) -> None:
    """One flag for each declared setting; its help names the environment variable and the default."""
    group = parser.add_argument_group("settings, each also by the environment variable named")
    for each in declared(cls):
        default = f" [{text_of(each.default)}]" if each.default not in (None, (), {}) else ""
        text = f"{each.help}{default} ({each.env})".replace("%", "%%")
        if each.parse is boolean:
            group.add_argument(each.flag, nargs="?", const="true", metavar="true|false", dest=each.field, help=text)
        else:
            group.add_argument(each.flag, metavar=_metavar(each.field), dest=each.field, help=text)


def _metavar(field: str) -> str:
    return field.rpartition("_")[2].upper()


def settings_of(args: Namespace, terminal: Terminal, cls: type[S]) -> S:
    """The role's settings: flag, environment, default."""
    return load(cls, terminal.environ, {each.field: getattr(args, each.field) for each in declared(cls)})
