"""What a container may be told about its confinement, and which of that only a node can allow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.errors import InvalidSpec
from fledx.models.codec import decode, encode
from fledx.models.confinement import Device, Tmpfs, Ulimit
from fledx.models.deployment import DeploymentSpec
from fledx.models.permission import PERMISSIONS, permissions_needed, unknown_to_older
from fledx.models.template import template_hash
from fledx.models.volume import VolumeMount
from fledx.settings.agent import ALLOWABLE
from tests.builders import spec

STORED: dict[str, Any] = {
    "name": "web",
    "image": "web:1",
    "command": ["serve", "--port", "80"],
    "env": {"A": "b"},
    "secret_env": [{"name": "T", "secret": "token"}],
    "ports": [{"container_port": 80, "host_port": 8080, "expose": True}],
    "volumes": [
        {"host_path": "/var/lib/fledx/volumes/web", "container_path": "/data"},
        {"host_path": "/var/lib/fledx/volumes/static", "container_path": "/static", "read_only": True},
    ],
    "limits": {"cpu_millis": 500, "memory_bytes": 67108864, "pids": 50},
    "restart": "always",
    "stop_grace_seconds": 5.0,
}


@pytest.mark.parametrize(("stored", "hashed"), [(STORED, "66b6d99c80ee0af9"), ({"image": "web:1"}, "00ec458011d2178e")])
def test_an_upgrade_leaves_the_hash_of_what_was_stored_before_it(stored: dict[str, Any], hashed: str) -> None:
    """The hashes were taken from the version before any of these fields existed: its containers are kept."""
    assert template_hash(json.loads(json.dumps(encode(decode(DeploymentSpec, stored))))) == hashed


def test_an_entry_point_makes_another_container_and_none_of_its_own_makes_the_same() -> None:
    plain = template_hash(encode(spec()))
    assert plain == template_hash(encode(spec(entrypoint=()))) == template_hash({**encode(spec()), "entrypoint": None})
    assert (
        len({plain, template_hash(encode(spec(entrypoint=("a",)))), template_hash(encode(spec(command=("a",))))}) == 3
    )


@pytest.mark.parametrize("field", ["read_only", "init", "privileged"])
def test_said_to_be_false_is_the_same_as_left_unsaid(field: str) -> None:
    assert template_hash(encode(spec(**{field: False}))) == template_hash(encode(spec()))
    assert template_hash(encode(spec(**{field: True}))) != template_hash(encode(spec()))


def test_words_are_brought_into_their_one_form() -> None:
    made = spec(cap_add=("cap_net_admin", "SYS_TIME"), stop_signal="term", network_mode="bridge", user=" ")
    assert (("NET_ADMIN", "SYS_TIME"), "SIGTERM") == (made.cap_add, made.stop_signal)
    assert made.network_mode is None
    assert made.user is None


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"user": "a b"}, "user"),
        ({"entrypoint": ("",)}, "entrypoint[0]"),
        ({"entrypoint": ("sh", "a\x00b")}, "entrypoint[1]"),
        ({"user": "1:2:3"}, "user"),
        ({"cap_add": ("NET ADMIN",)}, "cap_add[0]"),
        ({"stop_signal": "SIG TERM"}, "stop_signal"),
        ({"network_mode": "container:x"}, "network_mode"),
        ({"tmpfs": (Tmpfs(path="/tmp"), Tmpfs(path="/tmp"))}, "tmpfs[1]"),
        ({"ulimits": (Ulimit(name="nofile", soft=1), Ulimit(name="nofile", soft=2))}, "ulimits[1]"),
        ({"volumes": (VolumeMount(name="d", container_path="/a"), VolumeMount(name="d", container_path="/b"))}, "vol"),
    ],
)
def test_a_word_that_makes_no_sense_is_refused_by_its_path(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSpec) as failure:
        spec(**changes)
    assert failure.value.problems[0][0].startswith(path)


def test_the_forms_of_the_command_line_are_read() -> None:
    assert Tmpfs(path="/tmp", size_bytes=64 * 1024**2, mode="1777") == Tmpfs.parse("/tmp:size=64m,mode=1777")
    assert Tmpfs(path="/run") == Tmpfs.parse("/run")
    assert Ulimit(name="nofile", soft=1024, hard=4096) == Ulimit.parse("nofile=1024:4096")
    assert Ulimit(name="memlock", soft=-1) == Ulimit.parse("memlock=unlimited")
    assert Device(host_path="/dev/ttyUSB0") == Device.parse("/dev/ttyUSB0")
    assert Device(host_path="/dev/a", container_path="/dev/b", permissions="rw") == Device.parse("/dev/a:/dev/b:rw")
    assert VolumeMount(name="data", container_path="/x", read_only=True) == VolumeMount.parse("data:/x:ro")
    assert VolumeMount(host_path="/srv", container_path="/x") == VolumeMount.parse("/srv:/x")


@pytest.mark.parametrize("device", ["/etc/shadow", "/dev/../etc/shadow", "relative"])
def test_a_device_lies_in_dev(device: str) -> None:
    with pytest.raises(InvalidSpec):
        Device(host_path=device)


def test_with_the_nodes_network_a_port_is_what_it_is_inside() -> None:
    made = decode(DeploymentSpec, {"image": "web:1", "network_mode": "host", "ports": [{"container_port": 80}]})
    assert [80] == [port.host_port for port in made.ports or ()]
    with pytest.raises(InvalidSpec, match="cannot be 8080"):
        decode(
            DeploymentSpec, {"image": "w", "network_mode": "host", "ports": [{"container_port": 80, "host_port": 8080}]}
        )


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, ()),
        ({"privileged": True}, ("privileged",)),
        ({"network_mode": "host"}, ("host_network",)),
        ({"devices": (Device(host_path="/dev/fuse"),)}, ("devices",)),
        ({"cap_add": ("SYS_ADMIN",)}, ("capabilities",)),
        ({"cap_add": ("ALL",)}, ("capabilities",)),
        ({"cap_drop": ("ALL",), "cap_add": ("NET_BIND_SERVICE", "CHOWN")}, ()),
        ({"volumes": (VolumeMount(host_path="/var/run/docker.sock", container_path="/s"),)}, ("docker_socket",)),
        ({"volumes": (VolumeMount(host_path="/var//run/./docker.sock", container_path="/s"),)}, ("docker_socket",)),
        ({"volumes": (VolumeMount(host_path="/run", container_path="/s"),)}, ("docker_socket",)),
        ({"volumes": (VolumeMount(host_path="/", container_path="/s"),)}, ("docker_socket",)),
        ({"volumes": (VolumeMount(host_path="/run/mine", container_path="/s"),)}, ()),
    ],
)
def test_fault_42_what_leads_out_of_a_container_needs_the_nodes_permission(
    changes: dict[str, Any], needed: tuple[str, ...]
) -> None:
    assert needed == permissions_needed(spec(**changes))


def test_what_a_node_can_allow_is_said_the_same_in_its_settings() -> None:
    assert PERMISSIONS == ALLOWABLE


def test_an_agent_from_before_is_not_given_what_it_would_pass_over() -> None:
    assert unknown_to_older(spec()) == ()
    volumes = (VolumeMount(name="data", container_path="/d"),)
    assert ("user", "read_only", "volumes by name") == unknown_to_older(spec(user="1", read_only=True, volumes=volumes))
    assert ("user", "entrypoint") == unknown_to_older(spec(user="1", entrypoint=("/init",)))
