"""Who a node is: from variables, from its file, by joining; and the directory it keeps that in."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fledx.agent import identity as who
from fledx.agent.clock import Clock
from fledx.agent.facts import make_host_key, node_facts, own_address
from fledx.agent.files import locked, open_directory, write_private
from fledx.agent.identity import Identity
from fledx.agent.joining import Membership
from fledx.errors import Conflict, InvalidSpec, Unavailable
from fledx.models.token import JoinString, node_token
from fledx.settings.agent import AgentSettings

PIN = "8mlJ0Z4T8utOAU437iZIqHsrAMCb_cc37ninx7hYJC0"
OTHER_PIN = "9mlJ0Z4T8utOAU437iZIqHsrAMCb_cc37ninx7hYJC0"
TOKEN = node_token("secret", (PIN,))
KEPT = Identity(node_id="n1", node_token=TOKEN, name="edge-1", host="cp.example.com", authority="PEM", host_key="k")


def settings(**given: Any) -> AgentSettings:
    return AgentSettings(**given)


def test_four_variables_of_the_mission_readme_suffice() -> None:
    found = who.settled(settings(control_plane_url="https://control.example.com", node_id="n1", node_token=TOKEN), None)
    assert found is not None
    assert ("control.example.com", 7443, True, (PIN,)) == (found.host, found.port, found.tls, found.pins)
    found = who.settled(
        settings(
            control_plane_url="https://control.example.com",
            node_id="n1",
            node_token=TOKEN,
            tunnel_endpoint_host="tunnel.example.com",
            tunnel_endpoint_port=9000,
        ),
        None,
    )
    assert found is not None
    assert ("tunnel.example.com", 9000) == (found.host, found.port)


def test_what_joining_has_kept_fills_in_and_settings_win() -> None:
    assert KEPT == who.settled(settings(), KEPT)
    moved = who.settled(settings(tunnel_endpoint_host="10.0.0.1", tunnel_endpoint_port=1), KEPT)
    assert moved is not None
    assert ("10.0.0.1", 1, "PEM", "n1") == (moved.host, moved.port, moved.authority, moved.node_id)


def test_settings_of_another_node_inherit_nothing() -> None:
    assert who.settled(settings(node_id="n2"), KEPT) is None
    found = who.settled(settings(node_id="n2", node_token=node_token("x", (OTHER_PIN,)), control_plane_url="b"), KEPT)
    assert found is not None
    assert (found.authority, found.host_key, found.host) == (None, None, "b")


def test_a_new_token_with_another_pin_drops_the_old_authority() -> None:
    found = who.settled(settings(node_token=node_token("x", (OTHER_PIN,))), KEPT)
    assert found is not None
    assert found.authority is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "has not joined a control plane yet"),
        ({"node_id": "n1"}, "FLEDX_AGENT_NODE_TOKEN, FLEDX_AGENT_CONTROL_PLANE_URL is missing"),
        ({"control_plane_url": "x", "node_token": "t"}, "FLEDX_AGENT_NODE_ID is missing"),
    ],
)
def test_what_is_missing_is_named(given: dict[str, Any], text: str) -> None:
    assert who.settled(settings(**given), None) is None
    assert text in who.missing(settings(**given)).text


def test_a_ca_file_is_read_and_a_bad_one_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM of a file")
    found = who.settled(settings(ca_file=str(tmp_path / "ca.pem")), KEPT)
    assert found is not None
    assert "PEM of a file" == found.authority
    with pytest.raises(InvalidSpec, match="FLEDX_AGENT_CA_FILE"):
        who.settled(settings(ca_file=str(tmp_path / "none.pem")), KEPT)


def test_the_identity_is_kept_for_its_owner_only_and_its_token_is_in_no_repr(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    assert who.stored(path) is None
    who.store(path, KEPT)
    assert KEPT == who.stored(path)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert "secret" not in repr(KEPT)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node_id": 1}'])
def test_a_file_that_is_no_identity_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "identity.json"
    path.write_text(text)
    with pytest.raises(InvalidSpec):
        who.stored(path)


def test_a_directory_is_for_one_agent_at_a_time(tmp_path: Path) -> None:
    taken = pytest.raises(Conflict, match=rf"another agent \(process {os.getpid()}\) uses the data directory")
    with locked(tmp_path), taken, locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_full_disk_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "agent.lock").symlink_to("/dev/full")
    with locked(tmp_path):
        pass


def test_a_directory_that_cannot_be_used_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written to") as failure:
        open_directory(tmp_path / "file" / "agent")
    assert "FLEDX_AGENT_DATA_DIR" in (failure.value.hint or "")


def test_a_private_file_is_replaced_as_a_whole_and_never_through_a_link(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_private(path, b"one")
    write_private(path, b"two")
    assert b"two" == path.read_bytes()
    assert ["state"] == [each.name for each in tmp_path.iterdir()]
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / ".state.new").symlink_to(victim)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write_private(path, b"three")
    assert b"untouched" == victim.read_bytes()


@pytest.mark.anyio
async def test_a_join_string_of_the_same_control_plane_does_not_join_again(tmp_path: Path) -> None:
    who.store(tmp_path / "identity.json", KEPT)
    again = JoinString(host="elsewhere", port=1, token="spent", pins=(PIN,))
    membership = Membership(settings(), tmp_path, again, Clock())
    assert KEPT == await membership.identity()


@pytest.mark.anyio
async def test_without_identity_and_join_string_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec) as failure:
        await Membership(settings(), tmp_path, None, Clock()).identity()
    assert "fledx nodes join-command" in (failure.value.hint or "")


def test_the_facts_are_the_machines_and_settings_win(tmp_path: Path) -> None:
    facts = node_facts(settings(), tmp_path, name=None, host_key=None)
    assert facts.arch in ("amd64", "arm64", "arm")
    assert facts.os == "linux"
    assert facts.capacity is not None
    assert (facts.capacity.cpu_millis or 0) >= 1000
    assert facts.host_key == make_host_key(tmp_path)
    told = settings(name="edge-7", arch="aarch64", labels={"a": "b"}, capacity_cpu_millis=500, public_ip="192.0.2.1")
    facts = node_facts(told, tmp_path, name="x", host_key="k")
    assert ("edge-7", "arm64", {"a": "b"}, "k", "192.0.2.1") == (
        facts.name,
        facts.arch,
        facts.labels,
        facts.host_key,
        facts.public_ip,
    )


def test_two_directories_of_one_host_are_two_hosts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert make_host_key(tmp_path / "a") == make_host_key(tmp_path / "b")
    assert make_host_key(tmp_path / "a") != make_host_key(tmp_path)


def test_the_own_address_is_found_without_asking_anybody() -> None:
    assert "127.0.0.1" == own_address("127.0.0.1")
    assert "127.0.0.1" == own_address("localhost")
    assert own_address("a-name-that-no-dns-knows.invalid").count(".") == 3


def test_a_prefix_that_is_a_link_is_told_with_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    told = settings(allowed_volume_prefixes=(str(tmp_path / "link"),), allow=("devices",))
    facts = node_facts(told, tmp_path, name="x", host_key="k")
    assert ((str(tmp_path / "link"), str(tmp_path / "real")), ("devices",)) == (facts.volume_prefixes, facts.allows)


def test_an_agent_tells_which_younger_fields_it_heeds(tmp_path: Path) -> None:
    assert ("entrypoint",) == node_facts(settings(), tmp_path, name="x", host_key="k").knows
