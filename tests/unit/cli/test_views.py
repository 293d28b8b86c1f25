"""Golden texts: what a person reads at one look."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.cli.views import spec
from fledx.cli.views.deployments import deployment_screen, deployment_table
from fledx.cli.views.events import event_line, event_table
from fledx.cli.views.nodes import node_screen, node_table
from fledx.cli.views.status import status_screen
from fledx.cli.views.table import table
from fledx.cli.views.text import age, cores, cut, size, span, width
from tests.unit.cli.harness import EDGE2, NOW, WEB, ago, assignment, deployment, event, instance, node


def golden(text: str) -> str:
    return text.removeprefix("\n")


PENDING = "2 nodes: label disk=ssd missing"
BROKEN = deployment(
    deployment_id="44444444-dddd-4ddd-8ddd-444444444444",
    name="api",
    replicas=3,
    status="failed",
    ready_replicas=1,
    unplaced_replicas=1,
    generation=4,
    revision=2,
    reason="replica 1: exited with 1",
    assignments=[assignment(0, revision=2), assignment(1, "edge-2", node_id=EDGE2, revision=2)],
    instances=[
        instance(0, revision=2),
        instance(1, "failed", node_id=EDGE2, revision=2, restart_count=4, exit_code=1, message="exited with 1"),
    ],
    pending=[{"replica_number": 2, "reason": PENDING}],
    rollout={"state": "progressing", "revision": 2, "updated": 1, "wanted": 3},
    created_at=ago(86400 * 3),
)


def test_the_list_of_deployments() -> None:
    ill = {**BROKEN, "assignments": [assignment(0), assignment(1, "e2", ports=[])], "reason": "replica 1: exit code 1"}

    assert golden(
        """
NAME  READY  STATUS   RESTARTS  AGE  NODES       PORTS               ID        REASON
api   1/3    failed   4         3d   edge-1, e2  edge-1:30000 -> 80  44444444  replica 1: exit code 1
web   1/1    running  0         2h   edge-1      edge-1:30000 -> 80  11111111"""
    ) == deployment_table([ill, deployment()], NOW)


def test_columns_without_anything_to_tell_are_left_out() -> None:
    item = deployment(name="idle", status="pending", ready_replicas=0, assignments=[], instances=[])

    assert golden(
        """
NAME  READY  STATUS   AGE  NODES  PORTS       ID
idle  0/1    pending  2h   -      auto -> 80  11111111"""
    ) == deployment_table([item], NOW)


def test_many_nodes_and_ports_are_counted_unless_the_table_may_be_wide() -> None:
    places = [assignment(n, f"edge-{n}") for n in range(4)]
    item = deployment(replicas=4, ready_replicas=4, assignments=places, instances=[])

    assert "edge-0, edge-1, +2  edge-0:30000 -> 80, edge-1:30001 -> 80, +2" in deployment_table([item], NOW)
    assert "edge-0, edge-1, edge-2, edge-3" in deployment_table([item], NOW, wide=True)


def test_the_wide_list_of_deployments() -> None:
    item = deployment(placement={"spread": True}, labels={"team": "web"}, last_reported=ago(3), instances=[])

    heads, row = deployment_table([item], NOW, wide=True).splitlines()
    assert [
        *("NAME", "READY", "STATUS", "AGE", "NODES", "PORTS", "IMAGE", "REVISION", "GENERATION", "PLACEMENT", "LABELS"),
        *("REPORTED", "ID"),
    ] == heads.split()
    assert row.endswith(f"nginx:1.27  1         1           spread     team=web  3s        {WEB}")


def test_a_long_reason_is_cut_to_the_width_of_the_terminal() -> None:
    shown = deployment_table([BROKEN], NOW, columns=120)

    assert max(len(line) for line in shown.splitlines()) <= 120
    assert shown.endswith("…")


def test_one_deployment_on_a_screen() -> None:
    shown = deployment_screen(BROKEN, NOW, events=[event(7), event(8, "replica.failed", replica_number=1)])

    assert (
        golden(
            """
