"""Lists of nodes and deployments, as the list, status and top-level status commands print them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from fledx.cli.output import is_document, show_list
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.deployments import deployment_table
from fledx.cli.views.nodes import node_table
from fledx.cli.views.status import NO_DEPLOYMENTS, NO_NODES, summary_line
from fledx.client.asking import Page

Query = dict[str, Any]
NONE = "none that match"


def deployment_query(args: Namespace) -> Query:
    """The filters of `add_filters` in the API's words."""
    return {"status": args.status, "label": args.label, "node": args.node}


def show_deployments(args: Namespace, terminal: Terminal, *, name: str | None = None, summary: bool = False) -> int:
    """A table of deployments, with counts over all of them where a summary is wanted."""
    api = connect(args, terminal)
    query = {**deployment_query(args), "name": name}
    page = api.deployments(query, limit=args.limit, offset=args.offset)
    counts = api.status()["summary"] if summary else {}
    nothing = NONE if any(query.values()) else NO_DEPLOYMENTS
    return _show(args, terminal, page, counts, "deployments", deployment_table, nothing)


def show_nodes(args: Namespace, terminal: Terminal, *, name: str | None = None, summary: bool = False) -> int:
    """A table of nodes, with counts over all of them where a summary is wanted."""
    api = connect(args, terminal)
    query = {"status": args.status, "availability": args.availability, "label": args.label, "name": name}
    page = api.nodes(query, limit=args.limit, offset=args.offset)
    counts = api.status()["summary"] if summary else {}
    nothing = NONE if any(query.values()) else NO_NODES
    return _show(args, terminal, page, counts, "nodes", node_table, nothing)


def _show(
    args: Namespace, terminal: Terminal, page: Page, counts: Query, noun: str, table: Callable[..., str], nothing: str
) -> int:
    """The page with the counts of its noun above it, if there are any; `nothing` is said of an empty one."""

    def screen() -> str:
        shown = table(
            page.items, terminal.now(), wide=args.output == "wide", columns=terminal.width, colour=terminal.colour
        )
        if not counts:
            return shown
        return f"{summary_line(counts, nodes=noun == 'nodes', deployments=noun == 'deployments')}\n\n{shown}"

    whole = page.encoded()
    show_list(args, terminal, {"summary": counts[noun], **whole} if counts else whole, page.items, screen)
    if not page.total and not is_document(args):
        terminal.say(nothing)
    return 0
