"""Lists and screens to the letter, of those that no other test has."""

from __future__ import annotations

import json
from typing import Any

from fledx.models.codec import decode
from fledx.models.deployment import DeploymentSpec
from tests.fakes.transport import json_answer
from tests.unit.cli.harness import WEB, Cli, ago, deployment, joined, lines, node, page


def shown(routes: dict[str, Any], *words: str) -> str:
    """What a command prints."""
    cli = Cli(routes)
    assert cli.run(*words) == 0, cli.said
    return joined(lines(cli.shown))


def test_secrets_are_listed_with_who_uses_them_and_which_cannot_be_read() -> None:
    items = [
        {"name": "db", "version": 2, "created_at": ago(7200), "updated_at": ago(60), "used_by": ["api", "web"]},
        {"name": "lost", "version": 1, "created_at": ago(7200), "updated_at": ago(7200), "readable": False},
    ]

    assert shown({"GET /api/v1/secrets": page(*items)}, "secrets", "list") == (
        "NAME  VERSION  CHANGED  USED BY\n"
        "db    2        60s      api, web\n"
        "lost  1        2h       -         sealed with a key that is lost: set it again\n"
    )


def test_a_history_says_of_each_revision_who_made_it_and_what_became_of_it() -> None:
    base = {"created_by": "alice", "image": "nginx:2"}
    items = [
        {**base, "revision": 3, "state": "progressing", "current": True, "changed": ["image"], "created_at": ago(60)},
        {**base, "revision": 2, "state": "failed", "changed": ["env"], "created_at": ago(600), "reason": "it exits"},
        {**base, "revision": 1, "state": "complete", "image": "nginx:1", "created_at": ago(7200)},
    ]
    routes = {f"GET /api/v1/deployments/{WEB}/revisions": page(*items), "GET /api/v1/deployments/web/": page(*items)}

    text = shown({**routes, "GET /api/v1/deployments/web": json_answer(deployment())}, "deployments", "history", "web")

    assert text == (
        "REVISION  STATUS       AGE  BY     IMAGE    CHANGED  REASON\n"
        "3*        progressing  60s  alice  nginx:2  image\n"
        "2         failed       10m  alice  nginx:2  env      it exits\n"
        "1         complete     2h   alice  nginx:1  -\n"
    )


def test_where_a_replicas_variables_are_from() -> None:
    found = {
        "name": "web",
        "replica_number": 0,
        "node": "edge-1",
        "revision": 4,
        "variables": [
            {"name": "MODE", "value": "********", "origin": "deployment web"},
            {"name": "KEY", "secret": "api", "optional": True, "missing": True, "origin": "config shop"},
        ],
        "files": [{"name": "/etc/x", "origin": "config shop"}],
    }
    routes = {
        "GET /api/v1/deployments/web": json_answer(deployment()),
        "GET /api/v1/deployments/web/env": json_answer(found),
        f"GET /api/v1/deployments/{WEB}/env": json_answer(found),
    }

    assert shown(routes, "deployments", "show", "web", "--env") == (
        "web/0 on edge-1, revision 4\n"
        "\n"
        "VARIABLE  VALUE                          FROM\n"
        "MODE      ********                       deployment web\n"
        "KEY       secret api, optional, missing  config shop\n"
        "\n"
        "FILE    CONTENT      FROM\n"
        "/etc/x  of a config  config shop\n"
    )


COUNTS = {
    "summary": {
        "nodes": {"ready": 1, "unreachable": 0, "error": 0, "registering": 0},
        "deployments": {"pending": 0, "deploying": 0, "running": 1, "stopped": 0, "failed": 0},
    },
    "control_plane": {"version": "0.1.0", "started_at": ago(60)},
}


def test_the_summaries_of_nodes_and_of_deployments() -> None:
    routes = {
        "GET /api/v1/status": json_answer(COUNTS),
        "GET /api/v1/nodes": page(node()),
        "GET /api/v1/deployments": page(deployment()),
    }

    assert shown(routes, "nodes", "status") == (
        "Nodes: ready=1 unreachable=0 error=0 registering=0\n"
        "\n"
        "NAME    STATUS  SEEN  ARCH   CPU  MEMORY  ID\n"
        "edge-1  ready   2s    amd64  4    8Gi     22222222\n"
    )
    assert shown(routes, "deployments", "status") == (
        "Deployments: running=1 stopped=0 failed=0 pending=0 deploying=0\n"
        "\n"
        "NAME  READY  STATUS   RESTARTS  AGE  NODES   PORTS               ID\n"
        "web   1/1    running  0         2h   edge-1  edge-1:30000 -> 80  11111111\n"
    )


def test_an_exported_deployment_is_what_was_asked_for_and_nothing_that_became_of_it() -> None:
    routes = {"GET /api/v1/deployments/web": json_answer(deployment())}

    cli = Cli(routes)

    assert cli.run("deployments", "export", "web", "--json") == 0
    assert decode(DeploymentSpec, json.loads(cli.shown)).name == "web"
    assert "name: web\n" in shown(routes, "deployments", "export", "web")
