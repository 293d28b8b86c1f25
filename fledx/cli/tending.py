"""What operators do with nodes: labels, cordon and drain, tokens, the end, and balance among them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence

from fledx.cli import naming
from fledx.cli.options import refs, some
from fledx.cli.output import document, is_document
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.nodes import move_table
from fledx.cli.views.text import counted, harmless, labels, span
from fledx.cli.waiting import DONE, INTERRUPTED, NOT_REACHED, WAIT_TIMEOUT
from fledx.client.api import ControlPlane
from fledx.client.asking import Json

LOOK = 1.0


def cordon(args: Namespace, terminal: Terminal) -> int:
    """No new replicas on these nodes."""
    return _each(args, terminal, lambda api, id: api.cordon(id, reason=args.reason), "takes no new replicas")


def uncordon(args: Namespace, terminal: Terminal) -> int:
    """New replicas again."""
    return _each(args, terminal, lambda api, id: api.uncordon(id), "takes replicas again")


def rotate_token(args: Namespace, terminal: Terminal) -> int:
    """Another token for each of these nodes."""
    return _each(args, terminal, lambda api, id: api.rotate_node_token(id), "was given another token")


def label(args: Namespace, terminal: Terminal) -> int:
    """Labels of one node."""
    args.refs, args.id = [args.node], None
    changes = dict(args.labels)
    return _each(args, terminal, lambda api, id: api.label_node(id, changes), "has the labels {labels}")


def drain(args: Namespace, terminal: Terminal) -> int:
    """Empty nodes one after the other, and wait until they are."""
    body = {"reason": args.reason, "deadline_seconds": args.deadline, "force": args.force}
    api = connect(args, terminal)
    found = _named(args, api)
    if not terminal.ask(f"Drain {_names(found)}? What runs there is stopped and goes elsewhere", yes=args.yes):
        terminal.say("nothing was drained")
        return 1
    for node in found:
        last = api.drain(node["node_id"], body)
        terminal.say(f"{harmless(node['name'])} is being drained")
        if not args.detach:
            code, last = _emptied(api, terminal, last, args.wait_timeout or WAIT_TIMEOUT)
            if code != DONE:
                return code
        _print(args, terminal, last)
    return DONE


def _emptied(api: ControlPlane, terminal: Terminal, node: Json, limit: float) -> tuple[int, Json]:
    name, deadline, told = harmless(node["name"]), terminal.clock() + limit, ""
    try:
        while not (node.get("wish") or {}).get("done"):
            if node.get("availability") != "draining":
                terminal.complain(f"{name} is not drained any more")
                return 1, node
            left = api.deployments({"node": node["node_id"]}).items
            news = f"{name} still has replicas of {harmless(', '.join(str(each['name']) for each in left))}"
            if left and news != told:
                told = news
                terminal.say(news)
            if terminal.clock() >= deadline:
                terminal.complain(f"{name} is not empty after {span(limit)}; it goes on")
                return NOT_REACHED, node
            terminal.sleep(LOOK)
            node = api.node(node["node_id"])
    except KeyboardInterrupt:
        terminal.say(f"\ndetached; {name} goes on: look again with `fledx nodes show {name}`")
        return INTERRUPTED, node
    terminal.say(f"{name} is empty")
    return DONE, node


def delete(args: Namespace, terminal: Terminal) -> int:
    """Forget nodes."""
    api = connect(args, terminal)
    found = _named(args, api)
    if not terminal.ask(f"Delete {_names(found)}?", yes=args.yes):
        terminal.say("nothing was deleted")
        return 1
    for each in found:
        api.delete_node(each["node_id"], force=args.force)
        terminal.say(f"{harmless(each['name'])} deleted")
    return DONE


def rebalance(args: Namespace, terminal: Terminal) -> int:
    """Make, or only tell, the moves that are worth it."""
    question = "Rebalance? What is moved is stopped and started elsewhere; --dry-run shows what"
    if not args.dry_run and not terminal.ask(question, yes=args.yes):
        terminal.say("nothing was moved")
        return 1
    moves = connect(args, terminal).rebalance(dry_run=args.dry_run, most=args.most)
    if is_document(args):
        terminal.data(document({"moves": moves}, args.output))
        return DONE
    if not moves:
        terminal.say("nothing to move now" if args.dry_run else "nothing was moved")
        return DONE
    terminal.data(move_table(moves, columns=terminal.width))
    terminal.say(f"{counted(len(moves), 'move')} {'would be worth it' if args.dry_run else 'made; ask again for more'}")
    return DONE


def _each(args: Namespace, terminal: Terminal, change: Callable[[ControlPlane, str], Json], done: str) -> int:
    """The same for each; `{labels}` in `done` are those it has now."""
    api = connect(args, terminal)
    for node in _named(args, api):
        changed = change(api, str(node["node_id"]))
        terminal.say(f"{harmless(node['name'])} {done.format(labels=labels(changed.get('labels')))}")
        _print(args, terminal, changed)
    return DONE


def _named(args: Namespace, api: ControlPlane) -> list[Json]:
    return [naming.node(api, ref) for ref in some(refs(args), "node")]


def _names(nodes: Sequence[Json]) -> str:
    return ", ".join(harmless(each["name"]) for each in nodes)


def _print(args: Namespace, terminal: Terminal, node: Json) -> None:
    """The node as it is now, for programs; a person has been told."""
    if is_document(args):
        terminal.data(document(node, args.output))