api  failed  1/3 ready

  why       replica 1: exited with 1
  rollout   progressing: 1 of 3 updated
  id        44444444-dddd-4ddd-8ddd-444444444444
  image     nginx:1.27
  ports     auto -> 80
  revision  2 (generation 4)
  created   3d ago
  updated   3m ago

REPLICA  NODE    STATE    RESTARTS  AGE  PORTS               WHY
0        edge-1  running  0         3m   edge-1:30000 -> 80
1        edge-2  failed   4         3m   edge-2:30001 -> 80  exited with 1
2        -       pending  -         -    -                   2 nodes: label disk=ssd missing

What happened last:
AGO  EVENT            OF     WHY
60s  replica.started  web/0  it was assigned here
60s  replica.failed   web/1  it was assigned here"""
        )
        == shown
    )


def test_everything_that_was_asked_for_is_on_the_screen() -> None:
    shown = deployment_screen(
        deployment(
            command=["sh", "-c", "echo a b"],
            entrypoint=["/bin/my init", "--"],
            env={"A": "1", "B": "x y"},
            secret_env=[{"name": "T", "secret": "tok"}],
            secret_files=[{"path": "/run/k", "secret": "key", "optional": True}],
            volumes=[{"host_path": "/data", "container_path": "/srv", "read_only": True}],
            health={
                "liveness": {"type": "http", "port": 80, "path": "/live", "interval_seconds": 30.0},
                "readiness": {"type": "exec", "command": ["test", "-f", "/ok"], "failure_threshold": 2},
            },
            limits={"cpu_millis": 500, "memory_bytes": 2**29, "pids": 9, "log_bytes": 2**20, "log_files": 2},
            user="1000:1000",
            read_only=True,
            init=True,
            tmpfs=[{"path": "/tmp", "size_bytes": 2**26, "mode": "1777"}, {"path": "/run"}],
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            privileged=True,
            network_mode="host",
            devices=[{"host_path": "/dev/a", "container_path": "/dev/b", "permissions": "r"}],
            ulimits=[{"name": "nofile", "soft": 1, "hard": 2}, {"name": "memlock", "soft": -1}],
            stop_signal="SIGINT",
            restart="on_failure",
            stop_grace_seconds=60.0,
            constraints={"arch": "arm64", "labels": {"disk": "ssd"}, "capacity": {"cpu_millis": 250}},
            requires_public_ip=True,
            placement={
                "affinity": {"node_ids": ["edge-1"], "deployments": ["cdn"]},
                "anti_affinity": {"labels": {"a": "b"}},
                "near": ["db"],
                "apart": ["web"],
                "strategy": "pack",
            },
            labels={"team": "web"},
            update={"max_unavailable": 2, "min_healthy_seconds": 3.0, "on_failure": "pause"},
            ports=[
                {"container_port": 53, "host_port": 53, "protocol": "udp", "host_ip": "127.0.0.1"},
                {"container_port": 80, "protocol": "tcp", "expose": True},
            ],
            ingress=[
                {
                    "host": "shop.example.com",
                    "path": "/",
                    "path_type": "exact",
                    "timeout_seconds": 60.0,
                    "https_redirect": False,
                },
                {"host": "*.a.eu", "path": "/v1", "port": 9, "protocol": "h2c"} | {"rewrite": "/"},
            ],
        ),
        NOW,
    )

    assert (
        golden(
            """
  id          11111111-aaaa-4aaa-8aaa-111111111111
  image       nginx:1.27
  entrypoint  '/bin/my init' --
  command     sh -c 'echo a b'
  ports       127.0.0.1:53 -> 53/udp, auto -> 80 exposed
  ingress     shop.example.com/ (exact, timeout 60s, no redirect to HTTPS), *.a.eu/v1 -> 9 (h2c, rewrite to /)
  env         A=1 B=x y
  secrets     T=tok, /run/k=key (optional)
  volumes     /data:/srv:ro
  liveness    http :80/live every 30s
  readiness   exec test -f /ok 2 failures
  runs as     1000:1000
  confined    read-only root, tmpfs /tmp (64Mi, mode 1777), tmpfs /run, without ALL, an init
  rights      privileged, the node's network, with NET_ADMIN, /dev/a:/dev/b:r
  ulimits     nofile=1:2, memlock=unlimited
  limits      cpu 0.5, memory 512Mi, 9 processes, log files of 1Mi, 2 log files
  restart     on_failure
  stop grace  60s
  ends by     SIGINT
  needs       arch=arm64, disk=ssd, cpu 250m, a public address
  placement   only near db; apart from web; rather near edge-1, deployment cdn; rather far from a=b; packed
  labels      team=web
  update      max unavailable 2, on failure pause
  revision    1 (generation 1)
  created     2h ago"""
        )
        == shown.split("\n\n")[1]
    )


def test_a_message_of_several_lines_is_told_in_full_below_the_table() -> None:
    message = "exited with code 2 after 0.2 s\n\x1b[31mversion 1 starts\nPORT is 'abc'"
    item = deployment(status="failed", reason=message, instances=[instance(0, "failed", message=message)])

    assert golden(
        """
