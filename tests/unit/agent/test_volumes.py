"""Which host directories a container may see."""

from __future__ import annotations

from pathlib import Path

import pytest

from fledx.agent.volumes import mounts_for
from fledx.errors import InvalidSpec
from fledx.models.volume import VolumeMount


def volume(path: Path | str, **more: bool) -> VolumeMount:
    return VolumeMount(host_path=str(path), container_path="/data", **more)


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
