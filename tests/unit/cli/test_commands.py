"""Nodes and deployments by command: what is asked for, what is printed."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from fledx.cli.main import main
from tests.fakes.transport import Answer, error_answer, json_answer
from tests.unit.cli.harness import EDGE1, WEB, Cli, Tty, deployment, event, instance, node, page

REGISTERED = {
    "node_id": EDGE1,
    "node_token": "fn_secret",
    "name": "edge-node-1",
    "tunnel": {"host": "cp", "port": 7443},
}


def test_registering_a_node_prints_its_id_and_token() -> None:
    cli = Cli({"POST /api/v1/nodes/register": json_answer(REGISTERED, 201)})
    words = (
        "--name",
        "edge-node-1",
        "--arch",
        "amd64",
        "--os",
        "linux",
        "--label",
        "region=eu",
        "--label",
        "zone=west",
    )
    assert 0 == cli.run("nodes", "register", *words, "--capacity-cpu-millis", "4000", "--capacity-memory-bytes", "8Gi")

    assert f"node_id: {EDGE1}\nnode_token: fn_secret\n" == cli.shown
    assert {
        "name": "edge-node-1",
        "arch": "amd64",
        "os": "linux",
        "labels": {"region": "eu", "zone": "west"},
        "capacity": {"cpu_millis": 4000, "memory_bytes": 8 * 2**30},
    } == cli.body("POST")


def test_registering_for_a_program_prints_the_whole_answer() -> None:
    cli = Cli({"POST /api/v1/nodes/register": json_answer(REGISTERED, 201)})
    assert 0 == cli.run("nodes", "register", "--json", "--registration-token", "reg")

    assert REGISTERED == json.loads(cli.shown)
    assert "Bearer reg" == cli.transport.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ([], {}),
        (["--ttl", "2h", "--uses", "5"], {"ttl_seconds": 7200.0, "uses": 5}),
        (["--any-number"], {"uses": None}),
    ],
)
def test_the_join_command_is_one_line_to_copy(words: list[str], body: dict[str, object]) -> None:
    made = {"join": "fledx-join.abc", "expires_at": "2026-11-26T00:00:00Z", "uses": 1}
    cli = Cli({"POST /api/v1/nodes/join-tokens": json_answer(made, 201)})
    assert 0 == cli.run("nodes", "join-command", *words)

    assert "fledx agent --join fledx-join.abc\n" == cli.shown
    assert "good for 1 node until 2026-11-26T00:00:00Z; it holds a secret\n" == cli.said
    assert body == cli.body("POST")


def test_nodes_are_filtered_by_the_control_plane() -> None:
    cli = Cli({"GET /api/v1/nodes": page(node())})
    words = (
        "--status",
        "ready",
        "--label",
        "a=b",
        "--label",
        "c=d",
        "--availability",
        "active",
        "--limit",
        "5",
        "--offset",
        "2",
    )
    assert 0 == cli.run("nodes", "list", *words, "--name", "edge-1", "--wide")

    assert [
        "GET /api/v1/nodes?limit=5&offset=2&status=ready&availability=active&label=a%3Db&label=c%3Dd&name=edge-1"
    ] == cli.asked()
    assert EDGE1 in cli.shown


def test_summaries_come_before_the_table() -> None:
    counts = {"summary": {"nodes": {"unreachable": 2}, "deployments": {"running": 7}}}
    routes = {
        "GET /api/v1/status": json_answer(counts),
        "GET /api/v1/nodes": page(),
        "GET /api/v1/deployments": page(deployment()),
    }
    nodes, deployments = Cli(dict(routes)), Cli(dict(routes))
    assert [0, 0] == [nodes.run("nodes", "status", "--status", "unreachable"), deployments.run("deployments", "status")]

    assert nodes.shown.startswith("Nodes: ready=0 unreachable=2 error=0 registering=0\n\nNAME")
    assert deployments.shown.startswith("Deployments: running=7 ")


def test_a_node_is_shown_with_the_names_of_what_runs_there() -> None:
    cli = Cli(
        {
            "GET /api/v1/nodes/edge-1": json_answer(node(instances=[instance(0)])),
            f"GET /api/v1/deployments?limit=500&offset=0&node={EDGE1}": page(deployment()),
        }
    )
    assert 0 == cli.run("nodes", "show", "edge-1")

    assert "web/0    running" in cli.shown


def test_a_deployment_is_shown_with_what_happened_last() -> None:
    cli = Cli(
        {
            "GET /api/v1/deployments/web": json_answer(deployment()),
            f"GET /api/v1/events?deployment={WEB}&limit=8": json_answer({"items": [event(1)]}),
        }
    )
    assert 0 == cli.run("deployments", "show", "web")
    assert "What happened last:\nAGO" in cli.shown

    assert 0 == cli.run("deployments", "show", "--id", "web", "--yaml")
    assert deployment() == yaml.safe_load(cli.shown)


def test_a_list_for_programs_is_the_page_of_the_api() -> None:
    cli = Cli({"GET /api/v1/deployments": page(deployment())})
    assert 0 == cli.run("deployments", "ls", "--json", "--status", "running", "--label", "a=b", "--node", "edge-1")

    assert {"limit": 1, "offset": 0, "total": 1, "items": [deployment()]} == json.loads(cli.shown)
    assert "GET /api/v1/deployments?limit=500&offset=0&status=running&label=a%3Db&node=edge-1" == cli.asked()[0]


def deleting() -> Cli:
    return Cli(
        {
            "GET /api/v1/deployments/web": json_answer(deployment(replicas=2)),
            f"DELETE /api/v1/deployments/{WEB}": Answer(status=204),
        }
    )


@pytest.mark.parametrize(
    "words", [["deployments", "delete", "--id", "web"], ["rm", "web"], ["deployments", "rm", "web"]]
)
def test_a_script_deletes_without_being_asked(words: list[str]) -> None:
    cli = deleting()

    assert 0 == cli.run(*words)
    assert ("", "web deleted\n") == (cli.shown, cli.said)


def test_a_person_is_asked_before_something_is_deleted() -> None:
    cli = deleting()
    cli.typed = "\n"
    assert 1 == cli.run("rm", "web", tty=True)
    assert "Delete web (2 replicas)? [y/N] nothing was deleted\n" == cli.said
    assert [] == cli.asked("DELETE")

    cli.typed = "yes\n"
    assert 0 == cli.run("rm", "web", tty=True)
    assert 0 == cli.run("rm", "web", "--yes", tty=True)


def test_nothing_is_deleted_where_a_person_would_not_see_the_question() -> None:
    cli = Cli({"GET /api/v1/deployments/web": json_answer(deployment())})
    cli.out, cli.err = Tty(), io.StringIO()

    assert 2 == main(["rm", "web"], cli.terminal(Tty("y\n")))
    assert "fledx: Delete web (1 replica)? Nobody can be asked here: --yes says so\n" == cli.said


def test_nothing_is_deleted_where_one_of_several_is_not_there() -> None:
    cli = deleting()
    cli.routes["GET /api/v1/deployments/wbe"] = error_answer(404, "no deployment wbe")
    cli.routes["GET /api/v1/deployments?"] = page(deployment())

    assert 1 == cli.run("rm", "web", "wbe")
    assert "(did you mean web?)" in cli.said
    assert [] == cli.asked("DELETE")


@pytest.mark.parametrize("verb", ["show", "stop", "start", "delete", "watch"])
def test_a_command_about_a_thing_needs_its_name(verb: str) -> None:
    cli = Cli()

    assert 2 == cli.run("deployments", verb)
    assert cli.said.startswith("fledx: which deployment? Give its name, its id")
    assert [] == cli.asked()


def test_an_ambiguous_beginning_is_told_in_the_words_of_the_control_plane() -> None:
    cli = Cli({"GET /": error_answer(409, "1111 is the beginning of web and api", "conflict")})

    assert 1 == cli.run("deployments", "show", "1111")
    assert "fledx: 1111 is the beginning of web and api [request r-1]\n" == cli.said