REPLICA  NODE    STATE   RESTARTS  AGE  PORTS               WHY
0        edge-1  failed  0         3m   edge-1:30000 -> 80  exited with code 2 after 0.2 s …

replica 0: exited with code 2 after 0.2 s
  version 1 starts
  PORT is 'abc'"""
    ) == "\n\n".join(deployment_screen(item, NOW).split("\n\n")[2:])
    assert "  why       exited with code 2 after 0.2 s …\n" in deployment_screen(item, NOW)


def test_a_reason_that_was_cut_on_a_terminal_is_told_in_full_below() -> None:
    reason = "2 nodes: label disk=ssd missing; 1 node: port 80 taken by api"
    item = deployment(assignments=[], instances=[], pending=[{"replica_number": 0, "reason": reason}])
    shown = deployment_screen(item, NOW, columns=80)

    assert "…" in shown
    assert shown.endswith(f"\n\nreplica 0: {reason}")


@pytest.mark.parametrize(
    ("change", "state", "why"),
    [
        ({"assignments": [], "instances": []}, "pending", ""),
        ({"instances": []}, "assigned", "the node has not reported it yet"),
        ({"instances": [instance(0, "pending", message="pulling nginx")]}, "pending", "pulling nginx"),
        ({"instances": [instance(0, ready=False)]}, "running, not ready", ""),
        ({"instances": [instance(0, "failed", exit_code=3)]}, "failed", "exit code 3"),
        ({"revision": 2}, "running, old", ""),
        (
            {"instances": [instance(0, ready=False, health={"healthy": False, "last_error": "refused"})]},
            "running, not ready",
            "refused",
        ),
        ({"desired_state": "stopped", "instances": []}, "stopped", ""),
    ],
)
def test_a_replica_says_how_it_is_and_why(change: dict[str, Any], state: str, why: str) -> None:
    row = deployment_screen(deployment(**change), NOW).split("\n\n")[2].splitlines()[1]

    assert f"  {state}  " in row
    assert row.endswith(why)


def test_replicas_of_another_revision_that_run_on_are_told_beside_those_that_are_ready() -> None:
    shown = deployment_screen(deployment(status="deploying", ready_replicas=0, revision=2), NOW)

    assert "web  deploying  0/1 ready, 1 still runs another revision" == shown.splitlines()[0]


def test_the_list_of_nodes() -> None:
    tired = node(
        node_id=EDGE2,
        name="edge-2",
        status="unreachable",
        availability="cordoned",
        last_seen=ago(600),
        capacity=None,
        arch="arm64",
        reason="no heartbeat for 10m",
    )

    assert golden(
        """
NAME    STATUS                SEEN  ARCH   CPU  MEMORY  ID        REASON
edge-1  ready                 2s    amd64  4    8Gi     22222222
edge-2  unreachable,cordoned  10m   arm64  -    -       33333333  no heartbeat for 10m"""
    ) == node_table([node(), tired], NOW)


def test_one_node_on_a_screen() -> None:
    item = node(
        runtime="Docker 27.1",
        agent_version="0.1.0",
        address="10.0.0.7",
        metered=True,
        instances=[
            instance(0, endpoints=["10.0.0.7:30000"]),
            instance(1, "failed", deployment_id=EDGE2, message="no image"),
        ],
    )

    assert golden(
        """
