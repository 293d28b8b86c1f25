"""The whole at one look: counts, nodes, deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.deployments import deployment_table
from fledx.cli.views.nodes import node_table
from fledx.cli.views.text import brief

Json = Mapping[str, Any]
NODE_ORDER = ("ready", "unreachable", "error", "registering")
DEPLOYMENT_ORDER = ("running", "stopped", "failed", "pending", "deploying")
NO_NODES = "none yet: `fledx nodes join-command` says how one joins"
NO_DEPLOYMENTS = "none yet: `fledx deployments create` makes one"


def summary_line(summary: Json, *, nodes: bool = True, deployments: bool = True) -> str:
    """`Nodes: ready=2 ... | Deployments: running=1 ...`, in fledx-core's order."""
    parts = [_counts("Nodes", summary.get("nodes") or {}, NODE_ORDER)] if nodes else []
    parts += [_counts("Deployments", summary.get("deployments") or {}, DEPLOYMENT_ORDER)] if deployments else []
    return " | ".join(parts)


def _counts(noun: str, counts: Mapping[str, int], order: Sequence[str]) -> str:
    return f"{noun}: " + " ".join(f"{word}={counts.get(word, 0)}" for word in order)


def status_screen(
    summary: Json,
    nodes: Sequence[Json] | None,
    deployments: Sequence[Json] | None,
    now: float,
    *,
    wide: bool = False,
    columns: int | None = None,
    colour: bool = False,
) -> str:
    """Counts, then the tables; None leaves a half out."""
    parts = [summary_line(summary, nodes=nodes is not None, deployments=deployments is not None)]
    if told := summary.get("problems"):
        parts.append("Needs attention:\n" + "\n".join(f"  {brief(each)}" for each in told))
    if nodes is not None:
        shown = node_table(nodes, now, wide=wide, columns=columns, colour=colour)
        parts.append("Nodes:\n" + (shown if nodes else NO_NODES))
    if deployments is not None:
        shown = deployment_table(deployments, now, wide=wide, columns=columns, colour=colour)
        told = NO_DEPLOYMENTS
        parts.append("Deployments:\n" + (shown if deployments else told))
    return "\n\n".join(parts)
