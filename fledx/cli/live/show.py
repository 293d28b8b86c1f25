"""From the command to the view: who is asked, what is shown first, and how it ended."""

from __future__ import annotations

import os
from argparse import Namespace

from fledx.cli.live.detail import DeploymentScreen, Source
from fledx.cli.live.guard import guarded
from fledx.cli.live.model import Picture
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.text import harmless


def everything(args: Namespace, terminal: Terminal) -> int:
    """The view of `status --watch`; the exit code."""
    halves = ("deployments",) if args.deploys_only else ("nodes",) if args.nodes_only else ("nodes", "deployments")
    picture = Picture(args.node_status, args.deploy_status)
    return guarded(lambda: _run(args, terminal, picture, halves, None))


def one(args: Namespace, terminal: Terminal, deployment_id: str) -> int:
    """The view of `deployments watch`; the exit code."""
    return guarded(lambda: _run(args, terminal, Picture(), ("deployments",), deployment_id))


def _run(
    args: Namespace, terminal: Terminal, picture: Picture, halves: tuple[str, ...], deployment_id: str | None
) -> int:
    if terminal.plain or terminal.environ.get("NO_COLOR"):
        os.environ["NO_COLOR"] = "1"
    from fledx.cli.live.app import LiveView

    source = Source(connect=lambda: connect(args, terminal), peer=connect(args, terminal).peer)
    first = None
    if deployment_id is not None:
        first = DeploymentScreen(source, deployment_id, alone=True, logs=args.follow_logs)
    view = LiveView(source, picture, halves=halves, first=first)
    code = view.run()
    if view.failure is not None:
        terminal.complain(f"the view failed: {harmless(view.failure)} ({type(view.failure).__name__})")
        return 1
    return code or 0