edge-1  ready

  id         22222222-bbbb-4bbb-8bbb-222222222222
  since      60m ago
  last seen  2s ago
  machine    linux/amd64
  cpu        4
  memory     8Gi
  labels     region=eu
  address    10.0.0.7
  runtime    Docker 27.1
  agent      0.1.0
  metered    yes: it beats seldom, and is called unreachable later
  joined     24h ago

REPLICA     STATE    RESTARTS  AGE  ENDPOINTS       WHY
web/0       running  0         3m   10.0.0.7:30000
33333333/1  failed   0         3m   -               no image"""
    ) == node_screen(item, NOW, names={WEB: "web"})


def test_a_node_with_nothing_on_it_says_so() -> None:
    assert node_screen(node(), NOW, names={}).endswith("\n\nNothing runs here.")


def test_the_status_at_one_look() -> None:
    summary = {"nodes": {"ready": 1, "unreachable": 2}, "deployments": {"running": 1, "failed": 3}}

    assert golden(
        """
Nodes: ready=1 unreachable=2 error=0 registering=0 | Deployments: running=1 stopped=0 failed=3 pending=0 deploying=0

Nodes:
NAME    STATUS  SEEN  ARCH   CPU  MEMORY  ID
edge-1  ready   2s    amd64  4    8Gi     22222222

Deployments:
NAME  READY  STATUS   RESTARTS  AGE  NODES   PORTS               ID
web   1/1    running  0         2h   edge-1  edge-1:30000 -> 80  11111111"""
    ) == status_screen(summary, [node()], [deployment()], NOW)


def test_an_empty_system_says_what_to_do_next() -> None:
    shown = status_screen({}, [], [], NOW)

    assert "`fledx nodes join-command`" in shown
    assert "`fledx deployments create`" in shown


def test_events_as_a_table_and_as_a_line() -> None:
    assert "AGO  EVENT            OF     WHY\n60s  replica.started  web/0  it was assigned here" == event_table(
        [event(1)], NOW
    )
    assert f"{ago(60)}  node.ready  edge-1  it came back" == event_line(
        {"id": 2, "at": ago(60), "kind": "node.ready", "subject": "edge-1", "reason": "it came back"}
    )


def test_colour_paints_status_words_and_nothing_else() -> None:
    shown = node_table([node()], NOW, colour=True)

    assert shown.splitlines()[1].startswith("edge-1  \x1b[32mready\x1b[0m   2s")
    assert 2 == shown.count("\x1b")


def test_cells_are_aligned_by_what_they_take_on_a_terminal() -> None:
    assert "A     B\n日本  x\ne\u0301     y" == table(["A", "B"], [["日本", "x"], ["e\u0301", "y"]])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (9000, "2h30m"),
        (86400, "24h"),
        (172800, "2d"),
    ],
)
def test_ages_are_short(seconds: float, text: str) -> None:
    assert text == span(seconds) == age(ago(seconds), NOW)


def test_an_age_that_cannot_be_known_is_not_guessed() -> None:
    assert ["-", "soon", "0s"] == [age(None, NOW), age("soon", NOW), age(ago(-50), NOW)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0B"), (1536, "1.5Ki"), (2**29, "512Mi"), (8 * 2**30, "8Gi"), (10**10, "9.3Gi")],
)
def test_sizes_are_short(value: int | None, text: str) -> None:
    assert text == size(value)


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (4000, "4"), (1500, "1.5"), (250, "250m"), (100, "0.1")])
def test_cores_are_short(value: int | None, text: str) -> None:
    assert text == cores(value)


def test_a_text_is_cut_by_columns() -> None:
    assert ["abc", "ab…", "日…"] == [cut("abc", 3), cut("abcd", 3), cut("日本語", 4)]
    assert 3 == width(cut("日本語", 4))


def test_a_port_says_where_and_what() -> None:
    assert "8080 -> 80" == spec.port({"container_port": 80, "host_port": 8080, "protocol": "tcp"})
