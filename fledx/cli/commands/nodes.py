"""`fledx nodes`: the machines that run deployments, and how they join."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser, add_ref, complete, refs, some
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb
from fledx.errors import InvalidSpec

STATUSES = ("ready", "unreachable", "error", "registering")
AVAILABILITIES = ("active", "cordoned", "draining")


def list_flags(parser: Parser) -> None:
    status_flags(parser)
    parser.add_argument("--name", metavar="NAME", help="only the one of this name")


def list_them(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.listing import show_nodes

    return show_nodes(args, terminal, name=args.name)


def status_flags(parser: Parser) -> None:
    parser.add_argument("--status", choices=STATUSES, help="only those in this state")
    parser.add_argument("--availability", choices=AVAILABILITIES, help="only those that are wanted so")
    parser.add_argument(
        "--label", metavar="KEY=VALUE", type=types.label, action="append", help="only those with this label; repeatable"
    )
    parser.add_argument("--limit", metavar="N", type=types.count, help="at most so many [all]")
    parser.add_argument("--offset", metavar="N", type=types.whole, default=0, help="leave out so many first [0]")


def status(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.listing import show_nodes

    return show_nodes(args, terminal, summary=True)


def show_flags(parser: Parser) -> None:
    add_ref(parser, "node", many=True)


def show(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import naming, output
    from fledx.cli.target import connect
    from fledx.cli.views.nodes import node_screen

    wanted = some(refs(args), "node")
    api = connect(args, terminal)
    for ref in wanted:
        found = naming.node(api, ref)
        asks = found.get("instances") and not output.is_document(args)
        placed = api.deployments({"node": found["node_id"]}).items if asks else []
        names = {str(each["deployment_id"]): str(each["name"]) for each in placed}

        def screen(found: dict[str, Any] = found, names: dict[str, str] = names) -> str:
            return node_screen(found, terminal.now(), names=names, columns=terminal.width, colour=terminal.colour)

        output.show(args, terminal, found, screen)
    return 0


def register_flags(parser: Parser) -> None:
    parser.add_argument("refs", metavar="NAME", nargs="?", help="its name")
    parser.add_argument("--name", metavar="NAME", action="append", help="the same")
    parser.add_argument("--arch", help="architecture, such as amd64 or arm64")
    parser.add_argument("--os", help="operating system, such as linux")
    parser.add_argument("--label", metavar="KEY=VALUE", type=types.pair, action="append", help="label; repeatable")
    parser.add_argument("--capacity-cpu-millis", metavar="N", type=types.millis, help="CPU offered, in 1/1000 cores")
    parser.add_argument(
        "--capacity-memory-bytes", metavar="N", type=types.memory, help="memory offered: 8589934592 or 8Gi"
    )
    parser.add_argument("--public-ip", metavar="IP", help="address under which it is reached from outside")
    parser.add_argument("--public-host", metavar="HOST", help="host name under which it is reached from outside")
    parser.set_defaults(id=None)


def register(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.text import harmless

    reply = connect(args, terminal).register_node(_facts(args))
    if is_document(args):
        terminal.data(document(reply, args.output))
    elif args.output == "name":
        terminal.data(harmless(reply.get("name", reply["node_id"])))
    else:
        terminal.data(f"node_id: {harmless(reply['node_id'])}\nnode_token: {harmless(reply['node_token'])}")
        terminal.say(
            "the token is shown this once; on the node: FLEDX_AGENT_NODE_ID=... FLEDX_AGENT_NODE_TOKEN=... fledx agent"
        )
    return 0


def _facts(args: Namespace) -> dict[str, Any]:
    names = refs(args)
    if len(names) > 1:
        raise InvalidSpec("", f"one name, not {', '.join(names)}")
    capacity = {"cpu_millis": args.capacity_cpu_millis, "memory_bytes": args.capacity_memory_bytes}
    facts = {
        "name": names[0] if names else None,
        "arch": args.arch,
        "os": args.os,
        "labels": dict(args.label) if args.label else None,
        "capacity": {key: value for key, value in capacity.items() if value is not None} or None,
        "public_ip": args.public_ip,
        "public_host": args.public_host,
    }
    return {key: value for key, value in facts.items() if value is not None}


def join_flags(parser: Parser) -> None:
    parser.add_argument("--ttl", metavar="TIME", type=types.some_seconds, help="how long it may be used [24h]")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--uses", metavar="N", type=types.count, help="how many nodes may join with it [1]")
    many.add_argument("--any-number", action="store_true", help="as many as like")


def join_command(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.text import counted, harmless, whole_seconds

    body: dict[str, Any] = {} if args.ttl is None else {"ttl_seconds": args.ttl}
    if args.any_number or args.uses is not None:
        body["uses"] = args.uses
    made = connect(args, terminal).join_token(body)
    command = _joining_line(args, terminal, harmless(made["join"]))
    if is_document(args):
        terminal.data(document({**made, "command": command}, args.output))
        return 0
    terminal.data(command)
    uses = "any number of nodes" if made.get("uses") is None else counted(made["uses"], "node")
    terminal.say(f"good for {uses} until {whole_seconds(made['expires_at'])}; it holds a secret")
    return 0


def _joining_line(args: Namespace, terminal: Terminal, join: str) -> str:
    """Installs the agent for good where the control plane gives out its own file, else runs what is there already."""
    from fledx.bootstrap.run import join_line
    from fledx.cli.target import connect

    return join_line(lambda: connect(args, terminal), join) or f"fledx agent --join {join}"


def reason_flags(parser: Parser) -> None:
    add_ref(parser, "node", many=True)
    parser.add_argument("--reason", metavar="TEXT", help="why, for others to read")


def cordon(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import tending

    return tending.cordon(args, terminal)


def uncordon(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import tending

    return tending.uncordon(args, terminal)


def drain_flags(parser: Parser) -> None:
    from fledx.cli.changing import add_waiting

    reason_flags(parser)
    parser.add_argument(
        "--deadline", metavar="TIME", type=types.seconds, help="after this what is left leaves at once [never]"
    )
    parser.add_argument(
        "--force", action="store_true", help="leave data in volumes behind, and leave though there is no other place"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_waiting(parser, "5m")


def drain(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import tending

    return tending.drain(args, terminal)


def label_flags(parser: Parser) -> None:
    complete("node", parser.add_argument("node", metavar="NODE", help="name, id or its beginning"))
    parser.add_argument(
        "labels", metavar="KEY=VALUE", nargs="+", type=types.label_change, help="a label to set; KEY- takes it away"
    )


def label(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import tending

    return tending.label(args, terminal)


def delete_flags(parser: Parser) -> None:
    add_ref(parser, "node", many=True)
    parser.add_argument("--force", action="store_true", help="even while it owns replicas: these go elsewhere")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def delete(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import tending

    return tending.delete(args, terminal)


def rotate_token(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import tending

    return tending.rotate_token(args, terminal)


def rebalance_flags(parser: Parser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be moved, and why")
    parser.add_argument("--most", metavar="N", type=types.count, default=100, help="how many moves at most [100]")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def rebalance(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import tending

    return tending.rebalance(args, terminal)


VERBS = {
    "join-command": Verb(join_command, "the one line to run on a new machine", join_flags),
    "list": Verb(list_them, "all nodes, a line each", list_flags),
    "status": Verb(status, "how many are in which state, and all of them", status_flags),
    "show": Verb(show, "what it is, whether it is well, and what runs there", show_flags),
    "label": Verb(label, "set and take away labels: NODE KEY=VALUE KEY-", label_flags),
    "cordon": Verb(cordon, "no new replicas there; those that are there stay", reason_flags),
    "drain": Verb(drain, "move its replicas elsewhere, a few at a time", drain_flags),
    "uncordon": Verb(uncordon, "take replicas again, and end a drain", show_flags),
    "rebalance": Verb(rebalance, "move replicas to where they are better off", rebalance_flags),
    "rotate-token": Verb(rotate_token, "give it another token, over its link", show_flags),
    "delete": Verb(delete, "forget it", delete_flags),
    "register": Verb(register, "make a node's id and token by hand", register_flags),
}
ALIASES = {
    "ls": "list",
    "rm": "delete",
    "get": "show",
    "describe": "show",
    "join": "join-command",
    "token rotate": "rotate-token",
}
