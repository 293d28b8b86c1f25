"""Commands that stay: a deployment until it is settled, the status and the events as they change."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from fledx.cli.output import document, is_document
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.documents import as_json_line
from fledx.cli.views.events import event_line, event_table
from fledx.cli.views.status import status_screen
from fledx.cli.views.text import harmless
from fledx.client.api import ControlPlane
from fledx.client.asking import Page
from fledx.client.streams import ServerEvent, Stream
from fledx.errors import Unavailable

Json = Mapping[str, Any]
AGAIN = 1.0


def events(args: Namespace, terminal: Terminal) -> int:
    """Past events, and with `--follow` those to come."""
    api = connect(args, terminal)
    query = {name: getattr(args, name) for name in ("deployment", "node", "kind", "since", "after")}
    if args.follow:
        for event in following(api, terminal, {**query, "limit": args.limit}, None):
            terminal.data(as_json_line(event.data) if is_document(args) else event_line(event.data))
        return 0
    everything = args.since is not None and args.limit is None
    items = api.every_event(query) if everything else api.events({**query, "limit": args.limit})
    if is_document(args):
        terminal.data(document({"items": items}, args.output))
    elif items:
        terminal.data(event_table(items, terminal.now(), columns=terminal.width, wide=args.output == "wide"))
    else:
        narrowed = any(value is not None for value in query.values())
        terminal.say("nothing that matches" if narrowed else "nothing has happened yet")
    return 0


def following(api: ControlPlane, terminal: Terminal, query: Json, after: str | None) -> Iterator[ServerEvent]:
    """Events as they come, each once, over broken streams and restarts of the control plane."""
    known = False
    while True:
        try:
            stream = api.follow_events(query, after=after)
            known = True
            for event in _to_the_end(stream):
                after = event.id or after
                yield event
            problem = "the stream ended"
        except Unavailable as fault:
            if not known:
                raise
            problem = fault.text
        terminal.say(f"{harmless(problem)}; trying again")
        terminal.sleep(AGAIN)


def _to_the_end(stream: Stream[ServerEvent]) -> Iterator[ServerEvent]:
    try:
        yield from stream
    finally:
        stream.close()


def status(args: Namespace, terminal: Terminal) -> int:
    """Everything at one look; with `--watch` again at each change."""
    api = connect(args, terminal)
    if not args.watch:
        whole = Look(api, args)
        if args.output == "name" or (args.quiet and args.output is None):
            terminal.data("\n".join(whole.names()))
            return 0
        terminal.data(
            document(whole.encoded(), args.output)
            if is_document(args)
            else whole.screen(terminal, columns=terminal.width, colour=terminal.colour)
        )
        return 0
    if not terminal.full_screen:
        return _status_lines(api, args, terminal)
    from fledx.cli.live import show

    return show.everything(args, terminal)


class Look:
    """Counts, nodes and deployments as they were at one moment."""

    def __init__(self, api: ControlPlane, args: Namespace) -> None:
        self._wide = args.output == "wide"
        self._summary = api.status()["summary"]
        self._nodes: Page | None = None
        self._deployments: Page | None = None
        if not args.deploys_only:
            self._nodes = api.nodes({"status": args.node_status}, limit=args.node_limit, offset=args.node_offset)
        if not args.nodes_only:
            query = {"status": args.deploy_status}
            self._deployments = api.deployments(query, limit=args.deploy_limit, offset=args.deploy_offset)

    def encoded(self) -> dict[str, Any]:
        """For programs, in fledx-core's shape."""
        parts = {"nodes": self._nodes, "deployments": self._deployments}
        return {"summary": self._summary, **{name: page.encoded() for name, page in parts.items() if page is not None}}

    def names(self) -> list[str]:
        """`nodes/edge-1` and `deployments/web`; of one kind alone the bare names."""
        pages = {"nodes": self._nodes, "deployments": self._deployments}
        both = None not in pages.values()
        return [
            f"{noun}/{harmless(each['name'])}" if both else harmless(each["name"])
            for noun, page in pages.items()
            if page is not None
            for each in page.items
        ]

    def screen(self, terminal: Terminal, *, columns: int | None, colour: bool) -> str:
        """For people."""
        return status_screen(
            self._summary,
            None if self._nodes is None else self._nodes.items,
            None if self._deployments is None else self._deployments.items,
            terminal.now(),
            wide=self._wide,
            columns=columns,
            colour=colour,
        )


def _status_lines(api: ControlPlane, args: Namespace, terminal: Terminal) -> int:
    """No terminal: how it is now, then a line for each thing that happens."""
    newest = api.events({"limit": 1})
    terminal.data(Look(api, args).screen(terminal, columns=None, colour=False))
    for event in following(api, terminal, {}, str(newest[-1]["id"]) if newest else None):
        about_node = str(event.data.get("kind", "")).startswith("node.")
        if not (args.nodes_only and not about_node) and not (args.deploys_only and about_node):
            terminal.data(event_line(event.data))
    return 0
