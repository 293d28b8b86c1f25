"""Which host directories a container may see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fledx.agent.volumes import Policy, mounts_for
from fledx.errors import InvalidSpec
from fledx.models.confinement import Device
from fledx.models.template import Template
from fledx.models.volume import VolumeMount


def volume(path: Path | str, *, read_only: bool | None = None) -> VolumeMount:
    return VolumeMount(host_path=str(path), container_path="/data", read_only=read_only)


def test_a_directory_below_an_allowed_prefix_is_mounted_and_made_if_missing(tmp_path: Path) -> None:
    (mount,) = mounts_for([volume(tmp_path / "a" / "b", read_only=True)], [str(tmp_path)])
    assert (str(tmp_path / "a" / "b"), "/data", True) == (mount.source, mount.target, mount.read_only)
    assert (tmp_path / "a" / "b").is_dir()
    (mount,) = mounts_for([volume(tmp_path)], [str(tmp_path)])
    assert not mount.read_only


@pytest.mark.parametrize("path", ["/", "/etc", "/var/run/docker.sock"])
def test_anything_else_is_refused_and_not_made(path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="lies outside what this node allows") as failure:
        mounts_for([volume(path)], [str(tmp_path)])
    assert "FLEDX_AGENT_ALLOWED_VOLUME_PREFIXES" in (failure.value.hint or "")


def test_a_prefix_is_a_directory_and_no_beginning_of_a_word(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InvalidSpec):
        mounts_for([volume(tmp_path / "data-of-others")], [str(tmp_path / "data")])
    assert not (tmp_path / "data-of-others").exists()


def test_a_link_that_leads_out_is_refused_and_what_is_mounted_is_where_it_leads(tmp_path: Path) -> None:
    inside, outside = tmp_path / "allowed", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "out").symlink_to(outside)
    (inside / "real").mkdir()
    (inside / "link").symlink_to(inside / "real")
    with pytest.raises(InvalidSpec, match=r"outside/new\) lies outside"):
        mounts_for([volume(inside / "out" / "new")], [str(inside)])
    assert not (outside / "new").exists()
    (mount,) = mounts_for([volume(inside / "link")], [str(inside)])
    assert str(inside / "real") == mount.source


def test_nothing_is_allowed_where_no_prefix_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="allows: nothing"):
        mounts_for([volume(tmp_path)], [])


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSpec, match="cannot be made on this node"):
        mounts_for([volume(tmp_path / "file" / "below")], [str(tmp_path)])


def test_a_link_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="lies outside what this node allows"):
        mounts_for([volume("/proc/1/root/etc")], [str(tmp_path)])


@pytest.mark.parametrize("prefix", ["/", "/run", "/var/run"])
def test_fault_42_an_engines_socket_needs_its_own_permission_whatever_prefix_is_allowed(prefix: str) -> None:
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run", "/var/run"):
        with pytest.raises(InvalidSpec, match=r"does not allow docker_socket|lies outside"):
            mounts_for([volume(path)], [prefix])


def test_fault_42_a_link_to_the_engines_socket_is_the_socket(tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to("/var/run/docker.sock")
    with pytest.raises(InvalidSpec):
        mounts_for([volume(tmp_path / "innocent")], [str(tmp_path)])
    with pytest.raises(InvalidSpec, match="does not allow docker_socket"):
        mounts_for([volume(tmp_path / "innocent")], ["/"])


def test_the_engines_socket_is_mounted_where_the_node_allows_it(tmp_path: Path) -> None:
    (mount,) = mounts_for([volume("/var/run/docker.sock")], [], {"docker_socket"})
    assert mount.source.endswith("/docker.sock")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"privileged": True}, "privileged"),
        ({"network_mode": "host"}, "host_network"),
        ({"cap_add": ("SYS_ADMIN",)}, "capabilities"),
        ({"devices": (Device(host_path="/dev/kmsg"),)}, "devices"),
        ({"privileged": True, "network_mode": "host"}, "privileged, host_network"),
    ],
)
def test_fault_42_an_agent_refuses_what_its_own_settings_do_not_allow(changes: dict[str, Any], words: str) -> None:
    wanted = Template(image="app:1", **changes)
    with pytest.raises(InvalidSpec, match=f"this node does not allow {words}$") as failure:
        Policy().check(wanted)
    assert "FLEDX_AGENT_ALLOW" in (failure.value.hint or "")
    Policy(allows=frozenset(words.split(", "))).check(wanted)
