"""From flags to the body of a request."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

import pytest

from fledx.cli.command import Command
from fledx.cli.spec_body import body_of, cleared, merged
from fledx.cli.types import ingress
from fledx.errors import InvalidSpec
from fledx.models.codec import decode
from fledx.models.deployment import DeploymentSpec
from fledx.models.ingress import IngressRule


def body(*words: str) -> dict[str, Any]:
    command = Command(["deployments", "create", *words])
    return body_of(command.parse(command.parser()))


def update(*words: str) -> dict[str, Any]:
    command = Command(["deployments", "update", "web", *words])
    args = command.parse(command.parser())
    found = body_of(args)
    return {**found, **cleared(args, found)}


def test_the_quick_start_of_the_readme_makes_a_small_body() -> None:
    assert body("--name", "nginx-demo", "--image", "nginx:latest", "--replicas", "2", "--port", "80") == {
        "image": "nginx:latest",
        "replicas": 2,
        "ports": [{"container_port": 80, "protocol": "tcp"}],
    }


def test_every_flag_has_its_place() -> None:
    everything = body(
        *("--image", "app:1", "--replicas", "3", "--command", "sh -c 'sleep 1'", "--entrypoint", "/init -v"),
        *("--env", "A=1", "--env", "B=x=y", "--env", "A=2", "--label", "team=web"),
        *("--port", "8080:80/tcp", "--port", "auto:53/udp", "--expose-port", "80"),
        *("--volume", "/data:/srv:ro", "--secret-env", "T=tok", "--secret-env-optional", "U=u"),
        *("--secret-file", "/run/k=key", "--secret-file-optional", "/run/o=opt"),
        *("--limit-cpu", "500m", "--limit-memory", "512Mi", "--limit-pids", "100"),
        *("--log-size", "5M", "--log-files", "2", "--user", "1000", "--read-only", "--init", "--privileged"),
        *("--tmpfs", "/tmp:size=1m", "--ulimit", "nofile=1:2", "--device", "/dev/a:rw", "--cap-add", "NET_ADMIN"),
        *("--cap-drop", "ALL", "--network", "bridge", "--stop-signal", "INT"),
        *("--require-arch", "arm64", "--require-os", "linux", "--require-label", "disk=ssd"),
        *("--require-cpu", "1.5", "--require-memory-bytes", "1048576"),
        *("--affinity-node", "edge-1", "--affinity-label", "a=b", "--anti-affinity-node", "edge-2"),
        *("--anti-affinity-label", "c=d", "--spread", "--public", "--tunnel-only"),
        *("--require", "zone in (a,b)", "--require", "!old", "--near", "db", "--near", "cache", "--apart", "web"),
        *("--affinity-deployment", "cdn", "--anti-affinity-deployment", "batch"),
        *("--spread-over", "zone", "--strategy", "pack"),
        *("--health-http", "/live", "--health-port", "80", "--health-interval", "30s", "--health-threshold", "5"),
        *("--readiness-exec", "test -f /ready", "--readiness-start-period", "2m"),
        *("--restart", "on-failure", "--stop-grace", "1m", "--desired-state", "stopped"),
        *("--max-unavailable", "2", "--min-healthy", "10", "--progress-deadline", "10m", "--on-failure", "pause"),
    )
    expected = {
        "image": "app:1",
        "replicas": 3,
        "desired_state": "stopped",
        "restart": "on_failure",
        "stop_grace_seconds": 60.0,
        "command": ["sh", "-c", "sleep 1"],
        "entrypoint": ["/init", "-v"],
        "env": {"A": "2", "B": "x=y"},
        "labels": {"team": "web"},
        "secret_env": [{"name": "T", "secret": "tok"}, {"name": "U", "secret": "u", "optional": True}],
        "secret_files": [{"path": "/run/k", "secret": "key"}, {"path": "/run/o", "secret": "opt", "optional": True}],
        "ports": [
            {"container_port": 80, "host_port": 8080, "protocol": "tcp", "expose": True},
            {"container_port": 53, "protocol": "udp"},
        ],
        "volumes": [{"host_path": "/data", "container_path": "/srv", "read_only": True}],
        "limits": {"cpu_millis": 500, "memory_bytes": 512 * 2**20, "pids": 100, "log_bytes": 5_000_000, "log_files": 2},
        "user": "1000",
        "read_only": True,
        "init": True,
        "privileged": True,
        "tmpfs": [{"path": "/tmp", "size_bytes": 2**20}],
        "ulimits": [{"name": "nofile", "soft": 1, "hard": 2}],
        "devices": [{"host_path": "/dev/a", "permissions": "rw"}],
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["ALL"],
        "network_mode": "bridge",
        "stop_signal": "INT",
        "constraints": {
            "arch": "arm64",
            "os": "linux",
            "labels": {"disk": "ssd"},
            "rules": ["zone in (a,b)", "!old"],
            "capacity": {"cpu_millis": 1500, "memory_bytes": 2**20},
        },
        "placement": {
            "affinity": {"node_ids": ["edge-1"], "labels": {"a": "b"}, "deployments": ["cdn"]},
            "anti_affinity": {"node_ids": ["edge-2"], "labels": {"c": "d"}, "deployments": ["batch"]},
            "spread": True,
            "near": ["db", "cache"],
            "apart": ["web"],
            "spread_over": "zone",
            "strategy": "pack",
        },
        "requires_public_ip": True,
        "tunnel_only": True,
        "update": {
            "max_unavailable": 2,
            "min_healthy_seconds": 10.0,
            "progress_deadline_seconds": 600.0,
            "on_failure": "pause",
        },
        "health": {
            "liveness": {
                "type": "http",
                "path": "/live",
                "port": 80,
                "interval_seconds": 30.0,
                "failure_threshold": 5,
            },
            "readiness": {"type": "exec", "command": ["test", "-f", "/ready"], "start_period_seconds": 120.0},
        },
    }

    assert expected == everything
    assert decode(DeploymentSpec, everything).image == "app:1"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--command", "sleep 300"], ["sleep", "300"]),
        (["--command", "sleep", "300", "--port", "80"], ["sleep", "300"]),
        (["--command", "sh", "--command=-c", "--command", "echo a b"], ["sh", "-c", "echo a b"]),
        (["--replicas", "1", "--", "sh", "-c", "echo --name"], ["sh", "-c", "echo --name"]),
        ([], None),
    ],
)
def test_a_command_never_swallows_the_flags_behind_it(words: list[str], command: list[str] | None) -> None:
    assert command == body("--image", "x", *words).get("command")


@pytest.mark.parametrize(
    ("words", "entrypoint", "command"),
    [
        (["--entrypoint", "/init --verbose"], ["/init", "--verbose"], None),
        (["--entrypoint", "/my init", "serve", "--port", "80"], ["/my init", "serve"], None),
        (["--entrypoint", "sh", "--", "-c", "date"], ["sh"], ["-c", "date"]),
        (["--entrypoint", "sh", "--entrypoint=-c", "--command", "date"], ["sh", "-c"], ["date"]),
    ],
)
def test_an_entry_point_is_given_like_a_command(
    words: list[str], entrypoint: list[str], command: list[str] | None
) -> None:
    found = body("--image", "x", *words)
    assert (entrypoint, command) == (found["entrypoint"], found.get("command"))


def test_a_probe_takes_the_only_port_there_is() -> None:
    assert body("--image", "x", "--port", "8080", "--health-http", "/r", "--readiness")["health"] == {
        "readiness": {"type": "http", "path": "/r", "port": 8080}
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--health-http", "/x"], "--health-http needs --health-port"),
        (["--health-interval", "5s"], "--health-* needs one of"),
        (["--readiness-port", "5"], "--readiness-* needs one of"),
        (["--health-http", "/x", "--health-tcp", "80"], "exclude each other"),
        (["--readiness"], "needs a probe"),
        (["--readiness", "--health-tcp", "1", "--readiness-tcp", "2"], "both describe the readiness probe"),
        (["--expose-port", "80"], "80 is not the container port of any --port"),
        (["--command", "a", "--", "b"], "given twice"),
        (["--command", "'unfinished"], 'command: "\'unfinished" cannot be split'),
        (["--entrypoint", "'unfinished"], 'entrypoint: "\'unfinished" cannot be split'),
        (["--entrypoint", ""], "entrypoint: "),
    ],
)
def test_flags_that_contradict_each_other_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(InvalidSpec) as fault:
        body("--image", "x", *words)
    assert told in fault.value.text


def test_clearing_sends_what_the_api_understands_as_empty() -> None:
    cleared_all = update(
        *(
            "--clear-command",
            "--clear-entrypoint",
            "--clear-env",
            "--clear-secret-env",
            "--clear-secret-files",
            "--clear-ports",
        ),
        *(
            "--clear-constraints",
            "--clear-placement",
            "--clear-volumes",
            "--clear-health",
            "--clear-limits",
            "--clear-labels",
            "--clear-ingress",
        ),
        *("--clear-user", "--clear-tmpfs", "--clear-ulimits", "--clear-devices", "--clear-cap-add", "--clear-cap-drop"),
        "--clear-stop-signal",
    )

    assert cleared_all == {
        "command": [],
        "entrypoint": [],
        "env": {},
        "secret_env": [],
        "secret_files": [],
        "ports": [],
        "constraints": {},
        "placement": {},
        "volumes": [],
        "health": {},
        "limits": {},
        "labels": {},
        "ingress": [],
        "user": "",
        "tmpfs": [],
        "ulimits": [],
        "devices": [],
        "cap_add": [],
        "cap_drop": [],
        "stop_signal": "",
    }


def test_setting_and_clearing_at_once_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="--clear-env together with a flag that sets it"):
        update("--clear-env", "--env", "A=1")


def test_one_flag_of_a_nested_field_leaves_the_others_as_they_are() -> None:
    current = {
        "limits": {"cpu_millis": 500, "memory_bytes": 7},
        "constraints": {"arch": "arm64", "labels": {"a": "b"}, "capacity": {"cpu_millis": 1}},
        "placement": {"affinity": {"node_ids": ["n"]}, "spread": True},
        "health": {"liveness": {"type": "tcp", "port": 1, "interval_seconds": 3.0}},
        "env": {"A": "1"},
    }
    changes = update(
        *("--limit-cpu", "1", "--require-label", "c=d", "--require-memory", "8Ki", "--no-spread"),
        *("--affinity-label", "x=y", "--health-tcp", "2", "--env", "B=2"),
    )

    assert merged(changes, current) == {
        "limits": {"cpu_millis": 1000, "memory_bytes": 7},
        "constraints": {
            "arch": "arm64",
            "labels": {"c": "d"},
            "capacity": {"cpu_millis": 1, "memory_bytes": 8192},
        },
        "placement": {"affinity": {"node_ids": ["n"], "labels": {"x": "y"}}, "spread": False},
        "health": {"liveness": {"type": "tcp", "port": 2}},
        "env": {"B": "2"},
    }


def test_clearing_a_nested_field_is_not_merged_away() -> None:
    assert merged(update("--clear-limits"), {"limits": {"cpu_millis": 1}}) == {"limits": {}}


def test_ingress_is_said_in_one_word_with_its_options() -> None:
    found = body(
        *("--image", "x", "--ingress", "shop.example.com"),
        *("--ingress", "Api.example.com/v1:9000,exact,h2c,rewrite=/,timeout=1m,max-body=1Mi,no-redirect"),
    )

    assert decode(DeploymentSpec, {**found, "ports": [{"container_port": 80}]}).ingress == (
        IngressRule(host="shop.example.com"),
        IngressRule(
            host="api.example.com",
            path="/v1",
            port=9000,
            path_type="exact",
            protocol="h2c",
            rewrite="/",
            timeout_seconds=60.0,
            max_body_bytes=1024 * 1024,
            https_redirect=False,
        ),
    )
    assert found["ingress"][1]["https_redirect"] is False


@pytest.mark.parametrize("option", ["exactly", "rewrite", "timeout=soon", "max-body=0", "rewrite=x", "h2c=1"])
def test_an_option_of_ingress_that_is_none_says_which_there_are(option: str) -> None:
    with pytest.raises(ArgumentTypeError):
        ingress(f"shop.example.com,{option}")
