"""Tokens let in who they were made for, as often and as long as they were made for."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from fledx.control_plane.trust.tokens import kept
from fledx.errors import Conflict, Denied, InvalidSpec
from fledx.models.token import JoinString, node_token, pins_of
from tests.builders import facts
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


async def test_an_operators_token_is_known_and_others_are_not(stage: Stage) -> None:
    assert stage.tokens.operator("secret", source="here").name == "admin"
    for wrong in (None, "", "secre", "secret2", "\udc80"):
        with pytest.raises(Denied):
            stage.tokens.operator(wrong, source="here")


async def test_a_join_string_says_all_a_host_needs_and_is_used_up(stage: Stage) -> None:
    made = await stage.tokens.create_join(ttl_seconds=60, uses=1, by=ME)
    join = JoinString.parse(made.join)
    assert (join.host, join.port, join.pins, join.tls) == ("cp", 7443, ("pin",), True)

    await stage.nodes.register(facts(name="edge-1"), by=stage.tokens.registration(join.token))

    with pytest.raises(Denied, match="used up"):
        stage.tokens.registration(join.token)
    assert "registered by join token" in stage.happened("node.registered")[0].reason


async def test_a_use_that_let_nobody_in_is_not_lost(stage: Stage) -> None:
    await stage.node("edge-1")
    token = JoinString.parse((await stage.tokens.create_join(ttl_seconds=60, uses=1, by=ME)).join).token

    with pytest.raises(Conflict, match="there is a node edge-1 already"):
        await stage.nodes.register(facts(name="edge-1", host_key="another"), by=stage.tokens.registration(token))

    assert (await stage.nodes.register(facts(name="edge-2"), by=stage.tokens.registration(token))).name == "edge-2"
    with pytest.raises(Denied):
        stage.tokens.registration(token)


async def test_of_two_hosts_with_one_use_one_comes_in(stage: Stage) -> None:
    token = JoinString.parse((await stage.tokens.create_join(ttl_seconds=60, uses=1, by=ME)).join).token
    first, second = stage.tokens.registration(token), stage.tokens.registration(token)

    await stage.nodes.register(facts(name="edge-1"), by=first)
    with pytest.raises(Denied, match="used up"):
        await stage.nodes.register(facts(name="edge-2", host_key="another"), by=second)


async def test_an_expired_join_token_lets_nobody_in(stage: Stage) -> None:
    made = await stage.tokens.create_join(ttl_seconds=1, uses=None, by=ME)
    token = JoinString.parse(made.join).token
    stage.tokens.registration(token)
    await stage.act(lambda tx: tx.sql.execute("UPDATE join_token SET expires_at = '2001-01-01T00:00:00.000Z'"))

    with pytest.raises(Denied):
        stage.tokens.registration(token)


@pytest.mark.parametrize(("ttl", "uses"), [(0, 1), (1e12, 1), (60, 0)])
async def test_a_join_token_that_lives_for_no_time_or_lets_nobody_in_is_refused(
    stage: Stage, ttl: float, uses: int
) -> None:
    with pytest.raises(InvalidSpec):
        await stage.tokens.create_join(ttl_seconds=ttl, uses=uses, by=ME)


async def test_only_hashes_are_stored(stage: Stage) -> None:
    made = await stage.tokens.create_join(ttl_seconds=60, uses=1, by=ME)
    token = JoinString.parse(made.join).token

    assert token.encode() not in stage.store.path.read_bytes()
    assert token.encode() not in stage.store.path.with_name("fledx.db-wal").read_bytes()


def test_a_node_token_carries_the_fingerprints_of_its_authority() -> None:
    assert pins_of(node_token("random", ("one", "two"))) == ("one", "two")
    assert pins_of("made-elsewhere.with.dots") == ()


@pytest.mark.parametrize("text", ["", "x", "fledx-join.", "fledx-join.!!!", "fledx-join.e30", "fledx-join.W10"])
def test_a_broken_join_string_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        JoinString.parse(text)

    assert "not a whole join string" in str(refusal.value)


def test_a_kept_text_is_made_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("kept") / "pepper"

    first, new = kept(path)

    assert (kept(path), new) == ((first, False), True)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_that_is_kept_can_stand_behind_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["-mcBb", "--x", "m-cBb"])
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: next(drawn))
    assert ("m-cBb", True) == kept(tmp_path / "operator-token")
    assert ("m-cBb", False) == kept(tmp_path / "operator-token")
