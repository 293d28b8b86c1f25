"""How a command prints what it read: the form that was asked for, on stdout."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fledx.cli.terminal import Terminal
from fledx.cli.views.text import harmless


def document(value: Any, form: str) -> str:
    """JSON or YAML."""
    from fledx.cli.views import documents

    return documents.as_yaml(value) if form == "yaml" else documents.as_json(value)


def is_document(args: Namespace) -> bool:
    """Whether a program is to read it."""
    return args.output in ("json", "yaml")


def show(args: Namespace, terminal: Terminal, value: Mapping[str, Any], screen: Callable[[], str]) -> None:
    """One thing: as a document, by its name, or on a screen."""
    if is_document(args):
        terminal.data(document(value, args.output))
    elif args.output == "name" or (args.quiet and args.output is None):
        terminal.data(harmless(value.get("name") or value.get("node_id") or value.get("deployment_id") or "-"))
    else:
        terminal.data(screen())


def show_list(
    args: Namespace,
    terminal: Terminal,
    whole: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    screen: Callable[[], str],
) -> None:
    """Many things; `whole` is what a program gets."""
    if is_document(args):
        terminal.data(document(whole, args.output))
    elif args.output == "name" or (args.quiet and args.output is None):
        terminal.data("\n".join(harmless(item.get("name") or "-") for item in items))
    else:
        terminal.data(screen())
