"""Deployments as a table, and one of them on a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views import jobs, spec
from fledx.cli.views.events import event_table
from fledx.cli.views.replicas import Replica, published, replica_table, replicas
from fledx.cli.views.serving import gateway_table, serving_lines
from fledx.cli.views.table import fields, painted, table
from fledx.cli.views.text import age, brief, further, harmless, labels, width

Json = Mapping[str, Any]
FEW = 2
SPARSE = (jobs.OUTCOME, jobs.NEXT, jobs.MODE, "RESTARTS", "REASON")
#: A reason that a terminal will hardly have room for in the last column of a table.
LONG = 40


def deployment_table(
    items: Sequence[Json], now: float, *, wide: bool = False, columns: int | None = None, colour: bool = False
) -> str:
    """One row a deployment; columns that would be empty throughout are left out."""
    heads = ["NAME", "READY", "STATUS", jobs.OUTCOME, jobs.NEXT, "RESTARTS", "AGE", "NODES", "PORTS"]
    heads += [jobs.MODE, "IMAGE", "REVISION", "GENERATION", "PLACEMENT", "LABELS", "REPORTED"] if wide else []
    heads += ["ID", "REASON"]
    rows = [_row(item, now, wide=wide) for item in items]
    kept = [i for i, head in enumerate(heads) if head not in SPARSE or any(row[i] for row in rows)]
    return table(
        [heads[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        columns=None if wide else columns,
        colour=colour,
    )


def _row(item: Json, now: float, *, wide: bool) -> list[str]:
    many = None if wide else FEW
    row = [
        harmless(item["name"]),
        ready(item),
        harmless(item["status"]),
        harmless(item.get("outcome") or ""),
        jobs.ahead(item.get("next_run"), now),
        restarts(item),
        age(item.get("created_at"), now),
        _listed(nodes(item), many),
        _listed(ports(item), many),
    ]
    if wide:
        row += [
            jobs.mode_cell(item),
            harmless(item["image"]),
            str(item.get("revision", "-")),
            str(item.get("generation", "-")),
        ]
        row += [spec.placement(item) or "-", labels(item.get("labels")), age(item.get("last_reported"), now)]
    identity = str(item.get("deployment_id", "-"))
    return [*row, harmless(identity if wide else identity[:8]), brief(item.get("reason") or "")]


def ready(item: Json) -> str:
    """`2/3`: replicas of the current revision that are ready, of those wanted."""
    return f"{item.get('ready_replicas', 0)}/{item.get('replicas', 0)}"


def restarts(item: Json) -> str:
    """All restarts together; empty where no instance was reported with the deployment."""
    observed = item.get("instances") or ([item["instance"]] if item.get("instance") else [])
    return str(sum(each.get("restart_count", 0) for each in observed)) if observed else ""


def nodes(item: Json) -> list[str]:
    """The names of the nodes that own a replica, each once, in the order of the replicas."""
    names = [each.get("node") or str(each.get("node_id", ""))[:8] for each in item.get("assignments") or ()]
    return [harmless(name) for name in dict.fromkeys(names)]


def ports(item: Json) -> list[str]:
    """Where the deployment is reached; before it is placed, what was asked for."""
    placed = [port for each in item.get("assignments") or () for port in published(each)]
    return list(dict.fromkeys(placed)) or [spec.port(each) for each in item.get("ports") or ()]


def _listed(words: Sequence[str], many: int | None) -> str:
    if many is None or len(words) <= many:
        return ", ".join(words) or "-"
    return ", ".join(words[:many]) + f", +{len(words) - many}"


def deployment_screen(
    item: Json, now: float, *, events: Sequence[Json] = (), columns: int | None = None, colour: bool = False
) -> str:
    """What was asked, where it runs, what happened last, and why it is not running."""
    status = harmless(item["status"])
    found = replicas(item)
    old = sum(each.state == "running, old" for each in found)
    still = f", {old} still run{'s' if old == 1 else ''} another revision" if old else ""
    head = f"{harmless(item['name'])}  {painted(status) if colour else status}  {ready(item)} ready{still}"
    parts = [head, fields(_facts(item, now), indent="  ")]
    if found:
        parts.append(replica_table(found, now, columns=columns, colour=colour))
        parts += _in_full(found, columns)
    if (gateways := gateway_table(item, columns=columns, colour=colour)) is not None:
        parts.append(gateways)
    if events:
        parts.append("What happened last:\n" + event_table(events, now, columns=columns))
    return "\n\n".join(parts)


def _in_full(found: Sequence[Replica], columns: int | None) -> list[str]:
    """What a row of the table has no room for."""
    told = []
    for each in found:
        more = further(each.message)
        if more or (columns is not None and width(each.why) > LONG):
            told.append(
                "\n".join([f"replica {each.number}: {each.why.removesuffix(' …')}", *(f"  {line}" for line in more)])
            )
    return told


def _facts(item: Json, now: float) -> list[tuple[str, str | None]]:
    counters = f"{item.get('revision', '-')} (generation {item.get('generation', '-')})"
    return [
        *jobs.run_lines(item, now),
        ("why", brief(item.get("reason") or "") or None),
        *serving_lines(item),
        ("rollout", rollout(item.get("rollout"))),
        ("id", harmless(item.get("deployment_id", "-"))),
        *spec.lines(item),
        ("revision", counters),
        ("created", f"{age(item.get('created_at'), now)} ago"),
        ("updated", f"{age(item.get('updated_at'), now)} ago" if item.get("generation", 1) != 1 else None),
    ]


def rollout(state: Json | None) -> str | None:
    """How far the current revision has got, and what it waits for; nothing once it is complete."""
    if not state or state.get("state") == "complete":
        return None
    arrived = state.get("updated", 0) >= state.get("wanted", 0)
    reason = state.get("reason") or state.get("waits_for")
    if state.get("state") == "progressing" and arrived and not reason:
        return None
    told = f"{state.get('state')}: {state.get('updated', 0)} of {state.get('wanted', 0)} updated"
    return brief(f"{told}; {reason}" if reason else told)
