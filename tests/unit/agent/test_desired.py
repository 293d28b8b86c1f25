"""The desired state on the node: the newest counts, whole or not at all, and nothing is lost by a bad file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from fledx.agent.desired import DesiredState
from fledx.agent.vault import Vault
from fledx.errors import InvalidSpec, Unavailable
from fledx.models.codec import encode
from fledx.models.desired import NodeDesiredState
from tests.fakes.clock import FakeClock
from tests.unit.agent.stage import NODE, replica


def body(revision: int, node_id: str = NODE, **more: object) -> bytes:
    state = NodeDesiredState(node_id=node_id, revision=revision, replicas=(replica(),))
    return json.dumps({**encode(state), **more}).encode()


def held(directory: Path, changes: list[int] | None = None) -> DesiredState:
    seen = changes if changes is not None else []
    vault = Vault(directory / "agent.key", unsealed=False)
    return DesiredState(directory / "desired.json", NODE, FakeClock(), lambda: seen.append(1), vault)


@pytest.mark.anyio
async def test_the_newest_revision_is_kept_and_an_older_one_ignored(tmp_path: Path) -> None:
    changes: list[int] = []
    state = held(tmp_path, changes)
    assert state.take(body(3))
    assert not state.take(body(2))
    assert not state.take(body(3))
    assert state.take(body(4))
    assert state.state is not None
    assert (state.state.revision, len(changes)) == (4, 2)
    await state.store()
    assert 0o600 == stat.S_IMODE((tmp_path / "desired.json").stat().st_mode)


@pytest.mark.anyio
async def test_what_was_kept_is_there_after_a_start(tmp_path: Path) -> None:
    before = held(tmp_path)
    before.take(body(3))
    await before.store()
    await before.store()
    again = held(tmp_path)
    assert again.load() is None
    assert again.state is not None
    assert (3, "d-web") == (again.state.revision, again.state.replicas[0].deployment_id)


def test_fault_26_a_field_of_a_newer_control_plane_is_passed_over(tmp_path: Path) -> None:
    state = held(tmp_path)
    assert state.take(body(1, something_new={"a": 1}))


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b"\x00" * 100, b'{"node_id": "x"}', body(9, node_id="another")])
def test_what_is_no_desired_state_of_ours_changes_nothing(tmp_path: Path, bad: bytes) -> None:
    state = held(tmp_path)
    state.take(body(1))
    with pytest.raises(InvalidSpec):
        state.take(bad)
    assert state.state is not None
    assert state.state.revision == 1


@pytest.mark.parametrize("bad", [b"", b"\x00\x00", b"{}", body(3, node_id="another")])
def test_a_file_that_cannot_be_read_is_set_aside_and_said_so(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "desired.json").write_bytes(bad)
    state = held(tmp_path)
    told = state.load()
    assert told is not None
    assert "containers keep running" in told
    assert state.state is None
    (aside,) = tmp_path.glob("desired.json.unreadable-*")
    assert bad == aside.read_bytes()
    assert state.take(body(1))


@pytest.mark.anyio
async def test_a_state_that_cannot_be_stored_is_worked_on_and_stored_when_that_is_possible(tmp_path: Path) -> None:
    state = held(tmp_path)
    (tmp_path / ".desired.json.new").mkdir()
    state.take(body(1))
    with pytest.raises(Unavailable, match=r"cannot be stored in .*: Is a directory"):
        await state.store()
    assert state.state is not None
    (tmp_path / ".desired.json.new").rmdir()
    assert not state.take(body(1))
    await state.store()
    assert held(tmp_path).load() is None
    assert (tmp_path / "desired.json").exists()
